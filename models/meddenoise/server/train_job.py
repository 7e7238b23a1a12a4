"""A site's training from its images to a model that is served, or not: each stage goes on where it was ended.

Everything lies in the folder ``training`` of the server's data folder. A run's own folder there is named by what it
depends on: the images and their partners, the options, and the running model that it goes on from. So whoever asks for
the same again after a stop, a kill or a power cut goes on with it; anything else is a new run.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from time import monotonic
from typing import Any

import torch
from filelock import FileLock, Timeout

from meddenoise.errors import MedDenoiseError, OptionError, OutputError
from meddenoise.inference import Denoiser
from meddenoise.inference.device import choose_device
from meddenoise.io.atomic import replacing_file
from meddenoise.server.problems import Problem
from meddenoise.server.site_data import SiteData, volume_name, write_folder
from meddenoise.server.site_rehearsal import rehearsal
from meddenoise.server.site_survey import Survey, checked, files_of, survey
from meddenoise.server.train_options import STUDENT, TrainOptions
from meddenoise.server.train_plan import TEACHER, configured, distils, gone_on_from, recipes, running, start_of
from meddenoise.server.train_run import Run
from meddenoise.server.train_stages import clear_away, forget_images, full_disk, trained
from meddenoise.server.train_status import STATUS, Status
from meddenoise.server.train_verdict import held_back_cases, judged
from meddenoise.training.progress import Report
from meddenoise.weights import Card
from meddenoise.weights.site import data_folder

logger = logging.getLogger(__name__)

LOOK_SECONDS = 20.0
"""How long the images are looked at before a request is answered; the training looks at the others."""
RESULT, SITE, READ = "result.json", "site", "read"


@dataclass(frozen=True)
class Job:
    """What is to be trained.

    Attributes:
        recipe: Name of the recipe, and of the model.
        options: The client's.
        folder: Of all trainings.
        found: What the datastore holds.
        card: Of the running model; None where there is none.
        start: Of its version that is gone on from, which is known once the images are; None for a fresh network.
    """

    recipe: str
    options: TrainOptions
    folder: Path
    found: Survey
    card: Card | None
    start: Card | None = None

    @property
    def out(self) -> Path:
        """The run's own folder."""
        options = {key: value for key, value in self.options.facts().items() if key not in ("gpus", "publish")}
        facts = [self.recipe, options, self.found.identity(), *(one and one.sha256 for one in (self.card, self.start))]
        return self.folder / f"{self.recipe}-{hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:12]}"

    @property
    def resumed(self) -> bool:
        """Whether it was begun before and not finished."""
        return (self.out / READ).exists() and not (self.out / RESULT).exists()


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
    return _with_images(job, datastore)


def _with_images(job: Job, datastore: Any) -> tuple[Job, SiteData]:
    site = checked(job.found, datastore, job.options, job.folder)
    return replace(job, start=gone_on_from(job.card, site.modalities)), site


def train_site(
    recipe: str, request: Mapping[str, Any], datastore: Any, *, report: Report = logger.info
) -> dict[str, Any]:
    """Train, compare with the running model, and publish if better; returns what became of it, JSON-able.

    Args:
        recipe: Name of the recipe and of the model.
        request: The options, as TrainOptions has them.
        datastore: The images.
        report: Called with lines of progress, which the status keeps too.

    Raises:
        Problem: A training is running already.
        MedDenoiseError: It cannot be trained, or not be gone on with; in one sentence, which the status keeps too.
    """
    with only_one():
        told = Status(training_folder() / STATUS, report)
        told.begin(recipe=recipe)
        try:
            result = _trained(recipe, request, datastore, told)
        except Exception as error:
            full = full_disk(error, training_folder())
            told.end("failed", problem=full or _sentence(error))
            if full:
                raise OutputError(full) from error
            raise
        told.end("done", result=result)
    return result


