"""What walked nests cost, added up word by word: the oracle of search and cost."""

from __future__ import annotations

import math
from itertools import islice, pairwise

import numpy as np
from hypothesis import assume

from npubench.ir import LoopNest, Network, PrecisionPlan
from npubench.machines.array.core import Core
from npubench.machines.array.cost import cost_network
from npubench.machines.array.extents import Shape
from npubench.machines.array.flows import FloatArray, Resources, overlapped_operands
from npubench.machines.array.goals import BestGoal
from npubench.machines.array.mapping import map_network
from npubench.machines.array.nests import Level, Nest
from npubench.machines.array.registers import register_use
from npubench.machines.array.search import LayerSearch
from npubench.machines.array.space import (
    ArrayCost,
    build_cores,
    build_levels,
    feeding_flow,
    first_tile,
)
from npubench.machines.array.spec import ArraySpec, MemorySpec
from npubench.machines.array.tiles import LayerTiles, one
from npubench.machines.array.walk import Walk, walk
from npubench.machines.protocol import Cost, LayerCost, Objective
from tests.machines.array.test_search import (
    BITS,
    compare_with,
    count_nests,
    every_nest,
    machine_precision,
    network_of,
)


def changed(
    spec: ArraySpec, serial: tuple[str, ...], separate: tuple[str, ...] = (), overlap: str = ""
) -> ArraySpec:
    """The same machine with serial memories and memories of two ports."""
    memories = tuple(
        memory.model_copy(
            update=(
                {"double_buffered": False, "transfers": "serial"} if memory.name in serial else {}
            )
            | ({"ports": "separate"} if memory.name in separate else {})
        )
        for memory in spec.memories
    )
    return spec.model_copy(
        update={"memories": memories, "layer_overlap": overlap or spec.layer_overlap}
    )


def per_bit(spec: ArraySpec, memory: MemorySpec) -> float:
    """Cycles a bit at one port of all instances."""
    if memory.port_width is not None:
        side_by_side = 1 if memory.instances is None else memory.instances.value
        return 1 / (memory.port_width.value * side_by_side)
    assert memory.bandwidth is not None
    return spec.clock.value / memory.bandwidth.value


def lane(memory: MemorySpec, bits: int) -> int:
    """Bits of a word that goes to one element: as many elements a word as share it evenly."""
    if memory.word_width is None:
        return bits
    word, elements = int(memory.word_width.value), 1
    for many in range(1, word + 1):
        if word % many == 0 and many * bits <= word:
            elements = many
    words = 1
    while words * word < bits:
        words += 1
    return words * word // elements


def up(cycles: float) -> int:
    """Rounded up, up to the noise of a sum of floats."""
    return math.ceil(cycles - 1e-7)


class Bill:
    """What a walked nest costs, added up word by word and by nothing of the search."""

    def __init__(self, spec: ArraySpec, core: Core, walked: Walk) -> None:
        self.spec, self.core = spec, core
        self.read = dict.fromkeys((m.name for m in spec.memories), 0)
        self.written = dict(self.read)
        self.bits_read, self.bits_written = dict(self.read), dict(self.read)
        self.serial = 0.0
        self.array = self.held = 0
        words = dict.fromkeys(("input", "weight", "output"), 0)
        for piece, often in walked.pieces.items():
            work = core.work(*one(piece))
            self.array += often * int(work.cycles[0])
            self.held += often * int(work.held_writes[0])
            words["input"] += often * int(work.input_words[0])
            words["weight"] += often * int(work.weight_words[0])
            words["output"] += often * int(work.output_words[0])
        done = core.shape.nest.output_elements
        for operand in ("input", "weight"):
            width = BITS.of(operand)
            self._move(spec.chain(operand)[0], None, words[operand], width, 0)
        sums = spec.chain("output")[0]
        again = words["output"] - done
        self._move(None, sums, again, 0, 32)
        self._move(sums, None, again, 32, 0)
        self._move(None, sums, done, 0, self._width(sums))
        for operand in ("input", "weight", "output"):
            chain = spec.chain(operand)
            for inner, outer in pairwise(chain):
                crossed = walked.words[inner.name, operand]
                if operand != "output":
                    self._move(outer, inner, crossed, BITS.of(operand), BITS.of(operand))
                    continue
                back = walked.returned[inner.name]
                assert crossed - back == done
                self._move(inner, outer, back, 32, 32)
                self._move(outer, inner, back, 32, 32)
                self._move(inner, outer, done, self._width(inner), self._width(outer))

    def _width(self, memory: MemorySpec) -> int:
        return 32 if memory.operands == ("output",) else 8

    def _move(
        self,
        source: MemorySpec | None,
        target: MemorySpec | None,
        words: int,
        read_width: int,
        written_width: int,
    ) -> None:
        read = 0 if source is None else words * lane(source, read_width)
        written = 0 if target is None else words * lane(target, written_width)
        ends = [(m, n) for m, n in ((source, read), (target, written)) if m is not None]
        if source is not None:
            self.bits_read[source.name] += read
        if target is not None:
            self.bits_written[target.name] += written
        both = source is not None and target is not None
        # The inner side of a boundary is the one that comes first in the spec.
        inner = min((m for m, _ in ends), key=self.spec.memories.index)
        if both and inner.transfers == "serial":
            self.serial += max(bits * per_bit(self.spec, memory) for memory, bits in ends)
            return
        if source is not None:
            self.read[source.name] += read
        if target is not None:
            self.written[target.name] += written

    def busy(self, memory: MemorySpec) -> int:
        """Cycles of the busiest port, transfers that all wait for left out."""
        read, written = self.read[memory.name], self.written[memory.name]
        bits = max(read, written) if memory.ports == "separate" else read + written
        return up(bits * per_bit(self.spec, memory))

    def figures(self, first: Nest, last: Nest) -> tuple[int, float]:
        """(cycles, joules)."""
        spec = self.spec
        before = leave = 0
        if spec.layer_overlap == "none":
            sizes = first_tile(self.core, one(first.extents))
            out = first_tile(self.core, one(last.extents))["output"]
            rates = {o: per_bit(spec, spec.chain(o)[-1]) * 8 for o in ("input", "weight", "output")}
            apart = [o for o in rates if spec.chain(o)[-2].transfers != "serial"]
            before = up(sum(float(sizes[o][0]) * rates[o] for o in apart if o != "output"))
            leave = up(float(out[0]) * rates["output"]) if "output" in apart else 0
        inside = max(self.array, *(self.busy(m) for m in spec.memories if not m.off_chip))
        outside = max(self.busy(m) for m in spec.memories if m.off_chip)
        load, drain = self.core.once(*one(last.extents))
        cycles = max(inside + before + leave, outside) + int(load[0]) + int(drain[0])
        cycles += up(self.serial)
        fmt = spec.array.formats["int8"]
        macs = self.core.shape.nest.macs
        joules = macs * fmt.mac_energy.value + cycles / spec.clock.value * spec.static_power.value
        for memory in spec.memories:
            joules += self.bits_read[memory.name] * memory.read_energy.value
            joules += self.bits_written[memory.name] * memory.write_energy.value
        for _, quantity, bits in register_use(spec, fmt, BITS, self.core, macs, self.held):
            joules += bits * quantity.value
        return cycles, joules


