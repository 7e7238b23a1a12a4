"""Noisy images, with or without their clean partners, as a site has them: a table or two folders, and their patches.

A folder of training data is taken as

- pairs, where it holds ``pairs.csv`` with the columns ``noisy`` and ``clean`` (paths relative to the table, each an
  image file or a folder with one DICOM series) and, if wanted, ``subject`` and ``modality``;
- pairs, where it holds the folders ``noisy`` and ``clean`` with entries of equal names, extensions aside;
- noisy images without clean ones, where it holds ``noisy`` alone, or a table whose ``clean`` is empty throughout.

The split is by ``subject``; without one, every entry is a subject of its own, by its name.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from meddenoise.errors import InputError
from meddenoise.training.patches import Sampler
from meddenoise.training.progress import Report
from meddenoise.training.slices import SliceInfo, is_validation

TABLE = "pairs.csv"
NOISY, CLEAN = "noisy", "clean"
SAME_PLACE = 0.01
"""Millimetres by which the affines of a pair may differ."""


@dataclass(frozen=True)
class Entry:
    """One noisy image or volume on disk, its clean partner or None, whose it is, and its modality or "" to find out."""

    noisy: Path
    clean: Path | None
    subject: str
    modality: str = ""


@dataclass(frozen=True)
class Pair:
    """A noisy slice in network units, its clean partner or None (both of shape (rows, columns)), and what it is."""

    noisy: Tensor
    clean: Tensor | None
    info: SliceInfo


def holds_pairs(folder: Path) -> bool:
    """Whether a folder is laid out as above; any other holds clean images."""
    return (folder / TABLE).is_file() or (folder / NOISY).is_dir()


def find_entries(folder: Path) -> list[Entry]:
    """What the table or the two folders name.

    Raises:
        InputError: A column, a file or a partner is missing, a partner is named twice, or only some have one.
    """
    entries = _of_table(folder / TABLE) if (folder / TABLE).is_file() else _of_folders(folder)
    if not entries:
        raise InputError(f"{folder}: no noisy image is named there; see {TABLE} in the documentation of training")
    for entry in entries:
        for path in filter(None, (entry.noisy, entry.clean)):
            if not path.exists():
                raise InputError(f"{path}: named for training in {folder}, but not there")
    bare = [entry for entry in entries if entry.clean is None]
    if bare and len(bare) < len(entries):
        raise InputError(
            f"{bare[0].noisy}: has no clean partner, as {len(bare)} of {len(entries)}; give all of them one, or none"
        )
    return entries


def _of_table(table: Path) -> list[Entry]:
    with table.open(newline="", encoding="utf-8-sig") as file:
        rows = csv.DictReader(file)
        if not {NOISY, CLEAN} <= set(rows.fieldnames or ()):
            raise InputError(f"{table}: must have the columns noisy and clean, got {', '.join(rows.fieldnames or ())}")
        found = []
        for row in rows:
            if not row[NOISY]:
                raise InputError(f"{table}, line {rows.line_num}: the column noisy is empty")
            clean = table.parent / row[CLEAN] if row[CLEAN] else None
            subject = row.get("subject") or Path(row[NOISY]).name
            found.append(Entry(table.parent / row[NOISY], clean, subject, row.get("modality") or ""))
        return found


def _of_folders(folder: Path) -> list[Entry]:
    noisy, clean = (_by_name(folder / name) for name in (NOISY, CLEAN))
    if (folder / CLEAN).is_dir() and (alone := sorted(set(noisy) ^ set(clean))):
        raise InputError(f"{folder}: {alone[0]} is not both in noisy and in clean, as {len(alone)} names are not")
    return [Entry(path, clean.get(name), name) for name, path in noisy.items()]


def _by_name(folder: Path) -> dict[str, Path]:
    paths = sorted(path for path in folder.glob("*") if not path.name.startswith("."))
    names = {path.name.split(".")[0] if path.is_file() else path.name: path for path in paths}
    if len(names) < len(paths):
        raise InputError(f"{folder}: two entries are called alike but for their extension; rename one")
    return names


def build_pairs(folder: Path, out: Path, *, report: Report) -> None:
    """Read every entry and write its slices, in network units by the noisy image's rule, to a safetensors file.

    Raises:
        InputError: As in find_entries; an image cannot be read, or partners differ in size or place.
    """
    slices = [pair for entry in find_entries(folder) for pair in _slices_of(entry)]
    if not slices:
        raise InputError(f"{folder}: the noisy images are constant; nothing can be learned from them")
    tensors = {f"{i:06d}.{NOISY}": pair.noisy for i, pair in enumerate(slices)}
    tensors |= {f"{i:06d}.{CLEAN}": pair.clean for i, pair in enumerate(slices) if pair.clean is not None}
    partial = out.with_name(out.name + ".part")
    save_file(tensors, partial, metadata={"slices": json.dumps([asdict(pair.info) for pair in slices])})
    partial.replace(out)
    report(f"{len(slices)} slices of {len({pair.info.subject for pair in slices})} subjects in {out}")


def _slices_of(entry: Entry) -> list[Pair]:
    # Reading needs SimpleITK and pydicom, which a bare training machine need not have.
    from meddenoise.intensity import CT_AIR, intensity_of
    from meddenoise.io import read_volume
    from meddenoise.volume import MODALITIES

    if entry.modality not in ("", *MODALITIES):
        raise InputError(
            f"{entry.noisy}: the modality must be {', '.join(MODALITIES)} or empty, got {entry.modality!r}"
        )
    noisy = read_volume(entry.noisy, modality=entry.modality or None)  # type: ignore[arg-type]  # just checked
    rule = intensity_of(noisy)
    volumes = [noisy]
    if entry.clean is not None:
        volumes.append(clean := read_volume(entry.clean, modality=noisy.modality))
        if clean.array.shape != noisy.array.shape:
            raise InputError(f"{entry.noisy}: {noisy.array.shape} voxels, but {clean.array.shape} in {entry.clean}")
        if not np.allclose(clean.affine, noisy.affine, atol=SAME_PLACE):
            raise InputError(f"{entry.noisy}: lies elsewhere than {entry.clean}; resample one to the other first")
    lowest = CT_AIR if noisy.header.units == "HU" else -np.inf
    units = [rule.forward(np.maximum(np.moveaxis(v.array, noisy.slicing_axis, 0), lowest)) for v in volumes]
    info = SliceInfo(
        volume=entry.noisy.name,
        subject=entry.subject,
        modality=noisy.modality,
        display=noisy.header.display,
        offset=rule.offset,
        scale=rule.scale,
    )
    partners = units[1] if entry.clean else [None] * len(units[0])
    both = zip(units[0], partners, strict=True)
    return [Pair(_tensor(a), None if b is None else _tensor(b), info) for a, b in both if a.std() > 0]


def _tensor(values: NDArray[np.float32]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values))


def load_pairs(path: Path, *, validation: bool) -> list[Pair]:
    """Read the training or the validation slices of a file that build_pairs wrote."""
    with safe_open(path, framework="pt") as file:
        infos = [SliceInfo(**entry) for entry in json.loads(file.metadata()["slices"])]
        names = set(file.keys())
        return [
            Pair(
                file.get_tensor(f"{i:06d}.{NOISY}"),
                file.get_tensor(f"{i:06d}.{CLEAN}") if f"{i:06d}.{CLEAN}" in names else None,
                info,
            )
            for i, info in enumerate(infos)
            if is_validation(info.subject) is validation
        ]


def pair_sampler(pairs: Sequence[Pair], size: int) -> Sampler:
    """A sampler of patches at the same place in both; a noisy image without a partner stands for it too."""
    volumes: dict[str, list[Pair]] = {}
    for pair in pairs:
        volumes.setdefault(f"{pair.info.subject}/{pair.info.volume}", []).append(pair)
    groups = list(volumes.values())

    def sample(batch: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        patches = [_patch(groups, size, generator) for _ in range(batch)]
        noisy, clean = torch.stack(patches, dim=1).unsqueeze(2)
        return noisy, clean

    return sample


def _patch(groups: Sequence[Sequence[Pair]], size: int, generator: torch.Generator) -> Tensor:
    """Both images of a pair, shape (2, size, size), cropped, flipped and turned at random."""

    def draw(high: int) -> int:
        return int(torch.randint(high, (1,), generator=generator))

    volume = groups[draw(len(groups))]
    pair = volume[draw(len(volume))]
    both = torch.stack([pair.noisy, pair.noisy if pair.clean is None else pair.clean])
    for axis in (1, 2):
        length = both.shape[axis]
        index = torch.arange(size) + draw(max(0, length - size) + 1)
        index = index % (2 * length)  # a small image is mirrored
        both = both.index_select(axis, torch.where(index < length, index, 2 * length - 1 - index))
    both = torch.rot90(both, draw(4), (1, 2))
    return both.flip(1) if draw(2) else both
