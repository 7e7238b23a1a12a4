"""How noisy an image is, estimated from the image alone (torch only)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

BLOCK = 8
FLOOR = 1e-4
"""Smallest level in network units (0.4 HU, 0.03 grey levels): keeps divisions by the level finite."""


def gaussian_blur(image: Tensor, sigma: float) -> Tensor:
    """Blur (batch, 1, rows, columns) by a Gaussian of ``sigma`` pixels; edge pixels are repeated outwards."""
    radius = int(3 * sigma + 0.5)
    taps = [math.exp(-0.5 * (away / sigma) ** 2) for away in range(radius + 1)]
    total = 2 * sum(taps) - taps[0]
    taps = [tap / total for tap in taps]
    padded = F.pad(image, (radius, radius, radius, radius), mode="replicate")
    return _weighted_sum(_weighted_sum(padded, taps, dim=3), taps, dim=2)


def _weighted_sum(padded: Tensor, taps: list[float], *, dim: int) -> Tensor:
    """Correlate with symmetric taps, the middle one first.

    Shifted sums take less time than a convolution, which processors pad from one channel to sixteen.
    """
    radius = len(taps) - 1
    length = padded.shape[dim] - 2 * radius
    total = taps[0] * padded.narrow(dim, radius, length)
    for away, tap in enumerate(taps[1:], start=1):
        both = padded.narrow(dim, radius - away, length) + padded.narrow(dim, radius + away, length)
        total = torch.add(total, both, alpha=tap)
    return total


def level_map(image: Tensor) -> Tensor:
    """A smooth local scale of the fine detail, which in flat tissue is the noise's standard deviation.

    It is the median over 5x5 blocks of 8x8 pixels of the energy left by a Gaussian of 1.5 pixels: an edge that crosses
    less than half of the blocks does not raise it. It follows white and correlated noise within tens of per cent, which
    is what a network needs as a scale; for a figure to report use noise_level.

    Args:
        image: Network units, shape (batch, channels, rows, columns), float32.

    Returns:
        Network units, same shape, at least FLOOR; each channel's own.
    """
    shape = image.shape
    rows, columns = shape[-2:]
    image = image.reshape(-1, 1, rows, columns)
    energy = (image - gaussian_blur(image, 1.5)) ** 2
    energy = F.pad(energy, (0, -columns % BLOCK, 0, -rows % BLOCK), mode="replicate")
    energy = F.avg_pool2d(energy, BLOCK)
    # Blocks without any detail (masked background) say nothing about the noise elsewhere: bound them by the median.
    median = _median_above(energy.flatten(1), FLOOR**2).reshape(-1, 1, 1, 1)
    energy = torch.minimum(torch.maximum(energy, 0.01 * median), 1000.0 * median)
    around = F.pad(energy, (2, 2, 2, 2), mode="replicate").unfold(2, 5, 1).unfold(3, 5, 1)
    middle = around.flatten(-2).sort(dim=-1).values[..., 12]  # the median, which ONNX does not know
    smooth = F.avg_pool2d(middle.log(), 3, stride=1, padding=1, count_include_pad=False)
    size = (smooth.shape[-2] * BLOCK, smooth.shape[-1] * BLOCK)
    level = F.interpolate((0.5 * smooth).exp(), size=size, mode="bilinear", align_corners=False)
    return level[..., :rows, :columns].clamp_min(FLOOR).reshape(shape)


def _median_above(values: Tensor, least: float) -> Tensor:
    """The lower median of those above ``least``, or that where there are none; (batch, count) to (batch, 1)."""
    above = values > least
    ordered = torch.where(above, values, torch.inf).sort(dim=1).values
    middle = (above.sum(dim=1, keepdim=True) - 1).clamp_min(0) // 2
    median = ordered.gather(1, middle)
    return torch.where(median.isinf(), least, median)


BLOCK_SIDES = (24, 16, 12, 8)
"""Sides in pixels of the blocks the global figure is taken from; the largest that fits the foreground is used."""
LEAST_BLOCKS = 8
FLATTEST = 0.12
"""Share of the blocks taken as free of structure."""


def noise_level(slices: Tensor, foreground: Tensor, guide: Tensor | None = None) -> float | None:
    """Standard deviation of the noise in the foreground, right for correlated noise too.

    Blocks of 24x24 pixels (smaller where the foreground is) are cleared of their plane, and the flattest eighth is
    looked at. With a guide these are the blocks flattest in the guide, and the level is theirs; a guide blurred so far
    that no noise is left in it chooses without favour. Without one they are those with the least power below 0.12
    cycles per pixel for their power above 0.25; they show how much of the noise lies in that high band, which then
    gives the level of all blocks.

    Args:
        slices: Any unit, shape (batch, 1, rows, columns).
        foreground: True where the level matters, same shape. Blocks not wholly inside, and blocks of (nearly) constant
            values, are left out.
        guide: Same shape as ``slices``.

    Returns:
        In the unit of ``slices``; 0 for a constant image; None where the foreground is too small to tell.
    """
    if bool((slices == slices.flatten()[0]).all()):
        return 0.0
    chosen = _flat_blocks(slices, foreground)
    if chosen is None:
        return None
    side, kept = chosen
    blocks = _without_plane(_blocks(slices, side)[kept])
    count = max(LEAST_BLOCKS // 2, round(FLATTEST * len(blocks)))
    if guide is not None:
        order = _without_plane(_blocks(guide, side)[kept]).square().mean(dim=(1, 2)).argsort()
        return float(blocks[order[:count]].square().mean().sqrt())
    power = torch.fft.fft2(blocks).abs() ** 2 / side**4
    frequency = torch.fft.fftfreq(side, device=slices.device)
    radius = torch.sqrt(frequency[:, None] ** 2 + frequency**2)
    low = (power * (radius < 0.12)).sum(dim=(1, 2))
    high = (power * (radius > 0.25)).sum(dim=(1, 2))
    flattest = (low / high.clamp_min(1e-30)).argsort()[:count]
    ratio = power.sum(dim=(1, 2))[flattest].mean() / high[flattest].mean().clamp_min(1e-30)
    return float((ratio * high.median()).sqrt())


def _flat_blocks(slices: Tensor, foreground: Tensor) -> tuple[int, Tensor] | None:
    """The largest block side with enough blocks in the foreground, and which blocks to use; None if none has."""
    for side in BLOCK_SIDES:
        if side > min(slices.shape[-2:]):
            continue
        kept = _blocks(foreground.to(slices.dtype), side).amin(dim=(1, 2)) > 0
        variance = _without_plane(_blocks(slices, side)).square().mean(dim=(1, 2))
        kept = kept & (variance > 0)
        if bool(kept.any()):  # saturated areas hold no noise and would pass for the flattest tissue
            kept = kept & (variance > 0.01 * variance[kept].median())
        if int(kept.sum()) >= LEAST_BLOCKS:
            return side, kept
    return None


def _blocks(images: Tensor, side: int) -> Tensor:
    """Cut (batch, 1, rows, columns) into blocks of shape (count, side, side), dropping what is left at the borders."""
    cut = images[:, 0].unfold(1, side, side).unfold(2, side, side)
    return cut.reshape(-1, side, side)


def _without_plane(blocks: Tensor) -> Tensor:
    """Blocks (count, side, side) minus their least-squares plane."""
    side = blocks.shape[-1]
    ramp = torch.linspace(-1.0, 1.0, side, device=blocks.device, dtype=blocks.dtype)
    scale = (ramp**2).mean()
    blocks = blocks - blocks.mean(dim=(1, 2), keepdim=True)
    along_rows = (blocks * ramp[:, None]).mean(dim=(1, 2), keepdim=True) / scale
    along_columns = (blocks * ramp).mean(dim=(1, 2), keepdim=True) / scale
    return blocks - along_rows * ramp[:, None] - along_columns * ramp


CELL = 8
TINY = 1e-30


def relative_detail(image: Tensor) -> tuple[Tensor, Tensor]:
    """Fine and coarse detail over the typical size of the fine one, the same for an image in any unit.

    Args:
        image: Any unit, shape (batch, 1, rows, columns), sides multiples of 8, float32.

    Returns:
        asinh of what Gaussians of 1 and of 6 pixels leave, over the scale, shape (batch, 2, rows, columns); and that
        scale in the image's unit, shape (batch, 1, 1, 1): the median over 8x8 cells of the mean size of the fine
        detail, cells that are nearly empty left out; 0 for a constant image.
    """
    image = image - image[..., :1, :1]  # so that a constant leaves no rounding
    fine, coarse = (image - gaussian_blur(image, sigma) for sigma in (1.0, 6.0))
    cells = F.avg_pool2d(fine.abs(), CELL).flatten(1)
    cells = torch.where(cells >= 0.25 * cells.mean(dim=1, keepdim=True), cells, torch.nan)
    scale = cells.nanmedian(dim=1).values.reshape(-1, 1, 1, 1)
    return torch.asinh(torch.cat([fine, coarse], dim=1) / scale.clamp_min(TINY)), scale
