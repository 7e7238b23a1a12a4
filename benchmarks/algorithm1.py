"""Algorithm-1 noise on 8-bit slices of subjects held back from training, blind to the level, beside BM3D.

Data: every readable volume of the validation subjects, up to --slices slices each, evenly spread. CT in the window
-160..240 HU, others from the slice's 0.1 to its 99.9 percentile, mapped to 0-255; area-resized to at most 256 pixels a
side; rounded to 8 bits. Noise: Gaussian I + N and speckle I + I * N / 255 at sigma 10, 25, 50, 75; clipped and rounded
to 8 bits. PSNR and SSIM (Gaussian window, 11 taps, sigma 1.5) on data range 255 over the whole slice.

BM3D gets the true level: sigma for Gaussian noise, the root mean square of the noise for speckle. The second row is
made aware of the storage: the mean shift that clipping causes is inverted, and speckle is denoised as log(I + 10).
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Callable, Mapping

import numpy as np
import torch
import torch.nn.functional as F
from bm3d import bm3d
from common import RESULTS, data_folder, manifest, publish, table
from numpy.typing import NDArray
from scipy.stats import norm

from meddenoise.errors import InputError
from meddenoise.inference import Denoiser
from meddenoise.io import find_sources, read_volume
from meddenoise.metrics import psnr, ssim
from meddenoise.noise import Algorithm1, apply_algorithm1, to_8_bit
from meddenoise.training.slices import is_validation
from meddenoise.volume import Header, Volume

SIGMAS = (10.0, 25.0, 50.0, 75.0)
SIDE = 256
OFFSET = 10.0
BM3D, BM3D_AWARE = "BM3D, true level", "BM3D, true level, aware of clipping and speckle"
Image = NDArray[np.float64]
Method = Callable[[Image, Image, float, bool], Image]
"""(noisy, clean, sigma, speckle) -> denoised; ours looks at the first alone."""
Scores = dict[str, dict[str, float]]
"""Group -> metric -> mean."""


def validation_slices(per_volume: int) -> list[tuple[str, str, Image]]:
    """(modality, volume, slice in grey levels) of subjects never trained on."""
    slices = []
    for row in manifest():
        if row["use"] != "train and evaluate" or row["dose"] not in ("", "full") or not is_validation(row["subject"]):
            continue
        sources, _ = find_sources([data_folder() / row["path"]])
        for source in sources:
            try:
                volume = read_volume(source, modality=row["modality"])
            except InputError as error:
                print(f"left out: {error}")
                continue
            count = len(volume.array)
            for k in np.unique(np.linspace(0, count - 1, min(per_volume, count) + 2).round()[1:-1].astype(int)):
                slices.append((row["modality"], row["volume_id"], grey_levels(volume, volume.array[k])))
    return slices


def grey_levels(volume: Volume, values: NDArray[np.generic]) -> Image:
    """Window, resize and round one slice."""
    low, high = (-160.0, 240.0) if volume.header.units == "HU" else np.percentile(values, (0.1, 99.9))
    image = torch.from_numpy(np.clip((values.astype(np.float64) - low) / max(high - low, 1e-9), 0, 1) * 255.0)
    scale = min(1.0, SIDE / max(image.shape))
    size = [max(1, round(n * scale)) for n in image.shape]
    return F.interpolate(image[None, None], size=size, mode="area")[0, 0].round().numpy()


def make_noisy(clean: Image, sigma: float, speckle: bool, seed: int) -> Image:
    """One noisy 8-bit copy."""
    generator = torch.Generator().manual_seed(seed)
    parameters = Algorithm1(torch.tensor([sigma]), torch.tensor([speckle]))
    noisy = apply_algorithm1(torch.from_numpy(clean).float()[None, None], parameters, generator=generator)
    return to_8_bit(noisy)[0, 0].double().numpy()


def bm3d_plain(noisy: Image, clean: Image, sigma: float, speckle: bool) -> Image:
    """BM3D given the true level and nothing else."""
    level = sigma / 255.0 * np.sqrt(np.mean(clean**2)) if speckle else sigma
    return np.clip(bm3d(noisy, sigma_psd=level), 0, 255)


def bm3d_aware(noisy: Image, clean: Image, sigma: float, speckle: bool) -> Image:
    """BM3D given the true level and told how the noise and its storage work."""
    if speckle:
        level = float(np.std(np.log(noisy + OFFSET) - np.log(clean + OFFSET)))
        logarithm = bm3d(np.log(noisy + OFFSET), sigma_psd=level)
        return np.clip(undo_mean(np.exp(logarithm) - OFFSET, speckle_mean, sigma), 0, 255)
    return np.clip(undo_mean(bm3d(noisy, sigma_psd=sigma), clipped_mean, sigma), 0, 255)


def clipped_mean(grey: Image, sigma: float | Image) -> Image:
    """Mean of a grey level after Gaussian noise has been clipped to 0-255."""
    sigma = np.maximum(sigma, 1e-6)
    a, b = (0.0 - grey) / sigma, (255.0 - grey) / sigma
    inside = grey * (norm.cdf(b) - norm.cdf(a)) + sigma * (norm.pdf(a) - norm.pdf(b))
    return inside + 255.0 * norm.sf(b)


def speckle_mean(grey: Image, sigma: float) -> Image:
    """What averaging log(I + 10) makes of a grey level under clipped speckle, by quadrature over the noise."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(41)
    noisy = np.clip(grey[:, None] * (1 + sigma / 255.0 * nodes), 0, 255)
    return np.exp((np.log(noisy + OFFSET) * weights).sum(axis=1) / weights.sum()) - OFFSET


