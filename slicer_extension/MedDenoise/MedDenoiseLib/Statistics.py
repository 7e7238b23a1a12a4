"""The numbers beside the images: noise before and after, bias, and how much was changed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from MedDenoiseLib.Comparison import Comparison
from MedDenoiseLib.Images import unitOf, voxels, voxelsOn
from MedDenoiseLib.Input import InputError
from MedDenoiseLib.Region import maskOf

LEAST = 16
"""Voxels that a slice of a region needs to count."""
BLOCK = 16
"""Side in voxels of the blocks in which noise of the whole volume is followed."""
SLICES = 8
"""At most this many slices of the whole volume are looked at."""
FLATTEST = 0.125
"""Share of the blocks that counts as flat."""
BY_SERVER = "whole image, estimated by the server"
HERE = "whole image"
REGION = "in the region"


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        quantity: What was measured.
        original: Its value in the original; None where it only says something about the change.
        denoised: Its value in the denoised image, at the present strength; None where it cannot be measured.
        unit: Of both, "" for a plain number.
        source: Where and by whom.
    """

    quantity: str
    original: float | None
    denoised: float | None
    unit: str
    source: str


def statisticsOf(comparison: Comparison) -> list[Row]:
    """Rows for the whole image at the present strength.

    At full strength they are the server's figures as it sent them. In between, the bias is the server's times the
    strength, and the noise follows from the two noise levels and from how alike the noise before and after is, which is
    measured here in the flattest blocks. The share of changed voxels is counted.
    """
    figures, strength = comparison.figures, comparison.strength
    unit = str(figures.get("units") or unitOf(comparison.original))
    noise, left = figures.get("noise_before"), figures.get("noise_after")
    bias, change = figures.get("bias"), figures.get("rms_change")
    after = left
    if strength < 1.0 and noise and left is not None:
        after = _noiseBetween(noise, left, strength, _alike(comparison))
    return [
        Row("Noise (standard deviation)", noise, after, unit, BY_SERVER),
        Row("Bias (mean change)", None, None if bias is None else bias * strength, unit, BY_SERVER),
        Row("Root mean square change", None, None if change is None else change * strength, unit, BY_SERVER),
        Row("Voxels changed", None, 100.0 * _share(comparison), "%", HERE),
    ]


def regionStatisticsOf(comparison: Comparison, drawn: Any, segment: str = "") -> list[Row]:
    """Rows for a region that the user drew, measured here at the present strength.

    The noise is the standard deviation about the best-fitting plane of each slice of the region, the slices together by
    their mean square. In flat tissue that is the noise, of any grain that is finer than the region. Edges and texture
    inside the region count as noise, so draw it where the tissue is even.

    Args:
        comparison: A complete one.
        drawn: See Region.maskOf.
        segment: Id of the segment of a segmentation.

    Raises:
        InputError: No slice of the region has LEAST voxels, or nothing of it lies in the image.
    """
    box, mask = maskOf(comparison.original, drawn, segment)
    before = voxels(comparison.original)[box.slices].astype(np.float64)
    after = voxelsOn(comparison.original, comparison.denoised)[box.slices].astype(np.float64)
    used = [index for index in range(len(mask)) if np.count_nonzero(mask[index]) >= LEAST]
    if not used:
        raise InputError(
            f"{drawn.GetName()} has fewer than {LEAST} voxels on every slice, too few to measure noise.",
            "Make it larger.",
        )
    unit = unitOf(comparison.original) or str(comparison.figures.get("units") or "")
    change = after[mask] - before[mask]
    noise = [_noiseAboutPlanes(values, mask, used) for values in (before, after)]
    return [
        Row("Noise (standard deviation about a plane)", noise[0], noise[1], unit, REGION),
        Row("Mean", float(before[mask].mean()), float(after[mask].mean()), unit, REGION),
        Row("Standard deviation", float(before[mask].std()), float(after[mask].std()), unit, REGION),
        Row("Bias (mean change)", None, float(change.mean()), unit, REGION),
        Row("Root mean square change", None, float(np.sqrt(np.mean(change**2))), unit, REGION),
        Row("Voxels changed", None, 100.0 * float(np.mean(change != 0)), "%", REGION),
    ]


def _noiseAboutPlanes(values: np.ndarray, mask: np.ndarray, used: list[int]) -> float:
    """Root of the residuals' mean square, corrected for the three numbers that each slice's plane takes."""
    squares, freedom = 0.0, 0
    for index in used:
        rows, columns = np.nonzero(mask[index])
        basis = np.stack([np.ones(len(rows)), rows - rows.mean(), columns - columns.mean()], axis=1)
        inside = values[index][mask[index]]
        fit, _, rank, _ = np.linalg.lstsq(basis, inside, rcond=None)
        squares += float(np.sum((inside - basis @ fit) ** 2))
        freedom += len(rows) - int(rank)
    return float(np.sqrt(squares / freedom))


def _share(comparison: Comparison) -> float:
    """Share of voxels, 0 to 1, whose stored value is another."""
    before, after = voxels(comparison.original), voxelsOn(comparison.original, comparison.denoised)
    return sum(int(np.count_nonzero(here != there)) for here, there in zip(before, after)) / before.size


def _noiseBetween(before: float, after: float, strength: float, alike: float) -> float:
    """Standard deviation of the mix of two noises whose correlation is ``alike``."""
    weak, strong = (1.0 - strength) * before, strength * after
    return float(np.sqrt(max(0.0, weak**2 + 2.0 * alike * weak * strong + strong**2)))


def _alike(comparison: Comparison) -> float:
    """Correlation of original and answer in the blocks that are flattest in the answer; 1 where there is none."""
    original = voxels(comparison.original)
    answer = voxelsOn(comparison.original, comparison.answer)
    chosen = np.unique(np.linspace(0, len(original) - 1, SLICES).round().astype(int))
    before, after = (_blocks(values[chosen]) for values in (original, answer))
    power = (after**2).mean(axis=1)
    kept = np.flatnonzero((power > 0) & ((before**2).mean(axis=1) > 0))
    if not kept.size:
        return 1.0
    flat = kept[power[kept].argsort()[: max(1, round(FLATTEST * kept.size))]]
    here, there = before[flat], after[flat]
    return float(np.sum(here * there) / np.sqrt(np.sum(here**2) * np.sum(there**2)))


def _blocks(images: np.ndarray) -> np.ndarray:
    """(slices, rows, columns) as blocks (count, side x side) without their means; borders are cut."""
    side = min(BLOCK, *images.shape[1:])
    rows, columns = (extent // side for extent in images.shape[1:])
    cut = images[:, : rows * side, : columns * side].astype(np.float64)
    cut = cut.reshape(len(images), rows, side, columns, side).swapaxes(2, 3).reshape(-1, side * side)
    return cut - cut.mean(axis=1, keepdims=True)
