"""The training set: clean slices of many modalities in one file, split by patient.

The file is a safetensors file with one tensor per slice, shape (rows, columns), and a JSON entry for each in its
metadata. It is built once where images can be read (training/build.py) and travels to any machine.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from meddenoise.noise_level import gaussian_blur

VALIDATION_SHARE = 0.15
TOLERANCE = 1e-3
"""Rounding to 16 bits may change a value by at most this share of the slice's noise."""
LEVELS = 65535


def is_validation(subject: str) -> bool:
    """Whether a subject is held back from training, whatever its modalities.

    Decided by the subject's name alone (its SHA-256 read as a number between 0 and 1 lies below 0.15), so that the
    split never depends on which images are present.
    """
    return int(hashlib.sha256(subject.encode()).hexdigest()[:8], 16) / 2**32 < VALIDATION_SHARE


@dataclass(frozen=True)
class SliceInfo:
    """What a slice is.

    Attributes:
        volume: Name of the volume it comes from.
        subject: Patient, the unit of the split.
        modality: "CT", "MR", "PET" or "XR".
        display: True for 8-bit images without a physical unit.
        offset: Physical value that is 0 in network units.
        scale: Physical width that is 1 in network units.
        licence: Under which the image may be used.
        axis: Axis of the volume's array across which it was cut.
        position: Its index along that axis: slices of one volume and axis are neighbours where these differ by 1.
    """

    volume: str
    subject: str
    modality: str
    display: bool
    offset: float
    scale: float
    licence: str = ""
    axis: int = 0
    position: int = 0


@dataclass(frozen=True)
class Slice:
    """One clean slice: values in physical units, shape (rows, columns), and what it is."""

    values: Tensor
    info: SliceInfo


def with_neighbours(slices: Sequence[Slice]) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Each slice between the ones before and after it in its volume: three tensors of shape (rows, columns).

    A slice stands in for a neighbour that it does not have. Nothing is copied.
    """
    places = {(s.info.volume, s.info.axis, s.info.position): s.values for s in slices}

    def beside(s: Slice, step: int) -> Tensor:
        return places.get((s.info.volume, s.info.axis, s.info.position + step), s.values)

    return [(beside(s, -1), s.values, beside(s, 1)) for s in slices]


def save_slices(slices: Sequence[Slice], path: Path) -> None:
    """Write slices to a safetensors file; the same slices give the same bytes.

    8-bit values stay as they are; whole numbers, and numbers that are multiples of one step, become 16-bit integers
    exactly; others do so where that changes them by less than a thousandth of the slice's noise, and else stay float32.
    """
    tensors, entries = {}, []
    for i, s in enumerate(slices):
        tensors[f"{i:05d}"], step, zero = packed(s.values)
        entries.append(asdict(s.info) | {"packed": [step, zero]})
    partial = path.with_name(path.name + ".part")
    save_file(tensors, partial, metadata={"slices": json.dumps(entries)})
    partial.replace(path)


def load_slices(path: Path, *, validation: bool) -> list[Slice]:
    """Read the training or the validation slices of a file, values as float32."""
    with safe_open(path, framework="pt") as file:
        found = []
        for i, entry in enumerate(json.loads(file.metadata()["slices"])):
            step, zero = entry.pop("packed", (1.0, 0.0))
            info = SliceInfo(**entry)
            if is_validation(info.subject) is validation:
                found.append(Slice(unpacked(file.get_tensor(f"{i:05d}"), step, zero), info))
        return found


def unpacked(stored: Tensor, step: float, zero: float) -> Tensor:
    """The physical values ``stored * step + zero`` as float32."""
    if (step, zero) == (1.0, 0.0):
        return stored.to(torch.float32)
    return (stored.to(torch.float64) * step + zero).to(torch.float32)


def packed(values: Tensor) -> tuple[Tensor, float, float]:
    """The smallest tensor that holds the values well enough, and ``step`` and ``zero`` to have them back.

    Args:
        values: Physical units, shape (rows, columns), any type.
    """
    if values.dtype == torch.uint8:
        return values.contiguous(), 1.0, 0.0
    exact = values.to(torch.float64)
    low, high = float(exact.min()), float(exact.max())
    step = _common_step(exact)
    if step is None or (high - low) / step > LEVELS:
        step = (high - low) / LEVELS
        if step / 2 > TOLERANCE * _noise_scale(exact):
            return values.to(torch.float32).contiguous(), 1.0, 0.0
    zero = 0.0 if max(abs(low), abs(high)) <= 32767 * step else low + 32768 * step
    return ((exact - zero) / step).round().to(torch.int16), step, zero


def _common_step(values: Tensor) -> float | None:
    """The number that all values are whole multiples of, as in files of integers with a slope, or None."""
    if bool((values == values.round()).all()):
        return 1.0
    different = np.unique(values.numpy())
    if len(different) < 2:
        return None
    span = different - different[0]
    step = float(np.diff(different).min())
    for reach in 4 ** np.arange(9):  # float32 blurs a single difference; longer ones tell the step better
        within = span[(span > step / 2) & (span < (reach + 0.5) * step)]
        if len(within):
            step = float(within[-1]) / round(float(within[-1]) / step)
    multiples = different / step
    return step if bool((np.abs(multiples - multiples.round()) < 0.02).all()) else None


def _noise_scale(values: Tensor) -> float:
    """Typical size of the fine detail where there is any, which is no less than the noise's own where it is small."""
    detail = (values - gaussian_blur(values[None, None], 1.5)[0, 0]).abs()
    detail = detail[detail > 0]
    return float(detail.median()) / 0.6745 if detail.numel() else 0.0
