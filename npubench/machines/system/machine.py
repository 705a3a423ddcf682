"""Family ``system`` behind the machine protocol."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from npubench.errors import MappingError, Problem
from npubench.ir import Network, PrecisionPlan
from npubench.machines.hosting import Member
from npubench.machines.protocol import (
    ConstantUse,
    Cost,
    LayerCost,
    Legalised,
    Machine,
    MachineInfo,
    Objective,
    evaluate,
)
from npubench.machines.system.members import open_members
from npubench.machines.system.spec import SystemSpec
from npubench.specs.loader import SpecDocument
from npubench.units import describe

__all__ = ["IDLE", "SystemMachine", "SystemMapping", "build"]

IDLE = "idle"


@dataclass(frozen=True, slots=True)
class SystemMapping:
    """Which NPU a network runs on, and how it is mapped there.

    Attributes:
        npu: index of the NPU.
        inner: mapping of that NPU's family.
    """

    npu: int
    inner: Any


@dataclass(frozen=True)
class SystemMachine:
    """Several NPUs; one network runs on one of them while the others are idle.

    Attributes:
        spec: of the system.
        sha256: of the system's spec and those of its NPUs.
        knobs: of the system.
        members: each NPU with the whole memory to itself.
        busy_members: each NPU at its share while all work.
        host: the NPU and mode that everything runs on; None leaves the choice open: to the NPU
            that widens the precision asked for least.
    """

    spec: SystemSpec
    sha256: str
    knobs: tuple[tuple[str, str], ...]
    members: tuple[Member, ...]
    busy_members: tuple[Member, ...]
    host: tuple[int, int] | None = None

    @cached_property
    def info(self) -> MachineInfo:
        """See `Machine.info`; the clock and the default precision are those of the host."""
        at, mode = self.host or (0, 0)
        first = self.members[at].modes[mode].machine.info
        infos = [member.modes[0].machine.info for member in self.members]
        areas = {
            member.name: info.area_mm2
            for member, info in zip(self.members, infos, strict=True)
            if info.area_mm2 is not None
        }
        known = len(areas) == len(infos)
        nodes = {info.node_nm for info in infos}
        own_node = self.spec.node
        shared_node = nodes.pop() if len(nodes) == 1 else None
        able = [info for info in infos if info.default_precision == first.default_precision]
        return MachineInfo(
            name=self.spec.name,
            family=self.spec.family,
            sha256=self.sha256,
            knobs=dict(self.knobs),
            node_nm=shared_node if own_node is None else own_node.value * 1e9,
            area_mm2=sum(areas.values()) if known else None,
            areas_mm2=areas if known else {},
            formats=tuple(
                sorted(
                    {fmt for info in infos for fmt in info.formats}, key=lambda f: (f.bits, f.name)
                )
            ),
            default_precision=first.default_precision,
            clock_hz=first.clock_hz,
            peak_macs_per_s=sum(info.peak_macs_per_s for info in able),
        )

    @property
    def sharing(self) -> str:
        """See `System.sharing`."""
        memory = self.spec.memory
        if memory is None:
            return ""
        total = describe(memory.bandwidth.value, "bandwidth")
        if memory.contention == "none":
            return f"NPUs share {total} of off-chip memory; none is slowed by the others"
        return (
            f"NPUs share {total} of off-chip memory; under load each runs at its max-min fair "
            "share with every link at full demand"
        )

    def hosting(self, npu: str, mode: str) -> SystemMachine:
        """See `System.hosting`."""
        at = next(i for i, member in enumerate(self.members) if member.name == npu)
        names = [m.name for m in self.members[at].modes]
        return replace(self, host=(at, names.index(mode)))

    def host_of(self, network: Network, plan: PrecisionPlan | None) -> tuple[str, str]:
        """See `System.host_of`."""
        at, _ = self._choose(network, plan)
        return self.members[at].name, self.members[at].modes[0].name

    def legalise(self, network: Network, plan: PrecisionPlan | None) -> Legalised:
        """See `Machine.legalise`; without a host, what `host_of` runs."""
        if self.host is not None:
            return self._machine(self.host[0]).legalise(network, plan)
        return self._choose(network, plan)[1]

    def _choose(self, network: Network, plan: PrecisionPlan | None) -> tuple[int, Legalised]:
        """The NPU that widens a plan least, among equals the fastest, and what it runs."""
        default = PrecisionPlan(
            self.info.default_precision, source=f"default of {self.members[0].spec}"
        )
        problems: list[Problem] = []
        found: list[tuple[int, int, Legalised]] = []
        for at in self._distinct():
            machine = self._machine(at)
            try:
                legal = machine.legalise(network, plan or default)
            except MappingError as error:
                problems += error.problems
                continue
            found.append((_operand_bits(network, legal.executed), at, legal))
        if not found:
            raise MappingError(*dict.fromkeys(problems))
        least = min(bits for bits, _, _ in found)
        equals = [(at, legal) for bits, at, legal in found if bits == least]
        if len(equals) == 1:
            return equals[0]
        return min(equals, key=lambda item: self._latency_s(item[0], network, item[1].executed))

    def map(
        self, network: Network, plan: PrecisionPlan, objective: Objective = Objective.LATENCY
    ) -> SystemMapping:
        """See `Machine.map`; without a host, the NPU that runs the plan as it stands, soonest."""
        if self.host is not None:
            at = self.host[0]
            return SystemMapping(at, self._machine(at).map(network, plan, objective))
        able = [at for at in self._distinct() if self._runs_as_it_stands(at, network, plan)]
        if not able:
            raise MappingError(
                f"no NPU of '{self.spec.name}' executes {plan.describe()} as it stands"
            )
        at = able[0]
        if len(able) > 1:
            at = min(able, key=lambda at: self._latency_s(at, network, plan))
        return SystemMapping(at, self._machine(at).map(network, plan, objective))

    def cost(self, network: Network, plan: PrecisionPlan, mapping: SystemMapping) -> Cost:
        """See `Machine.cost`; idle NPUs draw their static power meanwhile."""
        member = self.members[mapping.npu]
        cost = self._machine(mapping.npu).cost(network, plan, mapping.inner)
        idle = self._idle(mapping.npu)
        watts = sum(constant.energy_j for constant in idle)
        seconds = cost.latency_s
        overlap_s = cost.overlap_cycles / cost.clock_hz
        own = f"npus.{self._keys[mapping.npu]}."
        uses = {own + c.path: replace(c, path=own + c.path) for c in cost.constants}
        for constant in idle:
            known = uses.get(constant.path, replace(constant, energy_j=0.0))
            joules = known.energy_j + constant.energy_j * seconds
            uses[constant.path] = replace(known, energy_j=joules)
        others = len(self.members) - 1
        states = f"the other {others} idle, drawing {watts:.3g} W" if others else "the only one"
        return replace(
            cost,
            layers=tuple(_with_idle(layer, watts, cost.clock_hz) for layer in cost.layers),
            overlap_energy_j=cost.overlap_energy_j + watts * overlap_s,
            assumptions=(
                f"runs on NPU '{member.name}' ({member.spec}), {states}",
                *cost.assumptions,
            ),
            constants=tuple(uses.values()),
        )

    def _machine(self, at: int) -> Machine[Any]:
        mode = self.host[1] if self.host is not None and self.host[0] == at else 0
        return self.members[at].modes[mode].machine

    def _distinct(self) -> list[int]:
        """The first of each group of equal NPUs."""
        seen: dict[int, int] = {}
        for at in range(len(self.members)):
            seen.setdefault(id(self._machine(at)), at)
        return list(seen.values())

    def _latency_s(self, at: int, network: Network, plan: PrecisionPlan) -> float:
        return evaluate(self._machine(at), network, plan).latency_s

    def _runs_as_it_stands(self, at: int, network: Network, plan: PrecisionPlan) -> bool:
        try:
            executed = self._machine(at).legalise(network, plan).executed
        except MappingError:
            return False
        return all(executed.of(x.name) == plan.of(x.name) for x in network.mac_layers)

    @cached_property
    def _keys(self) -> tuple[str, ...]:
        """Key of ``npus`` that each NPU comes from."""
        return tuple(key for _, key in self.spec.names())

    def _idle(self, busy: int) -> list[ConstantUse]:
        """Static power of the NPUs that wait, in watts, by the constant it rests on."""
        if self.spec.idle == "gated":
            return []
        watts: dict[str, ConstantUse] = {}
        for at, member in enumerate(self.members):
            power = member.modes[0].machine.info.static_power
            if at == busy or power is None or not power.value:
                continue
            path = f"npus.{self._keys[at]}.static_power"
            before = watts[path].energy_j if path in watts else 0.0
            watts[path] = ConstantUse(
                path, str(power), power.confidence, power.source, before + power.value
            )
        return list(watts.values())


def _operand_bits(network: Network, plan: PrecisionPlan) -> int:
    """Operand bits of all MACs: what widening adds to."""
    pairs = ((layer.macs, plan.of(layer.name)) for layer in network.mac_layers)
    return sum(macs * (pair.weight.bits + pair.activation.bits) for macs, pair in pairs)


def _with_idle(layer: LayerCost, watts: float, clock_hz: float) -> LayerCost:
    joules = watts * layer.cycles / clock_hz
    if not joules:
        return layer
    return replace(layer, energy_by_component={**layer.energy_by_component, IDLE: joules})


def build(document: SpecDocument) -> SystemMachine:
    """The machine of a spec document.

    Raises:
        SpecError: with every mistake of the document and of the specs it refers to.
        OptionError: knobs and settings of its NPUs that these refuse.
    """
    spec = document.validate(SystemSpec)
    alone, busy, hashes = open_members(document, spec)
    text = "\n".join((document.sha256, *hashes))
    sha256 = hashlib.sha256(text.encode()).hexdigest()
    return SystemMachine(spec, sha256, tuple(document.knobs.items()), alone, busy)
