"""Runs a recipe in this process or in one for each GPU, at a priority that leaves the machine to those who wait."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import torch

from meddenoise.errors import OptionError, TrainingError
from meddenoise.server.train_plan import of_length, recipe_of
from meddenoise.server.train_status import Status
from meddenoise.training.hooks import installed_trackers
from meddenoise.training.progress import Hook, Moment
from meddenoise.weights import Card

logger = logging.getLogger(__name__)

POLITENESS = 10
"""By which the priority of the training's process is lowered; see nice(1)."""
WATCH_SECONDS = 1.0
PROBED = 8
"""Steps by which the speed is measured."""


@dataclass(frozen=True)
class Run:
    """A recipe with its configuration, its data and the folder of its results, for any process.

    Attributes:
        recipe: Name of the recipe.
        config: Its configuration.
        data: Folder laid out as the recipes take it.
        out: Folder of data, checkpoints and weights.
        status: File of the status; None where nobody is told.
        gpus: Processes, each with a GPU of its own; 1 for this process.
    """

    recipe: str
    config: Any
    data: Path
    out: Path
    status: Path | None
    gpus: int = 1


def be_polite() -> None:
    """Lower this process's priority, and leave one core to the others.

    A variable such as OMP_NUM_THREADS may leave them more.
    """
    if hasattr(os, "nice"):
        os.nice(POLITENESS)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    torch.set_num_threads(max(1, min(torch.get_num_threads(), cores - 1)))


def end_with_parent() -> None:
    """End this process once its parent has ended, even when killed: a new server would start a second training.

    What the training has reached by then is in its last checkpoint.
    """
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(WATCH_SECONDS)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def train(run: Run, *, start: Callable[[Run], Card] | None = None) -> Card:
    """Train to the end, from the checkpoint if there is one; where a GPU's memory ends, with half the batch.

    Args:
        run: What.
        start: What runs it; by default this process, or one for each of several GPUs.

    Raises:
        MedDenoiseError: What the recipe raises; or not even a batch of one patch a GPU fits into memory.
    """
    start = start or (train_here if run.gpus == 1 else train_on_gpus)
    while True:
        try:
            return start(run)
        except torch.OutOfMemoryError as error:
            batch = run.config.schedule.batch // (2 * run.gpus) * run.gpus
            if batch < run.gpus:
                raise OptionError(
                    f"the memory of {run.config.schedule.device} does not hold a single patch; choose a smaller patch"
                ) from error
            _say(run, f"the GPU's memory is full: going on with {batch} patches a step")
            run = replace(run, config=replace(run.config, schedule=replace(run.config.schedule, batch=batch)))
        torch.cuda.empty_cache()  # once the error no longer holds the tensors


def train_here(run: Run) -> Card:
    """Train in this process, which may be one of several that torch's launcher started."""
    first = int(os.environ.get("RANK", "0")) == 0
    trackers: Sequence[Hook] = []
    if first and run.status is not None:
        trackers = [*installed_trackers(run.out), Status(run.status).tracker()]
    card: Card = recipe_of(run.recipe).run(
        run.config,
        run.data,
        run.out,
        resume=True,
        report=lambda line: _say(run, line) if first else None,
        trackers=trackers,
    )
    return card


def train_on_gpus(run: Run) -> Card:
    """Train in one process a GPU, by torch's launcher.

    Raises:
        torch.OutOfMemoryError: A GPU's memory ended.
        TrainingError: Another error ended a process.
    """
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=run.gpus,
        run_id=run.out.name,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=0,
        start_method="spawn",
    )
    try:
        cards: dict[int, Card] = elastic_launch(config, _one_of_several)(run)
    except ChildFailedError as error:
        message = str(error.get_first_failure()[1].message)
        if "OutOfMemoryError" in message:
            raise torch.OutOfMemoryError(message) from error
        raise TrainingError(f"a process of the training ended: {message.strip().splitlines()[-1][:300]}") from error
    return cards[0]


def _one_of_several(run: Run) -> Card:
    end_with_parent()
    be_polite()
    return train_here(run)


def seconds_a_step(run: Run) -> float:
    """How long a step takes here, by a short training that is thrown away; the recipe's data is read by it.

    Args:
        run: Its folder of results is that of the short training.
    """
    times: list[float] = []

    def clock(moment: Moment) -> dict[str, float]:
        times.append(time.monotonic())
        return {}

    config = of_length(run.config, PROBED)
    schedule = replace(config.schedule, save_every=1)
    config = replace(config, schedule=schedule, validate_every=10 * PROBED)
    recipe_of(run.recipe).run(
        config, run.data, run.out, resume=True, report=lambda line: _say(run, line), trackers=[clock]
    )
    return median(after - before for before, after in pairwise(times[:-1]))


def _say(run: Run, line: str) -> None:
    line = line.replace(f"{run.out}{os.sep}", "").replace(str(run.out), "the training's folder")
    logger.info("%s", line)
    if run.status is not None:
        Status(run.status).say(line)
