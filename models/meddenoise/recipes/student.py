"""The student's recipe: distil with branches, refine, fold, prune step by step, all modalities at once.

Muksimova et al., Sensors 23:9502 (2023), figure 1, sections 2.1, 2.4 and 3.2. The order, the rates of the preset
"paper" and their halvings are the paper's. What it leaves open is decided where it is computed: anchors and their loss
in training/distillation.py, branches in networks/branches.py, filters' norms in training/pruning.py, growing patches in
training/stages.py; and here:

- The teacher is needed for the distillation alone. Refinement and fine-tuning learn from the truth: a network that
  goes on imitating cannot pass its teacher, and asking the teacher takes most of a step's time.
- Pruning stops at the first step whose PSNR on held-back patches is lower than the folded network's by more than a
  stated tolerance, and the step before is kept (2.4: "until the network's ability to predict effectively diminishes").
- A cooldown may come last: large patches in large batches while the rate falls to a hundredth of the first stage's.
  It is not the paper's. What it gives is kept only if PSNR on held-back patches is no lower than before it.
- The numbers of steps, the rate r, the tolerance and the weights of the losses are not given; they stand in Config.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from meddenoise import weights
from meddenoise.errors import ModelError, OptionError
from meddenoise.networks import Student
from meddenoise.networks.branches import branched, folded
from meddenoise.networks.cost import gmac, parameter_count
from meddenoise.training.data import Data, open_data
from meddenoise.training.distillation import Guide, anchor_loss
from meddenoise.training.distributed import Processes, processes
from meddenoise.training.loop import Schedule
from meddenoise.training.patches import Mix
from meddenoise.training.progress import Hook
from meddenoise.training.pruning import prune
from meddenoise.training.stages import Stages, cooled, judge_of, refined, refined_mix
from meddenoise.weights import Card

Variant = Literal["staggered", "final_output", "supervised", "plain"]
TEACHER = "teacher"
FIRST_STAGE_ALONE: Mapping[str, Any] = {"refinement": 0.0, "pruning": None, "cooldown": 0.0}


@dataclass(frozen=True)
class Pruning:
    """Equation 6: N_i = t(p(N_{i-1}, r)).

    Attributes:
        rate: r, the share of all remaining filters that each step removes.
        rounds: Most steps.
        tolerance: PSNR in dB by which a step may be below the folded network.
        share: Steps of the fine-tuning t, as a share of the schedule's, at the refinement's rate.
    """

    rate: float = 0.1
    rounds: int = 10
    tolerance: float = 0.05
    share: float = 0.05


@dataclass(frozen=True)
class Config:
    """What a student is trained with.

    Attributes:
        widths: Channels at 1/2, 1/4 and 1/8 of the resolution.
        blocks: Residual blocks at each of them.
        variant: "staggered" distils from output and anchors, "final_output" from the output alone, "supervised" does
            all else without a teacher; "plain" trains the deployed network, supervised, and does nothing else. None is
            "staggered" where there is a teacher, else "plain".
        teacher: Model or weights; None for the published teacher if there is one.
        output_weight: Of the distance to the teacher's output.
        feature_weight: Of the distance to its features.
        mix: Algorithm 1 on 8-bit grey levels in a quarter of the patches, each modality's own noise in the others. The
            thin slices of one volume are halved in size to serve as targets, and a sharp kernel of 40 HU noise cannot
            serve. Refinement, pruning and cooldown double the patch.
        schedule: Of the first stage.
        refinement: Its share of the steps; 0 for none.
        pruning: None for none.
        cooldown: Share of the steps that follow the pruning, see training.stages.cooled; 0 for none, as in the paper.
        start: Student to go on from, whose sizes then count; None for a fresh network.
        validate_every: Steps between validations.
        version: Of the weights.
    """

    widths: tuple[int, ...] = (48, 64, 128)
    blocks: tuple[int, ...] = (2, 2, 2)
    variant: Variant | None = None
    teacher: str | None = None
    output_weight: float = 1.0
    feature_weight: float = 0.2
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
    pruning: Pruning | None = field(default_factory=Pruning)
    cooldown: float = 0.0
    start: str | None = None
    validate_every: int = 500
    version: str = "0.4.0"


def _light(config: Config, size: int, **schedule: Any) -> Config:
    return replace(config, mix=replace(config.mix, size=size), schedule=Schedule(decay="halving", **schedule))


PRESETS = {
    "paper": Config(),
    "cpu": _light(Config(cooldown=0.1), 64, steps=20_000, learning_rate=1e-3, halve_every=6_000),
    "ablation": _light(
        Config(widths=(16, 24, 32), blocks=(1, 1, 1)), 64, steps=2_000, learning_rate=1e-3, warmup=50, halve_every=1_000
    ),
}
"""The paper's; one for two cores, with higher rates and small patches; a light one to compare the variants in minutes.
"""


def run(
    config: Config, folder: Path | None, out: Path, *, resume: bool, report: Callable[[str], None],
    trackers: Sequence[Hook] = (),
) -> Card:  # fmt: skip
    """Train the student stage by stage and write its weights and card to ``out``.

    Args:
        config: What to train.
        folder: Images, as training.data.open_data takes them; not needed once they are read.
        out: Folder of slices, stages and weights; it must be there.
        resume: Go on from the checkpoints there.
        report: Called with lines of progress.
        trackers: Further hooks.

    Raises:
        MedDenoiseError: What open_data, Stages.train and weights.load raise; the variant and the teacher do not fit.
    """
    with processes(config.schedule.device) as (group, device):
        report = report if group.first else lambda line: None
        config = _resolved(replace(config, schedule=replace(config.schedule, device=device)), report)
        student, teacher, origin = _beginning(config)
        plan = _plan(config, group)
        stages = Stages("student", plan, out, resume, origin, config.validate_every, report, trackers, group)
        student = _first_stage(student, teacher, config, stages, folder)

        mix = config.mix if config.variant == "plain" else refined_mix(config.mix)  # also to compare the stages by
        data = open_data(folder, out, mix, report=report, group=group)
        judge = judge_of(data, config.schedule)
        rows = [] if teacher is None else [stages.measured("teacher", teacher, judge)]
        rows.append(stages.measured(next(iter(plan)), student, judge))
        if "refine" in plan:
            student = stages.train("refine", student, data)
            rows.append(stages.measured("refine", student, judge))
        if config.variant != "plain":
            student = folded(student)
            rows.append(stages.measured("fold", student, judge))
            student = _pruned(student, config, data, stages, judge, rows)
        if "cooldown" in plan:
            student = stages.cooled(student, data, judge, rows)

        card = _card(student, config, data, stages, rows)
        stages.finish(card)
        return weights.save(student, card, out) if group.first else card


def _resolved(config: Config, report: Callable[[str], None]) -> Config:
    """The config with a variant, and with a teacher where the variant needs one."""
    if config.variant in ("supervised", "plain"):
        if config.teacher is not None:
            raise OptionError(f"the variant {config.variant} has no teacher, got {config.teacher}; leave one out")
        return replace(config, **FIRST_STAGE_ALONE) if config.variant == "plain" else config
    if config.teacher is None and TEACHER not in weights.available():
        if config.variant is not None:
            raise OptionError(
                f"the variant {config.variant} needs a teacher, and none is published: name one (--teacher NAME|FILE), "
                "or train it with `meddenoise train teacher`"
            )
        report("no teacher is published: the plain student is trained, supervised; --teacher NAME|FILE distils one")
        return replace(config, variant="plain", **FIRST_STAGE_ALONE)
    config = replace(config, variant=config.variant or "staggered", teacher=config.teacher or TEACHER)
    report(f"the student is distilled from {config.teacher} ({config.variant})")
    return config


def _beginning(config: Config) -> tuple[Student, nn.Module | None, dict[str, str | None]]:
    """The student to begin with, the teacher or None, and the checksums of what both come from."""
    torch.manual_seed(config.schedule.seed)
    student = Student(widths=config.widths, blocks=config.blocks)
    origin: dict[str, str | None] = {"variant": config.variant, "teacher": None, "start": None}
    if config.start is not None:
        known, card = weights.load(config.start)
        if not isinstance(known, Student):
            raise ModelError(f"{config.start} ({card.network}) is no student to go on from; give a student, or none")
        student, origin["start"] = known, card.sha256
    teacher = None
    if config.teacher is not None:
        teacher, card = weights.load(config.teacher)
        origin["teacher"] = card.sha256
        if not hasattr(teacher, "anchors"):
            raise ModelError(f"{config.teacher} ({card.network}) cannot teach a student; give a teacher or a student")
    return student, teacher, origin


def _first_stage(
    student: Student, teacher: nn.Module | None, config: Config, stages: Stages, folder: Path | None
) -> Student:
    """The student in its training form after the stage that a teacher may guide."""
    data = open_data(folder, stages.out, config.mix, report=stages.report, group=stages.group)
    guide = _guide(student, teacher, config)
    if config.variant != "plain":
        student = branched(student, generator=torch.Generator().manual_seed(config.schedule.seed))
    return stages.train(next(iter(stages.plan)), student, data, guide)


def _guide(student: nn.Module, teacher: nn.Module | None, config: Config) -> Guide | None:
    if teacher is None:
        return None
    anchors = anchor_loss(student, teacher) if config.variant == "staggered" else None
    teacher = teacher.to(config.schedule.device).to(memory_format=torch.channels_last)
    return Guide(teacher, anchors, config.output_weight, config.feature_weight)


def _plan(config: Config, group: Processes) -> dict[str, Schedule]:
    """The schedule of every stage that may come, in their order."""
    plan = {"train" if config.teacher is None else "distil": config.schedule}
    if config.refinement > 0:
        plan["refine"] = refined(config.schedule, config.refinement, group)
    if config.pruning is not None:
        tuning = refined(config.schedule, config.pruning.share, group)
        plan |= {f"prune-{i}": tuning for i in range(1, config.pruning.rounds + 1)}
    if config.cooldown > 0:
        plan["cooldown"] = cooled(config.schedule, config.cooldown)
    return plan


def _pruned(
    student: Student, config: Config, data: Data, stages: Stages, judge: Hook | None, rows: list[dict[str, Any]]
) -> Student:
    """The last effective step of the pruning; ``rows`` gets every step, the one that was too much included."""
    if config.pruning is None:
        return student
    if judge is None:
        stages.report("no subject is held back that could say when to stop: the student is not pruned")
        return student
    least = rows[-1]["psnr"] - config.pruning.tolerance
    for stage in [name for name in stages.plan if name.startswith("prune")]:
        try:
            smaller = prune(student, config.pruning.rate)
        except OptionError as error:
            stages.report(f"{stage}: {error}")
            break
        tuned = stages.train(stage, smaller, data)
        row = stages.measured(stage, tuned, judge)
        row["kept"] = row["psnr"] >= least
        rows.append(row)
        if stages.group.first:
            weights.save(tuned, _card(tuned, config, data, stages, rows), stages.out / stage)
        verdict = "kept" if row["kept"] else "too much, the step before is kept"
        stages.report(
            f"{stage}: {row['parameters']} parameters, {row['psnr']:.3f} dB, at least {least:.3f} wanted: {verdict}"
        )
        if not row["kept"]:
            break
        student = tuned
    return student


def _card(student: Student, config: Config, data: Data, stages: Stages, rows: Sequence[dict[str, Any]]) -> Card:
    image = torch.full((1, 1, 256, 256), 0.5)
    return Card(
        name="student",
        version=config.version,
        network="student",
        arguments=student.arguments,
        description="Small fast network for CT, MR, PET and X-ray, blind to the noise level",
        modalities=sorted({i.modality for i in data.used}),
        parameters=parameter_count(student),
        gmac=round(gmac(student, image, image), 2),
        training={
            "recipe": f"meddenoise train student --variant {config.variant}",
            "teacher": config.teacher and Path(config.teacher).name,
            "start": config.start and Path(config.start).name,
            "sha256": {k: v for k, v in stages.origin.items() if k != "variant"},
            "schedule": asdict(config.schedule),
            "refinement": config.refinement,
            "pruning": config.pruning and asdict(config.pruning),
            "cooldown": config.cooldown,
            "mix": asdict(config.mix),
            "stages": list(rows),
            **data.facts(),
        },
    )
