"""Noise models for training and benchmarks: pure torch functions of (image, parameters, generator).

Images have shape (batch, 1, rows, columns). Parameters are drawn first and applied afterwards, so that one function
can be tested against theory and the other stays free of randomness in its choices. The same generator gives the same
bits.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

GREY_LEVELS = 255.0
"""Data range of Algorithm 1: images of 8 bits."""


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


def to_8_bit(image: Tensor) -> Tensor:
    """Clip to 0-255 and round, as storing in 8 bits does; stays a float tensor."""
    return image.clamp(0.0, GREY_LEVELS).round()


@dataclass(frozen=True)
class Spectrum:
    """Shape of a noise power spectrum over frequency f and angle a.

    ``ramp(f) * exp(-(f / cutoff)^falloff) * exp(anisotropy * cos 2(a - direction))``

    Attributes:
        cutoff: In cycles per pixel (Nyquist is 0.5), shape (batch,).
        falloff: Exponent; 2 is a Gaussian, larger is steeper, shape (batch,).
        anisotropy: 0 is isotropic; the strongest over the weakest direction is exp(2 * anisotropy), shape (batch,).
        direction: Angle of the strongest frequency, radians, pi/2 is along rows (vertical), shape (batch,).
        ramp: True for filtered back-projection, whose power rises in proportion to f; False for a flat start.
    """

    cutoff: Tensor
    falloff: Tensor
    anisotropy: Tensor
    direction: Tensor
    ramp: bool


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


def draw_smooth_spectrum(batch: int, generator: torch.Generator) -> Spectrum:
    """Isotropic noise between nearly white (cutoff 1 cycle/pixel) and visibly blurred (0.15), without a ramp.

    Stands for interpolated MR, post-filtered PET and detector-blurred X-ray until their physical models arrive.
    """
    zero = torch.zeros(batch, device=generator.device)
    return Spectrum(log_uniform(batch, 0.15, 1.0, generator), torch.full_like(zero, 2.0), zero, zero, ramp=False)


def correlated(shape: tuple[int, int, int, int], spectrum: Spectrum, *, generator: torch.Generator) -> Tensor:
    """Normal noise with the given spectrum, mean 0 and expected variance 1, shape (batch, 1, rows, columns).

    The field is periodic at its borders.
    """
    rows, columns = shape[-2:]
    fy = torch.fft.fftfreq(rows, device=generator.device).reshape(1, 1, -1, 1)
    fx = torch.fft.rfftfreq(columns, device=generator.device).reshape(1, 1, 1, -1)
    f = torch.sqrt(fx**2 + fy**2)
    power = torch.exp(-((f / per_image(spectrum.cutoff)) ** per_image(spectrum.falloff)))
    angle = 2 * (torch.atan2(fy.expand_as(f), fx.expand_as(f)) - per_image(spectrum.direction))
    power = power * torch.exp(per_image(spectrum.anisotropy) * torch.cos(angle))
    if spectrum.ramp:
        power = power * f
    # Every column but the first and (for even widths) the last stands for itself and its mirror image.
    twice = torch.full((columns // 2 + 1,), 2.0, device=generator.device)
    twice[0] = 1.0
    if columns % 2 == 0:
        twice[-1] = 1.0
    power = power * (rows * columns / (power * twice).sum(dim=(-2, -1), keepdim=True))
    white = torch.fft.rfft2(normal(shape, generator))
    field: Tensor = torch.fft.irfft2(white * power.sqrt(), s=(rows, columns))
    return field


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


def smooth_field(shape: tuple[int, int, int, int], variation: Tensor, *, generator: torch.Generator) -> Tensor:
    """A slowly varying positive factor, exp of a smooth normal field with sd ``variation``, shape ``shape``."""
    coarse = normal((shape[0], 1, 4, 4), generator)
    field = torch.nn.functional.interpolate(coarse, size=shape[-2:], mode="bicubic", align_corners=True)
    return torch.exp(per_image(variation) * field)


def ct_noise(shape: tuple[int, int, int, int], parameters: CTNoise, *, generator: torch.Generator) -> Tensor:
    """Noise in HU to be added to a CT image, shape (batch, 1, rows, columns)."""
    local = per_image(parameters.level) * smooth_field(shape, parameters.variation, generator=generator)
    return local * correlated(shape, parameters.spectrum, generator=generator)


def rician(image: Tensor, noise: tuple[Tensor, Tensor]) -> Tensor:
    """Magnitude of an MR image with noise in its real and imaginary channel: ``|I + n1 + i n2|``."""
    real, imaginary = noise
    return torch.sqrt((image + real) ** 2 + imaginary**2)
