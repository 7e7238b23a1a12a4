"""MONAI Label's web app, with our answers to errors and an inference that does not freeze the server.

Use as ``--uvicorn_app meddenoise.server.asgi:app``; ``meddenoise serve`` does so. Importing it imports MONAI Label's
app, which reads its settings from the environment, so set those first.
"""

from __future__ import annotations

import http
import logging
import shutil
import tempfile
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Form, Request, UploadFile
from fastapi.background import BackgroundTasks
from fastapi.exceptions import RequestValidationError
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import JSONResponse
from monailabel.app import app
from monailabel.config import settings
from monailabel.endpoints.infer import send_response
from monailabel.endpoints.user.auth import RBAC, User
from monailabel.interfaces.app import MONAILabelApp
from monailabel.interfaces.exception import MONAILabelException
from monailabel.interfaces.utils.app import app_instance
from starlette.exceptions import HTTPException

from meddenoise.errors import MedDenoiseError, OutputError
from meddenoise.server.checks import check_image, check_model, parse_params, safe_name
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
    output: Literal["image", "json", "all"] = "all",
) -> Any:
    """MONAI Label's infer route, off the event loop: ``def`` runs in a thread, so other requests are answered."""
    instance = app_instance()
    with http_errors(), tempfile.TemporaryDirectory(prefix="meddenoise-") as folder:
        check_model(model, instance.models())
        request = {**parse_params(params), "model": model}
        keep = bool(request.get("save_label"))
        request["image"] = _image(instance, image, session_id, file, Path(folder), keep=keep)
        result = instance.infer(request)
    return send_response(instance.datastore(), result, output, background_tasks)


def _image(
    instance: MONAILabelApp, image: str, session_id: str, file: UploadFile | None, folder: Path, *, keep: bool
) -> str:
    """What to read: a session's file or folder, the upload (put into the folder), or an image of the studies folder.

    The last one stays an id where the result is to be kept beside it, else it becomes a path.

    Raises:
        Problem: There is none; a path on the server is none of the client's.
        OutputError: The upload cannot be stored.
    """
    if session_id:
        sessions = instance.sessions()
        session = sessions.get_session(session_id) if sessions is not None else None
        if session is None:
            raise Problem(404, "InputError", f"no session {session_id!r}; it may have expired: send the image again")
        return str(session.image)
    if file is not None:
        path = folder / safe_name(file.filename or "upload")
        try:
            with path.open("wb") as copy:
                shutil.copyfileobj(file.file, copy)
        except OSError as error:
            raise OutputError(f"{path.name}: the server cannot store it ({error.strerror})") from error
        return str(path)
    check_image(image, instance.datastore(), paths=False)
    # MONAI Label would take an id for a path where the working directory has one of that name.
    return image if keep else str(instance.datastore().get_image_uri(image))


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


if not settings.MONAI_LABEL_CORS_ORIGINS:  # MONAI Label then lets the web pages of every server in
    app.user_middleware[:] = [item for item in app.user_middleware if item.cls is not CORSMiddleware]
app.router.routes.insert(0, router.routes[0])  # before MONAI Label's own route of the same path
for kind in (MedDenoiseError, MONAILabelException, HTTPException):
    app.add_exception_handler(kind, answer_problem)
app.add_exception_handler(RequestValidationError, answer_invalid)
app.add_exception_handler(Exception, answer_unexpected)
