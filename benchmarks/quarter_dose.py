"""Real quarter-dose CT against full dose: all Mayo slice pairs, per patient and kernel, in HU.

ratio  RMSE to full dose over the quarter-dose input's, body mask: full dose > -300 HU per pixel.
floor  sqrt(kappa), what the noise-free truth would score: the full-dose image is noisy itself, so this ratio rewards
       noise that is left in. kappa = var(noise of full dose) / var(added noise), measured here in the band above 0.25
       cycles per pixel of the flattest soft-tissue blocks.
t      error against the unseen truth over the input's, with the reference's noise taken off: 1 for the input, 0 for
       the truth. t^2 = (MSE(D, f) - kappa M + 2 kappa C) / ((1 + kappa) M), M = mean (q - f)^2, C = mean (D-f)(q-f).
shift  mean of denoised minus input in soft tissue (20-110 HU after a Gaussian of 4 pixels on the full dose).

Peers get the best of a grid, chosen per set with the truth: BM3D (white) at 1, 1.5, 2 and 2.5 times the true level
(standard deviation of q - f in soft tissue), total variation at weights of 0.5 to 2 times it, non-local means at h of
0.4 to 1.2 times it, CurvatureAnisotropicDiffusion at 5 and 10 iterations and conductances of 1, 3, 6 and 9. The last
row is BM3D told the noise's two-dimensional spectrum too, as it is measured from q - f in the body of the whole set.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
from bm3d import bm3d
from common import RESULTS, data_folder, manifest, publish, table
from noise_spectrum import REACH, autocovariance
from numpy.typing import NDArray
from peers import diffusion
from scipy.ndimage import gaussian_filter
from skimage.restoration import denoise_nl_means, denoise_tv_chambolle

from meddenoise.inference import Denoiser
from meddenoise.io import find_sources, read_volume
from meddenoise.metrics import rmse
from meddenoise.volume import Volume

Image = NDArray[np.float64]
Scores = dict[str, float | str]
Figures = dict[str, dict[str, Scores]]
"""Method -> set -> scores."""
BLOCK = 24
CLAIM = "L192"
"""The patient that nothing was ever calibrated on."""
BM3D = "BM3D, true level"
BM3D_SPECTRUM = "BM3D, true spectrum"


@dataclass(frozen=True)
class Pair:
    """One set: a patient with one kernel."""

    name: str
    quarter: Volume | None
    q: Image
    f: Image
    body: NDArray[np.bool_]
    soft: NDArray[np.bool_]
    level: float
    kappa: float


def pairs() -> Iterator[Pair]:
    """The sets in the manifest."""
    rows = {(r["pair_key"], r["dose"]): r for r in manifest() if r["use"] == "evaluation only"}
    for key in sorted({key for key, _ in rows}):
        volumes = []
        for dose in ("quarter", "full"):
            (source,), _ = find_sources([data_folder() / rows[key, dose]["path"]])
            volumes.append(read_volume(source))
        q, f = (v.array.astype(np.float64) for v in volumes)
        smooth = np.stack([gaussian_filter(s, 4) for s in f])
        soft = (smooth > 20) & (smooth < 110)
        level = float(np.std((q - f)[soft]))
        yield Pair(key.removeprefix("LDCT_"), volumes[0], q, f, f > -300, soft, level, kappa_of(q, f, soft))


def only(pair: Pair, picks: NDArray[np.int64]) -> Pair:
    """Some slices of a set."""
    return replace(pair, q=pair.q[picks], f=pair.f[picks], body=pair.body[picks], soft=pair.soft[picks])


def kappa_of(q: Image, f: Image, soft: NDArray[np.bool_]) -> float:
    """Noise variance of full dose over that of the added noise, in the high band of flat soft-tissue blocks."""
    powers = []
    frequency = np.fft.fftfreq(BLOCK)
    radius = np.hypot(frequency[:, None], frequency)
    for k in range(len(f)):
        for i in range(0, f.shape[1] - BLOCK, BLOCK):
            for j in range(0, f.shape[2] - BLOCK, BLOCK):
                window = (k, slice(i, i + BLOCK), slice(j, j + BLOCK))
                if soft[window].all():
                    a, b = (np.abs(np.fft.fft2(x[window] - x[window].mean())) ** 2 for x in (f, q - f))
                    powers.append([p[r].sum() for p in (a, b) for r in (radius < 0.12, radius > 0.25)])
    table_ = np.array(powers)
    flat = table_[np.argsort(table_[:, 0] / table_[:, 1])[: max(8, len(table_) // 8)]]
    return float(flat[:, 1].sum() / flat[:, 3].sum())


def debiased(pair: Pair, denoised: Image) -> float:
    """Error against the unseen truth, t of the module's docstring."""
    d, q, f = (x[pair.body] for x in (denoised, pair.q, pair.f))
    added, cross = np.mean((q - f) ** 2), np.mean((d - f) * (q - f))
    square = (np.mean((d - f) ** 2) - pair.kappa * added + 2 * pair.kappa * cross) / ((1 + pair.kappa) * added)
    return float(np.sqrt(max(square, 0.0)))


