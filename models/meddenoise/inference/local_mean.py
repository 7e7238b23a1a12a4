"""Keeps the mean of large areas where it was (torch only)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from meddenoise.noise_level import gaussian_blur

CELL = 8
WIDTH = 2.0
"""Standard deviation of the averaging in cells: 16 pixels."""
CLEARANCE = 4.0
"""Where values lie at least this many noise scales above the lower clip, clipping has not shifted their mean."""


def without_local_mean(removed: Tensor, clean: Tensor, level: Tensor) -> Tensor:
    """Take the slowly varying mean out of what is removed, away from values that were clipped at 0.

    Filtered back-projection leaves next to no noise below 0.01 cycles per pixel, so in a CT a mean that is removed over
    tens of pixels is a shift of the tissue's HU and no noise. In air, which is stored clipped, noise does have a mean,
    and there it goes.

    Args:
        removed: What the network takes away, network units, shape (batch, 1, rows, columns).
        clean: What it leaves, same shape; 0 is the lower clip.
        level: Noise scale, same shape.

    Returns:
        Same shape as ``removed``.
    """
    trusted = (gaussian_blur(clean, 2.0) > CLEARANCE * level).to(removed.dtype)
    rows, columns = removed.shape[-2:]
    edge = (0, -columns % CELL, 0, -rows % CELL)

    def average(image: Tensor) -> Tensor:
        return gaussian_blur(F.avg_pool2d(F.pad(image, edge), CELL), WIDTH)

    mean = average(removed * trusted) / average(trusted).clamp_min(1e-3)
    smooth = F.interpolate(mean, scale_factor=CELL, mode="bilinear", align_corners=False)
    return removed - trusted * smooth[..., :rows, :columns]
