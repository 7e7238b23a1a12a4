"""Counts of a gamma camera: planar scintigraphy such as bone scans, and the projections of SPECT."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from meddenoise.noise.blur import gaussian_blur
from meddenoise.noise.random import log_uniform, per_image, uniform


@dataclass(frozen=True)
class CameraCounts:
    """Parameters of a view of a gamma camera, one entry per image, shape (batch,) each.

    Attributes:
        counts: Expected number of counts in the whole image.
        collimator: Full width at half maximum of the collimator's blur at the object's distance, in pixels.
        background: Share of the counts that is spread evenly: scatter and room background.
    """

    counts: Tensor
    collimator: Tensor
    background: Tensor


def draw_camera_counts(batch: int, generator: torch.Generator) -> CameraCounts:
    """Draw 50 thousand to 2 million counts an image, blurs of 1 to 4 pixels and 0 to 20 % background."""
    return CameraCounts(
        counts=log_uniform(batch, 5e4, 2e6, generator),
        collimator=uniform(batch, 1.0, 4.0, generator),
        background=uniform(batch, 0.0, 0.2, generator),
    )


def camera_counts(image: Tensor, parameters: CameraCounts, *, generator: torch.Generator) -> Tensor:
    """The counts of every pixel, whole numbers, shape (batch, 1, rows, columns).

    SPECT is a series of such views: count the projections of an activity (meddenoise.noise.projection) and reconstruct
    them (meddenoise.noise.pet_scan does so with OSEM). Attenuation and a blur that grows with depth are left out.

    Args:
        image: Activity seen in each pixel, any unit, not negative, shape (batch, 1, rows, columns).
        parameters: As drawn by draw_camera_counts.
        generator: Source of the counts, on the image's device.
    """
    return torch.poisson(expected_camera_counts(image, parameters), generator=generator)


def expected_camera_counts(image: Tensor, parameters: CameraCounts) -> Tensor:
    """The mean counts of every pixel: what an endless measurement of the same rate would show."""
    seen = gaussian_blur(image.clamp_min(0.0), parameters.collimator)
    share = seen / seen.sum(dim=(-2, -1), keepdim=True).clamp_min(torch.finfo(seen.dtype).tiny)
    flat = per_image(parameters.background) / (image.shape[-2] * image.shape[-1])
    return per_image(parameters.counts) * ((1.0 - per_image(parameters.background)) * share + flat)