def ratio(pair: Pair, denoised: Image) -> float:
    """RMSE to full dose over the input's."""
    return rmse(denoised, pair.f, mask=pair.body) / rmse(pair.q, pair.f, mask=pair.body)


def spectrum(pair: Pair) -> Image:
    """Mean squared magnitude of the Fourier transform of a slice of the set's added noise, shape (rows, columns)."""
    rows, columns = pair.q.shape[1:]
    index = np.arange(-REACH, REACH)
    distance = np.hypot(index[:, None], index) / REACH
    window = np.where(distance < 1, np.cos(np.pi * distance / 2) ** 2, 0.0)
    covariance = np.zeros((rows, columns))
    covariance[np.ix_(index % rows, index % columns)] = autocovariance(pair.q - pair.f, pair.body) * window
    return np.maximum(np.fft.fft2(covariance).real, 0.0) * rows * columns


def grids(pair: Pair) -> dict[str, list[tuple[str, Callable[[Image], Image]]]]:
    """Peers and the settings they may choose from."""
    level, power = pair.level, spectrum(pair)
    return {
        "TV": [
            (f"{m} x", lambda x, m=m: denoise_tv_chambolle(x, weight=m * level)) for m in (0.5, 0.75, 1.0, 1.5, 2.0)
        ],
        "NLM": [
            (f"h {m} x", lambda x, m=m: denoise_nl_means(x, h=m * level, sigma=level, patch_size=5, patch_distance=6))
            for m in (0.4, 0.6, 0.8, 1.2)
        ],
        "CurvatureAnisotropicDiffusion": [
            (f"{n} it., c {c}", lambda x, n=n, c=c: diffusion(x, n, c)) for n in (5, 10) for c in (1.0, 3.0, 6.0, 9.0)
        ],
        BM3D: [(f"{m} x", lambda x, m=m: bm3d(x, sigma_psd=m * level)) for m in (1.0, 1.5, 2.0, 2.5)],
        BM3D_SPECTRUM: [("", lambda x: bm3d(x, sigma_psd=power))],
    }


PEERS = ("TV", "NLM", "CurvatureAnisotropicDiffusion", BM3D, BM3D_SPECTRUM)


def best_of(pair: Pair, grid: list[tuple[str, Callable[[Image], Image]]]) -> tuple[str, Image]:
    """The setting with the smallest ratio on this set, and its result."""
    results = [(setting, np.stack([function(s) for s in pair.q])) for setting, function in grid]
    return min(results, key=lambda found: ratio(pair, found[1]))


def peer(pair: Pair, method: str) -> Scores:
    """The scores of one peer on one set."""
    setting, denoised = best_of(pair, grids(pair)[method])
    print(f"{pair.name}: {method}, {setting}", file=sys.stderr, flush=True)
    return scores(pair, denoised, setting)


def by_peers(sets: list[Pair], methods: list[str], processes: int) -> Figures:
    """These peers on all sets, the slowest first."""
    bare = [replace(pair, quarter=None) for pair in sets]  # a Volume does not travel between processes
    tasks = [(pair, method) for method in reversed(methods) for pair in bare]
    if not tasks:
        return {}
    with ProcessPoolExecutor(processes) as pool:
        found = dict(zip([(p.name, m) for p, m in tasks], pool.map(peer, *zip(*tasks, strict=True)), strict=True))
    return {method: {pair.name: found[pair.name, method] for pair in sets} for method in methods}


