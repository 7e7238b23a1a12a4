"""Reading a DICOM series as one volume in physical units."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import SimpleITK as sitk

from meddenoise.errors import InputError
from meddenoise.io.images import Read
from meddenoise.volume import Header


def read_series(files: tuple[Path, ...]) -> Read:
    """Read the files of one series, sorted by position along the slice normal."""
    heads = [pydicom.dcmread(file, stop_before_pixels=True) for file in files]
    first = heads[0]
    orientation = np.asarray(first.get("ImageOrientationPatient", [1, 0, 0, 0, 1, 0]), float)
    normal = np.cross(orientation[:3], orientation[3:])
    positions = np.asarray([h.get("ImagePositionPatient", [0, 0, 0]) for h in heads], float)
    order = np.argsort(positions @ normal, kind="stable")
    files = tuple(files[i] for i in order)
    positions = positions[order]
    slices = [sitk.GetArrayFromImage(sitk.ReadImage(str(file))).reshape(first.Rows, first.Columns) for file in files]
    if len({s.shape for s in slices}) != 1:
        raise InputError(f"{files[0].parent}: the slices differ in size")
    array = np.stack(slices)
    if array.dtype.kind == "f":
        array = array.astype(np.float32)
    spacing = [float(v) for v in first.get("PixelSpacing", first.get("ImagerPixelSpacing", [1, 1]))]
    affine = np.eye(4)
    affine[:3, 0] = orientation[:3] * spacing[1]
    affine[:3, 1] = orientation[3:] * spacing[0]
    step = (positions[-1] - positions[0]) / (len(files) - 1) if len(files) > 1 else normal
    affine[:3, 2] = step
    affine[:3, 3] = positions[0]
    slope, intercept = float(first.get("RescaleSlope", 1)), float(first.get("RescaleIntercept", 0))
    bits = int(first.BitsStored)
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if first.PixelRepresentation else (0, 2**bits - 1)
    units = {"CT": "HU", "PT": str(first.get("Units", ""))}.get(first.Modality, "")
    header = Header(
        dtype=array.dtype.name,
        stored_range=(low * slope + intercept, high * slope + intercept),
        units=units,
        ndim=2 if len(files) == 1 and "ImagePositionPatient" not in first else 3,
        sources=files,
        ext=".dcm",
    )
    return Read(array, affine, header, str(first.Modality))
