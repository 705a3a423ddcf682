"""Cycles and joules of what a layer does, at one or at many operating points of the machine.

An operating point is a clock and factors on the die's energies and static power. Rates of memories
with a bandwidth are per second and their energies off chip are their own: at another clock they
take another number of cycles, at another supply the same joules. Everything is worked out for all
points at once, each as if it were alone.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from npubench.machines.array.flows import FloatArray, conversion_cycles, cycles_per_bit, whole
from npubench.machines.array.spec import ArraySpec
from npubench.machines.array.systolic import ceil_div
from npubench.machines.array.uses import LayerUse
from npubench.machines.protocol import STATIC

__all__ = ["LayerPrices", "OperatingPoints", "as_stated", "price"]

IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class OperatingPoints:
    """Where a machine runs; arrays of one entry a point.

    Attributes:
        clock_hz: of the arrays and the memories on chip.
        energy: factor on every energy of the die.
        leakage: factor on static power.
    """

    clock_hz: FloatArray
    energy: FloatArray
    leakage: FloatArray

    def at(self, index: npt.NDArray[np.intp]) -> OperatingPoints:
        """Some of the points."""
        return OperatingPoints(self.clock_hz[index], self.energy[index], self.leakage[index])

    def __len__(self) -> int:
        return len(self.clock_hz)


def as_stated(spec: ArraySpec) -> OperatingPoints:
    """The one point at which the constants of a spec hold."""
    return OperatingPoints(np.array([spec.clock.value]), np.ones(1), np.ones(1))


@dataclass(frozen=True, slots=True)
class LayerPrices:
    """A layer at every point.

    Attributes:
        latency_by_cause: cycles by cause; zero where a point has none of that cause.
        energy_by_component: joules by component.
    """

    latency_by_cause: Mapping[str, IntArray]
    energy_by_component: Mapping[str, FloatArray]

    @property
    def cycles(self) -> IntArray:
        """Cycles of the layer on its own."""
        return np.asarray(sum(self.latency_by_cause.values()))


def price(spec: ArraySpec, use: LayerUse, points: OperatingPoints) -> LayerPrices:
    """What a layer costs; energies of ``spec`` are those of a point whose factors are 1."""
    none = np.zeros(len(points), dtype=np.int64)
    causes = {cause: none + cycles for cause, cycles in use.busy.items()}
    waits = _waiting(spec, use, points)
    hidden = sum(waits.values(), start=none) if use.alone else none
    causes |= _stall(spec, use, points, sum(use.busy.values()), hidden)
    for cause, cycles in use.after.items():
        causes[cause] = causes[cause] + cycles
    causes |= waits | _transfers(spec, use, points)
    if not causes:
        causes = {use.stall: none}
    energy = defaultdict[str, FloatArray](lambda: np.zeros(len(points)))
    own_supply = np.ones(len(points))
    for spent in use.all_spendings(spec):
        each = spent.each.value * (own_supply if spent.off_chip else points.energy)
        energy[spent.component] = energy[spent.component] + spent.count * each
    seconds = np.sum(list(causes.values()), axis=0) / points.clock_hz
    energy[STATIC] = seconds * (spec.static_power.value * points.leakage)
    return LayerPrices(causes, energy)


def _waiting(spec: ArraySpec, use: LayerUse, points: OperatingPoints) -> dict[str, IntArray]:
    """Cycles by cause of tiles that nothing hides."""
    exact = defaultdict[str, FloatArray](lambda: np.zeros(len(points)))
    trips: dict[str, int] = {}
    for wait in use.waits:
        cycles = wait.bits * cycles_per_bit(wait.memory, points.clock_hz)
        if wait.converted is not None:
            cycles = cycles + conversion_cycles(spec, wait.bits_of, wait.converted, points.clock_hz)
        exact[wait.cause] = exact[wait.cause] + cycles
        trips[wait.cause] = wait.trips
    return {cause: whole(cycles).astype(np.int64) * trips[cause] for cause, cycles in exact.items()}


def _transfers(spec: ArraySpec, use: LayerUse, points: OperatingPoints) -> dict[str, IntArray]:
    """Cycles by cause of transfers that everything waits for; together rounded up once."""
    exact = defaultdict[str, FloatArray](lambda: np.zeros(len(points)))
    for crossing in use.ports.transfers:
        slowest = np.zeros(len(points))
        for memory in (crossing.inner, crossing.outer):
            bits = crossing.busy_bits(memory)
            slowest = np.maximum(slowest, bits * cycles_per_bit(memory, points.clock_hz))
        if crossing.converted and spec.quantization_unit is not None:
            slowest = np.maximum(slowest, 1 / spec.quantization_unit.lanes.value)
        exact[f"transfer:{crossing.inner.name}.{crossing.operand}"] += crossing.words * slowest
    found: dict[str, IntArray] = {}
    so_far, counted = np.zeros(len(points)), np.zeros(len(points), dtype=np.int64)
    for cause, cycles in exact.items():
        so_far = so_far + cycles
        up_to = whole(so_far).astype(np.int64)
        found[cause], counted = up_to - counted, up_to
    return found


def _stall(
    spec: ArraySpec, use: LayerUse, points: OperatingPoints, busy: int, hidden: IntArray
) -> dict[str, IntArray]:
    """Cycles for which the slowest memory keeps a busy unit waiting, named by what it moves.

    Args:
        hidden: cycles of off-chip transfers that are counted by themselves.
    """
    cycles = np.full(len(points), busy, dtype=np.int64)
    slowest = np.full(len(points), -1)
    names: list[str] = []
    ports = use.ports.beside_work()
    for at, memory in enumerate(spec.memories):
        bits = ports.busy_bits(memory)
        needed = whole(bits * cycles_per_bit(memory, points.clock_hz)).astype(np.int64)
        needed = needed - (hidden if memory.off_chip else 0)
        slowest = np.where(needed > cycles, at, slowest)
        cycles = np.maximum(cycles, needed)
        names.append(memory.name)
    unit = spec.quantization_unit
    if unit is not None:
        needed = np.asarray(ceil_div(ports.converted, unit.lanes.integer))
        slowest = np.where(needed > cycles, len(names), slowest)
        cycles = np.maximum(cycles, needed)
    found: dict[str, IntArray] = {}
    for at in np.unique(slowest[slowest >= 0]).tolist():
        unit_waits = at == len(names)
        name = "quantization_unit" if unit_waits else names[at]
        operand = "weight" if unit_waits else ports.busiest_operand(name)
        found[f"{use.stall}:{name}.{operand}"] = np.where(slowest == at, cycles - busy, 0)
    return found
