"""Batches of (noisy, clean) patches of one slice or of three neighbouring ones, with the noise made on the fly."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from meddenoise import noise
from meddenoise.training.physical import CT_LIMITS, NOISE
from meddenoise.training.slices import Slice, with_neighbours

CT_WINDOW = (-160.0, 240.0)
OVERLAPPING = 0.5
"""Share of the patches in which neighbouring slices have a part of their noise in common."""


@dataclass(frozen=True)
class Mix:
    """How a batch is put together.

    Attributes:
        size: Side of a patch in pixels.
        display: Share of the patches that follow Algorithm 1 on 8-bit grey levels; the others keep their physical
            units and get their modality's own noise.
        display_modalities: Weight of each modality in the first group.
        physical_modalities: Weight of each modality in the second group.
        shrink: Factor by which slices of a volume are shrunk at least, by the volume's name: area averaging takes
            noise out of targets that are noisy themselves.
        left_out: Volumes too noisy to be targets at all.
        strength: Least and largest factor on each modality's own noise, drawn for each patch.
        neighbours: None for patches of one channel. A share, for patches of three: so many of them show a slice between
            its neighbours; the others show it three times, noise and all, as an image without neighbours is shown.
    """

    size: int = 128
    display: float = 0.375
    display_modalities: dict[str, float] = field(
        default_factory=lambda: {"CT": 0.25, "MR": 0.35, "PET": 0.15, "XR": 0.25}
    )
    physical_modalities: dict[str, float] = field(
        default_factory=lambda: {"CT": 0.45, "MR": 0.22, "PET": 0.18, "XR": 0.15}
    )
    shrink: dict[str, float] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()
    strength: tuple[float, float] = (1.0, 1.0)
    neighbours: float | None = None


Sampler = Callable[[int, torch.Generator], tuple[Tensor, Tensor]]
"""(batch, generator) -> (noisy, clean) in network units, each of shape (batch, 1 or 3, size, size)."""


@dataclass(frozen=True)
class Stack:
    """A slice, and the same between its neighbours; it stands in for one that it does not have."""

    middle: Slice
    between: tuple[Tensor, Tensor, Tensor]


@dataclass(frozen=True)
class Drawn:
    """Clean patches in network units.

    Attributes:
        clean: Shape (batch, channels, size, size).
        same: Which channels show the middle one's slice, shape (batch, channels).
        modalities: Of each patch.
    """

    clean: Tensor
    same: Tensor
    modalities: list[str]


def sampler(slices: Sequence[Slice], mix: Mix) -> Sampler:
    """A sampler over the slices; equal generators give equal batches.

    Display units have no physical noise but that of X-ray: where nothing else is given, all patches follow Algorithm 1.
    """
    slices = [s for s in slices if s.info.volume not in mix.left_out]
    stacks = [Stack(s, between) for s, between in zip(slices, with_neighbours(slices), strict=True)]
    shown_groups = _by_modality_and_volume(stacks)
    physical_groups = _by_modality_and_volume([s for s in stacks if has_physical_noise(s.middle)])

    def sample(batch: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        shown = round(batch * mix.display) if physical_groups else batch
        grey = _draw_patches(shown_groups, mix, shown, generator, display=True)
        physical = _draw_patches(physical_groups, mix, batch - shown, generator, display=False)
        noisy = [
            _of_one_slice(_algorithm1_pairs(grey.clean, generator), grey.same),
            _of_one_slice(_physical_noise(physical, mix.strength, generator), physical.same),
        ]
        return torch.cat(noisy), torch.cat([grey.clean, physical.clean])

    return sample


def has_physical_noise(one: Slice) -> bool:
    """Whether its values are in the unit that its modality's noise is made in."""
    return not one.info.display or one.info.modality == "XR"


Groups = dict[str, list[list[Stack]]]


def _by_modality_and_volume(stacks: Sequence[Stack]) -> Groups:
    """Modality -> volumes -> slices: volumes count alike, however many slices they have."""
    volumes: dict[str, dict[str, list[Stack]]] = {}
    for s in stacks:
        volumes.setdefault(s.middle.info.modality, {}).setdefault(s.middle.info.volume, []).append(s)
    return {modality: list(groups.values()) for modality, groups in volumes.items()}


def _draw_patches(groups: Groups, mix: Mix, count: int, generator: torch.Generator, *, display: bool) -> Drawn:
    channels = 1 if mix.neighbours is None else 3
    if count == 0:
        return Drawn(torch.empty(0, channels, mix.size, mix.size), torch.empty(0, channels, dtype=torch.bool), [])
    weights = mix.display_modalities if display else mix.physical_modalities
    present = [m for m in weights if m in groups]
    chances = torch.tensor([weights[m] for m in present])
    picks = torch.multinomial(chances, count, replacement=True, generator=generator)
    modalities = [present[int(i)] for i in picks]
    patches, same = [], []
    for modality in modalities:
        volume = groups[modality][_integer(len(groups[modality]), generator)]
        chosen = volume[_integer(len(volume), generator)]
        slices = _channels(chosen, mix, generator)
        values = _crop(slices, mix.size, mix.shrink.get(chosen.middle.info.volume, 1.0), generator)
        patches.append(_display(chosen.middle, values, generator) if display else _network_units(chosen.middle, values))
        same.append([one is chosen.middle.values for one in slices])
    return Drawn(torch.stack(patches), torch.tensor(same), modalities)


