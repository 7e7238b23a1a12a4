"""Between a request and a Volume: what the server reads, the file it answers with, and the JSON beside it."""

from __future__ import annotations

import os
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from meddenoise.errors import InputError, MedDenoiseError, OptionError
from meddenoise.inference import Result
from meddenoise.io import Deidentifier, Provenance, Source, find_sources, read_volume, write_dicom_series, write_volume
from meddenoise.io.deidentify import PIXELS_NOT_LOOKED_AT
from meddenoise.io.dicom_file import read_head
from meddenoise.report import as_dict, as_markdown
from meddenoise.server.options import DICOM, Options
from meddenoise.volume import Volume


def read_image(path: Path, options: Options) -> Volume:
    """Read the one image of a request: a file, or a folder that holds one DICOM series.

    Raises:
        InputError: The path holds no image, several images, or one that cannot be denoised.
    """
    try:
        return _read(path, options)
    except InputError as error:  # a client is not told where the server keeps its files
        raise type(error)(str(error).replace(f"{path.parent}{os.sep}", "")) from error


def _read(path: Path, options: Options) -> Volume:
    sources, skipped = find_sources([path], series=options.series)
    if not sources:
        raise InputError(f"{path.name} holds no image that can be denoised; " + "; ".join(skipped))
    if options.instance is not None:
        sources = [source for source in sources if options.instance in _instances(source)]
        if not sources:
            raise InputError(f"{path.name} holds no image with the SOPInstanceUID {options.instance}")
    if len(sources) > 1:
        one_series = {source.series_uid for source in sources} == {sources[0].series_uid} != {None}
        names = [_instances(source)[0] if one_series else source.series_uid or source.stem for source in sources]
        option = "instance" if one_series else "series"
        raise InputError(
            f"{path.name} holds {len(sources)} images; choose one with the option {option}: {', '.join(names)}"
        )
    return read_volume(sources[0], modality=options.modality, replace_nonfinite=options.replace_nonfinite)


def _instances(source: Source) -> list[str]:
    """SOPInstanceUIDs of the files of a DICOM source."""
    heads = (read_head(file, ["SOPInstanceUID"]) for file in source.files)
    return [str(head.get("SOPInstanceUID", "")) for head in heads if head is not None] or [source.stem]


def write_result(result: Result, options: Options) -> Path:
    """Write what the client asked for into a new temporary file, which MONAI Label removes once it is sent.

    Raises:
        OptionError: The stored type asked for cannot hold the values; or DICOM was asked for, and the input was none.
        OutputError: The format cannot hold the image, or there is no room for it.
    """
    dicom = options.result_extension == DICOM
    handle, name = tempfile.mkstemp(
        prefix=f"{options.output_type}-", suffix=".zip" if dicom else options.result_extension
    )
    os.close(handle)
    path = Path(name)
    try:
        if dicom:
            return _write_series(result, options, path)
        return write_volume(stored_as(_wanted(result, options), options.result_dtype), path)
    except BaseException as error:
        path.unlink(missing_ok=True)
        if isinstance(error, MedDenoiseError):
            raise type(error)(str(error).replace(f"{path}: ", "")) from error.__cause__
        raise


def _wanted(result: Result, options: Options) -> Volume:
    if options.output_type == "uncertainty":
        assert result.uncertainty is not None, "the denoiser was not asked for it"
        return result.uncertainty
    if options.output_type == "noise":
        assert result.noise is not None, "the denoiser was not asked for it"
        return result.noise
    return result.difference if options.output_type == "difference" else result.volume


def _write_series(result: Result, options: Options, path: Path) -> Path:
    """Write the derived DICOM series as a zip."""
    if result.volume.header.ext != DICOM:
        raise OptionError(
            f"a DICOM result can only be derived from DICOM, the input was {result.volume.header.ext}; "
            "choose another result_extension"
        )
    provenance = Provenance(result.model["name"], result.model["version"], options.strength)
    deidentifier = Deidentifier() if options.deidentify else None
    with tempfile.TemporaryDirectory(prefix="meddenoise-") as folder:
        files = write_dicom_series(result.volume, Path(folder) / "series", provenance, deidentifier=deidentifier)
        with zipfile.ZipFile(path, "w") as archive:
            for file in files:
                archive.write(file, file.name)
    return path


def stored_as(volume: Volume, dtype: str) -> Volume:
    """The volume in another stored type; values are rounded to integers, and refused where they do not fit.

    Raises:
        OptionError: An integer type that is too narrow: clipping would take away all air, or all bone, of a CT.
    """
    if dtype == "input":
        return volume
    if not np.issubdtype(dtype, np.integer):
        header = replace(volume.header, dtype=dtype, stored_range=None)
        return replace(volume, array=volume.array.astype(dtype), header=header)
    low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
    values = np.rint(volume.array.astype(np.float64))
    if values.min() < low or values.max() > high:
        found = f"{values.min():.0f} to {values.max():.0f}"
        raise OptionError(f"result_dtype {dtype} holds {low} to {high}, the result has {found}; choose a wider one")
    header = replace(volume.header, dtype=dtype, stored_range=(float(low), float(high)))
    return replace(volume, array=values.astype(dtype), header=header)


def report(volume: Volume, result: Result, options: Options, latencies: Mapping[str, float]) -> dict[str, Any]:
    """The JSON beside the image: times under MONAI Label's own keys, and the report every front end gives.

    Args:
        volume: The input, as read.
        result: What the denoiser gave.
        options: What the client asked for.
        latencies: Seconds of the stages "pre", "infer" and "write".
    """
    stages = {"pre": 0.0, "infer": 0.0, "invert": 0.0, "post": 0.0, "write": 0.0, **latencies}
    times = {name: round(seconds, 3) for name, seconds in stages.items()}
    said = as_dict(volume, result)
    page = {"report": as_markdown(volume, result)} if options.report else {}
    pixels = (PIXELS_NOT_LOOKED_AT,) if options.deidentify else ()
    return {
        **said,
        **page,
        "label_names": {},
        "latencies": {**times, "total": round(sum(stages.values()), 3), "transform": {}},
        "output_type": options.output_type,
        "warnings": [*options.warnings, *pixels, *said["warnings"]],
    }
