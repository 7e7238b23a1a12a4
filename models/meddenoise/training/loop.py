"""The training loop of every recipe: reads top to bottom, resumes where it was killed."""

from __future__ import annotations

import copy
import math
from collections import deque
from collections.abc import Generator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn

from meddenoise.errors import OptionError, TrainingError
from meddenoise.training.checkpoint import State, load_checkpoint, save_checkpoint
from meddenoise.training.distributed import ALONE, Processes
from meddenoise.training.patches import Sampler
from meddenoise.training.progress import Hook, Progress, Report

CHECKPOINT = "checkpoint.safetensors"
AHEAD = 4
"""Batches that are made ahead of a GPU."""


@dataclass(frozen=True)
class Schedule:
    """How long and how fast to train.

    Attributes:
        steps: Optimizer steps in all.
        batch: Patches a step, over all processes.
        learning_rate: Highest rate, which the recipe gives its optimizers; each keeps its own.
        warmup: Steps of linear rise.
        decay: After them a cosine that falls to a hundredth, a constant rate, or one that is halved now and then.
        halve_every: Steps after which "halving" halves the rate, counted from the first step.
        clip: Norm to which the gradient of each loss is cut.
        average: Decay of the running average of the weights that is published.
        save_every: Steps between checkpoints, lines of progress and lines of the history.
        seed: Of weights and batches.
        device: "cpu", "cuda", ...
        precision: "bf16" (autocast) or "float32".
    """

    steps: int
    batch: int = 16
    learning_rate: float = 1e-3
    warmup: int = 200
    decay: Literal["cosine", "constant", "halving"] = "cosine"
    halve_every: int = 0
    clip: float = 1.0
    average: float = 0.999
    save_every: int = 100
    seed: int = 0
    device: str = "cpu"
    precision: str = "bf16"

    def rate(self, step: int, highest: float) -> float:
        """Learning rate of step 0, 1, ..., steps - 1."""
        if step < self.warmup:
            return highest * (step + 1) / self.warmup
        if self.decay == "constant":
            return highest
        if self.decay == "halving":
            return highest * 0.5 ** (step // self.halve_every)
        share = (step - self.warmup) / max(1, self.steps - self.warmup)
        return highest * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * share)))

    def shortened(self, share: float, *, rate: float) -> Schedule:
        """The same with ``share`` of the steps, of their warm-up and of their halving, at ``rate`` of the rate."""
        return replace(
            self,
            steps=max(1, round(share * self.steps)),
            warmup=round(share * self.warmup),
            halve_every=math.ceil(share * self.halve_every),
            learning_rate=rate * self.learning_rate,
        )

    def autocast(self) -> torch.autocast:
        """The context in which an objective calls its networks."""
        return torch.autocast(self.device.split(":")[0], torch.bfloat16, enabled=self.precision == "bf16")


class Objective(Protocol):
    """What a recipe trains: its networks, their optimizers, and what each optimizer makes smaller.

    Attributes:
        networks: By name; built, and on the CPU.
        optimizers: By name, over the parameters that each of them moves. A network without one is only used.
    """

    networks: Mapping[str, nn.Module]
    optimizers: Mapping[str, torch.optim.Optimizer]

    def losses(self, noisy: Tensor, clean: Tensor, generator: torch.Generator) -> Iterator[tuple[str, Tensor]]:
        """Give one loss after the other, each with the name of the optimizer that steps on it.

        The step is taken before the next loss is asked for, so that networks can take turns.

        Args:
            noisy: Batch in network units, on the device.
            clean: What it should become, same shape.
            generator: On the CPU, the step's own.
        """
        ...


