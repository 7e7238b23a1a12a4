"""How much goes through the network at once, and less of it where the device runs out of memory."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TypeVar

import torch

from meddenoise.errors import OptionError

logger = logging.getLogger(__name__)

HALO = 192
"""Pixels around a tile that the network sees too; they cover its receptive field, so that no seam can show."""
SMALLEST_TILE = 96
ALIGNMENT = 32
"""Tiles begin at multiples of this, which every network's factor divides, so that all see the same pixel grid."""
OUT_OF_MEMORY = ("can't allocate memory", "not enough memory")
"""What PyTorch says when the CPU's memory is used up; the error itself is a bare RuntimeError."""

T = TypeVar("T")
Window = tuple[slice, slice]


@dataclass(frozen=True)
class Slab:
    """What goes through the network at once. Results do not depend on it.

    Attributes:
        pixels: So many, and at least one slice.
        tile: Rows and columns of the tiles that larger slices are cut into; a multiple of 32.
        least: The smallest tile: that of a network that looks at the whole of what it is shown is its only one.
    """

    pixels: int = 2**18
    tile: int = 3072
    least: int = SMALLEST_TILE

    def __post_init__(self) -> None:
        assert self.pixels > 0, self.pixels
        assert self.tile > 0, self.tile
        assert self.tile % ALIGNMENT == 0, self.tile

    def slices(self, rows: int, columns: int) -> int:
        """Slices of that size at once."""
        return max(1, self.pixels // (rows * columns))

    def smaller(self, rows: int, columns: int) -> Slab | None:
        """Half of it: fewer slices, then smaller tiles. None where there is nothing left to halve."""
        slices = self.slices(rows, columns)
        if slices > 1:
            return replace(self, pixels=slices // 2 * rows * columns)
        side = min(self.tile, max(rows, columns))
        if side <= self.least:
            return None
        half = -(-side // 2 // ALIGNMENT) * ALIGNMENT
        return replace(self, tile=max(self.least, half))


def in_slabs(
    work: Callable[[int, int, int], T], shape: tuple[int, int, int], slab: Slab, device: torch.device
) -> Iterator[tuple[int, T]]:
    """Go through a volume slab by slab; where memory runs out, halve the slab and go on.

    Args:
        work: Called as work(start, stop, tile) for slices start to stop, to be cut into tiles of that size.
        shape: Slices, rows, columns.
        slab: What to begin with.
        device: Where the work is done.

    Yields:
        Slices done, and what the work gave for the last of them.

    Raises:
        OptionError: The memory does not even suffice for the smallest slab.
    """
    slices, rows, columns = shape
    start = 0
    while start < slices:
        stop = min(start + slab.slices(rows, columns), slices)
        try:
            done = work(start, stop, slab.tile)
        except (RuntimeError, MemoryError) as error:
            if not _out_of_memory(error):
                raise
            smaller, reason = slab.smaller(rows, columns), str(error).partition("\n")[0]
        else:
            yield stop, done
            start = stop
            continue
        # Only here, outside of the handler, is the failed work's memory given back.
        if device.type == "cuda":
            torch.cuda.empty_cache()
        if smaller is None:
            raise OptionError(
                f"{device} has not enough memory for slices of {rows} x {columns} pixels ({reason}); "
                "free some, or choose another device"
            )
        logger.warning("%s is out of memory; going on with %s instead of %s", device, smaller, slab)
        slab = smaller


def _out_of_memory(error: Exception) -> bool:
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return any(sign in str(error) for sign in OUT_OF_MEMORY)


def tiles(rows: int, columns: int, tile: int) -> Iterator[tuple[Window, Window, Window]]:
    """Cut a slice into tiles: where the result goes, what the network sees, and what of that is kept."""
    for top in range(0, rows, tile):
        for left in range(0, columns, tile):
            inner, outer, kept = zip(_span(top, rows, tile), _span(left, columns, tile), strict=True)
            yield inner, outer, kept


def _span(start: int, length: int, tile: int) -> tuple[slice, slice, slice]:
    stop = min(start + tile, length)
    low, high = max(0, start - HALO), min(length, stop + HALO)
    return slice(start, stop), slice(low, high), slice(start - low, stop - low)
