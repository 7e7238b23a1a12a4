"""CT at a lower dose, simulated from a reconstructed slice: exactly by filtered back-projection, and fast.

What is simulated is the noise alone; it is added to the slice, whose anatomy stays untouched. The rays' water path
is found by projecting the slice; photon statistics behind it, a bow-tie filter and electronic noise give the variance
of every ray; filtered back-projection with the scanner's kernel, or its effect on the spectrum, gives the image.
The constants were fitted to clinical slices at 120 kVp with two kernels (benchmarks/noise_ct_fit.py).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from meddenoise.errors import OptionError
from meddenoise.noise.ct import sector_weights, streaks, triangular_shares
from meddenoise.noise.projection import Kernel, backproject, filtered_backprojection, half_turn, project
from meddenoise.noise.random import normal, per_image
from meddenoise.noise.spectra import frequencies, twice

CT_KERNELS = {"soft": Kernel(0.340, 2.68), "sharp": Kernel(0.685, 4.75)}
"""Measured on the body kernels B30f and D45f of a Siemens SOMATOM Definition AS+."""

SECTORS = 8
PATH_SIZE = 128
PATH_ANGLES = 90


@dataclass(frozen=True)
class Scanner:
    """What the noise of a scanner depends on beside the scan; fitted to clinical slices at 120 kVp.

    Attributes:
        water: Attenuation in 1/mm that noise behind water obeys.
        photons: Detected in air at the centre per mm of detector, mm of slice and effective mAs, over half a turn.
        bow_tie: Fall of the logarithm of the flux with the squared distance from the centre, in 1/mm^2.
        electronic: Effective mAs per 3 mm of slice that give, in air, as many photons as the electronics' variance.
        modulation: Share of the attenuation along a view's longest path that the current makes up for as it turns.
    """

    water: float = 0.01705
    photons: float = 1.167e6
    bow_tie: float = 7.7e-5
    electronic: float = 0.0153
    modulation: float = 0.114


@dataclass(frozen=True)
class CTScan:
    """How a slice was taken and shall be taken; one entry per image, shape (batch,).

    Attributes:
        exposure: Effective mAs at full dose, DICOM's Exposure.
        kvp: Tube voltage. The flux goes with its third power, as the scanner's own CTDIvol per mAs does.
        thickness: Of the slice in mm.
        fraction: Of the dose that is wanted; above 0 and at most ``present``.
        present: Fraction of the dose whose noise the image holds already: 1 for a slice as it was taken, infinity for
            a phantom without noise.
        scanner: The same for all.
    """

    exposure: Tensor
    kvp: Tensor
    thickness: Tensor
    fraction: Tensor
    present: Tensor
    scanner: Scanner = Scanner()


def same_scan(
    batch: int = 1,
    *,
    exposure: float = 200.0,
    kvp: float = 120.0,
    thickness: float = 3.0,
    fraction: float = 0.25,
    present: float = 1.0,
    scanner: Scanner | None = None,
    device: torch.device | str = "cpu",
) -> CTScan:
    """The same scan for every image of a batch."""
    exposures, voltages, thicknesses, fractions, presents = (
        torch.full((batch,), v, device=device) for v in (exposure, kvp, thickness, fraction, present)
    )
    return CTScan(exposures, voltages, thicknesses, fractions, presents, scanner or Scanner())


def low_dose(
    image: Tensor,
    scan: CTScan,
    kernel: Kernel,
    *,
    spacing: float,
    generator: torch.Generator,
    limits: tuple[float, float] | None = None,
) -> Tensor:
    """The slice at the lower dose; clipped to ``limits`` in HU only if given, as files clip. Arguments as below."""
    noisy = image + low_dose_noise(image, scan, kernel, spacing=spacing, generator=generator)
    return noisy if limits is None else noisy.clamp(*limits)


def low_dose_noise(
    image: Tensor, scan: CTScan, kernel: Kernel, *, spacing: float, generator: torch.Generator, views: int = 720
) -> Tensor:
    """Noise in HU that the lower dose adds, by filtered back-projection of the rays' noise.

    Args:
        image: Slice in HU, the whole body in view, shape (batch, 1, rows, columns).
        scan: Dose before and after.
        kernel: Of the reconstruction, one of CT_KERNELS or any other.
        spacing: Side of a pixel in mm.
        generator: On the image's device.
        views: Angles over half a turn; fewer are faster.
    """
    variance, pitch = ray_variance(image, scan, spacing=spacing)
    # Detectors much finer than pixels, so that the image aliases as the sampling of a sharp kernel does.
    fine = spacing / 8
    count = math.ceil(variance.shape[-1] * pitch / fine)
    sinogram = _resample(variance, pitch, views, count, fine).div(fine * math.pi / views).sqrt()
    sinogram = sinogram * normal(tuple(sinogram.shape), generator)
    angles, size = half_turn(views, image.device), (image.shape[-2], image.shape[-1])
    noise = filtered_backprojection(sinogram, angles, size, kernel, spacing=spacing, detector_spacing=fine)
    return noise * (1000.0 / scan.scanner.water)


def fast_low_dose_noise(
    image: Tensor, scan: CTScan, kernel: Kernel, *, spacing: float, generator: torch.Generator
) -> Tensor:
    """The same in the image domain, some 10 times faster: noise scaled by place and direction. Arguments as above."""
    size = (image.shape[-2], image.shape[-1])
    maps = level_maps(image, scan, kernel, spacing=spacing)
    local = F.interpolate(maps, size=size, mode="bilinear", align_corners=False)
    power, weights = _sampled_spectrum(size, kernel, spacing, image.device)
    return streaks(local, power, weights, generator=generator) * local.square().mean(dim=1, keepdim=True).sqrt()


def level_maps(image: Tensor, scan: CTScan, kernel: Kernel, *, spacing: float, size: int = 64) -> Tensor:
    """Standard deviation in HU of the noise to be added, by direction and place, shape (batch, SECTORS, size, size).

    Sector k holds the frequencies whose direction is near ``k pi / SECTORS``; the mean of the squares over all sectors
    is the local variance. Stored beside a slice, a map lets ``ct_noise`` follow the anatomy. Arguments as above.
    """
    variance, pitch = ray_variance(image, scan, spacing=spacing)
    angles = half_turn(PATH_ANGLES, image.device)
    shares = triangular_shares(angles * (SECTORS / math.pi), SECTORS)
    coarse = _coarse_size(image)
    sectors = []
    for share in shares:
        seen = share > 0
        rays = variance[:, :, seen] * (share[seen] / share.sum())[:, None]
        sectors.append(backproject(rays, angles[seen], coarse, spacing=pitch, detector_spacing=pitch))
    local = F.adaptive_avg_pool2d(torch.cat(sectors, dim=1), size)
    return (local * (2 * math.pi * kernel_energy(kernel))).sqrt() * (1000.0 / scan.scanner.water)


def ray_variance(image: Tensor, scan: CTScan, *, spacing: float) -> tuple[Tensor, float]:
    """Variance that the lower dose adds to each ray's line integral, per mm of detector and radian of view.

    ``v (1/fraction - 1/present) + e v^2 (1/fraction^2 - 1/present^2)`` with v the variance at full dose without
    electronic noise, and e that noise.

    Returns:
        Shape (batch, 1, PATH_ANGLES, detectors), and the detectors' distance in mm.

    Raises:
        OptionError: A dose of nothing, or one above that of the image: noise can be added, not taken away.
    """
    if not bool(((scan.fraction > 0.0) & (scan.fraction <= scan.present)).all()):
        raise OptionError(
            f"fraction must be above 0 and at most the dose already present, got {scan.fraction.tolist()} of "
            f"{scan.present.tolist()}"
        )
    size, scanner = _coarse_size(image), scan.scanner
    pitch = spacing * image.shape[-1] / size[1]
    water = F.adaptive_avg_pool2d(((image + 1000.0) / 1000.0).clamp(min=0.0), size)
    path = project(water, half_turn(PATH_ANGLES, image.device), spacing=pitch)
    t = (torch.arange(path.shape[-1], device=image.device) - (path.shape[-1] - 1) / 2) * pitch
    current = torch.exp(scanner.modulation * scanner.water * path.amax(dim=-1, keepdim=True))
    current = current / current.mean(dim=2, keepdim=True)
    charge = per_image(scan.exposure * (scan.kvp / 120.0) ** 3 * scan.thickness)
    relative = torch.exp(scanner.water * path + scanner.bow_tie * t**2) / (charge * current)
    wanted, present = per_image(1.0 / scan.fraction), per_image(1.0 / scan.present)
    added = relative * (wanted - present)
    added = added + 3.0 * scanner.electronic * relative**2 * (wanted**2 - present**2)
    return added * (math.pi / scanner.photons), pitch


def kernel_energy(kernel: Kernel) -> float:
    """Integral of ``f^2 gain^2`` over all f from 0, in 1/mm^3: what the kernel makes of a ray's variance."""
    return kernel.cutoff**3 * math.gamma(3.0 / kernel.falloff) / kernel.falloff


