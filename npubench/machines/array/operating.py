"""A network at many clocks and supplies of one array: every layer is searched once for all of them.

The search keeps each nest that is the best at some operating point for some objective
(`map_everywhere`). Which one that is at a given point is read off the cost vectors, and the counts
of what it does are priced there (`pricing`), for all points at once and each as if it were alone.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from npubench.ir import Layer, MacLayer, Network, PrecisionPlan
from npubench.machines.array.flows import FloatArray, Resources, steady
from npubench.machines.array.mapping import ArrayMapping, MappedLayer, map_everywhere
from npubench.machines.array.pricing import IntArray, OperatingPoints, price
from npubench.machines.array.spec import ArraySpec
from npubench.machines.array.uses import LayerUse, use_of_layer
from npubench.machines.protocol import OVERLAP, Objective
from npubench.machines.tuning import CostTable, OperatingPoint

__all__ = ["ArrayAnywhere", "prepare"]

Indices = npt.NDArray[np.intp]


def prepare(
    spec: ArraySpec, network: Network, plan: PrecisionPlan, objective: Objective
) -> ArrayAnywhere | None:
    """A network ready to be costed at any clock and supply.

    None where that is not exact: weights that stay on chip because it pays, serial transfers,
    waits of which some take cycles and others time, or a layer whose choices are not proven to be
    all that matter.

    Args:
        spec: with constants at the nominal supply.

    Raises:
        MappingError: a layer does not fit a memory.
    """
    serial = any(memory.serial for memory in spec.memories)
    if spec.weights == "kept" or serial or not _waits_scale(spec):
        return None
    mappings = map_everywhere(spec, network, plan)
    return ArrayAnywhere(spec, network, objective, mappings) if mappings else None


def _waits_scale(spec: ArraySpec) -> bool:
    """Whether all that is waited for between layers takes the same time, or the same cycles."""
    unit = spec.quantization_unit
    if spec.layer_overlap != "none":
        return True
    kinds = {"time" if m.port_width is None else "cycles" for m in spec.memories if m.off_chip}
    if unit is not None and unit.weights == "converted":
        kinds.add("cycles")
    return len(kinds) == 1


@dataclass(frozen=True)
class ArrayAnywhere:
    """See `prepare`.

    Attributes:
        spec: the machine at its nominal supply.
        network: the whole batch.
        objective: what every layer is mapped for, at each point.
        mappings: the n-th has the n-th choice of each layer, see `map_everywhere`.
    """

    spec: ArraySpec
    network: Network
    objective: Objective
    mappings: tuple[ArrayMapping, ...]

    def costs(self, points: Sequence[OperatingPoint]) -> CostTable:
        """See `Anywhere.costs`."""
        clocks, energies, leaks = np.array([(p.clock_hz, p.energy, p.leakage) for p in points]).T
        return self._costs(OperatingPoints(clocks, energies, leaks))

    def _costs(self, points: OperatingPoints) -> CostTable:
        table = _Sums(self.spec, points)
        cycles: dict[str, IntArray] = {}
        for layer in self.network.layers:
            cycles[layer.name] = table.add(layer, self._uses(layer, points))
        behind: dict[str, IntArray] = {}
        for name, head in self.mappings[0].tails.head.items():
            behind[head] = behind.get(head, 0) + cycles[name]
        hidden = [np.minimum(cycles[head], tails) for head, tails in behind.items()]
        table.overlap(np.sum(hidden, axis=0) if hidden else np.zeros(len(points), np.int64))
        return table.result(tuple(cycles.values()))

    def _uses(self, layer: Layer, points: OperatingPoints) -> Iterator[tuple[Indices, LayerUse]]:
        """What a layer does, and at which points it does so."""
        if not isinstance(layer, MacLayer):
            yield np.arange(len(points)), self._use(layer, None)
            return
        choices = self._choices[layer.name]
        chosen = self._best(np.stack([choice.row for choice in choices]), points)
        for at in np.unique(chosen).tolist():
            yield np.flatnonzero(chosen == at), self._use(layer, choices[at])

    def _use(self, layer: Layer, choice: MappedLayer | None) -> LayerUse:
        key = (layer.name, None if choice is None else id(choice))
        if key not in self._known:
            self._known[key] = use_of_layer(
                self.spec, self.network, self.mappings[0], layer, choice
            )
        return self._known[key]

    def _best(self, rows: FloatArray, points: OperatingPoints) -> Indices:
        """The choice of each point, as the search of a machine that runs there decides."""
        if len(rows) == 1:
            return np.zeros(len(points), dtype=np.intp)
        resources = self._resources
        ratio = points.clock_hz / self.spec.clock.value
        cycles = resources.cycles_at(rows, ratio)
        seconds = cycles / points.clock_hz
        joules = rows[:, [resources.energy]] * points.energy + rows[:, [resources.off_chip_energy]]
        joules = joules + seconds * (self.spec.static_power.value * points.leakage)
        first, second = {
            Objective.LATENCY: (cycles, steady(joules)),
            Objective.ENERGY: (steady(joules), cycles),
            Objective.EDP: (steady(joules * seconds), cycles),
        }[self.objective]
        tied = first == first.min(axis=0)
        return np.asarray(np.where(tied, second, np.inf).argmin(axis=0))

    @cached_property
    def _resources(self) -> Resources:
        return Resources(self.spec, split=True)

    @cached_property
    def _known(self) -> dict[tuple[str, int | None], LayerUse]:
        return {}

    @cached_property
    def _choices(self) -> dict[str, tuple[MappedLayer, ...]]:
        """Each layer's choices, those of equal layers one by one."""
        return {
            layer.name: tuple(
                {id(m.layers[layer.name]): m.layers[layer.name] for m in self.mappings}.values()
            )
            for layer in self.network.mac_layers
        }


class _Sums:
    """Adds layers up."""

    def __init__(self, spec: ArraySpec, points: OperatingPoints) -> None:
        self.spec, self.points = spec, points
        size = len(points)
        self.causes = defaultdict[str, IntArray](lambda: np.zeros(size, dtype=np.int64))
        self.energy = defaultdict[str, FloatArray](lambda: np.zeros(size))
        self.busy = np.zeros(size)
        self.cycles = np.zeros(size, dtype=np.int64)

    def add(self, layer: Layer, uses: Iterator[tuple[Indices, LayerUse]]) -> IntArray:
        """Add a layer; returns its cycles."""
        cycles = np.zeros(len(self.points), dtype=np.int64)
        for index, use in uses:
            prices = price(self.spec, use, self.points.at(index))
            for cause, n in prices.latency_by_cause.items():
                self.causes[cause][index] += n
            for component, joules in prices.energy_by_component.items():
                self.energy[component][index] += joules
            cycles[index] = prices.cycles
            if use.peak is not None:
                self.busy[index] += layer.macs / (use.peak * prices.cycles) * prices.cycles
        self.cycles += cycles
        return cycles

    def overlap(self, hidden: IntArray) -> None:
        """Take off the cycles in which layers run beside others."""
        static = self.spec.static_power.value * self.points.leakage
        self.cycles -= hidden
        self.causes[OVERLAP] -= hidden
        self.energy[OVERLAP] -= static * hidden / self.points.clock_hz

    def result(self, by_layer: tuple[IntArray, ...]) -> CostTable:
        """What has been added up."""
        return CostTable(
            clock_hz=self.points.clock_hz,
            cycles=self.cycles,
            layer_cycles=np.stack(by_layer),
            latency_by_cause=dict(self.causes),
            energy_by_component=dict(self.energy),
            busy_cycles=self.busy,
        )
