"""The image's way to the server and back, as NRRD files that say nothing but the voxels and where they lie."""

from __future__ import annotations

import os
import sys
from typing import Any

import numpy as np
import slicer

from MedDenoiseLib.Images import GeometryError, ijkToRas, inOrder, voxels
from MedDenoiseLib.Region import Box

TYPES = {"i1": "int8", "u1": "uint8", "i2": "int16", "u2": "uint16", "i4": "int32", "u4": "uint32", "i8": "int64"}
TYPES.update({"u8": "uint64", "f4": "float", "f8": "double"})
"""numpy's names for voxel types to NRRD's."""
RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def writeForServer(node: Any, box: Box | None, path: str) -> None:
    """Writes voxels, type and grid; no name, attribute or tag of the node.

    Written here because Slicer's own writers copy the node's attributes into the header.

    Args:
        node: Scalar volume node.
        box: The part to write, None for all of it.
        path: Appears complete or not at all.
    """
    values = voxels(node)
    writeNrrd(values[box.slices] if box else values, gridOf(node, box), path)


def writeNrrd(values: np.ndarray, grid: np.ndarray, path: str) -> None:
    """Writes voxels on a grid, and nothing else.

    Args:
        values: (slices, rows, columns).
        grid: 4x4 IJK to RAS.
        path: Appears complete or not at all.
    """
    values = np.ascontiguousarray(values)
    toLps = RAS_TO_LPS @ grid
    vectors = " ".join(_vector(toLps[:3, axis]) for axis in range(3))
    header = [
        "NRRD0004",
        f"type: {TYPES[values.dtype.str[1:]]}",
        "dimension: 3",
        "space: left-posterior-superior",
        "sizes: " + " ".join(str(side) for side in values.shape[::-1]),
        f"space directions: {vectors}",
        "kinds: domain domain domain",
        f"endian: {sys.byteorder}",
        "encoding: raw",
        f"space origin: {_vector(toLps[:3, 3])}",
    ]
    partial = f"{path}.part"
    with open(partial, "wb") as file:
        file.write(("\n".join(header) + "\n\n").encode("ascii"))
        file.write(memoryview(values).cast("B"))
    os.replace(partial, path)


def readBack(path: str, node: Any, box: Box | None) -> np.ndarray:
    """Reads what the server sent and brings it into the voxel order of what was sent.

    Args:
        path: NRRD file.
        node: The volume that was sent.
        box: The part of it that was sent, None for all of it.

    Returns:
        Shape of the part, in the file's own type.

    Raises:
        GeometryError: The file cannot be read or holds another grid.
    """
    read = slicer.vtkMRMLScalarVolumeNode()
    storage = slicer.vtkMRMLNRRDStorageNode()
    storage.SetFileName(path)
    if not os.path.isfile(path) or not storage.ReadData(read) or read.GetImageData() is None:
        raise GeometryError("The server's answer is no image that can be read.", "Ask whoever runs the server.")
    shape = box.shape if box else voxels(node).shape
    return inOrder(voxels(read), ijkToRas(read), gridOf(node, box), shape)


def asType(values: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """The values in another type; rounded and cut off at its ends where it is an integer one."""
    if values.dtype == dtype:
        return values
    if dtype.kind in "iu" and values.dtype.kind == "f":
        limits = np.iinfo(dtype)
        values = np.clip(np.rint(values), limits.min, limits.max)
    elif dtype.kind in "iu":
        limits = np.iinfo(dtype)
        values = np.clip(values, limits.min, limits.max)
    return values.astype(dtype)


def gridOf(node: Any, box: Box | None) -> np.ndarray:
    """4x4 IJK to RAS of a part of a volume."""
    grid = ijkToRas(node)
    if box:
        grid[:3, 3] += grid[:3, :3] @ np.array(box.start[::-1], float)
    return grid


def _vector(values: np.ndarray) -> str:
    return "(" + ",".join(repr(float(value)) for value in values) + ")"
