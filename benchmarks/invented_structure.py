"""No invented structure: what a model shows where nothing is, and what it leaves of faint inserts, at 10 % of the dose.

Object: the phantom of FDA's LCD_CT with its inserts (3 mm 14 HU, 5 mm 7 HU, 7 mm 5 HU, 10 mm 3 HU) and without, from
its ground truth, through the kernel that noise_ct.py found. Noise: Gaussian, of the two-dimensional power spectrum of
the 20 repeats at 10 % and at 100 % dose in a disc of 95 pixels radius, its level falling from the centre as theirs
does; the same realisations with inserts and without. Values are rounded to whole HU. Slices are denoised one by one.

template   mean in a disc minus mean in a ring around it, in HU: one of the size of each insert, and a single pixel.
threshold  the 99th percentile of a template's values on the real full-dose repeats without signal; a place fires where
           the value lies above it. Places: every point within 80 pixels of the centre.
fires      share of places, in percent, of results without signal. Required: no more than at full dose.
contrast   what the template of its size sees of an insert, over what it sees without noise, in percent; the difference
           between the results with and without signal. Required: at least 80 for each insert.
attainable largest contrast, in percent, that a linear filter can leave at 10 % dose while the template of this size is
           as quiet as at full dose: the noise's spectrum sets it, not the method. Where it is below 80, only a filter
           that is not linear could meet both requirements with this template, and the reader should expect none to.
detected   contrast kept over the standard deviation of the template's values without signal, as a share of the same at
           10 % dose as it is, in percent: whether a reader of the result knows more of the insert, or less.
In brackets: 95 % interval by bootstrap over the realisations.

"10 % dose as it is", the Gaussians, total variation and "nothing left" are there so that the check can be seen to fail,
"full dose as it is" and "noise-free" so that it can be seen to pass.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from common import data_folder, publish, table
from noise_ct import LCD_KERNEL, LCD_RADIUS, LCD_SPACING, repeat_noise, repeats
from noise_spectrum import Image, Mask, measure
from scipy.ndimage import gaussian_filter
from skimage.restoration import denoise_tv_chambolle
from structure import (
    Insert,
    Scores,
    attainable,
    contrast_kept,
    distance,
    fires,
    interval,
    judged,
    level_by_radius,
    power_of,
    realise,
    responses,
    spread,
)

from meddenoise import weights
from meddenoise.inference import Denoiser
from meddenoise.volume import Header, Volume

SIDE = 256
LOW, FULL = 10, 100
INSERTS = [
    Insert(f"{mm} mm {contrast} HU", row, column, mm / 2 / LCD_SPACING)
    for mm, contrast, row, column in (
        (3, 14, 94.5, 160.5),
        (5, 7, 94.5, 94.5),
        (7, 5, 160.5, 94.5),
        (10, 3, 160.5, 160.5),
    )
]
TEMPLATES = {"1 pixel": 0.0, **{insert.name.split(" mm")[0] + " mm": insert.radius for insert in INSERTS}}
PLACES = 80.0
PERCENTILE = 99.0
APART = 10.0
"""Millimetres between slices: too far for any model to take them for neighbours."""
BATCH = 20
NOTHING = 0.1
"""HU of spread below which no noise is left."""
AS_IT_IS = "10 % dose as it is"
Method = Callable[[Image], Image]
"""Noisy slices in HU, shape (count, rows, columns), to denoised ones."""


@dataclass(frozen=True)
class Dose:
    """Noise of one dose: its power spectrum, the map of its level, and how made noise compares with the repeats'."""

    power: Image
    level: Image
    check: str


def dose_of(percent: int) -> Dose:
    """Measure the repeats, and what is made like them."""
    real = repeat_noise(percent)
    mask: Mask = np.broadcast_to(distance((SIDE, SIDE), 127.5, 127.5) < LCD_RADIUS, real.shape)
    power, level = power_of(real, mask, (SIDE, SIDE)), level_by_radius(real, mask)
    made, found = (measure(noise, mask, 1.0) for noise in (realise(power, level, len(real), seed=percent), real))
    check = (
        f"{percent} % dose: standard deviation {made.level:.1f} HU (repeats {found.level:.1f}), correlation of "
        f"neighbours {made.lag_x:.2f} ({found.lag_x:.2f}) along rows and {made.lag_y:.2f} ({found.lag_y:.2f}) along "
        f"columns, median frequency {made.median_frequency:.3f} ({found.median_frequency:.3f}) cycles per pixel"
    )
    return Dose(power, level, check)


