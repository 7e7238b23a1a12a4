"""The weights: NAME.safetensors with the tensors and NAME.json with the model card's data.

The published ones lie in this package; a site's own lie beside its server's data and are found under their own names.

The card also travels inside the safetensors file, so that a file explains itself; the JSON adds the checksum, without
which a file is never run.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from meddenoise.errors import ModelError
from meddenoise.networks import NETWORKS
from meddenoise.weights.site import site_folder

__all__ = ["Card", "available", "available_where", "file_of", "folder", "load", "read_card", "save", "site_folder"]

SITE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
"""What a site may call a model: the name becomes part of addresses and file names."""


@dataclass(frozen=True)
class Card:
    """What a model is, JSON-able.

    Attributes:
        name: Name it is asked for by.
        version: Semantic version; a new one for every change of the weights.
        network: Key of NETWORKS.
        arguments: Keyword arguments of its constructor.
        description: One sentence for a list of models.
        modalities: Modalities it was trained on.
        parameters: Trainable numbers of the network.
        gmac: Billions of multiply-accumulates at 256x256 pixels, biases excluded.
        training: What it was trained on and how: recipe, data with licences, noise, split, steps.
        figures: Measured figures, each with the command that made it.
        context: Millimetres: slices no farther apart are shown together with their neighbours to a network of several
            channels, and others in all of its channels. Anatomy changes over millimetres, whatever the pixels' size.
        colour: Whether the network takes red, green and blue as its channels.
        licence: Of the weights.
        sha256: Of the safetensors file; empty inside the file itself.
    """

    name: str
    version: str
    network: str
    arguments: dict[str, Any]
    description: str
    modalities: list[str]
    parameters: int
    gmac: float
    training: dict[str, Any] = field(default_factory=dict)
    figures: dict[str, Any] = field(default_factory=dict)
    context: float = 0.0
    colour: bool = False
    licence: str = "Apache-2.0"
    sha256: str = ""

    @property
    def estimates_noise(self) -> bool:
        """Whether the network gives a map of the noise beside the denoised image."""
        return hasattr(NETWORKS.get(self.network), "stages")


def folder() -> Path:
    """Where the published weights lie: the environment variable MEDDENOISE_WEIGHTS, else inside this package."""
    return Path(os.environ.get("MEDDENOISE_WEIGHTS") or Path(__file__).parent)


def available() -> list[str]:
    """Names of the models that have a card, in alphabetical order; load() says whether their weights are sound.

    A site's own models come along unless MEDDENOISE_WEIGHTS names the only folder to use. None of them can take the
    place of a published one: of two models of one name, the published one counts.
    """
    return sorted(_cards())


def available_where(fits: Callable[[Card], bool]) -> list[str]:
    """Names of the models whose cards fit; damaged cards are passed over."""
    names = []
    for name in available():
        with suppress(ModelError):
            if fits(read_card(name)):
                names.append(name)
    return names


def _cards() -> dict[str, Path]:
    """The card's file of each model."""
    found = {path.stem: path for path in folder().glob("*.json")}
    if os.environ.get("MEDDENOISE_WEIGHTS"):
        return found
    site = {path.stem: path for path in site_folder().glob("*.json") if SITE_NAME.fullmatch(path.stem)}
    return {**site, **found}


def read_card(name: str) -> Card:
    """The card of a model, under the name it is asked for by.

    Raises:
        ModelError: No such model, or a card that cannot be read.
    """
    return _read(_card_of(name))


def file_of(name: str) -> Path:
    """The weights of a model.

    Raises:
        ModelError: No such model, or no weights.
    """
    file = _card_of(name).with_suffix(".safetensors")
    if not file.is_file():
        raise ModelError(f"weights {file} are missing; {_way_out(file)}")
    return file


def _card_of(name: str) -> Path:
    cards = _cards()
    if name not in cards:
        raise ModelError(f"unknown model {name!r}; available: {', '.join(sorted(cards)) or 'none'}")
    return cards[name]


def _read(path: Path) -> Card:
    try:
        return replace(Card(**json.loads(path.read_text())), name=path.stem)
    except (OSError, ValueError, TypeError) as error:
        raise ModelError(f"model card {path} is damaged ({error}); {_way_out(path)}") from error


def _way_out(path: Path) -> str:
    return "reinstall meddenoise" if path.parent == folder() else "put the model there again"


def load(name: str) -> tuple[nn.Module, Card]:
    """Build a network with its weights, on the CPU and in evaluation mode.

    Args:
        name: Name of a model, or the path of a .safetensors file that save() wrote.

    Raises:
        ModelError: Unknown name; weights missing, damaged, or not those the card names.
    """
    if name.endswith(".safetensors"):
        path = Path(name)
        card = replace(_card_inside(path), sha256=_sha256(path))
    else:
        card_path = _card_of(name)
        card, path = _read(card_path), card_path.with_suffix(".safetensors")
        if (found := _sha256(path)) != card.sha256:
            raise ModelError(
                f"weights {path} are damaged: sha256 {found[:12]}..., the card says {card.sha256[:12]}...; "
                f"{_way_out(path)}"
            )
    try:
        network = NETWORKS[card.network](**card.arguments)
        with safe_open(path, framework="pt") as file:
            network.load_state_dict({key: file.get_tensor(key) for key in file.keys()})  # noqa: SIM118 - no dict
    except (SafetensorError, KeyError, RuntimeError, TypeError, ValueError) as error:
        raise ModelError(f"weights {path} do not fit the network {card.network!r} ({error})") from error
    return network.eval().requires_grad_(False), card


def start_from(network: nn.Module, name: str) -> None:
    """Give a network the weights of a published or saved model of the same sizes; training goes on from there.

    Args:
        network: Of the model's kind and sizes; changed in place.
        name: As load() takes it.

    Raises:
        ModelError: What load() raises, or the model is of another kind or of other sizes.
    """
    source, card = load(name)
    try:
        network.load_state_dict(source.state_dict())
    except RuntimeError as error:
        raise ModelError(
            f"{name} ({card.network}, {card.arguments}) cannot be gone on from: its sizes are not those of the network "
            "to be trained; give weights of the same sizes, or none"
        ) from error


def save(network: nn.Module, card: Card, into: Path) -> Card:
    """Write NAME.safetensors and NAME.json into a folder, each atomically; returns the card with its checksum."""
    into.mkdir(parents=True, exist_ok=True)
    path, partial = into / f"{card.name}.safetensors", into / f"{card.name}.safetensors.part"
    tensors = {key: value.detach().cpu().contiguous() for key, value in network.state_dict().items()}
    save_file(tensors, partial, metadata={"card": json.dumps(asdict(replace(card, sha256="")))})
    card = Card(**json.loads(json.dumps(asdict(replace(card, sha256=_sha256(partial))))))  # as it will be read
    text = into / f"{card.name}.json.part"
    text.write_text(json.dumps(asdict(card), indent=2, ensure_ascii=False) + "\n")
    partial.replace(path)
    text.replace(into / f"{card.name}.json")
    return card


def _card_inside(path: Path) -> Card:
    try:
        with safe_open(path, framework="pt") as file:
            return Card(**json.loads(file.metadata()["card"]))
    except (OSError, SafetensorError, KeyError, ValueError, TypeError) as error:
        raise ModelError(f"{path} is not a MedDenoise weights file ({error})") from error


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ModelError(f"weights {path} cannot be read ({error.strerror}); {_way_out(path)}") from error
