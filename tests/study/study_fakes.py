"""A machine simple enough to be reckoned by hand, and networks for it.

Per execution: a MAC layer takes macs / rate cycles and 2 of stall, 1 pJ a MAC and 8 pJ of DRAM; a
vector layer a cycle and 1 pJ an operation; an unknown layer a cycle and 1 pJ for every element it
writes and 2 more; a move nothing. Layers overlap by 2 cycles and 1 pJ; executions follow 2 cycles
sooner than that.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from npubench.errors import MappingError, SpecError
from npubench.frontend import LoadedNetwork
from npubench.ir import (
    Layer,
    LayerPrecision,
    MacLayer,
    MoveLayer,
    Network,
    PrecisionPlan,
    VectorLayer,
    integer,
    parse_network,
)
from npubench.machines.protocol import (
    ConstantUse,
    Cost,
    LayerCost,
    Legalised,
    MachineInfo,
    Objective,
)
from npubench.specs.header import read_header
from npubench.specs.loader import SpecDocument
from npubench.study.session import Session
from npubench.units import parse

PICO = 1e-12
W8A8 = LayerPrecision(integer(8), integer(8))

TOY = """\
name: toy
family: fake
title: A toy
citation: none
knobs:
  clock: {path: clock, range: 0.5..2 GHz}
clock: 1 GHz
array: {rate: 4}
"""
FAST = TOY.replace("name: toy", "name: fast").replace("rate: 4", "rate: 16")

TINY = """\
network tiny
input x fp32[1,8]
weight w fp32[4,8]
mac fc Gemm (x w) -> y fp32[1,4] : K4 C8
vector relu Relu activation (y) -> z fp32[1,4] : alu=4
move view Reshape (z) -> v fp32[4,1] : elements=0
unknown odd Foo (v) -> g fp32[1,4] : no such operator
output g
"""
WIDE = """\
network wide
input x fp32[1,8]
weight w fp32[16,8]
mac fc Gemm (x w) -> y fp32[1,16] : K16 C8
output y
"""


@dataclass(frozen=True)
class FakeMachine:
    info: MachineInfo
    rate: int

    def legalise(self, network: Network, plan: PrecisionPlan | None) -> Legalised:
        requested = plan or PrecisionPlan(W8A8, source="machine default")
        wanted = {layer.name: requested.of(layer.name) for layer in network.mac_layers}
        for name, precision in wanted.items():
            if not integer(8).holds(precision.weight):
                raise MappingError(f"{self.info.name}: no format for '{name}' ({precision})")
        widened = tuple(name for name, precision in wanted.items() if precision != W8A8)
        return Legalised(requested, PrecisionPlan(W8A8, dict.fromkeys(wanted, W8A8)), widened)

    def map(
        self, network: Network, plan: PrecisionPlan, objective: Objective = Objective.LATENCY
    ) -> None:
        del network, plan, objective

    def cost(self, network: Network, plan: PrecisionPlan, mapping: None) -> Cost:
        del plan, mapping
        layers = tuple(self._layer(network, layer) for layer in network.layers)
        idle = not any(layer.cycles for layer in layers)
        return Cost(
            layers=layers,
            clock_hz=self.info.clock_hz,
            interval_cycles=0 if idle else sum(layer.cycles for layer in layers) - 4,
            overlap_cycles=0 if idle else -2,
            overlap_energy_j=0.0 if idle else -1 * PICO,
            assumptions=("toys never wait",),
            constants=(
                ConstantUse("array.mac_energy", "1 pJ", "assumed", "", network.macs * PICO),
            ),
        )

    def _layer(self, network: Network, layer: Layer) -> LayerCost:
        made = LayerCost(layer.name, layer.op, layer.macs, {}, {})
        if isinstance(layer, MacLayer):
            busy = layer.macs // self.rate
            return replace(
                made,
                latency_by_cause={"compute": busy, "stall:dram.weight": 2},
                energy_by_component={"mac": layer.macs * PICO, "dram": 8 * PICO},
                utilization=busy / (busy + 2),
                precision=W8A8,
                off_chip_bytes=48,
            )
        if isinstance(layer, MoveLayer):
            return made
        if isinstance(layer, VectorLayer):
            cause, work = "vector", layer.alu_ops
        else:
            cause, work = "unknown", network.tensors[layer.outputs[0]].elements + 2
        return replace(
            made, latency_by_cause={cause: work}, energy_by_component={cause: work * PICO}
        )


def build_fake(document: SpecDocument) -> FakeMachine:
    header, tree = read_header(document), document.tree
    assert isinstance(tree, dict)
    info = MachineInfo(
        name=header.name,
        family=header.family,
        sha256=document.sha256,
        knobs=document.knobs,
        node_nm=7.0,
        area_mm2=None,
        formats=(integer(8),),
        default_precision=W8A8,
        clock_hz=parse(str(tree["clock"]), "frequency"),
        peak_macs_per_s=4e9,
    )
    array = tree["array"]
    assert isinstance(array, dict)
    return FakeMachine(info, int(str(array["rate"])))


@dataclass
class Library:
    """What a fake session finds by name, and how often it was asked to open it."""

    networks: dict[str, str] = field(default_factory=lambda: {"tiny": TINY, "wide": WIDE})
    specs: dict[str, str] = field(default_factory=lambda: {"toy": TOY, "fast": FAST})
    plan: PrecisionPlan | None = None
    opened: list[str] = field(default_factory=list)

    def session(self) -> Session:
        return Session(self._network, self._spec, self._machine)

    def _network(self, workload: str, dims: Mapping[str, int]) -> LoadedNetwork:
        del dims
        self.opened.append(workload)
        if workload not in self.networks:
            raise SpecError(f"unknown network '{workload}'")
        network = parse_network(self.networks[workload])
        return LoadedNetwork(
            replace(network, sha256="ab" * 32, assumptions=("made up",)), self.plan
        )

    def _spec(self, name: str) -> SpecDocument:
        if name not in self.specs:
            raise SpecError(f"unknown hardware '{name}'")
        return SpecDocument.from_text(self.specs[name], f"{name}.yaml")

    def _machine(self, document: SpecDocument) -> FakeMachine:
        self.opened.append(read_header(document).name)
        return build_fake(document)
