"""The mark by which results of ours are recognised again, in each format's own way."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping
from pathlib import Path

from meddenoise.io.source import MARK

_TAIL = 4096
_PNG_HEADER = 33  # signature and IHDR chunk


def nifti_description(sentence: str) -> str:
    """The mark as it fits into NIfTI's 80 bytes."""
    return f"{MARK} {sentence}".encode("ascii", "replace")[:79].decode("ascii")


def read_mark(path: Path, ext: str, metadata: Mapping[str, str]) -> str | None:
    """The sentence in a file of ours, or None.

    Args:
        path: The file.
        ext: Its extension, as ``extension_of`` gives it.
        metadata: Its header fields by SimpleITK's names.
    """
    if metadata.get(MARK):
        return metadata[MARK]
    if metadata.get("descrip", "").startswith(MARK + " "):
        return metadata["descrip"][len(MARK) + 1 :].strip()
    if ext == ".png":
        return _between(path.read_bytes()[:_TAIL], b"tEXt" + MARK.encode() + b"\0")
    if ext in (".jpg", ".jpeg"):
        return _between(path.read_bytes()[:_TAIL], MARK.encode() + b"\0")
    if ext in (".tif", ".tiff"):
        return _between(path.read_bytes()[-_TAIL:], MARK.encode() + b"\0")
    return None


def add_mark(path: Path, ext: str, sentence: str) -> None:
    """Put the mark into a PNG, JPEG or TIFF just written: a text chunk, a comment, bytes after the end of a TIFF."""
    data = path.read_bytes()
    text = MARK.encode() + b"\0" + sentence.encode("latin-1", "replace")[:1000]
    if ext == ".png":
        chunk = b"tEXt" + text
        chunk = struct.pack(">I", len(text)) + chunk + struct.pack(">I", zlib.crc32(chunk))
        data = data[:_PNG_HEADER] + chunk + data[_PNG_HEADER:]
    elif ext in (".jpg", ".jpeg"):
        start = 4 + struct.unpack(">H", data[4:6])[0] if data[2:4] == b"\xff\xe0" else 2  # JFIF's segment stays first
        data = data[:start] + b"\xff\xfe" + struct.pack(">H", len(text) + 3) + text + b"\0" + data[start:]
    else:
        data = data + text + b"\0"
    path.write_bytes(data)


def _between(data: bytes, start: bytes) -> str | None:
    at = data.find(start)
    if at < 0:
        return None
    rest = data[at + len(start) :]
    if start.startswith(b"tEXt"):
        return rest[: struct.unpack(">I", data[at - 4 : at])[0] - (len(start) - 4)].decode("latin-1")
    return rest.split(b"\0", 1)[0].decode("latin-1")
