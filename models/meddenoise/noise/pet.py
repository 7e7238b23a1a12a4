"""Noise of positron emission tomography at a fraction of the counts."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from meddenoise.noise.blur import gaussian_blur
from meddenoise.noise.random import log_uniform, per_image, uniform
from meddenoise.noise.spectra import Spectrum, correlated

CUTOFF_TIMES_FWHM = 0.3748
"""A Gaussian of FWHM w pixels leaves white noise with the power exp(-(f w / 0.3748)^2)."""
LARGEST_VARIATION = 1.5
"""Of an activity around its local mean: where hardly anything is counted, iterative reconstruction gives nothing."""


@dataclass(frozen=True)
class PETNoise:
    """Parameters of a lower count, one entry per image, shape (batch,) each.

    Attributes:
        fraction: Share of the given image's counts, above 0 and at most 1.
        variation: Coefficient of variation at full counts where the activity is ``activity``.
        activity: Reference activity in the image's unit, such as the 95th percentile of the slice.
        power: The local standard deviation grows with this power of the local activity: 0.5 to 1 for OSEM, 0 for
            filtered back-projection.
        fwhm: Full width at half maximum of the noise's blur, in pixels: of the post-filter (4 to 8 mm over the pixel
            size) and, for OSEM, of what few iterations leave unresolved.
        ramp: True for filtered back-projection, whose noise lacks low frequencies.
    """

    fraction: Tensor
    variation: Tensor
    activity: Tensor
    power: Tensor
    fwhm: Tensor
    ramp: Tensor


def draw_pet_noise(activity: Tensor, generator: torch.Generator) -> PETNoise:
    """Draw fractions of 5 to 50 % of the counts, for images with the given reference activities.

    Coefficients of variation at full counts of 3 to 30 %; OSEM in five of six images; blurs of 0.5 to 4 pixels
    (pixels may be wider than the post-filter).

    Args:
        activity: In the image's unit, positive, shape (batch,), on the generator's device.
        generator: Source of the parameters.
    """
    batch = len(activity)
    ramp = torch.rand(batch, generator=generator, device=generator.device) < 1 / 6
    power = uniform(batch, 0.5, 1.0, generator)
    return PETNoise(
        fraction=log_uniform(batch, 0.05, 0.5, generator),
        variation=log_uniform(batch, 0.03, 0.3, generator),
        activity=activity,
        power=torch.where(ramp, torch.zeros_like(power), power),
        fwhm=log_uniform(batch, 0.5, 4.0, generator),
        ramp=ramp,
    )


def pet_noise(image: Tensor, parameters: PETNoise, *, generator: torch.Generator) -> Tensor:
    """The image at a fraction of its counts, approximated in the image domain; see low_count for the exact form.

    The added noise has ``1 / fraction - 1`` times the variance of full counts, follows the local activity and is
    correlated by the post-filter. Where OSEM is imitated its values follow a gamma distribution (skewness twice the
    local coefficient of variation, as measured on low_count), made from normal ones by the cube of Wilson and Hilferty
    1931, doi:10.1073/pnas.17.12.684; with the ramp they are normal. No activity gets negative.

    Args:
        image: Activity in any unit, shape (batch, 1, rows, columns).
        parameters: As drawn by draw_pet_noise.
        generator: Source of the noise, on the image's device.
    """
    activity = per_image(parameters.activity)
    mean = gaussian_blur(image, parameters.fwhm).clamp_min(0.0)
    growth = torch.sqrt((1.0 / parameters.fraction - 1.0).clamp_min(0.0))
    level = per_image(parameters.variation * growth) * activity * (mean / activity) ** per_image(parameters.power)
    shape = (len(image), 1, image.shape[-2], image.shape[-1])
    zero = torch.zeros_like(parameters.fwhm)
    cutoff = CUTOFF_TIMES_FWHM / parameters.fwhm
    smooth, ramped = (
        correlated(shape, Spectrum(cutoff, zero + 2.0, zero, zero, ramp=ramp), generator=generator)
        for ramp in (False, True)
    )
    local = (level / mean.clamp_min(1e-6 * activity)).clamp_max(LARGEST_VARIATION)
    gamma = (1.0 - local**2 / 9.0 + local * smooth / 3.0).clamp_min(0.0) ** 3
    return (image + torch.where(per_image(parameters.ramp), level * ramped, mean * (gamma - 1.0))).clamp_min(0.0)
