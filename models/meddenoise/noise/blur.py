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
        fwhm: In pixels, shape (batch,), or (batch, 2) for along rows and along columns; 0 leaves the image as it is.
    """
    return blur_within(widened(image, fwhm), fwhm)


def widened(image: Tensor, fwhm: Tensor) -> Tensor:
    """Repeat edge values as far as the widest blur reaches, so that noise drawn on it has no seam when blurred."""
    return F.pad(image, (_reach(fwhm),) * 4, mode="replicate")


def blur_within(image: Tensor, fwhm: Tensor) -> Tensor:
    """Blur a widened image, and give it back in its own size."""
    batch, reach = len(image), _reach(fwhm)
    rows, columns = image.shape[-2] - 2 * reach, image.shape[-1] - 2 * reach
    down, across = (fwhm, fwhm) if fwhm.ndim == 1 else fwhm.unbind(dim=1)
    channels = image.reshape(1, batch, *image.shape[-2:])
    channels = F.conv2d(channels, _taps(across, reach).reshape(batch, 1, 1, -1), groups=batch)
    channels = F.conv2d(channels, _taps(down, reach).reshape(batch, 1, -1, 1), groups=batch)
    return channels.reshape(batch, 1, rows, columns)


def noise_gain(fwhm: Tensor) -> Tensor:
    """Factor by which the blur lowers the standard deviation of white noise, shape (batch,); ``fwhm`` as above."""
    down, across = (fwhm, fwhm) if fwhm.ndim == 1 else fwhm.unbind(dim=1)
    reach = _reach(fwhm)
    gain: Tensor = torch.linalg.vector_norm(_taps(down, reach), dim=1) * torch.linalg.vector_norm(
        _taps(across, reach), dim=1
    )
    return gain


def _reach(fwhm: Tensor) -> int:
    return max(1, math.ceil(3.5 * float(fwhm.max()) / FWHM_PER_SIGMA))


def _taps(fwhm: Tensor, reach: int) -> Tensor:
    """Weights of each image's Gaussian, shape (batch, 2 * reach + 1), with the sum 1."""
    sigma = (fwhm / FWHM_PER_SIGMA).clamp_min(LEAST_SIGMA)
    offsets = torch.arange(-reach, reach + 1, device=fwhm.device, dtype=fwhm.dtype)
    taps = torch.exp(-0.5 * (offsets / sigma.reshape(-1, 1)) ** 2)
    return taps / taps.sum(dim=1, keepdim=True)
