"""Stored pixel values of one DICOM file, whatever its compression."""

from __future__ import annotations

import math
import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk  # noqa: N813
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.pixel_data_handlers.util import convert_color_space
from pydicom.uid import JPEGExtended12Bit, SecondaryCaptureImageStorage, generate_uid

from meddenoise.errors import InputError
from meddenoise.io.dicom_file import samples_of

_PIXEL_TAGS = ("Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "PixelData")
_COLOUR_TAGS = ("SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration")
_STDERR = threading.Lock()


def stored_values(dataset: Dataset, path: Path) -> NDArray[Any]:
    """Decode one frame to the integers that are stored, before any rescale.

    Returns:
        Shape (rows, columns); uint8, uint16, uint32, int8, int16 or int32. Bits outside BitsStored are cleared. Colour
        has shape (rows, columns, 3), red, green and blue, whatever is stored.

    Raises:
        InputError: The pixel data is missing, truncated or cannot be decoded.
    """
    if "PixelData" not in dataset:
        raise InputError(f"{path}: holds no pixel data (PixelData); export it again")
    try:
        compressed = dataset.file_meta.TransferSyntaxUID.is_compressed
        values = _decompressed(dataset) if compressed else _plain(dataset)
    except (RuntimeError, ValueError, NotImplementedError, AttributeError, KeyError) as error:
        reason = str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__
        raise InputError(f"{path}: its pixel data is damaged, truncated or of an unknown kind: {reason}") from error
    colours = (3,) if samples_of(dataset) == 3 else ()
    shape = (int(dataset.Rows), int(dataset.Columns), *colours)
    if values.size != math.prod(shape):
        raise InputError(f"{path}: must hold one frame of {shape[0]} x {shape[1]}, got shape {values.shape}")
    return values.reshape(shape)


def bit_range(dataset: Dataset) -> tuple[int, int]:
    """Smallest and largest value that BitsStored and PixelRepresentation allow."""
    bits = int(dataset.BitsStored)
    return (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if dataset.PixelRepresentation else (0, 2**bits - 1)


def padding_range(dataset: Dataset) -> tuple[int, int] | None:
    """Smallest and largest stored value that mean padding, or None; unsigned tags of signed pixels are put right."""
    value, limit = dataset.get("PixelPaddingValue"), dataset.get("PixelPaddingRangeLimit")
    if value is None or value == "" or samples_of(dataset) == 3:
        return None
    low, high = bit_range(dataset)
    ends = [int(end) for end in (value, value if limit is None else limit)]
    ends = [end - 2 ** int(dataset.BitsAllocated) if low < 0 and end > high else end for end in ends]
    return min(ends), max(ends)


def _plain(dataset: Dataset) -> NDArray[Any]:
    """The pixels of an object that is not compressed."""
    values = _own_bits(dataset, dataset.pixel_array)
    photometric = str(dataset.PhotometricInterpretation)
    return convert_color_space(values, photometric, "RGB") if photometric.startswith("YBR") else values


def _own_bits(dataset: Dataset, values: NDArray[Any]) -> NDArray[Any]:
    """Keep the bits up to HighBit that are stored, sign extended; overlays may sit in the others."""
    bits, allocated = int(dataset.BitsStored), int(dataset.BitsAllocated)
    high = int(dataset.get("HighBit", bits - 1))
    up, down = allocated - 1 - high, allocated - bits
    if up == 0 and down == 0:
        return values
    return np.right_shift(np.left_shift(values, up), down)


def _decompressed(dataset: Dataset) -> NDArray[Any]:
    """Decode through GDCM, from a copy that holds the pixels alone, so that no rescale is applied on the way.

    It turns every kind of colour into red, green and blue.
    """
    bare = Dataset()
    bare.SOPClassUID, bare.SOPInstanceUID = SecondaryCaptureImageStorage, generate_uid()
    bare.Modality, bare.SamplesPerPixel, bare.PhotometricInterpretation = "OT", 1, "MONOCHROME2"
    for name in _PIXEL_TAGS + (_COLOUR_TAGS if samples_of(dataset) == 3 else ()):
        bare[name] = dataset[name]
    bare.file_meta = dataset.file_meta
    bare.is_little_endian, bare.is_implicit_VR = True, False
    with tempfile.TemporaryDirectory(prefix="meddenoise-") as folder:
        file = Path(folder) / "frame.dcm"
        bare.save_as(file, write_like_original=False)
        if bare.file_meta.TransferSyntaxUID != JPEGExtended12Bit:
            return sitk.GetArrayFromImage(sitk.ReadImage(str(file)))
        with _no_stderr():
            return sitk.GetArrayFromImage(sitk.ReadImage(str(file)))


@contextmanager
def _no_stderr() -> Iterator[None]:
    """Close the process's stderr for a moment: GDCM prints there that the 8-bit decoder, tried first, fails."""
    with _STDERR:
        try:
            kept = os.dup(2)
        except OSError:  # there is none
            yield
            return
        nowhere = os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(nowhere, 2)
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            os.close(nowhere)
