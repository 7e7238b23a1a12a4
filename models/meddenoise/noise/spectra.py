"""Correlated noise with a given power spectrum, and slowly varying fields."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from meddenoise.noise.random import log_uniform, normal, per_image


@dataclass(frozen=True)
class Spectrum:
    """Shape of a noise power spectrum over frequency f and angle a.

    ``(f + lift * cutoff) * exp(-(f / cutoff)^falloff) * exp(anisotropy * cos 2(a - direction))``

    Without a ramp the first factor is missing.

    Attributes:
        cutoff: In cycles per pixel (Nyquist is 0.5), shape (batch,).
        falloff: Exponent; 2 is a Gaussian, larger is steeper, shape (batch,).
        anisotropy: 0 is isotropic; the strongest over the weakest direction is exp(2 * anisotropy), shape (batch,).
        direction: Angle of the strongest frequency, radians, pi/2 is along rows (vertical), shape (batch,).
        ramp: True for filtered back-projection, whose power rises in proportion to f; False for a flat start.
        lift: What is left at frequency 0, over the ramp's value at the cutoff, shape (batch,); 0 for a pure ramp.
    """

    cutoff: Tensor
    falloff: Tensor
    anisotropy: Tensor
    direction: Tensor
    ramp: bool
    lift: Tensor | None = None


def draw_smooth_spectrum(batch: int, generator: torch.Generator) -> Spectrum:
    """Isotropic noise between nearly white (cutoff 1 cycle/pixel) and visibly blurred (0.15), without a ramp."""
    zero = torch.zeros(batch, device=generator.device)
    return Spectrum(log_uniform(batch, 0.15, 1.0, generator), torch.full_like(zero, 2.0), zero, zero, ramp=False)


def correlated(shape: tuple[int, int, int, int], spectrum: Spectrum, *, generator: torch.Generator) -> Tensor:
    """Normal noise with the given spectrum, mean 0 and expected variance 1, shape (batch, 1, rows, columns).

    The field is periodic at its borders.
    """
    white = torch.fft.rfft2(normal(shape, generator))
    power = spectral_power((shape[-2], shape[-1]), spectrum)
    field: Tensor = torch.fft.irfft2(white * power.sqrt(), s=shape[-2:])
    return field


def spectral_power(size: tuple[int, int], spectrum: Spectrum) -> Tensor:
    """Power of each frequency of ``rfft2``, 1 on average over all, shape (batch, 1, rows, columns // 2 + 1)."""
    fy, fx = frequencies(size, spectrum.cutoff.device)
    f = torch.sqrt(fx**2 + fy**2)
    power = torch.exp(-((f / per_image(spectrum.cutoff)) ** per_image(spectrum.falloff)))
    angle = 2 * (torch.atan2(fy.expand_as(f), fx.expand_as(f)) - per_image(spectrum.direction))
    power = power * torch.exp(per_image(spectrum.anisotropy) * torch.cos(angle))
    if spectrum.ramp:
        start = 0.0 if spectrum.lift is None else per_image(spectrum.lift * spectrum.cutoff)
        power = power * (f + start)
    return power / (power * twice(size, power.device)).sum(dim=(-2, -1), keepdim=True) * (size[0] * size[1])


def frequencies(size: tuple[int, int], device: torch.device) -> tuple[Tensor, Tensor]:
    """Frequencies of ``rfft2`` along rows (a column) and along columns (a row), in cycles per pixel."""
    rows, columns = size
    return torch.fft.fftfreq(rows, device=device).reshape(-1, 1), torch.fft.rfftfreq(columns, device=device)


def twice(size: tuple[int, int], device: torch.device) -> Tensor:
    """How often a column of ``rfft2`` stands in ``fft2``: once for the first and an even width's last, else twice."""
    columns = size[1]
    count = torch.full((columns // 2 + 1,), 2.0, device=device)
    count[0] = 1.0
    if columns % 2 == 0:
        count[-1] = 1.0
    return count


def smooth_field(shape: tuple[int, int, int, int], variation: Tensor, *, generator: torch.Generator) -> Tensor:
    """A slowly varying positive factor, exp of a smooth normal field with sd ``variation``, shape ``shape``."""
    coarse = normal((shape[0], 1, 4, 4), generator)
    field = torch.nn.functional.interpolate(coarse, size=shape[-2:], mode="bicubic", align_corners=True)
    return torch.exp(per_image(variation) * field)
