"""Systolic arrays: cycles of a matrix product, fold by fold, and the words it takes.

A product of M x K by K x N is laid over an array of R rows and C columns; the third dimension is
time:

    dataflow           over rows  over columns  in time T
    weight stationary  K          N             M
    output stationary  M          N             K
    input stationary   K          M             N

A fold is one filling of the array. Within a fold, T operands enter with a skew of one cycle a row
and leave with one a column: T + R + C - 2 cycles from the first to the last. A stationary operand
takes R cycles to shift in; results of the output stationary form take R cycles to shift out.
Without overlap every fold takes R + (T + R + C - 2) cycles (weight and input stationary) or
T + R + C - 2 (output stationary, whose R cycles of shifting out are counted on request). Pipelined
folds follow each other without a gap and pay the skew once a layer; a double-buffered operand
needs its R cycles only where T is shorter.

Sources: SCALE-Sim 3.0.0 (Samajdar et al., ISPASS 2020) for folds and the exposed form; Jouppi et
al., ISCA 2017, section 2, for weights that shift in behind the running fold.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

import numpy as np

from npubench.machines.array.core import BoolArray, CoreWork, Geometry, IntArray, Split, exact
from npubench.machines.array.extents import Shape

__all__ = ["Dataflow", "Drain", "StationaryLoad", "SystolicCore", "ceil_div"]

_T = TypeVar("_T")


class Dataflow(StrEnum):
    """The operand that stays put; ``unrolled`` leaves the choice of loops to the spec."""

    WEIGHT_STATIONARY = "weight_stationary"
    OUTPUT_STATIONARY = "output_stationary"
    INPUT_STATIONARY = "input_stationary"
    UNROLLED = "unrolled"


class StationaryLoad(StrEnum):
    """Whether the next fold's stationary operand shifts in behind the running fold."""

    EXPOSED = "exposed"
    DOUBLE_BUFFERED = "double_buffered"


class Drain(StrEnum):
    """Whether a fold leaves the array before the next one enters."""

    PER_FOLD = "per_fold"
    PIPELINED = "pipelined"


