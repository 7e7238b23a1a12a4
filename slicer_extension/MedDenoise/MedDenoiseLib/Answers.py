"""What a server says of itself, and about an image, checked and put in order."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from MedDenoiseLib.Errors import BrokenAnswer, TooOld, WrongService

APP = "MedDenoise"
OLDEST = (0, 1, 0)
"""The oldest version that shows progress, cancels, and measures noise as the table needs it."""
MODALITIES = ("CT", "MR", "PET", "XR")


@dataclass(frozen=True)
class Model:
    """A model as the server describes it.

    Attributes:
        name: By which it is asked for.
        title: For a list of choices.
        description: What it was trained on and for, in the server's words.
        version: Of its weights.
        modalities: "CT", "MR", "PET", "XR": those it was trained on.
        recommendedFor: Those of them for which it is the one to preselect.
        outputs: What it can give besides the denoised image: "difference", "uncertainty", "noise".
        uncertainty: Whether "uncertainty" is among them.
    """

    name: str
    title: str
    description: str = ""
    version: str = ""
    modalities: tuple[str, ...] = ()
    recommendedFor: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    uncertainty: bool = False


@dataclass(frozen=True)
class ServerInfo:
    """What a server says of itself.

    Attributes:
        name: Of the app.
        version: Of MedDenoise on the server.
        models: In the order to show them; those that the server cannot use are left out.
        problems: Name and sentence for each model that should be there and cannot be used.
        device: Where it denoises ("cuda", "cpu"), "" where it does not say.
        said: All of it, as it came.
    """

    name: str
    version: str
    models: tuple[Model, ...] = ()
    problems: tuple[tuple[str, str], ...] = ()
    device: str = ""
    said: dict[str, Any] = field(default_factory=dict, compare=False, repr=False)


def serverInfo(said: Any, host: str) -> ServerInfo:
    """Read the JSON of the route /info/.

    Raises:
        WrongService: It is not that of a MedDenoise server.
        TooOld: The server lacks what is needed here.
    """
    if not isinstance(said, dict) or not isinstance(said.get("models"), dict) or "version" not in said:
        raise WrongService(f"What answers at {host} is no MedDenoise server.", "Check the port and the path.")
    if said.get("name") != APP:
        name = str(said.get("name", ""))[:60]
        raise WrongService(
            f"{host} runs MONAI Label with the app {name!r}, not with MedDenoise.",
            "Start the server with `meddenoise serve`.",
        )
    version = str(said["version"])
    if _numbers(version) < OLDEST:
        wanted = ".".join(map(str, OLDEST))
        raise TooOld(
            f"The server at {host} is version {version[:20]}; version {wanted} or newer is needed.",
            "Ask the server's owner to update it.",
        )
    problems = said.get("problems")
    problems = {str(name): str(why) for name, why in problems.items()} if isinstance(problems, dict) else {}
    usable = {name: about for name, about in said["models"].items() if isinstance(about, dict) and name not in problems}
    return ServerInfo(
        name=APP,
        version=version,
        models=tuple(_model(name, about, _recommended(usable)) for name, about in usable.items()),
        problems=tuple(problems.items()),
        device=_device(usable),
        said=said,
    )


def _model(name: str, about: dict[str, Any], recommended: dict[str, str]) -> Model:
    outputs = tuple(kind for kind in _choices(about, "output_type") if kind != "denoised")
    return Model(
        name=name,
        title=name.replace("_", " ").replace("-", " ").capitalize(),
        description=str(about.get("summary") or about.get("description") or ""),
        version=str(about.get("version") or ""),
        modalities=_modalities(about),
        recommendedFor=tuple(modality for modality in MODALITIES if recommended.get(modality) == name),
        outputs=outputs,
        uncertainty="uncertainty" in outputs,
    )


def _recommended(models: dict[str, dict[str, Any]]) -> dict[str, str]:
    """The model to preselect by modality: the one trained for the fewest others; of equals the server's first.

    The server does not rank its models. Who adds one for a single modality wants it used there.
    """
    chosen = {}
    for modality in MODALITIES:
        fits = [name for name, about in models.items() if modality in _modalities(about)]
        if fits:
            chosen[modality] = min(fits, key=lambda name: len(_modalities(models[name])))
    return chosen


def _modalities(about: dict[str, Any]) -> tuple[str, ...]:
    listed = about.get("modalities")
    return tuple(modality for modality in MODALITIES if modality in listed) if isinstance(listed, list) else ()


def _choices(about: dict[str, Any], option: str) -> list[str]:
    config = about.get("config")
    listed = config.get(option) if isinstance(config, dict) else None
    return [str(choice) for choice in listed] if isinstance(listed, list) else []


def _device(models: dict[str, dict[str, Any]]) -> str:
    offered = {choice for about in models.values() for choice in _choices(about, "device")}
    return next((device for device in ("cuda", "cpu") if device in offered), "")


def _numbers(version: str) -> tuple[int, ...]:
    """The first three numbers of a version; those of one that has none are the smallest."""
    found = re.match(r"(\d+)(?:\.(\d+))?(?:\.(\d+))?", version)
    return tuple(int(number or 0) for number in found.groups()) if found else (-1,)


def result(said: Any, host: str) -> dict[str, Any]:
    """The JSON beside an image, with `figures`, `model` and `settings` as objects and `warnings` as texts.

    Raises:
        BrokenAnswer: It is none.
    """
    if not isinstance(said, dict) or not isinstance(said.get("model"), dict):
        raise BrokenAnswer(f"{host} did not say what it did with the image.", "Try again.")
    warnings = said.get("warnings")
    return {
        **said,
        **{key: said[key] if isinstance(said.get(key), dict) else {} for key in ("figures", "settings")},
        "warnings": tuple(str(warning) for warning in warnings) if isinstance(warnings, list) else (),
    }
