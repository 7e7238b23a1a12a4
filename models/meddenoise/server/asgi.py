"""MONAI Label's web app, with our answers to errors and an inference that does not freeze the server.

Use as ``--uvicorn_app meddenoise.server.asgi:app``; ``meddenoise serve`` does so. Importing it imports MONAI Label's
app, which reads its settings from the environment, so set those first.
"""

from __future__ import annotations

import http
import logging
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Form, Request, UploadFile
from fastapi.background import BackgroundTasks
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from monailabel.app import app
from monailabel.config import settings
from monailabel.endpoints.infer import ResultType, run_inference
from monailabel.endpoints.user.auth import RBAC, User
from monailabel.interfaces.app import MONAILabelApp
from monailabel.interfaces.exception import MONAILabelException
from monailabel.interfaces.utils.app import app_instance
from starlette.exceptions import HTTPException

from meddenoise.errors import MedDenoiseError
from meddenoise.server.checks import check_image, check_model, parse_params
from meddenoise.server.problems import Problem, http_errors, problem_of

logger = logging.getLogger(__name__)
router = APIRouter(prefix=settings.MONAI_LABEL_API_STR)


@router.post("/infer/{model}", tags=["Infer"], summary="Denoise an image")
def infer(
    background_tasks: BackgroundTasks,
    model: str,
    *,
    user: Annotated[User, Depends(RBAC(settings.MONAI_LABEL_AUTH_ROLE_USER))],
    image: str = "",
    session_id: str = "",
    params: Annotated[str, Form()] = "{}",
    file: UploadFile | None = None,
    output: ResultType | None = None,
) -> Any:
    """MONAI Label's infer route, off the event loop: ``def`` runs in a thread, so other requests are answered."""
    try:
        with http_errors():
            _check(app_instance(), model, image, session_id, params, file)
            return run_inference(background_tasks, model, image, session_id, params, file, None, output)
    except Exception:
        for task in background_tasks.tasks:  # a failed request runs no background tasks, and would leave its upload
            task.func(*task.args, **task.kwargs)
        raise


def _check(
    instance: MONAILabelApp, model: str, image: str, session_id: str, params: str, file: UploadFile | None
) -> None:
    """Refuse what MONAI Label itself would answer with a bare 500, or with a file that is none of the client's."""
    check_model(model, instance.models())
    parse_params(params)
    if session_id:
        sessions = instance.sessions()
        if sessions is None or sessions.get_session(session_id) is None:
            raise Problem(404, "InputError", f"no session {session_id!r}; it may have expired: send the image again")
    elif file is None:
        check_image(image, instance.datastore(), paths=False)


def _answer(status: int, error: str, detail: Any) -> JSONResponse:
    return JSONResponse({"error": error, "detail": detail}, status_code=status)


def answer_problem(request: Request, error: Exception) -> JSONResponse:
    """Answer an error raised on purpose, by us, by MONAI Label or by the web framework."""
    if isinstance(error, (MedDenoiseError, MONAILabelException)):
        error = problem_of(error)
    assert isinstance(error, HTTPException), error
    name = error.error if isinstance(error, Problem) else http.HTTPStatus(error.status_code).phrase
    return _answer(error.status_code, name, error.detail)


def answer_invalid(request: Request, error: Exception) -> JSONResponse:
    """Answer a request whose query or form does not fit the route, in one sentence."""
    assert isinstance(error, RequestValidationError), error
    wrong = "; ".join(f"{'.'.join(str(part) for part in item['loc'])}: {item['msg']}" for item in error.errors())
    return _answer(422, "OptionError", wrong)


def answer_unexpected(request: Request, error: Exception) -> JSONResponse:
    """Answer a defect of ours: the server's log has the details, the client only hears their kind."""
    logger.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return _answer(500, type(error).__name__, "the server failed on this request; its log says why")


app.router.routes.insert(0, router.routes[0])  # before MONAI Label's own route of the same path
for kind in (MedDenoiseError, MONAILabelException, HTTPException):
    app.add_exception_handler(kind, answer_problem)
app.add_exception_handler(RequestValidationError, answer_invalid)
app.add_exception_handler(Exception, answer_unexpected)
