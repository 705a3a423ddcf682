"""A systolic array that really multiplies: the oracle of `npubench.machines.array.systolic`.

A batch of products X[g] (M x K) times W[g] (K x N) is cut into folds and stepped through an array
of PE registers, one numpy update a cycle (`npubench.machines.array.stepping`). Nothing here uses a
timing formula: a fold starts when the registers it needs are free, and the cycles are those that
went by until the last word had left. Meant for small arrays: a cycle costs some 0.1 ms of Python.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from npubench.machines.array.core import Geometry, IntArray
from npubench.machines.array.stepping import Fold, Steps, step_output_stationary, step_stationary
from npubench.machines.array.systolic import Dataflow, Drain, StationaryLoad

__all__ = ["Emulation", "emulate"]


@dataclass(frozen=True)
class Emulation:
    """What an emulated array did.

    Attributes:
        product: (G, M, N), the sums of all folds.
        cycles: from the first word in to the last word out.
        macs: multiplications of two real operands that ended in a real output.
        folds: fillings of the array, stationary loads included.
        input_words, weight_words: operand words that crossed the array's edge.
        output_words: partial sums that left the array.
        operand_writes: streamed words written into PE registers, in every PE they pass.
        held_writes: stationary words written into PE registers, hops on the way down included.
        sum_writes: partial sums with at least one product in them, written into PE registers.
    """

    product: IntArray
    cycles: int
    macs: int
    folds: int
    input_words: int
    weight_words: int
    output_words: int
    operand_writes: int
    held_writes: int
    sum_writes: int


def emulate(
    inputs: npt.ArrayLike,
    weights: npt.ArrayLike,
    geometry: Geometry,
    dataflow: Dataflow,
    load: StationaryLoad,
    drain: Drain,
    *,
    packed_groups: int = 1,
    tile_rows: int | None = None,
    count_output_drain: bool = True,
) -> Emulation:
    """Multiply on the array, cycle by cycle.

    Args:
        inputs: integers, (G, M, K); a convolution comes as its im2col matrices.
        weights: integers, (G, K, N).
        geometry: one array; `Geometry.count` must be 1.
        dataflow: one of the three stationary forms.
        load: whether the next stationary operand (output stationary: the results on their way
            out) has registers of its own.
        drain: whether the array empties between folds.
        packed_groups: groups laid side by side, block-diagonally with zeros between.
        tile_rows: rows of a product that run before the next ones start, the last tile being what
            is left; None runs all at once.
        count_output_drain: output stationary: whether results take R cycles to shift out; if not,
            they are lifted out of the PEs in no time, as SCALE-Sim counts.

    Raises:
        ValueError: shapes that do not multiply, several arrays, no stationary dataflow, or packed
            groups that do not fit the array's sides.
    """
    x, w = np.asarray(inputs, dtype=np.int64), np.asarray(weights, dtype=np.int64)
    if x.ndim != 3 or w.ndim != 3 or x.shape[0] != w.shape[0] or x.shape[2] != w.shape[1]:
        raise ValueError(f"no products of inputs {x.shape} and weights {w.shape}")
    if min(*x.shape, w.shape[2]) < 1 or geometry.count != 1:
        raise ValueError("the emulator takes one array and products that are not empty")
    if dataflow is Dataflow.UNROLLED:
        raise ValueError("an unrolled array is not systolic")
    height = tile_rows or x.shape[1]
    tiles = [
        _Layout(x[:, first : first + height], w, geometry, dataflow, first, x.shape[1])
        for first in range(0, x.shape[1], height)
    ]
    tiles[0].check_fit(packed_groups)
    folds = tuple(fold for tile in tiles for fold in tile.folds(packed_groups))
    product = np.zeros((x.shape[0], x.shape[1], w.shape[2]), dtype=np.int64)
    if dataflow is Dataflow.OUTPUT_STATIONARY:
        steps = step_output_stationary(
            folds, product.ravel(), load, drain, count_drain=count_output_drain
        )
    else:
        steps = step_stationary(folds, product.ravel(), load, drain)
    return _emulation(product, steps, len(folds), dataflow)


def _emulation(product: IntArray, steps: Steps, folds: int, dataflow: Dataflow) -> Emulation:
    """Words by operand: which of them come from the left and which from the top."""
    left_is_input = dataflow is not Dataflow.INPUT_STATIONARY
    return Emulation(
        product=product,
        cycles=steps.cycles,
        macs=steps.macs,
        folds=folds,
        input_words=steps.left_words if left_is_input else steps.top_words,
        weight_words=steps.top_words if left_is_input else steps.left_words,
        output_words=steps.output_words,
        operand_writes=steps.operand_writes,
        held_writes=steps.held_writes,
        sum_writes=steps.sum_writes,
    )


@dataclass(frozen=True)
class _Layout:
    """A tile of the products, and the array it is laid over.

    ``first_row`` and ``all_rows`` place the tile in the whole product. Matrices come in two planes:
    values, and 1 where an element is real (0 for the zeros that fill the array up or stand off the
    diagonal).
    """

    x: IntArray
    w: IntArray
    geometry: Geometry
    dataflow: Dataflow
    first_row: int
    all_rows: int

    def check_fit(self, packed: int) -> None:
        """Raise ValueError unless so many groups fit side by side (one group may fold)."""
        g, (_, m, k), n = self.geometry, self.x.shape, self.w.shape[2]
        rows, cols = {
            Dataflow.WEIGHT_STATIONARY: (k / g.packed_rows, n / g.packed_cols),
            Dataflow.OUTPUT_STATIONARY: (m, n / g.packed_cols),
            Dataflow.INPUT_STATIONARY: (k / g.packed_rows, m),
        }[self.dataflow]
        if packed < 1 or (packed > 1 and (packed * rows > g.rows or packed * cols > g.cols)):
            raise ValueError(f"{packed} groups do not fit {g.rows} x {g.cols} PEs side by side")

    def folds(self, packed: int) -> Iterator[Fold]:
        """All folds in the order they run: passes over groups, column folds, row folds."""
        for first in range(0, self.x.shape[0], packed):
            groups = range(first, min(first + packed, self.x.shape[0]))
            if self.dataflow is Dataflow.OUTPUT_STATIONARY:
                yield from self._output_stationary(groups)
            else:
                yield from self._stationary(groups)

    def _output_index(self, groups: range) -> list[IntArray]:
        """(M, N) places of each group's outputs in the flat product."""
        m, n = self.x.shape[1], self.w.shape[2]
        tile = np.arange(m * n).reshape(m, n) + self.first_row * n
        return [g * self.all_rows * n + tile for g in groups]

    def _stationary(self, groups: range) -> Iterator[Fold]:
        """Weight or input stationary: streamed (T, rows), held (rows, cols), outputs (T, cols)."""
        g = self.geometry
        places = self._output_index(groups)
        if self.dataflow is Dataflow.WEIGHT_STATIONARY:
            streamed = [self.x[i] for i in groups]
            held = [self.w[i] for i in groups]
            col_pack, time_pack = g.packed_cols, 1
        else:
            streamed = [self.w[i].T for i in groups]
            held = [self.x[i].T for i in groups]
            places = [index.T for index in places]
            col_pack, time_pack = 1, g.packed_cols
        stream, hold = _planes(np.hstack(streamed)), _block_diagonal(held)
        index = np.hstack(places)
        row_step, col_step = g.rows * g.packed_rows, g.cols * col_pack
        steps = -(-index.shape[0] // time_pack)
        stream = _pad(stream, (steps * time_pack, _up(stream.shape[2], row_step)))
        hold = _pad(hold, (_up(hold.shape[1], row_step), _up(hold.shape[2], col_step)))
        index = _pad(index, (steps * time_pack, hold.shape[2]), fill=-1)
        for col in range(0, hold.shape[2], col_step):
            for row in range(0, hold.shape[1], row_step):
                left = stream[:, :, row : row + row_step]
                top = hold[:, row : row + row_step, col : col + col_step]
                out = index[:, col : col + col_step]
                yield Fold(
                    left=left.reshape(2, steps, time_pack, g.rows, g.packed_rows).transpose(
                        0, 1, 3, 4, 2
                    ),
                    top=top.reshape(2, g.rows, g.packed_rows, g.cols, col_pack).transpose(
                        0, 1, 3, 2, 4
                    ),
                    outputs=out.reshape(steps, time_pack, g.cols, col_pack)
                    .transpose(0, 2, 1, 3)
                    .reshape(steps, g.cols, -1),
                )

    def _output_stationary(self, groups: range) -> Iterator[Fold]:
        """Output stationary: left (T, rows), top (T, cols), outputs (rows, cols)."""
        g = self.geometry
        left = _planes(np.hstack([self.x[i].T for i in groups]))
        top = _planes(np.hstack([self.w[i] for i in groups]))
        index = _block_diagonal([place + 1 for place in self._output_index(groups)])[0] - 1
        col_step = g.cols * g.packed_cols
        steps = -(-left.shape[1] // g.packed_rows)
        time = steps * g.packed_rows
        left = _pad(left, (time, _up(left.shape[2], g.rows)))
        top = _pad(top, (time, _up(top.shape[2], col_step)))
        index = _pad(index, (left.shape[2], top.shape[2]), fill=-1)
        for col in range(0, top.shape[2], col_step):
            for row in range(0, left.shape[2], g.rows):
                a = left[:, :, row : row + g.rows]
                b = top[:, :, col : col + col_step]
                out = index[row : row + g.rows, col : col + col_step]
                yield Fold(
                    left=a.reshape(2, steps, g.packed_rows, g.rows, 1).transpose(0, 1, 3, 2, 4),
                    top=b.reshape(2, steps, g.packed_rows, g.cols, g.packed_cols).transpose(
                        0, 1, 3, 2, 4
                    ),
                    outputs=out.reshape(g.rows, g.cols, g.packed_cols),
                )


def _up(extent: int, step: int) -> int:
    """The next multiple of ``step``."""
    return -(-extent // step) * step


def _planes(values: IntArray) -> IntArray:
    """Values with their plane of ones."""
    return np.stack((values, np.ones_like(values)))


def _block_diagonal(blocks: list[IntArray]) -> IntArray:
    """Matrices along a diagonal, both planes; zeros that are not real elsewhere."""
    rows, cols = (sum(block.shape[axis] for block in blocks) for axis in (0, 1))
    whole = np.zeros((2, rows, cols), dtype=np.int64)
    row = col = 0
    for block in blocks:
        whole[:, row : row + block.shape[0], col : col + block.shape[1]] = _planes(block)
        row, col = row + block.shape[0], col + block.shape[1]
    return whole


def _pad(matrix: IntArray, shape: tuple[int, int], fill: int = 0) -> IntArray:
    """The last two axes grown to ``shape`` with ``fill``."""
    grown = [(0, size - old) for size, old in zip(shape, matrix.shape[-2:], strict=True)]
    lead = [(0, 0)] * (matrix.ndim - 2)
    return np.pad(matrix, (*lead, *grown), constant_values=fill)
