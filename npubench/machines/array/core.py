"""What the PEs do with one tile: cycles, and the words that cross into and out of the array.

A core is made for one layer and one format. It answers for whole tables of tiles at once (numpy
arrays of equal shape) and for single tiles by the same code.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from npubench.machines.array.extents import Shape

__all__ = ["BoolArray", "Core", "CoreWork", "Geometry", "IntArray", "Split", "exact", "splits"]

IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class CoreWork:
    """Work of the array on a tile, one entry per tile asked for.

    Attributes:
        compute: cycles in which operands stream (or MACs run).
        load: cycles in which stationary operands shift in and nothing else can happen.
        skew: fill and drain paid for every fold; zero where folds are pipelined.
        input_words: elements read from the innermost memory that holds inputs.
        weight_words: the same for weights.
        output_words: partial sums written to the innermost memory that holds outputs; each but
            the first of an output is read back before.
        input_least: the least that input words may be, however the tile is cut.
        held_writes: writes of held operands into PE registers while they are loaded, those of the
            registers they pass on their way included.
        held_least: the least that these may be, however the tile is cut.
    """

    compute: IntArray
    load: IntArray
    skew: IntArray
    input_words: IntArray
    weight_words: IntArray
    output_words: IntArray
    input_least: IntArray
    held_writes: IntArray
    held_least: IntArray

    @property
    def cycles(self) -> IntArray:
        """All cycles of the tile, without what is paid once a layer."""
        return self.compute + self.load + self.skew


class Core(Protocol):
    """The array for one layer."""

    @property
    def shape(self) -> Shape:
        """The layer."""
        ...

    def work(self, b: IntArray, y: IntArray, x: IntArray, k: IntArray, c: IntArray) -> CoreWork:
        """Work on tiles of these extents, all groups of the layer."""
        ...

    def once(
        self, b: IntArray, y: IntArray, x: IntArray, k: IntArray, c: IntArray
    ) -> tuple[IntArray, IntArray]:
        """(load, fill and drain) cycles paid once a layer whose last tile has these extents."""
        ...

    @property
    def groups_at_once(self) -> int:
        """Groups of the layer whose operands are in use at the same time."""
        ...

    @property
    def steps(self) -> tuple[int, int]:
        """(K, C) that fill the array once: tiles in other steps leave part of it empty."""
        ...

    def stays(self, k: IntArray, c: IntArray) -> BoolArray | None:
        """Whether tiles' weights stay in the PEs while those of the next tile are the same.

        None where they never do: every tile loads its own.
        """
        ...

    @property
    def note(self) -> str:
        """How the layer lies on the array."""
        ...


@dataclass(frozen=True, slots=True)
class Geometry:
    """Arrays as one format sees them.

    Attributes:
        rows, cols: physical PEs along each side.
        packed_rows, packed_cols: MACs of one PE along the reduction and along output channels.
        count: equal arrays.
    """

    rows: int
    cols: int
    packed_rows: int = 1
    packed_cols: int = 1
    count: int = 1


@dataclass(frozen=True, slots=True)
class Split:
    """How several arrays share a layer: over groups, output channels and rows of the product."""

    groups: int
    channels: int
    rows: int


def splits(count: int) -> tuple[Split, ...]:
    """Every way to share a layer between ``count`` arrays: the ordered factorisations."""
    divisors = [d for d in range(1, count + 1) if count % d == 0]
    return tuple(
        Split(g, n, count // (g * n)) for g in divisors for n in divisors if count % (g * n) == 0
    )


def exact(values: npt.ArrayLike) -> IntArray:
    """Counts as 64-bit integers."""
    return np.asarray(values, dtype=np.int64)
