"""Noise of magnetic resonance magnitude images, and undersampled k-space, which is an artefact and no noise."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from meddenoise.noise.random import log_uniform, normal, per_image, uniform

COILS = (2, 4, 8, 16, 32)


def rician(image: Tensor, noise: tuple[Tensor, Tensor]) -> Tensor:
    """Magnitude of an MR image with noise in its real and imaginary channel: ``|I + n1 + i n2|``."""
    real, imaginary = noise
    return torch.hypot(image + real, imaginary)


@dataclass(frozen=True)
class MRNoise:
    """Parameters of the noise of a magnitude image, one entry per image.

    Attributes:
        sigma: Standard deviation of the real and of the imaginary noise in one coil, in the image's unit, at the
            geometric middle of the noise map; signal / sigma is the signal-to-noise ratio, shape (batch,).
        coils: Coils combined by the root of the sum of squares; 1 gives Rician noise, as every combination that weights
            coils by their sensitivity (SENSE, adaptive) does, more give non-central chi; integers, shape (batch,).
        map_ratio: Largest over smallest sigma in the image: a smooth map of coil sensitivity or g-factor; 1 is the same
            everywhere, shape (batch,).
        extent: Acquired share of k-space along rows and columns; what lies outside was filled with zeros, which
            correlates neighbouring pixels; 1 is white noise, shape (batch, 2).
        taper: Share of the acquired extent over which a cosine filter rolls off, 0 to 1, shape (batch,).
    """

    sigma: Tensor
    coils: Tensor
    map_ratio: Tensor
    extent: Tensor
    taper: Tensor


def draw_mr_noise(signal: Tensor, generator: torch.Generator) -> MRNoise:
    """Draw noise for images whose tissue has the given signal, such as the 95th percentile of the slice.

    Signal-to-noise ratios log-uniform between 3 and 40; one coil in three of four images, 2 to 32 in the others; noise
    maps up to 3:1; half of the images interpolated by zero-filling up to twofold along each axis.

    Args:
        signal: In the image's unit, positive, shape (batch,), on the generator's device.
        generator: Source of the parameters.
    """
    batch, device = len(signal), generator.device
    several = torch.tensor(COILS, device=device)[
        torch.randint(len(COILS), (batch,), generator=generator, device=device)
    ]
    one = torch.rand(batch, generator=generator, device=device) < 0.75
    whole = torch.rand(batch, generator=generator, device=device) < 0.5
    extent = 0.5 + 0.5 * torch.rand((batch, 2), generator=generator, device=device)
    taper = uniform(batch, 0.0, 0.6, generator)
    return MRNoise(
        sigma=signal / log_uniform(batch, 3.0, 40.0, generator),
        coils=torch.where(one, torch.ones_like(several), several),
        map_ratio=uniform(batch, 1.0, 3.0, generator),
        extent=torch.where(whole[:, None], torch.ones_like(extent), extent),
        taper=torch.where(whole, torch.zeros_like(taper), taper),
    )


def mr_noise(image: Tensor, parameters: MRNoise, *, generator: torch.Generator) -> Tensor:
    """A magnitude image as measured: the given one with complex noise in every coil, combined by sum of squares.

    Coil sensitivities with a sum of squares of 1 drop out: white noise is the same in every orthonormal basis of the
    coils, so all signal may be put into the first of ``2 * coils`` channels. Gudbjartsson and Patz 1995,
    doi:10.1002/mrm.1910340618; Constantinides et al. 1997, doi:10.1002/mrm.1910380524.

    Args:
        image: Noise-free magnitude in any unit, shape (batch, 1, rows, columns).
        parameters: As drawn by draw_mr_noise.
        generator: Source of the noise, on the image's device.
    """
    sigma = per_image(parameters.sigma) * _noise_map(image, parameters.map_ratio, generator)
    first = _complex_noise(tuple(image.shape), parameters.extent, parameters.taper, generator)
    one_coil = rician(image, (sigma * first.real, sigma * first.imag))
    others = [
        _root_sum_of_squares((coils - 1, 1, *image.shape[-2:]), extent[None], taper[None], generator)
        for coils, extent, taper in zip(parameters.coils.tolist(), parameters.extent, parameters.taper, strict=True)
    ]
    noisy: Tensor = torch.hypot(one_coil, sigma * torch.cat(others))
    return noisy


def _root_sum_of_squares(shape: tuple[int, ...], extent: Tensor, taper: Tensor, generator: torch.Generator) -> Tensor:
    """What coils with noise alone give together, shape (1, *shape[1:]); zeros for no coils."""
    if shape[0] == 0:
        return torch.zeros((1, *shape[1:]), device=generator.device)
    channels = _complex_noise(shape, extent, taper, generator).abs()
    return channels.square().sum(dim=0, keepdim=True).sqrt()


def _complex_noise(shape: tuple[int, ...], extent: Tensor, taper: Tensor, generator: torch.Generator) -> Tensor:
    """Complex noise, expected variance 1 in each part, white within the acquired extent of k-space."""
    white = torch.complex(normal(shape, generator), normal(shape, generator))
    if bool((extent == 1.0).all()) and bool((taper == 0.0).all()):
        return white
    rows, columns = (_window(n, extent[:, axis], taper) for axis, n in enumerate(shape[-2:]))
    window = rows[:, None, :, None] * columns[:, None, None, :]
    window = window / window.square().mean(dim=(-2, -1), keepdim=True).sqrt()
    noise: Tensor = torch.fft.ifft2(white * window, norm="ortho")
    return noise


def _window(length: int, extent: Tensor, taper: Tensor) -> Tensor:
    """Transfer along one axis of k-space, shape (batch, length), zero frequency first."""
    f = (2.0 * torch.fft.fftfreq(length, device=extent.device).abs()) / extent[:, None]
    start = 1.0 - taper[:, None]
    roll = ((f - start) / taper[:, None].clamp_min(1e-6)).clamp(0.0, 1.0)
    return 0.5 * (1.0 + torch.cos(torch.pi * roll))


def _noise_map(image: Tensor, ratio: Tensor, generator: torch.Generator) -> Tensor:
    """A smooth factor whose largest value is ``ratio`` times the smallest, around a geometric middle of 1."""
    field = F.interpolate(
        normal((len(image), 1, 4, 4), generator), size=image.shape[-2:], mode="bicubic", align_corners=True
    )
    low, high = field.amin(dim=(-2, -1), keepdim=True), field.amax(dim=(-2, -1), keepdim=True)
    return per_image(ratio) ** ((field - low) / (high - low) - 0.5)


@dataclass(frozen=True)
class Undersampling:
    """Which lines of k-space were measured: booleans of shape (batch, lines), zero frequency in the middle."""

    lines: Tensor


def draw_undersampling(
    batch: int, lines: int, generator: torch.Generator, *, acceleration: float = 4.0, center: float = 0.08
) -> Undersampling:
    """Draw lines at random: ``lines / acceleration`` of them, the ``center`` share around zero frequency always.

    Source of the fourfold random undersampling: the under-sampled MR data of the content-noise GAN (Geng et al., IEEE
    TMI 41(2), 2022).
    """
    kept = max(1, round(lines / acceleration))
    fixed = min(kept, max(1, round(lines * center)))
    order = torch.rand((batch, lines), generator=generator, device=generator.device)
    first = (lines - fixed + 1) // 2
    order[:, first : first + fixed] = -1.0
    ranks = order.argsort(dim=1).argsort(dim=1)
    return Undersampling(ranks < kept)


def undersampled(image: Tensor, parameters: Undersampling) -> Tensor:
    """The magnitude image that zero-filled k-space gives when only some lines (rows) were measured.

    This is an artefact, not noise: without any randomness of its own it folds and blurs the anatomy. Made from a
    magnitude image it also flatters, because a real measurement has phase and k-space that was not interpolated.

    Args:
        image: Magnitude in any unit, shape (batch, 1, rows, columns).
        parameters: As many lines as the image has rows.
    """
    k_space = torch.fft.fftshift(torch.fft.fft2(image), dim=-2)
    k_space = k_space * parameters.lines[:, None, :, None]
    folded: Tensor = torch.fft.ifft2(torch.fft.ifftshift(k_space, dim=-2)).abs()
    return folded
