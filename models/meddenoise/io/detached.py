"""Headers whose voxels lie in files of their own (.mhd, .nhdr): which files those are, and which may be replaced."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from meddenoise.errors import OutputError
from meddenoise.io.source import extension_of, stem_of

_DETACHED = (".mhd", ".nhdr")
_HEADERS = (*_DETACHED, ".mha", ".nrrd")
_HEAD = 1 << 20
_FIELD = re.compile(r"^\s*(?:ElementDataFile\s*=|data ?file\s*:)\s*(.*?)\s*$", re.IGNORECASE)
_PATTERN = re.compile(r"[^%]*%0?\d{0,2}d[^%]*")
_MOST_FILES = 10_000


def payload_of(path: Path) -> tuple[Path, ...]:
    """The file beside it that ``write_volume`` puts the voxels into; empty for formats that are one file."""
    return (path.parent / f"{stem_of(path)}.raw",) if extension_of(path) in _DETACHED else ()


def data_files(path: Path) -> tuple[Path, ...]:
    """The files that the header at a path names for its voxels; empty where they follow in the file itself."""
    if extension_of(path) not in _HEADERS:
        return ()
    try:
        with path.open("rb") as file:
            lines = file.read(_HEAD).decode("latin-1").splitlines()
    except OSError:
        return ()  # reading it will say so
    for index, line in enumerate(lines):
        field = _FIELD.match(line)
        if field is not None:
            return tuple(path.parent / name for name in _names(field.group(1), lines[index + 1 :]))
        if not line and extension_of(path) in (".nrrd", ".nhdr"):  # the end of the header
            break
    return ()


def check_payload_free(path: Path) -> None:
    """Refuse to replace voxels that the header at ``path`` does not own alone.

    Raises:
        OutputError: The data file is there already and belongs to another header, or to none.
    """
    for payload in payload_of(path):
        if not payload.exists():
            continue
        headers = (file for file in path.parent.iterdir() if file.is_file() and extension_of(file) in _HEADERS)
        owners = [file for file in headers if payload.resolve() in (name.resolve() for name in data_files(file))]
        if [file.resolve() for file in owners] != [path.resolve()]:
            theirs = ", ".join(file.name for file in owners if file != path) or "no header of that name"
            raise OutputError(
                f"{path}: its voxels would replace {payload.name}, which belongs to {theirs}; "
                "choose another output folder or format"
            )


def _names(value: str, following: list[str]) -> Iterator[str]:
    """File names out of the field: one name, LIST and the lines after it, or a pattern with first, last and step."""
    words = value.split()
    if not words or value.upper() == "LOCAL":
        return
    if words[0].upper() == "LIST":
        yield from (line.strip() for line in following if line.strip())
    elif _PATTERN.fullmatch(words[0]) and len(words) >= 3 and all(word.isdecimal() for word in words[1:4]):
        first, last, step = int(words[1]), int(words[2]), int(words[3]) if len(words) > 3 else 1
        numbers = range(first, last + 1, max(1, step))[:_MOST_FILES]
        yield from (words[0] % number for number in numbers)
    else:
        yield value
