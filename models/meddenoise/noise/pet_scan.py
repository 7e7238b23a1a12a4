"""A slice measured by a PET scanner and reconstructed: low counts by thinning in projection space.

Modelled: Poisson counts, attenuation, and a flat background of randoms and scatter whose mean is known, as corrections
assume. Left out: the shape of scatter, detector blur and efficiency, dead time, axial neighbours and time of flight.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from meddenoise.errors import OptionError
from meddenoise.noise.blur import gaussian_blur
from meddenoise.noise.projection import backproject, filtered_backprojection, half_turn, project
from meddenoise.noise.random import per_image

WATER_511_KEV = 0.0096
"""Linear attenuation of water, 1/mm."""
BODY_SHARE = 0.02
"""Of the largest activity; where a smoothed image is above it, the body is taken to be."""
TINY = 1e-9


@dataclass(frozen=True)
class PETScan:
    """A measurement at full counts and its reconstruction, the same for all images of a batch.

    Attributes:
        counts: Detected true coincidences of a slice at full counts.
        background: Randoms and scatter, over the true coincidences.
        spacing: Side of a pixel, which is a detector's too, in mm.
        algorithm: "osem" or "fbp".
        iterations: Of OSEM.
        subsets: Of OSEM, at most as many as ``angles``; with 1 it is MLEM.
        fwhm: Full width at half maximum of the Gaussian post-filter, in mm.
        angles: Over half a turn.

    Raises:
        OptionError: Another algorithm, or subsets without an angle.
    """

    counts: float = 1e6
    background: float = 0.5
    spacing: float = 4.0
    algorithm: Literal["osem", "fbp"] = "osem"
    iterations: int = 3
    subsets: int = 12
    fwhm: float = 5.0
    angles: int = 120

    def __post_init__(self) -> None:
        """Refuse what would silently reconstruct something else."""
        if self.algorithm not in ("osem", "fbp"):
            raise OptionError(f"algorithm must be osem or fbp, got {self.algorithm!r}")
        if not 1 <= self.subsets <= self.angles:
            raise OptionError(f"subsets must be between 1 and the {self.angles} angles, got {self.subsets}")


@dataclass(frozen=True)
class Sinogram:
    """What reconstruction knows beside the counts; shape (batch, 1, angles, detectors) each.

    Attributes:
        expected: Mean counts, background included.
        factors: Counts per line integral: attenuation and sensitivity.
        background: Mean counts of the background.
    """

    expected: Tensor
    factors: Tensor
    background: Tensor


def low_count(
    image: Tensor, fraction: Tensor, scan: PETScan, *, attenuation: Tensor | None = None, generator: torch.Generator
) -> Tensor:
    """The image at a fraction of its counts: what thinning adds to the reconstruction is added, never below 0.

    The full measurement is drawn from the image, each coincidence is kept with the chance ``fraction``, and the
    difference of the two reconstructions is the noise, so that anatomy and resolution of the image stay untouched.

    Args:
        image: Activity in any unit, not negative, shape (batch, 1, rows, columns).
        fraction: Above 0 and at most 1, shape (batch,).
        scan: Counts, geometry and reconstruction.
        attenuation: In 1/mm, shape of the image; none at all if not given. See water_body.
        generator: Source of the counts, on the image's device.

    Raises:
        OptionError: A fraction of nothing or of more than all counts.
    """
    if not bool(((fraction > 0.0) & (fraction <= 1.0)).all()):
        raise OptionError(f"fraction must be above 0 and at most 1, got {fraction.tolist()}")
    data = measured(image, scan, attenuation)
    full = torch.poisson(data.expected, generator=generator)
    low = thin(full, fraction, generator=generator) / per_image(fraction)
    size = (image.shape[-2], image.shape[-1])
    added = reconstruct(low, data, size, scan) - reconstruct(full, data, size, scan)
    return (image + added).clamp_min(0.0)


def water_body(image: Tensor) -> Tensor:
    """Attenuation of water in 1/mm where the body is: where the activity, smoothed over 3 pixels, is not tiny."""
    smooth = gaussian_blur(image, torch.full((len(image),), 3.0, device=image.device))
    inside = smooth > BODY_SHARE * image.amax(dim=(-2, -1), keepdim=True)
    return WATER_511_KEV * inside.to(image.dtype)


def measured(image: Tensor, scan: PETScan, attenuation: Tensor | None = None) -> Sinogram:
    """The mean counts of a slice, and what its reconstruction needs; arguments as in low_count."""
    angles = half_turn(scan.angles, image.device)
    lines = project(image, angles, spacing=scan.spacing)
    factors = torch.ones_like(lines)
    if attenuation is not None:
        factors = torch.exp(-project(attenuation, angles, spacing=scan.spacing))
    trues = factors * lines
    scale = scan.counts / trues.sum(dim=(-2, -1), keepdim=True).clamp_min(TINY)
    background = torch.full_like(lines, scan.background * scan.counts / (lines.shape[-2] * lines.shape[-1]))
    return Sinogram(scale * trues + background, scale * factors, background)


def thin(counts: Tensor, fraction: Tensor, *, generator: torch.Generator) -> Tensor:
    """Keep each count with the chance ``fraction``, shape (batch,): exactly what a shorter scan would have counted."""
    return torch.binomial(counts, per_image(fraction).expand_as(counts), generator=generator)


def reconstruct(counts: Tensor, data: Sinogram, size: tuple[int, int], scan: PETScan) -> Tensor:
    """The image of ``size`` rows and columns, in the unit of the one that was measured, after the post-filter.

    Hudson and Larkin 1994, doi:10.1109/42.363108, for OSEM.

    Args:
        counts: Scaled to full counts, shape (batch, 1, angles, detectors).
        data: What they are corrected by.
        size: Rows and columns.
        scan: Algorithm and geometry.
    """
    angles = half_turn(scan.angles, counts.device)
    if scan.algorithm == "fbp":
        corrected = (counts - data.background) / data.factors
        image = filtered_backprojection(corrected, angles, size, spacing=scan.spacing)
    else:
        image = _osem(counts, data, size, scan, angles)
    return gaussian_blur(image, torch.full((len(image),), scan.fwhm / scan.spacing, device=image.device))


def _osem(counts: Tensor, data: Sinogram, size: tuple[int, int], scan: PETScan, angles: Tensor) -> Tensor:
    image = torch.ones((len(counts), 1, *size), device=counts.device)
    subsets = [torch.arange(start, scan.angles, scan.subsets, device=counts.device) for start in range(scan.subsets)]
    sensitivities = [
        backproject(data.factors[:, :, chosen], angles[chosen], size, spacing=scan.spacing).clamp_min(TINY)
        for chosen in subsets
    ]
    for _ in range(scan.iterations):
        for chosen, sensitivity in zip(subsets, sensitivities, strict=True):
            factors, some = data.factors[:, :, chosen], angles[chosen]
            model = factors * project(image, some, spacing=scan.spacing) + data.background[:, :, chosen]
            ratio = factors * counts[:, :, chosen] / model.clamp_min(TINY)
            image = image * backproject(ratio, some, size, spacing=scan.spacing) / sensitivity
    return image
