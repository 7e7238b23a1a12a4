"""The part of a volume inside a region that the user drew."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import slicer
import slicer.util
import vtk
from vtk.util import numpy_support

from MedDenoiseLib.Images import ijkToRas, voxels
from MedDenoiseLib.Input import InputError

MARGIN = (2, 16, 16)
"""Slices, rows and columns around the region that are sent for context and not pasted."""
TURNED = "The region is turned against the image's voxels: the upright box around it was denoised."  # said to the user


@dataclass(frozen=True)
class Box:
    """A block of voxels.

    Attributes:
        start: First slice, row and column.
        stop: One past the last slice, row and column.
    """

    start: tuple[int, int, int]
    stop: tuple[int, int, int]

    @property
    def slices(self) -> tuple[slice, slice, slice]:
        """Index into an array (slices, rows, columns)."""
        return tuple(slice(first, past) for first, past in zip(self.start, self.stop))  # type: ignore[return-value]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Slices, rows and columns."""
        return tuple(past - first for first, past in zip(self.start, self.stop))  # type: ignore[return-value]

    def grown(self, margin: tuple[int, int, int], shape: tuple[int, ...]) -> Box:
        """The box with a margin on all sides, as far as an image of this shape goes."""
        start = tuple(max(0, first - more) for first, more in zip(self.start, margin))
        stop = tuple(min(side, past + more) for past, more, side in zip(self.stop, margin, shape))
        return Box(start, stop)  # type: ignore[arg-type]

    def inside(self, outer: Box) -> tuple[slice, slice, slice]:
        """Index of this box into an array that holds ``outer``."""
        spans = zip(self.start, self.stop, outer.start)
        return tuple(slice(first - base, past - base) for first, past, base in spans)  # type: ignore[return-value]


@dataclass(frozen=True)
class Region:
    """What is sent and what of the answer is pasted.

    Attributes:
        pasted: The voxels that change; outside of it the result is the input, bit for bit.
        sent: The same with a margin, which gives the model the context that the whole image would give.
        note: Sentence for the user, "" if there is nothing to say.
    """

    pasted: Box
    sent: Box
    note: str


def regionOf(volume: Any, roi: Any) -> Region:
    """The box of voxels whose centers lie in a markups ROI; for a turned one the upright box around it.

    Args:
        volume: Scalar volume node, under any parent transform (one that bends it is followed at 11 x 11 x 11 points).
        roi: vtkMRMLMarkupsROINode.

    Raises:
        InputError: No box, inside out, without size, or no voxel in it.
    """
    toIndex, straight = _roiToIndex(volume, roi)
    steps = (-1.0, 1.0) if straight else np.linspace(-1, 1, 11)
    points = np.array([[x, y, z] for z in steps for y in steps for x in steps]) * (_halves(roi))
    index = toIndex(points)
    pasted = _boxAround(index, voxels(volume).shape, roi.GetName())
    return Region(pasted, pasted.grown(MARGIN, voxels(volume).shape), "" if straight and _upright(index) else TURNED)


def fitRegion(roi: Any, volume: Any) -> None:
    """Places a ROI, such as one just made, along the voxels in the middle half of a volume, and shows it.

    Args:
        roi: vtkMRMLMarkupsROINode in the scene.
        volume: Scalar volume node.
    """
    matrix, sides = ijkToRas(volume), np.array(volume.GetImageData().GetDimensions(), float)
    spacing = np.linalg.norm(matrix[:3, :3], axis=0)
    placed = np.eye(4)
    placed[:3, :3] = matrix[:3, :3] / spacing
    placed[:3, 3] = matrix[:3, :3] @ ((sides - 1) / 2) + matrix[:3, 3]
    if np.linalg.det(placed) < 0:  # a box is the same seen in a mirror; its handles are not made for that
        placed[:3, 2] *= -1
    parent = volume.GetParentTransformNode()
    if parent is None or parent.IsTransformToWorldLinear():
        roi.SetAndObserveTransformNodeID(volume.GetTransformNodeID())
    roi.SetAndObserveObjectToNodeMatrix(slicer.util.vtkMatrixFromArray(placed))
    roi.SetSize(*(np.maximum(sides / 2, 1) * spacing))
    roi.CreateDefaultDisplayNodes()


