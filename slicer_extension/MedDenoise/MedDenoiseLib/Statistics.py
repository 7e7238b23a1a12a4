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
BY_SERVER_INSIDE = "the region that was sent, estimated by the server"
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
    after, source = left, BY_SERVER_INSIDE if comparison.limited else BY_SERVER
    source += f": {figures['foreground']}" if figures.get("foreground") else ""
    if strength < 1.0 and noise and left is not None:
        after = _noiseBetween(noise, left, strength, _alike(comparison))
    return [
        Row("Noise (standard deviation)", noise, after, unit, source),
        Row("Bias (mean change)", None, None if bias is None else bias * strength, unit, source),
        Row("Root mean square change", None, None if change is None else change * strength, unit, source),
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
    before = voxels(comparison.original)[box.slices]
    after = voxelsOn(comparison.original, comparison.denoised)[box.slices]
    slices = [(inside, here, there) for inside, here, there in zip(mask, before, after) if inside.any()]
    if not any(np.count_nonzero(inside) >= LEAST for inside, _, _ in slices):
        raise InputError(
            f"{drawn.GetName()} has fewer than {LEAST} voxels on every slice, too few to measure noise.",
            "Make it larger.",
        )
    unit = unitOf(comparison.original) or str(comparison.figures.get("units") or "")
    noise = _noiseAboutPlanes(slices)
    mean, deviation, power, changed = _moments(slices)
    return [
        Row("Noise (standard deviation about a plane)", noise[0], noise[1], unit, REGION),
        Row("Mean", mean[0], mean[1], unit, REGION),
        Row("Standard deviation", deviation[0], deviation[1], unit, REGION),
        Row("Bias (mean change)", None, mean[2], unit, REGION),
        Row("Root mean square change", None, float(np.sqrt(power)), unit, REGION),
        Row("Voxels changed", None, 100.0 * changed, "%", REGION),
    ]


def _noiseAboutPlanes(slices: list[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> list[float]:
    """Roots of the residuals' mean squares, corrected for the three numbers that each slice's plane takes.

    Args:
        slices: Mask (rows, columns), voxels before and voxels after, one slice at a time.

    Returns:
        Before and after.
    """
    squares, freedom = np.zeros(2), 0
    for inside, here, there in slices:
        rows, columns = (place - place.mean() for place in np.nonzero(inside))
        if len(rows) < LEAST:
            continue
        basis = np.stack([np.ones(len(rows)), rows, columns])
        values = np.stack([here[inside], there[inside]]).astype(np.float64)
        values -= values.mean(axis=1, keepdims=True)
        fit, _, rank, _ = np.linalg.lstsq(basis @ basis.T, basis @ values.T, rcond=None)
        squares += np.sum((values - fit.T @ basis) ** 2, axis=1)
        freedom += len(rows) - int(rank)
    return [float(noise) for noise in np.sqrt(squares / freedom)]


def _moments(
    slices: list[tuple[np.ndarray, np.ndarray, np.ndarray]],
) -> tuple[list[float], list[float], float, float]:
    """Means and standard deviations (before, after, change), mean square of the change, and share of changed voxels."""
    counts, means, variances, changed = [], [], [], 0
    for inside, here, there in slices:
        values = np.stack([here[inside], there[inside], np.zeros(np.count_nonzero(inside))]).astype(np.float64)
        values[2] = values[1] - values[0]
        counts.append(values.shape[1])
        means.append(values.mean(axis=1))
        variances.append(values.var(axis=1))
        changed += int(np.count_nonzero(values[2]))
    mean = np.average(means, axis=0, weights=counts)
    variance = np.average(variances + (np.array(means) - mean) ** 2, axis=0, weights=counts)
    return mean.tolist(), np.sqrt(variance).tolist(), float(variance[2] + mean[2] ** 2), changed / sum(counts)


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
