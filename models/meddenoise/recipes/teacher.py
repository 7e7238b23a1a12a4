"""The teacher's recipe: supervised training on every modality at once, blind to the noise level, small patches first.

Muksimova et al., Sensors 23:9502 (2023), section 3.2: 1e-4, halved every 100,000 steps, L1. Decided here: the error is
divided by each image's noise scale, and its square and its 8x8 means count too (losses.relative_error), as for the
student; the patches grow in the later stages (training/stages.py), because this network looks at whole images; and it
may begin as what a trained student computes (Teacher.widened_from), because it is slow to train.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from meddenoise import weights
from meddenoise.errors import ModelError
from meddenoise.networks import Student, Teacher
from meddenoise.networks.cost import gmac, parameter_count
from meddenoise.training.data import Data, open_data
from meddenoise.training.distributed import processes
from meddenoise.training.loop import Schedule
from meddenoise.training.patches import Mix
from meddenoise.training.progress import Hook
from meddenoise.training.stages import Stages, cooled, judge_of, refined, refined_mix
from meddenoise.weights import Card


@dataclass(frozen=True)
class Config:
    """What a teacher is trained with.

    Attributes:
        widths: Channels at 1/2, 1/4 and 1/8 of the resolution.
        blocks: Residual blocks at each of them.
        heads: Heads of attention at each of them.
        mix: As the student's; refinement and cooldown double the patch.
        schedule: Of the first stage.
        refinement: Its share of the steps; 0 for none.
        cooldown: Share of the steps that come last, see training.stages.cooled; 0 for none, as in the paper.
        start: A teacher of these sizes to go on from, or a smaller student to begin as; None for a fresh network.
        validate_every: Steps between validations.
        version: Of the weights.
    """

    widths: tuple[int, ...] = (144, 160, 192)
    blocks: tuple[int, ...] = (2, 3, 2)
    heads: tuple[int, ...] = (4, 4, 6)
    mix: Mix = field(
        default_factory=lambda: Mix(
            display=0.25,
            physical_modalities={"CT": 0.38, "MR": 0.24, "PET": 0.26, "XR": 0.12},
            shrink={"LIDC-IDRI-0314": 2.0},
            left_out=("Lung_Dx-A0002_B70f",),
        )
    )
    schedule: Schedule = field(
        default_factory=lambda: Schedule(
            steps=300_000, learning_rate=1e-4, warmup=0, decay="halving", halve_every=100_000
        )
    )
    refinement: float = 0.2
    cooldown: float = 0.0
    start: str | None = None
    validate_every: int = 500
    version: str = "0.1.0"


def _light(config: Config, **schedule: Any) -> Config:
    return replace(config, mix=replace(config.mix, size=64), schedule=Schedule(decay="halving", **schedule))


PRESETS = {
    "paper": Config(),
    "cpu": _light(Config(cooldown=0.1), steps=20_000, learning_rate=1e-3, halve_every=6_000),
    "ablation": _light(
        Config(widths=(32, 48, 64), blocks=(1, 1, 2), heads=(1, 2, 2)),
        steps=2_000,
        learning_rate=1e-3,
        warmup=50,
        halve_every=1_000,
    ),
}
"""The paper's rates; higher ones and small patches for two cores; a light teacher for a light student."""


def run(
    config: Config, folder: Path | None, out: Path, *, resume: bool, report: Callable[[str], None],
    trackers: Sequence[Hook] = (),
) -> Card:  # fmt: skip
    """Train the teacher stage by stage and write its weights and card to ``out``; arguments as for the student."""
    with processes(config.schedule.device) as (group, device):
        config = replace(config, schedule=replace(config.schedule, device=device))
        report = report if group.first else lambda line: None
        teacher, origin = _beginning(config)
        plan = {"train": config.schedule}
        if config.refinement > 0:
            plan["refine"] = refined(config.schedule, config.refinement, group)
        if config.cooldown > 0:
            plan["cooldown"] = cooled(config.schedule, config.cooldown)
        stages = Stages("teacher", plan, out, resume, origin, config.validate_every, report, trackers, group)
        data = open_data(folder, out, config.mix, report=report, group=group)
        teacher = stages.train("train", teacher, data)

        del data  # before it is read again
        data = open_data(folder, out, refined_mix(config.mix), report=report, group=group)
        judge = judge_of(data, config.schedule)
        rows = [stages.measured("train", teacher, judge)]
        if "refine" in plan:
            teacher = stages.train("refine", teacher, data)
            rows.append(stages.measured("refine", teacher, judge))
        if "cooldown" in plan:
            teacher = stages.cooled(teacher, data, judge, rows)

        card = _card(teacher, config, data, stages, rows)
        stages.finish(card)
        return weights.save(teacher, card, out, half=True) if group.first else card


def _beginning(config: Config) -> tuple[Teacher, dict[str, str | None]]:
    """The network to begin with, and the checksum of what it comes from."""
    torch.manual_seed(config.schedule.seed)
    sizes = {"widths": config.widths, "blocks": config.blocks, "heads": config.heads}
    if config.start is None:
        return Teacher(**sizes), {"start": None}
    known, card = weights.load(config.start)
    try:
        if isinstance(known, Student):
            return Teacher.widened_from(known, **sizes), {"start": card.sha256}
        teacher = Teacher(**sizes)
        teacher.load_state_dict(known.state_dict())
    except (RuntimeError, ValueError) as error:
        raise ModelError(
            f"{config.start} ({card.network}, {card.arguments}) cannot be gone on from: its sizes do not fit those of "
            "the teacher to be trained; give a teacher of the same sizes, a smaller student, or none"
        ) from error
    return teacher, {"start": card.sha256}


def _card(teacher: Teacher, config: Config, data: Data, stages: Stages, rows: Sequence[dict[str, Any]]) -> Card:
    image = torch.full((1, 1, 256, 256), 0.5)
    return Card(
        name="teacher",
        version=config.version,
        network="teacher",
        arguments={"widths": config.widths, "blocks": config.blocks, "heads": config.heads},
        description="Large network for CT, MR, PET and X-ray, blind to the noise level, from which the student learns",
        modalities=sorted({i.modality for i in data.used}),
        parameters=parameter_count(teacher),
        gmac=round(gmac(teacher, image, image), 2),
        training={
            "recipe": "meddenoise train teacher",
            "start": config.start and Path(config.start).name,
            "sha256": dict(stages.origin),
            "schedule": asdict(config.schedule),
            "refinement": config.refinement,
            "cooldown": config.cooldown,
            "mix": asdict(config.mix),
            "stages": list(rows),
            **data.facts(),
        },
    )
