"""Reading images of every format SimpleITK knows, after checks that SimpleITK leaves out."""

from __future__ import annotations

import types
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from meddenoise.errors import InputError
from meddenoise.io.source import PICTURE_EXTENSIONS, extension_of
from meddenoise.volume import Header


@dataclass(frozen=True)
class Read:
    """What a reader hands on: values (slices, rows, columns), LPS affine, header, and the modality stated, if any."""

    array: NDArray[Any]
    affine: NDArray[np.float64]
    header: Header
    stated: str | None = None


def read_image(path: Path) -> Read:
    """Read one scalar 2D or 3D image file.

    Raises:
        InputError: The file is missing, empty, truncated, not an image, or not a scalar image of two or three axes.
    """
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
        image = reader.Execute()
    except RuntimeError as error:
        raise InputError(f"{path}: cannot be read as an image: {_last_line(error)}") from error
    array = sitk.GetArrayFromImage(image)
    array = array.reshape((1,) * (3 - array.ndim) + array.shape)
    if array.dtype == np.float64:
        array = array.astype(np.float32)
    metadata = {key: image.GetMetaData(key) for key in image.GetMetaDataKeys()}
    header = Header(
        dtype=array.dtype.name,
        stored_range=_range_of(array.dtype),
        display=array.dtype == np.uint8,
        ndim=image.GetDimension(),
        sources=(path,),
        ext=extension_of(path),
        metadata=types.MappingProxyType(metadata),
    )
    return Read(array, affine_of(image), header)


def affine_of(image: sitk.Image) -> NDArray[np.float64]:
    """4x4 LPS affine of a 2D or 3D image; a 2D image lies in the plane z = 0 with slices 1 mm apart."""
    n = image.GetDimension()
    affine = np.eye(4)
    affine[:n, :n] = np.reshape(image.GetDirection(), (n, n)) * np.asarray(image.GetSpacing())
    affine[:n, 3] = image.GetOrigin()
    return affine


def is_picture(path: Path) -> bool:
    """True for the formats that hold pictures rather than measurements."""
    return extension_of(path) in PICTURE_EXTENSIONS


def _range_of(dtype: np.dtype[Any]) -> tuple[float, float] | None:
    if dtype.kind not in "iu":
        return None
    info = np.iinfo(dtype)
    return float(info.min), float(info.max)


def _last_line(error: Exception) -> str:
    return str(error).strip().splitlines()[-1].strip()
