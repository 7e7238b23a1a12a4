"""Our own routes in place of those of MONAI Label that take a client's names, archives and weights as they come."""

from __future__ import annotations

import shutil
import tempfile
import uuid
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Form, Query, Request, UploadFile
from fastapi.background import BackgroundTasks
from fastapi.responses import JSONResponse
from monailabel.config import settings as monai_settings
from monailabel.endpoints import datastore, session
from monailabel.interfaces.utils.app import app_instance

from meddenoise import __version__, weights
from meddenoise.errors import InputError, ModelError, OptionError
from meddenoise.server.access import check_inside, check_name
from meddenoise.server.archives import unpack
from meddenoise.server.checks import parse_params, safe_name
from meddenoise.server.datastore import PATTERNS
from meddenoise.server.problems import Problem, http_errors
from meddenoise.server.settings import Settings
from meddenoise.weights import versions

UNPACKED = 4
"""How much larger than the largest request the content of an archive may be."""
IN_SESSIONS = "upload"
"""Name of a session's image or folder: a client's own name would be a patient's too often."""

router = APIRouter(prefix=monai_settings.MONAI_LABEL_API_STR)


@router.get("/health", tags=["App"], summary="Is the server up, and are its models sound?")
def health() -> JSONResponse:
    """For monitoring, without a token: 503 where there is no model that can be used."""
    instance = app_instance()
    models = {name: instance._infers[name].is_valid() for name in instance.models()}
    status = 200 if any(models.values()) else 503
    return JSONResponse({"status": "up", "version": __version__, "models": models}, status)


@router.put("/session/", tags=["Session"], summary="Create new session with Image")
def create_session(
    request: Request,
    files: list[UploadFile],
    *,
    uncompress: bool = False,
    expiry: Annotated[int, Query(ge=0)] = 0,
) -> dict[str, Any]:
    """MONAI Label's route, with harmless names, archives unpacked with care, and an id that cannot be guessed."""
    sessions = app_instance().sessions()
    if sessions is None:
        raise Problem(406, "InputError", "this server keeps no sessions")
    settings: Settings = request.app.state.settings
    with http_errors(), tempfile.TemporaryDirectory(prefix="meddenoise-") as scratch:
        received = Path(scratch) / IN_SESSIONS
        received.mkdir()
        for number, file in enumerate(files):
            path = received / _name(file, alone=len(files) == 1)
            _store(file, path if not path.exists() else path.with_name(f"{number}-{path.name}"))
        image = next(received.iterdir()) if len(files) == 1 else received
        if uncompress and len(files) == 1:
            unpacked = Path(scratch) / "archive"
            unpacked.mkdir()
            unpack(image, unpacked, most_bytes=UNPACKED * settings.upload_bytes)
            image = unpacked
        name, made = sessions.add_session(str(image), expiry, False, session_id=str(uuid.uuid4()))
    return {"session_id": name, "session_info": _without_folders(made.to_json())}


@router.get("/session/{session_id}", tags=["Session"], summary="Get Session ID")
def get_session(session_id: str, *, update_ts: bool = False, image: bool = False) -> Any:
    """MONAI Label's route, without the server's paths in it."""
    found = session.get_session(_uuid(session_id), update_ts, False)
    if not image:
        return _without_folders(found)
    if Path(found["image"]).is_dir():
        raise Problem(400, "OptionError", "this session holds several files; they cannot be downloaded as one")
    return session.get_session(session_id, update_ts, True)


@router.delete("/session/{session_id}", tags=["Session"], summary="Delete Session")
def remove_session(session_id: str) -> Any:
    """MONAI Label's route, for ids of sessions only."""
    return _without_folders(session.remove_session(_uuid(session_id)))


@router.put("/datastore/", include_in_schema=False, deprecated=True)
@router.put("/datastore/image", tags=["Datastore"], summary="Upload new Image")
def add_image(
    request: Request,
    background_tasks: BackgroundTasks,
    file: UploadFile,
    *,
    image: str | None = None,
    params: Annotated[str, Form()] = "{}",
) -> Any:
    """MONAI Label's route, for images that can be denoised, under names that stay in the studies folder."""
    with http_errors():
        stem, extension = _parts(file)
        name = check_name("image", image or stem)
        if folder := _studies():
            check_inside(folder / f"{name}{extension}", folder)
        parse_params(params)
        file.filename = f"{IN_SESSIONS}{extension}"
        return datastore.add_image(background_tasks, name, params, file, _user(request))


