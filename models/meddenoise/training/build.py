"""Builds the file of training slices from a folder of images that has a manifest."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch

from meddenoise.errors import InputError
from meddenoise.training.slices import Slice, SliceInfo, save_slices

MANIFEST = "MANIFEST.csv"
USABLE = "train and evaluate"
CLEAN_DOSES = ("", "full")
ISOTROPY, LEAST_SIDE = 1.3, 96
"""CT volumes of nearly cubic voxels with at least this many along every axis are cut along all three."""


def build_slices(data: Path, out: Path, *, report: Callable[[str], None] = lambda line: None) -> list[Slice]:
    """Read every volume the manifest frees for training and write its slices to ``out``.

    The manifest is a table with the columns volume_id, modality, use, subject, path (relative to ``data``),
    intensity_units, dose and data_license; rows of another use than "train and evaluate", and low-dose partners, are
    left out. Volumes that cannot be read are reported and passed over.

    Raises:
        InputError: No manifest, or nothing usable in it.
    """
    try:
        rows = list(csv.DictReader((data / MANIFEST).read_text().splitlines()))
    except OSError as error:
        raise InputError(f"no training data: {data / MANIFEST} cannot be read ({error.strerror})") from error
    slices: list[Slice] = []
    for row in rows:
        if row["use"] == USABLE and row["dose"] in CLEAN_DOSES:
            try:
                slices += _slices_of(row, data)
            except InputError as error:
                report(f"left out: {error}")
    if not slices:
        raise InputError(f"no training data: {data / MANIFEST} names no readable volume for {USABLE!r}")
    out.parent.mkdir(parents=True, exist_ok=True)
    save_slices(slices, out)
    report(f"{len(slices)} slices of {len({s.info.subject for s in slices})} subjects in {out}")
    return slices


def _slices_of(row: dict[str, str], data: Path) -> Iterator[Slice]:
    # Reading needs SimpleITK and pydicom, which a bare training machine need not have.
    from dataclasses import replace

    from meddenoise.intensity import intensity_of
    from meddenoise.io import find_sources, read_volume

    sources, _ = find_sources([data / row["path"]])
    for source in sources:
        volume = read_volume(source, modality=row["modality"])  # type: ignore[arg-type]  # checked by read_volume
        if row["intensity_units"].startswith("SUV"):
            volume = replace(volume, header=replace(volume.header, units="SUV"))
        rule = intensity_of(volume)
        info = SliceInfo(
            volume=row["volume_id"],
            subject=row["subject"],
            modality=row["modality"],
            display=volume.header.display,
            offset=rule.offset,
            scale=rule.scale,
            licence=row["data_license"],
        )
        cubic = max(volume.spacing) < ISOTROPY * min(volume.spacing) and min(volume.array.shape) >= LEAST_SIDE
        for axis in (0, 1, 2) if cubic and row["modality"] == "CT" else (0,):
            for values in np.moveaxis(volume.array, axis, 0):
                if values.std() > 1e-3 * rule.scale:
                    yield Slice(torch.from_numpy(np.array(values)), info)
