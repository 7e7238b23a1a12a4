"""Batches of (noisy, clean) patches of three neighbouring slices (2.5D), with the noise made on the fly."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields, is_dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from meddenoise import noise
from meddenoise.training.slices import Slice, with_neighbours

DEPTH = 3
CT_LIMITS = (-1024.0, 3071.0)
LEAST_SIGNAL = 0.1
"""In network units: a patch of mere background gets the noise of an image whose tissue has this signal."""
WEIGHTS = {"CT": 0.4, "MR": 0.3, "PET": 0.15, "XR": 0.15}
"""Share of each modality; those that are missing leave theirs to the others."""

Stack = tuple[Tensor, Tensor, Tensor]


def stack_sampler(
    slices: Sequence[Slice], *, size: int = 128, weights: dict[str, float] | None = None
) -> Callable[[int, torch.Generator], tuple[Tensor, Tensor]]:
    """A sampler over slices and their neighbours; equal generators give equal batches.

    It is called as ``sample(batch, generator)`` and gives (noisy, clean) in network units, shape (batch, 3, size,
    size), the middle channel being the slice itself. The three slices of a patch get noise of one level and spectrum,
    drawn independently.

    Args:
        slices: Of any modalities; volumes of one modality count alike, however many slices they have.
        size: Side of a patch in pixels; smaller slices are mirrored.
        weights: Share of each modality; WEIGHTS by default.
    """
    volumes: dict[str, dict[str, list[tuple[Slice, Stack]]]] = {}
    for one, stack in zip(slices, with_neighbours(slices), strict=True):
        volumes.setdefault(one.info.modality, {}).setdefault(one.info.volume, []).append((one, stack))
    groups = {modality: list(by_volume.values()) for modality, by_volume in volumes.items()}
    modalities = sorted(groups)
    shares = torch.tensor([(weights or WEIGHTS)[m] for m in modalities])

    def sample(batch: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        drawn = torch.multinomial(shares, batch, replacement=True, generator=generator).sort().values
        clean = torch.stack([_patch(groups[modalities[int(i)]], size, generator) for i in drawn])
        noisy = [
            NOISE[modality](clean[drawn == i], generator)
            for i, modality in enumerate(modalities)
            if bool((drawn == i).any())
        ]
        return torch.cat(noisy).clamp_min_(0.0), clean

    return sample


def _patch(volumes: list[list[tuple[Slice, Stack]]], size: int, generator: torch.Generator) -> Tensor:
    """A random crop of a random slice with its neighbours, turned and flipped, network units, (3, size, size)."""

    def integer(high: int) -> int:
        return int(torch.randint(high, (1,), generator=generator))

    volume = volumes[integer(len(volumes))]
    one, stack = volume[integer(len(volume))]
    rows, columns = (max(n, size) for n in one.values.shape)
    top, left = integer(rows - size + 1), integer(columns - size + 1)
    values = torch.stack([_crop(s, top, left, size) for s in stack]).to(torch.float32)
    if one.info.modality == "CT" and not one.info.display:
        values = values.clamp(*CT_LIMITS)
    patch = torch.rot90((values - one.info.offset) / one.info.scale, integer(4), (1, 2))
    return patch.flip(1) if integer(2) else patch


def _crop(values: Tensor, top: int, left: int, size: int) -> Tensor:
    """A square of the slice; one that is too small is mirrored until it reaches the size."""
    values = values[top : top + size, left : left + size]
    while min(values.shape) < size:
        rows, columns = (min(n - 1, max(0, size - n)) for n in values.shape)
        values = F.pad(values[None, None].to(torch.float32), (0, columns, 0, rows), mode="reflect")[0, 0]
    return values


def _ct(clean: Tensor, generator: torch.Generator) -> Tensor:
    parameters = noise.draw_ct_noise(len(clean), generator)
    shape = (len(clean) * DEPTH, 1, clean.shape[-2], clean.shape[-1])
    added = noise.ct_noise(shape, _for_each_slice(parameters), generator=generator)
    return clean + added.reshape(clean.shape) / (CT_LIMITS[1] - CT_LIMITS[0])


def _mr(clean: Tensor, generator: torch.Generator) -> Tensor:
    return _by_slice(clean, noise.mr_noise, noise.draw_mr_noise(_signal(clean), generator), generator)


def _pet(clean: Tensor, generator: torch.Generator) -> Tensor:
    return _by_slice(clean, noise.pet_noise, noise.draw_pet_noise(_signal(clean), generator), generator)


def _xray(clean: Tensor, generator: torch.Generator) -> Tensor:
    low = torch.zeros(len(clean))
    return _by_slice(clean, noise.xray_noise, noise.draw_xray_noise(low, low + 1.0, generator), generator)


NOISE = {"CT": _ct, "MR": _mr, "PET": _pet, "XR": _xray}


def _by_slice(clean: Tensor, model: Callable[..., Tensor], parameters: Any, generator: torch.Generator) -> Tensor:
    """The noise model on each slice of each patch, with the parameters of its patch."""
    slices = clean.reshape(-1, 1, *clean.shape[-2:])
    return model(slices, _for_each_slice(parameters), generator=generator).reshape(clean.shape)


def _for_each_slice(parameters: Any) -> Any:
    """Parameters with one entry per patch, repeated for its slices."""
    repeated = {}
    for field in fields(parameters):
        value = getattr(parameters, field.name)
        if isinstance(value, Tensor):
            repeated[field.name] = value.repeat_interleave(DEPTH, dim=0)
        elif is_dataclass(value):
            repeated[field.name] = _for_each_slice(value)
    return replace(parameters, **repeated)


def _signal(clean: Tensor) -> Tensor:
    """What the tissue's signal is taken to be, shape (batch,): 95th percentile, or more where there is no tissue."""
    return torch.quantile(clean.flatten(1), 0.95, dim=1).clamp_min(LEAST_SIGNAL)
