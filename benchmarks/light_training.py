"""What comparisons of variants share: small equal trainings on one thread, and Algorithm-1 scores of what they give.

All variants of a comparison take the same number of steps with batches of one size and one seed, a turn of steps each,
so that they are equal whenever the budget is cut. The rate stays constant after its rise for the same reason; what is
measured is the running average of the weights.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import data_folder, manifest, table
from numpy.typing import NDArray

from meddenoise.inference import Denoiser
from meddenoise.metrics import psnr, ssim
from meddenoise.training.build import build_slices
from meddenoise.training.data import SLICES
from meddenoise.training.progress import HISTORY, Hook, Moment
from meddenoise.volume import Header, Volume

Image = NDArray[np.float64]
MODALITIES = ("CT", "MR", "PET", "XR")
THREADS = 1
CLOCK = "cpu_seconds"
DRAWS = 10_000
"""Bootstrap samples of the patients."""


@dataclass(frozen=True)
class Trained:
    """One variant after its training.

    Attributes:
        weights: File of its weights.
        parameters: Trainable numbers of the network.
        steps: Optimizer steps it took.
        cpu_seconds: Of the process, loading and validation included.
    """

    weights: Path
    parameters: int
    steps: int
    cpu_seconds: float


def train_in_turns(
    recipe: Any, variants: Mapping[str, Any], folder: Path, *, steps: int, turn: int
) -> dict[str, Trained]:
    """Train every variant to ``steps`` steps, going on where an earlier call was killed.

    Args:
        recipe: Module of a recipe, with ``run``.
        variants: The recipe's configurations by name.
        folder: Keeps the slices and a folder for each variant.
        steps: In all, for each of them.
        turn: Steps after which the next variant goes on.
    """
    torch.set_num_threads(THREADS)
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / SLICES).exists():
        build_slices(data_folder(), folder / SLICES, report=print)
    found: dict[str, Trained] = {}
    for target in sorted({*range(turn, steps, turn), steps}):
        for name, config in variants.items():
            out = folder / name
            if _done(out) > steps:
                sys.exit(f"{name} took {_done(out)} steps already; ask for as many, or choose another folder")
            if target == steps or _done(out) < target:
                schedule = replace(config.schedule, steps=target, decay="constant", device="cpu")
                found[name] = _trained(recipe, replace(config, schedule=schedule), folder, out)
    return found


def _trained(recipe: Any, config: Any, folder: Path, out: Path) -> Trained:
    out.mkdir(exist_ok=True)
    if not (out / SLICES).exists():
        os.link(folder / SLICES, out / SLICES)
    report = partial(print, f"{out.name}:", flush=True)
    card = recipe.run(config, None, out, resume=True, report=report, trackers=[_clock(out)])
    last = _history(out)[-1]
    return Trained(out / f"{card.name}.safetensors", card.parameters, last["step"], last[CLOCK])


def _history(out: Path) -> list[dict[str, Any]]:
    """Lines of the history, which recipes of several stages keep in a folder of the first."""
    return [json.loads(line) for path in out.rglob(HISTORY) for line in path.read_text().splitlines()]


def _done(out: Path) -> int:
    return int(_history(out)[-1]["step"]) if _history(out) else 0


def _clock(out: Path) -> Hook:
    """Counts the process's CPU seconds, on from what the history says of the turns before."""
    start, before = time.process_time(), None

    def hook(_: Moment) -> Mapping[str, float]:
        nonlocal before
        if before is None:  # by now the history is cut to the checkpoint that the run went on from
            before = _history(out)[-1][CLOCK] if _history(out) else 0.0
        return {CLOCK: round(before + time.process_time() - start, 1)}

    return hook


@dataclass(frozen=True)
class Score:
    """One result: what was denoised, with which noise, and how near it came."""

    modality: str
    volume: str
    subject: str
    noise: str
    seed: int
    psnr: float
    ssim: float


Scores = dict[str, list[Score]]
"""Method -> scores, in the same order for all methods."""


def grey(denoise: Denoiser) -> Callable[[Image], Image]:
    """A model as a function of an 8-bit slice of 0 to 255, shape (rows, columns)."""
    header = Header(dtype="uint8", stored_range=(0.0, 255.0), display=True, ndim=2)

    def function(noisy: Image) -> Image:
        volume = Volume(noisy[None].astype(np.uint8), np.eye(4), "MR", header)
        return denoise(volume).volume.array[0].astype(np.float64)

    return function


