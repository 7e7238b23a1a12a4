"""Simulated noise of MR, PET, X-ray, ultrasound and gamma cameras against theory, the fast forms beside the exact ones.

MR         mean and standard deviation of 2^18 pixels per point against the exact moments of the non-central chi
           distribution (Rician for one coil); SNR = signal over the standard deviation of the complex noise.
PET        a body of water with inserts of 0.25 to 4 times its activity, 24 scans a count (1 million true coincidences
           at full counts, half as many randoms and scatter), OSEM with 3 x 12 updates or filtered back-projection,
           post-filter of 5 mm, pixels of 4 mm. Real low-count PET does not exist here: theory is the only judge.
           The fast form's level, power and width are fitted on full counts and tried on a tenth of them, and on a real
           slice of STS_001 whose level alone was fitted.
X-ray      a wedge of exposures; linear and white-bone logarithmic units; with and without detector blur.
The undersampled k-space picture shows an artefact, not noise: it has no randomness once the lines are chosen.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from common import publish
from noise_theory_report import plots, side_by_side, slice_of, text_of
from scipy.special import gammaln, hyp1f1
from torch import Tensor

from meddenoise import noise
from meddenoise.noise.pet import CUTOFF_TIMES_FWHM
from meddenoise.noise.pet_scan import Sinogram, measured, reconstruct

SNRS = (0.0, 0.5, 1.0, 2.0, 3.0, 5.0, 7.5, 10.0, 15.0, 20.0)
COILS = (1, 4, 32)
FRACTIONS = (1.0, 0.5, 0.25, 0.1, 0.05)
SCAN = noise.PETScan()
FBP = dataclasses.replace(SCAN, algorithm="fbp")
REPEATS = 24
SIDE = 96
INSERTS = ((-20.0, 0.0, 0.25), (0.0, -16.0, 0.5), (0.0, 16.0, 2.0), (20.0, 0.0, 4.0))


def generator(seed: int = 0) -> torch.Generator:
    """A source of randomness."""
    return torch.Generator().manual_seed(seed)


def mr_figures() -> dict[str, Any]:
    """Measured and theoretical mean and standard deviation, in units of the complex noise."""
    found: dict[str, Any] = {}
    for coils in COILS:
        parameters = noise.MRNoise(
            torch.ones(1), torch.tensor([coils]), torch.ones(1), torch.ones(1, 2), torch.zeros(1)
        )
        points = []
        for snr in SNRS:
            pixels = noise.mr_noise(torch.full((1, 1, 512, 512), snr), parameters, generator=generator()).double()
            mean = math.sqrt(2) * math.exp(gammaln(coils + 0.5) - gammaln(coils)) * hyp1f1(-0.5, coils, -(snr**2) / 2)
            sd = math.sqrt(snr**2 + 2 * coils - mean**2)
            points.append([snr, float(pixels.mean()), float(mean), float(pixels.std()), sd])
        found[str(coils)] = points
    return found


def phantom() -> Tensor:
    """A body of activity 1 with cold and hot inserts."""
    at = torch.arange(SIDE) - (SIDE - 1) / 2
    image = ((at / 38) ** 2 + (at[:, None] / 32) ** 2 < 1).float()
    for x, y, activity in INSERTS:
        image[(at - x) ** 2 + (at[:, None] - y) ** 2 < 49] = activity
    return image[None, None]


def inside(activity: float) -> Tensor:
    """The inner pixels of an insert of the phantom, or of the body for activity 1."""
    at = torch.arange(SIDE) - (SIDE - 1) / 2
    x, y = next(((x, y) for x, y, a in INSERTS if a == activity), (0.0, 0.0))
    return (at - x) ** 2 + (at[:, None] - y) ** 2 < 16


def scans(image: Tensor, scan: noise.PETScan, fraction: float) -> Tensor:
    """Reconstructions of repeated scans at a fraction of the counts, shape (repeats, 1, rows, columns)."""
    data = measured(image, scan, noise.water_body(image))
    many = Sinogram(*(x.expand(REPEATS, -1, -1, -1) for x in (data.expected, data.factors, data.background)))
    full = torch.poisson(many.expected, generator=generator(1))
    low = noise.thin(full, torch.full((REPEATS,), fraction), generator=generator(2))
    return reconstruct(low / fraction, many, (image.shape[-2], image.shape[-1]), scan)


def slope(x: Sequence[float], y: Sequence[float]) -> float:
    """Exponent of a power law."""
    return float(np.polyfit(np.log(x), np.log(y), 1)[0])


def pet_figures() -> dict[str, Any]:
    """How the noise falls with counts and grows with activity, for both algorithms, and thinning itself."""
    image = phantom()
    activities = (0.25, 0.5, 1.0, 2.0, 4.0)
    found: dict[str, Any] = {}
    for name, scan in (("OSEM", SCAN), ("FBP", FBP)):
        levels = {f: scans(image, scan, f).std(dim=0)[0] for f in FRACTIONS}
        variation = [float(levels[f][inside(1.0)].mean()) for f in FRACTIONS]
        local = [float(levels[1.0][inside(a)].mean()) for a in activities]
        found[name] = {
            "fractions": FRACTIONS,
            "variation": variation,
            "slope": slope(FRACTIONS, variation),
            "slope from 100 to 10 %": slope(FRACTIONS[:4], variation[:4]),
            "activities": activities,
            "level": local,
            "exponent": slope(activities, local),
        }
    expected = measured(image, SCAN, noise.water_body(image)).expected.expand(40, -1, -1, -1)
    thinned = noise.thin(
        torch.poisson(expected, generator=generator(3)), torch.full((40,), 0.1), generator=generator(4)
    )
    found["thinned, mean over expected"] = float(thinned.mean() / (0.1 * expected.mean()))
    found["thinned, variance over mean"] = float(thinned.var(dim=0).mean() / thinned.mean())
    return found


@dataclass(frozen=True)
class Shape:
    """What of noise is compared: its level, skewness and radial spectrum."""

    level: float
    skewness: float
    spectrum: list[float]


def shape_of(fields: Tensor) -> Shape:
    """Of flat fields of shape (repeats, rows, columns); the spectrum in rings of 0.05 cycles per pixel, sum 1."""
    centred = fields - fields.mean(dim=0)
    level = float(centred.std())
    side = fields.shape[-1]
    window = torch.hann_window(side)[:, None] * torch.hann_window(side)
    power = torch.fft.fft2((fields - fields.mean(dim=(-2, -1), keepdim=True)) * window).abs().square().mean(dim=0)
    f = torch.fft.fftfreq(side)
    radius = torch.hypot(f[:, None], f)
    rings = [float(power[(radius >= low) & (radius < low + 0.05)].mean()) for low in np.arange(0, 0.5, 0.05)]
    return Shape(level, float((centred**3).mean() / level**3), [r / sum(rings) for r in rings])


def blurred_spectrum(width: float, ramp: bool) -> Tensor:
    """Rings of the fast form's noise, with a blur of ``width`` pixels."""
    zero = torch.zeros(1)
    shape = noise.Spectrum(torch.tensor([CUTOFF_TIMES_FWHM / width]), zero + 2.0, zero, zero, ramp=ramp)
    field = noise.correlated((1, 1, 512, 512), shape, generator=generator())[0, 0]
    return torch.tensor(shape_of(field.unfold(0, 32, 32).unfold(1, 32, 32).flatten(0, 1)).spectrum)


