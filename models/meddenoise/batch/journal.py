"""What a batch has done, so that the next run does not do it again: one JSON line per result, in a file beside them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

from meddenoise.errors import OutputError

try:
    import fcntl
except ImportError:  # Windows: there nobody looks after two batches in one folder
    fcntl = None  # type: ignore[assignment]

JOURNAL = "batch-journal.jsonl"


@dataclass(frozen=True)
class Record:
    """One result.

    Attributes:
        key: Hash of what it was made of: the input, the weights and the options.
        size: Bytes of the result; another size tells that it is no longer the same. 0 where it was sent away.
    """

    key: str
    size: int


class Journal:
    """The journal of an output folder, open for one batch at a time.

    Every line is put on the disk before the next item is begun. A line that a sudden end cut off is passed over: its
    item is done again.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._records = dict(_read(file))

    @classmethod
    @contextmanager
    def open(cls, folder: Path) -> Iterator[Journal]:
        """Open the journal of a folder, which is made where it is not there.

        Raises:
            OutputError: The folder cannot be written, or another batch is at work in it.
        """
        path = folder / JOURNAL
        try:
            folder.mkdir(parents=True, exist_ok=True)
            file = path.open("a+b")
        except OSError as error:
            raise OutputError(
                f"{folder}: cannot be written ({error.strerror or error}); choose another folder"
            ) from error
        with file:
            _lock(file, folder)
            yield cls(file)

    def find(self, key: str) -> Record | None:
        """What was last written down for the item of that key."""
        return self._records.get(key)

    def add(self, key: str, record: Record) -> None:
        """Write a result down.

        Raises:
            OutputError: There is no room for it.
        """
        line = json.dumps({"item": key, **asdict(record)})  # in ASCII: a file's name need not be valid text
        try:
            self._file.write(f"{line}\n".encode())
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise OutputError(
                f"{self._file.name}: cannot be written ({error.strerror or error}); free some space"
            ) from error
        self._records[key] = record


def _read(file: IO[bytes]) -> Iterator[tuple[str, Record]]:
    """The records in a journal; what a sudden end cut off is ended by a line break, and passed over."""
    file.seek(0)
    data = file.read()
    if data and not data.endswith(b"\n"):
        file.write(b"\n")
    for line in data.splitlines():
        try:
            entry = json.loads(line)
            yield str(entry["item"]), Record(str(entry["key"]), int(entry["size"]))
        except (ValueError, KeyError, TypeError):
            continue


def _lock(file: IO[bytes], folder: Path) -> None:
    """Keep others out until the file is closed, which it is however this process ends."""
    if fcntl is None:
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise OutputError(
            f"{folder}: another batch is at work in it; wait for its end, or choose another folder"
        ) from None
    except OSError:  # a file system without locks
        return
