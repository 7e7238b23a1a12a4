"""The noise level read from the image alone, over the truth: real CT at two doses, simulated MR, PET and X-ray.

CT     all Mayo slice pairs, per patient and kernel, in soft tissue (20-110 HU after a Gaussian of 4 pixels on the full
       dose). The truth at quarter dose is 1.07 times the standard deviation of q - f, at full dose sqrt(kappa) times
       it; kappa = var(noise of f) / var(q - f), from the band above 0.25 cycles per pixel of the flattest blocks.
       No real CT pair was trained on; L096 and L143 helped to choose the method, so that L192 alone carries a claim.
others noise simulated on slices of subjects held back from training; the truth is the standard deviation over eight
       draws, taken as the median over the foreground, with the image's own noise added in quadrature for MR, read from
       its air (Rayleigh). PET is blurred by a Gaussian of 1.5 pixels FWHM first, X-ray and large MR are shrunk.
map    median over the same places of |local estimate / local truth - 1|.

Peers: scikit-image's estimate_sigma, and the mode of the standard deviations in 9x9 windows of the foreground.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from common import data_folder, manifest, publish, table
from numpy.typing import NDArray
from quarter_dose import pairs
from scipy.ndimage import gaussian_filter, uniform_filter
from skimage.restoration import estimate_sigma
from torch import Tensor

from meddenoise import noise
from meddenoise.inference import estimate_noise
from meddenoise.io import find_sources, read_volume
from meddenoise.noise_level import gaussian_blur
from meddenoise.training.slices import is_validation
from meddenoise.volume import Header, Volume

QUARTER_SHARE = 1.07
DRAWS = 8
SLICES = 4
PASSED_OVER = ("Sunnybrook", "CBIS")
"""Pictures of MR, which have no physical unit, and digitised film."""

Image = NDArray[np.float64]


@dataclass(frozen=True)
class Case:
    """A noisy volume and the truth about it.

    Attributes:
        name: Of the image.
        noise: What noise it has.
        volume: The noisy volume.
        level: True standard deviation.
        local: True local standard deviation, shape of the volume.
        where: Where it is compared.
    """

    name: str
    noise: str
    volume: Volume
    level: float
    local: Image
    where: NDArray[np.bool_]


def real_ct() -> Iterator[Case]:
    """Quarter and full dose of every set."""
    for pair in pairs():
        added = (pair.q - pair.f) ** 2
        share = np.stack([gaussian_filter(s, 8) for s in pair.soft.astype(float)])
        local = np.sqrt(
            np.stack([gaussian_filter(a, 8) for a in added * pair.soft]) / np.maximum(share, 1e-6),
        )
        full = pair.quarter.with_array(pair.f.astype(np.float32))
        for dose, volume, factor in (("quarter", pair.quarter, QUARTER_SHARE), ("full", full, np.sqrt(pair.kappa))):
            yield Case(pair.name, f"{dose} dose", volume, factor * pair.level, factor * local, pair.soft)


def simulated() -> Iterator[Case]:
    """Noise of known level on images held back from training."""
    for row in manifest():
        if row["use"] != "train and evaluate" or not is_validation(row["subject"]) or row["modality"] == "CT":
            continue
        if row["volume_id"].startswith(PASSED_OVER):
            continue
        (source, *_), _ = find_sources([data_folder() / row["path"]])
        array = read_volume(source, modality=row["modality"]).as_slices().array  # type: ignore[arg-type]
        picks = np.unique(np.linspace(0.25 * len(array), 0.75 * len(array), SLICES).astype(int).clip(0, len(array) - 1))
        clean = torch.from_numpy(array[picks].astype(np.float32)).unsqueeze(1)
        clean = F.avg_pool2d(clean, 4 if clean.shape[-1] >= 1000 else 2 if clean.shape[-1] >= 320 else 1)
        if row["modality"] == "PET":
            clean = gaussian_blur(clean, 0.64)
        own = noise_of_air(clean) if row["modality"] == "MR" else 0.0
        for label, model in NOISE[row["modality"]](clean).items():
            draws = torch.stack([model(clean, torch.Generator().manual_seed(k)) for k in range(DRAWS)])
            local = (gaussian_blur(draws.var(dim=0), 3.0) + own**2).sqrt()[:, 0].double().numpy()
            where = foreground(clean)[:, 0].numpy()
            header = Header(display=row["modality"] == "XR")
            volume = Volume(draws[0, :, 0].numpy(), np.diag([1.0, 1, 3, 1]), row["modality"], header)  # type: ignore[arg-type]
            yield Case(row["volume_id"], label, volume, float(np.median(local[where])), local, where)


def foreground(image: Tensor) -> Tensor:
    """Above a tenth of the range up to the 99th percentile, after smoothing."""
    smooth = gaussian_blur(image, 2.0)
    low, high = (float(q) for q in np.percentile(smooth.numpy(), (0.1, 99.0)))
    return smooth > low + 0.1 * (high - low)


def noise_of_air(image: Tensor) -> float:
    """Rician sigma from the standard deviation of air, which is 0.655 of it; 0 where the air is masked."""
    blocks = [x[:, 0].unfold(1, 16, 16).unfold(2, 16, 16).flatten(3) for x in (image, foreground(image).float())]
    spread = blocks[0].std(dim=-1)[blocks[1].amax(dim=-1) == 0]
    spread = spread[spread > 0]
    return float(spread.median()) / 0.655 if len(spread) > 10 else 0.0


Models = dict[str, Callable[[Tensor, torch.Generator], Tensor]]


def mr(clean: Tensor) -> Models:
    """Rician noise by signal-to-noise ratio."""
    ones = torch.ones(len(clean))
    signal = torch.quantile(clean.flatten(1), 0.95, dim=1).mean()

    def at(snr: float) -> Callable[[Tensor, torch.Generator], Tensor]:
        parameters = noise.MRNoise(signal / snr * ones, ones.int(), ones, torch.ones(len(clean), 2), 0 * ones)
        return lambda x, g: noise.mr_noise(x, parameters, generator=g)

    return {f"SNR {snr:g}": at(snr) for snr in (5.0, 10.0, 20.0, 30.0)}


def pet(clean: Tensor) -> Models:
    """A tenth of the counts, 8 % variation at full counts."""
    ones = torch.ones(len(clean))
    signal = torch.quantile(clean.flatten(1), 0.95, dim=1).clamp_min(1e-3)

    def of(power: float, fwhm: float, ramp: bool) -> Callable[[Tensor, torch.Generator], Tensor]:
        ramps = torch.full((len(clean),), ramp)
        parameters = noise.PETNoise(0.1 * ones, 0.08 * ones, signal, power * ones, fwhm * ones, ramps)
        return lambda x, g: noise.pet_noise(x, parameters, generator=g)

    return {
        "OSEM, post-filter 1.5 pixels": of(0.5, 1.5, False),
        "OSEM, post-filter 2.5 pixels": of(0.5, 2.5, False),
        "FBP, post-filter 1.5 pixels": of(0.0, 1.5, True),
    }


def xray(clean: Tensor) -> Models:
    """A quarter of the exposure in white-bone display units, with and without detector blur."""
    ones = torch.ones(len(clean))

    def of(photons: float, blur: float) -> Callable[[Tensor, torch.Generator], Tensor]:
        parameters = noise.XRayNoise(0.25 * ones, photons * ones, 2 * ones, blur * ones, 3 * ones, 0 * ones, 255 * ones)
        return lambda x, g: noise.xray_noise(x, parameters, generator=g)

    return {f"{p:g} photons, blur {b:g}": of(p, b) for p in (500.0, 4000.0) for b in (0.0, 1.5)}


NOISE: dict[str, Callable[[Tensor], Models]] = {"MR": mr, "PET": pet, "XR": xray}


def mode_of_local_sd(slices: Image, where: NDArray[np.bool_]) -> float:
    """The most frequent standard deviation of 9x9 windows: the usual method for CT."""
    squares, means = (np.stack([uniform_filter(s, 9) for s in x]) for x in (slices**2, slices))
    spread = np.sqrt(np.maximum(squares - means**2, 0.0))[where]
    counts, edges = np.histogram(spread[spread > 0], bins=200, range=(0, float(np.percentile(spread, 95))))
    smooth = gaussian_filter(counts.astype(float), 3)
    return float(edges[smooth.argmax()] + 0.5 * (edges[1] - edges[0]))


def measured(case: Case) -> dict[str, float]:
    """Estimates over the truth."""
    found = estimate_noise(case.volume)
    assert found.level is not None
    assert found.map is not None
    slices = case.volume.array.astype(np.float64)
    sigma = float(np.mean([estimate_sigma(s) for s in slices]))
    error = np.abs(found.map.array / np.maximum(case.local, 1e-12) - 1)[case.where]
    return {
        "truth": case.level,
        "ours": found.level / case.level,
        "map": float(np.median(error)),
        "estimate_sigma": sigma / case.level,
        "mode": mode_of_local_sd(slices, case.where) / case.level,
    }


def main() -> None:
    """Measure and publish."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    torch.set_num_threads(1)
    figures: dict[str, dict[str, float]] = {}
    rows: dict[str, list[list[str]]] = {"ct": [], "others": []}
    for group, cases in (("ct", real_ct()), ("others", simulated())):
        for case in cases:
            found = measured(case)
            figures[f"{case.name}, {case.noise}"] = found
            cells = [
                case.name,
                case.noise,
                f"{found['truth']:.3g}",
                f"{found['ours']:.2f}",
                f"{100 * found['map']:.0f} %",
            ]
            rows[group].append([*cells, f"{found['estimate_sigma']:.2f}", f"{found['mode']:.2f}"])
            print(*rows[group][-1], sep="  ", flush=True)
    head = ["image", "noise", "truth", "estimate / truth", "map", "estimate_sigma / truth", "mode of local sd / truth"]
    text = "\n\n".join(
        [
            "# Noise level, read from the image alone",
            (__doc__ or "").strip(),
            "## Real CT, HU",
            table(head, rows["ct"]),
            "## Simulated on images held back from training",
            table(head, rows["others"]),
        ]
    )
    publish("noise-level", text, figures)


if __name__ == "__main__":
    main()
