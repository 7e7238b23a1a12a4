"""What a run tells while it goes: lines of progress, a history in JSON lines, and whoever else listens."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from meddenoise.errors import OutputError

HISTORY = "history.jsonl"


@dataclass(frozen=True)
class Moment:
    """A run as a hook sees it, just before a checkpoint.

    Attributes:
        step: Steps done.
        steps: Steps in all.
        figures: By name: the mean losses since the last moment ("loss.NAME"), and what earlier hooks found.
        averages: Running averages of the networks' weights, by name; not to be changed.
    """

    step: int
    steps: int
    figures: Mapping[str, float]
    averages: Mapping[str, nn.Module]


Hook = Callable[[Moment], Mapping[str, float]]
"""Sees a moment and returns further figures, or none; it must leave PyTorch's random numbers as they are."""


class Enough(Exception):  # noqa: N818 - it is no error
    """Raised by a hook: the training is to end here, as if all of its steps were done."""


Report = Callable[[str], None]


class Progress:
    """Collects losses, and at each checkpoint asks the hooks, writes a line of history and reports.

    Args:
        out: Folder of the history. What a killed run wrote there after its last checkpoint is taken out.
        step: Steps done before.
        steps: Steps in all.
        hooks: Asked in this order.
        report: Called with a line.

    Raises:
        OutputError: The history cannot be written.
    """

    def __init__(self, out: Path, *, step: int, steps: int, hooks: Sequence[Hook], report: Report) -> None:
        self._path, self._first, self._steps = out / HISTORY, step, steps
        self._hooks, self._report = hooks, report
        self._losses: list[Mapping[str, float]] = []
        self._started = time.monotonic()
        lines = self._path.read_text().splitlines() if self._path.exists() else []
        self._write("w", "".join(f"{line}\n" for line in lines if _step_of(line) <= step))

    def add(self, losses: Mapping[str, float]) -> None:
        """Remember the losses of a step."""
        self._losses.append(losses)

    def tell(self, step: int, averages: Mapping[str, nn.Module]) -> bool:
        """Tell of everything since the last time; says whether a hook wants the training to end."""
        figures = {f"loss.{k}": sum(loss[k] for loss in self._losses) / len(self._losses) for k in self._losses[-1]}
        self._losses, reasons = [], []
        for hook in self._hooks:
            try:
                figures |= hook(Moment(step, self._steps, figures, averages))
            except Enough as enough:
                reasons.append(str(enough))
        seconds = time.monotonic() - self._started
        self._write("a", json.dumps({"step": step, "seconds": round(seconds, 1), **figures}) + "\n")
        minutes = round(seconds / (step - self._first) * (self._steps - step) / 60)
        left = f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min"
        shown = ", ".join(f"{name} {value:.4f}" for name, value in figures.items())
        self._report(f"step {step} of {self._steps}, {shown}, {left} left")
        for reason in reasons:
            self._report(f"ended after step {step}: {reason}")
        return bool(reasons)

    def _write(self, mode: str, text: str) -> None:
        try:
            with self._path.open(mode) as file:
                file.write(text)
        except OSError as error:
            raise OutputError(
                f"{self._path}: cannot be written ({error.strerror}); see to it and go on with --resume"
            ) from error


def _step_of(line: str) -> float:
    try:
        return int(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):  # cut off when the run was killed
        return math.inf
