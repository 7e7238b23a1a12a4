"""Where the slices of a DICOM series lie: their order, their affine, and whether they form a regular grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from meddenoise.errors import GeometryError

SAME_PLACE = 0.001
"""Millimetres along the normal within which two slices are at one position."""
_TOLERANCE = 0.02
"""Share of the slice spacing by which a slice may be off the regular grid."""


@dataclass(frozen=True)
class Stack:
    """Slices in order along their normal.

    Attributes:
        order: Indices of the slices given, sorted by position.
        affine: 4x4 float64, (column, row, slice, 1) to LPS millimetres; exact at the first and the last slice.
        placed: True where the files give positions in the patient.
        even: True where every slice lies on the grid.
        warnings: What the user should know about the geometry.
    """

    order: tuple[int, ...]
    affine: NDArray[np.float64]
    placed: bool
    even: bool
    warnings: tuple[str, ...]


def stack_of(name: str, datasets: Sequence[Dataset]) -> Stack:
    """Order slices and find their affine.

    Args:
        name: What to call the series in messages.
        datasets: Single frames of one series, in any order; pixels are not looked at.

    Raises:
        GeometryError: The slices differ in size or direction, share a position, or lack one.
    """
    first = datasets[0]
    _check_alike(name, datasets)
    spacing, warnings = _pixel_spacing(name, first)
    affine = np.eye(4)
    if not is_placed(first):
        if len(datasets) > 1:
            raise GeometryError(f"{name}: {len(datasets)} images without ImagePositionPatient do not form a volume")
        affine[0, 0], affine[1, 1] = spacing[1], spacing[0]
        return Stack((0,), affine, False, True, warnings)
    along, down = direction_of(first)
    normal = np.cross(along, down)
    positions = np.array([dataset.ImagePositionPatient for dataset in datasets], float)
    order = np.argsort(positions @ normal, kind="stable")
    positions = positions[order]
    gaps = np.diff(positions @ normal)
    if (gaps < SAME_PLACE).any():
        count = int((gaps < SAME_PLACE).sum())
        raise GeometryError(
            f"{name}: {count} of {len(datasets)} slices share a position with another (time points or echoes?); "
            "split the series into one file set per volume"
        )
    step = (positions[-1] - positions[0]) / len(gaps) if len(gaps) else normal * _thickness(first)
    affine[:3] = np.column_stack([along * spacing[1], down * spacing[0], step, positions[0]])
    even, notes = _judge(name, positions, gaps, step, normal)
    return Stack(tuple(int(i) for i in order), affine, True, even, warnings + notes)


def is_placed(dataset: Dataset) -> bool:
    """True where position and direction in the patient are given and usable."""
    position, direction = dataset.get("ImagePositionPatient"), dataset.get("ImageOrientationPatient")
    if position is None or direction is None or len(position) != 3 or len(direction) != 6:
        return False
    along, down = direction_of(dataset)
    return bool(np.linalg.norm(np.cross(along, down)) > 0.9)


def direction_of(dataset: Dataset) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Unit vectors along a row (column index grows) and down a column (row index grows), LPS."""
    cosines = np.array(dataset.ImageOrientationPatient, float).reshape(2, 3)
    lengths = np.linalg.norm(cosines, axis=1, keepdims=True)
    along, down = cosines / np.where(lengths > 0, lengths, 1.0)
    return along, down


def _check_alike(name: str, datasets: Sequence[Dataset]) -> None:
    shapes = sorted({(int(d.Rows), int(d.Columns)) for d in datasets})
    if len(shapes) > 1:
        sizes = ", ".join(f"{rows} x {columns}" for rows, columns in shapes)
        raise GeometryError(f"{name}: its slices must have one size, got {sizes}; split the series by size")
    placed = [d for d in datasets if is_placed(d)]
    if len(placed) not in (0, len(datasets)):
        raise GeometryError(f"{name}: {len(datasets) - len(placed)} of {len(datasets)} slices lack a position")
    directions = np.array([np.concatenate(direction_of(d)) for d in placed]).reshape(-1, 6)
    if placed and np.abs(directions - directions[0]).max() > 1e-3:
        raise GeometryError(f"{name}: its slices must have one direction (is it a localizer?); split the series")


def _pixel_spacing(name: str, dataset: Dataset) -> tuple[tuple[float, float], tuple[str, ...]]:
    """Distance between rows and between columns in millimetres, 1 where the file gives none."""
    for tag in ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing"):
        value = dataset.get(tag)
        if value is not None and len(value) == 2 and all(float(v) > 0 for v in value):
            return (float(value[0]), float(value[1])), ()
    return (1.0, 1.0), (f"{name}: no pixel spacing is given; 1 mm is assumed",)


def _thickness(dataset: Dataset) -> float:
    """Extent of a single slice in millimetres."""
    for tag in ("SpacingBetweenSlices", "SliceThickness"):
        value = dataset.get(tag)
        if value is not None and float(value) > 0:
            return float(value)
    return 1.0


def _judge(
    name: str,
    positions: NDArray[np.float64],
    gaps: NDArray[np.float64],
    step: NDArray[np.float64],
    normal: NDArray[np.float64],
) -> tuple[bool, tuple[str, ...]]:
    if len(gaps) == 0:
        return True, ()
    length = float(np.linalg.norm(step))
    grid = positions[0] + np.arange(len(positions))[:, None] * step
    if np.linalg.norm(positions - grid, axis=1).max() > max(0.01, _TOLERANCE * length):
        return False, (
            f"{name}: slice spacing must be constant, got {gaps.min():.2f}-{gaps.max():.2f} mm; each slice is "
            "denoised on its own and keeps its position, only DICOM can be written",
        )
    aside = float(np.linalg.norm(step - (step @ normal) * normal))
    if aside > 0.001 * length:
        angle = np.degrees(np.arcsin(min(1.0, aside / length)))
        return True, (f"{name}: the slices are stacked at a tilt of {angle:.1f} degrees (gantry); it is kept",)
    return True, ()
