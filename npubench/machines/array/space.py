"""The search space of one layer on one spec: its cores, its levels and what they cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from npubench.machines.array.core import Core, CoreWork, Geometry, splits
from npubench.machines.array.extents import Shape
from npubench.machines.array.flows import (
    ARRAY,
    ON_TOP,
    FloatArray,
    Flow,
    Resources,
    add_words,
    conversion_cycles,
    cycles_per_bit,
    held_bits,
    next_memories,
)
from npubench.machines.array.nests import Level, nondominated
from npubench.machines.array.registers import register_use
from npubench.machines.array.spec import ArraySpec, MemorySpec, PEFormatSpec
from npubench.machines.array.systolic import Dataflow, Drain, StationaryLoad, SystolicCore
from npubench.machines.array.tiles import OperandBits, Table, mapped, one
from npubench.machines.array.unrolled import (
    MOST_UNROLLINGS,
    PERegisters,
    UnrolledCore,
    fastest_unrollings,
    kept_options,
    work_of_each,
)

__all__ = ["ArrayCost", "build_cores", "build_levels", "feeding_flow"]

ALL = frozenset({"input", "weight", "output"})


@dataclass(frozen=True)
class ArrayCost:
    """Cost vectors of the array on tiles: its cycles, its registers and the words it takes.

    Attributes:
        spec, fmt, bits: what runs.
        resources: the columns.
        flow: between the array and the innermost memory of each operand.
        exposed: operands whose first tile (last, for outputs) nothing hides; empty where the
            machine prefetches across layers.
    """

    spec: ArraySpec
    fmt: PEFormatSpec
    bits: OperandBits
    resources: Resources
    flow: Flow
    exposed: frozenset[str]

    def __call__(self, core: Core, work: CoreWork, table: Table) -> FloatArray:
        """One column a tile; see `CoreCost`."""
        b, y, x, k, c = table
        nest = core.shape.nest
        macs = (nest.G * nest.OZ * core.shape.kernel * b * y * x * k * c).astype(float)
        columns = self._passed(work)
        joules = columns[self.resources.energy]
        held = work.held_writes.astype(float)
        for _, quantity, bits in register_use(self.spec, self.fmt, self.bits, core, macs, held):
            joules += bits * quantity.value
        joules += macs * self.fmt.mac_energy.value
        return columns

    def untiled(self, cores: Sequence[Core]) -> FloatArray:
        """Columns of the whole layer, one for each variant of the array."""
        shape = cores[0].shape
        unrolled = [core for core in cores if isinstance(core, UnrolledCore)]
        if len(unrolled) < len(cores):
            table = one(shape.extents)
            return np.hstack([self(core, core.work(*table), table) for core in cores])
        # Unrollings are many: together for all but the registers, whose use differs in kind.
        work = work_of_each(unrolled)
        columns, macs = self._passed(work), float(shape.nest.macs)
        for number, (core, held) in enumerate(zip(cores, work.held_writes.tolist(), strict=True)):
            use = register_use(self.spec, self.fmt, self.bits, core, macs, float(held))
            joules = sum(bits * quantity.value for _, quantity, bits in use)
            columns[self.resources.energy, number] += joules + macs * self.fmt.mac_energy.value
        return columns

    def _passed(self, work: CoreWork) -> FloatArray:
        """Columns of the array's cycles and of what passes the innermost memories."""
        columns = np.zeros((self.resources.count, len(work.compute)))
        add_words(columns, work.input_words, self.flow.input)
        add_words(columns, work.weight_words, self.flow.weight)
        add_words(columns, work.output_words, self.flow.output)
        columns[ARRAY] += work.cycles
        return columns

    def on_top(self, core: Core, table: Table) -> FloatArray:
        """Cycles paid on top of the busiest unit: skews, and tiles that nothing hides.

        Rows `BEFORE`, `AFTER` and `LEAVE`, one column a tile.

        As the layer's cost counts them (`cost`): operands of the first tile before it runs, the
        load and skew of the last fold, and the way out of the last tile.
        """
        load, fill_drain = core.once(*table)
        paid = np.zeros((len(ON_TOP), len(load)))
        before, after, leave = paid
        after += load + fill_drain
        if not self.exposed:
            return paid
        elements = first_tile(core, table)
        chains = {
            "input": self.spec.chain("input"),
            "weight": self.spec.chain("weight"),
            "output": self.spec.chain("output"),
        }
        for operand in sorted(self.exposed):
            wait = elements[operand] * self.bits.off_chip(operand)
            wait = wait * cycles_per_bit(chains[operand][-1], self.spec.clock.value)
            if operand == "weight" and self.bits.stored_weight is not None:
                wait = wait + conversion_cycles(
                    self.spec, self.bits, elements[operand], self.spec.clock.value
                )
            if operand == "output":
                leave += wait
            else:
                before += wait
        return paid


