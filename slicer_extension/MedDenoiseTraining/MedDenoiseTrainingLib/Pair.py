"""An image and its clean partner, checked and written for the server: both on one grid, or not at all."""

from __future__ import annotations

import os
import re
from typing import Any

import numpy as np
import slicer.util
import vtk

from MedDenoiseLib.Exchange import writeNrrd
from MedDenoiseLib.Images import MADE, GeometryError, ijkToRas, inOrder, voxels
from MedDenoiseLib.Input import InputError, checkInput, checkKind
from MedDenoiseTrainingLib.Deposit import Deposit

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._ -]{0,99}")
"""What a server takes as the name of an image."""
SQUARE = 1e-4
"""Cosine of the angle between two axes below which they count as perpendicular."""
DEGREES, SAME_SPACING = 0.01, 1e-4
"""Turned axes and relative differences of spacing that are named where two grids differ."""


def prepare(image: Any, partner: Any, folder: str, name: str, patient: str, modality: str) -> Deposit:
    """Check both and write their files, which hold nothing but voxels and where they lie.

    The partner is written in the voxel order of the image. A parent transform that both share is left out; of
    different ones the linear are applied to what is written, and others are refused. The nodes are never changed.

    Args:
        image: Volume node.
        partner: Volume node of the same without the noise, or None.
        folder: Existing folder for the files.
        name: Under which the server is to keep the image.
        patient: Pseudonym, or "".
        modality: "CT", "MR", "PET" or "XR".

    Raises:
        InputError: A volume, the name or the pseudonym cannot be used.
        GeometryError: The partner lies elsewhere; the sentence says what differs.
    """
    _checkName(name, "The name of the image on the server")
    if patient:
        _checkName(patient, "The patient's pseudonym")
    for node in (image, *([partner] if partner is not None else [])):
        checkOne(node)
        checkInput(node)
    grid = _grids(image, partner)[0]
    paths = [os.path.join(folder, "image.nrrd"), os.path.join(folder, "partner.nrrd") if partner is not None else ""]
    if partner is not None:
        writeNrrd(_fitting(image, partner), grid, paths[1])
    writeNrrd(voxels(image), grid, paths[0])
    return Deposit(name, paths[0], paths[1], patient, modality)


def checkPair(image: Any, partner: Any) -> None:
    """Look at kinds and grids only, which is fast.

    Raises:
        InputError: A node cannot be used.
        GeometryError: The partner lies elsewhere; the sentence says what differs.
    """
    checkOne(image)
    if partner is not None:
        checkOne(partner)
        if partner is image:
            raise InputError(f"{image.GetName()} cannot be its own clean partner.", "Choose another, or none.")
        _fitting(image, partner)


def checkOne(node: Any) -> None:
    """Raises InputError unless the node is an image that a training may learn from."""
    checkKind(node)
    if node.GetAttribute(MADE):
        raise InputError(
            f"{node.GetName()} was made by MedDenoise; no training may learn from its own results.",
            "Choose an image as the scanner made it.",
        )


def _grids(image: Any, partner: Any) -> list[np.ndarray]:
    """IJK to RAS of both, 4x4: as stored where they lie under the same transform, else in world coordinates."""
    nodes = [image] if partner is None else [image, partner]
    if len({node.GetTransformNodeID() for node in nodes}) == 1:
        return [ijkToRas(node) for node in nodes]
    return [_inWorld(node) for node in nodes]


def _inWorld(node: Any) -> np.ndarray:
    transform = node.GetParentTransformNode()
    if transform is None:
        return ijkToRas(node)
    if not transform.IsTransformToWorldLinear():
        raise InputError(
            f"{node.GetName()} is bent by the transform {transform.GetName()}, which the other image is not.",
            "Harden the transform in the module Transforms, which resamples the image, or take the image out of it.",
        )
    matrix = vtk.vtkMatrix4x4()
    transform.GetMatrixTransformToWorld(matrix)
    grid = slicer.util.arrayFromVTKMatrix(matrix) @ ijkToRas(node)
    axes = grid[:3, :3] / np.linalg.norm(grid[:3, :3], axis=0)
    if np.abs(axes.T @ axes - np.eye(3)).max() > SQUARE:
        raise InputError(
            f"{node.GetName()} is sheared by the transform {transform.GetName()}.",
            "Resample the image to a rectangular grid, for example with Resample Scalar/Vector/DWI Volume.",
        )
    return grid


def _fitting(image: Any, partner: Any) -> np.ndarray:
    """The partner's voxels in the order of the image's."""
    grids = _grids(image, partner)
    values, shape = voxels(partner), voxels(image).shape
    try:
        return inOrder(values, grids[1], grids[0], shape)
    except GeometryError as error:
        said = differences(grids[0], shape, grids[1], values.shape) or [str(error)]
        raise GeometryError(
            f"The clean partner {partner.GetName()} does not lie on the grid of {image.GetName()}: {'; '.join(said)}.",
            "Resample it to the image, for example with Resample Scalar/Vector/DWI Volume, or choose another.",
        ) from error


def differences(
    wanted: np.ndarray, wantedShape: tuple[int, ...], got: np.ndarray, gotShape: tuple[int, ...]
) -> list[str]:
    """What differs between two grids, each as a part of a sentence.

    Args:
        wanted: 4x4 IJK to RAS.
        wantedShape: Slices, rows and columns.
        got: The same of the other.
        gotShape: The same of the other.
    """
    said = []
    if gotShape != wantedShape:
        said.append(f"it has {_sides(gotShape)} voxels instead of {_sides(wantedShape)}")
    spacings = [np.linalg.norm(grid[:3, :3], axis=0) for grid in (got, wanted)]
    if not np.allclose(*spacings, rtol=SAME_SPACING, atol=0):
        said.append(f"its spacing is {_lengths(spacings[0])} mm instead of {_lengths(spacings[1])} mm")
    axes = [grid[:3, :3] / spacing for grid, spacing in zip((got, wanted), spacings)]
    turned = np.degrees(np.arccos(np.clip((axes[0] * axes[1]).sum(axis=0), -1, 1))).max()
    if turned > DEGREES:
        said.append(f"its axes are turned by up to {turned:.3g} degrees")
    middles = [
        grid @ [*((np.array(shape[::-1]) - 1) / 2), 1] for grid, shape in ((got, gotShape), (wanted, wantedShape))
    ]
    apart = (middles[0] - middles[1])[:3]
    if np.linalg.norm(apart) > 0.02 * spacings[1].min():
        where = ", ".join(f"{axis} {value:.3g}" for axis, value in zip("RAS", apart))
        said.append(f"its middle lies {np.linalg.norm(apart):.3g} mm away ({where})")
    return said


def _checkName(name: str, what: str) -> None:
    if not NAME.fullmatch(name) or ".." in name or name.strip(" .") != name:
        raise InputError(
            f"{what} must be 1 to 100 letters A-Z, digits, spaces or . _ -, got {name[:60]!r}.",
            "Begin it with a letter or digit, and end it with no dot or space.",
        )


def _sides(shape: tuple[int, ...]) -> str:
    return "x".join(str(side) for side in shape[::-1])


def _lengths(values: np.ndarray) -> str:
    return "x".join(f"{value:.4g}" for value in values)
