"""One way in for every format: read, check the voxels, decide the modality."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from meddenoise.errors import InputError
from meddenoise.io.dicom_read import read_series
from meddenoise.io.images import Read, is_picture, read_image, used_range
from meddenoise.io.modality import decide
from meddenoise.io.source import MARK, Source
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

    Returns:
        Values in the stored type where that holds them exactly (float64 becomes float32); CT in HU, PET in Bq/mL.

    Raises:
        InputError: The file cannot be denoised as it is; the message says why and what to do.
        GeometryError: The slices of a series do not form a volume.
    """
    source = _one(source)
    if not source.files:
        raise InputError(
            f"{source.path}: the folder holds no image to denoise; name a folder with DICOM or image files"
        )
    is_series = source.series_uid is not None
    read = read_series(str(source.path), source.files) if is_series else read_image(source.path)
    read = _finite(source, read, replace_nonfinite)
    picture = read.header.display or is_picture(source.path)
    name = source.path.name
    decision = decide(name, stated=read.stated, option=modality, values=read.array, picture=picture)
    chosen, notes = decision.modality, decision.warnings if read.array.ndim == 3 else ()  # no colour is of a modality
    if is_picture(source.path) and chosen != "XR":  # no units in them, whatever the option says
        chosen, notes = (
            "XR",
            (*notes, f"{name}: a picture has no physical units; it is denoised as one, not as {chosen}"),
        )
    units, unit_notes = _units(source, read, chosen)
    by_bits = chosen == "XR" and not (is_series or picture) and read.array.dtype.kind in "iu"
    bits, bit_notes = used_range(name, read.array) if by_bits else (None, ())
    warnings = (*read.header.warnings, *notes, *unit_notes, *bit_notes, *_mark_note(source, read))
    header = replace(read.header, units=units, used_range=bits, modality_source=decision.source, warnings=warnings)
    return Volume(read.array, read.affine, chosen, header)


def provenance_of(volume: Volume | Path | str) -> str | None:
    """A sentence where the volume, or the file or series at a path, is a result of ours given in again, else None."""
    header = (volume if isinstance(volume, Volume) else read_volume(volume)).header
    mark = header.metadata.get(MARK)
    if not mark:
        return None
    name = header.sources[0].name if header.sources else "the image"
    return f"{name}: is already a result of {MARK} ({mark}); denoising it again removes more than noise"


def _units(source: Source, read: Read, modality: Modality) -> tuple[str, tuple[str, ...]]:
    """The physical unit; a CT by option or guess is taken to be in HU, with a warning where it does not look so."""
    if read.header.display:
        return "", ()
    if source.series_uid is not None and (modality != "CT" or read.stated == "CT"):
        return read.header.units, ()
    if modality != "CT":
        return "", ()
    low = float(read.array.min())
    note = f"{source.path.name}: taken as Hounsfield units, but no value is below 0 (lowest: {low:g}); is it in HU?"
    return "HU", (note,) if low >= 0 else ()


def _mark_note(source: Source, read: Read) -> tuple[str, ...]:
    sentence = provenance_of(Volume(read.array, read.affine, "XR", read.header))
    return () if sentence is None else (sentence,)


def _one(source: Source | Path | str) -> Source:
    if isinstance(source, Source):
        return source
    sources, skipped = find_sources([Path(source)])
    if len(sources) > 1:
        names = ", ".join(s.series_uid or s.path.name for s in sources)
        raise InputError(f"{source}: must hold one image or series, got {len(sources)}: {names}; name one of them")
    if not sources[0].files and skipped:
        raise InputError(f"{source}: the folder holds no image to denoise: {'; '.join(skipped[:5])}")
    return sources[0]


def _finite(source: Source, read: Read, value: float | None) -> Read:
    if read.array.dtype.kind != "f":
        return read
    bad = ~np.isfinite(read.array)
    count = int(bad.sum())
    if count == 0:
        return read
    if value is None:
        nans = int(np.isnan(read.array).sum())
        raise InputError(
            f"{source.path}: {nans} of {bad.size} voxels are NaN and {count - nans} infinite; "
            "say --replace-nonfinite VALUE to put a value in their place"
        )
    note = f"{source.path.name}: {count} voxels that were NaN or infinite are now {value:g}"
    header = replace(read.header, warnings=(*read.header.warnings, note))
    return replace(read, array=np.where(bad, read.array.dtype.type(value), read.array), header=header)
