"""The eight ways to flip and turn an image in its plane, and how much results disagree over them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

SYMMETRIES = tuple((turns, flip) for flip in (False, True) for turns in range(4))
"""Quarter turns, and whether columns are mirrored first; the first one leaves the image as it is."""


def turned(values: NDArray[Any], symmetry: tuple[int, bool]) -> NDArray[Any]:
    """Each slice of (slices, rows, columns, ...) mirrored and turned; odd quarter turns exchange rows and columns."""
    turns, flip = symmetry
    return np.rot90(values[:, :, ::-1] if flip else values, turns, axes=(1, 2))


def turned_back(values: NDArray[Any], symmetry: tuple[int, bool]) -> NDArray[Any]:
    """The inverse of `turned`."""
    turns, flip = symmetry
    back = np.rot90(values, -turns, axes=(1, 2))
    return back[:, :, ::-1] if flip else back


def spread(members: Iterable[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Voxel by voxel the standard deviation over arrays of one shape, taken one after the other."""
    first: NDArray[np.float32] | None = None
    count = 0
    for member in members:
        count += 1
        if first is None:
            first, total, squares = member, np.zeros_like(member), np.zeros_like(member)
            continue
        apart = member - first  # small numbers, so that the squares stay exact enough in float32
        total += apart
        squares += apart * apart
    assert first is not None, "no members"
    deviation: NDArray[np.float32] = np.sqrt(np.maximum(squares / count - (total / count) ** 2, 0.0))
    return deviation
