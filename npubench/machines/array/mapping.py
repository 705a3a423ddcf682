"""Placing a network on an array machine: dataflow, split, tiles and what stays on chip."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from npubench.errors import MappingError, Problem
from npubench.ir import LayerPrecision, LoopNest, MacLayer, Network, PrecisionPlan
from npubench.machines.array.core import Core, Geometry, Split, exact, splits
from npubench.machines.array.extents import Shape
from npubench.machines.array.fusion import Tails, find_tails
from npubench.machines.array.spec import ArraySpec, MemorySpec, PEFormatSpec
from npubench.machines.array.systolic import Dataflow, Drain, StationaryLoad, SystolicCore
from npubench.machines.array.tiling import (
    DoesNotFitError,
    OperandBits,
    Stage,
    TiledWork,
    tile_layer,
)
from npubench.machines.array.unrolled import PERegisters, UnrolledCore, fastest_unrollings
from npubench.machines.common.storage import Residency, keep_on_chip, storage_bits

__all__ = [
    "ArrayMapping",
    "MappedLayer",
    "cycles_per_bit",
    "format_of",
    "home_memory",
    "map_network",
]


@dataclass(frozen=True, slots=True)
class MappedLayer:
    """One multiply-accumulate layer on the machine.

    Attributes:
        core: the array on this layer.
        work: cycles and words of one trip.
        once: (load, fill and drain) cycles paid once a trip.
        bits: widths of its operands.
        format: name of the executed format in the spec.
        resident: operands that are on chip already or stay there (activations).
        weights_stay: for layers of several trips: weights fit and are fetched once.
    """

    core: Core
    work: TiledWork
    once: tuple[int, int]
    bits: OperandBits
    format: str
    resident: frozenset[str]
    weights_stay: bool


@dataclass(frozen=True, slots=True)
class ArrayMapping:
    """A whole network on the machine.

    Attributes:
        layers: multiply-accumulate layers by name.
        residency: activations that stay on chip, in the home memory.
        tails: vector layers fused into the layer before them.
        bits: storage width of every tensor.
    """

    layers: Mapping[str, MappedLayer]
    residency: Residency
    tails: Tails
    bits: Mapping[str, int]


def home_memory(spec: ArraySpec) -> MemorySpec | None:
    """Where activations stay between layers: the outermost on-chip memory of both kinds."""
    for memory in reversed(spec.memories):
        if not memory.off_chip and {"input", "output"} <= set(memory.operands):
            return memory
    return None


def format_of(spec: ArraySpec, precision: LayerPrecision) -> tuple[str, PEFormatSpec]:
    """The spec's format that executes a (legalised) precision."""
    for name, candidate in spec.array.formats.items():
        pair = (candidate.weight_format, candidate.activation_format)
        if pair == (precision.weight, precision.activation):
            return name, candidate
    raise MappingError(f"'{spec.name}' does not execute {precision}; legalise the plan first")


