"""The routes by which a training is started, watched and stopped, in MONAI Label's own form.

MONAI Label's own answer that a training was submitted even where it must fail, know nothing of it once the server was
restarted, and keep every other request waiting where one is to be waited for.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psutil  # type: ignore[import-untyped]
from fastapi import APIRouter
from monailabel.config import settings
from monailabel.interfaces.utils.app import app_instance
from monailabel.utils.async_tasks.utils import run_background_task, stop_background_task, tasks

from meddenoise.server.problems import Problem, http_errors
from meddenoise.server.train_job import at_work, looked_over, status
from meddenoise.server.train_options import explained

router = APIRouter(prefix=settings.MONAI_LABEL_API_STR, tags=["Train"])

WAIT_SECONDS = 0.5
UNDERWAY = ("SUBMITTED", "RUNNING")
_starting = threading.Lock()


@router.post("/train/{model}", summary="Train a model on the images of the datastore")
def start(model: str, params: dict[str, Any] | None = None, *, run_sync: bool = False, enqueue: bool = False) -> Any:
    """Start a training in a process of its own, or go on with one of the same images and options that was ended.

    The images are looked at first: what cannot be trained is said at once. The answer says what it learns from.
    """
    with _one_start(enqueue=enqueue), http_errors():
        task = _submitted(model, params or {})
    return _shown(_awaited(task) if run_sync else task)


@router.post("/train/", summary="Train the models one after the other", include_in_schema=False)
def start_all(params: dict[str, Any] | None = None, *, run_sync: bool = False) -> dict[str, Any]:
    """MONAI Label's route: `params` may name one model, or hold the options of each by its name."""
    asked, names = params or {}, list(app_instance()._trainers)
    with _one_start(enqueue=False), http_errors():
        chosen = [str(asked["model"])] if asked.get("model") else names
        shared = {key: value for key, value in asked.items() if key not in names}
        started = {name: _submitted(name, {**shared, **asked.get(name, {})}) for name in chosen}
    return {
        name: {"result": _shown(_awaited(task) if run_sync else task), "detail": None} for name, task in started.items()
    }


@router.get("/train/", summary="How far the training is")
def show(*, all: bool = False, check_if_running: bool = False) -> Any:
    """The latest training, also that of an earlier start of the server; 404 where there is none, or none runs."""
    known = tasks("train")
    if check_if_running:
        known = [task for task in known if task["status"] in UNDERWAY]
        if not known and not at_work():
            raise Problem(404, "ServiceError", "no training is running")
    if not known:
        known = _of_earlier_servers()
    if not known:
        raise Problem(404, "ServiceError", "no training was started yet")
    return [_shown(task) for task in known] if all else _shown(next((t for t in known if _runs(t)), known[-1]))


@router.get("/train/options", summary="What the options of the trainings mean")
def show_options() -> dict[str, dict[str, str]]:
    """A sentence or two for every option that `/info` announces, by training and option."""
    return {name: explained(name) for name in app_instance()._trainers}


@router.delete("/train/", summary="Stop the training")
def stop() -> Any:
    """End its process; the same request goes on with it. Those that wait behind it start then. `null` if none runs."""
    try:
        task = stop_background_task("train")
    except psutil.NoSuchProcess:
        return None  # it ended by itself just now
    if task is None:
        return None
    status().end("stopped")
    return _shown(task)


@contextmanager
def _one_start(*, enqueue: bool) -> Iterator[None]:
    """Look at images for one request at a time, and only where nothing trains unless that may wait."""
    if not _starting.acquire(blocking=False):
        raise Problem(429, "Busy", "a training is being started already; try again in a minute")
    try:
        if not enqueue and (any(task["status"] in UNDERWAY for task in tasks("train")) or at_work()):
            raise Problem(429, "Busy", "a training is running already; stop it (DELETE /train), or wait")
        yield
    finally:
        _starting.release()


def _submitted(model: str, params: dict[str, Any]) -> dict[str, Any]:
    app = app_instance()
    if model not in app._trainers:
        raise Problem(404, "OptionError", f"no training {model[:60]!r}; this server has: {', '.join(app._trainers)}")
    job, site = looked_over(model, params, app.datastore())
    os.environ.setdefault("PYTHONPATH", "")  # MONAI Label's task stays submitted for ever where it is missing
    if not at_work():  # until its process is up
        status().begin(recipe=model, stage="starting", run=job.out.name, data=site.facts(), resumed=job.resumed)
    task: dict[str, Any] = run_background_task({**params, "model": model}, "train")
    return task | {"data": site.facts(), "all_looked_at": job.found.whole, "resumed": job.resumed}


def _awaited(task: dict[str, Any]) -> dict[str, Any]:
    held: dict[str, Any] = next(known for known in tasks("train") if known["id"] == task["id"])
    while held["status"] in UNDERWAY:
        time.sleep(WAIT_SECONDS)
    return held


def _runs(task: dict[str, Any]) -> bool:
    return bool(task["status"] == "RUNNING")


def _shown(task: dict[str, Any]) -> dict[str, Any]:
    """MONAI Label's task with how far it is; its lines are those of the training and not those of the log."""
    held = dict(task)
    progress = status().read()
    if not _is_latest(held) or progress.get("recipe") != held["request"].get("model"):
        return held
    return {**held, "details": progress.get("lines", []), "progress": progress}


def _is_latest(task: dict[str, Any]) -> bool:
    begun = [known["id"] for known in tasks("train") if known["status"] != "SUBMITTED"]
    return not begun or begun[-1] == task["id"]


def _of_earlier_servers() -> list[dict[str, Any]]:
    """The latest training in the same form, where this server has started none."""
    progress = status().read()
    if not progress:
        return []
    running = at_work()
    states = {"done": "DONE", "failed": "ERROR"}
    return [
        {
            "id": progress.get("run", ""),
            "status": "RUNNING" if running else states.get(progress["state"], "STOPPED"),
            "request": {"model": progress["recipe"], **progress.get("options", {})},
            "start_ts": progress["started"],
            "end_ts": progress.get("ended"),
        }
    ]
