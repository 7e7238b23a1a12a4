"""Runs a recipe in this process, or in one for each GPU."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import torch

from meddenoise.errors import OptionError, TrainingError
from meddenoise.server.manners import be_polite, end_with_parent
from meddenoise.server.train_plan import first_stage_alone, of_length, recipe_of
from meddenoise.server.train_status import Status
from meddenoise.training.hooks import installed_trackers, patience
from meddenoise.training.progress import Hook, Moment
from meddenoise.weights import Card

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
        status: Hears of it.
        gpus: Processes, each with a GPU of its own; 1 for this process.
        patience: Validations without improvement that end a stage; 0 for never.
        mlflow: Address of MLflow's store where it is to be told; "" for not.
    """

    recipe: str
    config: Any
    data: Path
    out: Path
    status: Status
    gpus: int = 1
    patience: int = 0
    mlflow: str = ""


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
    trackers: list[Hook] = []
    if first:
        if run.mlflow:
            os.environ.setdefault("MLFLOW_TRACKING_URI", run.mlflow)
        trackers = [*installed_trackers(run.out), run.status.tracker()]
        trackers += [patience(run.patience)] if run.patience else []
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
    """How long a step of the first stage takes here, by a short training that is thrown away; it reads the data.

    Args:
        run: Its folder of results is that of the short training.
    """
    times: list[float] = []

    def clock(moment: Moment) -> dict[str, float]:
        times.append(time.monotonic())
        return {}

    config = of_length(first_stage_alone(run.config), PROBED)
    schedule = replace(config.schedule, save_every=1)
    config = replace(config, schedule=schedule, validate_every=10 * PROBED)
    recipe_of(run.recipe).run(
        config, run.data, run.out, resume=True, report=lambda line: _say(run, line), trackers=[clock]
    )
    return median(after - before for before, after in pairwise(times[:-1]))


def _say(run: Run, line: str) -> None:
    line = line.replace(f"{run.out}{os.sep}", "").replace(str(run.out), "the training's folder")
    run.status.say(line)
