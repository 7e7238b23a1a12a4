"""Batches of (noisy, clean) patches of three neighbouring slices (2.5D), with the noise made on the fly."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from meddenoise.errors import InputError
from meddenoise.training.patches import has_physical_noise, mirrored_to
from meddenoise.training.physical import CT_LIMITS, NOISE
from meddenoise.training.slices import Slice, with_neighbours

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
        slices: Of any modalities; volumes of one modality count alike, however many slices they have. Slices in display
            units have no noise of CT, MR or PET and are left out.
        size: Side of a patch in pixels; smaller slices are mirrored.
        weights: Share of each modality; WEIGHTS by default.

    Raises:
        InputError: No slice is left.
    """
    slices = [s for s in slices if has_physical_noise(s)]
    if not slices:
        raise InputError(
            "no slices in physical units, and none of X-ray: give at least one of these to cut 2.5D patches"
        )
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
    return mirrored_to(values.to(torch.float32), size)
