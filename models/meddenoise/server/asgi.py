"""MONAI Label's web app, with our answers to errors and an inference that does not freeze the server.

Use as ``--uvicorn_app meddenoise.server.asgi:app``; ``meddenoise serve`` does so. Importing it imports MONAI Label's
app, which reads its settings from the environment, so set those first.
"""

from __future__ import annotations

import http
import logging
import os
from collections.abc import Mapping
from typing import Any

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from monailabel.app import app
from monailabel.interfaces.exception import MONAILabelException
from starlette.exceptions import HTTPException

from meddenoise.errors import MedDenoiseError
from meddenoise.server import learning, route, security, train_routes, version_routes, weight_files
from meddenoise.server.problems import Problem, problem_of
from meddenoise.server.settings import Settings

logger = logging.getLogger(__name__)


def _answer(
    request: Request, status: int, error: str, detail: Any, headers: Mapping[str, str] | None = None
) -> JSONResponse:
    """Every error's answer; with the id of the request where it has one."""
    name = getattr(request.state, "request_id", None)
    named = {route.REQUEST_ID: name} if name else {}
    return JSONResponse({"error": error, "detail": detail}, status_code=status, headers={**(headers or {}), **named})


def answer_problem(request: Request, error: Exception) -> JSONResponse:
    """Answer an error raised on purpose, by us, by MONAI Label or by the web framework."""
    if isinstance(error, (MedDenoiseError, MONAILabelException)):
        error = problem_of(error)
    assert isinstance(error, HTTPException), error
    name = error.error if isinstance(error, Problem) else http.HTTPStatus(error.status_code).phrase
    return _answer(request, error.status_code, name, error.detail, error.headers)


def answer_invalid(request: Request, error: Exception) -> JSONResponse:
    """Answer a request whose query or form does not fit the route, in one sentence."""
    assert isinstance(error, RequestValidationError), error
    wrong = "; ".join(f"{'.'.join(str(part) for part in item['loc'])}: {item['msg']}" for item in error.errors())
    return _answer(request, 422, "OptionError", wrong)


def answer_unexpected(request: Request, error: Exception) -> JSONResponse:
    """Answer a defect of ours: the server's log has the details, the client only hears their kind."""
    logger.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return _answer(request, 500, type(error).__name__, "the server failed on this request; its log says why")


app.router.routes[0:0] = [
    *route.router.routes,
    *learning.router.routes,
    *train_routes.router.routes,
    *weight_files.router.routes,
    *version_routes.router.routes,
]  # before MONAI Label's own of the same paths
for kind in (MedDenoiseError, MONAILabelException, HTTPException):
    app.add_exception_handler(kind, answer_problem)
app.add_exception_handler(RequestValidationError, answer_invalid)
app.add_exception_handler(Exception, answer_unexpected)
security.install(app, Settings.from_environment(os.environ))
