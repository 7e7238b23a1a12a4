"""How the scanner and the two kernels of `meddenoise.noise` were calibrated: on L096 and L143 alone.

Scanner  water, bow_tie, electronic, modulation: least squares of the logarithms of the noise's variance slice by slice,
         in tiles of 16 pixels, and in 8 sectors of directions, between added noise (quarter minus full dose) and
         `level_maps`. The sets' common level is left free.
Kernels  photons, and cutoff and falloff of each kernel: least squares of the radial power of the added noise over the
         local level. One number of photons serves both kernels, because both keep the scale of HU.

The package holds the values rounded. Its photons are those of the level: they make the geometric mean of simulated over
real level 1.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from common import publish, table
from noise_ct import CALIBRATION, ClinicalSet, clinical_sets
from noise_spectrum import REACH, Image, autocovariance, radial_power
from scipy.optimize import minimize

from meddenoise.noise import Scanner, level_maps
from meddenoise.noise.ct_scan import kernel_energy
from meddenoise.noise.projection import Kernel

TILE = 16
FULL_TILE = 0.6
SECTOR_BAND = (0.1, 0.4)
"""In 1/mm: above the window's resolution, below what folds back."""
UNIT = Kernel(1.0, 2.0)
"""Any kernel: levels are compared up to a common factor."""


@dataclass(frozen=True)
class Measured:
    """Logarithms of the real noise's variance."""

    slices: Image
    tiles: Image
    full: Image
    sectors: Image


def measured(found: ClinicalSet) -> Measured:
    """What the scanner is fitted to."""
    noise = found.quarter - found.full
    counts = _tiles(found.soft.astype(np.float64))
    variance = _tiles(np.where(found.soft, noise, 0.0) ** 2) / np.maximum(counts, 1e-9)
    slices = np.log([n[m].var() for n, m in zip(noise, found.soft, strict=True)])
    spectrum = np.fft.fft2(np.fft.ifftshift(autocovariance(noise, found.soft) * _window())).real
    f = np.fft.fftfreq(2 * REACH, d=found.spacing)
    radius, angle = np.hypot(f[:, None], f), np.arctan2(f[:, None], f)
    sector = np.rint(angle / (np.pi / 8)).astype(int) % 8
    band = (radius > SECTOR_BAND[0]) & (radius < SECTOR_BAND[1])
    sectors = np.array([spectrum[band & (sector == k)].mean() for k in range(8)])
    return Measured(slices, np.log(variance + 1e-9), counts > FULL_TILE, np.log(sectors / sectors.mean()))


def _window() -> Image:
    index = np.arange(-REACH, REACH)
    distance = np.hypot(index[:, None], index) / REACH
    return np.asarray(np.where(distance < 1, np.cos(np.pi * distance / 2) ** 2, 0.0))


def _tiles(values: Image) -> Image:
    """Mean over tiles, shape (slices, rows / TILE, columns / TILE)."""
    return F.avg_pool2d(torch.from_numpy(values), TILE).numpy()


def variance_maps(found: ClinicalSet, scanner: Scanner) -> Image:
    """Simulated variance by sector for a kernel of energy 1, shape (slices, 8, 64, 64).

    Slices are shrunk by averaging first: paths hardly change, and the fit is five times faster.
    """
    image = F.adaptive_avg_pool2d(torch.from_numpy(found.full).float()[:, None], 64)
    pitch = found.spacing * found.full.shape[-1] / 64
    maps = level_maps(image, replace(found.scan, scanner=scanner), UNIT, spacing=pitch)
    return maps.square().double().numpy() / kernel_energy(UNIT)


def scanner_of(values: Image) -> Scanner:
    """From numbers near 1."""
    water, bow_tie, electronic, modulation = values
    return Scanner(0.0175 * water, Scanner().photons, bow_tie * 1e-4, max(0.0, electronic) * 0.01, modulation * 0.1)


def misfit(values: Image, sets: list[tuple[ClinicalSet, Measured]]) -> float:
    """Weighted squares of the logarithms' differences; each set counts alike in tiles and sectors."""
    scanner, total = scanner_of(values), 0.0
    for kernel in ("D45f", "B30f"):
        differences = []
        for found, real in (s for s in sets if s[0].name.endswith(kernel)):
            maps = variance_maps(found, scanner)
            soft = F.interpolate(torch.from_numpy(found.soft).double()[:, None], size=64, mode="area").numpy()
            sectors = (maps * soft).sum(axis=(0, 2, 3))
            total += 7.5 * float(np.mean((np.log(sectors / sectors.mean()) - real.sectors) ** 2))
            local = maps.mean(axis=1)
            slices = np.log((local * soft[:, 0]).sum(axis=(1, 2)) / soft.sum(axis=(1, 2, 3)))
            tiles = np.log(F.avg_pool2d(torch.from_numpy(local), 2).numpy())
            differences.append((slices - real.slices, (tiles - real.tiles)[real.full]))
        level = np.mean(np.concatenate([d[0] for d in differences]))
        for slices, tiles in differences:
            total += 2.5 * float(np.sum((slices - level) ** 2)) + 5.0 * float(np.mean((tiles - level) ** 2))
    return total


