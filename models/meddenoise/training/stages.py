"""Trainings that follow one another, each in a folder of its own: a killed run goes on in the stage it was in."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn

from meddenoise.errors import OptionError
from meddenoise.networks.cost import gmac, parameter_count
from meddenoise.training.checkpoint import steps_done
from meddenoise.training.data import Data
from meddenoise.training.denoising import Denoising, denoised_by
from meddenoise.training.distillation import Guide
from meddenoise.training.distributed import Processes
from meddenoise.training.hooks import validation
from meddenoise.training.loop import CHECKPOINT, Schedule, train
from meddenoise.training.patches import Mix
from meddenoise.training.progress import Hook, Moment, Report
from meddenoise.weights import Card

N = TypeVar("N", bound=nn.Module)

SCORED = 64
"""Held-back patches by which the stages are compared."""
SCORES = ("psnr", "ssim")
REFINED_RATE = 0.2
GROWTH = 2
"""Of a patch's side in a refinement."""


@dataclass(frozen=True)
class Stages:
    """Where and how the stages of a recipe are trained.

    Attributes:
        name: Of the network that goes through them.
        plan: The schedule of each stage by name, in the order in which they are trained; some may be left out.
        out: Folder of the stages' folders.
        resume: Go on from their checkpoints.
        origin: What all of them go back to; see training.loop.train.
        validate_every: Steps between validations.
        report: Called with lines of progress, each led by the stage's name.
        trackers: Further hooks; they are shown the stages as one training.
        group: The processes that train together.

    Raises:
        OptionError: The folder holds a stage that is not planned, on which others may have been built.
    """

    name: str
    plan: Mapping[str, Schedule]
    out: Path
    resume: bool
    origin: Mapping[str, str | None]
    validate_every: int
    report: Report
    trackers: Sequence[Hook]
    group: Processes

    def __post_init__(self) -> None:
        """Refuse a folder of other stages."""
        others = sorted(p.parent.name for p in self.out.glob(f"*/{CHECKPOINT}") if p.parent.name not in self.plan)
        if others:
            raise OptionError(
                f"{self.out} holds the stage {others[0]}, which is not planned; go on with the same stages, or choose "
                "another --out"
            )

    def train(self, stage: str, network: N, data: Data, guide: Guide | None = None) -> N:
        """Train a stage to its end, or find it there.

        Args:
            stage: Its name in the plan.
            network: Has ``anchors(image, level)``; changed in place.
            data: To train on.
            guide: A teacher.

        Returns:
            The running average of the network, on the CPU and in evaluation mode.

        Raises:
            OptionError: A later stage has begun from what this one was before, or what training.loop.train raises.
        """
        schedule, names = self.plan[stage], list(self.plan)
        begun = [name for name in names[names.index(stage) + 1 :] if (self.out / name / CHECKPOINT).exists()]
        if begun and steps_done(self.out / stage / CHECKPOINT) < schedule.steps:
            raise OptionError(
                f"{self.out / stage} cannot be trained further: {begun[0]} has begun from it; choose another --out, or "
                f"remove {', '.join(str(self.out / name) for name in begun)}"
            )
        objective = Denoising(self.name, network, schedule, noisy_only=data.kind == "noisy", guide=guide)
        before = sum(self.plan[name].steps for name in names[: names.index(stage)])
        hooks = [self._told_of_all(tracker, before) for tracker in self.trackers]
        if data.validation is not None and self.group.first:
            shown = validation(data.validation, objective.denoise, every=self.validate_every, device=schedule.device)
            hooks.insert(0, shown)
        averages = train(
            objective, data.train, schedule, self.out / stage, resume=self.resume,
            report=lambda line: self.report(f"{stage}: {line}"), hooks=hooks, group=self.group, origin=self.origin,
        )  # fmt: skip
        return cast(N, averages[self.name].cpu().eval())

    @property
    def _steps(self) -> int:
        """Of all stages, and a last one for what becomes of them."""
        return sum(schedule.steps for schedule in self.plan.values()) + 1

    def cooled(self, network: N, data: Data, judge: Hook | None, rows: list[dict[str, Any]]) -> N:
        """The network after its cooldown, or before it where the judge finds that better; ``rows`` gets its row."""
        after = self.train("cooldown", copy.deepcopy(network), data)
        row = self.measured("cooldown", after, judge)
        before = next(row for row in reversed(rows) if row.get("kept", True))
        row["kept"] = judge is None or row["psnr"] >= before["psnr"]
        rows.append(row)
        return after if row["kept"] else network

    def _told_of_all(self, tracker: Hook, before: int) -> Hook:
        """The tracker, told of a stage that begins after ``before`` steps as of a part of one training."""
        return lambda moment: tracker(replace(moment, step=before + moment.step, steps=self._steps))

    def measured(self, stage: str, network: nn.Module, judge: Hook | None) -> dict[str, Any]:
        """What a card lists of a stage: its size, and what the judge says; the network comes back to the CPU."""
        image = torch.full((1, 1, 256, 256), 0.5)
        network = network.cpu().eval()
        row = {
            "stage": stage,
            "steps": steps_done(self.out / stage / CHECKPOINT) if stage in self.plan else 0,
            "parameters": parameter_count(network),
            "gmac": round(gmac(network, image, image), 3),
        }
        if judge is None:
            return row
        device = next(iter(self.plan.values())).device
        found = judge(Moment(1, 1, {}, {"network": network.to(device)}))
        network.cpu()
        values = torch.tensor([found[f"validation.{name}"] for name in SCORES], device=device)
        self.group.average([values])  # so that all processes decide alike by it
        return row | dict(zip(SCORES, values.tolist(), strict=True))

    def finish(self, card: Card) -> None:
        """Tell the trackers what became of the stages."""
        figures = {"parameters": card.parameters, "gmac": card.gmac}
        if self.group.first:
            for tracker in self.trackers:
                tracker(Moment(self._steps, self._steps, figures, {}))


