"""A site's training from its images to a model that is served, or not: each stage goes on where it was ended.

Everything lies in the folder ``training`` of the server's data folder. A run's own folder there is named by what it
depends on: the images and their partners, the options, and the running model that it goes on from. So whoever asks for
the same again after a stop, a kill or a power cut goes on with it; anything else is a new run.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from time import monotonic
from typing import Any

import torch
from filelock import FileLock, Timeout

from meddenoise.errors import MedDenoiseError, OptionError
from meddenoise.inference.device import choose_device
from meddenoise.io.atomic import replacing_file
from meddenoise.server.problems import Problem
from meddenoise.server.site_data import SiteData, volume_name, write_folder
from meddenoise.server.site_survey import Survey, checked, files_of, survey
from meddenoise.server.train_options import TrainOptions
from meddenoise.server.train_plan import configured, of_length, recipes, running, steps_of_epochs
from meddenoise.server.train_run import Run, seconds_a_step, train
from meddenoise.server.train_status import STATUS, Status
from meddenoise.training.data import PAIRS, SLICES
from meddenoise.training.slices import is_validation
from meddenoise.weights import Card
from meddenoise.weights.site import data_folder

logger = logging.getLogger(__name__)

LOOK_SECONDS = 20.0
"""How long the images are looked at before a request is answered; the training looks at the others."""
KEPT = 3
"""Unfinished runs that are kept."""
PLAN, RESULT, SITE, PROBE = "plan.json", "result.json", "site", "probe"
TRAINING_SHARE = 0.75
"""Of the minutes that are left once the images are read; the comparison gets the rest."""
LEAST_STEPS = 20


@dataclass(frozen=True)
class Job:
    """What is to be trained.

    Attributes:
        recipe: Name of the recipe, and of the model.
        options: The client's.
        folder: Of all trainings.
        found: What the datastore holds.
        card: Of the running model; None where there is none.
    """

    recipe: str
    options: TrainOptions
    folder: Path
    found: Survey
    card: Card | None

    @property
    def out(self) -> Path:
        """The run's own folder."""
        facts = [self.recipe, self.options.facts(), self.found.identity(), self.card and self.card.sha256]
        return self.folder / f"{self.recipe}-{hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:12]}"

    @property
    def resumed(self) -> bool:
        """Whether it was begun before and not finished."""
        return (self.out / PLAN).exists() and not (self.out / RESULT).exists()


def training_folder() -> Path:
    """Where trainings are kept."""
    return data_folder() / "training"


def status() -> Status:
    """That of the latest training."""
    return Status(training_folder() / STATUS)


def at_work() -> bool:
    """Whether any process trains now."""
    try:
        with only_one():
            return False
    except Problem:
        return True


@contextmanager
def only_one() -> Iterator[None]:
    """Be the only training of this data folder; the system takes the lock from a process that ends.

    Raises:
        Problem: Another is at work.
    """
    training_folder().mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        with FileLock(training_folder() / ".lock", timeout=0):
            yield
    except Timeout as error:
        raise Problem(429, "Busy", "a training is running already; stop it (DELETE /train), or wait") from error


def looked_over(recipe: str, request: Mapping[str, Any], datastore: Any) -> tuple[Job, SiteData]:
    """Check a request and look at the images for a while, before anything starts.

    Raises:
        MedDenoiseError: It cannot be trained; in one sentence.
    """
    job = _job(recipe, request, datastore, seconds=LOOK_SECONDS)
    return job, checked(job.found, datastore, job.options, job.folder)


def train_site(recipe: str, request: Mapping[str, Any], datastore: Any) -> dict[str, Any]:
    """Train, compare with the running model, and publish if better; returns what became of it, JSON-able.

    Raises:
        Problem: A training is running already.
        MedDenoiseError: It cannot be trained, or not be gone on with; in one sentence, which the status keeps too.
    """
    with only_one():
        told = status()
        told.begin(recipe=recipe)
        try:
            result = _trained(recipe, request, datastore, told)
        except (MedDenoiseError, Problem) as error:
            told.end("failed", problem=str(error.detail if isinstance(error, Problem) else error))
            raise
        except Exception as error:
            told.end("failed", problem=f"the training failed ({type(error).__name__}); the server's log says why")
            raise
        told.end("done", result=result)
    return result


def _job(
    recipe: str,
    request: Mapping[str, Any],
    datastore: Any,
    *,
    seconds: float | None = None,
    tell: Callable[[int, int], None] = lambda done, total: None,
) -> Job:
    if recipe not in recipes():
        raise OptionError(f"no training {recipe[:60]!r}; this server has: {', '.join(recipes())}")
    options = TrainOptions.from_request(request)
    choose_device(options.device)
    card, folder = running(recipe), training_folder()
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return Job(recipe, options, folder, survey(datastore, options, folder, seconds=seconds, tell=tell), card)


