"""Volume in, denoised volume out: the one way every front end (command line, server, benchmarks) denoises."""

from __future__ import annotations

import types
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from meddenoise import weights
from meddenoise.errors import OptionError
from meddenoise.inference.channels import (
    by_colour,
    central,
    check_colour,
    check_noise_map,
    check_voxels,
    in_colour,
    seen,
    sees_colours,
    sees_neighbours,
)
from meddenoise.inference.device import choose_device, choose_precision
from meddenoise.inference.figures import figures
from meddenoise.inference.local_mean import without_local_mean
from meddenoise.inference.slabs import Slab, in_slabs, tiles
from meddenoise.inference.stored import kept_values, stored
from meddenoise.inference.symmetries import SYMMETRIES, spread, turned, turned_back
from meddenoise.intensity import CT_AIR, Intensity, intensity_of
from meddenoise.noise_level import level_map
from meddenoise.notice import NOTICE
from meddenoise.volume import Volume
from meddenoise.weights import Card
from meddenoise.weights.store import COLOUR

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Result:
    """What one denoising gave.

    Attributes:
        volume: The denoised volume, in the input's geometry, units, stored type and range.
        difference: Input minus denoised as float32, in the input's units: what was taken away.
        figures: Numbers that say what was changed, JSON-able; see meddenoise.inference.figures.
        model: JSON-able identity of what denoised it: "name", "version", "sha256".
        settings: JSON-able: "strength", "device", "precision", "modality", "intensity" and "slices", how the network
            was shown them: "each alone", "with neighbours", "in colour" or "each colour alone".
        warnings: Sentences for the user.
        uncertainty: Where asked for: how much the model disagrees with itself, float32 in the input's units. It is the
            standard deviation over the results for the 8 flips and quarter turns of the slices; 0 where it is sure and
            where values are kept. It says nothing of errors that all eight share.
        noise: Where asked for: the noise as the model estimates it before it restores the image, signed, float32 in the
            input's units, whatever the strength; 0 where values are kept.
    """

    volume: Volume
    difference: Volume
    figures: dict[str, Any]
    model: dict[str, Any]
    settings: dict[str, Any]
    warnings: tuple[str, ...]
    uncertainty: Volume | None = None
    noise: Volume | None = None


