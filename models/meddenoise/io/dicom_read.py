"""Reading a DICOM series as one volume in physical units."""

from __future__ import annotations

import types
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from meddenoise.errors import InputError
from meddenoise.io.dicom_file import DAMAGE, kind_of, no_image_reason, open_dicom, samples_of
from meddenoise.io.dicom_geometry import Stack, stack_of
from meddenoise.io.dicom_pixels import bit_range, padding_range, stored_values
from meddenoise.io.images import Read, without_equal_colours
from meddenoise.io.source import MARK
from meddenoise.io.suv import suv_factor
from meddenoise.volume import Header


def read_series(name: str, files: tuple[Path, ...]) -> Read:
    """Read the files of one series, sorted by position along the slice normal.

    Args:
        name: What to call the series in messages.
        files: Single-frame DICOM files, in grey or in colours of 8 bits, in any order.

    Raises:
        InputError: A file cannot be decoded or is no such frame.
        GeometryError: The slices do not stack: they differ in size or direction, or share a position.
    """
    datasets = [open_dicom(file) for file in files]
    try:
        return _read(name, files, datasets)
    except DAMAGE as error:
        raise InputError(f"{name}: a header field is missing or not valid: {error}; correct it") from error


def _read(name: str, files: tuple[Path, ...], datasets: list[Dataset]) -> Read:
    for dataset, file in zip(datasets, files, strict=True):
        check_frame(dataset, file)
    stack = stack_of(name, datasets)
    datasets, files = [datasets[i] for i in stack.order], tuple(files[i] for i in stack.order)
    stored = [stored_values(dataset, file) for dataset, file in zip(datasets, files, strict=True)]
    array = _physical(stored, [rescale_of(dataset, file) for dataset, file in zip(datasets, files, strict=True)])
    header = _header(datasets, files, array, stack)
    array, grey_note = without_equal_colours(name, array)
    header = replace(header, warnings=header.warnings + grey_note)
    return Read(array, stack.affine, header, str(datasets[0].get("Modality", "")))


def check_frame(dataset: Dataset, path: Path) -> None:
    """Refuse what is no single frame in grey or in colours of 8 bits.

    Raises:
        InputError: Not an image, several frames, or other colours.
    """
    reason = no_image_reason(dataset)
    if reason is not None:
        raise InputError(f"{path}: {reason}; give a grey image, or one in colours of 8 bits")
    if not dataset.Rows or not dataset.Columns:
        raise InputError(f"{path}: has no pixels, its size is {dataset.Rows} x {dataset.Columns}")
    frames = int(dataset.get("NumberOfFrames") or 1)
    if frames > 1 or "Enhanced" in kind_of(dataset):
        raise InputError(
            f"{path}: is a multi-frame object ({kind_of(dataset)}, {frames} frames); convert it to single-frame DICOM, "
            "NRRD or NIfTI first, for example with dcm2niix"
        )
    allowed, what = ((8,), " for colour") if samples_of(dataset) == 3 else ((8, 16, 32), "")
    if int(dataset.get("BitsAllocated") or 0) not in allowed:
        named = " or ".join(map(str, allowed))
        raise InputError(f"{path}: BitsAllocated must be {named}{what}, got {dataset.get('BitsAllocated')}")


def rescale_of(dataset: Dataset, path: Path) -> tuple[float, float]:
    """Slope and intercept from stored to physical values; 1 and 0 where the file names none.

    Raises:
        InputError: The slope is zero or not a number.
    """
    slope, intercept = (dataset.get(tag) for tag in ("RescaleSlope", "RescaleIntercept"))
    factors = 1.0 if slope is None else float(slope), 0.0 if intercept is None else float(intercept)
    if factors[0] == 0 or not np.isfinite(factors).all():
        raise InputError(f"{path}: RescaleSlope must be a number other than 0, got {slope}; correct the tag")
    return factors