def _trained(recipe: str, request: Mapping[str, Any], datastore: Any, told: Status) -> dict[str, Any]:
    start = monotonic()
    job = _job(recipe, request, datastore, tell=lambda done, total: told.update(step=done, steps=total))
    site = checked(job.found, datastore, job.options, job.folder)
    told.update(run=job.out.name, options=job.options.facts(), data=site.facts(), resumed=job.resumed)
    told.say(f"learning from {site.facts()['learns_from']} of {site.facts()['patients']} patients")
    for note in site.notes:
        told.say(note)
    _clear_away(job)
    run = _planned(job, site, datastore, told, start)
    told.enter("training")
    card = train(run)
    return _concluded(job, site, run, card)


def _planned(job: Job, site: SiteData, datastore: Any, told: Status, start: float) -> Run:
    """The run, with its length; the data is read."""
    run = _first_plan(job, site)
    if job.resumed:
        told.say("going on with a training that was not finished")
        plan = json.loads((job.out / PLAN).read_text(encoding="utf-8"))
        schedule = replace(run.config.schedule, batch=plan["batch"])
        return replace(run, config=of_length(replace(run.config, schedule=schedule), plan["steps"]))
    told.enter("reading")
    write_folder(site, job.out / SITE, files_of(site, datastore))
    told.enter("measuring the speed")
    probe = replace(run, out=_emptied(job.out / PROBE), gpus=1)
    seconds = seconds_a_step(probe)
    for name in (SLICES, PAIRS):
        if (probe.out / name).exists():
            (probe.out / name).replace(job.out / name)
    shutil.rmtree(probe.out)
    steps = _steps(job.options, site, run.config, seconds, left=60.0 * job.options.minutes - (monotonic() - start))
    told.say(f"{steps} steps of {seconds:.2f} s")
    with replacing_file(job.out / PLAN) as fresh:
        fresh.write_text(json.dumps({"steps": steps, "batch": run.config.schedule.batch}), encoding="utf-8")
    return replace(run, config=of_length(run.config, steps))


def _first_plan(job: Job, site: SiteData) -> Run:
    """The run, still of the recipe's own length."""
    device = choose_device(job.options.device)
    gpus = max(1, torch.cuda.device_count()) if device.type == "cuda" else 1
    shrink = {volume_name(image): factor for image, factor in site.shrink.items()}
    config = configured(job.recipe, job.options, device=device.type, card=job.card, shrink=shrink)
    even = max(gpus, config.schedule.batch // gpus * gpus)
    config = replace(config, schedule=replace(config.schedule, batch=even))
    return Run(job.recipe, config, job.out / SITE, job.out, job.folder / STATUS, gpus)


def _steps(options: TrainOptions, site: SiteData, config: Any, seconds: float, *, left: float) -> int:
    if options.steps:
        return options.steps
    if options.epochs:
        trained = [one for one in site.examples if not is_validation(site.subjects[one.looked.patient])]
        return steps_of_epochs(options.epochs, sum(one.looked.slices for one in trained), config.schedule.batch)
    return max(LEAST_STEPS, int(TRAINING_SHARE * left / max(seconds, 1e-3)))


def _concluded(job: Job, site: SiteData, run: Run, card: Card) -> dict[str, Any]:
    """What became of the candidate; the images' copies go."""
    result = {"model": card.name, "version": card.version, "sha256": card.sha256, "steps": run.config.schedule.steps}
    with replacing_file(job.out / RESULT) as fresh:
        fresh.write_text(json.dumps(result, indent=1), encoding="utf-8")
    for name in (SLICES, PAIRS):
        (job.out / name).unlink(missing_ok=True)
    shutil.rmtree(job.out / SITE, ignore_errors=True)
    return result


def _clear_away(job: Job) -> None:
    """Make room: a finished run of this name, and the oldest unfinished ones; they hold copies of patients' images."""
    if (job.out / RESULT).exists():
        shutil.rmtree(job.out)
    runs = sorted((f for f in job.folder.iterdir() if f.is_dir() and f != job.out), key=os.path.getmtime, reverse=True)
    for old in runs[KEPT - 1 :]:
        shutil.rmtree(old, ignore_errors=True)
    job.out.mkdir(exist_ok=True, mode=0o700)


def _emptied(folder: Path) -> Path:
    """The folder without what an earlier process left there, but for the data that it read."""
    for left in folder.iterdir() if folder.exists() else ():
        if left.is_dir():
            shutil.rmtree(left)
        elif left.name not in (SLICES, PAIRS):
            left.unlink()
    folder.mkdir(exist_ok=True)
    return folder