def train(
    objective: Objective,
    sample: Sampler,
    schedule: Schedule,
    out: Path,
    *,
    resume: bool = True,
    report: Report = lambda line: None,
    hooks: Sequence[Hook] = (),
    group: Processes = ALONE,
    origin: Mapping[str, str | None] = MappingProxyType({}),
) -> dict[str, nn.Module]:
    """Train, and return the running averages of the networks' weights by name.

    Equal arguments give equal bits on the CPU, whether or not the run was killed and resumed in between.

    Args:
        objective: What to train.
        sample: Source of batches.
        schedule: How long and how fast.
        out: Folder of the checkpoint and of the history, JSON lines; it is made if absent.
        resume: Go on from the checkpoint in ``out`` if there is one; else there must be none.
        report: Called with a line of progress now and then.
        hooks: Asked before each checkpoint; see progress and hooks.
        group: The processes that train together.
        origin: By name, what the run started from; one that was begun from anything else is not gone on with.

    Raises:
        TrainingError: A loss became NaN or infinite.
        OutputError: A checkpoint cannot be written; the one before it stays.
        OptionError: A checkpoint would be overwritten or is of another origin, or the batch does not fit the number of
            processes.
        ModelError: The checkpoint to resume from is damaged or another recipe's.
    """
    if not resume and (out / CHECKPOINT).exists():
        raise OptionError(f"{out} holds a checkpoint; resume it (--resume) or choose another folder (--out)")
    out.mkdir(parents=True, exist_ok=True)
    state, generator = _prepared(objective, schedule), torch.Generator().manual_seed(schedule.seed)
    highest = {name: [g["lr"] for g in o.param_groups] for name, o in objective.optimizers.items()}
    facts = {**asdict(schedule), "origin": dict(origin)}
    step = _resumed(out / CHECKPOINT, state, generator, facts, report if group.first else None)
    group.copy_from_first([*state.networks.values(), *state.averages.values()])
    told = Progress(out, step=step, steps=schedule.steps, hooks=hooks, report=report) if group.first else None
    ahead = AHEAD if schedule.device.startswith("cuda") else 0
    with closing(batches(sample, schedule.batch, generator, ahead=ahead)) as drawing:
        while step < schedule.steps:
            noisy, clean, drawn = next(drawing)
            noisy, clean = (_sent(images, group, schedule.device) for images in (noisy, clean))
            for name, optimizer in objective.optimizers.items():
                for parameters, rate in zip(optimizer.param_groups, highest[name], strict=True):
                    parameters["lr"] = schedule.rate(step, rate)
            losses = _step(objective, noisy, clean, schedule, step, group)
            step += 1
            _average(state, min(schedule.average, (1 + step) / (10 + step)))
            if told is not None:
                told.add(losses)
            if step % schedule.save_every == 0 or step == schedule.steps:
                if group.any(told is not None and told.tell(step, state.averages)):
                    step = schedule.steps
                if told is not None:
                    save_checkpoint(out / CHECKPOINT, state, generator=drawn, step=step, facts=facts)
    group.wait()
    return dict(state.averages)


def _sent(images: Tensor, group: Processes, device: str) -> Tensor:
    return group.share(images).to(device, memory_format=torch.channels_last)


def _prepared(objective: Objective, schedule: Schedule) -> State:
    networks = {
        name: network.to(schedule.device).to(memory_format=torch.channels_last)
        for name, network in objective.networks.items()
    }
    averages = {name: copy.deepcopy(network).requires_grad_(False) for name, network in networks.items()}
    return State(networks, averages, objective.optimizers)


def _resumed(
    path: Path, state: State, generator: torch.Generator, facts: Mapping[str, Any], report: Report | None
) -> int:
    """Steps done in the checkpoint, which is put into the state; 0 where there is none."""
    if not path.exists():
        return 0
    step, drawn, before = load_checkpoint(path, state)
    begun = {**dict.fromkeys(facts["origin"]), **before.pop("origin", {})}
    if other := [f"{k} {begun[k]}, not {v}" for k, v in facts["origin"].items() if begun[k] != v]:
        raise OptionError(
            f"{path.parent} was begun with {', '.join(other)}; go on with the same or choose another --out"
        )
    generator.set_state(drawn)
    changed = [f"{k} {v} -> {facts[k]}" for k, v in before.items() if k in facts and facts[k] != v]
    if report is not None:
        report(f"resumed after step {step}" + (f", with {', '.join(changed)}" if changed else ""))
    return step


def _step(
    objective: Objective, noisy: Tensor, clean: Tensor, schedule: Schedule, step: int, group: Processes
) -> dict[str, float]:
    """Let each optimizer take its step; returns the losses, averaged over the processes."""
    own = torch.Generator().manual_seed((schedule.seed << 32) + step * group.count + group.rank)
    found: dict[str, float] = {}
    for name, loss in objective.losses(noisy, clean, own):
        optimizer = objective.optimizers[name]
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        moved = [p for g in optimizer.param_groups for p in g["params"] if p.grad is not None]
        value = loss.detach()
        group.average([value, *(p.grad for p in moved)])
        found[name] = value.item()
        norm = nn.utils.clip_grad_norm_(moved, schedule.clip)
        if not (math.isfinite(found[name]) and math.isfinite(norm)):
            raise TrainingError(
                f"loss {name!r} is {found[name]} and its gradient's norm {norm:g} in step {step + 1}; go on from the "
                "last checkpoint (--resume) with a lower --learning-rate or --precision float32"
            )
        optimizer.step()
    return found


@torch.no_grad()
def _average(state: State, decay: float) -> None:
    for name, network in state.networks.items():
        average = state.averages[name]
        for mean, value in zip(average.parameters(), network.parameters(), strict=True):
            mean.lerp_(value, 1 - decay)
        for kept, buffer in zip(average.buffers(), network.buffers(), strict=True):
            kept.copy_(buffer)


def batches(
    sample: Sampler, size: int, generator: torch.Generator, *, ahead: int
) -> Generator[tuple[Tensor, Tensor, Tensor], None, None]:
    """Batches without end, each with the generator's state after it; a thread makes some of them ahead."""

    def draw() -> tuple[Tensor, Tensor, Tensor]:
        noisy, clean = sample(size, generator)
        return noisy, clean, generator.get_state()

    if ahead == 0:
        while True:
            yield draw()
    with ThreadPoolExecutor(max_workers=1) as thread:
        waiting = deque(thread.submit(draw) for _ in range(ahead))
        while True:
            yield waiting.popleft().result()
            waiting.append(thread.submit(draw))