def _sentence(error: Exception) -> str:
    if isinstance(error, MedDenoiseError | Problem):
        return str(error.detail if isinstance(error, Problem) else error)
    return f"the training failed ({type(error).__name__}); the server's log says why"


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
    options = TrainOptions.from_request(request, recipe)
    choose_device(options.device)
    card, folder = running(recipe), training_folder()
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return Job(recipe, options, folder, survey(datastore, options, folder, seconds=seconds, tell=tell), card)


def _trained(recipe: str, request: Mapping[str, Any], datastore: Any, told: Status) -> dict[str, Any]:
    start = monotonic()
    job = _job(recipe, request, datastore, tell=lambda done, total: told.update(step=done, steps=total))
    job, site = _with_images(job, datastore)
    told.update(run=job.out.name, options=job.options.facts(), data=site.facts(), resumed=job.resumed)
    told.say(f"learning from {site.facts()['learns_from']} of {site.facts()['patients']} patients")
    for line in (*site.notes, *(["going on with a training that was not finished"] if job.resumed else [])):
        told.say(line)
    clear_away(job.folder, job.out, finished=(job.out / RESULT).exists())
    job.out.mkdir(exist_ok=True, mode=0o700)
    if not (job.out / READ).exists():
        told.enter("reading")
        _lay_out(job, site, files_of(site, datastore))
        (job.out / READ).touch()
    minutes = job.options.minutes - (monotonic() - start) / 60.0
    card = trained(runs_of(job, site, told), job.options, site, minutes, told)
    told.enter("comparing")
    held_back = replace(site, examples=tuple(site.held_back))
    result = judged(
        job.out / f"{card.name}.safetensors",
        recipe,
        {key: value for key, value in site.facts().items() if key != "notes"},
        held_back_cases(site, files_of(held_back, datastore)),
        device=choose_device(job.options.device).type,
        publish=job.options.publish,
        tell=told.say,
    )
    with replacing_file(job.out / RESULT) as fresh:
        fresh.write_text(json.dumps(result, indent=1), encoding="utf-8")
    forget_images(job.out)
    return result


def _lay_out(job: Job, site: SiteData, files: dict[tuple[str, str | None], Path]) -> None:
    """Lay out what is learned from; beside pairs, also by what the running model is not forgotten."""
    folder = job.out / SITE
    more: Iterable[dict[str, Any]] = ()
    if site.kind == "paired" and job.card is not None:
        model = Denoiser.load(start_of(job.card), device=choose_device(job.options.device).type)
        more = rehearsal(site, files, model, folder / "rehearsal", seed=job.options.seed)
    write_folder(site, folder, files, more)


def runs_of(job: Job, site: SiteData, told: Status) -> list[Run]:
    """The recipes to run one after the other, still of their own length: the teacher first where it is adapted."""
    device = choose_device(job.options.device)
    gpus = max(1, torch.cuda.device_count()) if device.type == "cuda" else 1
    shrink = {volume_name(image): factor for image, factor in site.shrink.items()}
    mlflow = f"sqlite:///{job.folder / 'mlflow.db'}" if job.options.mlflow else ""

    def run(recipe: str, card: Card | None, out: Path, **changes: Any) -> Run:
        config = configured(recipe, job.options, device=device.type, card=card, shrink=shrink)
        even = max(gpus, config.schedule.batch // gpus * gpus)
        config = replace(config, schedule=replace(config.schedule, batch=even), **changes)
        return Run(recipe, config, job.out / SITE, out, told, gpus, job.options.patience, mlflow)

    if job.recipe != STUDENT or not distils(job.options, device.type):
        return [run(job.recipe, job.start, job.out)]
    teacher = running(TEACHER)
    assert teacher is not None  # distils() saw it
    if not job.options.adapt_teacher:
        return [run(STUDENT, job.start, job.out, teacher=start_of(teacher))]
    adapted = run(TEACHER, teacher, job.out / TEACHER)
    weights_file = adapted.out / f"{TEACHER}.safetensors"
    return [adapted, run(STUDENT, job.start, job.out, teacher=str(weights_file))]
