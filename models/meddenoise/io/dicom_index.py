"""Sorting DICOM files into series, and series into stacks of slices that form one volume each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset

from meddenoise.io.dicom_file import samples_of
from meddenoise.io.dicom_geometry import SAME_PLACE, direction_of, is_placed

_SPLITTERS = (
    "TemporalPositionIdentifier", "TemporalPositionIndex", "EchoNumbers", "EchoTime", "InversionTime", "TriggerTime",
    "DiffusionBValue", "FrameReferenceTime", "AcquisitionNumber", "AcquisitionTime", "ContentTime", "ImageType",
)  # fmt: skip
"""Tags that tell volumes of one series apart, tried in this order."""
SORTING_TAGS = [
    "SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "SeriesNumber", "SeriesDescription", "InstanceNumber",
    "Modality", "Rows", "Columns", "SamplesPerPixel", "NumberOfFrames", "PhotometricInterpretation", "PixelSpacing",
    "ImagePositionPatient", "ImageOrientationPatient", "DerivationDescription", *_SPLITTERS,
]  # fmt: skip


@dataclass(frozen=True)
class Entry:
    """One DICOM file and the header fields that sort it."""

    file: Path
    head: Dataset


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
    return (head.get("SOPClassUID"), samples_of(head), head.Rows, head.Columns, direction, spacing)


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
