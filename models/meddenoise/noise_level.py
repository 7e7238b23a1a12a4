"""How noisy an image is, estimated from the image alone (torch only)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

BLOCK = 8
FLOOR = 1e-4
"""Smallest level in network units (0.4 HU, 0.03 grey levels): keeps divisions by the level finite."""


def gaussian_blur(image: Tensor, sigma: float) -> Tensor:
    """Blur (batch, 1, rows, columns) by a Gaussian of ``sigma`` pixels; edge pixels are repeated outwards."""
    radius = int(3 * sigma + 0.5)
    taps = torch.exp(-0.5 * (torch.arange(-radius, radius + 1, device=image.device) / sigma) ** 2)
    taps = (taps / taps.sum()).to(image.dtype)
    padded = F.pad(image, (radius, radius, radius, radius), mode="replicate")
    return F.conv2d(F.conv2d(padded, taps.reshape(1, 1, 1, -1)), taps.reshape(1, 1, -1, 1))


def level_map(image: Tensor) -> Tensor:
    """A smooth local scale of the fine detail, which in flat tissue is the noise's standard deviation.

    It is the geometric mean over 5x5 blocks of 8x8 pixels of the energy left by a Gaussian of 1.5 pixels. Between
    edges it follows white and correlated noise within tens of per cent, which is what a network needs as a scale;
    for a figure to report use noise_level.

    Args:
        image: Network units, shape (batch, 1, rows, columns), float32.

    Returns:
        Network units, same shape, at least FLOOR.
    """
    rows, columns = image.shape[-2:]
    energy = (image - gaussian_blur(image, 1.5)) ** 2
    energy = F.pad(energy, (0, -columns % BLOCK, 0, -rows % BLOCK), mode="replicate")
    energy = F.avg_pool2d(energy, BLOCK)
    # Blocks without any detail (masked background) say nothing about the noise elsewhere: bound them by the median.
    flat = torch.where(energy > FLOOR**2, energy, torch.nan).flatten(1)
    median = flat.nanmedian(dim=1).values.nan_to_num(nan=FLOOR**2).reshape(-1, 1, 1, 1)
    energy = torch.minimum(torch.maximum(energy, 0.01 * median), 1000.0 * median)
    smooth = F.avg_pool2d(energy.log(), 5, stride=1, padding=2, count_include_pad=False)
    size = (smooth.shape[-2] * BLOCK, smooth.shape[-1] * BLOCK)
    level = F.interpolate((0.5 * smooth).exp(), size=size, mode="bilinear", align_corners=False)
    return level[..., :rows, :columns].clamp_min(FLOOR)
