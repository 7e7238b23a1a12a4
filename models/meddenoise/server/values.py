"""Reads single options out of a client's JSON: each is of the right type and within its limits, or an error says so."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from meddenoise.errors import OptionError


def value(request: Mapping[str, Any], key: str, default: Any) -> Any:
    """The value of a key; a client that sends a whole list of choices back means its first."""
    found = request.get(key, default)
    if isinstance(found, list) and found:
        found = found[0]
    return default if found is None or found == "" else found


def text(request: Mapping[str, Any], key: str, default: str) -> str:
    """A text.

    Raises:
        OptionError: It is none.
    """
    found = value(request, key, default)
    if not isinstance(found, str):
        raise OptionError(f"{key} must be text, got {found!r}")
    return found


def choice(request: Mapping[str, Any], key: str, choices: Sequence[str]) -> str:
    """One of the choices, of which the first is the default.

    Raises:
        OptionError: It is none of them.
    """
    found = text(request, key, choices[0])
    if found not in choices:
        raise OptionError(f"{key} must be one of {', '.join(choices)}, got {found!r}")
    return found


def switch(request: Mapping[str, Any], key: str, *, default: bool = False) -> bool:
    """True or false.

    Raises:
        OptionError: It is neither.
    """
    found = value(request, key, default)
    if not isinstance(found, bool):
        raise OptionError(f"{key} must be true or false, got {found!r}")
    return found


def number(
    request: Mapping[str, Any], key: str, default: float, *, low: float = -math.inf, high: float = math.inf
) -> float:
    """A finite number within limits, ends included; the text of one will do.

    Raises:
        OptionError: It is none.
    """
    given = value(request, key, default)
    limits = "a finite number" if math.isinf(low) else f"a number from {low:g} to {high:g}"
    try:
        found = math.nan if isinstance(given, bool) else float(given)
    except (TypeError, ValueError, OverflowError):
        found = math.nan
    if not math.isfinite(found) or not low <= found <= high:
        raise OptionError(f"{key} must be {limits}, got {given!r}")
    return found


def whole(request: Mapping[str, Any], key: str, default: int, *, low: int, high: int = 10**9) -> int:
    """A whole number within limits, ends included.

    Raises:
        OptionError: It is none.
    """
    found = number(request, key, default, low=low, high=high)
    if found != int(found):
        raise OptionError(f"{key} must be a whole number, got {value(request, key, default)!r}")
    return int(found)
