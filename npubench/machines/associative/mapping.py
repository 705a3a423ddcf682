"""Multiply-accumulate layers on rows: one product a row, scalar products as segments, folds.

A layer is i x j x u products: i output channels, j terms of a scalar product, u output positions
(times groups and batch). Every product has a row of its own; the j rows of a scalar product are a
segment, which lies inside one CAP. What does not fit at once runs in folds. A scalar product longer
than a CAP, or one that leaves too many rows of a CAP empty, is cut into chunks, whose partial sums
are gathered and added.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from npubench.errors import MappingError
from npubench.ir import LayerPrecision, MacLayer, Network, PrecisionPlan
from npubench.machines.associative.operations.arithmetic import (
    MAX_ACCUMULATOR_BITS,
    accumulate,
    multiply,
)
from npubench.machines.associative.program import Counts, Program
from npubench.machines.associative.reduction import scalar_product, sum_bits
from npubench.machines.associative.rows import fold_count, gang_of
from npubench.machines.associative.spec import AssociativeSpec
from npubench.machines.protocol import Objective

__all__ = ["AssociativeMapping", "Placement", "map_network", "parallel_rows", "step_cycles"]

_MORE_CHUNKS = 3


@dataclass(frozen=True)
class Placement:
    """One multiply-accumulate layer on the arrays, one trip.

    Attributes:
        terms: of one segment, the last chunk's may be fewer.
        chunks: segments of one scalar product.
        products: scalar products, all groups and the batch.
        folds: executions until all segments had their turn.
        signs: (activation, weight) signed.
        multiplication: what every row executes.
        summing: what a segment executes after that; both together are its `scalar_product`.
        sum_bits: width of a whole scalar product.
    """

    terms: int
    chunks: int
    products: int
    folds: int
    signs: tuple[bool, bool]
    multiplication: Program
    summing: Program
    sum_bits: int

    @property
    def segments(self) -> int:
        """Chunks of all scalar products."""
        return self.products * self.chunks

    @property
    def counts(self) -> Counts:
        """Cycles of one fold; cells of a row's multiplication and a segment's sum together."""
        return self.multiplication.counts + self.summing.counts


@dataclass(frozen=True)
class AssociativeMapping:
    """Every multiply-accumulate layer's placement, and what it was chosen for."""

    objective: Objective
    layers: Mapping[str, Placement]


def step_cycles(spec: AssociativeSpec, counts: Counts) -> int:
    """Clock cycles of a program's compares and writes."""
    cell = spec.cell
    return counts.compares * cell.compare_cycles.integer + counts.writes * cell.write.cycles.integer


def parallel_rows(spec: AssociativeSpec, precision: LayerPrecision, products: int) -> int:
    """Rows that multiply at once at a precision; all `products` where resources are unlimited."""
    organisation = spec.organisation
    if organisation.resources == "unlimited":
        return products
    bits = precision.activation.bits + precision.weight.bits
    gangs = organisation.caps // gang_of(spec, 2 * bits)
    return max(gangs, 1) * organisation.rows.integer


def map_network(
    spec: AssociativeSpec, network: Network, plan: PrecisionPlan, objective: Objective
) -> AssociativeMapping:
    """Place every multiply-accumulate layer.

    Raises:
        MappingError: a sum wider than the widest accumulator.
    """
    placed = {
        layer.name: _place(spec, layer, plan.of(layer.name), objective)
        for layer in network.mac_layers
    }
    return AssociativeMapping(objective, MappingProxyType(placed))


def _place(
    spec: AssociativeSpec, layer: MacLayer, precision: LayerPrecision, objective: Objective
) -> Placement:
    rows, channels, terms = layer.nest.gemm
    products = rows * channels * layer.nest.G
    total = sum_bits(terms, precision.activation.bits + precision.weight.bits)
    if total > MAX_ACCUMULATOR_BITS:
        raise MappingError(
            f"layer '{layer.name}': a sum of {terms} products at {precision} needs {total} bits, "
            f"an accumulator of '{spec.name}' has {MAX_ACCUMULATOR_BITS}"
        )
    organisation = spec.organisation
    if organisation.resources == "unlimited" or organisation.word == "paper":
        return _placement(spec, layer, precision, terms, 1, products)
    fewest = -(-terms // organisation.rows.integer)
    # A segment that fills a good part of a CAP may leave the rest of its rows empty.
    wasteful = terms * 8 > organisation.rows.integer
    most = fewest + (_MORE_CHUNKS if wasteful else 0)
    placements = [
        _placement(spec, layer, precision, -(-terms // chunks), chunks, products)
        for chunks in range(fewest, min(most, terms) + 1)
    ]
    return min(placements, key=lambda found: _score(spec, found, objective))


def _score(spec: AssociativeSpec, found: Placement, objective: Objective) -> tuple[float, int]:
    """Cycles, or the rows' work, or their product; fewer chunks first where it is the same."""
    cycles = float(step_cycles(spec, found.counts) * found.folds)
    work = float(found.multiplication.counts.compared_cells * found.terms)
    work = (work + found.summing.counts.compared_cells) * found.segments
    if found.chunks > 1:
        added = accumulate(found.sum_bits, found.sum_bits, signed=True)
        folds = fold_count(spec, found.products, 1, added.width)
        cycles += (found.chunks - 1) * (step_cycles(spec, added.counts) + found.sum_bits) * folds
        work += (found.chunks - 1) * added.counts.compared_cells * found.products
    value = {
        Objective.LATENCY: cycles,
        Objective.ENERGY: work,
        Objective.EDP: cycles * work,
    }[objective]
    return value, found.chunks


def _placement(
    spec: AssociativeSpec,
    layer: MacLayer,
    precision: LayerPrecision,
    terms: int,
    chunks: int,
    products: int,
) -> Placement:
    a_bits, w_bits = precision.activation.bits, precision.weight.bits
    signs = (spec.activations == "signed" or layer.weight_batched, True)
    summing = scalar_product(
        terms,
        a_bits,
        w_bits,
        a_signed=signs[0],
        b_signed=signs[1],
        tree=spec.reduction == "tree",
        multiplied=False,
    )
    return Placement(
        terms=terms,
        chunks=chunks,
        products=products,
        folds=fold_count(spec, products * chunks, terms, summing.width),
        signs=signs,
        multiplication=multiply(a_bits, w_bits, a_signed=signs[0], b_signed=signs[1]),
        summing=summing,
        sum_bits=sum_bits(layer.nest.gemm[2], a_bits + w_bits),
    )