class Denoiser:
    """A model, loaded once and applied to any number of volumes. Safe to call from several threads.

    Args:
        network: A network in the form ``network(image, level)``; see networks for the attributes it may have.
        card: Its card.
        device: "auto", "cpu", "cuda" or "cuda:N".
        slab: What goes through the network at once to begin with; it is halved where memory runs out.
        elsewhere: By modality, or "colour", what denoises such volumes in place of the network.

    Attributes:
        card: As given.
        identity: Checksum of all weights that results depend on; the card's own where the network is the only one.

    Raises:
        OptionError: Unknown or absent device.
    """

    def __init__(
        self,
        network: nn.Module,
        card: Card,
        *,
        device: str = "auto",
        slab: Slab | None = None,
        elsewhere: Mapping[str, Denoiser] | None = None,
    ) -> None:
        self.card = card
        self._elsewhere = dict(elsewhere or {})
        self.identity = weights.identity(card, [other.card for other in self._elsewhere.values()])
        self.slab = slab or _slab(network)
        self.device = choose_device(device)
        self.precision = choose_precision(self.device)
        self._network: Any = network.to(self.device).to(memory_format=torch.channels_last)

    @classmethod
    def load(cls, name: str = "student", *, device: str = "auto") -> Denoiser:
        """Load a model by name, with what denoises some modalities for it; a weights file, by its path, is all alone.

        Raises:
            ModelError: Unknown name, or missing or damaged weights.
            OptionError: Unknown or absent device.
        """
        choose_device(device)
        network, card, parts = weights.load_all(name)
        others = {modality: cls(*part, device=device) for modality, part in parts.items()}
        return cls(network, card, device=device, elsewhere=others)

    def __call__(
        self,
        volume: Volume,
        *,
        strength: float = 1.0,
        uncertainty: bool = False,
        noise_map: bool = False,
        progress: Progress | None = None,
    ) -> Result:
        """Denoise a volume slice by slice, across its slicing axis.

        Values of a CT below -1024 HU and the padding value are no tissue and stay as they are. No value leaves the
        range the input has, so that counts stay positive and stored types never overflow.

        Args:
            volume: Any modality; see Volume for units and axis order.
            strength: 0 gives the input back bit for bit, 1 the full effect; values between mix linearly.
            uncertainty: Whether to give the result's uncertainty too, which takes eight times as long.
            noise_map: Whether to give the noise too, as the model estimates it.
            progress: Called as progress(slices_done, slices_total); what it raises ends the work. With uncertainty,
                each slice counts eight times; a colour that is shown alone counts as a slice.

        Raises:
            OptionError: Strength outside 0..1, too little memory for even the smallest slab, or a noise map asked of a
                model that estimates none.
            InputError: Voxels that are not finite, an empty array, or colour for a model of grey images.
        """
        kind = COLOUR if volume.colour else volume.modality
        if other := self._elsewhere.get(kind):
            return other(volume, strength=strength, uncertainty=uncertainty, noise_map=noise_map, progress=progress)
        if not 0.0 <= strength <= 1.0:
            raise OptionError(f"strength must be between 0 and 1, got {strength}")
        check_voxels(volume)
        check_colour(volume, self.card)
        if noise_map:
            check_noise_map(self.card)
        ways = SYMMETRIES if uncertainty else SYMMETRIES[:1]
        apart = volume.colour and not sees_colours(volume, self.card)
        shown = volume.array.shape[volume.slicing_axis] * (3 if apart else 1)
        tell = _counter(progress, shown * len(ways))
        rule = intensity_of(volume)
        if strength > 0.0 or noise_map:
            removed, *estimated = self._removed(volume, rule, tell, noise_map=noise_map)
        else:
            removed, estimated = np.zeros(volume.array.shape, np.float32), []
        clean = stored(volume, removed, strength)
        difference = np.subtract(volume.array, clean, dtype=np.float32, casting="unsafe")
        mark = f"{self.card.name} {self.card.version}, strength {strength:g}, {NOTICE}"
        metadata = types.MappingProxyType({**volume.header.metadata, "MedDenoise": mark})
        header = replace(volume.header, metadata=metadata)
        signed = replace(header, dtype="float32", stored_range=None, samples=1, padding=None)
        found = replace(volume, array=difference, header=signed)
        spreads = [self._spread(volume, rule, removed, strength, tell)] if uncertainty else []
        return Result(
            volume=replace(volume, array=clean, header=header),
            difference=found,
            figures=figures(volume, clean),
            model={"name": self.card.name, "version": self.card.version, "sha256": self.card.sha256},
            settings=self._settings(volume, rule, strength),
            warnings=volume.header.warnings,
            uncertainty=found.with_array(spreads[0]) if spreads else None,
            noise=found.with_array(np.where(kept_values(volume), np.float32(0.0), estimated[0])) if estimated else None,
        )

    def _settings(self, volume: Volume, rule: Intensity, strength: float) -> dict[str, Any]:
        alone = "with neighbours" if sees_neighbours(volume, self.card) else "each alone"
        coloured = "in colour" if sees_colours(volume, self.card) else "each colour alone"
        return {
            "strength": strength,
            "device": str(self.device),
            "precision": str(self.precision).removeprefix("torch."),
            "modality": volume.modality,
            "intensity": rule.rule,
            "slices": coloured if volume.colour else alone,
        }

    def _spread(
        self,
        volume: Volume,
        rule: Intensity,
        removed: NDArray[np.float32],
        strength: float,
        tell: Callable[[int], None],
    ) -> NDArray[np.float32]:
        """The standard deviation of the result over all symmetries; `removed` is what the first of them takes away."""
        if strength == 0.0:
            return np.zeros(volume.array.shape, np.float32)

        def members() -> Iterator[NDArray[np.float32]]:
            low, high = (volume.array.astype(np.float32) - limit for limit in (volume.array.max(), volume.array.min()))
            yield np.clip(removed, low, high)  # as the result's range is
            for symmetry in SYMMETRIES[1:]:
                yield np.clip(self._removed(volume, rule, tell, symmetry)[0], low, high)

        found = np.float32(strength) * spread(members())
        found[kept_values(volume)] = 0.0
        return found

    def _removed(
        self,
        volume: Volume,
        rule: Intensity,
        tell: Callable[[int], None],
        symmetry: tuple[int, bool] = SYMMETRIES[0],
        *,
        noise_map: bool = False,
    ) -> list[NDArray[np.float32]]:
        """What the network takes away where it is shown the slices so turned, and if asked for the noise it estimates.

        Both in the volume's units, shape and axes. `tell` hears of every few slices that are done.
        """
        in_hu = volume.header.units == "HU"
        array, padded = (np.moveaxis(a, volume.slicing_axis, 0) for a in (volume.array, volume.padded()))
        # Padding can be any number; the network is shown the scale's zero there.
        array = np.ascontiguousarray(turned(np.where(padded, np.asarray(rule.offset, array.dtype), array), symmetry))
        channels, neighbours = int(getattr(self._network, "channels", 1)), sees_neighbours(volume, self.card)
        together = sees_colours(volume, self.card)
        apart = volume.colour and not together
        array = by_colour(array) if apart else array
        removed = np.zeros((1 + noise_map, *array.shape), np.float32)

        def work(start: int, stop: int, tile: int) -> NDArray[np.float32]:
            values = seen(array, start, stop, channels=channels, neighbours=neighbours)
            image = torch.from_numpy(rule.forward(np.maximum(values, CT_AIR) if in_hu else values)).to(self.device)
            with torch.inference_mode():
                level = level_map(image)
                made = self._made(image, level, tile, noise_map=noise_map)
                image, level, clean, *estimated = (central(a, colour=together) for a in (image, level, *made))
                noise = without_local_mean(image - clean, clean, level) if in_hu else image - clean
                found = torch.stack([noise, *estimated]).movedim(2, -1).cpu().numpy() * np.float32(rule.scale)
            in_volume: NDArray[np.float32] = found if together else found[..., 0]
            return in_volume

        start = 0
        slices, rows, columns = array.shape[:3]
        for stop, found in in_slabs(work, (slices, rows, columns), self.slab, self.device):
            removed[:, start:stop] = found
            tell(stop - start)
            start = stop
        removed = in_colour(removed) if apart else removed
        back = (np.moveaxis(turned_back(one, symmetry), 0, volume.slicing_axis) for one in removed)
        return [np.ascontiguousarray(one) for one in back]

    def _made(self, image: Tensor, level: Tensor, tile: int, *, noise_map: bool) -> list[Tensor]:
        """The denoised image, and the estimated noise if asked for.

        Network units in and out, shape (batch, channels, rows, columns), sides of any length.
        """
        rows, columns = image.shape[-2:]
        factor = int(getattr(self._network, "factor", 1))
        edge = (0, -columns % factor, 0, -rows % factor)
        padded, level = F.pad(image, edge, mode="replicate"), F.pad(level, edge, mode="replicate")
        made = torch.empty((1 + noise_map, *padded.shape), device=self.device)
        for inner, outer, middle in tiles(padded.shape[-2], padded.shape[-1], tile):
            with torch.autocast(self.device.type, self.precision, enabled=self.precision != torch.float32):
                shown = padded[(..., *outer)], level[(..., *outer)]
                found = self._network.stages(*shown)[::-1] if noise_map else (self._network(*shown),)
            for whole, part in zip(made, found, strict=True):
                whole[(..., *inner)] = part[(..., *middle)]
        return [whole[..., :rows, :columns] for whole in made]


def _slab(network: nn.Module) -> Slab:
    """What goes through a network at once to begin with."""
    tile = int(getattr(network, "tile", Slab.tile))
    return Slab(tile=tile, least=tile if getattr(network, "global_context", False) else Slab.least)


def _counter(progress: Progress | None, total: int) -> Callable[[int], None]:
    """A function that adds up what it is told is done, and says so to `progress`."""
    done = 0

    def tell(more: int) -> None:
        nonlocal done
        done += more
        if progress is not None:
            progress(done, total)

    return tell