def _physical(stored: list[NDArray[Any]], rescale: list[tuple[float, float]]) -> NDArray[Any]:
    """Stack the slices and rescale them: to the smallest fitting integer type where that is exact, else to float32."""
    if any(slope != 1 or not intercept.is_integer() for slope, intercept in rescale):
        return np.stack(
            [(s * slope + intercept).astype(np.float32) for s, (slope, intercept) in zip(stored, rescale, strict=True)]
        )
    slices = [s.astype(np.int64) + int(intercept) for s, (_, intercept) in zip(stored, rescale, strict=True)]
    low, high = min(int(s.min()) for s in slices), max(int(s.max()) for s in slices)
    is_byte = all(s.dtype == np.uint8 for s in stored) and all(intercept == 0 for _, intercept in rescale)
    for name in ("uint8", "int16", "uint16", "int32", "int64") if is_byte else ("int16", "uint16", "int32", "int64"):
        info = np.iinfo(name)
        if info.min <= low and high <= info.max:
            return np.stack([s.astype(name) for s in slices])
    raise AssertionError("int64 holds every stored value")


def _header(datasets: list[Dataset], files: tuple[Path, ...], array: NDArray[Any], stack: Stack) -> Header:
    first = datasets[0]
    ends = []
    for dataset, file in zip(datasets, files, strict=True):
        slope, intercept = rescale_of(dataset, file)
        ends += [end * slope + intercept for end in bit_range(dataset)]
    description = str(first.get("DerivationDescription", ""))
    return Header(
        dtype=array.dtype.name,
        stored_range=(min(ends), max(ends)),
        units=_units(first),
        display=array.dtype == np.uint8 and max(ends) <= 255,
        samples=samples_of(first),
        ndim=3 if stack.placed else 2,
        suv_factor=suv_factor(first),
        padding=_padding(datasets, files, array.dtype),
        even=stack.even,
        sources=files,
        ext=".dcm",
        metadata=types.MappingProxyType(
            {MARK: description.removeprefix(MARK).strip()} if description.startswith(MARK) else {}
        ),
        warnings=stack.warnings + _unit_notes(first, files[0]),
    )


def _padding(
    datasets: list[Dataset], files: tuple[Path, ...], dtype: np.dtype[Any]
) -> tuple[tuple[float, float], ...] | None:
    """Each slice's padding range through its own rescale; one range where all are the same, None where none has any."""
    ranges = []
    for dataset, file in zip(datasets, files, strict=True):
        slope, intercept = rescale_of(dataset, file)
        stored = padding_range(dataset) or (np.nan, np.nan)
        ends = [end * slope + intercept for end in stored]
        low, high = np.array(sorted(ends)).astype(np.float32 if dtype.kind == "f" else np.float64)  # as the voxels are
        ranges.append((float(low), float(high)))
    if np.isnan(ranges).all():
        return None
    return (ranges[0],) if len(set(ranges)) == 1 else tuple(ranges)


def _unit_notes(dataset: Dataset, path: Path) -> tuple[str, ...]:
    """What the user should know about the units of a CT, which are Hounsfield units by its rescale alone."""
    if dataset.get("Modality") != "CT":
        return ()
    kind = dataset.get("RescaleType")
    if kind not in ("HU", "", None):
        return (f"{path.name}: RescaleType {kind} is not HU; its values are denoised as a CT without units",)
    if "RescaleSlope" not in dataset and "RescaleIntercept" not in dataset:
        return (f"{path.name}: a CT without RescaleSlope and RescaleIntercept; its stored values are taken as HU",)
    return ()


def _units(dataset: Dataset) -> str:
    modality, units = dataset.get("Modality"), str(dataset.get("Units", ""))
    if modality == "PT":
        return {"BQML": "BQML", "GML": "SUV"}.get(units, "")
    return "HU" if modality == "CT" and dataset.get("RescaleType", "HU") in ("HU", "", None) else ""
