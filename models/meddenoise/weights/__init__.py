"""The weights: NAME.safetensors with the tensors and NAME.json with the model card's data.

The published ones lie in this package; a site's own models and its versions of the published ones lie in its data
folder. A name stands for the version that is active there, else for the built-in one; NAME@VERSION for that version.

The card also travels inside the safetensors file, so that a file explains itself; the JSON adds the checksum, without
which a file is never run.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

from torch import nn

from meddenoise.errors import ModelError
from meddenoise.weights.files import Card, load_alone, load_verified, read_card_file, save
from meddenoise.weights.site import folder, pinned, site_folder
from meddenoise.weights.store import SITE_NAME, card_file, site_models

__all__ = [
    "SITE_NAME",
    "Card",
    "available",
    "available_where",
    "checksum",
    "file_of",
    "folder",
    "identity",
    "load",
    "load_all",
    "read_card",
    "save",
    "site_folder",
    "start_from",
]


def available() -> list[str]:
    """Names of the models that have a card, in alphabetical order; load() says whether their weights are sound.

    A site's own models come along unless MEDDENOISE_WEIGHTS names the only folder to use.
    """
    by_hand = [] if pinned() else [path.stem for path in site_folder().glob("*.json") if SITE_NAME.fullmatch(path.stem)]
    return sorted({*(path.stem for path in folder().glob("*.json")), *by_hand, *site_models()})


def available_where(fits: Callable[[Card], bool]) -> list[str]:
    """Names of the models whose cards fit; damaged cards are passed over."""
    names = []
    for name in available():
        with suppress(ModelError):
            if fits(read_card(name)):
                names.append(name)
    return names


def read_card(name: str) -> Card:
    """The card of a model, under the name it is asked for by.

    Raises:
        ModelError: No such model, or a card that cannot be read.
    """
    return read_card_file(_card_of(name))


def file_of(name: str) -> Path:
    """The weights of a model.

    Raises:
        ModelError: No such model, or no weights.
    """
    file = _card_of(name).with_suffix(".safetensors")
    if not file.is_file():
        raise ModelError(f"weights {file} are missing; reinstall meddenoise, or choose another version")
    return file


def load(name: str) -> tuple[nn.Module, Card]:
    """Build a network with its weights, on the CPU and in evaluation mode.

    Args:
        name: Name of a model, NAME@VERSION, or the path of a .safetensors file that save() wrote.

    Raises:
        ModelError: Unknown name; weights missing, damaged, or not those the card names.
    """
    if name.endswith(".safetensors"):
        return load_alone(Path(name))
    path = _card_of(name)
    try:
        return load_verified(path)
    except ModelError:
        if _card_of(name) == path:
            raise
    return load_verified(_card_of(name))  # another version was activated, and this one deleted, while it was read


def load_all(name: str) -> tuple[nn.Module, Card, dict[str, tuple[nn.Module, Card]]]:
    """As load(), with what denoises some modalities in place of this version, by modality: see Card.elsewhere.

    Raises:
        ModelError: What load() raises, of any of them.
    """
    for last in (False, True):
        network, card = load(name)
        try:
            parts = {version: load(f"{card.name}@{version}") for version in sorted(set(card.elsewhere.values()))}
        except ModelError:
            if last or read_card(name) == card:
                raise
        else:
            break  # else another version was activated, and these deleted, while they were read
    return network, card, {modality: parts[version] for modality, version in card.elsewhere.items()}


def checksum(name: str) -> str:
    """Of all weights that a name stands for, as identity() makes it.

    Raises:
        ModelError: No such model, or a card that cannot be read.
    """
    card = read_card(name)
    return identity(card, [read_card(f"{card.name}@{version}") for version in set(card.elsewhere.values())])


def identity(card: Card, others: Iterable[Card]) -> str:
    """The checksum of a version's weights; with others that denoise some modalities for it, one of all of them."""
    checksums = sorted({other.sha256 for other in others})
    return hashlib.sha256("".join([card.sha256, *checksums]).encode()).hexdigest() if checksums else card.sha256


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


def _card_of(name: str) -> Path:
    """The card's file of NAME or NAME@VERSION."""
    model, _, version = name.partition("@")
    path = card_file(model, version or None)
    if path is None and version:
        raise ModelError(f"unknown version {version!r} of {model}; see: meddenoise models show {model}")
    if path is None:
        raise ModelError(f"unknown model {name!r}; available: {', '.join(available()) or 'none'}")
    return path
