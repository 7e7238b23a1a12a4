"""One model on disk: NAME.safetensors with the tensors and NAME.json with its card."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from meddenoise.errors import ModelError, OutputError
from meddenoise.networks import NETWORKS
from meddenoise.weights.site import folder, site_folder


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
        colour: Whether it takes images of 8-bit red, green and blue.
        colours_together: Whether these are its three channels, as it was trained on; else it is shown one after the
            other, each as a grey slice.
        elsewhere: Versions of the same model, by modality, which denoise that modality in place of this one: a site's
            training changes what the model does with the modalities that it learned from, and no others. Those not
            named here are this version's own. "colour" stands for colour images. Empty but where a version lies among
            the versions of its model.
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
    colours_together: bool = False
    elsewhere: dict[str, str] = field(default_factory=dict)
    licence: str = "Apache-2.0"
    sha256: str = ""

    @property
    def own_modalities(self) -> list[str]:
        """Those of ``modalities`` that this version denoises itself."""
        return [modality for modality in self.modalities if modality not in self.elsewhere]

    @property
    def estimates_noise(self) -> bool:
        """Whether the network gives a map of the noise beside the denoised image."""
        return hasattr(NETWORKS.get(self.network), "stages")


def save(network: nn.Module, card: Card, into: Path, *, half: bool = False) -> Card:
    """Write NAME.safetensors and NAME.json into a folder, each atomically; returns the card with its checksum.

    Args:
        network: What the card describes.
        card: Its checksum does not matter.
        into: Made where it is not there.
        half: In float16, which is more precise than the bfloat16 that networks compute in, and half the size.

    Raises:
        OutputError: The disk is full, or the folder cannot be written.
    """
    path, partial = into / f"{card.name}.safetensors", into / f"{card.name}.safetensors.part"
    text = into / f"{card.name}.json.part"
    tensors = {key: value.detach().cpu().contiguous() for key, value in network.state_dict().items()}
    if half:
        tensors = {key: value.half() if value.is_floating_point() else value for key, value in tensors.items()}
    try:
        into.mkdir(parents=True, exist_ok=True)
        save_file(tensors, partial, metadata={"card": json.dumps(asdict(replace(card, sha256="")))})
        card = Card(**json.loads(json.dumps(asdict(replace(card, sha256=_sha256(partial))))))  # as it will be read
        text.write_text(json.dumps(asdict(card), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        partial.replace(path)
        text.replace(into / f"{card.name}.json")
    except (OSError, SafetensorError) as error:
        for unfinished in (partial, text):
            unfinished.unlink(missing_ok=True)
        raise OutputError(f"{path} cannot be written ({error}); free some space or name another folder") from error
    return card


def read_card_file(path: Path) -> Card:
    """The card at a path, under its file's name.

    Raises:
        ModelError: It cannot be read.
    """
    try:
        card = replace(Card(**json.loads(path.read_text(encoding="utf-8"))), name=path.stem)
    except (OSError, ValueError, TypeError) as error:
        raise ModelError(f"model card {path} is damaged ({error}); {_way_out(path)}") from error
    among_versions = path.parent.name == card.version and path.parent.parent.name == card.name
    return card if among_versions else replace(card, elsewhere={})


def load_verified(card_path: Path) -> tuple[nn.Module, Card]:
    """The network of a card beside its weights, on the CPU and in evaluation mode.

    Raises:
        ModelError: Weights missing, damaged, or not those the card names.
    """
    card, path = read_card_file(card_path), card_path.with_suffix(".safetensors")
    if (found := _sha256(path)) != card.sha256:
        raise ModelError(
            f"weights {path} are damaged: sha256 {found[:12]}..., the card says {card.sha256[:12]}...; {_way_out(path)}"
        )
    return _network(card, path), card


def load_alone(path: Path) -> tuple[nn.Module, Card]:
    """The network of a safetensors file that save() wrote, by the card inside it.

    Raises:
        ModelError: The file is no such file, or damaged.
    """
    try:
        with safe_open(path, framework="pt") as file:
            card = Card(**json.loads(file.metadata()["card"]))
    except (OSError, SafetensorError, KeyError, ValueError, TypeError) as error:
        raise ModelError(f"{path} is not a MedDenoise weights file ({error})") from error
    card = replace(card, sha256=_sha256(path), elsewhere={})
    return _network(card, path), card


def _network(card: Card, path: Path) -> nn.Module:
    try:
        network = NETWORKS[card.network](**card.arguments)
        with safe_open(path, framework="pt") as file:
            network.load_state_dict({key: file.get_tensor(key) for key in file.keys()})  # noqa: SIM118 - no dict
    except OSError as error:
        raise _unreadable(path, error) from error
    except (SafetensorError, KeyError, RuntimeError, TypeError, ValueError) as error:
        raise ModelError(f"weights {path} do not fit the network {card.network!r} ({error})") from error
    return network.eval().requires_grad_(False)


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: OSError) -> ModelError:
    return ModelError(f"weights {path} cannot be read ({error.strerror or error}); {_way_out(path)}")


def _way_out(path: Path) -> str:
    if path.parent == folder():
        return "reinstall meddenoise"
    if path.parent.parent.parent == site_folder():
        return f"choose another version with: meddenoise models activate {path.stem} VERSION"
    return "put the model there again"
