"""Noise of computed tomography."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from meddenoise.noise.random import log_uniform, normal, per_image, uniform
from meddenoise.noise.spectra import Spectrum, correlated, smooth_field


def draw_ct_spectrum(batch: int, generator: torch.Generator) -> Spectrum:
    """A family of CT kernels from soft (cutoff 0.12 cycles/pixel) to sharp (0.8, still rising at Nyquist).

    Real kernels measured on quarter-dose CT lie inside: soft body kernels near cutoff 0.22 and falloff 2, sharp ones
    near 0.65; directional power ratios up to 6, mostly along the vertical frequency, because lateral rays are the
    noisiest.
    """
    vertical = math.pi / 2 + 0.4 * normal((batch,), generator)
    anywhere = uniform(batch, 0.0, math.pi, generator)
    mostly = torch.rand(batch, generator=generator, device=generator.device) < 0.75
    return Spectrum(
        cutoff=log_uniform(batch, 0.12, 0.8, generator),
        falloff=log_uniform(batch, 1.5, 5.0, generator),
        anisotropy=uniform(batch, 0.0, 0.9, generator),
        direction=torch.where(mostly, vertical, anywhere),
        ramp=True,
    )


@dataclass(frozen=True)
class CTNoise:
    """Parameters of correlated CT noise, one entry per image.

    Attributes:
        level: Standard deviation in HU at the middle of its variation, shape (batch,).
        variation: Standard deviation of the logarithm of the local level, shape (batch,).
        spectrum: Shape of the power spectrum.
    """

    level: Tensor
    variation: Tensor
    spectrum: Spectrum


def draw_ct_noise(batch: int, generator: torch.Generator) -> CTNoise:
    """Level log-uniform in 8-130 HU, varying over the body by up to 35 % (1 sd), spectrum from draw_ct_spectrum."""
    level = log_uniform(batch, 8.0, 130.0, generator)
    return CTNoise(level, uniform(batch, 0.0, 0.35, generator), draw_ct_spectrum(batch, generator))


def ct_noise(shape: tuple[int, int, int, int], parameters: CTNoise, *, generator: torch.Generator) -> Tensor:
    """Noise in HU to be added to a CT image, shape (batch, 1, rows, columns)."""
    local = per_image(parameters.level) * smooth_field(shape, parameters.variation, generator=generator)
    return local * correlated(shape, parameters.spectrum, generator=generator)
