"""Statistics of correlated noise inside a mask: level, neighbours' correlation and radial power."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.float64]
Mask = NDArray[np.bool_]
REACH = 24
"""Largest distance in pixels at which correlations are measured; a cosine-squared window ends there."""


@dataclass(frozen=True)
class NoiseStatistics:
    """Figures of noise in the mask of one set of slices.

    Attributes:
        level: Standard deviation over all pixels of the mask.
        levels: The same slice by slice.
        lag_x: Correlation of neighbours along a row.
        lag_y: Correlation of neighbours along a column.
        frequency: Frequencies from 0 to Nyquist, in 1/unit of spacing.
        power: Power at these frequencies, averaged over directions, in squared units of value and spacing.
        median_frequency: Half of frequency times power, up to Nyquist, lies below it.
    """

    level: float
    levels: Image
    lag_x: float
    lag_y: float
    frequency: Image
    power: Image
    median_frequency: float


def measure(noise: Image, mask: Mask, spacing: float) -> NoiseStatistics:
    """Statistics of slices of noise, shape (slices, rows, columns), in a mask of the same shape."""
    covariance = autocovariance(noise, mask)
    frequency, power = radial_power(covariance, spacing)
    centre = covariance[REACH, REACH]
    return NoiseStatistics(
        level=float(noise[mask].std()),
        levels=np.array([n[m].std() for n, m in zip(noise, mask, strict=True)]),
        lag_x=float(covariance[REACH, REACH + 1] / centre),
        lag_y=float(covariance[REACH + 1, REACH] / centre),
        frequency=frequency,
        power=power,
        median_frequency=median_frequency(frequency, power),
    )


def autocovariance(noise: Image, mask: Mask) -> Image:
    """Mean product of values at each distance up to REACH, both in the mask, shape (2 REACH, 2 REACH)."""
    size = [n + 2 * REACH for n in noise.shape[1:]]
    products = np.zeros((2 * REACH, 2 * REACH))
    pairs = np.zeros_like(products)
    for values, inside in zip(noise, mask, strict=True):
        products += _correlate(np.where(inside, values - values[inside].mean(), 0.0), size)
        pairs += _correlate(inside.astype(np.float64), size)
    return products / np.maximum(pairs, 1.0)


def _correlate(values: Image, size: list[int]) -> Image:
    spectrum = np.fft.rfft2(values, size)
    index = np.arange(-REACH, REACH)
    return np.asarray(np.fft.irfft2(np.abs(spectrum) ** 2, size)[np.ix_(index, index)])


def radial_power(covariance: Image, spacing: float) -> tuple[Image, Image]:
    """Frequencies up to Nyquist, and the power there averaged over all directions."""
    index = np.arange(-REACH, REACH)
    distance = np.hypot(index[:, None], index) / REACH
    window = np.where(distance < 1, np.cos(np.pi * distance / 2) ** 2, 0.0)
    power = np.fft.fft2(np.fft.ifftshift(covariance * window)).real * spacing**2
    ring = np.rint(np.hypot(np.fft.fftfreq(2 * REACH)[:, None], np.fft.fftfreq(2 * REACH)) * 2 * REACH).astype(int)
    radial = np.bincount(ring.ravel(), power.ravel()) / np.bincount(ring.ravel())
    return np.arange(REACH + 1) / (2 * REACH * spacing), radial[: REACH + 1]


def median_frequency(frequency: Image, power: Image) -> float:
    """Half of the area under frequency times power lies below it."""
    ring = frequency * power
    below = np.concatenate([[0.0], np.cumsum((ring[1:] + ring[:-1]) / 2)])
    return float(np.interp(below[-1] / 2, below, frequency))
