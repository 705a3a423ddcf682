"""The loops of a layer as the array family tiles them, and what a tile holds.

Five of the ten loops are tiled: B, Y, X, K and C. Kernel loops (FZ FY FX) and OZ stay whole, and
groups (G) follow one another; where a layer has no output rows, X and Y still stand for OX and OY.
Counts are exact for ragged edges, overlapping windows and padding.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from npubench.ir import LoopNest

__all__ = ["Extents", "Pieces", "Shape", "pieces"]


class Extents(NamedTuple):
    """Sizes of a tile, or of the whole layer, in elements along each tiled loop."""

    b: int
    y: int
    x: int
    k: int
    c: int


class Pieces(NamedTuple):
    """How a loop falls into tiles: ``full`` tiles of ``size`` and, if not 0, one ``rest``."""

    size: int
    full: int
    rest: int

    def sizes(self) -> tuple[tuple[int, int], ...]:
        """(size, how often) of each distinct tile."""
        if not self.rest:
            return ((self.size, self.full),)
        return ((self.size, self.full), (self.rest, 1)) if self.full else ((self.rest, 1),)


def pieces(extent: int, tile: int) -> Pieces:
    """Cut a loop into tiles; the last one may be ragged and is counted as it is."""
    return Pieces(tile, extent // tile, extent % tile)


@dataclass(frozen=True, slots=True)
class Shape:
    """What tiling needs to know of a layer beyond its tiled extents.

    Attributes:
        nest: the layer's loops.
    """

    nest: LoopNest

    @property
    def extents(self) -> Extents:
        """The tiled loops at full size."""
        n = self.nest
        return Extents(n.B, n.OY, n.OX, n.K, n.C)

    @property
    def kernel(self) -> int:
        """Kernel elements, FZ x FY x FX."""
        return self.nest.FZ * self.nest.FY * self.nest.FX

    def reach(self, axis: int, tile: int) -> int:
        """Input rows (axis 1) or columns (axis 2) under ``tile`` outputs, at most the input's.

        Zeros of the padding are not stored, so the input itself bounds the reach; where windows
        lie further apart than they are wide, what lies between them is not read.
        """
        stride, span = self.nest.stride[axis], self._span(axis)
        covered = min(tile * span, (tile - 1) * stride + span)
        return min(covered, self.nest.input_extent[axis])

    def swept(self, axis: int, whole: int, tile: int) -> int:
        """Input rows or columns read by one sweep over ``whole`` outputs in tiles of ``tile``.

        Tiles overlap by the kernel's reach. For the layer's full extent the padding at both ends
        is left out exactly; inside a larger tile every window is taken as inner.
        """
        full = (self.nest.OZ, self.nest.OY, self.nest.OX)[axis]
        stride, span = self.nest.stride[axis], self._span(axis)
        if whole == full:
            pad, extent = self.nest.pad_begin[axis], self.nest.input_extent[axis]
        else:
            pad, extent = 0, (whole - 1) * stride + span
        return _interval_sum(whole, tile, stride, span, pad, extent)

    def _span(self, axis: int) -> int:
        """Width of one window along an axis."""
        kernel = (self.nest.FZ, self.nest.FY, self.nest.FX)[axis]
        return (kernel - 1) * self.nest.dilation[axis] + 1


@lru_cache(maxsize=65536)
def _interval_sum(whole: int, tile: int, stride: int, span: int, pad: int, extent: int) -> int:
    """Total length of the input intervals under consecutive tiles, clipped to [0, extent)."""
    if stride >= span:
        tile = 1  # windows do not overlap, so however they are grouped each is read once
    total = 0
    for first in range(0, whole, tile):
        last = min(first + tile, whole) - 1
        low = max(0, first * stride - pad)
        high = min(extent, last * stride - pad + span)
        total += max(0, high - low)
    return total
