"""What a mapped network does, layer by layer, in counts: nothing in it hangs on clock or supply."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from npubench.ir import Layer, MacLayer, MoveLayer, Network, VectorLayer
from npubench.machines.array.flows import FloatArray, overlapped_operands
from npubench.machines.array.mapping import ArrayMapping, MappedLayer
from npubench.machines.array.registers import register_use
from npubench.machines.array.space import first_tile
from npubench.machines.array.spec import ArraySpec, MemorySpec
from npubench.machines.array.systolic import ceil_div
from npubench.machines.array.tiles import OperandBits, one
from npubench.machines.array.traffic import Ports, mac_traffic, tensor_traffic
from npubench.specs.quantity import Quantity

__all__ = ["LayerUse", "Spending", "Wait", "peak_macs_per_cycle", "use_of_layer"]


@dataclass(frozen=True, slots=True)
class Spending:
    """Events that each take the same energy.

    Attributes:
        component: of the energy.
        path: of the constant in the spec.
        count: how many events.
        each: the constant.
        off_chip: whether the supply of the die leaves it alone.
    """

    component: str
    path: str
    count: float
    each: Quantity
    off_chip: bool = False


@dataclass(frozen=True, slots=True)
class Wait:
    """A tile that nothing hides: bits off chip, and weights to convert, before or after the work.

    Attributes:
        cause: of the cycles.
        trips: how often it is waited for.
        bits, memory: what passes which memory.
        bits_of, converted: widths and number of weights that are converted on the way.
    """

    cause: str
    trips: int
    bits: float
    memory: MemorySpec
    bits_of: OperandBits
    converted: FloatArray | None = None


@dataclass(frozen=True, slots=True)
class LayerUse:
    """One layer.

    Attributes:
        layer: of the network.
        busy: cycles by cause in which its unit works; memories may be busy longer.
        ports: bits through every memory.
        spendings: events with an energy each, traffic of the memories excepted.
        stall: cause of the cycles in which a memory is busy longer.
        after: cycles by cause that nothing hides, on top.
        waits: see `Wait`.
        alone: whether the waits are part of what the off-chip memories are busy with.
        peak: MACs that the machine could do in a cycle; None for layers without MACs.
        note: a decision worth showing.
    """

    layer: Layer
    busy: Mapping[str, int]
    ports: Ports
    spendings: tuple[Spending, ...] = ()
    stall: str = "stall"
    after: Mapping[str, int] = field(default_factory=dict)
    waits: tuple[Wait, ...] = ()
    alone: bool = False
    peak: int | None = None
    note: str = ""

    def all_spendings(self, spec: ArraySpec) -> Iterator[Spending]:
        """The layer's events and every bit of its traffic, in a fixed order."""
        yield from self.spendings
        for memory in spec.memories:
            name, off_chip = memory.name, memory.off_chip
            read, written = self.ports.bits(name)
            path = f"memories.{name}."
            yield Spending(name, path + "read_energy", read, memory.read_energy, off_chip)
            yield Spending(name, path + "write_energy", written, memory.write_energy, off_chip)

    def off_chip_bytes(self, spec: ArraySpec) -> int:
        """Bytes over the outermost memories' ports, both ways."""
        return sum(sum(self.ports.bits(m.name)) for m in spec.memories if m.off_chip) // 8


def peak_macs_per_cycle(spec: ArraySpec, format_name: str) -> int:
    """MACs of all arrays in a cycle at one of the spec's formats."""
    array = spec.array
    return (
        array.rows.integer
        * array.cols.integer
        * array.count.integer
        * array.formats[format_name].macs_per_pe.integer
    )


def use_of_layer(
    spec: ArraySpec,
    network: Network,
    mapping: ArrayMapping,
    layer: Layer,
    mapped: MappedLayer | None = None,
) -> LayerUse:
    """What a layer does.

    Args:
        mapped: how a multiply-accumulate layer runs; None takes the mapping's.
    """
    if isinstance(layer, MacLayer):
        return _mac(spec, network, layer, mapped or mapping.layers[layer.name])
    if isinstance(layer, VectorLayer):
        return _vector(spec, network, mapping, layer)
    return _movement(spec, network, mapping, layer)


