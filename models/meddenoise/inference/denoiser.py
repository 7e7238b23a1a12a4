"""Volume in, denoised volume out: the one way every front end (command line, server, benchmarks) denoises."""

from __future__ import annotations

import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from meddenoise import weights
from meddenoise.errors import InputError, OptionError
from meddenoise.inference.device import choose_device, choose_precision
from meddenoise.inference.figures import figures
from meddenoise.inference.local_mean import without_local_mean
from meddenoise.intensity import CT_AIR, intensity_of
from meddenoise.noise_level import level_map
from meddenoise.notice import NOTICE
from meddenoise.volume import Volume
from meddenoise.weights import Card

Progress = Callable[[int, int], None]

PIXELS_AT_ONCE = 2**18
TILE, HALO = 3072, 192
"""Slices larger than a tile are cut; the halo covers the network's receptive field, so that no seam can show."""


@dataclass(frozen=True)
class Result:
    """What one denoising gave.

    Attributes:
        volume: The denoised volume, in the input's geometry, units, stored type and range.
        difference: Input minus denoised as float32, in the input's units: what was taken away.
        figures: Numbers that say what was changed, JSON-able; see meddenoise.inference.figures.
        model: JSON-able identity of the model: "name", "version", "sha256".
        settings: JSON-able: "strength", "device", "precision", "modality", "intensity".
        warnings: Sentences for the user.
    """

    volume: Volume
    difference: Volume
    figures: dict[str, Any]
    model: dict[str, Any]
    settings: dict[str, Any]
    warnings: tuple[str, ...]


