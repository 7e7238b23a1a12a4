"""Simulated MR, PET and X-ray noise on slices of subjects held back from training, beside filters with the true level.

Data      every readable MR, PET and X-ray volume of the validation subjects, up to --slices slices each, evenly spread,
          but for pictures of MR and PET, which have no physical unit.
          Slices of 300 pixels a side and more are halved by area averaging, which takes their own noise out.
MR        SNR 5, 10, 20, 30: 95th percentile of the slice over the standard deviation of the complex noise. "white":
          Rician, the same everywhere. "stored": zero-filled from 0.7 of k-space along both axes, noise map of 2:1.
          The reference is the noise-free magnitude.
PET       a tenth of the counts, exact form: thinned in projection space, OSEM 3 x 12, attenuation of water, post-filter
          of 5 mm, 250 000 true coincidences at full counts and half as many randoms and scatter.
X-ray     a quarter of the exposure, 8-bit white-bone grey levels taken for the logarithm of the exposure over 3 units
          (an assumption: the files are display-processed); 5000 photons a pixel where it is largest, electronic noise
          of 5 photons; detector without blur, and with a blur of 2 pixels; clipped and rounded to 8 bits.
Metrics   in the mask, mean over slices: RMSE in per cent of the data range, PSNR in dB, SSIM (Gaussian window, 11 taps,
          sigma 1.5). Data range: 99.9th percentile of the clean slice, from 0; 255 for X-ray. Mask: where the clean
          slice after a Gaussian of 2 pixels is above a tenth of the range; everything for X-ray. No window.
Peers     get the true level (standard deviation of noisy minus clean in the mask) and, slice by slice, the setting of a
          small grid with the smallest RMSE to the truth. Their "aware" rows choose from transforms that know the noise
          model and its parameters too: Rician bias undone or variance stabilised, activity to the power 0.4, root of
          the exposure. The model is told nothing but the modality.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from common import RESULTS, data_folder, manifest, publish, table
from numpy.typing import NDArray
from peers import AWARE, PLAIN, Filter, Transform, exposure_transform, filters, power_transform, rician_transforms
from scipy.ndimage import gaussian_filter
from torch import Tensor

from meddenoise import noise
from meddenoise.errors import InputError
from meddenoise.inference import Denoiser
from meddenoise.io import find_sources, read_volume
from meddenoise.metrics import psnr, rmse, ssim
from meddenoise.training.slices import is_validation
from meddenoise.volume import Header, Modality, Volume

Image = NDArray[Any]
SNRS = (5, 10, 20, 30)
LARGE = 300
FRACTION = 0.1
EXPOSURE, LOG_RANGE, GREY = 0.25, 3.0, 255.0


@dataclass(frozen=True)
class Clean:
    """A slice to put noise on.

    Attributes:
        modality: What it is read as: pictures count as X-ray.
        imaged: What it shows, by the manifest.
        volume: Its name.
        values: In physical units, shape (rows, columns).
        spacing: The pixel's side in mm.
    """

    modality: Modality
    imaged: str
    volume: str
    values: Image
    spacing: float


@dataclass(frozen=True)
class Case:
    """A noisy slice, what it should be, and how it is judged."""

    condition: str
    clean: Clean
    noisy: Image
    header: Header
    data_range: float
    aware: list[Transform]

    @property
    def mask(self) -> NDArray[np.bool_]:
        """Pixels that count."""
        values = self.clean.values
        if self.clean.modality == "XR":
            return np.ones(values.shape, bool)
        return np.asarray(gaussian_filter(values, 2.0) > 0.1 * self.data_range)


def clean_slices(per_volume: int) -> Iterator[Clean]:
    """Slices of the validation subjects."""
    for row in manifest():
        wanted = row["use"] == "train and evaluate" and row["modality"] in ("MR", "PET", "XR")
        if not wanted or not is_validation(row["subject"]):
            continue
        for source in find_sources([data_folder() / row["path"]])[0]:
            try:
                volume = read_volume(source, modality=row["modality"]).as_slices()  # type: ignore[arg-type]
            except InputError as error:
                print(f"left out: {error}")
                continue
            count = len(volume.array)
            for k in np.unique(np.linspace(0, count - 1, min(per_volume, count) + 2).round()[1:-1].astype(int)):
                values = torch.from_numpy(volume.array[k].astype(np.float64))[None, None]
                halved = 2 if min(values.shape[-2:]) >= LARGE else 1
                values = F.avg_pool2d(values, halved)
                spacing = halved * volume.spacing[0]
                yield Clean(volume.modality, row["modality"], row["volume_id"], values[0, 0].numpy(), spacing)


def cases(clean: Clean, seed: int) -> Iterator[Case]:
    """The conditions of the slice's modality."""
    image = torch.from_numpy(clean.values).float()[None, None]
    generator = torch.Generator().manual_seed(seed)
    if clean.modality == "MR":
        yield from magnetic(clean, image, generator)
    elif clean.modality == "PET":
        yield positron(clean, image, generator)
    else:
        yield from radiograph(clean, image, generator)