def truth() -> tuple[Image, Image]:
    """The noise-free phantom with and without inserts, in HU, through the kernel."""
    values = np.fromfile(data_folder() / "LCD_CT" / "ground_truth.raw", "<u2").reshape(SIDE, SIDE) - 1000.0
    frequency = np.hypot(np.fft.fftfreq(SIDE)[:, None], np.fft.fftfreq(SIDE)) / LCD_SPACING
    gain = LCD_KERNEL.gain(torch.from_numpy(frequency)).numpy()
    present, absent = (np.fft.ifft2(np.fft.fft2(v) * gain).real for v in (values, np.minimum(values, 0.0)))
    return present, absent


def model(name: str) -> Method:
    """A published model on slices of a CT that lie too far apart to be neighbours."""
    denoise = Denoiser.load(name, device="cpu")
    header = Header(dtype="int16", stored_range=(-32768.0, 32767.0), units="HU")
    affine = np.diag([LCD_SPACING, LCD_SPACING, APART, 1.0])
    return lambda images: denoise(Volume(images.astype(np.int16), affine, "CT", header)).volume.array.astype(np.float64)


def peers(level: float) -> dict[str, Method]:
    """Filters that leave noise in, smear the inserts, or leave nothing."""

    def total_variation(images: Image, weight: float) -> Image:
        return np.stack([denoise_tv_chambolle(image, weight=weight) for image in images])

    return {
        AS_IT_IS: lambda images: images,
        "Gaussian 1 px": lambda images: gaussian_filter(images, (0, 1, 1)),
        "Gaussian 3 px": lambda images: gaussian_filter(images, (0, 3, 3)),
        "TV, 0.5 x the true level": partial(total_variation, weight=0.5 * level),
        "TV, 1 x the true level": partial(total_variation, weight=level),
        "nothing left": lambda images: np.broadcast_to(np.median(images, axis=(1, 2), keepdims=True), images.shape),
    }


def thresholds(where: Mask) -> dict[str, float]:
    """Of each template, fixed on the real full-dose repeats without signal."""
    absent = repeats(FULL, "signal_absent")
    return {
        name: float(np.percentile(responses(absent, radius)[:, where], PERCENTILE))
        for name, radius in TEMPLATES.items()
    }


def run(methods: dict[str, Method], doses: dict[int, Dose], count: int) -> tuple[dict[str, float], dict[str, Scores]]:
    """Thresholds, and per method the share of places that fire and the contrast kept, one figure a realisation."""
    where = distance((SIDE, SIDE), 127.5, 127.5) < PLACES
    limits, ideal = thresholds(where), truth()
    found: dict[str, Any] = defaultdict(lambda: defaultdict(list))
    for start in range(0, count, BATCH):
        size = min(BATCH, count - start)
        noise = {dose: realise(d.power, d.level, size, seed=1000 + start + dose) for dose, d in doses.items()}
        low = [np.rint(image + noise[LOW]) for image in ideal]
        results = {name: [function(images) for images in low] for name, function in methods.items()}
        results["full dose as it is"] = [np.rint(image + noise[FULL]) for image in ideal]
        results["noise-free"] = [np.broadcast_to(np.rint(image), (size, SIDE, SIDE)) for image in ideal]
        for name, (present, absent) in results.items():
            for title, radius in TEMPLATES.items():
                found[name][f"fires {title}"].append(fires(absent, radius, limits[title], where))
            for insert in INSERTS:
                found[name][f"contrast {insert.name}"].append(contrast_kept(present, absent, ideal, insert))
                found[name][f"spread {insert.name}"].append(spread(absent, insert.radius, where))
        print(f"{start + size} of {count} realisations", flush=True)
    percent = {"fires": 100.0, "contrast": 100.0, "spread": 1.0}
    return limits, {
        method: {key: interval(percent[key.split()[0]] * np.concatenate(v)) for key, v in scores.items()}
        for method, scores in found.items()
    }


