"""Unpack a client's archive: regular files only, all of them inside the folder, and never more than was allowed."""

from __future__ import annotations

import lzma
import re
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from meddenoise.errors import InputError

MOST_FILES = 10_000
BLOCK = 1024 * 1024
DAMAGED = (
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    OSError,
    RuntimeError,
    ValueError,
)
"""What the standard library raises on damaged, encrypted or exotic archives."""

Member = tuple[str, int, "Opener"]


class Opener:
    """Opens one member of an archive."""

    def __init__(self, archive: zipfile.ZipFile | tarfile.TarFile, member: zipfile.ZipInfo | tarfile.TarInfo) -> None:
        self._archive, self._member = archive, member

    def __call__(self) -> IO[bytes]:
        """The content as a stream."""
        if isinstance(self._archive, zipfile.ZipFile):
            assert isinstance(self._member, zipfile.ZipInfo)
            return self._archive.open(self._member)
        assert isinstance(self._member, tarfile.TarInfo)
        stream = self._archive.extractfile(self._member)
        assert stream is not None, "only regular files are asked for"
        return stream


def unpack(archive: Path, folder: Path, *, most_bytes: int, most_files: int = MOST_FILES) -> None:
    """Unpack a ZIP or TAR file (also compressed) into an empty folder.

    Raises:
        InputError: It is no archive, is damaged, holds too much, or a member that is a link or lies outside the folder.
    """
    left = most_bytes
    with _refuse_damaged(archive.name):
        for count, (name, size, open_member) in enumerate(_members(archive), 1):
            target = _inside(folder, name)
            if count > most_files or size > left:
                raise InputError(_too_much(archive.name, most_files, most_bytes))
            target.parent.mkdir(parents=True, exist_ok=True)
            with open_member() as source, target.open("xb") as copy:
                while block := source.read(BLOCK):
                    left -= len(block)  # what it really holds: the size an archive states may be a lie
                    if left < 0:
                        raise InputError(_too_much(archive.name, most_files, most_bytes))
                    copy.write(block)


@contextmanager
def _refuse_damaged(name: str) -> Iterator[None]:
    try:
        yield
    except InputError:
        raise
    except DAMAGED as error:
        raise InputError(f"{name} cannot be unpacked as a ZIP or TAR file ({type(error).__name__})") from error


def _members(path: Path) -> Iterator[Member]:
    """Name, stated size and opener of every file, one after the other."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            for item in archive.infolist():
                kind = stat.S_IFMT(item.external_attr >> 16)
                if item.is_dir():
                    continue
                if kind not in (0, stat.S_IFREG):
                    raise InputError(f"{path.name} holds a link or a device, which is not unpacked")
                yield item.filename, item.file_size, Opener(archive, item)
        return
    with tarfile.open(path) as archive:
        for member in archive:
            if member.isdir():
                continue
            if not member.isreg():
                raise InputError(f"{path.name} holds a link or a device, which is not unpacked")
            yield member.name, member.size, Opener(archive, member)


def _inside(folder: Path, name: str) -> Path:
    parts = re.split(r"[/\\]", name)
    if name.startswith(("/", "\\")) or ".." in parts or "\0" in name or ":" in parts[0]:
        raise InputError("the archive holds a file that would lie outside its folder, which is not unpacked")
    target = folder.joinpath(*(part for part in parts if part not in ("", ".")))
    if not target.resolve().is_relative_to(folder.resolve()) or target == folder:
        raise InputError("the archive holds a file that would lie outside its folder, which is not unpacked")
    return target


def _too_much(name: str, most_files: int, most_bytes: int) -> str:
    return f"{name} holds more than {most_files} files or {most_bytes / 1024**2:.0f} MiB; send fewer or larger parts"
