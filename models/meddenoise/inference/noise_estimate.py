"""How noisy an image is, place by place, estimated from the image alone."""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from meddenoise import weights
from meddenoise.errors import InputError
from meddenoise.intensity import CT_AIR
from meddenoise.networks import NoiseMeter
from meddenoise.noise_level import gaussian_blur, relative_detail
from meddenoise.volume import Volume

METER = Path(weights.__file__).parent / "meters" / "noise-meter.safetensors"
LEAST_SIDE = 8
"""Slices narrower than this many pixels tell nothing about noise."""
SLICES_AT_ONCE = 4
PIXELS_AT_ONCE = 2**18
"""Fewer slices at once where they are larger, down to one: a CPU pads one channel to 16, and would spend more time on
asking for that memory than on the work."""
SOFT_TISSUE = (20.0, 110.0)
"""In HU, after a Gaussian of 4 pixels."""
LEAST_SHARE = 0.02
"""Share of the foreground that soft tissue must have to stand for it."""


@dataclass(frozen=True)
class NoiseEstimate:
    """The noise of a volume.

    Attributes:
        level: Median of the map where the tissue is, in the volume's unit; 0 for a constant image, None where there is
            too little image to tell.
        map: Local standard deviation of the noise, float32, in the volume's geometry and unit; None as for ``level``.
        place: Where the level was taken: "soft tissue" or the foreground, in words.
    """

    level: float | None
    map: Volume | None
    place: str


def estimate_noise(volume: Volume) -> NoiseEstimate:
    """Estimate the standard deviation of the noise, for correlated and spatially varying noise too.

    Each slice is read by a small network trained on simulated noise of all modalities; see its card. Places finer than
    8 pixels are not told apart.

    Args:
        volume: Any modality.

    Raises:
        InputError: An empty array, voxels that are not finite, or colour.
    """
    if volume.colour:
        raise InputError("the noise of a colour picture is not mapped; give a grey image")
    if volume.array.size == 0 or not np.isfinite(volume.array).all():
        raise InputError(f"the noise of {volume.array.shape} voxels cannot be estimated: some are missing or no number")
    slices = slices_of(volume)
    smooth = smoothed(slices, 2.0)
    where, place = tissue(volume, slices, smooth)
    found = noise_map(slices, in_hu=volume.header.units == "HU")
    level = level_in(found, where)
    if found is None:
        return NoiseEstimate(level, None, place)
    header = replace(volume.header, dtype="float32", stored_range=None, padding=None)
    back = np.moveaxis(found.squeeze(1).numpy(), 0, volume.slicing_axis)
    return NoiseEstimate(level, replace(volume, array=np.ascontiguousarray(back), header=header), place)


def slices_of(volume: Volume, most: int | None = None) -> Tensor:
    """The slices of a volume as float32, shape (slices, 1, rows, columns), padding as low as the lowest of the rest.

    Each colour of a colour picture counts as a slice.

    Args:
        volume: Any volume; it is cut across its slicing axis.
        most: Take no more than this many, evenly spread.
    """
    array, padded = (np.moveaxis(a, volume.slicing_axis, 0) for a in (volume.array, volume.padded()))
    picks = np.unique(np.linspace(0, len(array) - 1, min(most or len(array), len(array))).round().astype(int))
    values, padded = array[picks].astype(np.float32), padded[picks]
    if padded.any() and not padded.all():
        values[padded] = values[~padded].min()
    if volume.colour:
        values = np.moveaxis(values, -1, 1).reshape(-1, *values.shape[1:3])
    return torch.from_numpy(np.ascontiguousarray(values)).unsqueeze(1)


def smoothed(slices: Tensor, sigma: float) -> Tensor:
    """What gaussian_blur gives, in less memory and time where there are many large slices on a CPU."""
    return torch.cat([gaussian_blur(part, sigma) for part in _parts(slices)])


def noise_map(slices: Tensor, *, in_hu: bool) -> Tensor | None:
    """Local standard deviation of the noise.

    Args:
        slices: Any unit, shape (batch, 1, rows, columns), float32.
        in_hu: Whether values below air are padding.

    Returns:
        Same unit and shape; None where the slices are too small to tell.
    """
    if min(slices.shape[-2:]) < LEAST_SIDE:
        return None
    return torch.cat([_map(part.clamp_min(CT_AIR) if in_hu else part) for part in _parts(slices)])


def level_in(found: Tensor | None, where: Tensor) -> float | None:
    """Median of a noise map where ``where`` is True; None without a map or a place, 0 for a constant image."""
    if found is None:
        return None
    if not bool(found.any()):
        return 0.0
    return float(found[where].median()) if bool(where.any()) else None


def tissue(volume: Volume, slices: Tensor, smooth: Tensor) -> tuple[Tensor, str]:
    """Where the noise level is taken, and that place in words.

    Soft tissue in a CT in HU that shows enough of it, because texture of lung and bone looks like noise; else the
    foreground.

    Args:
        volume: What the slices are of.
        slices: Shape (batch, 1, rows, columns).
        smooth: The same, smoothed by a Gaussian of 2 pixels.
    """
    threshold, words = foreground_threshold(volume, smooth)
    foreground = smooth > threshold
    if volume.header.units == "HU":
        smoother = smoothed(slices, 4.0)
        soft = (smoother > SOFT_TISSUE[0]) & (smoother < SOFT_TISSUE[1])
        if float(soft.sum()) > LEAST_SHARE * float(foreground.sum()):
            return soft, f"soft tissue, {SOFT_TISSUE[0]:g} to {SOFT_TISSUE[1]:g} HU after smoothing"
    return foreground, words


def foreground_threshold(volume: Volume, smooth: Tensor) -> tuple[float, str]:
    """The value that parts body from air, and the body in words."""
    if volume.header.units == "HU":
        return -300.0, "above -300 HU after smoothing"
    low, high = (float(q) for q in np.percentile(smooth.numpy(), (0.1, 99.0)))
    return low + 0.1 * (high - low), "above a tenth of the range up to the 99th percentile after smoothing"


@functools.cache
def _meter() -> NoiseMeter:
    network, _ = weights.load(str(METER))
    assert isinstance(network, NoiseMeter)
    return network


def _parts(slices: Tensor) -> list[Tensor]:
    """A few slices each."""
    rows, columns = slices.shape[-2:]
    few = max(1, min(SLICES_AT_ONCE, PIXELS_AT_ONCE // (rows * columns)))
    return [slices[i : i + few] for i in range(0, len(slices), few)]


def _map(slices: Tensor) -> Tensor:
    rows, columns = slices.shape[-2:]
    edge = (0, -columns % NoiseMeter.factor, 0, -rows % NoiseMeter.factor)
    detail, scale = relative_detail(F.pad(slices, edge, mode="replicate"))
    with torch.inference_mode():
        coarse = _meter()(detail).exp() * scale
    fine = F.interpolate(coarse, scale_factor=NoiseMeter.factor, mode="bilinear", align_corners=False)
    return fine[..., :rows, :columns]
