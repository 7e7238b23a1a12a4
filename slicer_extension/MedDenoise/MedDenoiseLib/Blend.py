"""The strength slider: original and answer mixed here, without asking the server again."""

from __future__ import annotations

import numpy as np
import slicer

from MedDenoiseLib.Comparison import Comparison
from MedDenoiseLib.Difference import updateDifference, workingType
from MedDenoiseLib.Images import ROLE, makeVolume, modified, voxels, voxelsOn
from MedDenoiseLib.WindowLink import copyLook


def setStrength(comparison: Comparison, strength: float) -> None:
    """Shows original + strength x (answer - original) in the denoised volume; the difference follows.

    0 gives the original bit for bit and 1 the server's answer. Integers are rounded; the mix lies between two values of
    the type, so none is cut off. The answer moves into a volume of its own at the first change, which is saved with the
    scene: nothing is lost at a lower strength.

    Args:
        comparison: A complete one.
        strength: 0 to 1.

    Raises:
        ValueError: It is not.
        GeometryError: A volume was moved or resampled since.
    """
    if not 0.0 <= strength <= 1.0:
        raise ValueError(f"strength must be 0 to 1, got {strength}")
    if strength == comparison.strength:
        return
    before, denoised = voxels(comparison.original), comparison.denoised
    after = voxelsOn(comparison.original, comparison.answer)
    if comparison.answer is denoised:
        _keepAnswer(comparison)
        after = voxelsOn(comparison.original, comparison.answer)
    _mix(before, after, strength, voxelsOn(comparison.original, denoised))
    comparison.strength = strength
    modified(denoised)
    updateDifference(comparison.original, denoised, comparison.difference)


def _keepAnswer(comparison: Comparison) -> None:
    denoised = comparison.denoised
    scene = denoised.GetScene()
    answer = makeVolume(scene, f"{denoised.GetName()}, full strength", denoised, voxels(denoised), "answer")
    display = slicer.vtkMRMLScalarVolumeDisplayNode()
    copyLook(denoised.GetDisplayNode(), display)
    answer.SetAndObserveDisplayNodeID(scene.AddNode(display).GetID())
    answer.SetAttribute(ROLE, "answer")
    comparison.refer("answer", answer)


def _mix(before: np.ndarray, after: np.ndarray, strength: float, out: np.ndarray) -> None:
    """Fills ``out`` slice by slice, which stays in the processor's cache."""
    if strength in (0.0, 1.0):
        out[...] = after if strength else before
        return
    kind = workingType(before.dtype)
    mixed = np.empty(before.shape[1:], kind)
    for here, there, target in zip(before, after, out):
        np.subtract(there, here, out=mixed, dtype=kind, casting="unsafe")
        mixed *= kind(strength)
        np.add(mixed, here, out=mixed, dtype=kind, casting="unsafe")
        if out.dtype.kind in "iu":
            np.rint(mixed, out=mixed)
        target[...] = mixed
