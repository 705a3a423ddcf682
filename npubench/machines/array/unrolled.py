"""A PE array with a general spatial unrolling of loops, such as Eyeriss's row stationary form.

Each side of the array carries a product of loops, the rest of every loop runs in time; inside a
PE, input channels, output channels and the kernel row are kept in registers (Chen et al., ISCA
2016: a PE keeps a filter row and slides along an input row). Weights stay while outputs sweep, so
partial sums go through the innermost output memory once for every slice of the reduction.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import product
from math import prod

import numpy as np

from npubench.ir import LOOP_DIMS
from npubench.machines.array.core import CoreWork, IntArray, exact
from npubench.machines.array.extents import Shape

__all__ = ["PERegisters", "UnrolledCore", "Unrolling", "fastest_unrollings"]


@dataclass(frozen=True, slots=True)
class PERegisters:
    """Words each operand has inside one PE; at least 1."""

    weight: int
    input: int
    output: int


@dataclass(frozen=True, slots=True)
class Unrolling:
    """Spatial factors by loop on each side of the array; loops not named have 1."""

    rows: Mapping[str, int]
    cols: Mapping[str, int]

    def of(self, dim: str) -> int:
        """Total factor of a loop over both sides."""
        return self.rows.get(dim, 1) * self.cols.get(dim, 1)

    def __str__(self) -> str:
        sides = (
            " ".join(f"{dim}{n}" for dim, n in side.items() if n > 1) or "1"
            for side in (self.rows, self.cols)
        )
        return " | ".join(sides)


def fastest_unrollings(
    bounds: Mapping[str, int],
    rows: int,
    cols: int,
    row_dims: tuple[str, ...],
    col_dims: tuple[str, ...],
    keep: int = 64,
) -> tuple[Unrolling, ...]:
    """The unrollings of fewest cycles, product over loops of ceil(bound / factor), best first.

    All factors that fit are counted: for one loop only factors that change the ceiling, since a
    smaller factor with the same ceiling frees PEs at no cost. Ties go to fewer PEs, then to the
    order of the spec.

    Args:
        bounds: the ten loops.
        rows, cols: PEs along each side.
        row_dims, col_dims: loops a side may carry.
        keep: how many to return at most.
    """
    sizes = tuple(bounds[dim] for dim in LOOP_DIMS)
    return _fastest(sizes, rows, cols, row_dims, col_dims, keep)


@lru_cache(maxsize=4096)
def _fastest(
    bounds: tuple[int, ...],
    rows: int,
    cols: int,
    row_dims: tuple[str, ...],
    col_dims: tuple[str, ...],
    keep: int,
) -> tuple[Unrolling, ...]:
    size = dict(zip(LOOP_DIMS, bounds, strict=True))
    row_options = _side_options(size, rows, row_dims)
    col_options = _side_options(size, cols, col_dims)
    dims = tuple(dict.fromkeys((*row_dims, *col_dims)))
    row_table = np.array([[option.get(d, 1) for d in dims] for option in row_options])
    col_table = np.array([[option.get(d, 1) for d in dims] for option in col_options])
    factors = row_table[:, None, :] * col_table[None, :, :]
    extent = np.array([size[d] for d in dims])
    cycles = np.prod(-(-extent // factors), axis=2, dtype=np.int64).ravel()
    used = np.prod(factors, axis=2, dtype=np.int64).ravel()
    ranking = np.lexsort((np.arange(cycles.size), used, cycles))[:keep]
    return tuple(
        Unrolling(row_options[index // len(col_options)], col_options[index % len(col_options)])
        for index in ranking.tolist()
    )


def _side_options(
    size: Mapping[str, int], limit: int, dims: tuple[str, ...]
) -> list[dict[str, int]]:
    """Every choice of factors for one side whose product is within the limit."""
    useful = [
        sorted({-(-size[dim] // -(-size[dim] // f)) for f in range(1, min(limit, size[dim]) + 1)})
        for dim in dims
    ]
    return [
        dict(zip(dims, factors, strict=True))
        for factors in product(*useful)
        if prod(factors) <= limit
    ]


@dataclass(frozen=True)
class UnrolledCore:
    """One unrolled array on one layer."""

    shape: Shape
    unrolling: Unrolling
    registers: PERegisters

    @property
    def groups_at_once(self) -> int:
        """Groups that lie side by side on the array."""
        return self.unrolling.of("G")

    @property
    def steps(self) -> tuple[int, int]:
        """See `Core.steps`: unrolled channels times those a PE keeps."""
        p, q = self.channels_in_pe
        return p * self.unrolling.of("K"), q * self.unrolling.of("C")

    @property
    def note(self) -> str:
        """Loops over rows | loops over columns."""
        return str(self.unrolling)

    @cached_property
    def channels_in_pe(self) -> tuple[int, int]:
        """(output channels p, input channels q) that one PE keeps.

        The pair that moves the fewest words of inputs (once for every p x unrolled K) and partial
        sums (once for every q x unrolled C), of all pairs that the registers hold.
        """
        nest = self.shape.nest
        row = -(-nest.FX // self.unrolling.of("FX"))
        k = -(-nest.K // self.unrolling.of("K"))
        c = -(-nest.C // self.unrolling.of("C"))
        best = (1, 1)
        best_words = float("inf")
        for p in range(1, min(k, self.registers.output) + 1):
            fit = min(c, self.registers.weight // (p * row), self.registers.input // row)
            q = max(1, fit)
            if p > 1 and fit < 1:
                break
            words = nest.input_elements * -(-k // p) + 2 * nest.output_elements * -(-c // q)
            if words < best_words:
                best, best_words = (p, q), words
        return best

    def work(self, b: IntArray, y: IntArray, x: IntArray, k: IntArray, c: IntArray) -> CoreWork:
        """See `Core.work`."""
        nest, of = self.shape.nest, self.unrolling.of
        kernel_steps = prod(-(-n // of(d)) for d, n in _kernel(nest.bounds).items())
        groups = -(-nest.G // of("G"))
        depth = -(-nest.OZ // of("OZ"))
        steps = -(-b // of("B")) * -(-y // of("OY")) * -(-x // of("OX")) * depth
        compute = groups * steps * -(-k // of("K")) * -(-c // of("C")) * kernel_steps
        p, q = self.channels_in_pe
        k_passes, c_passes = -(-k // (p * of("K"))), -(-c // (q * of("C")))
        rows = np.vectorize(lambda n: self.shape.swept(1, int(n), of("OY")), otypes=[np.int64])(y)
        columns = np.vectorize(lambda n: self.shape.reach(2, int(n)), otypes=[np.int64])(x)
        inputs = b * nest.G * c * nest.input_extent[0] * rows * columns * k_passes
        weights = nest.G * k * c * self.shape.kernel
        outputs = b * nest.G * k * nest.OZ * y * x * c_passes
        zero = np.zeros_like(compute)
        return CoreWork(
            compute=exact(compute),
            load=zero,
            skew=zero,
            input_words=exact(inputs),
            weight_words=exact(np.broadcast_to(weights, compute.shape)),
            output_words=exact(outputs),
        )

    def once(self, b: int, y: int, x: int, k: int, c: int) -> tuple[int, int]:
        """Nothing is paid once a layer: filling the PEs is part of their first steps."""
        del b, y, x, k, c
        return 0, 0

    def register_words(self, macs: int) -> int:
        """Register reads and writes: input, weight and partial sum read, partial sum written."""
        return 4 * macs

    def hop_words(self, macs: int) -> int:
        """Partial sums handed to the next PE along a side that carries a reduction.

        A PE sums the kernel row and the channels it keeps on its own; only then does the partial
        sum travel, and only where rows or columns carry part of the reduction.
        """
        spatial = prod(self.unrolling.of(d) for d in ("C", "FZ", "FY", "FX"))
        if spatial == 1:
            return 0
        row = -(-self.shape.nest.FX // self.unrolling.of("FX"))
        return macs // (row * self.channels_in_pe[1])


def _kernel(bounds: Mapping[str, int]) -> dict[str, int]:
    return {dim: bounds[dim] for dim in ("FZ", "FY", "FX")}
