"""Voxels and grids of volume nodes, as numpy sees them."""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer
import slicer.util
import vtk
from vtk.util import numpy_support

from MedDenoiseLib.Errors import MedDenoiseError

ROLE = "MedDenoise.Role"
"""Attribute of the volumes made by us: "denoised", "difference", "uncertainty" or "answer"."""
MADE = "MedDenoise.Made"
"""Attribute of the same volumes, which they keep where ROLE is taken away: no training may learn from them."""
TOLERANCE = 0.02
"""How far, in voxels, two grids may be apart at any corner and still count as the same (files round numbers)."""


class GeometryError(MedDenoiseError):
    """Two images do not lie on the same grid."""


def voxels(node: Any) -> np.ndarray:
    """The volume's own voxels, not a copy, shape (slices, rows, columns); mark changes by modified()."""
    return slicer.util.arrayFromVolume(node)


def modified(node: Any) -> None:
    """Tells views and observers that voxels() of this node were changed."""
    slicer.util.arrayFromVolumeModified(node)


def ijkToRas(node: Any) -> np.ndarray:
    """4x4 matrix from voxel index (column, row, slice) to RAS in mm, without the parent transform."""
    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    return slicer.util.arrayFromVTKMatrix(matrix)


def unitOf(node: Any) -> str:
    """The unit that the volume states, in words for people ("HU", "g/ml", ...); "" where it states none."""
    entry = node.GetVoxelValueUnits() if node else None
    code = (entry.GetCodeValue() or "") if entry else ""
    if code.startswith("[hnsf"):
        return "HU"
    return code[code.find("}") + 1 :] if code.startswith("{") else code


def makeVolume(scene: Any, name: str, like: Any, array: np.ndarray, role: str) -> Any:
    """Adds a scalar volume with the grid, parent transform, units and quantity of another.

    Args:
        scene: The vtkMRMLScene.
        name: Made unique if taken.
        like: Volume whose grid it gets; may lie outside the scene.
        array: Its voxels, shape (slices, rows, columns) of ``like``, any type VTK knows; copied.
        role: What it is, see ROLE.
    """
    node = slicer.vtkMRMLScalarVolumeNode()
    node.SetName(scene.GenerateUniqueName(name) if scene.GetFirstNodeByName(name) else name)
    node.SetIJKToRASMatrix(_matrix(like))
    node.SetAndObserveImageData(imageOf(array))
    node.SetVoxelValueUnits(like.GetVoxelValueUnits())
    node.SetVoxelValueQuantity(like.GetVoxelValueQuantity())
    if role:
        node.SetAttribute(ROLE, role)
        node.SetAttribute(MADE, role)
    node = scene.AddNode(node)
    node.SetAndObserveTransformNodeID(like.GetTransformNodeID())
    return node


def addDisplay(node: Any) -> Any:
    """Gives a volume of the scene its vtkMRMLScalarVolumeDisplayNode and returns it.

    Its window is left to the caller instead of looking for one. In the scene first: outside of it, a display node does
    not find its colors.
    """
    display = slicer.vtkMRMLScalarVolumeDisplayNode()
    display.SetAutoWindowLevel(0)
    display = node.GetScene().AddNode(display)
    node.SetAndObserveDisplayNodeID(display.GetID())
    return display


def imageOf(array: np.ndarray) -> Any:
    """A vtkImageData holding a copy of (slices, rows, columns)."""
    image = vtk.vtkImageData()
    image.SetDimensions(*array.shape[::-1])
    image.AllocateScalars(numpy_support.get_vtk_array_type(array.dtype), 1)
    held = numpy_support.vtk_to_numpy(image.GetPointData().GetScalars())
    held.reshape(array.shape)[...] = array
    return image


def voxelsOn(reference: Any, node: Any) -> np.ndarray:
    """The voxels of one volume in the voxel order of another that covers the same grid.

    Slicer's usual reader turns the slices of a left-handed volume round: after a scene was saved and loaded, volumes
    that were made voxel by voxel for each other may be stored in different order.

    Args:
        reference: Volume node that sets the order.
        node: Volume node to look at.

    Returns:
        A view of voxels(node), not a copy, of the shape of voxels(reference).

    Raises:
        GeometryError: The grids differ in more than the order.
    """
    return inOrder(voxels(node), ijkToRas(node), ijkToRas(reference), voxels(reference).shape)


def inOrder(array: np.ndarray, own: np.ndarray, wanted: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """A view of ``array`` in another voxel order of the same grid.

    Args:
        array: (slices, rows, columns).
        own: 4x4 IJK to RAS of ``array``.
        wanted: 4x4 IJK to RAS it shall have.
        shape: (slices, rows, columns) it shall have.

    Raises:
        GeometryError: No order of the axes and directions gives that grid.
    """
    step = np.linalg.inv(wanted) @ own  # from own index to wanted index
    turn = np.rint(step[:3, :3]).astype(int)
    if not (np.abs(turn).sum(axis=0) == 1).all() or not (np.abs(turn).sum(axis=1) == 1).all():
        raise _differs(array.shape, shape, "its axes point elsewhere")
    ordered = array.transpose([2 - int(np.abs(turn[2 - axis]).argmax()) for axis in range(3)])
    if ordered.shape != tuple(shape):
        raise _differs(array.shape, shape, "its size is another")
    exact = np.eye(4)
    exact[:3, :3] = turn
    backwards = turn.sum(axis=1) < 0  # by wanted axis: column, row, slice
    exact[:3, 3] = np.where(backwards, np.array(shape[::-1]) - 1, 0)
    corners = np.array([[i, j, k, 1] for k in (0, 1) for j in (0, 1) for i in (0, 1)]).T * 1.0
    corners[:3] *= (np.array(array.shape[::-1]) - 1)[:, None]
    apart = float(np.abs((step - exact) @ corners).max())
    if not apart <= TOLERANCE:
        raise _differs(array.shape, shape, f"its voxels lie up to {apart:.3g} voxels away")
    return ordered[tuple(slice(None, None, -1 if backwards[2 - axis] else 1) for axis in range(3))]


def _differs(got: tuple[int, ...], wanted: tuple[int, ...], why: str) -> GeometryError:
    sizes = ["x".join(str(side) for side in shape[::-1]) for shape in (got, wanted)]
    return GeometryError(
        f"The image of {sizes[0]} voxels does not lie on the original's grid of {sizes[1]}: {why}.",
        "Check that neither image was moved, cropped or resampled, then denoise again.",
    )


def _matrix(node: Any) -> Any:
    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    return matrix
