"""Writes models/README.md, the index of the model cards, from the cards and the committed results."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import ablation_two_stage
import distillation_report
import gan_ablation
from common import RESULTS, table
from peers import AWARE

from meddenoise import weights

ABLATIONS = {
    "gan": ("ablation-gan", "gan_ablation.py", gan_ablation.TITLES),
    "student": ("distillation", "distillation.py", distillation_report.TITLES),
    "two_stage": (
        "ablation-two_stage",
        "ablation_two_stage.py",
        {variant: title for title, variant in ablation_two_stage.VARIANTS.items()},
    ),
}
"""Result, script and the variants' titles."""
INDEX = Path(__file__).parents[1] / "models" / "README.md"


def result(name: str) -> dict[str, Any]:
    """A committed result; empty where it has not been measured."""
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text()) if path.exists() else {}


def figures(name: str) -> list[str]:
    """The measured lines of one model."""
    lines = []
    if grey := result(f"algorithm1-{name}"):
        scores = {
            method: f"{groups['all']['psnr']:.2f} dB / {groups['all']['ssim']:.3f}" for method, groups in grey.items()
        }
        lines.append(
            "Algorithm-1 noise on 8-bit slices of held-back subjects, PSNR / SSIM on data range 255 "
            "(`python benchmarks/algorithm1.py`): " + "; ".join(f"{m} {s}" for m, s in scores.items()) + "."
        )
    if dose := result(f"quarter-dose-{name}"):
        means = {m: sum(s["ratio"] for s in sets.values()) / len(sets) for m, sets in dose.items() if m != "floor"}
        floor = sum(dose["floor"].values()) / len(dose["floor"])
        shift = max(abs(s["shift"]) for s in dose[name].values())
        lines.append(
            "Real quarter-dose CT, RMSE to full dose over the input's, mean of five patient-kernel sets "
            "(`python benchmarks/quarter_dose.py`): "
            + "; ".join(f"{m} {v:.3f}" for m, v in means.items())
            + f"; floor {floor:.3f}. Largest shift in soft tissue {shift:.2f} HU."
        )
    if simulated := result(f"simulated-{name}"):
        lines.append(
            "Simulated noise on held-back subjects, PSNR against the best of five filters told the level, and told the "
            "noise model too (`python benchmarks/simulated.py`): " + "; ".join(against_filters(simulated, name)) + "."
        )
    if colour := result(f"colour-{name}"):
        lines.append(
            "Gaussian noise of 10, 25 and 50 grey levels on two 8-bit colour pictures, mean PSNR on data range 255 "
            "(`python benchmarks/colour.py`): "
            + "; ".join(f"{m} {sum(s['psnr'] for s in at.values()) / len(at):.2f} dB" for m, at in colour.items())
            + "."
        )
    if speed := result(f"speed-{name}"):
        lines.append(
            "512x512x100 CT, NRRD to NRRD on two cores (`python benchmarks/speed.py`): "
            f"{speed['ratio']:.2f} times as long as CurvatureAnisotropicDiffusion with 10 iterations "
            f"({speed['ratio_float32']:.2f} times in float32)."
        )
    pages = [
        (RESULTS / f"training-{name}.md", "Losses over the training"),
        (RESULTS / f"invented-structure-{name}.md", "Structure invented and lost at a tenth of the dose"),
        *((page, "Domain shift, preliminary") for page in sorted(RESULTS.glob(f"domain-shift-{name}-*.md"))),
    ]
    for page, words in pages:
        if page.exists():
            lines.append(f"{words}: [{page.stem}]({os.path.relpath(page, INDEX.parent)}).")
    return lines


def against_filters(figures: dict[str, Any], model: str) -> list[str]:
    """How far the model is from the best filter, in dB, condition by condition."""
    filters: dict[bool, list[str]] = {True: [], False: []}
    for method in figures:
        if method not in (model, "noisy"):
            filters[method.endswith(AWARE)].append(method)
    return [
        f"{condition} "
        + " and ".join(
            f"{ours['psnr'] - max(figures[m][condition]['psnr'] for m in filters[aware]):+.2f}"
            for aware in (False, True)
        )
        + " dB"
        for condition, ours in figures[model].items()
    ]


def networks_text() -> str:
    """What the networks cost, as benchmarks/networks.py measured it."""
    rows = [
        [name, f"{cost['parameters']:,}", *(f"{cost[key]:.2f}" for key in ("gmac", "seconds", "seconds_bfloat16"))]
        for name, cost in result("networks").items()
    ]
    head = ["network", "parameters", "GMAC", "seconds, float32", "seconds, bfloat16"]
    text = "One slice of 256x256 pixels, biases excluded, on two cores (`python benchmarks/networks.py`)."
    return f"## Networks\n\n{text}\n\n{table(head, rows)}\n"


