"""Builds the file of training slices from a folder of images, with or without a manifest."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from meddenoise.errors import InputError, OptionError
from meddenoise.training.slices import Slice, SliceInfo, packed, save_slices

if TYPE_CHECKING:
    from meddenoise.io import Source
    from meddenoise.volume import Volume

MANIFEST = "MANIFEST.csv"
COLUMNS = ("volume_id", "modality", "use", "subject", "path", "intensity_units", "dose", "data_license")
USABLE = "train and evaluate"
CLEAN_DOSES = ("", "full")
ISOTROPY, LEAST_SIDE = 1.3, 96
"""CT volumes of nearly cubic voxels with at least this many along every axis are cut along all three."""
MIB = 1 << 20
ENTRY_BYTES = 640
"""More than what a slice takes in the file beside its values."""


@dataclass(frozen=True)
class Image:
    """One volume that is to be cut into slices.

    Attributes:
        source: Where it is read.
        volume: Its name in the training set.
        subject: The patient's name there.
        modality: None where the file is to say it.
        units: Where the file does not say them; else "".
        licence: Of the image.
    """

    source: Source
    volume: str
    subject: str
    modality: str | None = None
    units: str = ""
    licence: str = ""


def build_slices(
    data: Path,
    out: Path,
    *,
    limit_mib: float | None = None,
    depth: int = 1,
    report: Callable[[str], None] = lambda line: None,
) -> list[Slice]:
    """Read every volume that may be used for training and write its slices to ``out``; same input, same bytes.

    A folder with a MANIFEST.csv is read by it: a table with the columns volume_id, modality, use, subject, path
    (relative to ``data``), intensity_units, dose and data_license; rows of another use than "train and evaluate", and
    low-dose partners, are left out. Of any other folder every image below it is taken, but for results of ours and for
    files in other formats right beside DICOM. Its volumes and subjects are named by hashes of the series or path, and
    of the PatientID or the topmost folder: nobody reads a name there, but who knows a PatientID can look for it.
    What is not taken, cannot be read or is a colour picture is reported and passed over.

    Args:
        data: The folder.
        out: The file; must not be there yet.
        limit_mib: Largest size of the file in MiB: volumes share it, and slices are taken evenly from each.
        depth: Slices are taken in runs of this many neighbours; 3 for networks that look at three slices.
        report: Called with lines of progress.

    Raises:
        InputError: Nothing usable there, or nothing small enough, or a manifest that lacks columns.
        OptionError: ``out`` exists, or ``depth`` is below 1.
    """
    if not data.is_dir():
        raise InputError(f"no training data: {data} is not a folder")
    if out.exists():
        raise OptionError(f"{out} exists; choose another name for the slices")
    if depth < 1:
        raise OptionError(f"slices are taken in runs of 1 or more, got {depth}")
    images = list(_by_manifest(data) if (data / MANIFEST).exists() else _by_content(data, report))
    left = None if limit_mib is None else int(limit_mib * MIB) - ENTRY_BYTES
    found: dict[int, list[Slice]] = {}
    # Small volumes first: what they leave of their shares goes to the larger ones.
    order = sorted(range(len(images)), key=lambda i: _bytes_of(images[i].source))
    for done, i in enumerate(order):
        try:
            found[i] = list(_slices_of(images[i]))
        except InputError as error:
            report(f"left out: {error}")
            continue
        if left is not None:
            found[i] = _within(found[i], left, left // (len(images) - done), depth)
            left -= sum(map(size_of, found[i]))
            if not found[i]:
                report(f"left out: {images[i].source.path}: no room for {depth} of its slices")
    slices = [s for i in sorted(found) for s in found[i]]
    if not slices:
        raise InputError(
            f"no training data: no readable image to train on in {data}"
            + ("" if limit_mib is None else f" fits below {limit_mib:g} MiB")
        )
    out.parent.mkdir(parents=True, exist_ok=True)
    save_slices(slices, out)
    subjects = len({s.info.subject for s in slices})
    report(f"{len(slices)} slices of {subjects} subjects in {out} ({out.stat().st_size / MIB:.1f} MiB)")
    return slices


def _bytes_of(source: Source) -> int:
    """Size of its files; reading says which of them are missing."""
    return sum(file.stat().st_size for file in source.files if file.exists())


def _within(slices: list[Slice], left: int, share: int, depth: int) -> list[Slice]:
    """Slices that take up to ``share`` bytes, evenly, or else one run from the middle if ``left`` allows it."""
    middle = len(slices) // 2
    return evenly(slices, share, depth) or evenly(slices[middle : middle + depth], left, depth)


def evenly(slices: list[Slice], limit: int, depth: int) -> list[Slice]:
    """As many slices as take up to ``limit`` bytes, in runs of ``depth`` that lie evenly; none where no run fits."""
    runs = [slices[i : i + depth] for i in range(0, len(slices), depth)]
    sizes = [sum(map(size_of, run)) for run in runs]
    for count in range(len(runs), 0, -1):
        picks = [(2 * i + 1) * len(runs) // (2 * count) for i in range(count)]
        if sum(sizes[i] for i in picks) <= limit:
            return [s for i in picks for s in runs[i]]
    return []


def size_of(one: Slice) -> int:
    """Bytes of a slice in the file, at most."""
    return packed(one.values)[0].nbytes + ENTRY_BYTES


def _by_manifest(data: Path) -> Iterator[Image]:
    from meddenoise.io import find_sources

    rows = csv.DictReader((data / MANIFEST).read_text(encoding="utf-8-sig").splitlines())
    missing = [name for name in COLUMNS if name not in (rows.fieldnames or ())]
    if missing:
        raise InputError(f"{data / MANIFEST}: must have the columns {', '.join(COLUMNS)}; lacks {', '.join(missing)}")
    for row in rows:
        if row["use"] == USABLE and row["dose"] in CLEAN_DOSES:
            units = "SUV" if row["intensity_units"].startswith("SUV") else ""
            for source in find_sources([data / row["path"]])[0]:
                yield Image(source, row["volume_id"], row["subject"], row["modality"], units, row["data_license"])


def _by_content(data: Path, report: Callable[[str], None]) -> Iterator[Image]:
    from meddenoise.io import find_sources

    seen: set[Path] = set()
    told: set[str] = set()
    folders = [data, *sorted(f for f in data.rglob("*") if f.is_dir() and not f.name.startswith("."))]
    for folder in folders:
        if not any(f.is_file() and not f.name.startswith(".") for f in folder.iterdir()):
            continue
        sources, skipped = find_sources([folder])
        for sentence in dict.fromkeys(skipped):  # a folder's are said again of its sub-folders
            if sentence not in told:
                told.add(sentence)
                report(sentence)
        for source in sources:
            if source.files and seen.isdisjoint(source.files):
                seen.update(source.files)
                name = source.series_uid or str(source.path.relative_to(data))
                yield Image(source, _hashed(f"{name} {source.stem}"), _hashed(_subject(source, data)))


def _subject(source: Source, data: Path) -> str:
    """The PatientID, else the topmost folder below ``data``, else the file's name."""
    from meddenoise.io.dicom_file import read_head

    head = read_head(source.files[0], ["PatientID"]) if source.series_uid is not None else None
    patient = str(head.get("PatientID") or "") if head is not None else ""
    return patient.strip() or source.files[0].relative_to(data).parts[0]


