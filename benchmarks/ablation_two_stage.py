"""The two-stage paper's ablation (III-C), small and preliminary: NEN alone, two stages without attention (TWN), full.

The full network adds the features of the estimated noise to the attended ones; a fourth row has the attention as
equation 9 is written, without them.

Preliminary: one training each, of light width (the recipe's preset "ablation") and of a small budget that is the same
for all: steps, size of the batches, seed and so the batches themselves. NEN alone costs half as much a step, so it gets
less time; the CPU seconds are in the table. What a difference of 0.1 dB between trainings of other seeds would be is
not known. In training and test the patients differ.

Data and noise of the test: those of algorithm1.py (validation patients; CT in the window -160..240 HU, others from the
slice's 0.1 to its 99.9 percentile, as 8-bit grey levels; Gaussian and speckle noise at sigma 10, 25, 50 and 75, clipped
and rounded to 8 bits), each slice with several seeds. PSNR and SSIM (Gaussian window, 11 taps, sigma 1.5) on data range
255 over the whole slice. Gains are means over patients with the 95 % interval of a bootstrap over patients; a claim of
the paper "holds" where the interval lies above 0.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
from common import publish, table
from light_training import (
    THREADS,
    Scores,
    Trained,
    algorithm1_scores,
    claims,
    figures_of,
    score_table,
    train_in_turns,
)

from meddenoise.recipes import two_stage

VARIANTS = {
    "noise estimation alone (NEN)": "noise_only",
    "two stages without attention (TWN)": "without_attention",
    "two stages with attention as written (eq 9)": "attention_alone",
    "two stages with attention (full)": "full",
}
CLAIMS = [
    ("two stages, even without attention, are better than NEN alone", "without_attention", "noise_only"),
    ("noise attention is better than none", "full", "without_attention"),
    ("the same, as equation 9 is written", "attention_alone", "without_attention"),
    ("the full network is better than NEN alone", "full", "noise_only"),
]
"""What table VI and its text say: sentence, better, worse."""


def costs(trained: dict[str, Trained]) -> str:
    """What each training took."""
    titles = {variant: title for title, variant in VARIANTS.items()}
    rows = [[titles[v], f"{one.parameters:,}", str(one.steps), f"{one.cpu_seconds:.0f}"] for v, one in trained.items()]
    return table(["variant", "parameters", "steps", "CPU seconds (one thread)"], rows)


def over_seeds(scores: Scores) -> float:
    """Largest standard deviation of a method's mean PSNR between the noise seeds."""
    found = [
        np.std([np.mean([s.psnr for s in each if s.seed == seed]) for seed in {s.seed for s in each}])
        for each in scores.values()
    ]
    return float(max(found))


def main() -> None:
    """Train, measure and publish."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/ablation-two-stage"), help="keeps the trainings")
    parser.add_argument("--steps", type=int, default=1500, help="of each variant (default 1500)")
    parser.add_argument("--turn", type=int, default=100, help="steps before the next variant's turn (default 100)")
    parser.add_argument("--slices", type=int, default=2, help="test slices per volume (default 2)")
    parser.add_argument("--seeds", type=int, default=3, help="of the test's noise (default 3)")
    parser.add_argument("--without-results", action="store_true", help="publish nothing")
    arguments = parser.parse_args()
    preset = two_stage.PRESETS["ablation"]
    variants = {variant: replace(preset, variant=variant) for variant in VARIANTS.values()}
    trained = train_in_turns(two_stage, variants, arguments.out, steps=arguments.steps, turn=arguments.turn)
    scores = algorithm1_scores(trained, slices=arguments.slices, seeds=arguments.seeds)
    titles = {variant: title for title, variant in VARIANTS.items()}
    shown = {titles.get(method, method): found for method, found in scores.items()}
    found, judged = claims(scores, CLAIMS)
    patients = {s.subject for s in scores["noisy"]}
    settings = preset.schedule
    text = "\n\n".join(
        [
            "# Ablation of the two-stage denoiser (preliminary)",
            (__doc__ or "").strip(),
            f"Each: {arguments.steps} steps of {settings.batch} patches of {preset.mix.size}x{preset.mix.size} pixels, "
            f"Adam at {settings.learning_rate:g}, constant after {settings.warmup} steps, {settings.precision}, seed "
            f"{settings.seed}; width {preset.width}, growth {preset.growth}, {preset.blocks} block a stage; {THREADS} "
            "thread.",
            costs(trained),
            score_table(shown),
            found,
            f"{len(scores['noisy'])} noisy images of {len(patients)} patients, {arguments.seeds} noise seeds; between "
            f"the seeds a method's mean PSNR has a standard deviation of at most {over_seeds(scores):.3f} dB.",
        ]
    )
    if arguments.without_results:
        print(text)
        return
    budget = {v: {**asdict(one), "weights": one.weights.name} for v, one in trained.items()}
    publish("ablation-two_stage", text, {"budget": budget, "scores": figures_of(scores), "claims": judged})


if __name__ == "__main__":
    main()