def judge_of(data: Data, schedule: Schedule) -> Hook | None:
    """PSNR and SSIM on held-back patches, the same ones for every network; None where no subject is held back."""
    if data.validation is None:
        return None

    def denoise(networks: Mapping[str, nn.Module], noisy: Tensor) -> Tensor:
        return denoised_by(networks["network"], noisy, schedule)

    return validation(data.validation, denoise, every=1, batch=SCORED, device=schedule.device)


def refined(schedule: Schedule, share: float, group: Processes) -> Schedule:
    """The schedule of a refinement with larger patches (`refined_mix`), and with fewer of them, at a lower rate.

    Muksimova et al., Sensors 23:9502 (2023), section 3.2: the distilled network is refined by "a progressive learning
    approach" at 2e-5, halved every 20,000 steps, after 1e-4, halved every 100,000: a fifth of both. The paper does not
    say what progresses; here, as elsewhere under this name, the patches grow while a step costs as much as before.

    Args:
        schedule: Of the stage before.
        share: Of its steps; the paper gives no number of steps, and a fifth keeps the halvings where they were.
        group: The processes that share a batch.
    """
    batch = group.count * max(1, schedule.batch // (GROWTH**2 * group.count))
    return replace(schedule.shortened(share, rate=REFINED_RATE), batch=batch)


def cooled(schedule: Schedule, share: float) -> Schedule:
    """The schedule of a cooldown: a refinement's patches in whole batches, at a rate that falls to a hundredth.

    It starts at the first stage's rate once more, a warm restart: what the stages before settled in is left again.

    Args:
        schedule: Of the first stage.
        share: Of its steps, each of which costs as much as GROWTH**2 of them.
    """
    return replace(schedule.shortened(share, rate=1.0), decay="cosine")


def refined_mix(mix: Mix) -> Mix:
    """The same with the patches of a refinement."""
    return replace(mix, size=GROWTH * mix.size)
