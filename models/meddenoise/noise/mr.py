"""Noise of magnetic resonance."""

from __future__ import annotations

import torch
from torch import Tensor


def rician(image: Tensor, noise: tuple[Tensor, Tensor]) -> Tensor:
    """Magnitude of an MR image with noise in its real and imaginary channel: ``|I + n1 + i n2|``."""
    real, imaginary = noise
    return torch.sqrt((image + real) ** 2 + imaginary**2)
