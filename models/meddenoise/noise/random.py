"""Random numbers on the device of their generator, and how they go with batches of images."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def normal(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Standard normal numbers of a shape, on the generator's device."""
    return torch.randn(shape, generator=generator, device=generator.device)


def uniform(batch: int, low: float, high: float, generator: torch.Generator) -> Tensor:
    """Uniform numbers between low and high, shape (batch,)."""
    return low + (high - low) * torch.rand(batch, generator=generator, device=generator.device)


def log_uniform(batch: int, low: float, high: float, generator: torch.Generator) -> Tensor:
    """Numbers whose logarithm is uniform between those of low and high, shape (batch,)."""
    return torch.exp(uniform(batch, math.log(low), math.log(high), generator))


def per_image(values: Tensor) -> Tensor:
    """Shape (batch,) to (batch, 1, 1, 1), to go with images."""
    return values.reshape(-1, 1, 1, 1)
