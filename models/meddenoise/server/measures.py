"""The numbers that images are scored by: how noisy one is, and how far it and our results are from a clean partner."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from meddenoise import metrics, weights
from meddenoise.errors import InputError
from meddenoise.inference.figures import SLICES
from meddenoise.inference.noise_estimate import (
    LEAST_SIDE,
    METER,
    foreground_threshold,
    level_in,
    noise_map,
    slices_of,
    tissue,
)
from meddenoise.io import find_sources, read_volume
from meddenoise.noise_level import gaussian_blur
from meddenoise.server.images import read_image
from meddenoise.server.options import Options
from meddenoise.server.scores import IMAGE, REFERENCE, Method
from meddenoise.volume import Modality, Volume

DEFINITION = 1
"""Raised whenever a number below is made in another way; scores of an older one are made anew."""

CT_WINDOW = (-160.0, 240.0)
"""HU; the usual window of the abdomen."""
PERCENTILES = (0.1, 99.9)
AIR = -1000.0
ALIGNED = 1e-3
"""Millimetres by which the geometries of two images may differ: formats round it."""


def noise(files: Mapping[str, Path]) -> dict[str, Any]:
    """How noisy an image is, from at most 8 slices, evenly spread.

    "value" is the standard deviation of the noise in the image's unit, as `meddenoise noise` tells it of all
    slices; "relative" the same over the mean signal at the same place, counted from air in a CT and from zero (or the
    darkest value, where that is below zero) otherwise: the inverse of the signal-to-noise ratio, by which images of all
    units compare.
    Where a series holds several images, such as views, it is as noisy as the noisiest.

    Raises:
        InputError: The image cannot be read, or is too small to tell.
    """
    found = [_noise_of(volume, files[IMAGE].name) for volume in _read_all(files[IMAGE])]
    return {**max(found, key=lambda one: one["relative"]), "images": len(found)}


def _noise_of(volume: Volume, name: str) -> dict[str, Any]:
    slices = slices_of(volume, SLICES)
    smooth = gaussian_blur(slices, 2.0)
    where, place = tissue(volume, slices, smooth)
    in_hu = volume.header.units == "HU"
    level = level_in(noise_map(slices, in_hu=in_hu), where)
    if level is None:
        raise InputError(
            f"{name}: slices of {tuple(slices.shape[-2:])} pixels are too small to tell their noise; "
            f"at least {LEAST_SIDE} a side are needed"
        )
    signal = float(smooth[where].mean()) - (AIR if in_hu else min(0.0, float(smooth.min()))) if level else 0.0
    depth = volume.array.shape[volume.slicing_axis]
    return {
        "value": _rounded(level),
        "relative": _rounded(level / signal) if signal > 0 else 0.0,
        "unit": _unit(volume),
        "modality": volume.modality,
        "place": place,
        "slices": f"{min(SLICES, depth)} of {depth}",
    }


def psnr(files: Mapping[str, Path]) -> dict[str, Any]:
    """Peak signal-to-noise ratio to the clean partner, of the image and of each result, in dB; see `_compared`."""
    return _compared(files, "dB", lambda image, clean, mask: metrics.psnr(image[mask], clean[mask], data_range=1.0))


def ssim(files: Mapping[str, Path]) -> dict[str, Any]:
    """Structural similarity to the clean partner, of the image and of each result; see `_compared`."""
    return _compared(files, "", _ssim)


@functools.cache
def _meter() -> str:
    _, card = weights.load(str(METER))
    return f"{card.name} {card.version} {card.sha256[:12]}"


METHODS = (
    Method(
        "noise",
        "How noisy each image is: standard deviation of the noise in the image's unit, and relative to the signal",
        noise,
        lambda: f"noise {DEFINITION}, {_meter()}",
    ),
    Method(
        "psnr",
        "PSNR in dB to the clean partner (label `final`), of each image that has one and of its denoised results",
        psnr,
        lambda: f"psnr {DEFINITION}",
        compares=True,
    ),
    Method(
        "ssim",
        "SSIM to the clean partner (label `final`), of each image that has one and of its denoised results",
        ssim,
        lambda: f"ssim {DEFINITION}",
        compares=True,
    ),
)
"""What the server can score by."""

Values = NDArray[np.float64]
Compare = Callable[[Values, Values, NDArray[np.bool_]], float]


def _compared(files: Mapping[str, Path], unit: str, compare: Compare) -> dict[str, Any]:
    """Compare an image, and each result beside it, with its clean partner.

    Values are clipped to the window: -160 to 240 HU for CT, 0 to 255 for 8-bit pictures, else the partner's 0.1 to 99.9
    percentile. They are counted from its lower end, and its width is the data range. Those voxels count where the
    partner shows the body.

    Returns:
        "value" for the image itself, None where it equals the partner; "results" by tag; "window", "data_range" and
        "mask" in words and numbers; "results_failed", a sentence by tag.

    Raises:
        InputError: The image or the partner cannot be read, or they do not belong together.
    """
    image = _read(files[IMAGE])
    clean = _read(files[REFERENCE], image.modality)
    (low, high), (mask, place) = _window(clean), _body(clean)
    width = high - low

    def value(other: Volume) -> float | None:
        _check_pair(other, clean)
        seen, truth = (np.clip((_slices(v).astype(np.float64) - low) / width, 0.0, 1.0) for v in (other, clean))
        found = compare(seen, truth, mask)
        return _rounded(found) if np.isfinite(found) else None

    results, failed = {}, {}
    mine = value(image)
    for tag in sorted(set(files) - {IMAGE, REFERENCE}):
        try:
            results[tag] = value(_read(files[tag], image.modality))
        except InputError as error:
            failed[tag] = str(error)
    said = {"window": [low, high], "data_range": width, "mask": place, "unit": unit, "window_unit": _unit(clean)}
    return {"value": mine, "results": results, **({"results_failed": failed} if failed else {}), **said}


def _ssim(image: Values, clean: Values, mask: NDArray[np.bool_]) -> float:
    """SSIM over the voxels that count, slice by slice: a whole volume at once would take gigabytes."""
    edge = metrics.SSIM_TAPS // 2
    counts = [int(m[edge:-edge, edge:-edge].sum()) for m in mask]
    pairs = ((i, n) for i, n in enumerate(counts) if n)
    total = sum(n * metrics.ssim(image[i], clean[i], data_range=1.0, mask=mask[i]) for i, n in pairs)
    if not any(counts):
        raise InputError("the clean partner shows nothing that SSIM can be taken of")
    return total / sum(counts)


def _read_all(file: Path) -> list[Volume]:
    sources, _ = find_sources([file])
    if len(sources) > 1:
        return [read_volume(source) for source in sources]
    return [_read(file)]


def _read(file: Path, modality: Modality | None = None) -> Volume:
    return read_image(file, Options(modality=modality))


def _check_pair(image: Volume, clean: Volume) -> None:
    if image.array.shape != clean.array.shape:
        raise InputError(f"the clean partner has {clean.array.shape} voxels, not {image.array.shape}")
    if image.header.units != clean.header.units:
        raise InputError(f"the clean partner is in {_unit(clean)}, not in {_unit(image)}")
    if not np.allclose(image.affine, clean.affine, rtol=0.0, atol=ALIGNED):
        raise InputError("the clean partner lies elsewhere in the patient, or has another spacing")


def _window(clean: Volume) -> tuple[float, float]:
    if clean.header.units == "HU":
        return CT_WINDOW
    if clean.header.display:
        return 0.0, 255.0
    low, high = (_rounded(value) for value in np.percentile(clean.array[~clean.padded()], PERCENTILES))
    if high <= low:
        raise InputError(f"the clean partner shows nothing: its values are {low:g} nearly everywhere")
    return low, high


def _body(clean: Volume) -> tuple[NDArray[np.bool_], str]:
    """Which voxels count, shape (slices, rows, columns), and which these are in words."""
    slices = slices_of(clean)
    smooth = torch.cat([gaussian_blur(slices[i : i + SLICES], 2.0) for i in range(0, len(slices), SLICES)])
    threshold, words = foreground_threshold(clean, smooth)
    mask = (smooth > threshold).squeeze(1).numpy()
    if not mask.any():
        raise InputError("the clean partner shows nothing but background")
    return mask, f"where the clean partner is {words}"


def _slices(volume: Volume) -> NDArray[Any]:
    """The voxels with the slicing axis first; each colour of a picture counts as a slice."""
    values = volume.as_slices().array
    return np.moveaxis(values, -1, 1).reshape(-1, *values.shape[1:3]) if volume.colour else values


def _unit(volume: Volume) -> str:
    return volume.header.units or "grey levels"


def _rounded(value: float) -> float:
    return float(f"{value:.5g}")