def _coarse_size(image: Tensor) -> tuple[int, int]:
    step = max(1.0, max(image.shape[-2:]) / PATH_SIZE)
    return round(image.shape[-2] / step), round(image.shape[-1] / step)


def _resample(sinogram: Tensor, pitch: float, views: int, count: int, fine: float) -> Tensor:
    """A sinogram of half a turn at other views and detectors, linearly between its own."""
    # Half a turn on, every ray comes back from the other side.
    closed = torch.cat([sinogram, sinogram[:, :, :1].flip(-1)], dim=2)
    t = (torch.arange(count, device=sinogram.device) - (count - 1) / 2) * (2 * fine / (sinogram.shape[-1] * pitch))
    angle = torch.arange(views, device=sinogram.device) * (2 / views) - 1
    y = angle * ((closed.shape[2] - 1) / closed.shape[2])
    grid = torch.stack((t.expand(views, -1), y[:, None].expand(-1, count)), dim=-1)
    grid = grid.expand(len(sinogram), -1, -1, -1)
    return F.grid_sample(closed, grid, align_corners=False, padding_mode="border")


def _sampled_spectrum(
    size: tuple[int, int], kernel: Kernel, spacing: float, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Power of filtered back-projection's noise at the pixels' frequencies, and its shares by sector.

    Sharp kernels pass more than the pixels can hold: what lies beyond folds back, with the direction it came from.
    """
    fy, fx = frequencies(size, device)
    power = torch.zeros(size[0], size[1] // 2 + 1, device=device)
    weights = torch.zeros(SECTORS, *power.shape, device=device)
    for i in (-1, 0, 1):
        for j in (-1, 0, 1):
            f = torch.hypot(fy + i, fx + j) / spacing
            part = f * kernel.gain(f) ** 2
            power += part
            weights += part * sector_weights(fy + i, fx + j, SECTORS)
    weights = weights / power.clamp(min=1e-12)
    power = power / (power * twice(size, device)).sum() * (size[0] * size[1])
    return power[None, None], weights