def innermost(nest: Nest, *, last: bool) -> Nest:
    while nest.inside:
        nest = nest.inside[-1 if last else 0][1]
    return nest


def billed(spec: ArraySpec, levels: tuple[Level, ...], core: Core, nest: Nest) -> tuple[int, float]:
    walked = walk(core.shape, levels, nest)
    bill = Bill(spec, core, walked)
    return bill.figures(innermost(nest, last=False), innermost(nest, last=True))


def space(spec: ArraySpec, nest: LoopNest) -> tuple[ArrayCost, tuple[Core, ...], tuple[Level, ...]]:
    """As the placer sets it up, nothing resident."""
    resources, fmt, alone = (
        Resources(spec),
        spec.array.formats["int8"],
        spec.layer_overlap == "none",
    )
    exposed = overlapped_operands(spec) if alone else frozenset[str]()
    flow = feeding_flow(spec, resources, BITS)
    cost = ArrayCost(spec, fmt, BITS, resources, flow, exposed)
    levels = build_levels(
        spec,
        resources,
        BITS,
        home=None,
        resident=frozenset(),
        reserved_bits=0,
        weights_room=None,
        weights_bits={},
        streams=alone,
    )
    return cost, build_cores(spec, fmt, Shape(nest), cost), levels


def least_score(spec: ArraySpec, nest: LoopNest) -> float:
    """Cycles of the best nest as the search scores it."""
    cost, cores, levels = space(spec, nest)
    resources = cost.resources
    finished = cost.flow.finished + sum(
        (level.flow.finished for level in levels if "output" in level.operands),
        start=np.zeros(resources.count),
    )

    def score(rows: FloatArray) -> FloatArray:
        return np.stack([resources.cycles(rows), resources.joules(rows)], axis=1)

    search = LayerSearch(
        LayerTiles(Shape(nest)), cores, levels, resources, cost, BestGoal(score), finished
    )
    rows = search.run(Shape(nest).extents).cost + nest.output_elements * finished
    return float(resources.cycles(rows).min())


def costed(spec: ArraySpec, network: Network, objective: Objective) -> Cost:
    plan = PrecisionPlan(machine_precision(spec))
    mapping = map_network(spec, network, plan, objective)
    assert all(layer.counts.proven for layer in mapping.layers.values())
    return cost_network(spec, network, plan, mapping)


def without_first_tile(spec: ArraySpec, layer: LayerCost) -> tuple[int, float]:
    """(cycles, joules); with prefetch the wait of the network's first layer is not minimised."""
    if spec.layer_overlap == "none":
        return layer.cycles, layer.energy_j
    first = layer.latency_by_cause.get("first_tile", 0)
    return layer.cycles - first, layer.energy_j - spec.static_power.value * first / spec.clock.value


def check(spec: ArraySpec, nest: LoopNest, *, most: int) -> None:
    """Search, cost and walk agree on every nest of a small layer, for every objective."""
    _, cores, levels = space(spec, nest)
    tiles = LayerTiles(Shape(nest))
    if spec.layer_overlap == "prefetch":  # else everything is tried, and cut short below
        assume(count_nests(tiles, cores, levels, tiles.shape.extents) <= 6 * most)
    found = list(islice(every_nest(tiles, cores, levels, tiles.shape.extents), most + 1))
    assume(len(found) <= most)

    def core_of(nest: Nest) -> Core:
        return cores[innermost(nest, last=False).variant]

    everything: list[tuple[float, float]] = [
        billed(spec, levels, core_of(one), one) for one in found
    ]
    for objective in Objective:
        layer = costed(spec, network_of(nest), objective).layers[0]
        compare_with(everything, without_first_tile(spec, layer), objective)
        if objective is Objective.LATENCY:
            assert without_first_tile(spec, layer)[0] == least_score(spec, nest)
