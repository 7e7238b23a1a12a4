"""Noise of computed tomography."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from meddenoise.noise.random import log_uniform, normal, per_image, uniform
from meddenoise.noise.spectra import Spectrum, frequencies, spectral_power, twice


def draw_ct_spectrum(batch: int, generator: torch.Generator) -> Spectrum:
    """A family of CT kernels from soft (cutoff 0.12 cycles/pixel) to sharp (0.8, still rising at Nyquist).

    Kernels fitted to quarter-dose CT lie inside: a soft body kernel at cutoff 0.26 and falloff 2.7, a sharp one at 0.52
    and 4.8, at pixels of 0.76 mm; directional power ratios up to 6, mostly along the vertical frequency, because
    lateral rays are the noisiest. Half of them keep power at frequency 0, as the noise of the real slices does
    (lifts of about 0.2 to 0.3 where it was calibrated) and no filtered back-projection of independent counts can.
    """
    vertical = math.pi / 2 + 0.4 * normal((batch,), generator)
    anywhere = uniform(batch, 0.0, math.pi, generator)
    mostly, lifted = torch.rand((2, batch), generator=generator, device=generator.device) < torch.tensor(
        [[0.75], [0.5]], device=generator.device
    )
    return Spectrum(
        cutoff=log_uniform(batch, 0.12, 0.8, generator),
        falloff=log_uniform(batch, 1.5, 5.0, generator),
        anisotropy=uniform(batch, 0.0, 0.9, generator),
        direction=torch.where(mostly, vertical, anywhere),
        ramp=True,
        lift=torch.where(lifted, uniform(batch, 0.0, 0.35, generator), 0.0),
    )


@dataclass(frozen=True)
class CTNoise:
    """Parameters of correlated CT noise, one entry per image.

    Attributes:
        level: Standard deviation in HU over the whole image (root mean square), shape (batch,).
        variation: Standard deviation of the logarithm of the local level, which varies smoothly over the image and
            by direction, so that streaks turn from place to place, shape (batch,).
        spectrum: Shape of the power spectrum.
    """

    level: Tensor
    variation: Tensor
    spectrum: Spectrum


def draw_ct_noise(batch: int, generator: torch.Generator) -> CTNoise:
    """Level log-uniform in 5-130 HU, varying over the patch by up to 35 % (1 sd), spectrum from draw_ct_spectrum."""
    level = log_uniform(batch, 5.0, 130.0, generator)
    return CTNoise(level, uniform(batch, 0.0, 0.35, generator), draw_ct_spectrum(batch, generator))


def ct_noise(
    shape: tuple[int, int, int, int], parameters: CTNoise, *, generator: torch.Generator, maps: Tensor | None = None
) -> Tensor:
    """Noise in HU to be added to a CT image, shape (batch, 1, rows, columns).

    Args:
        shape: (batch, 1, rows, columns).
        parameters: As drawn by draw_ct_noise.
        generator: On the device that the noise is wanted on.
        maps: What the anatomy makes of the level, in place of the drawn variation: the images' own part of
            ``ct_scan.level_maps``, shape (batch, sectors, any rows, any columns). Only their ratios count.
    """
    if maps is None:
        maps = _drawn_maps(parameters.variation, generator)
    size = (shape[-2], shape[-1])
    local = F.interpolate(maps, size=size, mode="bilinear", align_corners=False)
    power = spectral_power(size, parameters.spectrum)
    field = streaks(local, power, sector_weights(*frequencies(size, maps.device), maps.shape[1]), generator=generator)
    level = local.square().mean(dim=1, keepdim=True).sqrt()
    return field * level * (per_image(parameters.level) / level.square().mean(dim=(-2, -1), keepdim=True).sqrt())


def streaks(local: Tensor, power: Tensor, weights: Tensor, *, generator: torch.Generator) -> Tensor:
    """Normal noise of variance 1 everywhere, whose strength by direction differs from place to place.

    One white field for all sectors: what they share must be coherent, or the variance comes out wrong.

    Args:
        local: Relative amplitude per sector of directions, shape (batch, sectors, rows, columns).
        power: Power spectrum, shape (batch or 1, 1, rows, columns // 2 + 1), 1 on average over all frequencies.
        weights: Share of each sector at each frequency, shape (sectors, rows, columns // 2 + 1).
        generator: On the device of the others.
    """
    size = (local.shape[-2], local.shape[-1])
    white = torch.fft.rfft2(normal((len(local), 1, *size), generator))
    fields = torch.fft.irfft2(white * power.sqrt() * weights, s=size)
    noise: Tensor = (local * fields).sum(dim=1, keepdim=True) / _variance(local, power, weights).sqrt()
    return noise


def _variance(local: Tensor, power: Tensor, weights: Tensor) -> Tensor:
    """Variance at each pixel of the sum over sectors, whose fields are correlated, shape (batch, 1, rows, columns)."""
    size = (local.shape[-2], local.shape[-1])
    density = (power * twice(size, power.device)).flatten(1) / (size[0] * size[1])
    shares = weights.flatten(1)
    covariance = (density[:, None] * shares) @ shares.T
    amplitude = local.flatten(2)
    return ((covariance @ amplitude) * amplitude).sum(dim=1).reshape(-1, 1, *size)


def sector_weights(fy: Tensor, fx: Tensor, sectors: int) -> Tensor:
    """Triangular shares of the sectors of half a turn at each frequency, shape (sectors, rows, columns // 2 + 1).

    Sector k is centred on the frequency direction ``k pi / sectors``; at every frequency the shares sum to 1.
    """
    return triangular_shares(torch.atan2(fy, fx.expand(len(fy), -1)) * (sectors / math.pi), sectors)


def triangular_shares(position: Tensor, sectors: int) -> Tensor:
    """Shares of a position on a circle of ``sectors`` steps in its two nearest ones, shape (sectors, *position)."""
    centres = torch.arange(sectors, device=position.device).reshape(-1, *[1] * position.ndim)
    distance = (position - centres).remainder(sectors)
    return (1 - torch.minimum(distance, sectors - distance)).clamp(min=0)


def _drawn_maps(variation: Tensor, generator: torch.Generator, sectors: int = 8) -> Tensor:
    """Smooth positive level per sector, shape (batch, sectors, 16, 16), half of its logarithm's power by direction."""
    coarse = normal((len(variation), 3, 4, 4), generator)
    smooth = F.interpolate(coarse, size=(16, 16), mode="bicubic", align_corners=True)
    angle = torch.arange(sectors, device=generator.device) * (2 * math.pi / sectors)
    turn = torch.stack((torch.ones_like(angle), angle.cos(), angle.sin()), dim=1)
    logarithm = torch.einsum("kc,bcyx->bkyx", turn, smooth) / math.sqrt(2)
    return torch.exp(per_image(variation) * logarithm)
