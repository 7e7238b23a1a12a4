"""What must hold before MONAI Label is let loose on a request: the model and the image exist."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Protocol

from meddenoise.errors import ModelError, OptionError
from meddenoise.server.access import check_values
from meddenoise.server.problems import Problem

NOT_IN_PARAMS = ("image", "model", "label", "file", "session", "session_id")
"""Keys that name files on the server; they have their own places in the request."""

NAME_LENGTH = 100


class Images(Protocol):
    """The part of MONAI Label's datastore that is asked here."""

    def get_image_uri(self, image_id: str) -> str:
        """The path of an image; empty where there is none of that name."""
        ...


def check_model(name: Any, known: Collection[str]) -> None:
    """Raise ModelError unless the model is one of those served."""
    if name not in known:
        raise ModelError(f"no model {name!r}; this server has: {', '.join(sorted(known)) or 'none'}")


def check_image(image: Any, images: Images, *, paths: bool) -> None:
    """Answer 404 unless the image is one of the studies folder's (or, with `paths`, an existing file or folder)."""
    if not isinstance(image, str) or not image:
        raise Problem(400, "OptionError", "no image given: name one of the studies folder, send a file or a session")
    if paths and Path(image).exists():
        return
    if not images.get_image_uri(image):
        raise Problem(404, "InputError", f"no image {image!r} in the studies folder")


def safe_name(name: str) -> str:
    """The last part of a client's file name, short and of harmless characters; its extension stays."""
    last = re.split(r"[/\\]", name)[-1]
    return re.sub(r"[^\w.\- ]", "_", last)[-NAME_LENGTH:].lstrip(". ") or "upload"


def parse_params(text: str | None) -> Mapping[str, Any]:
    """The form field `params`: a JSON object that names no files.

    Raises:
        OptionError: It is not JSON, not an object, or holds a key that names a file or a model, or a path anywhere.
    """
    try:
        params = json.loads(text or "{}")
    except (ValueError, RecursionError) as error:
        raise OptionError(f"params must be a JSON object: {error}") from error
    if not isinstance(params, dict):
        raise OptionError(f"params must be a JSON object, got {type(params).__name__}")
    wrong = sorted(set(params) & set(NOT_IN_PARAMS))
    if wrong:
        raise OptionError(f"params must not hold {', '.join(wrong)}: these have their own places in the request")
    check_values(params)
    return params