def picture_text(name: str) -> str:
    """What a model of content and noise predictor makes of two images; empty where it has not been drawn."""
    picture = RESULTS / f"pictures-{name}.png"
    if not picture.exists():
        return ""
    place = os.path.relpath(picture, INDEX.parent)
    return f"Content, noise, fused and difference (`python benchmarks/gan_pictures.py`):\n\n![{name}]({place})\n\n"


def ablation_text(name: str) -> str:
    """The paper's claims in small; empty where they have not been measured."""
    if name not in ABLATIONS:
        return ""
    stem, command, titles = ABLATIONS[name]
    found = result(stem)
    if not found:
        return ""
    rows = [
        [
            titles.get(variant, variant),
            f"{found['budget'][variant]['parameters']:,}",
            "{psnr:.2f} / {ssim:.3f}".format(**found["scores"][variant]["all"]),
        ]
        for variant in found["budget"]
    ]
    judged = [
        [row["claim"], "{:+.2f} ({:+.2f} to {:+.2f})".format(*row["psnr"]), row["found"]] for row in found["claims"]
    ]
    place = os.path.relpath(RESULTS / f"{stem}.md", INDEX.parent)
    steps = next(iter(found["budget"].values()))["steps"]
    picture = RESULTS / f"{stem}.png"
    shown = f"![pictures of it]({os.path.relpath(picture, INDEX.parent)})\n\n" if picture.exists() else ""
    return (
        f"The paper put to the test, preliminary: light width, {steps:,} steps each, Algorithm-1 noise as above "
        f"(`python benchmarks/{command}`, [all figures]({place})):\n\n"
        f"{table(['variant', 'parameters', 'PSNR in dB / SSIM'], rows)}\n\n"
        f"{table(['claim of the paper', 'gain in dB (95 %)', 'here'], judged)}\n\n{shown}"
    )


def stages_text(name: str, stages: list[dict[str, Any]]) -> str:
    """Sizes of all stages with their scores on held-back patches of the training's own mix, and the pruning's curve."""
    rows = [
        [
            stage["stage"] + ("" if stage.get("kept", True) else " (too much, not kept)"),
            *(f"{stage['steps']:,}", f"{stage['parameters']:,}", f"{stage['gmac']:.3f}"),
            f"{stage['psnr']:.2f} / {stage['ssim']:.3f}" if "psnr" in stage else "",
        ]
        for stage in stages
    ]
    text = "Stages, with PSNR in dB and SSIM on the same held-back patches of the training's mix:\n\n" + table(
        ["stage", "steps", "parameters", "GMAC", "PSNR / SSIM"], rows
    )
    if sum(stage["stage"].startswith("prune") for stage in stages) == 0:
        return text + "\n"
    curve = os.path.relpath(distillation_report.curve_of_card(name), INDEX.parent)
    return f"{text}\n\nQuality against cost (`python benchmarks/distillation.py --card {name}`):\n\n![curve]({curve})\n"


def card_text(name: str) -> str:
    """One model's section."""
    card = weights.read_card(name)
    facts = [
        ["version", card.version],
        ["modalities", ", ".join(card.modalities)],
        ["parameters", f"{card.parameters:,}"],
        ["GMAC at 256x256", f"{card.gmac}"],
        ["weights", f"{card.licence}, sha256 `{card.sha256}`"],
        [
            "recipe",
            f"`{card.training['recipe']}`, {card.training['schedule']['steps']:,} steps of "
            f"{card.training['schedule']['batch']} patches",
        ],
        ["noise", card.training["noise"]],
        ["split", card.training["split"]],
    ]
    if card.context:
        near = f"shown with their neighbours where these are evenly spaced, at most {card.context:g} mm apart"
        facts.append(["slices", near])
    if card.colour:
        shown = "shown together" if card.colours_together else "shown one by one, as grey slices"
        facts.append(["colour", f"8-bit red, green and blue, {shown}"])
    volumes = "\n".join(f"- {line}" for line in card.training["volumes"])
    measured = "\n".join(f"- {line}" for line in figures(name))
    stages = stages_text(name, card.training["stages"]) + "\n" if card.training.get("stages") else ""
    if remark := card.training.get("remark"):
        facts.append(["remark", remark])
    return (
        f"## {name}\n\n{card.description}. Research use, not a medical device.\n\n{table(['', ''], facts)}\n\n"
        f"Measured:\n\n{measured}\n\n{picture_text(name)}{ablation_text(name)}{stages}"
        f"Trained on {card.training['slices']:,} slices of:\n\n{volumes}\n"
    )


def main() -> None:
    """Write the index."""
    head = "# Models\n\nMade from the cards and the committed results by `python benchmarks/model_cards.py`.\n"
    costs = [networks_text()] if result("networks") else []
    INDEX.write_text("\n".join([head, *costs, *(card_text(name) for name in weights.available())]))
    print(INDEX.read_text())


if __name__ == "__main__":
    main()
