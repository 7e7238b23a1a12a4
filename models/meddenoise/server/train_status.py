"""How far a training is, in a file that outlives the process that trains and the server that started it."""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from meddenoise.errors import OutputError
from meddenoise.io.atomic import replacing_file
from meddenoise.training.progress import Hook, Moment, Report

logger = logging.getLogger(__name__)

STATUS = "status.json"
LINES = 20
"""Last lines that are kept."""
LOSS = "loss."
"""What the names of losses begin with among a moment's figures."""


class Status:
    """The state of the latest training; every change is on the disk at once, whoever makes it.

    Args:
        path: The file; it need not be there.
        report: Hears every line too.
    """

    def __init__(self, path: Path, report: Report = logger.info) -> None:
        self.path, self._report = path, report

    def read(self) -> dict[str, Any]:
        """All that is known; empty where no training was ever started."""
        try:
            found: dict[str, Any] = json.loads(self.path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return found

    def begin(self, **facts: Any) -> None:
        """Forget the training before."""
        self._write({"state": "running", "stage": "looking at the images", "lines": [], "started": _now(), **facts})

    def enter(self, stage: str) -> None:
        """Begin a stage, whose steps and time are not known yet."""
        self.update(stage=stage, step=0, steps=0, seconds_left=None, losses={})

    def update(self, **facts: Any) -> None:
        """Change what is known."""
        self._write({**self.read(), **facts})

    def say(self, line: str) -> None:
        """Add a line, which may begin with the name of a stage of the recipe and a colon."""
        self._report(line)
        held = self.read()
        stage, colon, _ = line.partition(": step ")
        within = {"substage": stage} if colon and " " not in stage else {}
        self._write({**held, **within, "lines": [*held.get("lines", []), line][-LINES:]})

    def end(self, state: str, **facts: Any) -> None:
        """Say how it ended: "done", "failed" or "stopped"."""
        self.update(state=state, seconds_left=None, ended=_now(), **facts)

    def tracker(self) -> Hook:
        """A hook that tells steps, losses by their names, and the time left, by the speed since it was first called."""
        first: tuple[int, float] | None = None

        def hook(moment: Moment) -> Mapping[str, float]:
            nonlocal first
            now = time.monotonic()
            first = first or (moment.step, now)
            done = moment.step - first[0]
            left = round((moment.steps - moment.step) * (now - first[1]) / done) if done else None
            losses = {key[len(LOSS) :]: value for key, value in moment.figures.items() if key.startswith(LOSS)}
            finite = {name: value for name, value in losses.items() if math.isfinite(value)}  # JSON has no others
            self.update(step=moment.step, steps=moment.steps, seconds_left=left, losses=finite)
            return {}

        return hook

    def _write(self, held: Mapping[str, Any]) -> None:
        try:
            with replacing_file(self.path) as fresh:
                fresh.write_text(json.dumps(held, indent=1), encoding="utf-8")
        except OutputError:
            if not self.path.exists():
                raise
            # A full disk ends a training by the checkpoint that cannot be written, and not by what is told of it.


def _now() -> str:
    return datetime.now().strftime("%Y-%m-%d %H:%M:%S")