def undo_mean(image: Image, mean: Callable[[Image, float], Image], sigma: float) -> Image:
    """Replace each value by the grey level whose mean it is."""
    grey = np.arange(0.0, 256.0)
    return np.interp(image, np.maximum.accumulate(mean(grey, sigma)), grey)


def published_bm3d(noisy: Scores) -> dict[str, Scores]:
    """BM3D's rows of a published result, of any model, that was made on the same noisy slices."""
    for path in sorted(RESULTS.glob("algorithm1-*.json")):
        kept = json.loads(path.read_text())
        if kept["noisy"].keys() == noisy.keys() and all(_close(kept["noisy"][g], noisy[g]) for g in noisy):
            return {method: kept[method] for method in (BM3D, BM3D_AWARE)}
    sys.exit("no published result was made on these slices; run without --keep-bm3d")


def _close(before: dict[str, float], now: dict[str, float]) -> bool:
    return all(abs(before[metric] - value) < 1e-6 for metric, value in now.items())


def measured(methods: Mapping[str, Method], slices: list[tuple[str, str, Image]]) -> dict[str, Scores]:
    """Mean scores of each method on every slice with every noise."""
    found: dict[tuple[str, str], list[tuple[float, float]]] = defaultdict(list)
    for number, (modality, _, clean) in enumerate(slices):
        for sigma in SIGMAS:
            for speckle in (False, True):
                noisy = make_noisy(clean, sigma, speckle, seed=1000 * number + int(sigma) + speckle)
                for method, function in methods.items():
                    result = function(noisy, clean, sigma, speckle)
                    score = (psnr(result, clean, data_range=255.0), ssim(result, clean, data_range=255.0))
                    kind = f"{'speckle' if speckle else 'Gaussian'} {sigma:.0f}"
                    for group in (kind, modality, "all"):
                        found[method, group].append(score)
    groups = [*dict.fromkeys(g for _, g in found)]
    groups.sort(key=lambda g: (g == "all", g in ("CT", "MR", "PET", "XR")))
    mean = {key: np.mean(values, axis=0) for key, values in found.items()}
    return {m: {g: {"psnr": mean[m, g][0], "ssim": mean[m, g][1]} for g in groups} for m in methods}


def main() -> None:
    """Measure and publish."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="student")
    parser.add_argument("--slices", type=int, default=4, help="slices per volume (default 4)")
    parser.add_argument("--without-bm3d", action="store_true", help="measure the model alone, publish nothing")
    parser.add_argument(
        "--keep-bm3d", action="store_true", help="take BM3D from a published result with the same noisy slices"
    )
    arguments = parser.parse_args()
    denoise = Denoiser.load(arguments.model)

    def ours(noisy: Image, _clean: Image, _sigma: float, _speckle: bool) -> Image:
        header = Header(dtype="uint8", stored_range=(0.0, 255.0), display=True, ndim=2)
        return denoise(Volume(noisy[None].astype(np.uint8), np.eye(4), "MR", header)).volume.array[0].astype(float)

    methods: dict[str, Method] = {"noisy": lambda noisy, *_: noisy, arguments.model: ours}
    if not (arguments.without_bm3d or arguments.keep_bm3d):
        methods |= {BM3D: bm3d_plain, BM3D_AWARE: bm3d_aware}
    slices = validation_slices(arguments.slices)
    figures = measured(methods, slices)
    if arguments.keep_bm3d:
        figures |= published_bm3d(figures["noisy"])
    groups = list(figures["noisy"])
    rows = [[m, *(f"{at[g]['psnr']:.2f} / {at[g]['ssim']:.3f}" for g in groups)] for m, at in figures.items()]
    volumes = defaultdict(list)
    for modality, volume, _ in slices:
        volumes[f"{modality} {volume}"].append(1)
    text = "\n\n".join(
        [
            f"# Algorithm-1 noise: PSNR (dB) / SSIM, data range 255, {len(slices)} slices x 8 noises",
            (__doc__ or "").strip(),
            table(["method", *groups], rows),
            "Slices: " + ", ".join(f"{name} x {len(found)}" for name, found in volumes.items()) + "; each volume is "
            "another patient, and X-ray is a single one: its column is an anecdote.",
            f"Model: {denoise.card.name} {denoise.card.version}, sha256 {denoise.card.sha256[:12]}.",
        ]
    )
    if arguments.without_bm3d:
        print(text)
        return
    publish(f"algorithm1-{denoise.card.name}", text, figures)


if __name__ == "__main__":
    main()