class Denoiser:
    """A model, loaded once and applied to any number of volumes. Safe to call from several threads.

    Args:
        network: A network in the form ``network(image, level)`` with an attribute ``factor``; see networks.
        card: Its card.
        device: "auto", "cpu", "cuda" or "cuda:N".

    Raises:
        OptionError: Unknown or absent device.
    """

    def __init__(self, network: nn.Module, card: Card, *, device: str = "auto") -> None:
        self.card = card
        self.device = choose_device(device)
        self.precision = choose_precision(self.device)
        self._network = network.to(self.device).to(memory_format=torch.channels_last)

    @classmethod
    def load(cls, name: str = "student", *, device: str = "auto") -> Denoiser:
        """Load a published model by name, or a weights file by path.

        Raises:
            ModelError: Unknown name, or missing or damaged weights.
            OptionError: Unknown or absent device.
        """
        choose_device(device)
        network, card = weights.load(name)
        return cls(network, card, device=device)

    def __call__(self, volume: Volume, *, strength: float = 1.0, progress: Progress | None = None) -> Result:
        """Denoise a volume slice by slice, across its slicing axis.

        Values of a CT below -1024 HU and the padding value are no tissue and stay as they are. No value leaves the
        range the input has, so that counts stay positive and stored types never overflow.

        Args:
            volume: Any modality; see Volume for units and axis order.
            strength: 0 gives the input back bit for bit, 1 the full effect; values between mix linearly.
            progress: Called as progress(slices_done, slices_total); what it raises ends the work.

        Raises:
            OptionError: Strength outside 0..1.
            InputError: Voxels that are not finite, or an empty array.
        """
        if not 0.0 <= strength <= 1.0:
            raise OptionError(f"strength must be between 0 and 1, got {strength}")
        _check(volume)
        removed = np.zeros(volume.array.shape, np.float32)
        slices = np.moveaxis(removed, volume.slicing_axis, 0)
        if strength > 0.0:
            for done, noise in self._removed(volume):
                slices[done - len(noise) : done] = noise
                if progress is not None:
                    progress(done, len(slices))
        clean = _stored(volume, removed, strength)
        difference = np.subtract(volume.array, clean, dtype=np.float32, casting="unsafe")
        model = {"name": self.card.name, "version": self.card.version, "sha256": self.card.sha256}
        mark = f"{self.card.name} {self.card.version}, strength {strength:g}, {NOTICE}"
        metadata = types.MappingProxyType({**volume.header.metadata, "MedDenoise": mark})
        header = replace(volume.header, metadata=metadata)
        signed = replace(header, dtype="float32", stored_range=None, padding=None)
        return Result(
            volume=replace(volume, array=clean, header=header),
            difference=replace(volume, array=difference, header=signed),
            figures=figures(volume, clean),
            model=model,
            settings={
                "strength": strength,
                "device": str(self.device),
                "precision": str(self.precision).removeprefix("torch."),
                "modality": volume.modality,
                "intensity": intensity_of(volume).rule,
            },
            warnings=volume.header.warnings,
        )

    def _removed(self, volume: Volume) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """Yield (slices done, what the network takes away from the last of them, in the volume's units)."""
        rule = intensity_of(volume)
        array, padded = (np.moveaxis(a, volume.slicing_axis, 0) for a in (volume.array, volume.padded()))
        # Padding can be any number; the network is shown the scale's zero there.
        array = np.where(padded, np.asarray(rule.offset, array.dtype), array)
        slices, rows, columns = array.shape
        step = max(1, PIXELS_AT_ONCE // (rows * columns))
        for start in range(0, slices, step):
            values = array[start : start + step]
            units = rule.forward(values if volume.header.units != "HU" else np.maximum(values, CT_AIR))
            image = torch.from_numpy(units).unsqueeze(1).to(self.device)
            try:
                with torch.inference_mode():
                    noise = self._noise(image, in_hu=volume.header.units == "HU")
            except RuntimeError as error:
                if "memory" not in str(error):
                    raise
                size = f"{step} slices of {rows} x {columns} pixels"
                raise InputError(f"not enough memory on {self.device} for {size}; use another device") from error
            yield min(start + step, slices), noise.squeeze(1).cpu().numpy() * np.float32(rule.scale)

    def _noise(self, image: Tensor, *, in_hu: bool) -> Tensor:
        """What is to be removed; network units in and out, shape (batch, 1, rows, columns), sides of any length."""
        rows, columns = image.shape[-2:]
        factor = int(getattr(self._network, "factor", 1))
        level = level_map(image)
        edge = (0, -columns % factor, 0, -rows % factor)
        padded, level = F.pad(image, edge, mode="replicate"), F.pad(level, edge, mode="replicate")
        clean = torch.empty_like(padded)
        for inner, outer, kept in _tiles(padded.shape[-2], padded.shape[-1]):
            with torch.autocast(self.device.type, self.precision, enabled=self.precision != torch.float32):
                clean[(..., *inner)] = self._network(padded[(..., *outer)], level[(..., *outer)])[(..., *kept)]
        clean, level = clean[..., :rows, :columns], level[..., :rows, :columns]
        return without_local_mean(image - clean, clean, level) if in_hu else image - clean


Window = tuple[slice, slice]


def _tiles(rows: int, columns: int) -> Iterator[tuple[Window, Window, Window]]:
    """Cut a slice into tiles: where the result goes, what the network sees, and what of that is kept."""
    for top in range(0, rows, TILE):
        for left in range(0, columns, TILE):
            spans = [_span(top, rows), _span(left, columns)]
            yield tuple(zip(*spans, strict=True))


def _span(start: int, length: int) -> tuple[slice, slice, slice]:
    stop = min(start + TILE, length)
    low, high = max(0, start - HALO), min(length, stop + HALO)
    return slice(start, stop), slice(low, high), slice(start - low, stop - low)


def _check(volume: Volume) -> None:
    if volume.array.size == 0:
        raise InputError(f"the volume is empty: shape {volume.array.shape} (slices, rows, columns)")
    bad = int(np.count_nonzero(~np.isfinite(volume.array))) if volume.array.dtype.kind == "f" else 0
    if bad:
        raise InputError(f"{bad} of {volume.array.size} voxels are NaN or infinite; replace them before denoising")


def _stored(volume: Volume, removed: NDArray[np.float32], strength: float) -> NDArray[Any]:
    """Input minus what was removed, in the input's stored type: rounded, inside the input's range, padding kept."""
    noisy = volume.array
    if not removed.any():
        return noisy.copy()
    exact: NDArray[Any] = noisy.astype(np.float64 if noisy.dtype.itemsize > 2 else np.float32)
    clean: NDArray[Any] = exact + strength * (np.clip(exact - removed, noisy.min(), noisy.max()) - exact)
    if noisy.dtype.kind in "iu":
        clean = np.rint(clean)
    clean = clean.astype(noisy.dtype)
    kept = volume.padded()
    if volume.header.units == "HU":
        kept |= noisy < CT_AIR
    clean[kept] = noisy[kept]
    return clean
