"""How far a training is, as the server tells it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

RUNNING, DONE, FAILED, STOPPED = "running", "done", "failed", "stopped"
STATES = {"SUBMITTED": RUNNING, "RUNNING": RUNNING, "DONE": DONE, "ERROR": FAILED, "STOPPED": STOPPED}
"""MONAI Label's words for the state of a task."""
SILENT = "the training ended without saying why; the server's log may tell, and the same training goes on where it was"


@dataclass(frozen=True)
class Training:
    """The latest training of a server, whoever started it.

    Attributes:
        state: RUNNING, DONE, FAILED or STOPPED.
        recipe: Which one.
        stage: What is being done, in the server's words, with the stage of the recipe where there is one.
        step: Steps done of the stage.
        steps: Steps of the stage; 0 where that is not known.
        secondsLeft: Of the stage; None where that is not known.
        losses: The latest, by name.
        lines: The last lines that it said.
        data: What it learns from: "learns_from", "images", "patients", "held_back_patients" and so on.
        verdict: How the trained network was found in comparison; "" before.
        published: The version that was published; "" for none.
        problem: Why it failed; "" where it did not.
        started: Date and time by the server's clock.
        ended: The same; "" before.
    """

    state: str
    recipe: str
    stage: str = ""
    step: int = 0
    steps: int = 0
    secondsLeft: float | None = None
    losses: dict[str, float] = field(default_factory=dict)
    lines: tuple[str, ...] = ()
    data: dict[str, Any] = field(default_factory=dict)
    verdict: str = ""
    published: str = ""
    problem: str = ""
    started: str = ""
    ended: str = ""

    @property
    def running(self) -> bool:
        """Whether it still goes on."""
        return self.state == RUNNING


def trainingOf(said: Any) -> Training | None:
    """Read the JSON of the route /train/; None where it tells of none."""
    if not isinstance(said, dict) or "status" not in said:
        return None
    told, request = _part(said, "progress"), _part(said, "request")
    state = STATES.get(str(said["status"]), STOPPED)
    result = _part(told, "result")
    substage = str(told.get("substage") or "")
    stage = str(told.get("stage") or "")
    return Training(
        state=state,
        recipe=str(told.get("recipe") or request.get("model") or ""),
        stage=f"{stage}, {substage}" if stage.startswith("training") and substage not in stage else stage,
        step=_whole(told.get("step")),
        steps=_whole(told.get("steps")),
        secondsLeft=_number(told.get("seconds_left")),
        losses={str(name): value for name, value in _part(told, "losses").items() if _number(value) is not None},
        lines=tuple(str(line) for line in said.get("details") or told.get("lines") or ()),
        data=_part(told, "data"),
        verdict=str(result.get("verdict") or ""),
        published=str(result.get("published") or ""),
        problem=str(told.get("problem") or SILENT) if state == FAILED else "",
        started=str(told.get("started") or said.get("start_ts") or ""),
        ended=str(told.get("ended") or said.get("end_ts") or ""),
    )


def _part(said: dict[str, Any], key: str) -> dict[str, Any]:
    found = said.get(key)
    return found if isinstance(found, dict) else {}


def _number(value: Any) -> float | None:
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def _whole(value: Any) -> int:
    return value if isinstance(value, int) else 0
