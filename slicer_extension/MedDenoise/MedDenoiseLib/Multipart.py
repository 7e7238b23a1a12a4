"""Forms as HTTP sends them: one going out from a file, one coming in to files, neither ever whole in memory."""

from __future__ import annotations

import os
import re
import uuid
from collections.abc import Iterator
from typing import Any, BinaryIO, Callable

from MedDenoiseLib.Connection import CHUNK
from MedDenoiseLib.Errors import BrokenAnswer, CannotStore, MedDenoiseError

LARGEST_FIELD = 16 * 1024 * 1024
LARGEST_HEAD = 16 * 1024


class Upload:
    """A form of the field `params` and one file, whose name says nothing about the image.

    Args:
        params: Text of the field.
        path: The file.
        field: Name of the field that holds the file.

    Attributes:
        contentType: For the header.
        length: Bytes of the whole form.
    """

    def __init__(self, params: str, path: str, field: str = "file") -> None:
        """Reads no more of the file than its size."""
        boundary = uuid.uuid4().hex
        self.contentType = f"multipart/form-data; boundary={boundary}"
        self._path = path
        self._head = (
            f'--{boundary}\r\nContent-Disposition: form-data; name="params"\r\n\r\n{params}\r\n'
            f'--{boundary}\r\nContent-Disposition: form-data; name="{field}"; filename="image.nrrd"\r\n'
            "Content-Type: application/octet-stream\r\n\r\n"
        ).encode()
        self._tail = f"\r\n--{boundary}--\r\n".encode()
        try:
            self._size = os.stat(path).st_size
        except OSError as error:
            raise _unreadable(error) from error
        self.length = len(self._head) + self._size + len(self._tail)

    def chunks(self) -> Iterator[bytes]:
        """The form, piece by piece.

        Raises:
            MedDenoiseError: The file cannot be read, or is not as long as it was.
        """
        yield self._head
        left = self._size
        try:
            with open(self._path, "rb") as file:
                while left:
                    piece = file.read(min(left, CHUNK))
                    if not piece:
                        raise MedDenoiseError("The image to send changed while it was sent.", "Try again.")
                    left -= len(piece)
                    yield piece
        except OSError as error:
            raise _unreadable(error) from error
        yield self._tail


class Download:
    """Takes a form apart as it comes in.

    Args:
        read: read(most) gives the next bytes, b"" at the end.
        contentType: The answer's.
        host: For the sentences of errors.
    """

    def __init__(self, read: Callable[[int], bytes], contentType: str, host: str) -> None:
        """Reads nothing yet.

        Raises:
            BrokenAnswer: It is no form.
        """
        self._read, self._host = read, host
        found = re.search(r'boundary="?([^";]{1,200})', contentType)
        if not contentType.lower().startswith("multipart/") or not found:
            raise BrokenAnswer(f"{host} answered with {contentType or 'something'!s} instead of an image and its JSON.")
        self._line = b"\r\n--" + found.group(1).strip().encode("latin-1")
        self._buffer = b"\r\n"  # the first boundary may stand at the very beginning

    def parts(self, sinks: dict[str, Callable[[bytes], Any]]) -> None:
        """Give the content of each named part to its sink, piece by piece; other parts are passed over.

        Raises:
            BrokenAnswer: The answer ends too early, or is no form.
        """
        self._pieces(lambda piece: None)
        while True:
            if self._exactly(2) == b"--":
                return
            head = self._head()
            name = re.search(rb'[;\s]name="([^"]*)"', head)
            self._pieces(sinks.get(name.group(1).decode("latin-1") if name else "", lambda piece: None))

    def _pieces(self, sink: Callable[[bytes], Any]) -> None:
        """Everything before the next boundary, to the sink."""
        keep = len(self._line) - 1
        while True:
            before, found, after = self._buffer.partition(self._line)
            if found:
                sink(before)
                self._buffer = after
                return
            ready = len(self._buffer) - keep
            if ready > 0:
                sink(self._buffer[:ready])
                self._buffer = self._buffer[ready:]
            self._more()

    def _exactly(self, count: int) -> bytes:
        while len(self._buffer) < count:
            self._more()
        taken, self._buffer = self._buffer[:count], self._buffer[count:]
        return taken

    def _head(self) -> bytes:
        """The lines before a part's content."""
        while b"\r\n\r\n" not in self._buffer:
            if len(self._buffer) > LARGEST_HEAD:
                raise BrokenAnswer(f"{self._host} sent an answer that cannot be understood.", "Try again.")
            self._more()
        head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
        return head

    def _more(self) -> None:
        piece = self._read(CHUNK)
        if not piece:
            raise BrokenAnswer(f"The answer of {self._host} is cut off.", "Try again.")
        self._buffer += piece


class Field:
    """Keeps a small part in memory."""

    def __init__(self, host: str) -> None:
        """Takes the host for the sentence of an error."""
        self.content = b""
        self._host = host

    def __call__(self, piece: bytes) -> None:
        """Take a piece; raises BrokenAnswer where they get too many."""
        self.content += piece
        if len(self.content) > LARGEST_FIELD:
            raise BrokenAnswer(f"{self._host} sent far more text than belongs to an image.")


class FileSink:
    """Writes a part to a file; raises CannotStore."""

    def __init__(self, file: BinaryIO) -> None:
        """Takes an open file."""
        self._file = file
        self.start = b""

    def __call__(self, piece: bytes) -> None:
        """Write a piece."""
        if len(self.start) < 4:
            self.start += piece[: 4 - len(self.start)]
        try:
            self._file.write(piece)
        except OSError as error:
            raise unwritable(error) from error


def unwritable(error: OSError) -> CannotStore:
    """The error for a result that cannot be written."""
    return CannotStore(
        f"The result cannot be stored on this machine: {error.strerror or error}.",
        "Make room on the disk of the temporary folder, then try again.",
    )


def _unreadable(error: OSError) -> MedDenoiseError:
    return MedDenoiseError(f"The image to send cannot be read: {error.strerror or error}.", "Try again.")
