"""A PE array with a general spatial unrolling of loops, such as Eyeriss's row stationary form.

Each side of the array carries a product of loops, the rest of every loop runs in time; inside a
PE, input channels, output channels and the kernel row are kept in registers (Chen et al., ISCA
2016: a PE keeps a filter row and slides along an input row). Weights stay while activations pass,
so partial sums go through the innermost output memory once for every slice of the reduction.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import product
from math import prod
from typing import TypeAlias

import numpy as np

from npubench.ir import LOOP_DIMS
from npubench.machines.array.core import BoolArray, CoreWork, IntArray, exact
from npubench.machines.array.extents import Shape
from npubench.machines.array.tiles import Table, mapped, mapped_pairs

__all__ = [
    "MOST_UNROLLINGS",
    "Kept",
    "PERegisters",
    "UnrolledCore",
    "Unrolling",
    "fastest_unrollings",
    "kept_options",
    "work_of_each",
]

# One factor, or one for each of many tiles.
_Factor: TypeAlias = int | IntArray


# Unrollings of a layer that the search looks at.
MOST_UNROLLINGS = 16


@dataclass(frozen=True, slots=True)
class PERegisters:
    """Words each operand has inside one PE; 0 where an operand only passes through."""

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
    keep: int = MOST_UNROLLINGS,
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


@dataclass(frozen=True, slots=True)
class Kept:
    """What one PE keeps while activations pass: p output and q input channels of weights."""

    outputs: int
    inputs: int


def kept_options(
    shape: Shape, unrolling: Unrolling, registers: PERegisters, kept_loops: tuple[str, ...]
) -> tuple[Kept, ...]:
    """Every pair that the registers hold and that no larger pair replaces.

    A PE holds p x q x (kept kernel) weights, the inputs of q channels under the kept kernel where
    it has input registers, and p partial sums where it has output registers; without those,
    partial sums leave every cycle and only p matters.
    """
    bounds = shape.nest.bounds
    row = prod(-(-bounds[dim] // unrolling.of(dim)) for dim in kept_loops)
    most_p = -(-bounds["K"] // unrolling.of("K"))
    most_q = -(-bounds["C"] // unrolling.of("C")) if registers.output else 1
    if registers.output:
        most_p = min(most_p, registers.output)
    if registers.input:
        most_q = min(most_q, max(1, registers.input // row))
    options: list[Kept] = []
    for p in range(most_p, 0, -1):
        q = min(most_q, registers.weight // (p * row))
        # A larger p with as many q replaces this pair; a kernel too long for the registers is
        # fetched again in parts, which one channel at a time does best.
        if q < 1 and p > 1:
            continue
        if not options or q > options[-1].inputs:
            options.append(Kept(p, max(1, q)))
    return tuple(options)


@dataclass(frozen=True)
class UnrolledCore:
    """One unrolled array on one layer.

    Attributes:
        shape: the layer.
        unrolling: loops over the array's sides.
        kept: channels whose weights stay in a PE while activations pass.
        kept_loops: kernel loops that run inside a PE; with FX the PE slides along an input line
            and reads each input once, without it every product fetches its input.
        sums_in_pe: whether partial sums of the kept loops are added up inside the PE.
        skewed: whether operands enter as in a systolic array, one row and column a cycle.
        holds_inputs: whether what the next product needs too is not read again, as ZigZag counts:
            an input, where a tile has one row of outputs and output channels follow each other with
            it; weights, from tile to tile.
    """

    shape: Shape
    unrolling: Unrolling
    kept: Kept
    kept_loops: tuple[str, ...] = ("FX",)
    sums_in_pe: bool = True
    skewed: bool = False
    holds_inputs: bool = False

    @property
    def groups_at_once(self) -> int:
        """Groups that lie side by side on the array."""
        return self.unrolling.of("G")

    @property
    def steps(self) -> tuple[int, int]:
        """See `Core.steps`."""
        return self.unrolling.of("K"), self.unrolling.of("C")

    @property
    def note(self) -> str:
        """Loops over rows | loops over columns; channels kept in a PE."""
        return f"{self.unrolling}; {self.kept.outputs} x {self.kept.inputs} kept"

    def work(self, b: IntArray, y: IntArray, x: IntArray, k: IntArray, c: IntArray) -> CoreWork:
        """See `Core.work`."""
        kept = self.kept.outputs, self.kept.inputs
        return _work(self, self.unrolling.of, kept, (b, y, x, k, c))

    def once(
        self, b: IntArray, y: IntArray, x: IntArray, k: IntArray, c: IntArray
    ) -> tuple[IntArray, IntArray]:
        """See `Core.once`: the skew of a systolic array over the rows and columns in use."""
        del y, x, k, c
        sides = prod(self.unrolling.rows.values()) + prod(self.unrolling.cols.values())
        return np.zeros_like(b), np.full_like(b, sides - 2 if self.skewed else 0)

    def stays(self, k: IntArray, c: IntArray) -> BoolArray | None:
        """See `Core.stays`: as ZigZag counts, where the PEs have all weights of a tile at once."""
        of, bounds = self.unrolling.of, self.shape.nest.bounds
        kernel = prod(-(-bounds[dim] // of(dim)) for dim in ("FZ", "FY", "FX"))
        if not self.holds_inputs or kernel > 1 or bounds["G"] > of("G"):
            return None
        outputs, inputs = self.kept.outputs * of("K"), self.kept.inputs * of("C")
        return np.asarray((k <= outputs) & (c <= inputs))

    @cached_property
    def weight_copies(self) -> int:
        """PEs that hold the same weight: the unrolled loops that weights do not have."""
        return prod(self.unrolling.of(dim) for dim in ("B", "OZ", "OY", "OX"))

    @cached_property
    def products_per_hop(self) -> int:
        """MACs that a PE adds up before its partial sum travels to a neighbour; 0 for never.

        Sums travel where the array's sides carry part of the reduction.
        """
        if prod(self.unrolling.of(dim) for dim in ("C", "FZ", "FY", "FX")) == 1:
            return 0
        if not self.sums_in_pe:
            return 1
        bounds = self.shape.nest.bounds
        row = prod(-(-bounds[dim] // self.unrolling.of(dim)) for dim in self.kept_loops)
        return row * self.kept.inputs


def work_of_each(cores: Sequence[UnrolledCore]) -> CoreWork:
    """Work on the whole layer, one entry for each of many unrollings of one array."""
    factors = {dim: exact([core.unrolling.of(dim) for core in cores]) for dim in LOOP_DIMS}
    kept = exact([(core.kept.outputs, core.kept.inputs) for core in cores]).T
    b, y, x, k, c = (np.full(len(cores), extent) for extent in cores[0].shape.extents)
    return _work(cores[0], factors.__getitem__, (kept[0], kept[1]), (b, y, x, k, c))


def _work(
    core: UnrolledCore,
    of: Callable[[str], _Factor],
    kept: tuple[_Factor, _Factor],
    table: Table,
) -> CoreWork:
    """Work on tiles, each with the same factors and kept channels or with its own.

    Args:
        core: says how the array works.
        of: the factor of a loop.
        kept: output and input channels in a PE.
    """
    b, y, x, k, c = table
    nest, (outputs, inputs_kept) = core.shape.nest, kept
    bounds = nest.bounds
    steps = {dim: -(-bounds[dim] // of(dim)) for dim in ("FZ", "FY", "FX")}
    kernel = steps["FZ"] * steps["FY"] * steps["FX"]
    groups, depth = -(-nest.G // of("G")), -(-nest.OZ // of("OZ"))
    rows = -(-b // of("B")) * -(-y // of("OY")) * -(-x // of("OX")) * depth
    c_steps, k_steps = -(-c // of("C")), -(-k // of("K"))
    k_passes = -(-k // (outputs * of("K")))
    products = nest.G * b * nest.OZ * y * x
    if "FX" in core.kept_loops:
        lines = mapped_pairs(of("OY"), y, lambda tile, size: core.shape.swept(1, size, tile))
        columns = mapped(x, lambda size: core.shape.reach(2, size))
        inputs = nest.G * b * c * nest.input_extent[0] * lines * columns * k_passes
        least = inputs
    else:
        least = products * c * core.shape.kernel
        held = core.holds_inputs & (rows == 1)
        inputs = least * np.where(held, 1, k_passes)
    passes = c_steps * kernel
    if core.sums_in_pe:
        inside: _Factor = 1
        for dim in core.kept_loops:
            inside = inside * steps.get(dim, 1)
        passes = -(-c // (inputs_kept * of("C"))) * (kernel // inside)
    compute = groups * rows * k_steps * c_steps * kernel
    zero, weights = np.zeros_like(compute), exact(nest.G * k * c * core.shape.kernel)
    # PEs that hold the same weight: the unrolled loops that weights do not have.
    held_writes = weights * (of("B") * of("OZ") * of("OY") * of("OX"))
    return CoreWork(
        compute=exact(compute),
        load=zero,
        skew=zero,
        input_words=exact(inputs),
        weight_words=weights,
        output_words=exact(products * k * passes),
        input_least=exact(least if core.holds_inputs else inputs),
        held_writes=held_writes,
        held_least=held_writes,
    )
