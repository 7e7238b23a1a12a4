"""The numbers that say what a denoising changed."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from meddenoise.noise_level import gaussian_blur, noise_level
from meddenoise.volume import Volume

SLICES = 16
"""At most this many slices, evenly spread, are looked at for the noise level."""


def figures(volume: Volume, clean: NDArray[Any]) -> dict[str, Any]:
    """Compare a volume with its denoised values.

    Args:
        volume: The input.
        clean: Denoised values, shape and type of ``volume.array``.

    Returns:
        "noise_before", "noise_after": estimated standard deviation of the noise in the flattest eighth of the
        foreground, the same places before and after; None where the foreground is too small to tell;
        "bias": mean of denoised minus input in the foreground; "rms_change": root mean square of the same; all four
        on at most 16 slices, evenly spread; "fraction_changed": share of all voxels whose stored value changed, 0 to
        1; "foreground": what was taken as foreground; "units": of the first four, "grey levels" where there is no
        physical unit.
    """
    slices = [v.as_slices().array for v in (volume, volume.with_array(clean))]
    picks = np.unique(np.linspace(0, len(slices[0]) - 1, min(SLICES, len(slices[0]))).round().astype(int))
    before, after = (_tensor(values[picks]) for values in slices)
    smooth = gaussian_blur(after, 2.0)
    threshold, foreground = _threshold(volume, smooth)
    mask = smooth > threshold
    change = (after - before)[mask] if bool(mask.any()) else (after - before).flatten()
    guide = gaussian_blur(after, 4.0)  # too smooth to know which blocks the noise happened to spare
    return {
        "noise_before": _rounded(noise_level(before, mask, guide)),
        "noise_after": _rounded(noise_level(after, mask, guide)),
        "bias": _rounded(float(change.mean())),
        "rms_change": _rounded(float(change.square().mean().sqrt())),
        "fraction_changed": _rounded(float(np.mean(clean != volume.array))),
        "foreground": foreground,
        "units": volume.header.units or "grey levels",
    }


def _rounded(value: float | None) -> float | None:
    """Five significant digits, whatever the unit."""
    return None if value is None else float(f"{value:.5g}")


def _tensor(values: NDArray[Any]) -> Tensor:
    """Planes of shape (slices, 1, rows, columns); each colour is one."""
    planes = values if values.ndim == 3 else np.moveaxis(values, -1, 1).reshape(-1, *values.shape[1:3])
    return torch.from_numpy(planes.astype(np.float64)).unsqueeze(1)


def _threshold(volume: Volume, smooth: Tensor) -> tuple[float, str]:
    """The value that parts body from air and its description."""
    if volume.header.units == "HU":
        return -300.0, "smoothed result above -300 HU"
    low, high = (float(q) for q in np.percentile(smooth.numpy(), (0.1, 99.0)))
    return low + 0.1 * (high - low), "smoothed result above a tenth of its range up to the 99th percentile"