def _hashed(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _slices_of(image: Image) -> Iterator[Slice]:
    # Reading needs SimpleITK and pydicom, which a bare training machine need not have.
    from meddenoise.intensity import intensity_of
    from meddenoise.io import provenance_of, read_volume

    volume = read_volume(image.source, modality=image.modality)  # type: ignore[arg-type]  # checked by read_volume
    ours = provenance_of(volume)
    if ours is not None:
        raise InputError(ours)
    if volume.colour:
        raise InputError(f"{image.source.path}: a colour picture; give grey images to train on")
    if image.units:
        volume = replace(volume, header=replace(volume.header, units=image.units))
    rule = intensity_of(volume)
    for axis in _axes(volume):
        for position, values in enumerate(np.moveaxis(volume.array, axis, 0)):
            if min(values.shape) > 1 and values.std() > 1e-3 * rule.scale:  # a line has nothing to mirror
                info = SliceInfo(
                    volume=image.volume,
                    subject=image.subject,
                    modality=image.modality or volume.modality,  # pictures are read as X-ray
                    display=volume.header.display,
                    offset=rule.offset,
                    scale=rule.scale,
                    licence=image.licence,
                    axis=axis,
                    position=position,
                )
                yield Slice(torch.from_numpy(np.array(values)), info)


def _axes(volume: Volume) -> tuple[int, ...]:
    """Axes of the array across which the volume is cut."""
    cubic = max(volume.spacing) < ISOTROPY * min(volume.spacing) and min(volume.array.shape) >= LEAST_SIDE
    return (0, 1, 2) if cubic and volume.modality == "CT" else (volume.slicing_axis,)