def relative_power(found: ClinicalSet, scanner: Scanner) -> tuple[Image, Image]:
    """Radial power of the real noise over the local level that a kernel of energy 1 would give."""
    maps = torch.from_numpy(variance_maps(found, scanner)).mean(dim=1, keepdim=True)
    level = F.interpolate(maps, size=found.full.shape[1:], mode="bilinear")[:, 0].sqrt().numpy()
    return radial_power(autocovariance((found.quarter - found.full) / level, found.soft), found.spacing)


def kernel_power(kernel: Kernel, spacing: float) -> Image:
    """The same for a kernel, folded at the pixels' Nyquist frequency."""
    f = np.fft.fftfreq(4 * REACH, d=spacing)
    shifts = np.arange(-2, 3) / spacing
    radius = np.stack([np.hypot((f + i)[:, None], f + j) for i in shifts for j in shifts])
    folded = (radius * kernel.gain(torch.from_numpy(radius)).numpy() ** 2).sum(axis=0) / (2 * np.pi)
    covariance = np.fft.fftshift(np.fft.ifft2(folded).real / spacing**2)[REACH:-REACH, REACH:-REACH]
    return radial_power(covariance, spacing)[1]


def kernel_misfit(values: Image, powers: list[tuple[str, float, Image]]) -> float:
    """Squares of the differences over the real maximum; values: scale, cutoff and falloff of D45f and of B30f."""
    total = 0.0
    for name, spacing, real in powers:
        kernel = Kernel(*values[1:3]) if name.endswith("D45f") else Kernel(*values[3:5])
        total += float(np.sum(((values[0] * kernel_power(kernel, spacing) - real)[2:] / real.max()) ** 2))
    return total


def level_ratio(found: ClinicalSet, scanner: Scanner, kernel: Kernel) -> float:
    """Simulated over real standard deviation in soft tissue."""
    maps = variance_maps(found, scanner).mean(axis=1) * kernel_energy(kernel)
    soft = F.interpolate(torch.from_numpy(found.soft).double()[:, None], size=64, mode="area")[:, 0].numpy()
    return float(np.sqrt((maps * soft).sum() / soft.sum()) / (found.quarter - found.full)[found.soft].std())


def main() -> None:
    """Fit, print and publish."""
    torch.set_grad_enabled(False)
    sets = [(s, measured(s)) for s in clinical_sets() if s.name.startswith(CALIBRATION)]
    options = {"maxfev": 80, "xatol": 0.01, "fatol": 0.005}
    fit = minimize(misfit, [1.0, 0.8, 1.0, 1.0], args=(sets,), method="Nelder-Mead", options=options)
    scanner = scanner_of(fit.x)
    powers = [(s.name, s.spacing, relative_power(s, scanner)[1]) for s, _ in sets]
    start = [1.0, 0.7, 4.0, 0.33, 2.5]
    kernels = minimize(kernel_misfit, start, args=(powers,), method="Nelder-Mead", options={"maxfev": 600})
    scale, *shapes = kernels.x
    sharp, soft = Kernel(*shapes[:2]), Kernel(*shapes[2:])
    scanner = replace(scanner, photons=scanner.photons / scale)
    levels = {s.name: level_ratio(s, scanner, sharp if s.name.endswith("D45f") else soft) for s, _ in sets}
    photons = scanner.photons * float(np.exp(2 * np.mean(np.log(list(levels.values())))))
    found = {
        "water": [scanner.water],
        "bow_tie": [scanner.bow_tie],
        "electronic": [scanner.electronic],
        "modulation": [scanner.modulation],
        "photons, from the radial power": [scanner.photons],
        "photons, from the level": [photons],
        "sharp": [sharp.cutoff, sharp.falloff],
        "soft": [soft.cutoff, soft.falloff],
    }
    rows = [[name, ", ".join(f"{x:.4g}" for x in values)] for name, values in found.items()]
    text = ["# Calibration of the CT simulator", (__doc__ or "").strip(), table(["", "fitted"], rows)]
    publish("noise-ct-fit", "\n\n".join(text), found)


if __name__ == "__main__":
    main()
