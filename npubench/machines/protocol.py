"""What every machine family must do, and the values that pass between its steps.

    plan, network --legalise--> executed plan --map--> Mapping --cost--> Cost

A family is one folder with a class that satisfies `Machine`; `npubench.machines.registry` reaches
it by name, and tests/machines/test_conformance.py holds every family to the same rules.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from types import MappingProxyType
from typing import Any, Protocol, TypeVar, runtime_checkable

from npubench.ir import Format, LayerPrecision, Network, PrecisionPlan
from npubench.specs.quantity import Quantity

__all__ = [
    "OVERLAP",
    "STATIC",
    "AtSupply",
    "ConstantUse",
    "Cost",
    "FrontMachine",
    "LayerCost",
    "LayerFront",
    "Legalised",
    "Machine",
    "MachineInfo",
    "MappingFront",
    "MappingSearch",
    "Objective",
    "Supplied",
    "Switching",
    "evaluate",
]

OVERLAP = "overlap"
STATIC = "static"
"""Component of the energy that flows all the time, whatever the machine does."""


class Objective(StrEnum):
    """What a mapping is chosen for, layer by layer."""

    LATENCY = "latency"
    ENERGY = "energy"
    EDP = "edp"


M = TypeVar("M")


@dataclass(frozen=True, slots=True)
class MachineInfo:
    """What a result says of the machine it came from.

    Attributes:
        name: the spec's name.
        family: ``array``, ``associative`` or ``system``.
        sha256: of the spec's content, overrides included.
        knobs: every knob of the spec and its value in force, as written.
        node_nm: technology node, or None where the spec states none.
        area_mm2: silicon area, or None where constants are missing.
        formats: number formats it multiplies, narrowest first.
        default_precision: what it runs when neither the user nor the model states one.
        clock_hz: clock in force.
        peak_macs_per_s: at the default precision.
        static_power: drawn all the time, as the spec's field of that name gives it; None where
            costs have no component `STATIC`.
        areas_mm2: area by part; the sum is ``area_mm2``, empty where that is None.
        leakages_w: static power by part where constants give it; empty otherwise.
    """

    name: str
    family: str
    sha256: str
    knobs: Mapping[str, str]
    node_nm: float | None
    area_mm2: float | None
    formats: tuple[Format, ...]
    default_precision: LayerPrecision
    clock_hz: float
    peak_macs_per_s: float
    static_power: Quantity | None = None
    areas_mm2: Mapping[str, float] = field(default_factory=dict)
    leakages_w: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Legalised:
    """A requested plan and what the machine really runs.

    Attributes:
        requested: the user's plan, else the model's own, else the machine's default.
        executed: one entry per multiply-accumulate layer, each a format of the machine.
        widened: names of the layers whose format is not the requested one.
    """

    requested: PrecisionPlan
    executed: PrecisionPlan
    widened: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LayerCost:
    """One layer on one machine, all trips and the whole batch.

    Attributes:
        name: the layer's name in the network.
        op: its operator.
        macs: multiply-accumulates (zero for everything but multiply-accumulate layers).
        latency_by_cause: cycles by cause; the sum is ``cycles``. ``compute`` is time in which the
            busiest unit does useful work; a stall names the memory level and operand.
        energy_by_component: joules by component; the sum is the layer's energy.
        utilization: useful MACs over MACs the machine could have done in these cycles, 0 to 1;
            None for layers without MACs.
        precision: executed formats; None for layers without MACs.
        off_chip_bytes: bytes over the outermost memory's port, both ways.
        note: a decision worth showing (the dataflow chosen, a split), or empty.
    """

    name: str
    op: str
    macs: int
    latency_by_cause: Mapping[str, int]
    energy_by_component: Mapping[str, float]
    utilization: float | None = None
    precision: LayerPrecision | None = None
    off_chip_bytes: int = 0
    note: str = ""

    @property
    def cycles(self) -> int:
        """Cycles of the layer on its own."""
        return sum(self.latency_by_cause.values())

    @property
    def energy_j(self) -> float:
        """Joules of the layer."""
        return math.fsum(self.energy_by_component.values())


@dataclass(frozen=True, slots=True)
class ConstantUse:
    """A constant of the spec and how much of the answer rests on it.

    Attributes:
        path: dotted path in the spec.
        text: the value with its unit.
        confidence: ``published``, ``secondary``, ``recalled``, ``derived``, ``assumed`` or
            ``calibrated``.
        source: where the value is from; empty for a plain assumption.
        energy_j: joules of the result that are proportional to it; 0 for those that set time.
    """

    path: str
    text: str
    confidence: str
    source: str
    energy_j: float = 0.0


@dataclass(frozen=True, slots=True)
class MappingSearch:
    """How the search for a network's mapping covered its space.

    Layers that are equal in equal surroundings are searched once and counted once here.

    Attributes:
        objective: what every layer was mapped for: ``latency``, ``energy`` or ``edp``.
        layers: multiply-accumulate layers.
        searched: those that were searched; the others are equal to one of them.
        proven: layers, of all, for which nothing in the space is better.
        considered: choices of the space that were looked at.
        too_large: of these, refused because they do not fit a memory.
        bounded: discarded because a lower bound was no better than what had been found.
        dominated: costed, and equalled or beaten in every resource by another.
        open: left out unproven because a limit of the search was reached.
        evaluated: tilings whose inner nests were searched in turn.
    """

    objective: str
    layers: int
    searched: int
    proven: int
    considered: int
    too_large: int
    bounded: int
    dominated: int
    open: int
    evaluated: int


@dataclass(frozen=True)
class Cost:
    """A network on a machine.

    Attributes:
        layers: one per layer of the network, in its order.
        clock_hz: cycles per second of the cycles counted here.
        overlap_cycles: cycles saved by layers that run at the same time; at most 0.
        overlap_energy_j: static energy saved by the same; at most 0.
        interval_cycles: steady-state distance between two executions; at most ``cycles``.
        assumptions: what the model took for granted, for the table's caption.
        constants: constants used, with the energy that rests on each.
        search: how the mapping was found; None where there was nothing to choose.
    """

    layers: tuple[LayerCost, ...]
    clock_hz: float
    interval_cycles: int
    overlap_cycles: int = 0
    overlap_energy_j: float = 0.0
    assumptions: tuple[str, ...] = ()
    constants: tuple[ConstantUse, ...] = field(default=())
    search: MappingSearch | None = None

    @cached_property
    def cycles(self) -> int:
        """Cycles of one execution: the layers and the overlap."""
        return sum(layer.cycles for layer in self.layers) + self.overlap_cycles

    @cached_property
    def latency_s(self) -> float:
        """Seconds of one execution (the whole batch)."""
        return self.cycles / self.clock_hz

    @cached_property
    def energy_j(self) -> float:
        """Joules of one execution (the whole batch)."""
        return math.fsum((*(layer.energy_j for layer in self.layers), self.overlap_energy_j))

    @cached_property
    def latency_by_cause(self) -> Mapping[str, int]:
        """Cycles by cause over all layers, with ``overlap`` where layers run together."""
        total: Counter[str] = Counter()
        for layer in self.layers:
            total.update(layer.latency_by_cause)
        if self.overlap_cycles:
            total[OVERLAP] += self.overlap_cycles
        return MappingProxyType(dict(total))

    @cached_property
    def energy_by_component(self) -> Mapping[str, float]:
        """Joules by component over all layers, with ``overlap`` where layers run together."""
        parts: dict[str, list[float]] = {}
        for layer in self.layers:
            for component, joules in layer.energy_by_component.items():
                parts.setdefault(component, []).append(joules)
        total = {component: math.fsum(joules) for component, joules in parts.items()}
        if self.overlap_energy_j:
            total[OVERLAP] = self.overlap_energy_j
        return MappingProxyType(total)


@dataclass(frozen=True, slots=True)
class LayerFront:
    """Costs of one layer, with the work that is fused to it, under its best mappings.

    Attributes:
        name: of the multiply-accumulate layer.
        cycles, energy_j: one entry a mapping, by rising cycles and falling joules; none is beaten
            by another in both.
    """

    name: str
    cycles: tuple[int, ...]
    energy_j: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class MappingFront:
    """What the choice of mapping can trade, layer by layer; layers add up.

    Attributes:
        layers: those with a mapping to choose.
        cycles, energy_j: of everything else.
        clock_hz: cycles per second of the cycles counted here.
        search: what the searches covered.
    """

    layers: tuple[LayerFront, ...]
    cycles: int
    energy_j: float
    clock_hz: float
    search: MappingSearch | None


class Machine(Protocol[M]):
    """One accelerator, built from a spec; immutable."""

    @property
    def info(self) -> MachineInfo:
        """What results say of it."""
        ...

    def legalise(self, network: Network, plan: PrecisionPlan | None) -> Legalised:
        """The plan this machine runs for a requested one (None: the machine's default).

        Raises:
            MappingError: a layer's precision has no equal or wider format here.
        """
        ...

    def map(
        self, network: Network, plan: PrecisionPlan, objective: Objective = Objective.LATENCY
    ) -> M:
        """Place every layer; a machine without a choice ignores the objective.

        Raises:
            MappingError: a layer does not fit, with demand, bound and a remedy.
        """
        ...

    def cost(self, network: Network, plan: PrecisionPlan, mapping: M) -> Cost:
        """Cycles and joules of a mapping; every layer of the network appears once."""
        ...


@dataclass(frozen=True, slots=True)
class AtSupply:
    """A machine as its nominal supply would have it, and what the supply in force makes of that.

    Attributes:
        nominal: the same machine at its nominal supply.
        key: equal for machines that are equal at their nominal supplies.
        energy, frequency, leakage: factors on every dynamic energy, on the clock, on static power.
    """

    nominal: Machine[Any]
    key: str
    energy: float
    frequency: float
    leakage: float


@runtime_checkable
class Supplied(Protocol):
    """A machine whose cycles its supply leaves alone, and whose dynamic energies it scales as one.

    Its results at any supply follow from those at the nominal one.
    """

    @property
    def at_supply(self) -> AtSupply | None:
        """None where that does not hold: no laws, or energies with a supply of their own."""
        ...


@runtime_checkable
class Switching(Protocol):
    """A machine that counts what going from one of its modes to another takes."""

    @property
    def keeps_weights(self) -> bool:
        """Whether weights stay on chip between inferences, of one network after another."""
        ...

    def mode_switch(
        self, network: Network, before: PrecisionPlan, after: PrecisionPlan
    ) -> tuple[float, float]:
        """Seconds and joules from the end of work under one executed plan to the next's begin."""
        ...


@runtime_checkable
class FrontMachine(Protocol):
    """A machine that can trade latency for energy in the mapping of each layer."""

    def front(self, network: Network, plan: PrecisionPlan) -> MappingFront:
        """Every layer's front of latency and energy; errors as of `Machine.map`."""
        ...


def evaluate(
    machine: Machine[M],
    network: Network,
    plan: PrecisionPlan,
    objective: Objective = Objective.LATENCY,
) -> Cost:
    """Map and cost a network under an executed plan."""
    return machine.cost(network, plan, machine.map(network, plan, objective))