def maskOf(volume: Any, drawn: Any, segment: str = "") -> tuple[Box, np.ndarray]:
    """The voxels inside what the user drew, for the table.

    A ROI holds the voxels whose centers lie in it, turned or not. A closed curve holds those inside its outline, on the
    one slice nearest to it. A segment holds those that it covers.

    Args:
        volume: Scalar volume node.
        drawn: vtkMRMLMarkupsROINode, vtkMRMLMarkupsClosedCurveNode or vtkMRMLSegmentationNode.
        segment: Id of the segment, for a segmentation.

    Returns:
        A box and, inside it, True where the region is; shape of the box.

    Raises:
        InputError: Something else was drawn, or nothing of it lies in the image.
    """
    if drawn.IsA("vtkMRMLMarkupsROINode"):
        return _roiMask(volume, drawn)
    if drawn.IsA("vtkMRMLMarkupsClosedCurveNode"):
        return _curveMask(volume, drawn)
    if drawn.IsA("vtkMRMLSegmentationNode"):
        return _segmentMask(volume, drawn, segment)
    raise InputError(
        f"{drawn.GetName()} is no region.", "Draw a region of interest, a closed curve or a segment, and choose that."
    )


def _halves(roi: Any) -> np.ndarray:
    if not roi.IsA("vtkMRMLMarkupsROINode"):
        raise InputError(f"{roi.GetName()} is no region of interest.", "Draw one with Markups and choose that.")
    if roi.GetInsideOut():
        raise InputError(f"{roi.GetName()} is set to inside out.", "Switch that off in Markups.")
    size = np.array(roi.GetSize())
    if not (np.isfinite(size).all() and (size > 0).all()):
        raise InputError(f"{roi.GetName()} has no size yet.", "Draw it first.")
    return size / 2


def _worldToIndex(volume: Any) -> tuple[Any, bool]:
    """Function from world points (count, 3) in mm to (column, row, slice), and whether it is linear."""
    parent = volume.GetParentTransformNode()
    toRas = vtk.vtkGeneralTransform()
    slicer.vtkMRMLTransformNode.GetTransformBetweenNodes(None, parent, toRas)
    toIndex = np.linalg.inv(ijkToRas(volume))

    def convert(points: np.ndarray) -> np.ndarray:
        local = np.array([toRas.TransformPoint(*point) for point in points]) if parent else points
        return local @ toIndex[:3, :3].T + toIndex[:3, 3]

    return convert, parent is None or bool(parent.IsTransformToWorldLinear())


def _roiToIndex(volume: Any, roi: Any) -> tuple[Any, bool]:
    """Function from the ROI's own points (count, 3) to (column, row, slice), and whether it is linear."""
    _halves(roi)
    toWorld = slicer.util.arrayFromVTKMatrix(roi.GetObjectToWorldMatrix())
    worldToIndex, straight = _worldToIndex(volume)
    return lambda points: worldToIndex(points @ toWorld[:3, :3].T + toWorld[:3, 3]), straight


def _upright(corners: np.ndarray) -> bool:
    """Whether eight corners (column, row, slice) are those of a box along the voxel axes, to a tenth of a voxel."""
    low, high = corners.min(axis=0), corners.max(axis=0)
    return bool((np.minimum(corners - low, high - corners) < 0.1).all())


def _boxAround(index: np.ndarray, shape: tuple[int, ...], name: str) -> Box:
    """The voxels whose centers lie between the extremes of points (column, row, slice)."""
    low, high = index.min(axis=0)[::-1], index.max(axis=0)[::-1]
    start = np.maximum(np.ceil(low - 1e-6), 0).astype(int)
    stop = np.minimum(np.floor(high + 1e-6) + 1, shape).astype(int)
    if (stop <= start).any():
        raise InputError(f"No voxel of the image lies in {name}.", "Move it onto the image or make it larger.")
    return Box(tuple(start.tolist()), tuple(stop.tolist()))


def _centers(box: Box) -> np.ndarray:
    """Indices (count, 3) as column, row, slice of all voxels of a box, in array order."""
    grids = np.meshgrid(*(np.arange(a, b) for a, b in zip(box.start, box.stop)), indexing="ij")
    return np.stack([grid.reshape(-1) for grid in grids[::-1]], axis=1).astype(float)


