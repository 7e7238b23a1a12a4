"""The claims of the student's paper, small and preliminary: distillation, branches, folding and every pruning step.

Muksimova et al., Sensors 23:9502 (2023). Preliminary: one training each, of light widths (the recipes' preset
"ablation") and of a small budget that is the same for all students: steps, size of the batches, seed and so the batches
themselves, without refinement. A step with a teacher costs more arithmetic, so one student without a teacher gets as
many more steps as make its multiply-accumulates equal (three times a network's for a step, once the teacher's); the CPU
seconds are in the table too. What a difference of 0.1 dB between trainings of other seeds would be is not known. In
training and test the patients differ.

Data and noise of the test: those of algorithm1.py (validation patients; CT in the window -160..240 HU, others from the
slice's 0.1 to its 99.9 percentile, as 8-bit grey levels; Gaussian and speckle noise at sigma 10, 25, 50 and 75, clipped
and rounded to 8 bits), each slice with several seeds. PSNR and SSIM (Gaussian window, 11 taps, sigma 1.5) on data range
255 over the whole slice. Gains are means over patients with the 95 % interval of a bootstrap over patients; a claim of
the paper "holds" where the interval lies above 0.

Pruning goes on from the staggered student, in as many steps as there can be, each fine-tuned for a tenth of the budget,
beyond the step where the recipe would stop. CPU milliseconds are for a slice of 256x256 pixels on one thread in
float32, the best of several calls.
"""

from __future__ import annotations

import argparse
import os
import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from distillation_report import TITLES, curve_of_card, tell
from light_training import THREADS, Trained, algorithm1_scores, gain, groups_of, means, train_in_turns
from safetensors.torch import load_file
from torch import nn

from meddenoise import weights
from meddenoise.networks import Student
from meddenoise.networks.branches import branched, folded
from meddenoise.networks.cost import gmac, parameter_count
from meddenoise.recipes import student, teacher
from meddenoise.training.data import SLICES
from meddenoise.training.loop import CHECKPOINT

ALL_STEPS = student.Pruning(rate=0.1, rounds=9, tolerance=100.0, share=0.1)
CALLS = 20


