"""What was removed, taken from the input in the input's own type."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from meddenoise.intensity import CT_AIR
from meddenoise.volume import Volume


def stored(volume: Volume, removed: NDArray[np.float32], strength: float) -> NDArray[Any]:
    """Input minus what was removed, in the input's stored type: rounded, inside the input's range, padding kept."""
    noisy = volume.array
    if strength == 0.0 or not removed.any():
        return noisy.copy()
    exact: NDArray[Any] = noisy.astype(np.float64 if noisy.dtype.itemsize > 2 else np.float32)
    clean: NDArray[Any] = exact + strength * (np.clip(exact - removed, noisy.min(), noisy.max()) - exact)
    if noisy.dtype.kind in "iu":
        clean = np.rint(clean)
    clean = clean.astype(noisy.dtype)
    kept = kept_values(volume)
    clean[kept] = noisy[kept]
    return clean


def kept_values(volume: Volume) -> NDArray[np.bool_]:
    """Where values are no tissue and stay as they are."""
    kept = volume.padded()
    if volume.header.units == "HU":
        kept |= volume.array < CT_AIR
    return kept