def magnetic(clean: Clean, image: Tensor, generator: torch.Generator) -> Iterator[Case]:
    """MR at every SNR, white and as scanners store it."""
    tissue = float(np.percentile(clean.values, 95))
    for kind, ratio, extent in (("white", 1.0, 1.0), ("stored", 2.0, 0.7)):
        for snr in SNRS:
            values = (torch.tensor([v]) for v in (tissue / snr, 1, ratio))
            parameters = noise.MRNoise(*values, extent=torch.full((1, 2), extent), taper=torch.zeros(1))
            noisy = noise.mr_noise(image, parameters, generator=generator)[0, 0].numpy()
            top = float(np.percentile(clean.values, 99.9))
            yield Case(f"MR {kind} {snr}", clean, noisy, Header(), top, rician_transforms(tissue / snr))


def positron(clean: Clean, image: Tensor, generator: torch.Generator) -> Case:
    """PET at a tenth of the counts."""
    scan = noise.PETScan(counts=2.5e5, spacing=clean.spacing)
    body = noise.water_body(image)
    noisy = noise.low_count(image, torch.tensor([FRACTION]), scan, attenuation=body, generator=generator)[0, 0].numpy()
    top = float(np.percentile(clean.values, 99.9))
    aware = [power_transform(0.4, float(noisy.sum()))]
    return Case("PET 10 %", clean, noisy, Header(units="SUV"), top, aware)


def radiograph(clean: Clean, image: Tensor, generator: torch.Generator) -> Iterator[Case]:
    """X-ray at a quarter of the exposure, from a sharp detector and a blurred one."""
    header = Header(dtype="uint8", stored_range=(0.0, GREY), display=True, ndim=2)
    for kind, blur in (("sharp", 0.0), ("blurred", 2.0)):
        values = (EXPOSURE, 5000.0, 5.0, blur, LOG_RANGE, 0.0, GREY)
        parameters = noise.XRayNoise(*(torch.tensor([v]) for v in values))
        noisy = noise.to_8_bit(noise.xray_noise(image, parameters, generator=generator))[0, 0].numpy()
        yield Case(f"XR {kind}", clean, noisy, header, GREY, [exposure_transform(LOG_RANGE, GREY)])


def by_model(denoise: Denoiser, case: Case) -> Image:
    """The model's result, in the way a user gets it."""
    values = case.noisy[None].astype(case.header.dtype)
    volume = Volume(values, np.diag([case.clean.spacing] * 2 + [1.0, 1.0]), case.clean.modality, case.header)
    return denoise(volume).volume.array[0].astype(np.float64)


Cache = dict[tuple[object, str], Image]
"""Filtered images by what was done before and by the setting: undoing a bias needs no second filtering."""


def by_peer(grid: list[tuple[str, Filter]], transforms: list[Transform], case: Case, done: Cache) -> tuple[str, Image]:
    """The setting with the smallest error, and its result."""
    mask, noisy, truth = case.mask, case.noisy.astype(np.float64), case.clean.values
    results = []
    for transform in transforms:
        seen = transform.forward(noisy)
        level = float(np.std((seen - transform.forward(truth))[mask]))
        for setting, function in grid:
            key = (transform.forward, setting)
            if key not in done:
                done[key] = function(seen, level)
            results.append((f"{setting}, {transform.name}", transform.inverse(done[key])))
    return min(results, key=lambda found: rmse(found[1], truth, mask=mask))


def scores(case: Case, result: Image) -> dict[str, float]:
    """How far a result is from the truth."""
    truth, mask = case.clean.values, case.mask
    return {
        "rmse": 100.0 * rmse(result, truth, mask=mask) / case.data_range,
        "psnr": psnr(result, truth, data_range=case.data_range, mask=mask),
        "ssim": ssim(result, truth, data_range=case.data_range, mask=mask),
        "psnr, all pixels": psnr(result, truth, data_range=case.data_range),
    }


def measure(case: Case, denoise: Denoiser, peers: dict[str, list[tuple[str, Filter]]]) -> dict[str, dict[str, Any]]:
    """Scores of every method on one case, with the settings that the peers chose."""
    found: dict[str, dict[str, Any]] = {
        "noisy": scores(case, case.noisy),
        denoise.card.name: scores(case, by_model(denoise, case)),
    }
    for name, grid in peers.items():
        done: Cache = {}
        for row, transforms in ((name, [PLAIN]), (name + AWARE, case.aware)):
            setting, result = by_peer(grid, transforms, case, done)
            found[row] = scores(case, result) | {"setting": setting}
    return found


def summary(found: dict[str, list[dict[str, dict[str, Any]]]]) -> dict[str, dict[str, dict[str, Any]]]:
    """Means over slices: method -> condition -> metric, with the settings chosen most often."""
    figures: dict[str, dict[str, dict[str, Any]]] = defaultdict(dict)
    for condition, slices in found.items():
        for method in slices[0]:
            metrics = [m for m in slices[0][method] if m != "setting"]
            mean: dict[str, Any] = {m: float(np.mean([s[method][m] for s in slices])) for m in metrics}
            if "setting" in slices[0][method]:
                mean["setting"] = Counter(s[method]["setting"] for s in slices).most_common(1)[0][0]
            figures[method][condition] = mean
    return figures


