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
COARSER = 1.5
"""A volume is cut across the axis whose voxels are longer than those along both others by this factor."""
MODALITIES: tuple[Modality, ...] = ("CT", "MR", "PET", "XR")


@dataclass(frozen=True)
class Header:
    """What a file says beside its voxels and its geometry.

    Attributes:
        dtype: Type the values are stored in, and go back to on writing, such as "int16" or "float32".
        stored_range: Smallest and largest physical value the stored type can hold (after rescale); None for floats.
        units: "HU", "SUV", "BQML" or "" where the values have no physical unit.
        display: True for images of 8 bits per voxel: grey levels without a physical unit, whatever the modality.
            A PNG or TIFF of more bits has no unit either, but is not one of them.
        samples: Values per pixel in the file: 3 for colours, also where they are all equal and the array is grey.
        ndim: 2 for an image, 3 for a volume; ``Volume.array`` has three axes in both cases.
        modality_source: How the modality was decided: "file", "option" or "guess".
        suv_factor: Factor from stored Bq/mL to body-weight SUV; None where the tags do not allow it.
        used_range: Range of the bits that the values use, for X-ray integers whose file does not tell their depth;
            None where ``stored_range`` says it.
        padding: Smallest and largest value of pixels outside the reconstruction (DICOM Pixel Padding Value and Range
            Limit, rescaled), ends included: one pair for all slices, or one per slice; None if unnamed.
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
    samples: int = 1
    ndim: int = 3
    modality_source: str = "guess"
    suv_factor: float | None = None
    used_range: tuple[float, float] | None = None
    padding: tuple[tuple[float, float], ...] | None = None
    even: bool = True
    sources: tuple[Path, ...] = ()
    ext: str = ".nrrd"
    metadata: Mapping[str, str] = field(default_factory=lambda: types.MappingProxyType({}))
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Volume:
    """An image or volume in physical units, with its geometry; grey, or in colours of 8 bits each.

    Attributes:
        array: Values of shape (slices, rows, columns), in the stored type where that holds the physical values
            exactly, else float32 (or float64 when read so). An image has one slice. Colour has a fourth axis of red,
            green and blue. Read-only.
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
        assert self.array.ndim == 3 or self.array.shape[3:] == (3,), self.array.shape
        assert self.affine.shape == (4, 4), self.affine.shape
        for values in (self.array, self.affine):
            values.setflags(write=False)

    def with_array(self, array: NDArray[Any]) -> Volume:
        """The same geometry and header with other values of the same shape."""
        assert array.shape == self.array.shape, (array.shape, self.array.shape)
        return replace(self, array=array)

    @property
    def colour(self) -> bool:
        """Whether voxels are red, green and blue rather than one grey value."""
        return self.array.ndim == 4

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Distance in millimetres between neighbours along columns, rows and slices."""
        x, y, z = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(x), float(y), float(z)

    def padded(self) -> NDArray[np.bool_]:
        """Which voxels lie outside the reconstruction by ``header.padding``; the shape of ``array``."""
        if self.header.padding is None:
            return np.zeros(self.array.shape, bool)
        low, high = np.array(self.header.padding).T[:, :, None, None]  # (1 or slices, 1, 1) each
        return np.asarray((self.array >= low) & (self.array <= high))

    @property
    def slicing_axis(self) -> int:
        """Axis of ``array`` across which the slices lie: one of a single voxel, else a clearly coarser one, else 0."""
        if 1 in self.array.shape[:3]:
            return self.array.shape.index(1)
        spacing = self.spacing[::-1]
        *_, second, coarsest = sorted(spacing)
        return spacing.index(coarsest) if coarsest > COARSER * second else 0

    def as_slices(self) -> Volume:
        """The same voxels at the same places, with the slicing axis first (a coronal or sagittal stack is turned)."""
        order = [self.slicing_axis, *(axis for axis in range(3) if axis != self.slicing_axis)]
        affine = self.affine.copy()
        affine[:, :3] = self.affine[:, [2 - axis for axis in reversed(order)]]
        return replace(self, array=self.array.transpose(*order, *range(3, self.array.ndim)), affine=affine)