def _mac(spec: ArraySpec, network: Network, layer: MacLayer, mapped: MappedLayer) -> LayerUse:
    fmt = spec.array.formats[mapped.format]
    bias = network.tensors[layer.bias].elements if layer.bias else 0
    ports = mac_traffic(spec, mapped, layer.trips, bias)
    load, fill_drain = mapped.once
    path = f"array.formats.{mapped.format}.mac_energy"
    spendings = [Spending("mac", path, layer.macs, fmt.mac_energy)]
    held = mapped.work.held_writes * layer.trips
    spendings += [
        Spending("registers", path, bits, quantity)
        for path, quantity, bits in register_use(
            spec, fmt, mapped.bits, mapped.core, layer.macs, held
        )
    ]
    unit = spec.quantization_unit
    if unit is not None and ports.converted:
        path = "quantization_unit.energy"
        spendings.append(Spending("quantization_unit", path, ports.converted, unit.energy))
    return LayerUse(
        layer,
        # What is paid once a trip hides nothing and is hidden by nothing (see `LayerSearch`).
        busy={
            "compute": mapped.work.compute * layer.trips,
            "weight_load": mapped.work.load * layer.trips,
            "fill_drain": mapped.work.skew * layer.trips,
        },
        ports=ports,
        spendings=tuple(spendings),
        after={"weight_load": load * layer.trips, "fill_drain": fill_drain * layer.trips},
        waits=_waits(spec, network, layer, mapped),
        alone=spec.layer_overlap == "none",
        peak=peak_macs_per_cycle(spec, mapped.format),
        note=mapped.core.note,
    )


def _waits(
    spec: ArraySpec, network: Network, layer: MacLayer, mapped: MappedLayer
) -> tuple[Wait, ...]:
    """Waiting for the first tile to come in and the last one to go out.

    With prefetch the first tile of a layer comes in while the layer before runs, so that only the
    network's first layer waits; without, every layer starts and ends alone.
    """
    alone = spec.layer_overlap == "none"
    if not alone and layer.name != network.mac_layers[0].name:
        return ()
    first = first_tile(mapped.core, one(mapped.work.first))
    last = first_tile(mapped.core, one(mapped.work.last))
    elements = first | {"output": last["output"]}
    overlapped = overlapped_operands(spec)
    outermost = {
        "input": spec.chain("input")[-1],
        "weight": spec.chain("weight")[-1],
        "output": spec.chain("output")[-1],
    }
    return tuple(
        Wait(
            "last_tile" if operand == "output" else "first_tile",
            layer.trips if alone else 1,
            float(count[0]) * mapped.bits.off_chip(operand),
            outermost[operand],
            mapped.bits,
            count if operand == "weight" else None,
        )
        for operand, count in elements.items()
        if operand in overlapped - mapped.resident and (alone or operand != "output")
    )


def _vector(
    spec: ArraySpec, network: Network, mapping: ArrayMapping, layer: VectorLayer
) -> LayerUse:
    unit = spec.vector_unit
    slots = layer.alu_ops + layer.special_ops * unit.special_cycles.integer
    fused = layer.name in mapping.tails.head
    hidden = mapping.tails.hidden if fused else frozenset[str]()
    results = set(mapping.tails.result.values()) if fused else set[str]()
    reads, writes = _elements(network, layer.inputs), _elements(network, layer.outputs)
    ports = tensor_traffic(
        spec,
        mapping,
        {n: e * layer.trips for n, e in reads.items() if n not in hidden},
        {n: e * layer.trips for n, e in writes.items() if n not in hidden and n not in results},
    )
    alu, special = layer.alu_ops * layer.trips, layer.special_ops * layer.trips
    return LayerUse(
        layer,
        busy={"vector": ceil_div(slots, unit.lanes.integer) * layer.trips},
        ports=ports,
        spendings=(
            Spending("vector", "vector_unit.alu_energy", alu, unit.alu_energy),
            Spending("vector", "vector_unit.special_energy", special, unit.special_energy),
        ),
        note="fused" if fused else "",
    )


def _movement(spec: ArraySpec, network: Network, mapping: ArrayMapping, layer: Layer) -> LayerUse:
    """A layer that only moves data; an unknown operator reads and writes all of its tensors."""
    if isinstance(layer, MoveLayer):
        moved = layer.elements * layer.trips
        reads = {layer.inputs[0]: moved} if moved and layer.inputs else {}
        writes = {layer.outputs[0]: moved} if moved and layer.outputs else {}
    else:
        reads = {n: e * layer.trips for n, e in _elements(network, layer.inputs).items()}
        writes = {n: e * layer.trips for n, e in _elements(network, layer.outputs).items()}
    return LayerUse(
        layer, busy={}, ports=tensor_traffic(spec, mapping, reads, writes), stall="move"
    )


def _elements(network: Network, names: tuple[str, ...]) -> dict[str, int]:
    """Elements by tensor, each tensor once."""
    return {name: network.tensors[name].elements for name in names}
