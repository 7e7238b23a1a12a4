"""The numbers that say what a denoising changed."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from meddenoise.inference.noise_estimate import level_in, noise_map, slices_of, smoothed, tissue
from meddenoise.noise_level import noise_level
from meddenoise.volume import Volume

SLICES = 8
"""At most this many slices, evenly spread, are looked at."""


def figures(volume: Volume, clean: NDArray[Any]) -> dict[str, Any]:
    """Compare a volume with its denoised values.

    Args:
        volume: The input.
        clean: Denoised values, shape and type of ``volume.array``.

    Returns:
        "noise_before": estimated standard deviation of the noise, the median over "foreground"; None where the image is
        too small to tell; "noise_after": the share of it that is left in the flattest eighth of the foreground, where
        texture counts as noise left; "bias": mean of denoised minus input in the foreground; "rms_change": root mean
        square of the same; all four on at most 8 slices, evenly spread; "fraction_changed": share of all voxels whose
        stored value changed, 0 to 1; "foreground": where the first four were taken; "units": of the first four,
        "grey levels" where there is no physical unit.
    """
    before, after = (slices_of(v, SLICES) for v in (volume, volume.with_array(clean)))
    where, place = tissue(volume, after, smoothed(after, 2.0))
    change = (after - before)[where] if bool(where.any()) else (after - before).flatten()
    level = level_in(noise_map(before, in_hu=volume.header.units == "HU"), where)
    guide = smoothed(after, 4.0)  # too smooth to know which blocks the noise happened to spare
    flat_before, flat_after = (noise_level(slices, where, guide) for slices in (before, after))
    left = None
    if level is not None and flat_before is not None and flat_after is not None:
        left = level * flat_after / flat_before if flat_before > 0.0 else 0.0
    return {
        "noise_before": _rounded(level),
        "noise_after": _rounded(left),
        "bias": _rounded(float(change.mean())),
        "rms_change": _rounded(float(change.square().mean().sqrt())),
        "fraction_changed": _rounded(float(np.mean(clean != volume.array))),
        "foreground": place,
        "units": volume.header.units or "grey levels",
    }


def _rounded(value: float | None) -> float | None:
    """Five significant digits, whatever the unit."""
    return None if value is None else float(f"{value:.5g}")
