"""Noise that belongs to no modality: that of the papers' protocols."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from meddenoise.noise.random import normal, per_image, uniform

GREY_LEVELS = 255.0
"""Data range of Algorithm 1: images of 8 bits."""


@dataclass(frozen=True)
class Algorithm1:
    """Parameters of Algorithm 1, one entry per image.

    Attributes:
        sigma: Standard deviation of the noise in grey levels of 0-255, shape (batch,).
        speckle: True for multiplicative, False for additive noise, shape (batch,).
    """

    sigma: Tensor
    speckle: Tensor


def draw_algorithm1(batch: int, generator: torch.Generator, *, maximum: float = 75.0) -> Algorithm1:
    """Draw sigma uniformly from 0 to ``maximum`` grey levels, and Gaussian or speckle in even shares.

    Source: Sharif, Naqvi and Loh, "Two-stage medical image denoising", IEEE TRPMS 8(5), 2024, Algorithm 1. The paper
    draws the kind by the parity of a random integer between 0 and 10; even shares are meant and taken.
    """
    sigma = uniform(batch, 0.0, maximum, generator)
    return Algorithm1(sigma, torch.rand(batch, generator=generator, device=generator.device) < 0.5)


def apply_algorithm1(image: Tensor, parameters: Algorithm1, *, generator: torch.Generator) -> Tensor:
    """Gaussian noise ``I + N`` or speckle ``I + I * N / 255``, neither clipped nor rounded.

    Args:
        image: Grey levels 0-255, shape (batch, 1, rows, columns).
        parameters: As drawn by draw_algorithm1.
        generator: Source of N, on the image's device.
    """
    noise = normal(tuple(image.shape), generator) * per_image(parameters.sigma)
    return image + torch.where(per_image(parameters.speckle), image * noise / GREY_LEVELS, noise)


def gaussian(image: Tensor, sigma: Tensor, *, generator: torch.Generator) -> Tensor:
    """Add white normal noise of standard deviation ``sigma``, in the image's unit, shape (batch,)."""
    return image + per_image(sigma) * normal(tuple(image.shape), generator)


def speckle(image: Tensor, sigma: Tensor, *, generator: torch.Generator) -> Tensor:
    """Multiply by ``1 + N`` with N normal of standard deviation ``sigma``, a share of 1, shape (batch,)."""
    return image * (1.0 + per_image(sigma) * normal(tuple(image.shape), generator))


def poisson(image: Tensor, counts: Tensor, *, generator: torch.Generator) -> Tensor:
    """Count every pixel: the variance is ``image / counts``.

    Args:
        image: Any unit, shape (batch, 1, rows, columns); negative values count as 0.
        counts: Mean count of a pixel of value 1, positive, shape (batch,).
        generator: Source of the counts, on the image's device.
    """
    scale = per_image(counts)
    return torch.poisson(image.clamp_min(0.0) * scale, generator=generator) / scale


@dataclass(frozen=True)
class Impulses:
    """Parameters of salt and pepper, one entry per image.

    Attributes:
        share: Of the pixels that are replaced, 0 to 1, shape (batch,).
        salt: Share of these that become ``high``; the others become ``low``, shape (batch,).
        low: In the image's unit, shape (batch,).
        high: In the image's unit, shape (batch,).
    """

    share: Tensor
    salt: Tensor
    low: Tensor
    high: Tensor


def salt_and_pepper(image: Tensor, parameters: Impulses, *, generator: torch.Generator) -> Tensor:
    """Replace pixels chosen at random by the lowest or the highest value: impulse noise."""
    draw = torch.rand(image.shape, generator=generator, device=generator.device)
    share = per_image(parameters.share)
    salted = torch.where(draw < share * per_image(parameters.salt), per_image(parameters.high), image)
    pepper = (draw >= share * per_image(parameters.salt)) & (draw < share)
    return torch.where(pepper, per_image(parameters.low), salted)


def quantise(image: Tensor, step: Tensor) -> Tensor:
    """Round to whole multiples of ``step``, in the image's unit, shape (batch,): an error of variance step^2 / 12."""
    return torch.round(image / per_image(step)) * per_image(step)


def to_8_bit(image: Tensor) -> Tensor:
    """Clip to 0-255 and round, as storing in 8 bits does; stays a float tensor."""
    return image.clamp(0.0, GREY_LEVELS).round()
