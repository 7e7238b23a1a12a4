"""A whole batch: what is done is left, what gets done is remembered at once, the end says what became of all."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from meddenoise.batch.engine import Engine
from meddenoise.batch.items import Item
from meddenoise.batch.journal import Journal
from meddenoise.batch.work import BatchOptions, Outcome, State
from meddenoise.io.atomic import replacing_file

SUMMARY = "batch-summary.json"


@dataclass(frozen=True)
class Progress:
    """How far a batch is.

    Attributes:
        number: Items whose outcome is known.
        total: All items.
        seconds_left: Estimated from the bytes denoised so far and those left; None while nothing is known.
    """

    number: int
    total: int
    seconds_left: float | None

    def __str__(self) -> str:
        """Such as "[3/20, 12 min left]"."""
        left = "" if self.seconds_left is None else f", {_duration(self.seconds_left)} left"
        return f"[{self.number}/{self.total}{left}]"


@dataclass(frozen=True)
class Summary:
    """What became of a batch.

    Attributes:
        outcomes: Of every item that was begun and ended, in the order they ended.
        total: Items there were; more than there are outcomes where the batch was interrupted.
        seconds: Time from its start to its end.
        skipped_files: A sentence for each file that was found and is no item.
        model: "name", "version" and "sha256".
        options: How the items were denoised.
    """

    outcomes: tuple[Outcome, ...]
    total: int
    seconds: float
    skipped_files: tuple[str, ...]
    model: dict[str, str]
    options: dict[str, Any]

    def count(self, state: State) -> int:
        """Items of that state."""
        return sum(outcome.state == state for outcome in self.outcomes)

    def as_dict(self) -> dict[str, Any]:
        """JSON-able; counts first, then every item with its input, output, state and figures."""
        return {
            "total": self.total,
            **{state: self.count(state) for state in ("done", "skipped", "failed")},
            "complete": len(self.outcomes) == self.total,
            "seconds": round(self.seconds, 2),
            "model": self.model,
            "options": self.options,
            "items": [_as_dict(outcome) for outcome in self.outcomes],
            "skipped_files": list(self.skipped_files),
        }


Tell = Callable[[Outcome, Progress], None]


def run_batch(
    items: Sequence[Item],
    engine: Engine,
    folder: Path,
    *,
    options: BatchOptions | None = None,
    resume: bool = True,
    skipped_files: Iterable[str] = (),
    tell: Tell | None = None,
) -> Summary:
    """Denoise every item that is not done; a bad one does not stop the others.

    An item is done where the journal remembers a result of the same input, weights and options that is still there.
    The summary is written to ``batch-summary.json`` in the folder, also where the batch is interrupted.

    Args:
        items: With keys of their own; see find_items.
        engine: Who does the work.
        folder: Output folder, for the journal and the summary.
        options: How to denoise.
        resume: False does everything again.
        skipped_files: Sentences for the summary.
        tell: Called in this thread with each outcome.

    Raises:
        OutputError: The folder cannot be written, or another batch is at work in it.
        KeyboardInterrupt: The user ended it; what was finished by then is remembered.
    """
    options = options or BatchOptions()
    start, outcomes = time.perf_counter(), list[Outcome]()
    with Journal.open(folder) as journal:
        items = [replace(item, done=journal.find(item.key) if resume else None) for item in items]
        _sweep(items)
        clock, running = _Clock(items), engine.run(items, options)
        try:
            for outcome in running:
                if outcome.state == "done" and outcome.record is not None:
                    journal.add(outcome.item.key, outcome.record)
                outcomes.append(outcome)
                if tell is not None:
                    tell(outcome, clock.after(outcome))
        finally:
            if isinstance(running, Generator):
                running.close()  # no work outlives this call
            seconds = time.perf_counter() - start
            model = {key: getattr(engine.card, key) for key in ("name", "version", "sha256")}
            summary = Summary(tuple(outcomes), len(items), seconds, tuple(skipped_files), model, options.chosen())
            _write(summary, folder)
    return summary


def _write(summary: Summary, folder: Path) -> None:
    with replacing_file(folder / SUMMARY) as temporary:
        temporary.write_text(json.dumps(summary.as_dict(), indent=2) + "\n", encoding="utf-8")


class _Clock:
    """Estimates the time left from what was denoised since the start; what is skipped takes no time to speak of."""

    def __init__(self, items: Sequence[Item]) -> None:
        self._start = time.perf_counter()
        self._total, self._number = len(items), 0
        self._left, self._worked = sum(item.size for item in items), 0

    def after(self, outcome: Outcome) -> Progress:
        """Where the batch stands after this outcome."""
        self._number += 1
        self._left -= outcome.item.size
        self._worked += outcome.item.size if outcome.state == "done" else 0
        left = (time.perf_counter() - self._start) * self._left / self._worked if self._worked else None
        return Progress(self._number, self._total, left)


def _sweep(items: Iterable[Item]) -> None:
    """Take away what a killed run was writing; no other batch is at work in the folder."""
    for parent in {item.output.parent for item in items if item.output is not None}:
        for unfinished in parent.glob(".meddenoise-*"):
            shutil.rmtree(unfinished, ignore_errors=True)


def _as_dict(outcome: Outcome) -> dict[str, Any]:
    return {
        "input": outcome.item.name,
        "output": str(outcome.item.output) if outcome.item.output is not None else None,
        "state": outcome.state,
        "seconds": round(outcome.seconds, 3),
        "reason": outcome.reason,
        "warnings": list(outcome.warnings),
        "figures": dict(outcome.figures),
    }


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 90 * 60 else f"{seconds / 3600:.1f} h"
