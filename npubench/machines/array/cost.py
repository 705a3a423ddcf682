"""Cycles and joules of a mapped network, by cause and by component."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import TypeAlias

from npubench.ir import (
    Layer,
    MacLayer,
    MoveLayer,
    Network,
    PrecisionPlan,
    VectorLayer,
)
from npubench.machines.array.mapping import ArrayMapping, MappedLayer, cycles_per_bit
from npubench.machines.array.spec import ArraySpec
from npubench.machines.array.systolic import Dataflow, ceil_div
from npubench.machines.array.traffic import Ports, mac_traffic, tensor_traffic
from npubench.machines.array.unrolled import UnrolledCore
from npubench.machines.protocol import ConstantUse, Cost, LayerCost
from npubench.specs.quantity import Quantity, walk_quantities

__all__ = ["cost_network", "peak_macs_per_cycle"]

_Joules: TypeAlias = defaultdict[str, float]


def peak_macs_per_cycle(spec: ArraySpec, format_name: str) -> int:
    """MACs of all arrays in a cycle at one of the spec's formats."""
    array = spec.array
    return (
        array.rows.integer
        * array.cols.integer
        * array.count.integer
        * array.formats[format_name].macs_per_pe.integer
    )


def cost_network(
    spec: ArraySpec, network: Network, plan: PrecisionPlan, mapping: ArrayMapping
) -> Cost:
    """Cost of every layer, one after another; fused tails run beside the layer they belong to."""
    return _Coster(spec, network, plan, mapping).cost()


