"""The routes for the next sample and for scoring, and what MONAI Label's own would do wrong about them.

Its own keep every other request waiting, run scoring for methods that do not exist, load every model to say which image
comes next, and fetch a whole series from a PACS only to name it.
"""

from __future__ import annotations

import json
import logging
import os
import time
from typing import Any

from fastapi import APIRouter, Request
from monailabel.config import settings
from monailabel.interfaces.utils.app import app_instance
from monailabel.utils.async_tasks.utils import run_background_task, tasks

from meddenoise.errors import OptionError, OutputError
from meddenoise.server.datastore import PacsDatastore
from meddenoise.server.problems import Problem, http_errors
from meddenoise.server.scores import check_wanted

logger = logging.getLogger(__name__)

LONGEST = 100_000
"""Letters of a request for the background: it becomes one argument of a command line, which the system limits."""

router = APIRouter(prefix=settings.MONAI_LABEL_API_STR)


@router.post("/activelearning/{strategy}", tags=["ActiveLearning"], summary="Which image comes next")
def sample(request: Request, strategy: str, params: dict[str, Any] | None = None) -> dict[str, Any]:
    """MONAI Label's route, off the event loop: the next image and all that is known about it; {} where none is left."""
    app, asked = app_instance(), params or {}
    found: dict[str, Any] = app.next_sample({**asked, "strategy": strategy})
    if not found:
        return {}
    image, images = found["id"], app.datastore()
    info = images.get_image_info(image)
    offered = {"ts": int(time.time()), "client_id": asked.get("client_id") or request.state.person.name}
    try:
        images.update_image_info(image, {"strategy": {**info.get("strategy", {}), strategy: offered}})
    except OutputError:
        logger.warning("it cannot be remembered which image was offered: the disk is full, or may not be written")
    return {**found, **info}


@router.post("/scoring/", tags=["Scoring"], summary="Score by every method", include_in_schema=False)
def score_all(params: dict[str, dict[str, Any]] | None = None, *, run_sync: bool = False) -> dict[str, Any]:
    """MONAI Label's route, off the event loop; `params` may hold some for each method."""
    methods = app_instance()._scoring_methods
    return {name: {"result": score(name, (params or {}).get(name), run_sync=run_sync)} for name in methods}


@router.post("/scoring/{method}", tags=["Scoring"], summary="Score images")
def score(method: str, params: dict[str, Any] | None = None, *, run_sync: bool = False) -> Any:
    """MONAI Label's route, off the event loop; what cannot be is said at once, and one scoring waits for another.

    Returns:
        The summary of `score_images` with `run_sync`, else MONAI Label's record of a task in the background.
    """
    app, request = app_instance(), {**(params or {}), "method": method}
    with http_errors():
        if method not in app._scoring_methods:
            raise Problem(
                404, "OptionError", f"no score {method!r}; this server has: {', '.join(app._scoring_methods)}"
            )
        check_wanted(app.datastore(), request.get("images"), request.get("max_samples", 0))
        return app.scoring(request) if run_sync else _in_background(request)


def next_sample(app: Any, request: dict[str, Any]) -> dict[str, Any]:
    """What MONAI Label's app does, but a series of a PACS is not fetched, and missing noise scores are made meanwhile.

    They are made in a process of its own, one at a time; never for a PACS, which would be fetched as a whole.

    Returns:
        "id", "path" where the image is a file, and what the strategy says; {} where no image is left.
    """
    name = request.get("strategy") or "random"
    strategy = app._strategies.get(name)
    with http_errors():
        if strategy is None:
            raise Problem(404, "OptionError", f"no strategy {name!r}; this server has: {', '.join(app._strategies)}")
        found: dict[str, Any] = strategy(request, app.datastore()) or {}
    if not found or isinstance(app.datastore(), PacsDatastore):
        return found
    if found.get("unscored") and app._server_mode and not _at_work():
        _in_background({"method": "noise"})
        found["note"] += "; they are being scored"
    return {**found, "path": app.datastore().get_image_uri(found["id"])}


def _at_work() -> bool:
    return any(task["status"] in ("SUBMITTED", "RUNNING") for task in tasks("scoring"))


def _in_background(request: dict[str, Any]) -> Any:
    if len(json.dumps(request)) > LONGEST:
        raise OptionError("images names too many to hand on; name fewer, or leave it out to score all")
    os.environ.setdefault("PYTHONPATH", "")  # MONAI Label's task stays submitted for ever where it is missing
    return run_background_task(request, "scoring")
