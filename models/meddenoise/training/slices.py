"""The training set: clean slices of many modalities in one file, split by patient.

The file is a safetensors file with one tensor of physical values per slice, shape (rows, columns), and a JSON entry
for each in its metadata. It is built once where images can be read (training/build.py) and travels to any machine.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

VALIDATION_SHARE = 0.15


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
    """

    volume: str
    subject: str
    modality: str
    display: bool
    offset: float
    scale: float
    licence: str = ""


@dataclass(frozen=True)
class Slice:
    """One clean slice: values in physical units, shape (rows, columns), and what it is."""

    values: Tensor
    info: SliceInfo


def save_slices(slices: list[Slice], path: Path) -> None:
    """Write slices to a safetensors file; values keep their type (int16, uint8, float32)."""
    tensors = {f"{i:05d}": s.values.contiguous() for i, s in enumerate(slices)}
    metadata = {"slices": json.dumps([asdict(s.info) for s in slices])}
    partial = path.with_name(path.name + ".part")
    save_file(tensors, partial, metadata=metadata)
    partial.replace(path)


def load_slices(path: Path, *, validation: bool) -> list[Slice]:
    """Read the training or the validation slices of a file, values as float32."""
    with safe_open(path, framework="pt") as file:
        infos = [SliceInfo(**entry) for entry in json.loads(file.metadata()["slices"])]
        return [
            Slice(file.get_tensor(f"{i:05d}").to(torch.float32), info)
            for i, info in enumerate(infos)
            if is_validation(info.subject) is validation
        ]
