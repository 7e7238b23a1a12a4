"""The routes by which an administrator looks at the versions of the models, and changes which of them count."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from fastapi import APIRouter
from fastapi.responses import FileResponse
from monailabel.config import settings

from meddenoise import comparison, weights
from meddenoise.errors import ModelError
from meddenoise.server.problems import Problem, http_errors
from meddenoise.weights import Card, versions
from meddenoise.weights.store import Version

router = APIRouter(prefix=settings.MONAI_LABEL_API_STR, tags=["Model"])


@router.get("/models", summary="List the models with their versions")
def list_models() -> dict[str, Any]:
    """Every model by its name; of one that cannot be used, the reason in `problem`."""
    return {name: _listed(name) for name in weights.available()}


@router.get("/models/{model}", summary="Get the versions of a model")
def show_model(model: str) -> dict[str, Any]:
    """The active version, and all versions: the built-in one first, the latest last, each with its comparison.

    A comparison says whether the version was found better than the one that was active before it, on held-back patients
    of this site and on phantoms, with the figures and the names of its pictures.
    """
    with http_errors():
        return _shown(_known(model))


@router.get("/models/{model}/{version}/card", summary="Get the model card of a version")
def show_card(model: str, version: str) -> dict[str, Any]:
    """What the version is, what it was trained on and how, and its measured figures."""
    with http_errors():
        return asdict(weights.read_card(f"{_known(model)}@{version}"))


@router.get("/models/{model}/{version}/pictures/{name}", summary="Get a picture of a comparison")
def show_picture(model: str, version: str, name: str) -> FileResponse:
    """A PNG file: the image, the version that was active before, this one, and their difference."""
    with http_errors():
        folder = weights.file_of(f"{_known(model)}@{version}").parent
        if name not in comparison.pictures_in(folder):
            raise Problem(404, "InputError", f"no picture {name[:80]!r}; the comparison names its pictures")
    return FileResponse(folder / name, media_type="image/png")


@router.post("/models/{model}/{version}/activate", summary="Make a version the active one")
def activate(model: str, version: str) -> dict[str, Any]:
    """Requests that already run end with the version they began with. `built-in` names the installed version."""
    with http_errors():
        return _changed(versions.activate(_known(model), version))


@router.post("/models/{model}/rollback", summary="Go back to the version that was active before")
def rollback(model: str) -> dict[str, Any]:
    """As activating that version; asked again, it goes back one more."""
    with http_errors():
        return _changed(versions.rollback(_known(model)))


@router.delete("/models/{model}/{version}", summary="Delete a version")
def delete(model: str, version: str) -> dict[str, Any]:
    """One of the site's own that is not active."""
    with http_errors():
        versions.delete(_known(model), version)
        return _shown(model)


def _known(model: str) -> str:
    if model not in weights.available():
        raise ModelError(f"no model {model[:80]!r}; this server has: {', '.join(weights.available()) or 'none'}")
    return model


def _listed(model: str) -> dict[str, Any]:
    try:
        return _shown(model)
    except ModelError as error:
        return {"problem": str(error)}


def _shown(model: str) -> dict[str, Any]:
    found = versions.versions(model)
    active = next((one for one in found if one.active), None)
    return {
        "active": active.version if active else None,
        "version": weights.read_card(model).version,
        "versions": [_version(one) for one in found],
    }


def _version(one: Version) -> dict[str, Any]:
    return {
        "name": one.version,
        "version": one.card.version,
        "active": one.active,
        "made": one.made.isoformat(timespec="seconds"),
        "description": one.card.description,
        "modalities": one.card.modalities,
        "elsewhere": one.card.elsewhere,
        "sha256": one.card.sha256,
        "comparison": comparison.read(one.folder),
        "pictures": comparison.pictures_in(one.folder),
    }


def _changed(card: Card) -> dict[str, Any]:
    return {"name": card.name, "version": card.version, "sha256": card.sha256}