def map_network(spec: ArraySpec, network: Network, plan: PrecisionPlan) -> ArrayMapping:
    """Place every layer of a network under an executed plan.

    Raises:
        MappingError: a layer does not fit a memory, naming demand, bound and memory.
    """
    bits = storage_bits(network, plan)
    tails = find_tails(network, enabled=spec.vector_unit.fused_tails)
    home = home_memory(spec)
    room = int(home.capacity.value) if home is not None and home.capacity is not None else 0
    # Half of the home memory may hold activations; the rest is for tiles of the running layer.
    residency = keep_on_chip(network, bits, room // 2, skip=tails.hidden)
    placer = _Placer(spec, bits, tails, residency, home)
    layers = {layer.name: placer.place(layer, plan) for layer in network.mac_layers}
    return ArrayMapping(layers, residency, tails, bits)


class _Placer:
    """Places layers one by one; equal layers in equal surroundings are placed once."""

    def __init__(
        self,
        spec: ArraySpec,
        bits: Mapping[str, int],
        tails: Tails,
        residency: Residency,
        home: MemorySpec | None,
    ) -> None:
        self.spec, self.bits, self.tails = spec, bits, tails
        self.residency, self.home = residency, home
        self.cores: dict[tuple[LoopNest, str], Core] = {}
        self.works: dict[tuple[LoopNest, str, tuple[Stage, ...]], TiledWork] = {}

    def place(self, layer: MacLayer, plan: PrecisionPlan) -> MappedLayer:
        name, fmt = format_of(self.spec, plan.of(layer.name))
        bits = OperandBits(
            input=fmt.activation_format.bits,
            weight=fmt.weight_format.bits,
            output=self.bits[self.tails.result.get(layer.name, layer.outputs[0])],
            partial=fmt.accumulator_bits,
        )
        resident = self._resident(layer)
        key = (layer.nest, name)
        if key not in self.cores:
            self.cores[key] = _best_core(self.spec, fmt, Shape(layer.nest))
        core = self.cores[key]
        reserved = self.residency.reserved_bits[layer.name]
        stages = self._stages(bits, resident, reserved)
        if (*key, stages) not in self.works:
            try:
                self.works[(*key, stages)] = tile_layer(Shape(layer.nest), core, stages)
            except DoesNotFitError as error:
                raise MappingError(self._does_not_fit(layer, error)) from None
        work = self.works[(*key, stages)]
        first = work.tiles[-1].tile if work.tiles else Shape(layer.nest).extents
        return MappedLayer(
            core=core,
            work=work,
            once=core.once(*first),
            bits=bits,
            format=name,
            resident=resident,
            weights_stay=self._weights_stay(layer, bits, reserved),
        )

    def _resident(self, layer: MacLayer) -> frozenset[str]:
        result = self.tails.result.get(layer.name, layer.outputs[0])
        operands = {"input": layer.data, "weight": layer.weight, "output": result}
        served = set(self.home.operands) if self.home is not None else set()
        return frozenset(
            operand
            for operand, tensor in operands.items()
            if operand in served and self.residency.holds(tensor)
        )

    def _stages(
        self, bits: OperandBits, resident: frozenset[str], reserved: int
    ) -> tuple[Stage, ...]:
        stages: list[Stage] = []
        for memory in reversed(self.spec.memories):
            if memory.off_chip or memory.capacity is None:
                continue
            operands = frozenset(str(operand) for operand in memory.operands)
            room = int(memory.capacity.value)
            if memory is self.home:
                operands -= resident
                room -= reserved
            accumulators = tuple(memory.operands) == ("output",)
            stages.append(
                Stage(
                    name=memory.name,
                    operands=operands,
                    capacity_bits=max(0, room),
                    double_buffered=memory.double_buffered,
                    bits=replace(bits, output=bits.partial) if accumulators else bits,
                    cycles_per_bit=cycles_per_bit(self.spec, _next_outer(self.spec, memory)),
                    feeds=_feeds(self.spec, memory),
                    feed_cycles_per_bit=cycles_per_bit(self.spec, memory),
                )
            )
        return tuple(stages)

    def _weights_stay(self, layer: MacLayer, bits: OperandBits, reserved: int) -> bool:
        """Whether weights used on every trip are fetched once: all of them fit on chip."""
        on_chip = self.spec.chain("weight")[-2]
        room = int(on_chip.capacity.value) if on_chip.capacity is not None else 0
        if on_chip is self.home:
            room -= reserved
        return layer.trips > 1 and layer.nest.weight_elements * bits.weight <= room

    def _does_not_fit(self, layer: MacLayer, error: DoesNotFitError) -> Problem:
        nest = " ".join(f"{dim}{n}" for dim, n in layer.nest.bounds.items() if n > 1)
        return Problem(
            f"layer '{layer.name}' ({layer.op} {nest}) does not fit '{self.spec.name}': its "
            f"smallest tile needs {error.needed_bits / 8192:.1f} KiB of {error.stage}, "
            f"{error.room_bits / 8192:.1f} KiB are free",
        )


def _feeds(spec: ArraySpec, memory: MemorySpec) -> frozenset[str]:
    """Operands for which a memory is the innermost."""
    return frozenset(o for o in memory.operands if spec.chain(o)[0] is memory)


def _next_outer(spec: ArraySpec, memory: MemorySpec) -> MemorySpec:
    """The nearest memory outside one that shares an operand with it."""
    index = spec.memories.index(memory)
    return next(m for m in spec.memories[index + 1 :] if set(m.operands) & set(memory.operands))


def cycles_per_bit(spec: ArraySpec, memory: MemorySpec) -> float:
    """Cycles of the array's clock in which one bit passes one port of a memory."""
    if memory.port_width is not None:
        return 1.0 / memory.port_width.value
    assert memory.bandwidth is not None  # the schema demands one of the two
    return spec.clock.value / memory.bandwidth.value


def _best_core(spec: ArraySpec, fmt: PEFormatSpec, shape: Shape) -> Core:
    """The core for a layer: of all ways to share it between the arrays, the fastest.

    Compared on the untiled layer; ties go to the fewest words, then to the first split.
    """
    array = spec.array
    dataflow = Dataflow(array.dataflow)
    rows, cols, count = array.rows.integer, array.cols.integer, array.count.integer
    if dataflow is Dataflow.UNROLLED:
        return _unrolled_core(spec, fmt, shape)
    along_rows = fmt.packed_along == "reduction"
    packed = fmt.macs_per_pe.integer
    geometry = Geometry(rows, cols, packed if along_rows else 1, 1 if along_rows else packed, count)

    def core(split: Split) -> SystolicCore:
        return SystolicCore(
            shape,
            geometry,
            split,
            dataflow,
            StationaryLoad(array.weight_load),
            Drain(array.drain),
            array.output_drain == "counted",
        )

    def rank(candidate: SystolicCore) -> tuple[int, int]:
        work = candidate.work(*(exact(extent) for extent in shape.extents))
        once = candidate.once(*shape.extents)
        words = int(work.input_words + work.weight_words + work.output_words)
        return int(work.cycles) + sum(once), words

    return min((core(split) for split in splits(count)), key=rank)


def _unrolled_core(spec: ArraySpec, fmt: PEFormatSpec, shape: Shape) -> UnrolledCore:
    """The core for a layer on an unrolled array: the fastest unrolling, the memory ports counted.

    Of the unrollings with fewest array cycles those that keep the innermost memory's port busy for
    longer than the array lose to others that do not.
    """
    array = spec.array
    assert array.unrolling is not None  # the schema demands both with this dataflow
    assert array.registers is not None
    registers = PERegisters(
        weight=int(array.registers.weight.value) // fmt.weight_format.bits,
        input=int(array.registers.input.value) // fmt.activation_format.bits,
        output=int(array.registers.output.value) // fmt.accumulator_bits,
    )
    options = fastest_unrollings(
        shape.nest.bounds,
        array.rows.integer,
        array.cols.integer,
        array.unrolling.rows,
        array.unrolling.cols,
    )
    whole = tuple(exact(extent) for extent in shape.extents)

    def rank(core: UnrolledCore) -> tuple[float, int]:
        work = core.work(*whole)
        reads = work.input_words * fmt.activation_format.bits
        sums = work.output_words * fmt.accumulator_bits
        port = cycles_per_bit(spec, spec.chain("input")[0]) * float(reads + sums)
        return max(float(work.compute), port), int(reads + 2 * sums)

    return min((UnrolledCore(shape, option, registers) for option in options), key=rank)
