"""How far a denoised image is from the unseen truth, where the reference is noisy itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from meddenoise.comparison.cases import Run

Image = NDArray[np.float64]
BLOCK_SIDES = (24, 16, 12, 8)
"""Sides in pixels of the blocks that show the reference's noise; the largest of which enough fit into the tissue."""
LEAST_BLOCKS = 8
FLATTEST = 0.12
"""Share of the blocks that are taken as free of structure."""
LOW, HIGH = 0.12, 0.25
"""In cycles per pixel: anatomy lies below, noise above."""
MOST_OWN = 0.9
"""A reference of its own noise is trusted with at most this share of the difference to the noisy image."""


@dataclass(frozen=True)
class ReferenceNoise:
    """What is known of a reference's noise.

    Attributes:
        share: Its variance over that of the difference between the noisy image and the reference; 0 for the truth.
        shared: Whether the noisy image has the same noise, as where noise was added to the reference.
    """

    share: float
    shared: bool

    def square(self, denoised: Image, noisy: Image, reference: Image) -> float:
        """Squared error against the unseen truth over that of the noisy image: 1 for the noisy image, 0 for the truth.

        With M the mean square of noisy minus reference, E that of denoised minus reference, C the mean product of the
        two, and k the share: a noise that the image shares gives ``(E - k M + 2 k C) / ((1 + k) M)``, for a denoiser
        treats alike what the two have in common and what they have not; a noise of the reference's own gives
        ``(E - k M) / ((1 - k) M)``. Chance can make it negative.

        Args:
            denoised: Made from the noisy image alone, any shape.
            noisy: Of the same shape.
            reference: Of the same shape.
        """
        difference = noisy - reference
        between, error = np.mean(difference**2), np.mean((denoised - reference) ** 2)
        if not self.shared:
            return float((error - self.share * between) / ((1 - self.share) * between))
        cross = np.mean((denoised - reference) * difference)
        return float((error - self.share * between + 2 * self.share * cross) / ((1 + self.share) * between))


def reference_noise(runs: Sequence[Run]) -> ReferenceNoise:
    """Measure a reference's noise in the high band of the flattest blocks of tissue.

    Anatomy in that band counts as noise, so the share is rather too large than too small. Where no block fits into the
    tissue the reference counts as free of noise.
    """
    for side in BLOCK_SIDES:
        blocks = np.concatenate([_blocks(run, side) for run in runs])  # (count, 2, side, side): noisy, reference
        if len(blocks) >= LEAST_BLOCKS:
            return _measured(blocks)
    return ReferenceNoise(0.0, shared=False)


def _measured(blocks: Image) -> ReferenceNoise:
    noisy, reference = blocks[:, 0], blocks[:, 1]
    frequency = np.fft.fftfreq(blocks.shape[-1])
    radius = np.hypot(frequency[:, None], frequency)

    def power(images: Image, band: NDArray[np.bool_]) -> Image:
        images = images - images.mean(axis=(1, 2), keepdims=True)
        found: Image = (np.abs(np.fft.fft2(images)) ** 2)[:, band].sum(axis=1)
        return found

    structure = power(reference, (radius > 0) & (radius < LOW)) / np.maximum(power(reference, radius > HIGH), 1e-30)
    flat = np.argsort(structure)[: max(LEAST_BLOCKS, round(FLATTEST * len(blocks)))]
    image, own, between = (power(x[flat], radius > HIGH).sum() for x in (noisy, reference, noisy - reference))
    if between <= 0:
        return ReferenceNoise(0.0, shared=False)
    if image > between:  # the difference of independent noises is stronger than either of them
        return ReferenceNoise(float(own / between), shared=True)
    return ReferenceNoise(min(float(own / between), MOST_OWN), shared=False)


def _blocks(run: Run, side: int) -> Image:
    """The blocks of a run that lie in the tissue, shape (count, 2, side, side)."""
    rows, columns = (n // side * side for n in run.tissue.shape[1:])

    def cut(images: NDArray[np.generic]) -> NDArray[np.generic]:
        tiles = images[:, :rows, :columns].reshape(len(images), rows // side, side, columns // side, side)
        return tiles.swapaxes(2, 3).reshape(-1, side, side)

    inside = cut(run.tissue).all(axis=(1, 2))
    pairs: Image = np.stack([cut(run.noisy.array.astype(np.float64)), cut(run.reference)], axis=1)[inside]
    return pairs
