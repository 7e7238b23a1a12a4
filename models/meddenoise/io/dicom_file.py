"""Opening DICOM files: what they are, whether they hold an image, and quiet reading of untidy headers."""

from __future__ import annotations

import warnings
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.errors import InvalidDicomError
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from meddenoise.errors import InputError
from meddenoise.io.source import DICOM_EXTENSIONS

DAMAGE = (
    OSError, InvalidDicomError, ValueError, EOFError, AttributeError, NotImplementedError, TypeError, KeyError,
    OverflowError, RuntimeError, RecursionError,
)  # fmt: skip
"""What pydicom raises on damaged files, depending on where the damage is."""
_NO_IMAGE = (
    "Segmentation", "RT Dose", "Parametric Map", "Presentation State", "Raw Data", "Label Map", "Waveform", "Directory",
)  # fmt: skip
"""Parts of names of SOP classes that have rows and columns, or might, and are no image to denoise."""

_COLOURS = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_RCT", "YBR_ICT")
"""Kinds of colour that can be turned into red, green and blue."""


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


def open_dicom(path: Path) -> Dataset:
    """Read a whole DICOM file, with or without the preamble.

    Raises:
        InputError: It is missing, damaged or truncated.
    """
    try:
        _hush()
        dataset = pydicom.dcmread(path, force=True)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; was it moved?") from None
    except DAMAGE as error:
        raise InputError(f"{path}: cannot be read as DICOM, it is damaged or truncated: {error}") from error
    if not hasattr(dataset, "file_meta") or "TransferSyntaxUID" not in dataset.file_meta:
        dataset.file_meta = getattr(dataset, "file_meta", FileMetaDataset())
        dataset.file_meta.TransferSyntaxUID = (
            ImplicitVRLittleEndian if dataset.is_implicit_VR else ExplicitVRLittleEndian
        )
    return dataset


def read_head(path: Path, keywords: list[str]) -> Dataset | None:
    """Some fields of a DICOM file without its pixels, or None where they cannot be read."""
    try:
        _hush()
        return pydicom.dcmread(path, stop_before_pixels=True, force=True, specific_tags=keywords)
    except DAMAGE:
        return None


def no_image_reason(dataset: Dataset) -> str | None:
    """Why a DICOM object is no image to denoise, by the name of its kind; None if it is one."""
    kind = kind_of(dataset)
    if "Rows" not in dataset or "Columns" not in dataset or any(word in kind for word in _NO_IMAGE):
        return f"{kind} is not an image to denoise"
    photometric = dataset.get("PhotometricInterpretation")
    if samples_of(dataset) != (3 if photometric in _COLOURS else 1) or photometric == "PALETTE COLOR":
        return f"{kind} in colour ({photometric}, {samples_of(dataset)} values per pixel) is not in grey, RGB or YBR"
    return None


def samples_of(dataset: Dataset) -> int:
    """Values per pixel: 1 for grey, 3 for colour."""
    return int(dataset.get("SamplesPerPixel") or 1)


def kind_of(dataset: Dataset) -> str:
    """Name of the object's SOP class."""
    uid = dataset.get("SOPClassUID")
    return uid.name if uid is not None else "a DICOM object of unknown type"


def _hush() -> None:
    """Keep pydicom's remarks on untidy headers from the user, who can do nothing about them.

    One lasting filter: `warnings.catch_warnings` must not be used where several threads read.
    """
    warnings.filterwarnings("ignore", module=r"pydicom(\.|$)")  # adds it once