def main() -> None:
    """Train, measure and publish."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/distillation"), help="keeps the trainings")
    parser.add_argument("--steps", type=int, default=5000, help="of each student (default 5000)")
    parser.add_argument("--teacher-steps", type=int, default=5000, help="of the light teacher (default 5000)")
    parser.add_argument("--teacher", metavar="NAME|FILE", help="learn from this one; train no light teacher")
    parser.add_argument("--turn", type=int, default=1000, help="steps before the next student's turn (default 1000)")
    parser.add_argument("--slices", type=int, default=2, help="test slices per volume (default 2)")
    parser.add_argument("--seeds", type=int, default=3, help="of the test's noise (default 3)")
    parser.add_argument("--without-results", action="store_true", help="publish nothing; the curve goes to --out")
    parser.add_argument("--card", metavar="NAME", help="draw the curve that a student's card holds, and nothing else")
    arguments = parser.parse_args()
    if arguments.card is not None:
        print(curve_of_card(arguments.card))
        return
    torch.set_num_threads(THREADS)
    known = the_teacher(arguments)
    trained = students(arguments, known)
    rows = pruning(arguments, known)
    steps = {row["stage"]: Trained(row["file"], row["parameters"], row["steps"], 0.0) for row in rows if row["steps"]}
    scores = algorithm1_scores(trained | steps, slices=arguments.slices, seeds=arguments.seeds)
    for row in rows:
        found = scores.pop(row["stage"]) if row["steps"] else scores["staggered"]
        row["psnr"], row["ssim"] = means(found, groups_of(found)["all"])
        row["change"] = gain(found, scores["staggered"])
    folding = before_and_after_folding(arguments.out / "staggered")
    tell(arguments, trained, scores, rows, folding, __doc__ or "")


def the_teacher(arguments: argparse.Namespace) -> str:
    """Name or file of the teacher, trained if none is named."""
    if arguments.teacher is not None:
        return str(arguments.teacher)
    config = replace(teacher.PRESETS["ablation"], refinement=0.0)
    found = train_in_turns(
        teacher, {"teacher": config}, arguments.out, steps=arguments.teacher_steps, turn=arguments.teacher_steps
    )
    return str(found["teacher"].weights)


def student_config(variant: str, known: str | None) -> student.Config:
    """The light student without refinement and pruning."""
    config = replace(student.PRESETS["ablation"], refinement=0.0, pruning=None)
    return replace(config, variant=variant, teacher=known)


def students(arguments: argparse.Namespace, known: str) -> dict[str, Trained]:
    """All students, and their teacher, after their trainings."""
    guided = {name: student_config(name, known) for name in ("final_output", "staggered")}
    alone = {name: student_config(name, None) for name in ("plain", "supervised")}
    found = train_in_turns(student, alone | guided, arguments.out, steps=arguments.steps, turn=arguments.turn)
    image = torch.full((1, 1, 256, 256), 0.5)
    master, card = weights.load(known)
    own, guide = (gmac(network, image, image) for network in (weights.load(str(found["plain"].weights))[0], master))
    longer = round(arguments.steps * (3 * own + guide) / (3 * own))
    found |= train_in_turns(
        student, {"supervised_long": student_config("supervised", None)}, arguments.out, steps=longer, turn=longer
    )
    path = Path(known) if known.endswith(".safetensors") else weights.file_of(known)
    return {name: found[name] for name in TITLES} | {"teacher": Trained(path, card.parameters, 0, 0.0)}


def pruning(arguments: argparse.Namespace, known: str) -> list[dict[str, Any]]:
    """What the card lists of the folded staggered student and of each pruning step, with files and milliseconds."""
    begun, place = arguments.out / "staggered", arguments.out / "pruned"
    if not (place / "distil" / CHECKPOINT).exists():
        place.mkdir(exist_ok=True)
        shutil.copytree(begun / "distil", place / "begun", dirs_exist_ok=True)
        (place / "begun").rename(place / "distil")
    if not (place / SLICES).exists():
        os.link(begun / SLICES, place / SLICES)
    config = student_config("staggered", known)
    schedule = replace(config.schedule, steps=arguments.steps, decay="constant", device="cpu")
    card = student.run(replace(config, pruning=ALL_STEPS, schedule=schedule), None, place, resume=True, report=say)
    rows = []
    for row in card.training["stages"]:
        if row["stage"] == "fold" or row["stage"].startswith("prune"):
            file = (begun if row["stage"] == "fold" else place / row["stage"]) / "student.safetensors"
            held_back = {f"held back {key}": row[key] for key in ("psnr", "ssim")}
            size = {"file": file, "kilobytes": file.stat().st_size / 1000}
            rows.append({**row, **held_back, **size, "milliseconds": milliseconds(weights.load(str(file))[0])})
    return rows


def say(line: str) -> None:
    """Print a line of progress."""
    print(f"pruned: {line}", flush=True)


def milliseconds(network: nn.Module) -> float:
    """CPU time of a call on one slice of 256x256 pixels, the best of several after one that does not count."""
    network, times = network.eval().to(memory_format=torch.channels_last), []
    image = torch.full((1, 1, 256, 256), 0.5)
    with torch.inference_mode():
        for _ in range(CALLS + 1):
            start = time.process_time()
            network(image, image)
            times.append(time.process_time() - start)
    return 1000 * min(times[1:])


def before_and_after_folding(place: Path) -> dict[str, dict[str, float]]:
    """Sizes and times of the staggered student in both forms, and how far their results are apart at any pixel."""
    plain, card = weights.load(str(place / "student.safetensors"))
    assert isinstance(plain, Student)
    network = branched(Student(**card.arguments), generator=torch.Generator().manual_seed(0))
    mark = "average.student."
    tensors = load_file(place / "distil" / CHECKPOINT)
    network.load_state_dict({k.removeprefix(mark): v for k, v in tensors.items() if k.startswith(mark)})
    network.eval()
    image = torch.rand((1, 1, 256, 256), generator=torch.Generator().manual_seed(0))
    level = torch.full_like(image, 0.1)
    with torch.inference_mode():
        results = [form(image, level) for form in (network, folded(network))]
    apart = float((results[1] - results[0]).abs().max() / (results[0] - image).abs().max())
    return {
        name: {
            "parameters": parameter_count(form),
            "gmac": gmac(form, image, level),
            "milliseconds": milliseconds(form),
        }
        for name, form in (("training form", network), ("folded", plain))
    } | {"largest difference": {"relative": apart}}


if __name__ == "__main__":
    main()
