"""What each route asks for: the role, and values that name nothing outside the datastore."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from meddenoise.errors import OptionError
from meddenoise.server.problems import Problem
from meddenoise.server.tokens import Role

READ = {"GET", "HEAD"}
WORK = {"GET", "HEAD", "POST", "PUT", "DELETE"}
TABLE: tuple[tuple[set[str], re.Pattern[str], Role], ...] = tuple(
    (methods, re.compile(pattern), role)
    for methods, pattern, role in (
        (READ, r"/datastore/dataset/?", Role.ADMIN),  # everything at once
        (
            READ,
            r"/(info|datastore(/.*)?|progress(/.*)?|docs|openapi\.json|favicon\.ico|static/.*|ohif/.*)?/?",
            Role.READER,
        ),
        (WORK, r"/(infer|session|progress|activelearning)(/.*)?", Role.USER),
    )
)
"""Methods, path and role, the first that fits; whatever fits none is for administrators."""
OPEN = re.compile(r"/health/?")
PROVEN = re.compile(r"(POST|PUT|PATCH|DELETE) /(model|reload)(/.*)?|[A-Z]+ /proxy(/.*)?")
"""Never without a token: changes what every later result is made with, or speaks to the PACS in the server's name."""
REFUSED = re.compile(r"/infer/wsi(_v2)?/.*")
"""MONAI Label's route for pathology, which takes a server's path for an image."""

IDENTIFIERS = ("image", "id", "label", "session_id")
NAME = re.compile(r"[A-Za-z0-9._ -]{1,100}")
FILE_KEYS = {"image", "images", "label", "file", "path", "session", "session_id", "model_filename"}
"""Keys of a JSON body whose text is taken for a file where one is there."""
DEEPEST = 20


def needed(method: str, path: str) -> tuple[Role | None, bool]:
    """The role that a request asks for, None where it asks for none; and whether a token must prove it."""
    if method in READ and OPEN.fullmatch(path):
        return None, False
    fits = (role for methods, pattern, role in TABLE if method in methods and pattern.fullmatch(path))
    return next(fits, Role.ADMIN), bool(PROVEN.fullmatch(f"{method} {path}"))


def check_path(path: str) -> None:
    """Refuse what no route of ours has in its path.

    Raises:
        Problem: The path climbs, or belongs to a route that is not served.
    """
    if REFUSED.fullmatch(path):
        raise Problem(404, "Not Found", "whole-slide images are not served")
    if ".." in re.split(r"[/\\]", path) or "\\" in path or "\0" in path:
        raise Problem(400, "OptionError", "a path must not climb")


def check_query(query: Iterable[tuple[str, str]]) -> None:
    """Raise OptionError where an identifier could be a path, or a tag is more than a plain name."""
    for key, value in query:
        if key in IDENTIFIERS:
            check_identifier(key, value)
        elif key == "tag" and value:
            check_name("tag", value)


def check_identifier(what: str, value: str) -> str:
    """The identifier of something that is there, which may be of any script but no path.

    Raises:
        OptionError: It could be taken for a path.
    """
    if re.search(r"[/\\\x00-\x1f]", value) or value in (".", "..") or value.startswith("~"):
        raise OptionError(f"{what} must be an identifier and not a path, got {value[:100]!r}")
    return value


def check_name(what: str, value: Any) -> str:
    """The name of something to be made, which will be part of a file's name.

    Raises:
        OptionError: It holds other characters, climbs or is hidden.
    """
    if not isinstance(value, str) or not NAME.fullmatch(value) or ".." in value or value.strip(" .") != value:
        raise OptionError(
            f"{what} must be at most 100 letters A-Z, digits, spaces or . _ -, and not begin or end with a dot, "
            f"got {str(value)[:100]!r}"
        )
    return value


def check_inside(file: Path, folder: Path) -> None:
    """Raise OptionError unless a file, links followed, lies in a folder."""
    if not file.resolve().is_relative_to(folder.resolve()):
        raise OptionError(f"{file.name} would lie outside the studies folder")


def check_values(value: Any, key: str = "params", depth: int = 0) -> None:
    """Refuse paths of the server anywhere in a JSON value.

    Raises:
        OptionError: A text is a path or an address, or the value is nested too deep.
    """
    if depth > DEEPEST:
        raise OptionError(f"params must not be nested deeper than {DEEPEST}")
    if isinstance(value, Mapping):
        for name, inner in value.items():
            check_values(str(name), "a key", depth + 1)
            check_values(inner, str(name), depth + 1)
    elif isinstance(value, list):
        for inner in value:
            check_values(inner, key, depth + 1)
    elif isinstance(value, str):
        _check_text(key, value)


def _check_text(key: str, value: str) -> None:
    if key in FILE_KEYS:
        check_identifier(key, value)
    if key in ("tag", "label_tag") and value:
        check_name(key, value)
    climbs = ".." in re.split(r"[/\\]", value)
    if climbs or re.match(r"\s*([/\\~]|[A-Za-z]:[/\\]|[A-Za-z][\w+.-]*://)", value) or "\0" in value:
        raise OptionError(f"{key} must not be a path or an address, got {value[:100]!r}")


def is_remote(client: str) -> bool:
    """Whether an address is another machine's; what is no address, as a socket file's, is this one's."""
    try:
        return not ipaddress.ip_address(client.split("%", maxsplit=1)[0]).is_loopback
    except ValueError:
        return False


def host_of(authority: str) -> str:
    """The host of a Host header or of an origin, in lower case and without port and brackets."""
    try:
        return urlsplit(authority if "://" in authority else f"//{authority}").hostname or ""
    except ValueError:
        return ""
