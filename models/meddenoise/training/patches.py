"""Batches of (noisy, clean) patches, with the noise made on the fly."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from meddenoise import noise
from meddenoise.training.physical import CT_LIMITS, NOISE
from meddenoise.training.slices import Slice

CT_WINDOW = (-160.0, 240.0)


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


Sampler = Callable[[int, torch.Generator], tuple[Tensor, Tensor]]
"""(batch, generator) -> (noisy, clean) in network units, each of shape (batch, 1, size, size)."""


def sampler(slices: Sequence[Slice], mix: Mix) -> Sampler:
    """A sampler over the slices; equal generators give equal batches.

    Display units have no physical noise but that of X-ray: where nothing else is given, all patches follow Algorithm 1.
    """
    slices = [s for s in slices if s.info.volume not in mix.left_out]
    shown_groups = _by_modality_and_volume(slices)
    physical_groups = _by_modality_and_volume([s for s in slices if has_physical_noise(s)])

    def sample(batch: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        shown = round(batch * mix.display) if physical_groups else batch
        grey, _ = _draw_patches(shown_groups, mix, shown, generator, display=True)
        clean, modalities = _draw_patches(physical_groups, mix, batch - shown, generator, display=False)
        noisy = [_algorithm1_pairs(grey, generator), _physical_noise(clean, modalities, mix.strength, generator)]
        return torch.cat(noisy), torch.cat([grey, clean])

    return sample


def has_physical_noise(one: Slice) -> bool:
    """Whether its values are in the unit that its modality's noise is made in."""
    return not one.info.display or one.info.modality == "XR"


Groups = dict[str, list[list[Slice]]]


def _by_modality_and_volume(slices: Sequence[Slice]) -> Groups:
    """Modality -> volumes -> slices: volumes count alike, however many slices they have."""
    volumes: dict[str, dict[str, list[Slice]]] = {}
    for s in slices:
        volumes.setdefault(s.info.modality, {}).setdefault(s.info.volume, []).append(s)
    return {modality: list(groups.values()) for modality, groups in volumes.items()}


def _draw_patches(
    groups: Groups, mix: Mix, count: int, generator: torch.Generator, *, display: bool
) -> tuple[Tensor, list[str]]:
    """Draw patches in network units, shape (count, 1, size, size), and the modality of each."""
    if count == 0:
        return torch.empty(0, 1, mix.size, mix.size), []
    weights = mix.display_modalities if display else mix.physical_modalities
    present = [m for m in weights if m in groups]
    chances = torch.tensor([weights[m] for m in present])
    picks = torch.multinomial(chances, count, replacement=True, generator=generator)
    modalities = [present[int(i)] for i in picks]
    patches = []
    for modality in modalities:
        volume = groups[modality][_integer(len(groups[modality]), generator)]
        chosen = volume[_integer(len(volume), generator)]
        values = _crop(chosen.values, mix.size, mix.shrink.get(chosen.info.volume, 1.0), generator)
        patches.append(_display(chosen, values, generator) if display else _network_units(chosen, values))
    return torch.stack(patches).unsqueeze(1), modalities


def _integer(high: int, generator: torch.Generator) -> int:
    return int(torch.randint(high, (1,), generator=generator))


def _crop(values: Tensor, size: int, least: float, generator: torch.Generator) -> Tensor:
    """A random crop, shrunk by area averaging by a random factor of ``least`` or more, flipped and turned at random."""
    rows, columns = values.shape
    largest = max(least, max(rows, columns) / 256)
    draw = torch.rand(3, generator=generator)
    shrink = largest if draw[0] < 0.5 else least + (largest - least) * float(draw[1])
    side = min(round(size * shrink), max(size, min(rows, columns)))
    values = mirrored_to(values, side)
    top = _integer(values.shape[0] - side + 1, generator)
    left = _integer(values.shape[1] - side + 1, generator)
    patch = values[top : top + side, left : left + side]
    if side != size:
        patch = F.interpolate(patch[None, None], size=(size, size), mode="area")[0, 0]
    patch = torch.rot90(patch, _integer(4, generator))
    return patch.flip(0) if draw[2] < 0.5 else patch


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


def _physical_noise(
    clean: Tensor, modalities: list[str], strength: tuple[float, float], generator: torch.Generator
) -> Tensor:
    """Each patch with its modality's noise times a factor between the two, in network units."""
    noisy = clean.clone()
    for modality in sorted(set(modalities)):
        chosen = torch.tensor([m == modality for m in modalities])
        noisy[chosen] = NOISE[modality](clean[chosen], generator)
    if strength != (1.0, 1.0):
        low, high = strength
        factor = noise.per_image(low + (high - low) * torch.rand(len(clean), generator=generator))
        noisy = clean + factor * (noisy - clean)
    return noisy.clamp_min_(0.0)
