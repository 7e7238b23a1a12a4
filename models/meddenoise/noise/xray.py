"""Noise of projection radiographs: Poisson in the detector's photons, blurred by it, and electronic noise."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from meddenoise.noise.blur import blur_within, widened
from meddenoise.noise.random import log_uniform, normal, per_image, uniform

FLOOR = 0.25
"""A logarithm is taken of no less than this share of the smallest exposure the pixel scale can hold."""

MOST_COUNTS = 1e9
"""Counted exactly on every device; more are as good as free of noise."""


@dataclass(frozen=True)
class XRayNoise:
    """Parameters of a lower exposure, one entry per image, shape (batch,) each.

    Attributes:
        exposure: Share of the given image's exposure, above 0 and at most 1.
        photons: Detected photons per pixel in the given image, at the largest exposure its pixel scale holds.
        electronic: Standard deviation of the electronic noise of one readout, in photons; independent of exposure.
        blur: Full width at half maximum of the detector's blur, in pixels: quantum noise has it, electronic noise not.
        log_range: How pixel values stand for exposure: 0 in proportion to it (linear detector units); otherwise by its
            logarithm, over this many units of the natural logarithm between ``low`` and ``high``: positive where dense
            parts are bright (MONOCHROME1 as shown, white bone), negative where they are dark.
        low: Lower end of the pixel scale, in the image's unit; no exposure on a linear scale.
        high: Upper end of the pixel scale.
    """

    exposure: Tensor
    photons: Tensor
    electronic: Tensor
    blur: Tensor
    log_range: Tensor
    low: Tensor
    high: Tensor


def draw_xray_noise(low: Tensor, high: Tensor, generator: torch.Generator) -> XRayNoise:
    """Draw exposures between a tenth and seven tenths, for images with the given pixel scale.

    White-bone display units in four of five images, over 2 to 4 units of the natural logarithm, as display-processed
    files are assumed to be; linear detector units in the others. A third of the detectors do not blur.

    Args:
        low: Lower end of the pixel scale in the image's unit, shape (batch,), on the generator's device.
        high: Upper end.
        generator: Source of the parameters.
    """
    batch, device = len(low), generator.device
    shown = torch.rand(batch, generator=generator, device=device) < 0.8
    sharp = torch.rand(batch, generator=generator, device=device) < 1 / 3
    blur, log_range = uniform(batch, 0.7, 2.5, generator), uniform(batch, 2.0, 4.0, generator)
    return XRayNoise(
        exposure=log_uniform(batch, 0.1, 0.7, generator),
        photons=log_uniform(batch, 500.0, 20000.0, generator),
        electronic=uniform(batch, 0.0, 5.0, generator),
        blur=torch.where(sharp, torch.zeros_like(blur), blur),
        log_range=torch.where(shown, log_range, torch.zeros_like(log_range)),
        low=low,
        high=high,
    )


def xray_noise(image: Tensor, parameters: XRayNoise, *, generator: torch.Generator) -> Tensor:
    """The image at a lower exposure: the noise that is added by it, with the anatomy untouched.

    The variance of an exposure S (1 at the largest) grows by ``(1 / e - 1) S / photons`` from thinning the photons to
    the share e, and by ``(1 / e^2 - 1) (electronic / photons)^2`` from amplifying the readout. In units of the
    logarithm the standard deviation is therefore largest where exposure is smallest: ``exp(p / 2)`` for white bone.

    Args:
        image: Pixel values, shape (batch, 1, rows, columns); outside ``low`` to ``high`` they count as these.
        parameters: As drawn by draw_xray_noise.
        generator: Source of the noise, on the image's device.
    """
    share, photons = per_image(parameters.exposure), per_image(parameters.photons)
    low, width = per_image(parameters.low), per_image(parameters.high - parameters.low)
    log_range = per_image(parameters.log_range)
    scaled = (image - low) / width
    clean = _exposure(scaled.clamp(0.0, 1.0), log_range)
    # Counts whose relative variance is the one that thinning adds.
    wide = widened(clean, parameters.blur)
    counts = (wide * photons * share / (1.0 - share)).clamp(1e-3, MOST_COUNTS)
    drawn = wide * (torch.poisson(counts, generator=generator) / counts - 1.0)
    quantum = torch.where(share < 1.0, drawn, torch.zeros_like(drawn))
    readout = torch.sqrt(1.0 / share**2 - 1.0) * per_image(parameters.electronic) / photons
    added = blur_within(quantum, parameters.blur) + readout * normal(tuple(image.shape), generator)
    return image + width * _step(clean, added, log_range)


def _exposure(scaled: Tensor, log_range: Tensor) -> Tensor:
    """Pixel values of 0-1 to exposures, 1 at the largest."""
    logarithmic = torch.exp(-log_range * torch.where(log_range > 0, scaled, scaled - 1.0))
    return torch.where(log_range == 0, scaled, logarithmic)


def _step(clean: Tensor, added: Tensor, log_range: Tensor) -> Tensor:
    """What an added exposure changes in pixel values of 0-1."""
    floor = FLOOR * torch.exp(-log_range.abs())
    ratio = torch.maximum(clean + added, floor) / clean.clamp_min(1e-6)
    divisor = torch.where(log_range == 0, torch.ones_like(log_range), -log_range)
    return torch.where(log_range == 0, added, torch.log(ratio) / divisor)
