"""Sorting DICOM files into series, and series into stacks of slices that form one volume each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError

from meddenoise.io.dicom_geometry import SAME_PLACE, direction_of, is_placed
from meddenoise.io.source import DICOM_EXTENSIONS

_NO_IMAGE = ("Segmentation", "RT Dose", "Parametric Map", "Presentation State", "Raw Data", "Label Map", "Waveform")
"""Parts of names of SOP classes that have rows and columns, or might, and are no image to denoise."""
_SPLITTERS = (
    "TemporalPositionIdentifier", "TemporalPositionIndex", "EchoNumbers", "EchoTime", "InversionTime", "TriggerTime",
    "DiffusionBValue", "FrameReferenceTime", "AcquisitionNumber", "AcquisitionTime", "ContentTime", "ImageType",
)  # fmt: skip
"""Tags that tell volumes of one series apart, tried in this order."""
_TAGS = [
    "SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "SeriesNumber", "SeriesDescription", "InstanceNumber",
    "Modality", "Rows", "Columns", "SamplesPerPixel", "NumberOfFrames", "PhotometricInterpretation", "PixelSpacing",
    "ImagePositionPatient", "ImageOrientationPatient", *_SPLITTERS,
]  # fmt: skip


@dataclass(frozen=True)
class Entry:
    """One DICOM file and the header fields that sort it."""

    file: Path
    head: Dataset


def is_dicom(path: Path) -> bool:
    """True where the content says DICOM; files without the preamble count if their name does not say otherwise."""
    try:
        with path.open("rb") as file:
            start = file.read(132)
    except OSError:
        return False
    if start[128:] == b"DICM":
        return True
    named = path.suffix.lower() in DICOM_EXTENSIONS or path.suffix == "" or path.suffix[1:].isdigit()
    return named and len(start) >= 12 and start[:2] in (b"\x08\x00", b"\x02\x00") and start[3] == 0


def read_head(path: Path) -> Dataset | None:
    """The sorting fields of a DICOM file, or None where even those cannot be read."""
    try:
        return pydicom.dcmread(path, stop_before_pixels=True, force=True, specific_tags=list(_TAGS))
    except (OSError, InvalidDicomError, ValueError, EOFError, AttributeError, NotImplementedError):
        return None


def reason_to_skip(head: Dataset) -> str | None:
    """Why a DICOM object in a folder is no image to denoise, or None."""
    uid = head.get("SOPClassUID")
    kind = uid.name if uid is not None else "an object of unknown type"
    if "Rows" not in head or "Columns" not in head or any(word in kind for word in _NO_IMAGE):
        return f"{kind} is not an image to denoise"
    if int(head.get("SamplesPerPixel") or 1) != 1 or head.get("PhotometricInterpretation") == "PALETTE COLOR":
        return f"{kind} in colour is not a grey image"
    return None


def series_of(entries: Iterable[Entry]) -> dict[str, list[Entry]]:
    """Files by SeriesInstanceUID, in the order found."""
    series: dict[str, list[Entry]] = {}
    for entry in entries:
        series.setdefault(str(entry.head.get("SeriesInstanceUID", "")), []).append(entry)
    return series


def stacks_of(entries: Sequence[Entry]) -> list[list[Entry]]:
    """Split one series into stacks that can form a volume each.

    Files differ in stack by size, direction, kind and pixel spacing; images without a place in the patient and
    multi-frame objects stand alone. Where slices share positions, the first tag that tells full sets apart splits
    them; if none does they stay together, and reading them says so.
    """
    groups: dict[tuple[object, ...], list[Entry]] = {}
    for entry in entries:
        groups.setdefault(_shape_key(entry), []).append(entry)
    return [stack for group in groups.values() for stack in _split_positions(group)]


def _shape_key(entry: Entry) -> tuple[object, ...]:
    head = entry.head
    if not is_placed(head) or int(head.get("NumberOfFrames") or 1) > 1:
        return (str(entry.file),)
    along, down = direction_of(head)
    direction = tuple(np.round(np.concatenate([along, down]), 2) + 0.0)  # + 0.0 turns -0.0 into 0.0
    spacing = tuple(round(float(v), 3) for v in head.get("PixelSpacing") or ())
    return (head.get("SOPClassUID"), head.Rows, head.Columns, direction, spacing)


def _split_positions(group: list[Entry]) -> list[list[Entry]]:
    if _distinct(group):
        return [group]
    for tag in _SPLITTERS:
        parts: dict[str, list[Entry]] = {}
        for entry in group:
            parts.setdefault(str(entry.head.get(tag, "")), []).append(entry)
        if len(parts) > 1 and all(_distinct(part) for part in parts.values()) and _alike(list(parts.values())):
            return list(parts.values())
    return [group]


def _places(entries: Sequence[Entry]) -> list[float]:
    if not is_placed(entries[0].head):
        return [0.0] * len(entries)
    normal = np.cross(*direction_of(entries[0].head))
    return sorted(float(np.dot(normal, np.array(e.head.ImagePositionPatient, float))) for e in entries)


def _distinct(entries: Sequence[Entry]) -> bool:
    return bool((np.diff(_places(entries)) >= SAME_PLACE).all())


def _alike(parts: Sequence[Sequence[Entry]]) -> bool:
    """True where every part covers the same number of positions, as time points and echoes do."""
    return len({len(part) for part in parts}) == 1
