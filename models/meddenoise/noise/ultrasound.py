"""Speckle of ultrasound B-mode images: interference of echoes within a resolution cell, log-compressed for display."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from meddenoise.noise.blur import blur_within, noise_gain, widened
from meddenoise.noise.random import normal, per_image, uniform

FAINTEST = 1e-6
"""Share of the largest amplitude below which nothing is told apart: 120 dB."""


@dataclass(frozen=True)
class UltrasoundSpeckle:
    """Parameters of fully developed speckle, one entry per image.

    Attributes:
        cell: Resolution cell: full width at half maximum of the echo along rows (depth) and across (beam width), in
            pixels, shape (batch, 2).
        dynamic_range: Decibels between ``low`` and ``high``, shape (batch,).
        low: Displayed value of the faintest echo, shape (batch,).
        high: Displayed value of the strongest echo, shape (batch,).
    """

    cell: Tensor
    dynamic_range: Tensor
    low: Tensor
    high: Tensor


def draw_ultrasound_speckle(low: Tensor, high: Tensor, generator: torch.Generator) -> UltrasoundSpeckle:
    """Draw cells of 1 to 3 pixels in depth and 1 to 3 times that across, and dynamic ranges of 50 to 70 dB.

    Args:
        low: Displayed value of the faintest echo, shape (batch,), on the generator's device.
        high: Displayed value of the strongest echo.
        generator: Source of the parameters.
    """
    depth = uniform(len(low), 1.0, 3.0, generator)
    across = depth * uniform(len(low), 1.0, 3.0, generator)
    return UltrasoundSpeckle(torch.stack((depth, across), 1), uniform(len(low), 50.0, 70.0, generator), low, high)


def ultrasound_speckle(image: Tensor, parameters: UltrasoundSpeckle, *, generator: torch.Generator) -> Tensor:
    """The envelope of echoes from scatterers as strong as the image says, log-compressed and clipped as displayed.

    Many scatterers in every resolution cell make the echo a complex normal number and its envelope Rayleigh; in
    decibels that is a noise of 5.57 dB that does not depend on the signal, and a mean 2.5 dB lower. Wagner et al. 1983,
    doi:10.1109/T-SU.1983.31404.

    Args:
        image: Root-mean-square echo as displayed (decibels between ``low`` and ``high``), shape (batch, 1, rows,
            columns).
        parameters: As drawn by draw_ultrasound_speckle.
        generator: Source of the scatterers, on the image's device.
    """
    low, width = per_image(parameters.low), per_image(parameters.high - parameters.low)
    decibels = per_image(parameters.dynamic_range) * ((image - low) / width - 1.0)
    wide = widened(10.0 ** (decibels / 20.0), parameters.cell)
    real, imaginary = (blur_within(wide * normal(tuple(wide.shape), generator), parameters.cell) for _ in range(2))
    envelope = torch.hypot(real, imaginary) / (math.sqrt(2.0) * per_image(noise_gain(parameters.cell)))
    shown = 1.0 + 20.0 * torch.log10(envelope.clamp_min(FAINTEST)) / per_image(parameters.dynamic_range)
    return low + width * shown.clamp(0.0, 1.0)
