"""Cycles and joules of a mapped network, by cause and by component."""

from __future__ import annotations

from collections import Counter, defaultdict

from npubench.ir import Layer, MacLayer, Network, PrecisionPlan
from npubench.machines.array.mapping import ArrayMapping
from npubench.machines.array.pricing import as_stated, price
from npubench.machines.array.spec import ArraySpec
from npubench.machines.array.uses import use_of_layer
from npubench.machines.protocol import STATIC, ConstantUse, Cost, LayerCost, MappingSearch
from npubench.specs.quantity import walk_quantities

__all__ = ["beside_others", "cost_network"]


def cost_network(
    spec: ArraySpec, network: Network, plan: PrecisionPlan, mapping: ArrayMapping
) -> Cost:
    """Cost of every layer, one after another; fused tails run beside the layer they belong to."""
    return _Coster(spec, network, plan, mapping).cost()


def beside_others(layer: LayerCost) -> int:
    """Cycles of a layer beside which another may run: all but those of serial transfers."""
    causes = layer.latency_by_cause.items()
    return layer.cycles - sum(n for cause, n in causes if cause.startswith("transfer:"))


class _Coster:
    """Adds up one network's cost; joules are also kept by the constant they rest on."""

    def __init__(
        self, spec: ArraySpec, network: Network, plan: PrecisionPlan, mapping: ArrayMapping
    ) -> None:
        self.spec, self.network, self.plan, self.mapping = spec, network, plan, mapping
        self.clock_hz = spec.clock.value
        self.point = as_stated(spec)
        self.by_constant = defaultdict[str, float](float)

    def cost(self) -> Cost:
        layers = tuple(self._layer(layer) for layer in self.network.layers)
        cycles = {layer.name: beside_others(layer) for layer in layers}
        tails: Counter[str] = Counter()
        for name, head in self.mapping.tails.head.items():
            tails[head] += cycles[name]
        overlap = -sum(min(cycles[head], behind) for head, behind in tails.items())
        overlap_j = self.spec.static_power.value * overlap / self.clock_hz
        self.by_constant["static_power"] += overlap_j
        total = sum(layer.cycles for layer in layers) + overlap
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
        use = use_of_layer(self.spec, self.network, self.mapping, layer)
        prices = price(self.spec, use, self.point)
        causes = {cause: int(n[0]) for cause, n in prices.latency_by_cause.items()}
        energy = {part: float(j[0]) for part, j in prices.energy_by_component.items()}
        for spent in use.all_spendings(self.spec):
            self.by_constant[spent.path] += spent.count * spent.each.value
        self.by_constant["static_power"] += energy[STATIC]
        cycles = sum(causes.values())
        return LayerCost(
            name=layer.name,
            op=layer.op,
            macs=layer.macs,
            latency_by_cause={cause: n for cause, n in causes.items() if n},
            energy_by_component={part: j for part, j in energy.items() if j},
            utilization=None if use.peak is None else layer.macs / (use.peak * cycles),
            precision=self.plan.of(layer.name) if isinstance(layer, MacLayer) else None,
            off_chip_bytes=use.off_chip_bytes(self.spec),
            note=use.note,
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
    serial = [memory.name for memory in spec.memories if memory.serial]
    if serial:
        lines.append(f"nothing else happens while tiles enter or leave {' or '.join(serial)}")
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
