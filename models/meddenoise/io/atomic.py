"""Results appear whole or not at all: written beside their place under another name, synced, then moved."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from meddenoise.errors import OutputError
from meddenoise.io.source import extension_of, stem_of


@contextmanager
def replacing_file(path: Path) -> Iterator[Path]:
    """Give a path of the same name in a temporary folder; move what was written there into place on success.

    The extension is in small letters there, as ITK's writers want it.

    Further files written beside it (the .raw of an .mhd) move along, before it, so that the header never points at
    data that is not there. On any exception nothing is left behind and an existing result is untouched.

    Raises:
        OutputError: The folder is not writable, the disk is full, or nothing was written.
    """
    with _as_output_error(path), _workplace(path.parent) as workplace:
        temporary = workplace / (stem_of(path) + extension_of(path) if extension_of(path) else path.name)
        yield temporary
        written = sorted(workplace.iterdir(), key=lambda file: file == temporary)
        if not written or written[-1] != temporary:
            raise OutputError(f"{path}: nothing was written; check the free space and the format")
        for file in written:
            _sync(file)
        if path.is_dir():
            raise OutputError(f"{path}: is a folder; choose another name for the result")
        for file in written:
            file.replace(path if file == temporary else path.parent / file.name)
        _sync(path.parent)


@contextmanager
def replacing_folder(folder: Path) -> Iterator[Path]:
    """Give an empty temporary folder; move it to ``folder`` on success, in place of what was there.

    Two renames replace an existing folder: it is set aside, and put back should the second rename fail.

    Raises:
        OutputError: The parent is not writable or the disk is full.
    """
    with _as_output_error(folder), _workplace(folder.parent) as workplace:
        fresh = workplace / "new"
        fresh.mkdir()
        yield fresh
        for file in fresh.iterdir():
            _sync(file)
        _sync(fresh)
        aside = workplace / "old"
        if folder.exists():
            folder.rename(aside)
        try:
            fresh.rename(folder)
        except OSError:
            if aside.exists():
                aside.rename(folder)
            raise
        _sync(folder.parent)


@contextmanager
def _workplace(parent: Path) -> Iterator[Path]:
    parent.mkdir(parents=True, exist_ok=True)
    workplace = Path(tempfile.mkdtemp(prefix=".meddenoise-", dir=parent))
    try:
        yield workplace
    finally:
        shutil.rmtree(workplace, ignore_errors=True)


@contextmanager
def _as_output_error(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OutputError(f"{path}: cannot be written: {_reason(error, path)}") from error


def _reason(error: OSError, path: Path) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "the disk is full; free some space or choose another output folder"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"no permission to write in {path.parent}; choose another output folder"
    if error.errno in (errno.ENOTDIR, errno.EEXIST):
        return f"{path.parent} is not a folder; choose another output folder"
    return f"{error.strerror or error}; choose another output folder"


def _sync(path: Path) -> None:
    """Ask the system to put a file, or a folder's entries, on the disk (best effort for folders)."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except OSError:
        if path.is_dir():  # Windows cannot open folders
            return
        raise
    try:
        os.fsync(handle)
    except OSError as error:
        if not path.is_dir() or error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO):
            raise
    finally:
        os.close(handle)
