"""What the search of a layer deals in: memories to tile, nests of tiles, and counts of the work."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np
import numpy.typing as npt

from npubench.machines.array.extents import Extents, pieces
from npubench.machines.array.flows import FloatArray, Flow
from npubench.machines.array.tiles import OperandBits

__all__ = ["DoesNotFitError", "Level", "Nest", "SearchCounts", "combinations", "nondominated"]

# So many cost vectors are compared in pairs in one step.
_ALL_AT_ONCE = 48


@dataclass(frozen=True, slots=True)
class Level:
    """One on-chip memory, as the search sees it.

    Attributes:
        name: of the memory.
        operands: what it tiles; operands that stay in it whole are left out and cross its outer
            boundary no more.
        room_bits: capacity for tiles.
        double_buffered: a tile may take half of the room, unless everything fits whole.
        bits: widths of the operands in it.
        streams: whether smaller tiles are tried where everything fits whole: something waits for
            the first tile, or for the last.
        uneven: whether an operand may stay while tiles of others change.
        flow: over its outer boundary.
    """

    name: str
    operands: frozenset[str]
    room_bits: int
    double_buffered: bool
    bits: OperandBits
    flow: Flow
    streams: bool = False
    uneven: bool = False

    @property
    def tile_bits(self) -> int:
        """Room for one tile of every operand."""
        return self.room_bits // 2 if self.double_buffered else self.room_bits


@dataclass(frozen=True, slots=True)
class Nest:
    """One way to run a tile: the choice at this level, and the nests of the tiles inside.

    Attributes:
        extents: what this nest covers.
        tile, order: the tile of the level and the order of its loops, outermost first; at the
            array the tile is the extents.
        held: operands that this memory keeps over all loops inside the one that they lack, while
            tiles of others change.
        retained: the operand whose tiles the next memory inside keeps, whole, from one tile of
            this level to the next while they stay the same; empty where it keeps none.
        variant: index of the core, at the array.
        inside: the distinct tiles with how often each occurs, the first one first.
    """

    extents: Extents
    tile: Extents
    order: str = ""
    retained: str = ""
    variant: int = 0
    inside: tuple[tuple[int, Nest], ...] = ()
    held: tuple[str, ...] = ()


@dataclass(slots=True)
class SearchCounts:
    """How the space was covered.

    Attributes:
        considered: (tile, order, variant) choices of all levels, each counted once a tile.
        too_large: of these, tiles that do not fit.
        bounded: times that a choice was discarded because even a lower bound of every nest with
            it was no better than what had been found.
        dominated: choices costed and beaten in every resource.
        open: choices left out when the search had done `MOST_EVALUATED` inner searches.
        evaluated: choices whose inner nests were searched, each time that they were.
    """

    considered: int = 0
    too_large: int = 0
    bounded: int = 0
    dominated: int = 0
    open: int = 0
    evaluated: int = 0

    @property
    def proven(self) -> bool:
        """Whether the nest found is the best of the space: nothing was left out unproven."""
        return self.open == 0


class DoesNotFitError(Exception):
    """Not even the smallest tile fits a memory; carries the memory's name and both sizes."""

    def __init__(self, level: str, needed_bits: int, room_bits: int) -> None:
        self.level, self.needed_bits, self.room_bits = level, needed_bits, room_bits
        super().__init__(f"{level}: needs {needed_bits} bits, has {room_bits}")


def combinations(whole: Extents, tile: Extents) -> Iterator[tuple[Extents, int]]:
    """Each distinct tile of a tiling with how often it occurs; the first is the largest."""
    cuts = [pieces(extent, size).sizes() for extent, size in zip(whole, tile, strict=True)]
    for (b, in_b), (y, in_y), (x, in_x), (k, in_k), (c, in_c) in product(*cuts):
        yield Extents(b, y, x, k, c), in_b * in_y * in_x * in_k * in_c


def nondominated(rows: FloatArray) -> npt.NDArray[np.intp]:
    """Indices of the rows that no other row equals or undercuts in every column.

    Of equal rows the first is kept. Rows are taken from the smallest sum on, so that each survivor
    is final when it is met; the last few are compared all at once.
    """
    if len(rows) < 2:
        return np.arange(len(rows))
    order = rows.sum(axis=1).argsort(kind="stable")
    left = rows[order]
    keep: list[int] = []
    while len(left) > _ALL_AT_ONCE:
        keep.append(int(order[0]))
        alive = ~(left >= left[0]).all(axis=1)
        left, order = left[alive], order[alive]
    if len(left) > 1:
        above = (left[:, None] >= left).all(axis=2)
        order = order[~np.tril(above, -1).any(axis=1)]
    return np.sort(np.concatenate([np.array(keep, dtype=np.intp), order]))
