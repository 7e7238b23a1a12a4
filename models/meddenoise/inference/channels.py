"""What fills the channels of a network: a slice with its neighbours, a slice or colour on its own, or all colours."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from meddenoise import weights
from meddenoise.errors import InputError, OptionError
from meddenoise.volume import Volume
from meddenoise.weights import Card


def sees_neighbours(volume: Volume, card: Card) -> bool:
    """Whether slices are shown with their neighbours (2.5D): where these are evenly spaced and near enough."""
    apart = volume.spacing[::-1][volume.slicing_axis]
    return volume.header.even and not volume.colour and apart <= card.context


def sees_colours(volume: Volume, card: Card) -> bool:
    """Whether red, green and blue are shown together; shown one by one, each counts as a slice."""
    return volume.colour and card.colours_together


def by_colour(slices: NDArray[Any]) -> NDArray[Any]:
    """Colours as slices: (slices, rows, columns, 3) as (3 * slices, rows, columns)."""
    found: NDArray[Any] = np.moveaxis(slices, -1, 1).reshape(-1, *slices.shape[1:3])
    return found


def in_colour(slices: NDArray[Any]) -> NDArray[Any]:
    """The inverse of `by_colour`, of (..., 3 * slices, rows, columns)."""
    found = slices.reshape(*slices.shape[:-3], -1, 3, *slices.shape[-2:])
    return np.moveaxis(found, -3, -1)


def seen(slices: NDArray[Any], start: int, stop: int, *, channels: int, neighbours: bool) -> NDArray[Any]:
    """What the network is shown for slices ``start`` to ``stop``.

    Args:
        slices: All of them, shape (slices, rows, columns), or (slices, rows, columns, 3) for colour.
        start: The first one.
        stop: One past the last.
        channels: Of the network.
        neighbours: Whether its channels are neighbouring slices, those at the ends repeated; else all are one slice.

    Returns:
        Shape (stop - start, channels, rows, columns).
    """
    if slices.ndim == 4:
        return np.moveaxis(slices[start:stop], -1, 1)
    offsets = np.arange(channels) - channels // 2 if neighbours else np.zeros(channels, int)
    shown: NDArray[Any] = slices[np.clip(np.arange(start, stop)[:, None] + offsets, 0, len(slices) - 1)]
    return shown


def central(images: Tensor, *, colour: bool) -> Tensor:
    """The channels that count, of (..., channels, rows, columns): all of them in colour, else the middle one."""
    middle = images.shape[-3] // 2
    return images if colour else images[..., middle : middle + 1, :, :]


def check_voxels(volume: Volume) -> None:
    """Raise InputError where there are no voxels, or some that are no number."""
    if volume.array.size == 0:
        raise InputError(f"the volume is empty: shape {volume.array.shape} (slices, rows, columns)")
    bad = int(np.count_nonzero(~np.isfinite(volume.array))) if volume.array.dtype.kind == "f" else 0
    if bad:
        raise InputError(f"{bad} of {volume.array.size} voxels are NaN or infinite; replace them before denoising")


def check_colour(volume: Volume, card: Card) -> None:
    """Refuse colour for a model of grey images.

    Raises:
        InputError: It is, and the message names the models that take colour.
    """
    if volume.colour and not card.colour:
        name = volume.header.sources[0].name if volume.header.sources else "the image"
        others = weights.available_where(lambda other: other.colour)
        raise InputError(f"{name} is in colour, and {card.name} takes grey images; {_named(others, 'take', 'colour')}")


def check_noise_map(card: Card) -> None:
    """Refuse to give a map of the noise where the model estimates none.

    Raises:
        OptionError: It does not, and the message names the models that do.
    """
    if not card.estimates_noise:
        others = weights.available_where(lambda other: other.estimates_noise)
        raise OptionError(f"{card.name} estimates no noise map; {_named(others, 'give', 'one')}")


def _named(models: list[str], verb: str, what: str) -> str:
    """Such as: a takes colour, a and b take colour, no model here takes colour."""
    return f"{' and '.join(models) or 'no model here'} {verb if len(models) > 1 else verb + 's'} {what}"