def first_tile(core: Core, table: Table) -> dict[str, FloatArray]:
    """Elements of each operand of one tile, for the groups in use at once."""
    b, y, x, k, c = table
    nest, shape = core.shape.nest, core.shape
    rows = mapped(y, lambda size: shape.reach(1, size))
    columns = mapped(x, lambda size: shape.reach(2, size))
    groups = core.groups_at_once
    elements = {
        "input": groups * b * nest.input_extent[0] * rows * columns * c,
        "weight": groups * k * c * shape.kernel,
        "output": groups * b * nest.OZ * y * x * k,
    }
    return {operand: count.astype(np.float64) for operand, count in elements.items()}


def feeding_flow(spec: ArraySpec, resources: Resources, bits: OperandBits) -> Flow:
    """The flow between the array and the innermost memory of each operand."""
    return resources.between(None, next_memories(spec, None, ALL), bits)


def build_levels(
    spec: ArraySpec,
    resources: Resources,
    bits: OperandBits,
    *,
    home: MemorySpec | None,
    resident: frozenset[str],
    reserved_bits: int,
    weights_room: MemorySpec | None,
    weights_bits: Mapping[str, int],
    streams: bool = False,
) -> tuple[Level, ...]:
    """The on-chip memories of a layer, outermost first.

    Args:
        home: where activations stay; ``resident`` ones are not tiled there.
        resident: operands that are on chip whole.
        reserved_bits: room in ``home`` taken by resident activations.
        weights_room: the memory that holds the layer's weights whole, where they stay.
        weights_bits: room taken by weights that stay, by memory.
        streams: whether the outermost one tries smaller tiles than the whole, see `Level`.
    """
    levels: list[Level] = []
    for memory in reversed(spec.memories):
        if memory.off_chip or memory.capacity_bits is None:
            continue
        operands = frozenset(str(operand) for operand in memory.operands)
        if memory is home:
            operands -= resident - {"weight"}
        if memory is weights_room:
            operands -= {"weight"}
        room = memory.capacity_bits - (reserved_bits if memory is home else 0)
        room -= weights_bits.get(memory.name, 0)
        levels.append(
            Level(
                name=memory.name,
                operands=operands,
                room_bits=max(0, room),
                double_buffered=memory.double_buffered,
                bits=_in_lanes(memory, replace(bits, output=held_bits(memory, bits))),
                flow=resources.between(memory, next_memories(spec, memory, operands), bits),
                streams=streams and not levels,
                uneven=memory.uneven,
            )
        )
    return tuple(levels)


def _in_lanes(memory: MemorySpec, bits: OperandBits) -> OperandBits:
    """Widths as they take up room in a memory."""
    return replace(
        bits,
        input=memory.lane_bits(bits.input),
        weight=memory.lane_bits(bits.weight),
        output=memory.lane_bits(bits.output),
        partial=memory.lane_bits(bits.partial),
    )


def build_cores(
    spec: ArraySpec, fmt: PEFormatSpec, shape: Shape, cost: ArrayCost
) -> tuple[Core, ...]:
    """The variants of the array for a layer that the untiled layer does not rule out.

    Systolic: every way to share the layer between arrays. Unrolled: the fastest unrollings, each
    with everything a PE may keep. Of these, the ones whose cost on the untiled layer no other
    undercuts in every resource.
    """
    array = spec.array
    cores: Sequence[Core]
    if Dataflow(array.dataflow) is Dataflow.UNROLLED:
        cores = _unrolled_cores(spec, fmt, shape)
    else:
        along_rows = fmt.packed_along == "reduction"
        packed = fmt.macs_per_pe.integer
        geometry = Geometry(
            array.rows.integer,
            array.cols.integer,
            packed if along_rows else 1,
            1 if along_rows else packed,
            array.count.integer,
        )
        cores = [
            SystolicCore(
                shape,
                geometry,
                split,
                Dataflow(array.dataflow),
                StationaryLoad(array.weight_load),
                Drain(array.drain),
                array.output_drain == "counted",
            )
            for split in splits(geometry.count)
        ]
    return tuple(cores[index] for index in nondominated(cost.untiled(cores).T).tolist())


def _unrolled_cores(spec: ArraySpec, fmt: PEFormatSpec, shape: Shape) -> list[UnrolledCore]:
    array = spec.array
    assert array.unrolling is not None  # the schema demands both with this dataflow
    assert array.registers is not None
    registers = PERegisters(
        weight=int(array.registers.weight.value) // fmt.weight_format.bits,
        input=0
        if array.registers.input is None
        else int(array.registers.input.value) // fmt.activation_format.bits,
        output=0
        if array.registers.output is None
        else int(array.registers.output.value) // fmt.accumulator_bits,
    )
    options = fastest_unrollings(
        shape.nest.bounds,
        array.rows.integer,
        array.cols.integer,
        array.unrolling.rows,
        array.unrolling.cols,
        # ZigZag's rules for sums (`with_sums`) are those of one unrolling.
        1 if spec.counting == "zigzag" else MOST_UNROLLINGS,
    )
    kept_loops = tuple(str(dim) for dim in array.unrolling.kept)
    return [
        UnrolledCore(
            shape,
            unrolling,
            kept,
            kept_loops,
            sums_in_pe=array.registers.output is not None,
            skewed=array.unrolling.skewed,
            holds_inputs=spec.counting == "zigzag",
        )
        for unrolling in options
        for kept in kept_options(shape, unrolling, registers, kept_loops)
    ]
