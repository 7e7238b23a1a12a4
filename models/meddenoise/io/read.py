"""One way in for every format: read, check the voxels, decide the modality."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from meddenoise.errors import InputError
from meddenoise.io.dicom_read import read_series
from meddenoise.io.images import Read, is_picture, read_image
from meddenoise.io.modality import decide
from meddenoise.io.source import Source
from meddenoise.io.sources import find_sources
from meddenoise.volume import Modality, Volume


def read_volume(
    source: Source | Path | str, *, modality: Modality | None = None, replace_nonfinite: float | None = None
) -> Volume:
    """Read an image or a DICOM series.

    Args:
        source: What ``find_sources`` gave, or a path that holds exactly one image or series.
        modality: "CT", "MR", "PET" or "XR"; by default what the file says, else a guess that is reported.
        replace_nonfinite: Value put in place of NaN and infinite voxels, which are refused by default.

    Raises:
        InputError: The file cannot be denoised as it is; the message says why and what to do.
        GeometryError: The slices of a series do not form a volume.
    """
    source = _one(source)
    read = read_series(source.files) if source.series_uid is not None else read_image(source.path)
    read = _finite(source, read, replace_nonfinite)
    picture = read.header.display or is_picture(source.path)
    decision = decide(
        source.path.name, stated=read.stated, option=modality, values=read.array, picture=picture
    )
    units = read.header.units
    if decision.modality == "CT" and not read.header.display:
        units = "HU"
    header = replace(
        read.header,
        units=units,
        modality_source=decision.source,
        warnings=read.header.warnings + decision.warnings,
    )
    return Volume(read.array, read.affine, decision.modality, header)


def _one(source: Source | Path | str) -> Source:
    if isinstance(source, Source):
        return source
    sources, _ = find_sources([Path(source)])
    if len(sources) != 1:
        names = ", ".join(s.series_uid or s.path.name for s in sources) or "none"
        raise InputError(f"{source}: must hold one image or series, got {len(sources)}: {names}; name one of them")
    return sources[0]


def _finite(source: Source, read: Read, value: float | None) -> Read:
    if read.array.dtype.kind != "f":
        return read
    bad = ~np.isfinite(read.array)
    count = int(bad.sum())
    if count == 0:
        return read
    if value is None:
        raise InputError(
            f"{source.path}: {count} of {bad.size} voxels are NaN or infinite; "
            "say --replace-nonfinite VALUE to put a value in their place"
        )
    note = f"{source.path.name}: {count} voxels that were NaN or infinite are now {value:g}"
    header = replace(read.header, warnings=(*read.header.warnings, note))
    return replace(read, array=np.where(bad, read.array.dtype.type(value), read.array), header=header)