def scores(pair: Pair, denoised: Image, setting: str = "") -> Scores:
    """What is published of one method on one set."""
    return {
        "ratio": ratio(pair, denoised),
        "t": debiased(pair, denoised),
        "shift": float((denoised - pair.q)[pair.soft].mean()),
        "setting": setting,
    }


def published_peers(floors: dict[str, float]) -> Figures:
    """The peers' rows of the published results, of any model, that were made on the same images."""
    kept: Figures = {}
    for path in sorted(RESULTS.glob("quarter-dose-*.json")):
        figures = json.loads(path.read_text())
        if all(abs(figures["floor"].get(name, np.inf) - value) < 1e-6 for name, value in floors.items()):
            kept |= {method: figures[method] for method in PEERS if method in figures}
    return kept


def page(figures: Figures, floors: dict[str, float], model: str) -> str:
    """The Markdown page."""
    names = sorted(floors, key=lambda name: (name.split("_")[1] != "D45f", name))
    sharp, soft, claim = ([n for n in names if part in n] for part in ("D45f", "B30f", CLAIM))
    groups = (sharp, soft, claim, names)

    def row(method: str) -> list[str]:
        found = figures[method]
        cells = [
            f"{found[n]['ratio']:.3f} / {found[n]['t']:.2f} / {found[n]['shift']:+.2f} {found[n]['setting']}".strip()
            for n in names
        ]
        means = [float(np.mean([found[n]["ratio"] for n in group])) for group in groups]
        return [method, *cells, *(f"{m:.3f}" for m in means), f"{np.mean([found[n]['t'] for n in names]):.3f}"]

    head = ["ratio / t / shift HU", *names, "mean D45f", "mean B30f", f"mean {CLAIM}", "mean", "mean t"]
    floor = ["floor (noise-free truth)", *(f"{floors[n]:.3f}" for n in names)]
    floor += [f"{np.mean([floors[n] for n in group]):.3f}" for group in groups] + ["0"]
    parts = ["# Real quarter-dose CT: RMSE to full dose as a ratio to the input's", (__doc__ or "").strip()]
    parts.append(table(head, [*(row(m) for m in figures), floor]))
    if BM3D in figures:
        gains = [np.mean([figures[m][n]["ratio"] for n in g]) for g in (claim, names) for m in (model, BM3D)]
        parts.append(
            f"{model} against {BM3D}: {100 * (gains[0] / gains[1] - 1):+.1f} % on {CLAIM}, "
            f"{100 * (gains[2] / gains[3] - 1):+.1f} % on all sets."
        )
    return "\n\n".join(parts)


def main() -> None:
    """Measure and publish."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="student")
    parser.add_argument("--without-peers", action="store_true", help="measure the model alone, publish nothing")
    parser.add_argument("--keep-peers", action="store_true", help="measure only peers that no published result has")
    parser.add_argument("--processes", type=int, default=2, help="that the peers run in (default 2)")
    arguments = parser.parse_args()
    denoise = Denoiser.load(arguments.model)
    sets = list(pairs())
    floors = {pair.name: float(np.sqrt(pair.kappa)) for pair in sets}
    figures: Figures = {arguments.model: {}}
    for pair in sets:
        print(f"{pair.name}: {len(pair.q)} pairs, level {pair.level:.1f} HU, kappa {pair.kappa:.3f}", flush=True)
        ours = denoise(pair.quarter).volume.array.astype(np.float64)
        figures[arguments.model][pair.name] = scores(pair, ours)
    if not arguments.without_peers:
        kept = published_peers(floors) if arguments.keep_peers else {}
        kept |= by_peers(sets, [method for method in PEERS if method not in kept], arguments.processes)
        figures |= {method: kept[method] for method in PEERS}
    card = denoise.card
    text = page(figures, floors, arguments.model) + (
        f"\n\nModel: {card.name} {card.version}, sha256 {card.sha256[:12]}; never trained on these patients."
    )
    if arguments.without_peers:
        print(text)
    else:
        publish(f"quarter-dose-{card.name}", text, figures | {"floor": floors})  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
