"""Writing volumes: any SimpleITK format by extension, whole or not at all, rounded and clipped, never wrapped."""

# mypy: disable-error-code="no-untyped-call"
# (SimpleITK has no types)

from __future__ import annotations

import shutil
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk  # noqa: N813
from numpy.typing import NDArray

from meddenoise.errors import GeometryError, OutputError
from meddenoise.io.atomic import replacing_file
from meddenoise.io.detached import check_payload_free
from meddenoise.io.images import sheared_by
from meddenoise.io.marks import add_mark, nifti_description
from meddenoise.io.nifti import CODE, set_code
from meddenoise.io.source import IMAGE_EXTENSIONS, MARK, PICTURE_EXTENSIONS, extension_of
from meddenoise.volume import Volume

_NIFTI = (".nii", ".nii.gz")
_JPEG = (".jpg", ".jpeg")
_JPEG_QUALITY = 95
_JPEG_SLACK = 1 << 16
"""Bytes of free space asked for beside the pixels: libjpeg ends the whole process when the disk is full."""
_NIFTI_HEADER = 352
_TYPES = {".png": ("uint8", "uint16"), ".jpg": ("uint8",), ".jpeg": ("uint8",)}


def write_volume(volume: Volume, path: Path) -> Path:
    """Write a volume in the format its extension names, in the type ``volume.header.dtype``, grey or in colour.

    Integers are rounded and clipped to the type's and the header's range. NRRD and MHA are raw, .nii.gz, PNG and TIFF
    are compressed. The mark in ``volume.header.metadata["MedDenoise"]`` goes along. The file appears whole or not at
    all; an existing one is replaced. The voxels of .mhd and .nhdr lie in NAME.raw, which only replaces its own.

    Raises:
        GeometryError: The slices are unevenly spaced, or the format cannot hold the geometry.
        OutputError: The format is unknown or cannot hold the image, or the place cannot be written.
    """
    path = Path(path)
    ext = extension_of(path)
    _check_format(volume, path, ext)
    check_payload_free(path)
    image = _image_of(volume, path, ext)
    writer = sitk.ImageFileWriter()
    writer.SetUseCompression(ext == ".nii.gz" or ext in PICTURE_EXTENSIONS)
    if ext in _JPEG:
        writer.SetCompressionLevel(_JPEG_QUALITY)
    mark = volume.header.metadata.get(MARK)
    nbytes = image.GetNumberOfPixels() * image.GetNumberOfComponentsPerPixel() * image.GetSizeOfPixelComponent()
    with replacing_file(path) as temporary:
        if ext in _JPEG and shutil.disk_usage(temporary.parent).free < nbytes + _JPEG_SLACK:
            raise OutputError(f"{path}: cannot be written: the disk is full; free some space")
        writer.SetFileName(str(temporary))
        try:
            writer.Execute(image)
        except RuntimeError as error:
            reason = str(error).strip().splitlines()[-1].strip()
            raise OutputError(f"{path}: cannot be written, is the disk full? {reason}") from error
        if ext in _NIFTI:
            _check_nifti_written(temporary, path, ext, nbytes)
            if volume.header.metadata.get(CODE, "").isdecimal():
                set_code(temporary, ext, volume.header.metadata[CODE])
        if mark and ext in PICTURE_EXTENSIONS:
            add_mark(temporary, ext, mark)
    return path


def as_stored(volume: Volume) -> NDArray[Any]:
    """The values in the type ``volume.header.dtype``: rounded and clipped to its and the header's range, or float32."""
    dtype = np.dtype(volume.header.dtype)
    if volume.array.dtype == dtype:
        return volume.array
    if dtype.kind == "f":
        return volume.array.astype(np.float32)
    info = np.iinfo(dtype)
    low, high = volume.header.stored_range or (info.min, info.max)
    low, high = max(int(np.ceil(low)), info.min), min(int(np.floor(high)), info.max)
    wide = np.float32 if dtype.itemsize <= 2 and volume.array.dtype == np.float32 else np.float64  # float32 is exact
    rounded = np.rint(volume.array, dtype=wide)
    with np.errstate(invalid="ignore"):
        stored: NDArray[Any] = np.clip(rounded, low, high).astype(dtype)
    if dtype.itemsize > 2:  # float64 cannot hold the ends of 64-bit integers: casting them would wrap
        stored[rounded >= high] = high
    return stored