def limits_of_filters(doses: dict[int, Dose]) -> dict[str, float]:
    """What a linear filter can leave of each insert, in percent, while the template of its size is quiet."""
    present, absent = truth()
    found = {}
    for insert in INSERTS:
        near = distance((SIDE, SIDE), insert.row, insert.column) < 3 * insert.radius + 6
        alone = np.where(near, present - absent, 0.0)
        found[insert.name] = 100 * attainable(doses[LOW].power, doses[FULL].power, alone, insert.radius)
    return found


def detected(scores: Scores, noisy: Scores) -> list[str]:
    """Cells of the last table; nothing can be said of results without any noise."""
    cells = []
    for insert in INSERTS:
        own, input_ = (
            s[f"contrast {insert.name}"][0] / max(s[f"spread {insert.name}"][0], 1e-9) for s in (scores, noisy)
        )
        cells.append(f"{100 * own / input_:.0f}" if scores[f"spread {insert.name}"][0] > NOTHING else "-")
    return cells


def page(limits: dict[str, float], figures: dict[str, Scores], best: dict[str, float], count: int) -> str:
    """The tables of the Markdown page."""
    full = figures["full dose as it is"]

    def shown(scores: Scores, kind: str, digits: int) -> list[str]:
        return [
            f"{mean:.{digits}f} ({low:.{digits}f}-{high:.{digits}f})"
            for key, (mean, low, high) in scores.items()
            if key.startswith(kind)
        ]

    first = ("full dose as it is", "noise-free")
    order = [*first, *(name for name in figures if name not in first)]
    fired = [["threshold, HU", *(f"{limit:.2f}" for limit in limits.values())]]
    fired += [[name, *shown(figures[name], "fires", 2)] for name in order]
    kept = [["attainable", *(f"{share:.0f}" for share in best.values())]]
    kept += [[name, *shown(figures[name], "contrast", 0)] for name in order]
    return "\n\n".join(
        [
            f"## Fires without signal, % of places, {count} realisations",
            table(["", *limits], fired),
            "## Contrast kept, %",
            table(["", *(insert.name for insert in INSERTS)], kept),
            "## Detected, % of 10 % dose as it is",
            table(
                ["", *(insert.name for insert in INSERTS)],
                [[name, *detected(figures[name], figures[AS_IT_IS])] for name in order],
            ),
            "## Judged",
            table(["", ""], [[name, judged(figures[name], full)] for name in order]),
        ]
    )


def main() -> None:
    """Measure and publish, one page for each model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", action="append", help="may be repeated (default: all that are published)")
    parser.add_argument("--realisations", type=int, default=200, help="of the noise (default 200)")
    parser.add_argument("--without-results", action="store_true", help="publish nothing")
    arguments = parser.parse_args()
    names = arguments.model or [path.stem for path in sorted(weights.folder().glob("*.json"))]
    doses = {percent: dose_of(percent) for percent in (LOW, FULL)}
    others = peers(float(np.sqrt(doses[LOW].power.mean())))
    limits, figures = run({name: model(name) for name in names} | others, doses, arguments.realisations)
    best = limits_of_filters(doses)
    for name in names:
        card = weights.read_card(name)
        mine = {key: scores for key, scores in figures.items() if key == name or key not in names}
        text = "\n\n".join(
            [
                f"# Invented structure: {name}",
                (__doc__ or "").strip(),
                page(limits, mine, best, arguments.realisations),
                "Noise as made, beside that of the repeats: " + "; ".join(d.check for d in doses.values()) + ".",
                f"Model: {card.name} {card.version}, sha256 {card.sha256[:12]}.",
            ]
        )
        if arguments.without_results:
            print(text)
        else:
            publish(f"invented-structure-{name}", text, {"thresholds": limits, "attainable": best, "scores": mine})


if __name__ == "__main__":
    main()
