"""Classical filters that are given the true noise level, and transforms that fit them to noise that is not white."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import SimpleITK as sitk  # noqa: N813 - its own documentation's name
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from scipy.special import i0e, i1e
from skimage.restoration import denoise_nl_means, denoise_tv_chambolle

Image = NDArray[Any]
Filter = Callable[[Image, float], Image]
AWARE = ", aware"
"""Ends the name of a filter's row that was told the noise model too."""


def diffusion(image: Image, iterations: int, conductance: float) -> Image:
    """SimpleITK's filter on one slice."""
    result = sitk.CurvatureAnisotropicDiffusion(
        sitk.GetImageFromArray(image.astype(np.float32)), 0.0625, conductance, 1, iterations
    )
    return sitk.GetArrayFromImage(result).astype(np.float64)


def filters(*, without_bm3d: bool = False) -> dict[str, list[tuple[str, Filter]]]:
    """Each filter with the settings it may choose from; a filter takes a slice and the true level in its unit.

    BM3D's licence allows non-commercial use only: it is a peer where it is installed, never a dependency.
    """
    found: dict[str, list[tuple[str, Filter]]] = {
        "Gaussian": [(f"{s} px", lambda x, _, s=s: gaussian_filter(x, s)) for s in (0.4, 0.55, 0.7, 1.0, 1.5, 2.0)],
        "TV": [
            (f"{m} x", lambda x, level, m=m: denoise_tv_chambolle(x, weight=m * level))
            for m in (0.25, 0.5, 0.75, 1.0, 1.5, 2.0)
        ],
        "NLM": [
            (
                f"h {m} x",
                lambda x, level, m=m: denoise_nl_means(x, h=m * level, sigma=level, patch_size=5, patch_distance=6),
            )
            for m in (0.4, 0.6, 0.8, 1.2)
        ],
        "CurvatureAnisotropicDiffusion": [
            (f"{n} it., c {c}", lambda x, _, n=n, c=c: diffusion(x, n, c))
            for n in (5, 10)
            for c in (0.5, 1.0, 3.0, 6.0, 9.0)
        ],
    }
    if without_bm3d:
        return found
    try:
        from bm3d import bm3d
    except ImportError:
        print("BM3D is not installed and is left out")
        return found
    return found | {"BM3D": [(f"{m} x", lambda x, level, m=m: bm3d(x, sigma_psd=m * level)) for m in (1.0, 1.5, 2.0)]}


@dataclass(frozen=True)
class Transform:
    """What is done to an image before a filter and to its result after it.

    Attributes:
        name: Of the pair.
        forward: Makes the noise more alike everywhere.
        inverse: From a filtered forward image to the estimate of the clean one.
    """

    name: str
    forward: Callable[[Image], Image]
    inverse: Callable[[Image], Image]


def same(image: Image) -> Image:
    """No change."""
    return image


PLAIN = Transform("plain", same, same)


def rician_transforms(sigma: float) -> list[Transform]:
    """Two ways to take the Rician distribution into account.

    "bias undone" replaces a filtered magnitude by the signal whose mean it is. "stabilised" filters a function of the
    magnitude whose standard deviation is 1 everywhere, and inverts its mean exactly (Foi 2011,
    doi:10.1109/ISBI.2011.5872758; made from tables here).
    """
    signal = np.concatenate([np.arange(0.0, 12.0, 0.02), np.geomspace(12.0, 2000.0, 400)])
    half = signal**2 / 4
    mean = np.sqrt(np.pi / 2) * ((1 + 2 * half) * i0e(half) + 2 * half * i1e(half))
    sd = np.sqrt(np.maximum(signal**2 + 2 - mean**2, 1e-9))
    root = np.concatenate([[0.0], np.cumsum(np.diff(mean) * (1 / sd[1:] + 1 / sd[:-1]) / 2)])

    def stable(magnitude: Image) -> Image:
        below = (magnitude - mean[0]) / sd[0]
        return np.where(magnitude < mean[0], below, np.interp(magnitude, mean, root))

    # Mean of the stabilised magnitude for each signal, by quadrature over the two normal parts.
    nodes, weights = np.polynomial.hermite_e.hermegauss(40)
    weight = np.outer(weights, weights) / weights.sum() ** 2
    means = np.array([(weight * stable(np.hypot(s + nodes[:, None], nodes))).sum() for s in signal])
    means = np.maximum.accumulate(means)
    return [
        Transform("bias undone", same, lambda y: sigma * np.interp(y / sigma, mean, signal)),
        Transform("stabilised", lambda x: stable(x / sigma), lambda y: sigma * np.interp(y, means, signal)),
    ]


def power_transform(exponent: float, total: float) -> Transform:
    """``x ** exponent``, for a level that grows with ``x ** (1 - exponent)``; ``total`` is the sum to be kept."""

    def inverse(y: Image) -> Image:
        result = np.maximum(y, 0.0) ** (1 / exponent)
        return result * (total / max(float(result.sum()), 1e-12))

    return Transform("stabilised", lambda x: np.maximum(x, 0.0) ** exponent, inverse)


def exposure_transform(log_range: float, width: float) -> Transform:
    """Root of the exposure behind a white-bone logarithmic image of 0 to ``width``: photon noise gets alike."""
    rate = log_range / (2 * width)
    return Transform(
        "stabilised", lambda x: np.exp(-rate * x), lambda y: -np.log(np.clip(y, np.exp(-rate * width), 1.0)) / rate
    )