def fast_figures(power: float) -> dict[str, Any]:
    """The fast form of PET beside the exact one on a flat body, after fitting level and width on full counts."""
    at = torch.arange(SIDE) - (SIDE - 1) / 2
    flat = ((at**2 + at[:, None] ** 2) < 40**2).float()[None, None]
    middle = slice(32, 64)
    found: dict[str, Any] = {}
    for name, scan in (("OSEM", SCAN), ("FBP", FBP)):
        full = scans(flat, scan, 1.0)[:, 0, middle, middle]
        osem = name == "OSEM"
        widths = np.arange(0.8, 3.0, 0.05)
        target = torch.tensor(shape_of(full).spectrum)

        width = float(min(widths, key=lambda w, r=not osem, t=target: float((blurred_spectrum(w, r) - t).abs().sum())))
        values = (0.1, float(full.std()), 1.0, power if osem else 0.0, width)
        parameters = noise.PETNoise(*(torch.full((REPEATS,), v) for v in values), ramp=torch.full((REPEATS,), not osem))
        wide = flat.expand(REPEATS, -1, -1, -1)
        fast = noise.pet_noise(wide + 10.0 * (not osem), parameters, generator=generator(7))  # not clipped at 0
        exact = scans(flat, scan, 0.1) - scans(flat, scan, 1.0)
        found[name] = {
            "width": width,
            "variation": values[1],
            "exact": dataclasses.asdict(shape_of(exact[:, 0, middle, middle])),
            "fast": dataclasses.asdict(shape_of(fast[:, 0, middle, middle])),
        }
    return found