class _Coster:
    """Adds up one network's cost; joules are also kept by the constant they rest on."""

    def __init__(
        self, spec: ArraySpec, network: Network, plan: PrecisionPlan, mapping: ArrayMapping
    ) -> None:
        self.spec, self.network, self.plan, self.mapping = spec, network, plan, mapping
        self.clock_hz = spec.clock.value
        self.by_constant = _Joules(float)
        self.first_mac = next((layer.name for layer in network.mac_layers), "")

    def cost(self) -> Cost:
        layers = tuple(self._layer(layer) for layer in self.network.layers)
        cycles = {layer.name: layer.cycles for layer in layers}
        tails: Counter[str] = Counter()
        for name, head in self.mapping.tails.head.items():
            tails[head] += cycles[name]
        overlap = -sum(min(cycles[head], behind) for head, behind in tails.items())
        overlap_j = self.spec.static_power.value * overlap / self.clock_hz
        self.by_constant["static_power"] += overlap_j
        total = sum(cycles.values()) + overlap
        return Cost(
            layers=layers,
            clock_hz=self.clock_hz,
            interval_cycles=total,
            overlap_cycles=overlap,
            overlap_energy_j=overlap_j,
            assumptions=_assumptions(self.spec),
            constants=self._constants(),
        )

    def _layer(self, layer: Layer) -> LayerCost:
        if isinstance(layer, MacLayer):
            return self._mac(layer)
        if isinstance(layer, VectorLayer):
            return self._vector(layer)
        return self._movement(layer)

    def _mac(self, layer: MacLayer) -> LayerCost:
        mapped = self.mapping.layers[layer.name]
        fmt = self.spec.array.formats[mapped.format]
        bias = self.network.tensors[layer.bias].elements if layer.bias else 0
        ports = mac_traffic(self.spec, mapped, layer.trips, bias)
        load, fill_drain = mapped.once
        causes = {
            "compute": mapped.work.compute * layer.trips,
            "weight_load": (mapped.work.load + load) * layer.trips,
            "fill_drain": (mapped.work.skew + fill_drain) * layer.trips,
        }
        if layer.name == self.first_mac:
            causes |= self._first_tile(mapped)
        causes |= self._stall(sum(causes.values()), ports)
        energy = _Joules(float)
        self._spend(
            energy, "mac", f"array.formats.{mapped.format}.mac_energy", layer.macs, fmt.mac_energy
        )
        self._registers(energy, layer, mapped)
        cycles = sum(causes.values())
        peak = peak_macs_per_cycle(self.spec, mapped.format)
        return self._record(
            layer,
            causes,
            energy,
            ports,
            utilization=layer.macs / (peak * cycles),
            note=mapped.core.note,
        )

    def _registers(self, energy: _Joules, layer: MacLayer, mapped: MappedLayer) -> None:
        """Registers inside the array.

        Systolic: of the three operands one stays; of each MAC the streamed operand and the
        partial sum are written into the next PE's register (a PE that packs MACs along the
        reduction writes one partial sum for all of them), and the held operand when it is loaded.
        """
        array, bits = self.spec.array, mapped.bits
        core = mapped.core
        if isinstance(core, UnrolledCore):
            assert array.registers is not None  # the schema demands them with this dataflow
            touched = core.register_words(layer.macs) // 4
            widths = bits.input + bits.weight + 2 * bits.partial
            path = "array.registers."
            self._spend(
                energy, "registers", path + "energy", touched * widths, array.registers.energy
            )
            hops = core.hop_words(layer.macs) * bits.partial
            self._spend(energy, "registers", path + "hop_energy", hops, array.registers.hop_energy)
            return
        assert array.register_energy is not None  # the schema demands it with this dataflow
        fmt = array.formats[mapped.format]
        sums = layer.macs
        if fmt.packed_along == "reduction":
            sums = ceil_div(layer.macs, fmt.macs_per_pe.integer)
        words = mapped.work.core
        streamed, held = {
            Dataflow.WEIGHT_STATIONARY: (bits.input, words.weight * bits.weight),
            Dataflow.OUTPUT_STATIONARY: (bits.input + bits.weight, 0),
            Dataflow.INPUT_STATIONARY: (bits.weight, words.input * bits.input),
        }[Dataflow(array.dataflow)]
        written = layer.macs * streamed + sums * bits.partial + held * layer.trips
        self._spend(energy, "registers", "array.register_energy", written, array.register_energy)

    def _first_tile(self, mapped: MappedLayer) -> dict[str, int]:
        """Wait for the network's first tile; later ones load while the layer before runs."""
        wait = 0.0
        tile = mapped.work.tiles[0].tile if mapped.work.tiles else None
        if tile is not None:
            shape, nest = mapped.core.shape, mapped.core.shape.nest
            groups = mapped.core.groups_at_once
            inputs = tile.b * nest.input_extent[0] * tile.c
            inputs *= shape.reach(1, tile.y) * shape.reach(2, tile.x)
            weights = tile.k * tile.c * shape.kernel
            for operand, elements in (("input", inputs), ("weight", weights)):
                memory = self.spec.chain("input" if operand == "input" else "weight")[-1]
                if operand not in mapped.resident:
                    bits = groups * elements * mapped.bits.of(operand)
                    wait += bits * cycles_per_bit(self.spec, memory)
        return {"first_tile": math.ceil(wait)} if wait else {}

    def _vector(self, layer: VectorLayer) -> LayerCost:
        unit = self.spec.vector_unit
        lanes = unit.lanes.integer
        slots = layer.alu_ops + layer.special_ops * unit.special_cycles.integer
        causes = {"vector": ceil_div(slots, lanes) * layer.trips}
        fused = layer.name in self.mapping.tails.head
        hidden = self.mapping.tails.hidden if fused else frozenset[str]()
        results = set(self.mapping.tails.result.values()) if fused else set[str]()
        ports = tensor_traffic(
            self.spec,
            self.mapping,
            {
                n: e * layer.trips
                for n, e in self._elements(layer.inputs).items()
                if n not in hidden
            },
            {
                n: e * layer.trips
                for n, e in self._elements(layer.outputs).items()
                if n not in hidden and n not in results
            },
        )
        causes |= self._stall(causes["vector"], ports)
        energy = _Joules(float)
        alu, special = layer.alu_ops * layer.trips, layer.special_ops * layer.trips
        self._spend(energy, "vector", "vector_unit.alu_energy", alu, unit.alu_energy)
        self._spend(energy, "vector", "vector_unit.special_energy", special, unit.special_energy)
        return self._record(layer, causes, energy, ports, note="fused" if fused else "")

    def _movement(self, layer: Layer) -> LayerCost:
        """A layer that only moves data; an unknown operator reads and writes all of its tensors."""
        if isinstance(layer, MoveLayer):
            moved = layer.elements * layer.trips
            reads = {layer.inputs[0]: moved} if moved and layer.inputs else {}
            writes = {layer.outputs[0]: moved} if moved and layer.outputs else {}
        else:
            reads = {n: e * layer.trips for n, e in self._elements(layer.inputs).items()}
            writes = {n: e * layer.trips for n, e in self._elements(layer.outputs).items()}
        ports = tensor_traffic(self.spec, self.mapping, reads, writes)
        return self._record(layer, self._stall(0, ports, cause="move"), _Joules(float), ports)

    def _elements(self, names: tuple[str, ...]) -> dict[str, int]:
        """Elements by tensor, each tensor once."""
        return {name: self.network.tensors[name].elements for name in names}

    def _stall(self, busy: int, ports: Ports, cause: str = "stall") -> dict[str, int]:
        """Cycles for which the slowest memory keeps a busy unit waiting, named by what it moves."""
        slowest, cycles = None, busy
        for memory in self.spec.memories:
            needed = ports.cycles(self.spec, memory)
            if needed > cycles:
                slowest, cycles = memory.name, needed
        if slowest is None:
            return {}
        return {f"{cause}:{slowest}.{ports.busiest_operand(slowest)}": cycles - busy}

    def _spend(
        self, energy: _Joules, component: str, path: str, count: float, each: Quantity
    ) -> None:
        joules = count * each.value
        energy[component] += joules
        self.by_constant[path] += joules

    def _record(
        self,
        layer: Layer,
        causes: Mapping[str, int],
        energy: _Joules,
        ports: Ports,
        *,
        utilization: float | None = None,
        note: str = "",
    ) -> LayerCost:
        off_chip = 0
        for memory in self.spec.memories:
            read, written = ports.bits(memory.name)
            path = f"memories.{memory.name}."
            self._spend(energy, memory.name, path + "read_energy", read, memory.read_energy)
            self._spend(energy, memory.name, path + "write_energy", written, memory.write_energy)
            off_chip += read + written if memory.off_chip else 0
        seconds = sum(causes.values()) / self.clock_hz
        self._spend(energy, "static", "static_power", seconds, self.spec.static_power)
        is_mac = isinstance(layer, MacLayer)
        return LayerCost(
            name=layer.name,
            op=layer.op,
            macs=layer.macs,
            latency_by_cause={cause: n for cause, n in causes.items() if n},
            energy_by_component={part: j for part, j in energy.items() if j},
            utilization=utilization,
            precision=self.plan.of(layer.name) if is_mac else None,
            off_chip_bytes=off_chip // 8,
            note=note,
        )

    def _constants(self) -> tuple[ConstantUse, ...]:
        """Every constant that set time or energy here, those of unused formats left out."""
        used = {f"array.formats.{layer.format}." for layer in self.mapping.layers.values()}
        return tuple(
            ConstantUse(path, str(q), q.confidence, q.source, self.by_constant.get(path, 0.0))
            for path, q in walk_quantities(self.spec)
            if not path.startswith("array.formats.") or any(path.startswith(u) for u in used)
        )


def _assumptions(spec: ArraySpec) -> tuple[str, ...]:
    """What the model takes for granted, in words for a caption."""
    chain = spec.chain("weight")
    lines = [
        f"weights come from {chain[-1].name} for every inference",
        "layers run one after another; the first tile of a layer loads while the one before runs",
    ]
    if spec.vector_unit.fused_tails:
        lines.append("element-wise work on a layer's results runs beside that layer")
    if any(memory.double_buffered for memory in spec.memories):
        lines.append("tiles are double-buffered: a layer takes its slowest unit's time")
    return tuple(lines)
