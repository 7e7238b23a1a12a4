"""Tables and curve of distillation.py."""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from common import RESULTS, publish, table
from light_training import THREADS, Scores, Trained, claims, figures_of, score_table

from meddenoise import weights
from meddenoise.recipes import student

TITLES = {
    "plain": "plain, no teacher",
    "supervised": "branched, no teacher",
    "supervised_long": "branched, no teacher, equal arithmetic",
    "final_output": "branched, the teacher's output",
    "staggered": "branched, output and anchors",
}
CLAIMS = [
    ("distillation from the final output is better than none", "final_output", "supervised"),
    ("staggered anchors are better than the final output alone", "staggered", "final_output"),
    ("staggered distillation is better than none", "staggered", "supervised"),
    ("the same, if the student without it gets equal arithmetic", "staggered", "supervised_long"),
    ("training with branches is better than plain training", "supervised", "plain"),
]
"""Sections 2.1 and 4: sentence, better, worse."""
STOP = student.Pruning().tolerance


def effective(rows: list[dict[str, Any]]) -> int:
    """Index of the last step before the recipe would stop, by PSNR on held-back patches; 0 is the folded student."""
    least = rows[0]["held back psnr"] - STOP
    return next((i - 1 for i, row in enumerate(rows) if row["held back psnr"] < least), len(rows) - 1)


def tell(
    arguments: argparse.Namespace,
    trained: dict[str, Trained],
    scores: Scores,
    rows: list[dict[str, Any]],
    folding: dict[str, dict[str, float]],
    description: str,
) -> None:
    """Publish the tables and the curve."""
    stop, (found, judged) = effective(rows), claims(scores, CLAIMS)
    cut = [
        [
            row["stage"] + (" (kept)" if i == stop else ""),
            *(f"{row['parameters']:,}", f"{row['gmac']:.3f}", f"{row['kilobytes']:.0f}", f"{row['milliseconds']:.1f}"),
            *(f"{row['held back psnr']:.2f}", f"{row['psnr']:.2f} / {row['ssim']:.3f}"),
            "{:+.2f} ({:+.2f} to {:+.2f})".format(*row["change"]),
        ]
        for i, row in enumerate(rows)
    ]
    forms = [
        [name, f"{f['parameters']:,}", f"{f['gmac']:.3f}", f"{f['milliseconds']:.1f}"]
        for name, f in folding.items()
        if "parameters" in f
    ]
    budget = [[TITLES.get(n, n), f"{t.parameters:,}", str(t.steps), f"{t.cpu_seconds:.0f}"] for n, t in trained.items()]
    settings = student.PRESETS["ablation"]
    text = "\n\n".join(
        [
            "# The student's paper put to the test (preliminary)",
            description.strip(),
            f"Each: {arguments.steps} steps of {settings.schedule.batch} patches of {settings.mix.size}x"
            f"{settings.mix.size} pixels, rate {settings.schedule.learning_rate:g}, constant after "
            f"{settings.schedule.warmup} steps, {settings.schedule.precision}, seed {settings.schedule.seed}; widths "
            f"{settings.widths}, blocks {settings.blocks}; {THREADS} thread.",
            table(["student", "parameters", "steps", "CPU seconds"], budget),
            score_table({TITLES.get(name, name): one for name, one in scores.items()}),
            found,
            "## Folding",
            table(["", "parameters", "GMAC", "CPU ms"], forms),
            f"Largest difference at any pixel, over the largest change that the network makes: "
            f"{folding['largest difference']['relative']:.1e} (float32). In training too the branches' kernels are "
            "added before one convolution is computed; tests compare that with the sum of the branches' own outputs.",
            "## Every pruning step",
            "![curve](distillation.png)",
            table(
                [
                    "step",
                    "parameters",
                    "GMAC",
                    "kB",
                    "CPU ms",
                    "held back, dB",
                    "test, dB / SSIM",
                    "test, over folded, dB",
                ],
                cut,
            ),
            f"The recipe stops where a step is more than {STOP:g} dB below the folded network on held-back patches and "
            "keeps the one before. Steps are trained longer than the folded student by what fine-tuned them.",
        ]
    )
    if arguments.without_results:
        print(text)
        curve(rows, stop, arguments.out / "distillation.png")
        return
    curve(rows, stop, RESULTS / "distillation.png")
    publish(
        "distillation",
        text,
        {
            "budget": {name: {**asdict(one), "weights": one.weights.name} for name, one in trained.items()},
            "scores": figures_of(scores),
            "claims": judged,
            "folding": folding,
            "pruning": [{**row, "file": row["file"].name, "kept": i == stop} for i, row in enumerate(rows)],
        },
    )


def curve(rows: list[dict[str, Any]], kept: int, path: Path) -> None:
    """Quality against cost over the pruning steps: PSNR over multiply-accumulates and over parameters."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), sharey=True, constrained_layout=True)
    for axis, key, label in ((axes[0], "gmac", "GMAC at 256x256"), (axes[1], "parameters", "parameters")):
        axis.plot([row[key] for row in rows], [row["psnr"] for row in rows], "o-", color="tab:blue", markersize=4)
        axis.plot(rows[kept][key], rows[kept]["psnr"], "o", color="tab:red", label=f"kept: {rows[kept]['stage']}")
        for i, row in enumerate(rows):
            name = "folded" if row["stage"] == "fold" else row["stage"].removeprefix("prune-")
            axis.annotate(name, (row[key], row["psnr"]), (0, 5 + 9 * (i % 2)), textcoords="offset points", fontsize=7)
        axis.set_xlabel(label)
        axis.grid(alpha=0.3)
        axis.margins(x=0.12, y=0.25)
    axes[0].set_ylabel("PSNR, dB")
    axes[0].legend(loc="lower right", fontsize=8)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def curve_of_card(name: str, into: Path = RESULTS) -> Path:
    """Draw the pruning that a student's card holds, by PSNR on patches held back from training; returns the file."""
    card = weights.read_card(name)
    rows = [r for r in card.training.get("stages", []) if r["stage"] == "fold" or r["stage"].startswith("prune")]
    if len(rows) < 2:
        sys.exit(f"{name} {card.version} holds no pruning steps in its card; see: meddenoise models show {name} --json")
    kept = max(i for i, row in enumerate(rows) if row.get("kept", True))
    curve(rows, kept, into / f"pruning-{name}.png")
    return into / f"pruning-{name}.png"
