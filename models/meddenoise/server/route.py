"""Our infer route, which stands in line for the device and can be watched and cancelled, and the routes to do so."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Form, Request, Response, UploadFile
from fastapi.background import BackgroundTasks
from monailabel.config import settings
from monailabel.endpoints.infer import send_response
from monailabel.endpoints.user.auth import RBAC, User
from monailabel.interfaces.app import MONAILabelApp
from monailabel.interfaces.utils.app import app_instance
from starlette.concurrency import run_in_threadpool

from meddenoise.errors import OutputError
from meddenoise.inference.device import choose_device
from meddenoise.server.checks import check_image, check_model, parse_params, safe_name
from meddenoise.server.options import Options
from meddenoise.server.problems import Problem, http_errors
from meddenoise.server.progress import HANDLE, Cancelled, Handle, Register
from meddenoise.server.queue import Line, Lines, limits_from
from meddenoise.server.tokens import LOCAL, Person

POLL_SECONDS = 0.1
"""How often a request's client is looked after."""
REQUEST_ID = "X-Request-ID"
REGISTER = Register()
LINES = Lines(limits_from(os.environ))

router = APIRouter(prefix=settings.MONAI_LABEL_API_STR)
Client = Annotated[User, Depends(RBAC(settings.MONAI_LABEL_AUTH_ROLE_USER))]


@router.post("/infer/{model}", tags=["Infer"], summary="Denoise an image")
async def infer(  # noqa: PLR0913 - each is a parameter of the route
    request: Request,
    response: Response,
    background_tasks: BackgroundTasks,
    model: str,
    *,
    user: Client,
    image: str = "",
    session_id: str = "",
    params: Annotated[str, Form()] = "{}",
    file: UploadFile | None = None,
    output: Literal["image", "json", "all"] = "all",
    request_id: str = "",
) -> Any:
    """MONAI Label's infer route, off the event loop, so that other requests are answered meanwhile.

    The answer carries the request's id in the header X-Request-ID, by which `/progress` knows it: the client's own, in
    the query or in that header, or one made here.
    """
    handle = REGISTER.open(request_id or request.headers.get(REQUEST_ID, ""), owner=_person(request))
    request.state.request_id = handle.name
    try:
        instance: MONAILabelApp = await run_in_threadpool(app_instance)
        check_model(model, instance.models())
        asked = {**parse_params(params), "model": model, HANDLE: handle}
        device = str(choose_device(Options.from_request(asked).device))

        def work() -> Any:
            with http_errors(), tempfile.TemporaryDirectory(prefix="meddenoise-") as folder:
                keep = bool(asked.get("save_label"))
                asked["image"] = _image(instance, image, session_id, file, Path(folder), keep=keep)
                return instance.infer(asked)

        result = await _watched(request, handle, asyncio.create_task(_in_line(LINES.of(device), handle, work)))
    except BaseException as error:
        handle.finish("cancelled" if isinstance(error, (Cancelled, asyncio.CancelledError)) else "failed")
        raise
    request.state.version = result["params"]["model"]["version"]  # another may have been activated meanwhile
    handle.finish("done")
    answer = await run_in_threadpool(send_response, instance.datastore(), result, output, background_tasks)
    (answer if isinstance(answer, Response) else response).headers[REQUEST_ID] = handle.name
    return answer


@router.get("/progress/{name}", tags=["Infer"], summary="How far a request is")
async def progress(request: Request, name: str, *, user: Client) -> dict[str, Any]:
    """Where the request of that id stands; those that ended can be asked about for ten minutes."""
    return _shown(REGISTER.find(name, person=_person(request)))


@router.delete("/progress/{name}", tags=["Infer"], summary="Cancel a request")
async def cancel(request: Request, name: str, *, user: Client) -> dict[str, Any]:
    """End a request, between two slices where it runs already; one that is being written or has ended stays so."""
    handle = REGISTER.find(name, person=_person(request))
    handle.cancel()
    return _shown(handle)


@router.get("/info/", tags=["App"], summary="Get App Info")
def info(*, user: Client) -> Any:
    """MONAI Label's description of the app, off the event loop: it waits where a model is being loaded."""
    return app_instance().info()


def _person(request: Request) -> Person:
    """Whose request it is, as the gate found out."""
    person: Person = getattr(request.state, "person", LOCAL)
    return person


def _shown(handle: Handle) -> dict[str, Any]:
    position, seconds = LINES.where(handle)
    return {
        "id": handle.name,
        "state": handle.state,
        "position": position,
        "done": handle.done,
        "total": handle.total,
        "wait_estimate_s": round(seconds, 1),
    }


async def _in_line(line: Line, handle: Handle, work: Callable[[], Any]) -> Any:
    async with line.place(handle):
        handle.enter("reading")  # before the thread starts: from here on the work ends itself
        return await run_in_threadpool(work)


async def _watched(request: Request, handle: Handle, work: asyncio.Task[Any]) -> Any:
    """The work's result; a client that goes away or cancels ends the work.

    Raises:
        Cancelled: It was ended.
    """
    try:
        while not (await asyncio.wait({work}, timeout=POLL_SECONDS))[0]:
            if await request.is_disconnected():
                handle.cancel()
            _leave_line(handle, work)
    finally:  # also where the web server itself ends this request
        if not work.done():
            handle.cancel()
            _leave_line(handle, work)
    if work.cancelled():
        raise Cancelled(handle.name)
    return work.result()


def _leave_line(handle: Handle, work: asyncio.Task[Any]) -> None:
    """End a cancelled request that waits. A task that has a thread at work must not be cancelled from outside."""
    if handle.cancelled and handle.state == "waiting":
        work.cancel()


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
