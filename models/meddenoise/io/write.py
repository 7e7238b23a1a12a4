"""Writing volumes: any SimpleITK format by extension, whole or not at all, rounded and clipped, never wrapped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from meddenoise.errors import GeometryError, OutputError
from meddenoise.io.atomic import replacing_file
from meddenoise.io.source import IMAGE_EXTENSIONS, extension_of
from meddenoise.volume import Volume


def write_volume(volume: Volume, path: Path) -> Path:
    """Write a volume in the format its extension names, in the type ``volume.header.dtype``.

    Integers are rounded and clipped to the type's and the header's range. NRRD and MHA are raw, NIfTI .nii.gz is
    compressed. The file appears whole or not at all.

    Raises:
        GeometryError: The slices are unevenly spaced, or the format cannot hold the geometry.
        OutputError: The format is unknown or cannot hold the image, or the place cannot be written.
    """
    path = Path(path)
    ext = extension_of(path)
    if ext not in IMAGE_EXTENSIONS:
        raise OutputError(f"{path}: unknown format {path.suffix!r}; use one of {', '.join(IMAGE_EXTENSIONS)}")
    if not volume.header.even:
        raise GeometryError(f"{path}: the slices are unevenly spaced, which {ext} cannot hold; write DICOM instead")
    image = _image_of(volume, as_stored(volume))
    writer = sitk.ImageFileWriter()
    writer.SetUseCompression(ext == ".nii.gz" or ext in (".png", ".tif", ".tiff"))
    with replacing_file(path) as temporary:
        writer.SetFileName(str(temporary))
        try:
            writer.Execute(image)
        except RuntimeError as error:
            raise OutputError(f"{path}: cannot be written: {str(error).strip().splitlines()[-1]}") from error
    return path


def as_stored(volume: Volume) -> NDArray[Any]:
    """The values in the stored type: rounded to the nearest integer and clipped, or float32."""
    dtype = np.dtype(volume.header.dtype)
    if volume.array.dtype == dtype:
        return volume.array
    if dtype.kind == "f":
        return volume.array.astype(np.float32)
    info = np.iinfo(dtype)
    return np.clip(np.rint(volume.array.astype(np.float64)), info.min, info.max).astype(dtype)


def _image_of(volume: Volume, array: NDArray[Any]) -> sitk.Image:
    n = volume.header.ndim
    image = sitk.GetImageFromArray(array if n == 3 else array[0])
    spacing = np.linalg.norm(volume.affine[:n, :n], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((volume.affine[:n, :n] / spacing).ravel().tolist())
    image.SetOrigin(volume.affine[:n, 3].tolist())
    for key, value in volume.header.metadata.items():
        image.SetMetaData(key, value)
    return image