def _roiMask(volume: Any, roi: Any) -> tuple[Box, np.ndarray]:
    region = regionOf(volume, roi)
    box, mask = region.pasted, np.ones(region.pasted.shape, bool)
    toIndex, straight = _roiToIndex(volume, roi)
    if not straight or not region.note:
        return box, mask
    offset = toIndex(np.zeros((1, 3)))
    toOwn = np.linalg.inv(toIndex(np.eye(3)) - offset)  # from voxels to the ROI's unit vectors
    for index, inside in enumerate(mask, box.start[0]):  # one slice at a time: indices take far more room than voxels
        slab = Box((index, *box.start[1:]), (index + 1, *box.stop[1:]))
        own = (_centers(slab) - offset) @ toOwn
        inside[...] = (np.abs(own) <= _halves(roi) + 1e-6).all(axis=1).reshape(inside.shape)
    return _filled(box, mask, roi.GetName())


def _curveMask(volume: Any, curve: Any) -> tuple[Box, np.ndarray]:
    outline = slicer.util.arrayFromMarkupsCurvePoints(curve, world=True)
    if curve.GetNumberOfControlPoints() < 3 or len(outline) < 3:
        raise InputError(f"{curve.GetName()} has fewer than three points.", "Draw it first.")
    index = _worldToIndex(volume)[0](np.asarray(outline, float))
    normal = np.cross(index, np.roll(index, -1, axis=0)).sum(axis=0)  # twice the area seen along each axis
    axis = int(np.abs(normal).argmax())
    index[:, axis] = np.rint(index[:, axis].mean())
    box = _boxAround(index, voxels(volume).shape, curve.GetName())
    flat = [other for other in range(3) if other != axis]
    mask = _insidePolygon(_centers(box)[:, flat], index[:, flat]).reshape(box.shape)
    return _filled(box, mask, curve.GetName())


def _insidePolygon(points: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """Even-odd rule; points (count, 2), corners (count, 2) of a closed outline."""
    inside = np.zeros(len(points), bool)
    for (x0, y0), (x1, y1) in zip(corners, np.roll(corners, -1, axis=0)):
        crosses = (y0 > points[:, 1]) != (y1 > points[:, 1])
        if y0 != y1:
            inside ^= crosses & (points[:, 0] < x0 + (points[:, 1] - y0) * (x1 - x0) / (y1 - y0))
    return inside


def _segmentMask(volume: Any, segmentation: Any, segment: str) -> tuple[Box, np.ndarray]:
    name = segmentation.GetName()
    ids = segmentation.GetSegmentation().GetSegmentIDs()
    segment = segment or (ids[0] if ids else "")
    logic, found = slicer.vtkSlicerSegmentationsModuleLogic, slicer.vtkOrientedImageData()
    if segment not in ids or not logic.GetSegmentBinaryLabelmapRepresentation(segmentation, segment, found):
        raise InputError(f"{name} has no segment {segment or 'yet'} that could be measured.", "Draw a segment first.")
    grid = logic.CreateOrientedImageDataFromVolumeNode(volume)  # both in world coordinates
    grid.UnRegister(None)
    resampled = slicer.vtkOrientedImageData()
    slicer.vtkOrientedImageDataResample.ResampleOrientedImageToReferenceOrientedImage(found, grid, resampled)
    mask = numpy_support.vtk_to_numpy(resampled.GetPointData().GetScalars()).reshape(voxels(volume).shape) > 0
    box, mask = _filled(Box((0, 0, 0), mask.shape), mask, name)
    held = [np.flatnonzero(mask.any(axis=others)) for others in ((1, 2), (0, 2), (0, 1))]
    box = Box(tuple(int(each[0]) for each in held), tuple(int(each[-1]) + 1 for each in held))
    return box, mask[box.slices].copy()


def _filled(box: Box, mask: np.ndarray, name: str) -> tuple[Box, np.ndarray]:
    if not mask.any():
        raise InputError(f"No voxel of the image lies in {name}.", "Move it onto the image or make it larger.")
    return box, mask
