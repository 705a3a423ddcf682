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
from npubench.machines.array.flows import conversion_cycles, cycles_per_bit
from npubench.machines.array.mapping import ArrayMapping, MappedLayer
from npubench.machines.array.registers import register_use
from npubench.machines.array.space import first_tile
from npubench.machines.array.spec import ArraySpec
from npubench.machines.array.systolic import ceil_div
from npubench.machines.array.tiles import one
from npubench.machines.array.traffic import Ports, mac_traffic, tensor_traffic
from npubench.machines.protocol import STATIC, ConstantUse, Cost, LayerCost, MappingSearch
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
            assumptions=_assumptions(self.spec, self.mapping),
            constants=self._constants(),
            search=_search(self.mapping),
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
        # What is paid once a trip hides nothing and is hidden by nothing (see `LayerSearch`).
        busy = {
            "compute": mapped.work.compute * layer.trips,
            "weight_load": mapped.work.load * layer.trips,
            "fill_drain": mapped.work.skew * layer.trips,
        }
        exposed = self._exposed(layer, mapped)
        alone = self.spec.layer_overlap == "none"
        waits = sum(exposed.values()) if alone else 0
        causes = busy | self._stall(sum(busy.values()), ports, waits=waits)
        causes["weight_load"] += load * layer.trips
        causes["fill_drain"] += fill_drain * layer.trips
        causes |= exposed
        energy = _Joules(float)
        self._spend(
            energy, "mac", f"array.formats.{mapped.format}.mac_energy", layer.macs, fmt.mac_energy
        )
        for path, quantity, bits in register_use(
            self.spec,
            fmt,
            mapped.bits,
            mapped.core,
            layer.macs,
            mapped.work.held_writes * layer.trips,
        ):
            self._spend(energy, "registers", path, bits, quantity)
        unit = self.spec.quantization_unit
        if unit is not None and ports.converted:
            path = "quantization_unit.energy"
            self._spend(energy, "quantization_unit", path, ports.converted, unit.energy)
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

    def _exposed(self, layer: MacLayer, mapped: MappedLayer) -> dict[str, int]:
        """Waiting for the first tile to come in and the last one to go out.

        With prefetch the first tile of a layer comes in while the layer before runs, so that only
        the network's first layer waits; without, every layer starts and ends alone.
        """
        alone = self.spec.layer_overlap == "none"
        if not alone and layer.name != self.first_mac:
            return {}
        first = first_tile(mapped.core, one(mapped.work.first))
        last = first_tile(mapped.core, one(mapped.work.last))
        elements = first | {"output": last["output"]}
        chains = {
            "input": self.spec.chain("input"),
            "weight": self.spec.chain("weight"),
            "output": self.spec.chain("output"),
        }
        wait = {"first_tile": 0.0, "last_tile": 0.0}
        for operand, count in elements.items():
            if operand in mapped.resident or (operand == "output" and not alone):
                continue
            cause = "last_tile" if operand == "output" else "first_tile"
            bits = float(count[0]) * mapped.bits.off_chip(operand)
            wait[cause] += bits * cycles_per_bit(self.spec, chains[operand][-1])
            if operand == "weight":
                wait[cause] += float(conversion_cycles(self.spec, mapped.bits, count)[0])
        trips = layer.trips if alone else 1
        return {cause: math.ceil(cycles) * trips for cause, cycles in wait.items() if cycles}

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

    def _stall(
        self, busy: int, ports: Ports, cause: str = "stall", waits: int = 0
    ) -> dict[str, int]:
        """Cycles for which the slowest memory keeps a busy unit waiting, named by what it moves.

        Args:
            waits: cycles of off-chip transfers that are counted by themselves.
        """
        slowest, cycles = None, busy
        for memory in self.spec.memories:
            needed = ports.cycles(self.spec, memory) - (waits if memory.off_chip else 0)
            if needed > cycles:
                slowest, cycles = memory.name, needed
        unit = self.spec.quantization_unit
        if unit is not None and (needed := ceil_div(ports.converted, unit.lanes.integer)) > cycles:
            return {f"{cause}:quantization_unit.weight": needed - busy}
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
        self._spend(energy, STATIC, "static_power", seconds, self.spec.static_power)
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


def _assumptions(spec: ArraySpec, mapping: ArrayMapping) -> tuple[str, ...]:
    """What the model takes for granted, in words for a caption."""
    source = spec.chain("weight")[-1].name
    lines = ["layers run one after another"]
    if spec.weights == "fetched":
        lines.append(f"weights come from {source} for every inference")
    else:
        kept, layers = len(mapping.kept_weights), len(mapping.layers)
        lines.append(f"weights of {kept} of {layers} layers stay on chip between inferences")
    if spec.layer_overlap == "prefetch":
        lines.append("the first tile of a layer loads while the one before runs")
    else:
        lines.append("every layer waits for its first tile and writes out its last one")
    if spec.vector_unit.fused_tails:
        lines.append("element-wise work on a layer's results runs beside that layer")
    if any(memory.double_buffered for memory in spec.memories):
        lines.append("tiles are double-buffered: a layer takes its slowest unit's time")
    unproven = sum(not layer.counts.proven for layer in mapping.layers.values())
    if unproven:
        lines.append(
            f"the mapping of {unproven} of {len(mapping.layers)} layers is the best found, "
            "not proven the best"
        )
    return tuple(lines)


def _search(mapping: ArrayMapping) -> MappingSearch | None:
    """What all searches covered; equal layers share one search, which counts once."""
    if not mapping.layers:
        return None
    searches = list({id(layer.counts): layer.counts for layer in mapping.layers.values()}.values())
    return MappingSearch(
        objective=str(mapping.objective),
        layers=len(mapping.layers),
        searched=len(searches),
        proven=sum(layer.counts.proven for layer in mapping.layers.values()),
        considered=sum(counts.considered for counts in searches),
        too_large=sum(counts.too_large for counts in searches),
        bounded=sum(counts.bounded for counts in searches),
        dominated=sum(counts.dominated for counts in searches),
        open=sum(counts.open for counts in searches),
        evaluated=sum(counts.evaluated for counts in searches),
    )
