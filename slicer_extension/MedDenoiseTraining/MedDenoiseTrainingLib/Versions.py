"""The versions of a server's models, and how each compared with the one that was active before it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from MedDenoiseLib.Errors import BrokenAnswer

BUILT_IN = "built-in"


@dataclass(frozen=True)
class Case:
    """Two versions on the same images.

    Attributes:
        name: "patient 1" and so on, or that of a phantom.
        kind: "pair", "made noise" or "phantom".
        modality: Of the images.
        change: Of the error, relative to the version before: -0.05 is 5 % less.
        errors: Of the version before and of this one, over that of the noisy image: 1 is no gain.
        shifts: Of both: how far mean values move.
        units: Of the shifts.
    """

    name: str
    kind: str
    modality: str
    change: float | None
    errors: tuple[float | None, float | None]
    shifts: tuple[float | None, float | None]
    units: str


@dataclass(frozen=True)
class Version:
    """One version of a model.

    Attributes:
        name: By which it is asked for; BUILT_IN for the installed one.
        number: Of its weights.
        active: Whether it is the one that is used.
        made: Date and time, as the server says it.
        description: In the server's words.
        verdict: How it compared with the version before, as a sentence; "" where it was not compared.
        change: Of the error on the site's patients, relative; None where it was not compared.
        uncertainty: Of that change; None where it is not known.
        cases: The images that it was compared on.
        pictures: Their names.
    """

    name: str
    number: str
    active: bool
    made: str = ""
    description: str = ""
    verdict: str = ""
    change: float | None = None
    uncertainty: float | None = None
    cases: tuple[Case, ...] = ()
    pictures: tuple[str, ...] = ()


@dataclass(frozen=True)
class Versions:
    """All versions of a model.

    Attributes:
        model: Its name.
        listed: The built-in one first, the latest last.
        problem: Why the model cannot be used; "" where it can.
    """

    model: str
    listed: tuple[Version, ...] = ()
    problem: str = ""

    @property
    def active(self) -> Version | None:
        """The one that is used."""
        return next((version for version in self.listed if version.active), None)


def versionsOf(said: Any, host: str) -> tuple[Versions, ...]:
    """Read the JSON of the route /models.

    Raises:
        BrokenAnswer: It is none.
    """
    if not isinstance(said, dict):
        raise BrokenAnswer(f"{host} did not list its models.", "Ask whoever runs it to update it.")
    return tuple(_versions(str(name), about) for name, about in said.items() if isinstance(about, dict))


def _versions(model: str, about: dict[str, Any]) -> Versions:
    listed = about.get("versions")
    found = tuple(_version(one) for one in listed if isinstance(one, dict)) if isinstance(listed, list) else ()
    return Versions(model, found, str(about.get("problem") or ""))


def _version(said: dict[str, Any]) -> Version:
    compared = said.get("comparison")
    compared = compared if isinstance(compared, dict) else {}
    cases = [*_listed(compared, "site"), *_listed(compared, "built_in")]
    return Version(
        name=str(said.get("name") or said.get("version") or ""),
        number=str(said.get("version") or ""),
        active=said.get("active") is True,
        made=str(said.get("made") or "").replace("T", " ")[:16],
        description=str(said.get("description") or ""),
        verdict=str(compared.get("verdict") or ""),
        change=_number(compared, "change"),
        uncertainty=_number(compared, "uncertainty"),
        cases=tuple(_case(one) for one in cases if isinstance(one, dict)),
        pictures=tuple(str(name) for name in _listed(said, "pictures")),
    )


def _case(said: dict[str, Any]) -> Case:
    both = [said.get(key) if isinstance(said.get(key), dict) else {} for key in ("running", "candidate")]
    errors, shifts = ((_number(both[0], key), _number(both[1], key)) for key in ("error", "shift"))
    return Case(
        name=str(said.get("name") or ""),
        kind=str(said.get("kind") or ""),
        modality=str(said.get("modality") or ""),
        change=_number(said, "mean_change"),
        errors=errors,
        shifts=shifts,
        units=str(said.get("units") or ""),
    )


def _number(said: dict[str, Any], key: str) -> float | None:
    value = said.get(key)
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def _listed(said: dict[str, Any], key: str) -> list[Any]:
    found = said.get(key)
    return found if isinstance(found, list) else []