def in_colours(values: NDArray[Any], samples: int, *, grey_axes: int = 3) -> NDArray[Any]:
    """Repeat grey values, which have so many axes, on a last axis where the file stores several; colours stay."""
    return np.repeat(values[..., None], samples, axis=-1) if samples > 1 and values.ndim == grey_axes else values


def _check_format(volume: Volume, path: Path, ext: str) -> None:
    if ext not in IMAGE_EXTENSIONS:
        raise OutputError(f"{path}: unknown format {path.suffix!r}; use one of {', '.join(IMAGE_EXTENSIONS)}")
    if not volume.header.even:
        raise GeometryError(f"{path}: the slices are unevenly spaced, which {ext} cannot hold; write DICOM instead")
    if ext in _NIFTI and sheared_by(volume.affine, volume.array.shape[::-1]) > 0:
        raise GeometryError(
            f"{path}: the axes are sheared (gantry tilt), which NIfTI loses; write .nrrd or .mha instead"
        )
    if volume.colour and ext in _NIFTI:
        raise OutputError(f"{path}: {ext} is written in grey only; write a colour image as .png, .tif or .nrrd")
    allowed = _TYPES.get(ext)
    if allowed and volume.header.dtype not in allowed:
        raise OutputError(f"{path}: {ext} holds {' or '.join(allowed)}, got {volume.header.dtype}; write .nrrd instead")
    if allowed and volume.array.shape[0] > 1:
        raise OutputError(f"{path}: {ext} holds one slice, got {volume.array.shape[0]}; write .nrrd instead")


def _check_nifti_written(temporary: Path, path: Path, ext: str, nbytes: int) -> None:
    """ITK reports no error when a NIfTI file could not be written to its end: compare lengths, the unpacked for .gz."""
    needed = _NIFTI_HEADER + nbytes
    if ext == ".nii":
        whole = temporary.stat().st_size >= needed
    else:  # a gzip stream ends with its unpacked length modulo 2**32
        whole = _tail(temporary) == struct.pack("<I", needed % 2**32)
    if not whole:
        raise OutputError(f"{path}: cannot be written to its end: the disk is full; free some space")


def _tail(path: Path) -> bytes:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 4))
        return file.read()


def _image_of(volume: Volume, path: Path, ext: str) -> sitk.Image:
    flat = volume.header.ndim == 2 or (ext in PICTURE_EXTENSIONS and volume.array.shape[0] == 1)
    n = 2 if flat else 3
    array = in_colours(as_stored(volume), 1 if ext in _NIFTI else volume.header.samples)
    image = sitk.GetImageFromArray(array[0] if flat else array, isVector=array.ndim == 4)
    spacing = np.linalg.norm(volume.affine[:n, :n], axis=0)
    if ext in PICTURE_EXTENSIONS:  # they hold no direction, and their place would be lost in silence anyway
        spacing = np.linalg.norm(volume.affine[:3, :n], axis=0)
        image.SetSpacing(spacing.tolist())
        return image
    try:
        image.SetSpacing(spacing.tolist())
        image.SetDirection((volume.affine[:n, :n] / spacing).ravel().tolist())
        image.SetOrigin(volume.affine[:n, 3].tolist())
    except RuntimeError as error:
        raise GeometryError(f"{path}: the image's axes are degenerate: {volume.affine[:n, :n].tolist()}") from error
    for key, value in _fields(volume.header.metadata, ext).items():
        image.SetMetaData(key, value)
    return image


def _fields(metadata: Mapping[str, str], ext: str) -> dict[str, str]:
    """Header fields by the names ITK's writer for this format takes."""
    if ext not in _NIFTI:
        return {key: value for key, value in metadata.items() if key != "Modality" or ext in (".mha", ".mhd")}
    fields = {"aux_file": metadata["aux_file"]} if "aux_file" in metadata else {}
    notes = nifti_description(metadata[MARK]) if metadata.get(MARK) else metadata.get("descrip", "")
    return fields | ({"ITK_FileNotes": notes} if notes else {})