def ceil_div(a: int, b: int) -> int:
    """Smallest integer not below a / b, for a >= 0 and b >= 1."""
    return -(-a // b)


@dataclass(frozen=True)
class SystolicCore:
    """A systolic array, or several, on one layer.

    Convolutions run as im2col products. Groups whose product leaves most of the array empty are
    packed block-diagonally: as many groups side by side as fit both rows and columns, with zeros
    off the diagonal.
    """

    shape: Shape
    geometry: Geometry
    split: Split
    dataflow: Dataflow
    load: StationaryLoad
    drain: Drain
    count_output_drain: bool = True

    @property
    def groups_at_once(self) -> int:
        """Packed groups, on every array that has groups of its own."""
        return min(self.shape.nest.G, self.packed_groups * self.split.groups)

    @property
    def packed_groups(self) -> int:
        """Groups that lie on one array side by side; 1 where a group fills a side."""
        m, n, k = self.shape.nest.gemm
        rows, cols, _ = self._sides(m, n, k)
        parallel_rows, parallel_cols, _ = self._parallel(one_array=True)
        fit_rows = self.geometry.rows * parallel_rows // rows
        fit_cols = self.geometry.cols * parallel_cols // cols
        return max(1, min(self.shape.nest.G, fit_rows, fit_cols))

    @property
    def steps(self) -> tuple[int, int]:
        """See `Core.steps`; a side that is time has no step."""
        g = self.geometry
        k_fill = max(1, g.cols * g.packed_cols * self.split.channels // self.packed_groups)
        c_fill = max(1, g.rows * g.packed_rows // (self.shape.kernel * self.packed_groups))
        return {
            Dataflow.WEIGHT_STATIONARY: (k_fill, c_fill),
            Dataflow.OUTPUT_STATIONARY: (k_fill, g.packed_rows),
            Dataflow.INPUT_STATIONARY: (g.packed_cols, c_fill),
        }[self.dataflow]

    def stays(self, k: IntArray, c: IntArray) -> BoolArray | None:
        """See `Core.stays`."""
        del k, c
        return None

    @property
    def note(self) -> str:
        """How the layer lies on the arrays."""
        parts = []
        if self.packed_groups > 1:
            parts.append(f"{self.packed_groups} groups packed")
        if self.geometry.count > 1:
            over = (
                ("groups", self.split.groups),
                ("K", self.split.channels),
                ("rows", self.split.rows),
            )
            parts.append("split " + " x ".join(f"{what} {n}" for what, n in over if n > 1))
        return ", ".join(parts)

    def work(self, b: IntArray, y: IntArray, x: IntArray, k: IntArray, c: IntArray) -> CoreWork:
        """See `Core.work`."""
        m, reduction = b * self.shape.nest.OZ * y * x, c * self.shape.kernel
        row_folds, col_folds, time = self._folds(m, k, reduction)
        packed = self.packed_groups
        passes = ceil_div(ceil_div(self.shape.nest.G, packed), self.split.groups)
        folds = passes * row_folds * col_folds
        skew = self._skew if self.drain is Drain.PER_FOLD else 0
        if self.load is StationaryLoad.EXPOSED:
            load = folds * self._shift
        else:
            load = folds * np.maximum(0, self._shift - (time + skew))
        input_words, weight_words, output_words = self._words(m, k, reduction)
        held_writes, held_least = self._held(m, k, reduction)
        return CoreWork(
            compute=exact(folds * time),
            load=exact(load),
            skew=exact(folds * skew),
            input_words=exact(input_words),
            weight_words=exact(weight_words),
            output_words=exact(output_words),
            input_least=exact(input_words),
            held_writes=exact(held_writes),
            held_least=exact(held_least),
        )

    def once(
        self, b: IntArray, y: IntArray, x: IntArray, k: IntArray, c: IntArray
    ) -> tuple[IntArray, IntArray]:
        """See `Core.once`: one load hides behind nothing, but for the last fold's streaming."""
        pipelined = self.drain is Drain.PIPELINED
        fill_drain = np.full_like(b, self._skew if pipelined else 0)
        if self.load is StationaryLoad.EXPOSED:
            return np.zeros_like(b), fill_drain
        m, reduction = b * self.shape.nest.OZ * y * x, c * self.shape.kernel
        time = self._folds(m, k, reduction)[2]
        shift = np.minimum(self._shift, time + (0 if pipelined else self._skew))
        return exact(shift), fill_drain

    def _held(self, m: IntArray, k: IntArray, reduction: IntArray) -> tuple[IntArray, IntArray]:
        """Register writes of the held operand, and what they are if all stays in the top row.

        It goes down the columns row by row, so that a word of row r is written r + 1 times.
        """
        if self.dataflow is Dataflow.OUTPUT_STATIONARY:
            return np.zeros_like(m), np.zeros_like(m)
        weights = self.dataflow is Dataflow.WEIGHT_STATIONARY
        across, copies = (k, self.split.rows) if weights else (m, self.split.channels)
        packed, groups = self.packed_groups, self.shape.nest.G
        column = groups // packed * self._hops(packed * reduction)
        column = column + self._hops(groups % packed * reduction)
        return column * across * copies, groups * reduction * across * copies

    def _hops(self, words: IntArray) -> IntArray:
        """Writes of the words of one column, all its fillings, each going to its own row."""
        rows, each = self.geometry.rows, self.geometry.packed_rows
        fillings, rest = np.divmod(words, rows * each)
        full, part = np.divmod(rest, each)
        whole = each * (rows * (rows + 1) // 2)
        return exact(fillings * whole + each * (full * (full + 1) // 2) + part * (full + 1))

    @property
    def _skew(self) -> int:
        """Cycles between an operand's first and last row and column."""
        return self.geometry.rows + self.geometry.cols - 2

    @property
    def _shift(self) -> int:
        """Cycles in which a fold's stationary operand (or its results) shifts through."""
        if self.dataflow is Dataflow.OUTPUT_STATIONARY and not self.count_output_drain:
            return 0
        return self.geometry.rows

    def _sides(self, m: _T, n: _T, k: _T) -> tuple[_T, _T, _T]:
        """What lies over rows, over columns and in time."""
        if self.dataflow is Dataflow.WEIGHT_STATIONARY:
            return k, n, m
        if self.dataflow is Dataflow.OUTPUT_STATIONARY:
            return m, n, k
        return k, m, n

    def _parallel(self, *, one_array: bool = False) -> tuple[int, int, int]:
        """How much of each side is done at once beyond one element a PE."""
        g = self.geometry
        if one_array:
            return self._sides(1, g.packed_cols, g.packed_rows)
        return self._sides(self.split.rows, g.packed_cols * self.split.channels, g.packed_rows)

    def _folds(
        self, m: IntArray, k: IntArray, reduction: IntArray
    ) -> tuple[IntArray, IntArray, IntArray]:
        """(row folds, column folds, time steps of a fold) on one of the arrays."""
        rows, cols, time = self._sides(m, k, reduction)
        by_rows, by_cols, by_time = self._parallel()
        packed = self.packed_groups
        return (
            -(-(packed * rows) // (self.geometry.rows * by_rows)),
            -(-(packed * cols) // (self.geometry.cols * by_cols)),
            -(-time // by_time),
        )

    def _words(
        self, m: IntArray, k: IntArray, reduction: IntArray
    ) -> tuple[IntArray, IntArray, IntArray]:
        """Input and weight words read, partial sums written, all groups of the layer.

        A streamed operand passes once for every fold across it, a stationary one is read once a
        fold; arrays that share an operand read it each for themselves.
        """
        rows, cols, _ = self._sides(m, k, reduction)
        by_rows, by_cols, _ = self._parallel(one_array=True)
        packed, groups = self.packed_groups, self.shape.nest.G
        row_folds = -(-(packed * rows) // (self.geometry.rows * by_rows))
        col_folds = -(-(packed * cols) // (self.geometry.cols * by_cols))
        data, held, out = groups * m * reduction, groups * reduction * k, groups * m * k
        if self.dataflow is Dataflow.WEIGHT_STATIONARY:
            return data * col_folds, held * self.split.rows, out * row_folds
        if self.dataflow is Dataflow.OUTPUT_STATIONARY:
            return data * col_folds, held * row_folds, out
        return data * self.split.channels, held * col_folds, out * row_folds
