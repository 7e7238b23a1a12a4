"""Structure that is not there, and structure that is lost: noise of a measured spectrum, templates, false fires.

A template gives, around every point of an image, the mean inside a disc minus the mean in a ring around it, which is
the contrast in HU of an insert there. It "fires" where that is above a threshold.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from noise_spectrum import REACH, Image, Mask, autocovariance

RING = 2.0
"""Pixels between a disc and its ring; the ring is as wide as the disc's radius."""
KEPT = 80.0
"""Percent of an insert's contrast that must be left."""
Scores = dict[str, tuple[float, float, float]]
"""Means and intervals by what they are of: "fires TEMPLATE" and "contrast INSERT" in percent, "spread INSERT" in HU."""
DRAWS = 2000
"""Bootstrap samples of the realisations."""


@dataclass(frozen=True)
class Insert:
    """A disc of the phantom: its diameter as it is sold, and where it lies in pixels.

    Attributes:
        name: Diameter and contrast.
        row: Of its centre, between two pixels.
        column: Of its centre, between two pixels.
        radius: In pixels.
    """

    name: str
    row: float
    column: float
    radius: float


def distance(shape: tuple[int, ...], row: float, column: float) -> Image:
    """Distance in pixels of every pixel from a point."""
    return np.hypot(np.arange(shape[0])[:, None] - row, np.arange(shape[1]) - column)


def power_of(noise: Image, mask: Mask, shape: tuple[int, int]) -> Image:
    """Power spectrum of noise in a mask, on the frequencies of another shape.

    Args:
        noise: Shape (slices, rows, columns).
        mask: The same shape.
        shape: (rows, columns), both even.

    Returns:
        Mean squared magnitude of each discrete frequency over the number of pixels; its mean is the variance.
    """
    index = np.arange(-REACH, REACH)
    reach = np.hypot(index[:, None], index) / REACH
    window = np.where(reach < 1, np.cos(np.pi * reach / 2) ** 2, 0.0)
    covariance = np.zeros(shape)
    covariance[np.ix_(index % shape[0], index % shape[1])] = autocovariance(noise, mask) * window
    return np.maximum(np.fft.fft2(covariance).real, 0.0)


def level_by_radius(noise: Image, mask: Mask) -> Image:
    """Local standard deviation over the mask's own, as a parabola in the squared distance from the image's centre.

    It stays what it is at the mask's edge outside of it. Shape (rows, columns).
    """
    rows, columns = noise.shape[1:]
    square = distance((rows, columns), (rows - 1) / 2, (columns - 1) / 2) ** 2
    inside = mask.all(axis=0)
    variance = (noise**2).mean(axis=0)
    fit = np.polynomial.Polynomial.fit(square[inside], variance[inside], 2)
    local = fit(np.minimum(square, square[inside].max()))
    return np.sqrt(local / local[inside].mean())


def realise(power: Image, level: Image, count: int, seed: int) -> Image:
    """Gaussian noise of that power, scaled by a map of its level, shape (count, rows, columns).

    Seeds and shapes that are equal give the same white noise behind it, whatever the power.
    """
    white = np.random.default_rng(seed).standard_normal((count, *power.shape))
    return np.fft.ifft2(np.fft.fft2(white) * np.sqrt(power)).real * level


def template(radius: float, shape: tuple[int, ...], *, ring: bool = True) -> Image:
    """Weights of the template around the corner of the first four pixels, periodic; radius 0 is that one pixel."""
    rows, columns = ((np.arange(n) + n // 2) % n - n // 2 for n in shape)
    if radius == 0:
        away, disc = np.hypot(rows[:, None], columns), np.zeros(shape)
        disc[0, 0] = 1.0
    else:
        away = np.hypot(rows[:, None] - 0.5, columns - 0.5)
        disc = (away <= radius).astype(np.float64)
    weights = disc / disc.sum()
    if ring:
        around = (away > radius + RING) & (away <= radius + RING + max(radius, 1.0))
        weights = weights - around / around.sum()
    return weights


def responses(images: Image, radius: float) -> Image:
    """Contrast in HU that the template sees around every pixel; shape as the images', (count, rows, columns).

    Entry (i, j) belongs to the point (i + 0.5, j + 0.5), for radius 0 to the pixel itself. The image is taken as
    periodic: points nearer to its edge than the ring reaches mean nothing.
    """
    transfer = np.conj(np.fft.fft2(template(radius, images.shape[-2:])))
    return np.fft.ifft2(np.fft.fft2(images) * transfer).real


def at(insert: Insert, images: Image) -> Image:
    """Contrast in HU where an insert is, of images of shape (..., rows, columns)."""
    weights = np.roll(template(insert.radius, images.shape[-2:]), (int(insert.row), int(insert.column)), (0, 1))
    return (images * weights).sum(axis=(-2, -1))


def fires(images: Image, radius: float, threshold: float, where: Mask) -> Image:
    """Share of the points of ``where``, shape (rows, columns), at which each image fires."""
    return (responses(images, radius)[:, where] > threshold).mean(axis=1)


def spread(images: Image, radius: float, where: Mask) -> Image:
    """Standard deviation in HU of the template's values over the points of ``where``, one for each image."""
    return responses(images, radius)[:, where].std(axis=1)


def contrast_kept(present: Image, absent: Image, truth: tuple[Image, Image], insert: Insert) -> Image:
    """Share of an insert's contrast that is left, one figure for each realisation.

    Args:
        present: Results with inserts, shape (count, rows, columns).
        absent: Results without, of the same noise.
        truth: The noise-free images with and without inserts, shape (rows, columns).
        insert: Which one.
    """
    return at(insert, present - absent) / at(insert, truth[0] - truth[1])


def attainable(low: Image, full: Image, signal: Image, radius: float) -> float:
    """Largest share of contrast that a linear filter leaves at low dose while its template is as quiet as full dose's.

    A filter's response to a signal over the standard deviation of its response to noise is at most the detectability
    of the ideal observer, so at the full dose's standard deviation no more contrast than this can be left.

    Args:
        low: Power spectrum of the noise at low dose.
        full: At full dose.
        signal: The insert alone, noise-free, its centre anywhere.
        radius: Of the template that is to be quiet.
    """
    pixels = signal.size
    spectrum = np.fft.fft2(signal)
    known = low > 1e-6 * low.max()
    ideal = np.sqrt((np.abs(spectrum[known]) ** 2 / low[known]).sum() / pixels)
    quiet = np.sqrt((np.abs(np.fft.fft2(template(radius, signal.shape))) ** 2 * full).sum() / pixels)
    contrast = float(responses(signal[None], radius).max())
    return float(ideal * quiet / contrast)


def interval(values: Image) -> tuple[float, float, float]:
    """Mean of independent values, and its 95 % interval by bootstrap."""
    picks = np.random.default_rng(0).integers(len(values), size=(DRAWS, len(values)))
    low, high = np.percentile(values[picks].mean(axis=1), (2.5, 97.5))
    return float(values.mean()), float(low), float(high)


def judged(scores: Scores, full: Scores) -> str:
    """What a method misses of the requirements, given the scores at full dose: "passes" if nothing."""
    often = [key.removeprefix("fires ") for key in scores if key.startswith("fires ") and scores[key][0] > full[key][0]]
    lost = [key.removeprefix("contrast ") for key in scores if key.startswith("contrast ") and scores[key][0] < KEPT]
    faults = [f"fires too often ({', '.join(often)})"] if often else []
    faults += [f"loses contrast ({', '.join(lost)})"] if lost else []
    return "; ".join(faults) or "passes"
