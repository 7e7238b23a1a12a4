"""Domain shift, small and preliminary: trained with one scanner or organ and without it, tested on it.

As the GAN paper tries it, for any recipe. Two models of the recipe's preset "ablation" take the same number of steps
with batches of one size and seed: one on all training volumes, one without those of the chosen domain. Volumes belong
to it where modality, body part, scanner or name in the manifest match --domain, a regular expression. Both are tested
on the domain's validation patients, whom neither has seen, and on all other validation patients; the second model has
seen no volume of the domain. A modality keeps its share of the patches as long as any of its volumes is left.

Preliminary: one training each, of a small budget. Noise and test are those of algorithm1.py, each slice with several
seeds; PSNR and SSIM on data range 255 over the whole slice. The loss from leaving the domain out is a mean over
patients with the 95 % interval of a bootstrap over patients; with one patient there is no interval, and the figure is
an anecdote.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from importlib import import_module
from pathlib import Path
from typing import Any

from common import manifest, publish, table
from light_training import (
    THREADS,
    Score,
    Scores,
    algorithm1_scores,
    figures_of,
    gain,
    means,
    score_table,
    train_in_turns,
)

from meddenoise.training.slices import is_validation

WITH, WITHOUT = "with the domain", "without it"
RECIPES = ("two_stage", "gan", "student")
CHANGES: dict[str, dict[str, Any]] = {"student": {"variant": "plain"}}
"""Of the preset "ablation": a published teacher has seen the domain."""


def domain_of(pattern: str) -> dict[str, dict[str, str]]:
    """The manifest's rows of the clean volumes that belong to it, by name."""
    fields = ("modality", "body_part", "scanner", "volume_id")
    rows = [r for r in manifest() if r["use"] == "train and evaluate" and r["dose"] in ("", "full")]
    found = {r["volume_id"]: r for r in rows if any(re.search(pattern, r[name]) for name in fields)}
    sides = {is_validation(row["subject"]) for row in found.values()}
    if sides != {False, True}:
        lacking = "training" if False not in sides else "validation"
        sys.exit(f"{pattern!r}: {len(found)} volumes, and none of them of a {lacking} patient; choose another domain")
    return found


def shift(scores: Scores, fits: Callable[[Score], bool]) -> dict[str, Any]:
    """What leaving the domain out costs on the patients that fit."""
    chosen = {method: [s for s in found if fits(s)] for method, found in scores.items()}
    return {
        "patients": len({s.subject for s in chosen[WITH]}),
        **{method: means(found, lambda s: True) for method, found in chosen.items()},
        "loss": gain(chosen[WITH], chosen[WITHOUT]),
        "loss_ssim": gain(chosen[WITH], chosen[WITHOUT], "ssim"),
    }


def shown(name: str, found: dict[str, Any]) -> list[str]:
    """A row of the table."""
    cells = ["{:.2f} / {:.3f}".format(*found[method]) for method in ("noisy", WITH, WITHOUT)]
    (loss, low, high), (structure, *_) = found["loss"], found["loss_ssim"]
    spread = f" ({low:+.2f} to {high:+.2f})" if found["patients"] > 1 else ""
    return [name, str(found["patients"]), *cells, f"{loss:+.2f}{spread} / {structure:+.4f}"]


def main() -> None:
    """Train, measure and publish."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", choices=RECIPES, default="gan", help="default: gan")
    parser.add_argument("--domain", default="heart", help="regular expression (default: heart)")
    parser.add_argument("--out", type=Path, help="keeps the trainings (default: runs/domain-shift-RECIPE)")
    parser.add_argument("--steps", type=int, default=1000, help="of each of the two (default 1000)")
    parser.add_argument("--turn", type=int, default=100, help="steps before the other's turn (default 100)")
    parser.add_argument("--slices", type=int, default=2, help="test slices per volume (default 2)")
    parser.add_argument("--seeds", type=int, default=3, help="of the test's noise (default 3)")
    parser.add_argument("--without-results", action="store_true", help="publish nothing")
    arguments = parser.parse_args()
    recipe: Any = import_module(f"meddenoise.recipes.{arguments.recipe}")
    domain = domain_of(arguments.domain)
    config = replace(recipe.PRESETS["ablation"], **CHANGES.get(arguments.recipe, {}))
    without = replace(config.mix, left_out=(*config.mix.left_out, *domain))
    out = arguments.out or Path(f"runs/domain-shift-{arguments.recipe}")
    variants = {"with": config, "without": replace(config, mix=without)}
    trained = train_in_turns(recipe, variants, out, steps=arguments.steps, turn=arguments.turn)
    named = {WITH: trained["with"], WITHOUT: trained["without"]}
    scores = algorithm1_scores(named, slices=arguments.slices, seeds=arguments.seeds)
    found = {
        f"the domain ({arguments.domain})": shift(scores, lambda s: s.volume in domain),
        "all others": shift(scores, lambda s: s.volume not in domain),
    }
    seen = [name for name, row in domain.items() if not is_validation(row["subject"])]
    tested = sorted({s.volume for s in scores[WITH] if s.volume in domain})
    head = ["tested on", "patients", "noisy", WITH, WITHOUT, "lost by leaving it out, dB / SSIM"]
    text = "\n\n".join(
        [
            f"# Domain shift: {arguments.recipe}, {arguments.domain} (preliminary)",
            (__doc__ or "").strip(),
            f"Left out of the second training: {', '.join(seen)}; tested on {', '.join(tested)}.",
            f"Each: {arguments.steps} steps of {config.schedule.batch} patches of {config.mix.size}x{config.mix.size} "
            f"pixels, rate {config.schedule.learning_rate:g}, seed {config.schedule.seed}, "
            f"{trained['with'].parameters:,} parameters, {trained['with'].cpu_seconds:.0f} and "
            f"{trained['without'].cpu_seconds:.0f} CPU seconds on {THREADS} thread.",
            table(head, [shown(name, row) for name, row in found.items()]),
            "All validation patients:",
            score_table(scores),
        ]
    )
    if arguments.without_results:
        print(text)
        return
    budget = {name: {**asdict(one), "weights": one.weights.name} for name, one in trained.items()}
    figures = {"left_out": seen, "tested": tested, "budget": budget, "shift": found, "scores": figures_of(scores)}
    name = re.sub(r"\W+", "-", arguments.domain).strip("-").lower()
    publish(f"domain-shift-{arguments.recipe}-{name}", text, figures)


if __name__ == "__main__":
    main()