def against_best(figures: dict[str, dict[str, dict[str, Any]]], model: str) -> list[list[str]]:
    """For each condition: the best plain peer and the best aware one, and how far the model is from them."""
    peers = [m for m in figures if m not in ("noisy", model)]
    plain = [m for m in peers if not m.endswith(AWARE)]
    aware = [m for m in peers if m.endswith(AWARE)]
    rows = []
    for condition, ours in figures[model].items():
        row = [condition]
        for group in (plain, aware):
            best = max(group, key=lambda m, c=condition: figures[m][c]["psnr"])
            theirs = figures[best][condition]
            row += [f"{best.removesuffix(AWARE)} ({theirs['setting']})", f"{ours['psnr'] - theirs['psnr']:+.2f}"]
            row += [f"{ours['ssim'] - max(figures[m][condition]['ssim'] for m in group):+.3f}"]
        rows.append(row)
    return rows


def with_peers(
    found: dict[str, list[dict[str, dict[str, Any]]]],
    by_condition: dict[str, list[Case]],
    denoise: Denoiser,
    peers: dict[str, list[tuple[str, Filter]]],
    published: list[dict[str, Any]],
) -> dict[str, dict[str, dict[str, Any]]]:
    """Means over slices; peers come from a published result that saw the same noisy slices, else they are measured."""
    figures = summary(found)
    kept = {c: next((p for p in published if _same(p["noisy"].get(c, {}), figures["noisy"][c])), None) for c in found}
    again = [c for c in found if kept[c] is None]
    measured = summary({c: [measure(case, denoise, peers) for case in by_condition[c]] for c in again})
    for method in (name + end for name in peers for end in ("", AWARE)):
        figures[method] = {c: (kept[c] or measured)[method][c] for c in found}
    return figures


def _same(before: dict[str, float], now: dict[str, float]) -> bool:
    return all(abs(before.get(metric, np.inf) - value) < 1e-3 for metric, value in now.items())


def main() -> None:
    """Measure and publish."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="student")
    parser.add_argument("--slices", type=int, default=2, help="slices per volume (default 2)")
    parser.add_argument("--without-peers", action="store_true", help="measure the model alone, publish nothing")
    parser.add_argument(
        "--keep-peers",
        action="store_true",
        help="take the peers from published results where they saw the same noisy slices",
    )
    parser.add_argument("--without-bm3d", action="store_true", help="leave out the slowest peer, publish nothing")
    arguments = parser.parse_args()
    denoise = Denoiser.load(arguments.model)
    by_condition: dict[str, list[Case]] = defaultdict(list)
    volumes: Counter[str] = Counter()
    for number, clean in enumerate(clean_slices(arguments.slices)):
        if clean.modality != clean.imaged:
            print(f"left out: {clean.volume}: a picture of {clean.imaged}, without a physical unit", file=sys.stderr)
            continue
        volumes[f"{clean.modality} {clean.volume} {'x'.join(map(str, clean.values.shape))}"] += 1
        for case in cases(clean, seed=number):
            by_condition[case.condition].append(case)
    found = {c: [measure(case, denoise, {}) for case in group] for c, group in by_condition.items()}
    if arguments.without_peers:
        figures = summary(found)
    else:
        paths = sorted(RESULTS.glob("simulated-*.json")) if arguments.keep_peers else []
        published = [json.loads(path.read_text()) for path in paths]
        peers = filters(without_bm3d=arguments.without_bm3d)
        figures = with_peers(found, by_condition, denoise, peers, published)
    cells = [
        [m, *(f"{c['rmse']:.2f} / {c['psnr']:.2f} / {c['ssim']:.3f}" for c in by_condition.values())]
        for m, by_condition in figures.items()
    ]
    parts = [
        "# Simulated noise on slices never trained on: RMSE (%) / PSNR (dB) / SSIM in the mask",
        (__doc__ or "").strip(),
        table(["method", *found], cells),
    ]
    if not arguments.without_peers:
        told = ["PSNR, dB", "SSIM, to the best in SSIM"]
        head = ["condition", "best filter told the level", *told, "best told the noise model too", *told]
        parts += [f"{denoise.card.name} minus the best:", table(head, against_best(figures, denoise.card.name))]
    parts += [
        "Slices: " + ", ".join(f"{name} x {count}" for name, count in volumes.items()) + "; "
        "X-ray is one patient and an anecdote.",
        f"Model: {denoise.card.name} {denoise.card.version}, sha256 {denoise.card.sha256[:12]}.",
    ]
    if arguments.without_peers or arguments.without_bm3d:
        print("\n\n".join(parts))
        return
    publish(f"simulated-{denoise.card.name}", "\n\n".join(parts), figures)


if __name__ == "__main__":
    main()