def real_pet(power: float, width: float) -> tuple[dict[str, float], list[Tensor]]:
    """Maps of local level on a real slice, exact and fast, with the level fitted and the rest brought along."""
    image = slice_of("PET")
    scan = dataclasses.replace(SCAN, spacing=4.0)
    body = noise.water_body(image)
    fraction, wide = torch.full((REPEATS,), 0.1), image.expand(REPEATS, -1, -1, -1)
    exact = noise.low_count(wide, fraction, scan, attenuation=body.expand_as(wide), generator=generator(5))
    reference = image.flatten().quantile(0.95)
    inner = body > 0

    def fast(variation: float) -> Tensor:
        values = (0.1, variation, float(reference), power, width)
        parameters = noise.PETNoise(*(torch.full((REPEATS,), v) for v in values), ramp=fraction > 1)
        return noise.pet_noise(wide, parameters, generator=generator(6))

    ratio = float((exact.std(dim=0)[None][inner]).mean() / (fast(0.1).std(dim=0)[None][inner]).mean())
    result = fast(0.1 * ratio)
    maps = [torch.log(r.std(dim=0)[None][inner].clamp_min(1e-3 * float(reference))) for r in (exact, result)]
    figures = {
        "level, fast over exact": float(result.std(dim=0)[None][inner].mean() / exact.std(dim=0)[None][inner].mean()),
        "correlation of the log maps": float(torch.corrcoef(torch.stack(maps))[0, 1]),
        "residual of the log maps": float((maps[0] - maps[1]).std()),
        "variation at full counts": 0.1 * ratio,
    }
    return figures, [image, exact[:1], result[:1]]


def xray_figures() -> dict[str, Any]:
    """Added noise over a wedge of exposures, and its autocorrelation."""
    values = np.arange(0.1, 1.0, 0.1)
    found: dict[str, Any] = {"values": values.tolist()}
    for name, changes in {
        "linear": {},
        "linear, blur 2 px": {"blur": 2.0},
        "linear, electronic 20": {"electronic": 20.0},
        "white bone": {"log_range": 3.0},
        "white bone, blur 2 px": {"log_range": 3.0, "blur": 2.0},
    }.items():
        settings = {"exposure": 0.25, "photons": 1e4, "electronic": 0.0, "blur": 0.0, "log_range": 0.0, "low": 0.0}
        parameters = noise.XRayNoise(**{k: torch.tensor([v]) for k, v in (settings | {"high": 1.0} | changes).items()})
        levels, lags = [], []
        for value in values:
            image = torch.full((1, 1, 256, 256), float(value))
            added = noise.xray_noise(image, parameters, generator=generator()) - image
            levels.append(float(added.std()))
            lags.append(float((added[..., 1:] * added[..., :-1]).mean() / added.var()))
        found[name] = {"level": levels, "lag-1": lags}
    return found


def other_figures() -> dict[str, float]:
    """Ultrasound speckle in decibels, and a gamma camera's variance over its mean."""
    speckle = noise.UltrasoundSpeckle(torch.tensor([[1.5, 3.0]]), *(torch.tensor([v]) for v in (60.0, 0.0, 255.0)))
    image = torch.full((1, 1, 512, 512), 160.0)
    decibels = 60.0 / 255.0 * (noise.ultrasound_speckle(image, speckle, generator=generator()) - image)
    counts = noise.CameraCounts(torch.tensor([1e6]), torch.tensor([2.0]), torch.tensor([0.1]))
    drawn = noise.camera_counts(torch.ones(1, 1, 256, 256), counts, generator=generator())
    return {
        "speckle, dB (theory 5.57)": float(decibels.std()),
        "speckle, shift of the mean, dB (theory -2.51)": float(decibels.mean()),
        "gamma camera, variance over mean (theory 1)": float(drawn.var() / drawn.mean()),
    }


def main() -> None:
    """Measure, draw and publish."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    figures: dict[str, Any] = {"MR": mr_figures(), "PET": pet_figures(), "X-ray": xray_figures()}
    power = figures["PET"]["OSEM"]["exponent"]
    figures["fast PET"] = fast_figures(power)
    figures["real PET slice"], pet_pictures = real_pet(power, figures["fast PET"]["OSEM"]["width"])
    figures["others"] = other_figures()
    plots(figures)
    side_by_side(pet_pictures)
    publish("noise-theory", text_of(__doc__ or "", figures), figures)


if __name__ == "__main__":
    main()