def algorithm1_scores(trained: Mapping[str, Trained], *, slices: int, seeds: int) -> Scores:
    """Scores of the noisy images and of every variant on the same noise; see algorithm1.py for the protocol."""
    from algorithm1 import SIGMAS, make_noisy, validation_slices  # needs BM3D, which training does not

    methods = {"noisy": lambda noisy: noisy}
    methods |= {name: grey(Denoiser.load(str(one.weights), device="cpu")) for name, one in trained.items()}
    subjects = {row["volume_id"]: row["subject"] for row in manifest()}
    scores: Scores = defaultdict(list)
    for number, (modality, volume, clean) in enumerate(validation_slices(slices)):
        for sigma in SIGMAS:
            for speckle in (False, True):
                kind = f"{'speckle' if speckle else 'Gaussian'} {sigma:.0f}"
                for seed in range(seeds):
                    noisy = make_noisy(
                        clean, sigma, speckle, seed=100_000 * seed + 1000 * number + int(sigma) + speckle
                    )
                    for method, function in methods.items():
                        result = function(noisy)
                        figures = (f(result, clean, data_range=255.0) for f in (psnr, ssim))
                        scores[method].append(Score(modality, volume, subjects[volume], kind, seed, *figures))
    return dict(scores)


def groups_of(scores: list[Score]) -> dict[str, Callable[[Score], bool]]:
    """The columns of a table: each noise, each modality, everything."""
    kinds = dict.fromkeys(s.noise for s in scores)
    found: dict[str, Callable[[Score], bool]] = {kind: lambda s, kind=kind: s.noise == kind for kind in kinds}
    found |= {m: lambda s, m=m: s.modality == m for m in MODALITIES if any(s.modality == m for s in scores)}
    return found | {"all": lambda s: True}


def means(scores: list[Score], fits: Callable[[Score], bool]) -> tuple[float, float]:
    """Mean PSNR and SSIM of those that fit."""
    chosen = [(s.psnr, s.ssim) for s in scores if fits(s)]
    return tuple(float(x) for x in np.mean(chosen, axis=0))  # type: ignore[return-value]


def score_table(scores: Scores) -> str:
    """Mean PSNR / SSIM of every method in every group."""
    groups = groups_of(next(iter(scores.values())))
    rows = [
        [m, *("{:.2f} / {:.3f}".format(*means(found, fits)) for fits in groups.values())] for m, found in scores.items()
    ]
    return table(["PSNR dB / SSIM", *groups], rows)


def figures_of(scores: Scores) -> dict[str, dict[str, dict[str, float]]]:
    """The same for the JSON file."""
    groups = groups_of(next(iter(scores.values())))
    return {
        m: {g: dict(zip(("psnr", "ssim"), means(found, fits), strict=True)) for g, fits in groups.items()}
        for m, found in scores.items()
    }


def gain(better: list[Score], worse: list[Score], what: str = "psnr") -> tuple[float, float, float]:
    """Mean over patients of ``better`` minus ``worse``, and its 95 % interval by bootstrap over patients."""
    differences = defaultdict(list)
    for a, b in zip(better, worse, strict=True):
        differences[a.subject].append(getattr(a, what) - getattr(b, what))
    by_patient = np.array([np.mean(found) for found in differences.values()])
    picks = np.random.default_rng(0).integers(len(by_patient), size=(DRAWS, len(by_patient)))
    low, high = np.percentile(by_patient[picks].mean(axis=1), (2.5, 97.5))
    return float(by_patient.mean()), float(low), float(high)


def verdict(low: float, high: float) -> str:
    """What an interval of a claimed gain says."""
    return "holds" if low > 0 else "does not hold: it is worse" if high < 0 else "not shown: the interval holds 0"


def claims(scores: Scores, stated: Sequence[tuple[str, str, str]]) -> tuple[str, list[dict[str, Any]]]:
    """Each claim of a paper (sentence, better, worse) whose methods were measured, beside what is found here."""
    rows, figures = [], []
    for sentence, better, worse in stated:
        if better in scores and worse in scores:
            decibels, structure = (gain(scores[better], scores[worse], what) for what in ("psnr", "ssim"))
            judged = f"PSNR: {verdict(*decibels[1:])}; SSIM: {verdict(*structure[1:])}"
            shown = [
                "{:+.2f} ({:+.2f} to {:+.2f})".format(*decibels),
                "{:+.4f} ({:+.4f} to {:+.4f})".format(*structure),
            ]
            rows.append([sentence, *shown, judged])
            figures.append({"claim": sentence, "psnr": decibels, "ssim": structure, "found": judged})
    return table(["claim of the paper", "gain, dB", "gain, SSIM", "here"], rows), figures