def _channels(chosen: Stack, mix: Mix, generator: torch.Generator) -> Sequence[Tensor]:
    """The slices that a patch is cut from."""
    if mix.neighbours is None:
        return (chosen.middle.values,)
    together = float(torch.rand(1, generator=generator)) < mix.neighbours
    return chosen.between if together else (chosen.middle.values,) * 3


def _integer(high: int, generator: torch.Generator) -> int:
    return int(torch.randint(high, (1,), generator=generator))


def _crop(slices: Sequence[Tensor], size: int, least: float, generator: torch.Generator) -> Tensor:
    """One random crop of all slices, shrunk by area averaging by a random factor of ``least`` or more.

    It is flipped and turned at random. Shape (slices, size, size).
    """
    rows, columns = slices[0].shape
    largest = max(least, max(rows, columns) / 256)
    draw = torch.rand(3, generator=generator)
    shrink = largest if draw[0] < 0.5 else least + (largest - least) * float(draw[1])
    side = min(round(size * shrink), max(size, min(rows, columns)))
    top = _integer(max(rows, side) - side + 1, generator)
    left = _integer(max(columns, side) - side + 1, generator)
    cut = (slice(top, top + side), slice(left, left + side))
    patch = torch.stack([mirrored_to(one, side)[cut] for one in slices])
    if side != size:
        patch = F.interpolate(patch[None], size=(size, size), mode="area")[0]
    patch = torch.rot90(patch, _integer(4, generator), (1, 2))
    return patch.flip(1) if draw[2] < 0.5 else patch


def mirrored_to(values: Tensor, side: int) -> Tensor:
    """Repeat a small slice of at least 2 x 2 pixels by mirroring until both sides reach ``side``."""
    while min(values.shape) < side:
        rows = min(values.shape[0] - 1, max(0, side - values.shape[0]))
        columns = min(values.shape[1] - 1, max(0, side - values.shape[1]))
        values = F.pad(values[None, None], (0, columns, 0, rows), mode="reflect")[0, 0]
    return values


def _display(chosen: Slice, values: Tensor, generator: torch.Generator) -> Tensor:
    """Grey levels over 255: CT in a soft-tissue or random window, others from the 0.1 to the 99.9 percentile."""
    if chosen.info.display:
        low, high = 0.0, 255.0
    elif chosen.info.modality == "CT":
        low, high = CT_WINDOW
        draw = torch.rand(3, generator=generator)
        if draw[0] < 0.4:
            center, width = -700.0 + 900.0 * float(draw[1]), 300.0 + 1500.0 * float(draw[2])
            low, high = center - width / 2, center + width / 2
    else:
        sample = chosen.values.flatten()[:: max(1, chosen.values.numel() // 20000)]
        low, high = (float(q) for q in torch.quantile(sample, torch.tensor([0.001, 0.999])))
    return noise.to_8_bit(255.0 * (values - low) / max(high - low, 1e-6)) / 255.0


def _network_units(chosen: Slice, values: Tensor) -> Tensor:
    if chosen.info.modality == "CT" and not chosen.info.display:
        values = values.clamp(*CT_LIMITS)
    return (values - chosen.info.offset) / chosen.info.scale


def _algorithm1_pairs(clean: Tensor, generator: torch.Generator) -> Tensor:
    """Algorithm 1, clipped and rounded to 8 bits in three of four patches and left as it falls in the others."""
    parameters = noise.draw_algorithm1(len(clean), generator)
    noisy = noise.apply_algorithm1(255.0 * clean, parameters, generator=generator)
    stored = noise.per_image(torch.rand(len(clean), generator=generator) < 0.75)
    return torch.where(stored, noise.to_8_bit(noisy), noisy) / 255.0


def _physical_noise(drawn: Drawn, strength: tuple[float, float], generator: torch.Generator) -> Tensor:
    """Each patch with its modality's noise times a factor between the two, in network units."""
    noisy = drawn.clean.clone()
    for modality in sorted(set(drawn.modalities)):
        chosen = torch.tensor([m == modality for m in drawn.modalities])
        noisy[chosen] = NOISE[modality](drawn.clean[chosen], generator)
    if strength != (1.0, 1.0):
        low, high = strength
        factor = noise.per_image(low + (high - low) * torch.rand(len(noisy), generator=generator))
        noisy = drawn.clean + factor * (noisy - drawn.clean)
    if noisy.shape[1] > 1:
        noisy = _overlapping(noisy, drawn.clean, generator)
    return noisy.clamp_min_(0.0)


def _overlapping(noisy: Tensor, clean: Tensor, generator: torch.Generator) -> Tensor:
    """Let slices share noise as overlapping ones do: a random part of the middle one's goes into its neighbours'."""
    draw = torch.rand(2, len(noisy), 1, 1, 1, generator=generator)
    shared = torch.where(draw[0] < OVERLAPPING, draw[1], 0.0)
    added = noisy - clean
    mixed = shared * added[:, 1:2] + (1.0 - shared.square()).sqrt() * added
    mixed[:, 1] = added[:, 1]
    return clean + mixed


def _of_one_slice(noisy: Tensor, same: Tensor) -> Tensor:
    """Channels that show one slice show it with the same noise."""
    middle = noisy.shape[1] // 2
    return torch.where(same[:, :, None, None], noisy[:, middle : middle + 1], noisy)
