"""Placing a network on an array machine: cores, tiles and what stays on chip."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np

from npubench.errors import MappingError, Problem
from npubench.ir import LoopNest, MacLayer, Network, PrecisionPlan
from npubench.machines.array.conversion import stored_bits
from npubench.machines.array.core import Core
from npubench.machines.array.extents import Shape
from npubench.machines.array.flows import FloatArray, Resources, overlapped_operands, steady
from npubench.machines.array.fusion import Tails, find_tails
from npubench.machines.array.goals import BestGoal, FrontGoal, Goal, Indices, ManyGoal, staircase
from npubench.machines.array.nests import DoesNotFitError, SearchCounts, nondominated
from npubench.machines.array.search import LayerSearch
from npubench.machines.array.space import ArrayCost, build_cores, build_levels, feeding_flow
from npubench.machines.array.spec import ArraySpec, MemorySpec, PEFormatSpec
from npubench.machines.array.sums import with_sums
from npubench.machines.array.tiles import LayerTiles, OperandBits, one
from npubench.machines.array.weights import format_of, held_weights, layer_weight_bits
from npubench.machines.array.work import NestWork, measure
from npubench.machines.common.storage import Residency, keep_on_chip, storage_bits
from npubench.machines.protocol import Objective

__all__ = [
    "ArrayMapping",
    "MappedLayer",
    "home_memory",
    "map_everywhere",
    "map_fronts",
    "map_network",
]


@dataclass(frozen=True, slots=True)
class MappedLayer:
    """One multiply-accumulate layer on the machine.

    Attributes:
        core: the array on this layer (on its first tile, where tiles differ).
        work: cycles and words of one trip.
        once: (load, fill and drain) cycles paid once a trip.
        bits: widths of its operands.
        format: name of the executed format in the spec.
        resident: operands that are on chip already or stay there.
        weights_loaded: elements of weights fetched once for all trips (and none if they stay on
            chip between inferences); 0 where every trip fetches what it needs.
        counts: what the search covered.
        row: cost vector of one trip in the columns of the search, finished outputs included.
    """

    core: Core
    work: NestWork
    once: tuple[int, int]
    bits: OperandBits
    format: str
    resident: frozenset[str]
    weights_loaded: int
    counts: SearchCounts
    row: FloatArray


@dataclass(frozen=True, slots=True)
class ArrayMapping:
    """A whole network on the machine.

    Attributes:
        layers: multiply-accumulate layers by name.
        residency: activations that stay on chip, in the home memory.
        tails: vector layers fused into the layer before them.
        bits: storage width of every tensor.
        kept_weights: layers whose weights stay on chip between inferences.
        objective: what every layer was mapped for.
    """

    layers: Mapping[str, MappedLayer]
    residency: Residency
    tails: Tails
    bits: Mapping[str, int]
    kept_weights: frozenset[str]
    objective: Objective = Objective.LATENCY


def home_memory(spec: ArraySpec) -> MemorySpec | None:
    """Where activations stay between layers: the outermost on-chip memory of both kinds."""
    for memory in reversed(spec.memories):
        if not memory.off_chip and {"input", "output"} <= set(memory.operands):
            return memory
    return None


def map_network(
    spec: ArraySpec,
    network: Network,
    plan: PrecisionPlan,
    objective: Objective = Objective.LATENCY,
    kept: Collection[str] = (),
    *,
    apart: bool = False,
) -> ArrayMapping:
    """Place every layer of a network under an executed plan, each to its own optimum.

    Args:
        kept: layers whose weights stay on chip between inferences (`keeping` chooses them); others
            that multiply the same weights have them there too.
        apart: place each of these as if the weights of the others took no room; one that does not
            fit beside its own weights fetches them. What every layer would like best, not a
            mapping that can run.

    Raises:
        MappingError: a layer does not fit a memory, naming demand, bound and memory.
    """
    return _map(spec, network, plan, objective, kept, apart=apart)[0]


def map_fronts(
    spec: ArraySpec, network: Network, plan: PrecisionPlan, kept: Collection[str] = ()
) -> tuple[ArrayMapping, ...]:
    """Mappings that hold, between them, every layer's front of latency and energy.

    The n-th mapping has the n-th point of each layer's front, by rising latency; the last one of
    fronts that are shorter.

    Args:
        kept: as of `map_network`.

    Raises:
        MappingError: as `map_network`.
    """
    return _map(spec, network, plan, None, kept)


def map_everywhere(
    spec: ArraySpec, network: Network, plan: PrecisionPlan
) -> tuple[ArrayMapping, ...]:
    """Mappings that hold, between them, the best of every layer at any clock and any supply.

    For whatever objective: the best one by the columns of its ``row`` is among a layer's choices.
    The n-th mapping has the n-th choice of each layer; the last one where there are fewer. None at
    all where the search of a layer gave up before it was proven.

    Raises:
        MappingError: as `map_network`.
    """
    try:
        return _map(spec, network, plan, None, (), everywhere=True)
    except _UnprovenError:
        return ()


def _map(
    spec: ArraySpec,
    network: Network,
    plan: PrecisionPlan,
    objective: Objective | None,
    names: Collection[str],
    *,
    apart: bool = False,
    everywhere: bool = False,
) -> tuple[ArrayMapping, ...]:
    held = [
        one
        for one in held_weights(spec, network, plan)
        if any(name in names for name in one.layers)
    ]
    kept = {name: one.bits for one in held for name in one.layers}
    kept_bits = sum(one.bits for one in held)
    bits = storage_bits(network, plan)
    tails = find_tails(network, enabled=spec.vector_unit.fused_tails)
    home = home_memory(spec)
    room = _capacity(home)
    if home is not None and "weight" in home.operands and not apart:
        room -= kept_bits
    # Half of the home memory may hold activations; the rest is for tiles of the running layer.
    taken = bits if home is None else {name: home.lane_bits(n) for name, n in bits.items()}
    residency = keep_on_chip(network, taken, room // 2, skip=tails.hidden)
    placer = _Placer(
        spec, network, bits, tails, residency, home, kept, kept_bits, objective, apart, everywhere
    )
    layers = {layer.name: placer.place(layer, plan) for layer in network.mac_layers}
    return tuple(
        ArrayMapping(
            {name: choices[min(n, len(choices) - 1)] for name, choices in layers.items()},
            residency,
            tails,
            bits,
            frozenset(kept),
            objective or Objective.LATENCY,
        )
        for n in range(max((len(choices) for choices in layers.values()), default=1))
    )


def _once(core: Core, work: NestWork) -> tuple[int, int]:
    load, fill_drain = core.once(*one(work.last))
    return int(load[0]), int(fill_drain[0])


def _capacity(memory: MemorySpec | None) -> int:
    return 0 if memory is None else memory.capacity_bits or 0


_Choice = tuple[Core, NestWork, FloatArray]
_Key = tuple[LoopNest, str, OperandBits, frozenset[str], bool, int, int]


class _UnprovenError(Exception):
    """A search left choices out; carries nothing."""


class _Placer:
    """Places layers one by one; equal layers in equal surroundings are placed once.

    Without an objective a layer has a placement for every point of its front of latency and energy;
    or for every clock and supply, see `map_everywhere`.
    """

    def __init__(
        self,
        spec: ArraySpec,
        network: Network,
        bits: Mapping[str, int],
        tails: Tails,
        residency: Residency,
        home: MemorySpec | None,
        kept: Mapping[str, int],
        kept_bits: int,
        objective: Objective | None,
        apart: bool,
        everywhere: bool,
    ) -> None:
        self.spec, self.network, self.bits, self.tails = spec, network, bits, tails
        self.residency, self.home = residency, home
        self.kept, self.kept_bits = kept, kept_bits
        self.objective, self.apart, self.everywhere = objective, apart, everywhere
        self.resources = Resources(spec, split=everywhere)
        self.known: dict[_Key, tuple[list[_Choice], SearchCounts]] = {}

    def place(self, layer: MacLayer, plan: PrecisionPlan) -> tuple[MappedLayer, ...]:
        name, fmt = format_of(self.spec, plan.of(layer.name))
        bits = OperandBits(
            input=fmt.activation_format.bits,
            weight=fmt.weight_format.bits,
            output=self.bits[self.tails.result.get(layer.name, layer.outputs[0])],
            partial=fmt.accumulator_bits,
            stored_weight=stored_bits(self.spec.quantization_unit, self.network, layer, name),
        )
        bits = with_sums(self.spec, layer.nest, bits)
        resident = self._resident(layer)
        reserved = self._reserved(layer)
        loaded = layer.name not in self.kept and self._trips_share_weights(layer, fmt, reserved)
        stay = loaded or layer.name in self.kept
        # Room that weights take: those that stay between inferences, and the layer's own.
        taken = self._kept_bits(layer) + (layer_weight_bits(self.spec, layer, fmt) if loaded else 0)
        key = (layer.nest, name, bits, resident, stay, reserved, taken)
        if key not in self.known:
            try:
                self.known[key] = self._search(layer, fmt, bits, resident, stay, reserved, taken)
            except DoesNotFitError as error:
                if self.apart and layer.name in self.kept:
                    self.kept = {n: taken for n, taken in self.kept.items() if n != layer.name}
                    return self.place(layer, plan)
                raise MappingError(self._does_not_fit(layer, error)) from None
        choices, counts = self.known[key]
        return tuple(
            MappedLayer(
                core=core,
                work=work,
                once=_once(core, work),
                bits=bits,
                format=name,
                resident=resident | ({"weight"} if stay else set()),
                weights_loaded=layer.nest.weight_elements if loaded else 0,
                counts=counts,
                row=row,
            )
            for core, work, row in choices
        )

    def _search(
        self,
        layer: MacLayer,
        fmt: PEFormatSpec,
        bits: OperandBits,
        resident: frozenset[str],
        stay: bool,
        reserved: int,
        taken: int,
    ) -> tuple[list[_Choice], SearchCounts]:
        spec, shape = self.spec, Shape(layer.nest)
        weights_memory = spec.chain("weight")[-2] if stay else None
        levels = build_levels(
            spec,
            self.resources,
            bits,
            home=self.home,
            resident=resident,
            reserved_bits=reserved,
            weights_room=weights_memory,
            weights_bits={spec.chain("weight")[-2].name: taken},
            streams=spec.layer_overlap == "none",
        )
        exposed = overlapped_operands(spec) - resident
        cost = ArrayCost(
            spec,
            fmt,
            bits,
            self.resources,
            feeding_flow(spec, self.resources, bits),
            exposed - ({"weight"} if stay else set())
            if spec.layer_overlap == "none"
            else frozenset(),
        )
        cores = build_cores(spec, fmt, shape, cost)
        finished = cost.flow.finished + sum(
            (level.flow.finished for level in levels if "output" in level.operands),
            start=np.zeros(self.resources.count),
        )
        goal = self._goal()
        search = LayerSearch(LayerTiles(shape), cores, levels, self.resources, cost, goal, finished)
        front = search.run(shape.extents)
        rows = front.cost + layer.nest.output_elements * finished
        if self.everywhere and not search.counts.proven:
            raise _UnprovenError
        choices: list[_Choice] = []
        for index in self._chosen(rows).tolist():
            work = measure(search.tiles, cores, levels, front.makers[index]())
            choices.append((cores[work.variant], work, rows[index]))
        return choices, search.counts

    def _goal(self) -> Goal:
        if self.everywhere:
            return ManyGoal(self.resources.anywhere)
        return BestGoal(self._score) if self.objective else FrontGoal(self._score)

    def _chosen(self, rows: FloatArray) -> Indices:
        """The rows that are sought."""
        if self.everywhere:
            return nondominated(self.resources.anywhere(rows))
        best = staircase(*self._score(rows).T)
        return best[:1] if self.objective else best

    def _score(self, rows: FloatArray) -> FloatArray:
        """The objective of each row, and the figure that decides ties."""
        cycles = self.resources.cycles(rows)
        seconds = cycles / self.spec.clock.value
        joules = self.resources.joules(rows) + seconds * self.spec.static_power.value
        figures = np.empty((len(rows), 2))
        if self.objective is Objective.LATENCY or self.objective is None:
            figures[:, 0], figures[:, 1] = cycles, steady(joules)
        else:
            edp = self.objective is Objective.EDP
            figures[:, 0] = steady(joules * seconds if edp else joules)
            figures[:, 1] = cycles
        return figures

    def _resident(self, layer: MacLayer) -> frozenset[str]:
        result = self.tails.result.get(layer.name, layer.outputs[0])
        operands = {"input": layer.data, "weight": layer.weight, "output": result}
        served = set(self.home.operands) if self.home is not None else set()
        return frozenset(
            operand
            for operand, tensor in operands.items()
            if operand in served and self.residency.holds(tensor)
        )

    def _trips_share_weights(self, layer: MacLayer, fmt: PEFormatSpec, reserved: int) -> bool:
        """Whether weights used on every trip are fetched once: all of them fit half the room."""
        if layer.trips == 1:
            return False
        memory = self.spec.chain("weight")[-2]
        room = _capacity(memory) - self._kept_bits(layer)
        room -= reserved if memory is self.home else 0
        return layer_weight_bits(self.spec, layer, fmt) <= room // 2

    def _reserved(self, layer: MacLayer) -> int:
        """Room that resident activations take while a layer runs."""
        reserved = self.residency.reserved_bits[layer.name]
        if self.apart and self.home is self.spec.chain("weight")[-2]:
            # They make way for the layer's own weights.
            return min(reserved, max(0, _capacity(self.home) - self._kept_bits(layer)) // 2)
        return reserved

    def _kept_bits(self, layer: MacLayer) -> int:
        return self.kept.get(layer.name, 0) if self.apart else self.kept_bits

    def _does_not_fit(self, layer: MacLayer, error: DoesNotFitError) -> Problem:
        nest = " ".join(f"{dim}{n}" for dim, n in layer.nest.bounds.items() if n > 1)
        return Problem(
            f"layer '{layer.name}' ({layer.op} {nest}) does not fit '{self.spec.name}': its "
            f"smallest tile needs {error.needed_bits // 8} B of {error.level}, "
            f"{error.room_bits // 8} B are free",
        )