@router.put("/datastore/label", tags=["Datastore"], summary="Save Finished Label")
def save_label(
    request: Request,
    background_tasks: BackgroundTasks,
    image: str,
    label: UploadFile,
    *,
    tag: str = "final",
    params: Annotated[str, Form()] = "{}",
) -> Any:
    """MONAI Label's route, with the same care."""
    with http_errors():
        _, extension = _parts(label)
        check_name("tag", tag)
        if folder := _studies():
            check_inside(folder / "labels" / tag / f"{image}{extension}", folder)
        parse_params(params)
        label.filename = f"{IN_SESSIONS}{extension}"
        return datastore.save_label(background_tasks, image, params, tag, label, _user(request))


@router.put("/model/{model}", tags=["Model"], summary="Upload/Update Model File")
def put_model(model: str, file: UploadFile) -> dict[str, Any]:
    """Take in a site's own model, as its next version: a safetensors file of ours that loads.

    A published model is not replaced so: nobody has compared the two.
    """
    with http_errors(), tempfile.TemporaryDirectory(prefix="meddenoise-") as scratch:
        _check_site_name(model)
        path = Path(scratch) / f"{model}.safetensors"
        _store(file, path)
        try:
            network, card = weights.load(str(path))
        except ModelError as error:
            raise InputError("the file must be a safetensors file that MedDenoise wrote, and is not") from error
        card = versions.publish(network, replace(card, name=model))  # of its own, whatever it was a version of
    return {"checksum": card.sha256, "version": card.version}


@router.delete("/model/{model}", tags=["Model"], summary="Delete Model File")
def delete_model(model: str) -> dict[str, Any]:
    """Take away a site's own model, with all of its versions."""
    with http_errors():
        _check_site_name(model)
        versions.remove(model)
    return {}


def _check_site_name(model: str) -> None:
    if not weights.SITE_NAME.fullmatch(model):
        raise OptionError(f"a model's name must be letters, digits or . _ -, got {model[:80]!r}")
    if (weights.folder() / f"{model}.json").exists():
        raise Problem(409, "ModelError", f"{model} is a published model and stays; choose another name for your own")


def _name(file: UploadFile, *, alone: bool) -> str:
    """A name for one of a session's files; those of several keep theirs, by which some formats know one another."""
    name = safe_name(file.filename or "")
    return IN_SESSIONS + "".join(end for end in Path(name).suffixes[-2:] if len(end) <= 6) if alone else name


def _parts(file: UploadFile) -> tuple[str, str]:
    """A file name's stem and its extension, which must be one of the studies folder's."""
    name = safe_name(file.filename or "")
    extension = next((end for end in (pattern[1:] for pattern in PATTERNS) if name.lower().endswith(end)), None)
    if extension is None:
        raise OptionError(
            f"the file must end in one of {', '.join(p[1:] for p in PATTERNS)}, got {Path(name).suffix!r}"
        )
    return name[: -len(extension)], extension


def _store(file: UploadFile, path: Path) -> None:
    try:
        with path.open("wb") as copy:
            shutil.copyfileobj(file.file, copy)
    except OSError as error:
        raise Problem(413, "InputError", f"the server cannot store the upload ({error.strerror})") from error


def _studies() -> Path | None:
    """The studies folder, or None where the images are a PACS's."""
    studies = monai_settings.MONAI_LABEL_STUDIES
    return None if "://" in studies else Path(studies)


def _user(request: Request) -> str:
    return str(request.state.person.name)


def _uuid(session_id: str) -> str:
    try:
        return str(uuid.UUID(session_id))
    except ValueError as error:
        raise Problem(404, "InputError", "there is no such session") from error


def _without_folders(made: dict[str, Any]) -> dict[str, Any]:
    """What a client may know of a session: not where it lies on the server."""
    return {**made, "path": "", "image": Path(made["image"]).name}
