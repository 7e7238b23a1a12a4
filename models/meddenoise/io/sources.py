"""From the paths a user names to the images and series to read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pydicom

from meddenoise.errors import OptionError
from meddenoise.io.source import IMAGE_EXTENSIONS, Source, extension_of, stem_of


def is_dicom(path: Path) -> bool:
    """True where the content, not the name, says DICOM."""
    try:
        with path.open("rb") as file:
            return file.read(132)[128:] == b"DICM"
    except OSError:
        return False


def find_sources(paths: Sequence[Path], *, series: str | None = None) -> tuple[list[Source], list[str]]:
    """Find the images and DICOM series under the paths given."""
    found: list[Source] = []
    skipped: list[str] = []
    for path in map(Path, paths):
        if path.is_dir():
            found += _in_folder(path, skipped)
        elif is_dicom(path):
            head = pydicom.dcmread(path, stop_before_pixels=True)
            found.append(Source(path, (path,), stem_of(path), str(head.get("SeriesInstanceUID", ""))))
        else:
            found.append(Source(path, (path,), stem_of(path), None))
    if series is not None:
        there = [s.series_uid for s in found if s.series_uid]
        if series not in there:
            raise OptionError(f"series {series} is not among the inputs; there are: {', '.join(there) or 'none'}")
        found = [s for s in found if s.series_uid == series]
    return found, skipped


def _in_folder(folder: Path, skipped: list[str]) -> list[Source]:
    groups: dict[str, list[Path]] = {}
    numbers: dict[str, str] = {}
    for file in sorted(folder.rglob("*")):
        if file.is_file() and is_dicom(file):
            head = pydicom.dcmread(file, stop_before_pixels=True)
            if "Rows" not in head:
                skipped.append(f"{file}: skipped, {head.SOPClassUID.name} holds no image")
                continue
            groups.setdefault(head.SeriesInstanceUID, []).append(file)
            numbers[head.SeriesInstanceUID] = str(head.get("SeriesNumber", ""))
    if not groups:
        images = [f for f in sorted(folder.iterdir()) if f.is_file() and extension_of(f) in IMAGE_EXTENSIONS]
        return [Source(f, (f,), stem_of(f), None) for f in images]
    several = len(groups) > 1
    return [
        Source(folder, tuple(files), folder.resolve().name + (f"-{numbers[uid]}" if several else ""), uid)
        for uid, files in groups.items()
    ]
