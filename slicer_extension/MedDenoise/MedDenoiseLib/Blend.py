"""The strength slider: original and answer mixed here, without asking the server again."""

from __future__ import annotations

import numpy as np

from MedDenoiseLib.Comparison import Comparison
from MedDenoiseLib.Difference import workingType
from MedDenoiseLib.Images import addDisplay, makeVolume, modified, voxels, voxelsOn
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
    change = voxelsOn(comparison.original, comparison.difference)
    _mix(before, after, strength, voxelsOn(comparison.original, denoised), change)
    comparison.strength = strength
    modified(denoised)
    modified(comparison.difference)


def _keepAnswer(comparison: Comparison) -> None:
    denoised = comparison.denoised
    answer = makeVolume(
        denoised.GetScene(), f"{denoised.GetName()}, full strength", denoised, voxels(denoised), "answer"
    )
    copyLook(denoised.GetDisplayNode(), addDisplay(answer))
    comparison.refer("answer", answer)


def _mix(before: np.ndarray, after: np.ndarray, strength: float, out: np.ndarray, change: np.ndarray) -> None:
    """Fills ``out`` and ``change`` (before minus out) slice by slice, which stays in the processor's cache."""
    kind = workingType(before.dtype)
    original, mixed = np.empty(before.shape[1:], kind), np.empty(before.shape[1:], kind)
    for here, there, target, left in zip(before, after, out, change):
        if strength in (0.0, 1.0):
            target[...] = there if strength else here
            np.subtract(here, target, out=left, dtype=kind, casting="unsafe")
            continue
        original[...], mixed[...] = here, there
        mixed -= original
        mixed *= kind(strength)
        mixed += original
        if out.dtype.kind in "iu":
            np.rint(mixed, out=mixed)
        target[...] = mixed
        np.subtract(original, mixed, out=left, casting="unsafe")
