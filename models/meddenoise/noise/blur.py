"""Gaussian blur with a width per image, as detectors, collimators and post-filters make it."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

FWHM_PER_SIGMA = 2.0 * math.sqrt(2.0 * math.log(2.0))
LEAST_SIGMA = 1e-3
"""In pixels; narrower is no blur at all, and keeps the division defined."""


def gaussian_blur(image: Tensor, fwhm: Tensor) -> Tensor:
    """Blur each image by a Gaussian of its own full width at half maximum.

    Args:
        image: Shape (batch, 1, rows, columns); edge values are repeated beyond the borders.
        fwhm: In pixels, shape (batch,); 0 leaves the image as it is.
    """
    batch, _, rows, columns = image.shape
    sigma = (fwhm / FWHM_PER_SIGMA).clamp_min(LEAST_SIGMA)
    radius = max(1, math.ceil(3.5 * float(sigma.max())))
    offsets = torch.arange(-radius, radius + 1, device=image.device, dtype=image.dtype)
    taps = torch.exp(-0.5 * (offsets / sigma.reshape(-1, 1)) ** 2)
    taps = (taps / taps.sum(dim=1, keepdim=True)).to(image.dtype)
    padded = F.pad(image, (radius,) * 4, mode="replicate").reshape(1, batch, rows + 2 * radius, columns + 2 * radius)
    along_rows = F.conv2d(padded, taps.reshape(batch, 1, 1, -1), groups=batch)
    return F.conv2d(along_rows, taps.reshape(batch, 1, -1, 1), groups=batch).reshape(image.shape)
