"""The one thing passed between the layers: voxels together with where they are and what they mean."""

from __future__ import annotations

import types
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Modality = Literal["CT", "MR", "PET", "XR"]
MODALITIES: tuple[Modality, ...] = ("CT", "MR", "PET", "XR")


@dataclass(frozen=True)
class Header:
    """What a file says beside its voxels and its geometry.

    Attributes:
        dtype: Type the values are stored in, and go back to on writing, such as "int16" or "float32".
        stored_range: Smallest and largest physical value the stored type can hold (after rescale); None for floats.
        units: "HU", "SUV", "BQML" or "" where the values have no physical unit.
        display: True for 8-bit images and for PNG, JPEG and TIFF: grey levels 0-255, no physical unit, whatever
            the modality.
        ndim: 2 for an image, 3 for a volume; ``Volume.array`` has three axes in both cases.
        modality_source: How the modality was decided: "file", "option" or "guess".
        suv_factor: Factor from stored Bq/mL to body-weight SUV; None where the tags do not allow it.
        padding: Value of pixels outside the reconstruction (DICOM Pixel Padding Value, rescaled); None if unnamed.
        even: False where slices are unevenly spaced: the affine then only holds within a slice.
        sources: The files read, in slice order for a DICOM series.
        ext: Extension of the format read: ".nii.gz", ".nrrd", ".png", ..., or ".dcm" for DICOM.
        metadata: Further entries of the file's own header to carry over (NRRD and NIfTI fields).
        warnings: Sentences for the user about what was found or assumed while reading.
    """

    dtype: str = "float32"
    stored_range: tuple[float, float] | None = None
    units: str = ""
    display: bool = False
    ndim: int = 3
    modality_source: str = "guess"
    suv_factor: float | None = None
    padding: float | None = None
    even: bool = True
    sources: tuple[Path, ...] = ()
    ext: str = ".nrrd"
    metadata: Mapping[str, str] = field(default_factory=lambda: types.MappingProxyType({}))
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Volume:
    """A scalar image or volume in physical units, with its geometry.

    Attributes:
        array: Values of shape (slices, rows, columns), in the stored type where that holds the physical values
            exactly, else float32 (or float64 when read so). An image has one slice. Read-only.
        affine: 4x4 float64, from voxel index (column, row, slice, 1) to millimetres in the patient system of DICOM
            and ITK (LPS: +x left, +y posterior, +z superior).
        modality: "CT", "MR", "PET" or "XR".
        header: What else the file said.
    """

    array: NDArray[Any]
    affine: NDArray[np.float64]
    modality: Modality
    header: Header = field(default_factory=Header)

    def __post_init__(self) -> None:
        assert self.array.ndim == 3, self.array.shape
        assert self.affine.shape == (4, 4), self.affine.shape
        for values in (self.array, self.affine):
            values.setflags(write=False)

    def with_array(self, array: NDArray[Any]) -> Volume:
        """The same geometry and header with other values of the same shape (slices, rows, columns)."""
        assert array.shape == self.array.shape, (array.shape, self.array.shape)
        return replace(self, array=array)

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Distance in millimetres between neighbours along columns, rows and slices."""
        x, y, z = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(x), float(y), float(z)
