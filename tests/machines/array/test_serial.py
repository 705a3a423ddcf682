"""Memories whose transfers nothing overlaps: the search against brute force on walked nests."""

from __future__ import annotations

import math
from itertools import islice, pairwise

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st

from npubench.errors import InputError
from npubench.ir import LayerPrecision, LoopNest, Network, PrecisionPlan, parse_network
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
from npubench.specs.catalog import find_spec
from tests.depth import examples
from tests.machines.array.test_search import (
    BITS,
    compare_with,
    count_nests,
    every_nest,
    machine_precision,
    network_of,
    three_memories,
    tiny_spec,
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
    """Cycles a bit at one port."""
    if memory.port_width is not None:
        return 1 / memory.port_width.value
    assert memory.bandwidth is not None
    return spec.clock.value / memory.bandwidth.value


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
            self._move(spec.chain(operand)[0], None, words[operand] * BITS.of(operand), 0)
        sums = spec.chain("output")[0]
        again = words["output"] - done
        self._move(None, sums, 0, again * 32 + done * self._width(sums))
        self._move(sums, None, again * 32, 0)
        for operand in ("input", "weight", "output"):
            chain = spec.chain(operand)
            for inner, outer in pairwise(chain):
                crossed = walked.words[inner.name, operand]
                if operand != "output":
                    self._move(outer, inner, crossed * BITS.of(operand), crossed * BITS.of(operand))
                    continue
                back = walked.returned[inner.name]
                assert crossed - back == done
                self._move(inner, outer, back * 32, back * 32)
                self._move(outer, inner, back * 32, back * 32)
                self._move(inner, outer, done * self._width(inner), done * self._width(outer))

    def _width(self, memory: MemorySpec) -> int:
        return 32 if memory.operands == ("output",) else 8

    def _move(
        self, source: MemorySpec | None, target: MemorySpec | None, read: int, written: int
    ) -> None:
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


TWO = st.sampled_from(
    [("buffer",), ("accumulators",), ("accumulators", "buffer"), ("accumulators", "buffer")]
)
THREE = st.lists(st.sampled_from(["accumulators", "vmem", "cmem"]), min_size=1, unique=True)
PRODUCTS = st.builds(LoopNest, B=st.integers(1, 3), K=st.integers(1, 4), C=st.integers(1, 4))
SETTINGS = settings(
    max_examples=examples(40),
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.generate],
    derandomize=True,
)


@SETTINGS
@given(
    nest=PRODUCTS,
    room=st.integers(8, 40),
    sums=st.sampled_from([2, 4, 64]),
    serial=TWO,
    separate=st.lists(st.sampled_from(["accumulators", "buffer", "lpddr4"]), unique=True),
)
def test_two_memories(
    nest: LoopNest, room: int, sums: int, serial: tuple[str, ...], separate: list[str]
) -> None:
    check(changed(tiny_spec(room, sums), serial, tuple(separate)), nest, most=300)


@settings(SETTINGS, max_examples=examples(12))
@given(
    nest=st.builds(LoopNest, B=st.integers(1, 3), K=st.integers(1, 3), C=st.integers(1, 3)),
    outer=st.integers(8, 30),
    inner=st.integers(8, 24),
    sums=st.sampled_from([2, 4]),
    serial=THREE,
    separate=st.lists(st.sampled_from(["vmem", "cmem", "hbm"]), unique=True),
)
def test_three_memories(
    nest: LoopNest, outer: int, inner: int, sums: int, serial: list[str], separate: list[str]
) -> None:
    spec = three_memories(outer, inner, sums)
    check(changed(spec, tuple(serial), tuple(separate)), nest, most=200)


@settings(SETTINGS, max_examples=examples(12))
@given(
    nest=st.builds(LoopNest, B=st.integers(1, 3), K=st.integers(1, 3), C=st.integers(1, 3)),
    room=st.integers(8, 30),
    sums=st.sampled_from([2, 4]),
    serial=st.sampled_from([(), ("accumulators",), ("buffer",), ("accumulators", "buffer")]),
)
def test_layers_that_start_with_an_empty_chip(
    nest: LoopNest, room: int, sums: int, serial: tuple[str, ...]
) -> None:
    check(changed(tiny_spec(room, sums), serial, (), "none"), nest, most=400)


def test_one_layer_by_hand() -> None:
    # 8 inputs, 12 weights and 6 outputs of 8 bits fit whole; the buffer takes 24 bits a cycle, the
    # memory outside 1 GB/s at 1 GHz, that is 8 bits: the outer side is the slower one.
    nest = LoopNest(B=2, K=3, C=4)
    spec = tiny_spec(64, 64)
    plain = costed(spec, network_of(nest), Objective.LATENCY).layers[0]
    layer = costed(changed(spec, ("buffer",)), network_of(nest), Objective.LATENCY).layers[0]
    waited = {c: n for c, n in layer.latency_by_cause.items() if c.startswith("transfer:")}
    assert waited == {
        "transfer:buffer.input": 8,
        "transfer:buffer.weight": 12,
        "transfer:buffer.output": 6,
    }
    assert "first_tile" not in layer.latency_by_cause  # it is one of the transfers
    # The same bits at the same ports: only static power knows of the longer run.
    assert layer.energy_by_component.keys() == plain.energy_by_component.keys()
    for part, joules in plain.energy_by_component.items():
        if part != "static":
            assert layer.energy_by_component[part] == joules
    assert layer.off_chip_bytes == plain.off_chip_bytes == 26


def test_partial_sums_that_come_back_are_waited_for_both_ways() -> None:
    # Two accumulators for four sums, over a reduction too long for the buffer.
    nest = LoopNest(B=1, K=4, C=8)
    spec = changed(tiny_spec(20, 2), ("accumulators",))
    _, _, levels = space(spec, nest)
    mapped = map_network(
        spec, network_of(nest), PrecisionPlan(machine_precision(spec)), Objective.LATENCY
    ).layers["mac"]
    layer = costed(spec, network_of(nest), Objective.LATENCY).layers[0]
    crossed = mapped.work.boundaries["accumulators"].output
    assert crossed > nest.output_elements
    # 32 bits out and 32 bits back pass the buffer's 24 a cycle; finished outputs pass the
    # accumulators' 64 with 32 bits, the buffer with 8.
    again = crossed - nest.output_elements
    cycles = up(2 * again * 32 / 24 + nest.output_elements * max(32 / 64, 8 / 24))
    assert layer.latency_by_cause["transfer:accumulators.output"] == cycles
    assert len(levels) == 2


@pytest.mark.parametrize("name", ["edge8", "tpuv4i", "eyeriss", "gemmini", "stimpack"])
def test_waiting_is_never_faster_and_moves_the_same_bits(name: str) -> None:
    document = find_spec(name)
    spec = document.validate(ArraySpec)
    fmt = spec.array.formats[spec.array.default_format]
    network = parse_network(TWO_LAYERS.format(fmt=fmt.activation))
    plan = PrecisionPlan(machine_precision_of(spec))
    costs = []
    on_chip = [memory.name for memory in spec.memories if not memory.off_chip]
    whole = {"double_buffered": False}
    memories = tuple(
        m if m.off_chip else m.model_copy(update=whole) for m in spec.memories
    )  # the same room for tiles in all of them
    spec = spec.model_copy(update={"memories": memories})
    for serial in ((), (on_chip[-1],), tuple(on_chip)):
        one = changed(spec, serial)
        cost = cost_network(one, network, plan, map_network(one, network, plan))
        causes = [c for layer in cost.layers for c in layer.latency_by_cause]
        assert {c.split(":")[1].split(".")[0] for c in causes if c[:9] == "transfer:"} <= set(
            serial
        )
        assert sum(cost.latency_by_cause.values()) == cost.cycles
        # A tail may run beside its head, but not beside transfers of either.
        for layer in cost.layers:
            assert layer.cycles >= 0
        head, tail = cost.layers[0], cost.layers[1]
        transfers = sum(
            n
            for layer in (head, tail)
            for cause, n in layer.latency_by_cause.items()
            if cause[:9] == "transfer:"
        )
        assert transfers <= head.cycles + tail.cycles + cost.overlap_cycles
        # The wait for the network's first tile is no transfer of its own where all are waited for.
        costs.append(cost.cycles - cost.latency_by_cause.get("first_tile", 0))
    assert costs == sorted(costs)
    assert costs[0] < costs[-1]


TWO_LAYERS = """
network two
input x {fmt}[1,64,14,14]
input z {fmt}[1,64,14,14]
weight w {fmt}[64,64,3,3]
mac conv Conv (x w) -> c {fmt}[1,64,14,14] : K64 C64 OY14 OX14 FY3 FX3 pad=0,1,1 in=1,14,14
vector add Add elementwise (c z) -> y {fmt}[1,64,14,14] : alu=12544
output y
"""


def machine_precision_of(spec: ArraySpec) -> LayerPrecision:
    fmt = spec.array.formats[spec.array.default_format]
    return LayerPrecision(fmt.weight_format, fmt.activation_format)


def test_weights_that_are_converted_as_they_come_in_are_waited_for() -> None:
    document = find_spec("stimpack").override("quantization_unit.weights", "converted", "--set")
    spec = document.validate(ArraySpec)
    unit = spec.quantization_unit
    assert unit is not None
    home = spec.chain("weight")[-2]
    narrow = next(fmt for name, fmt in spec.array.formats.items() if unit.converts(name))
    network = parse_network(
        "network one\ninput x fp32[64,256]\nweight w fp32[256,128]\n"
        "mac fc MatMul (x w) -> y fp32[64,128] : B64 K128 C256\noutput y\n"
    )
    plan = PrecisionPlan(LayerPrecision(narrow.weight_format, narrow.activation_format))
    serial = changed(spec.model_copy(update={"weights": "fetched"}), (home.name,))
    layer = cost_network(serial, network, plan, map_network(serial, network, plan)).layers[0]
    stored, run = unit.stored_format.bits, narrow.weight_format.bits
    ways = (stored, stored + run) if home.ports == "separate" else (0, 2 * stored + run)
    slowest = max(
        stored * per_bit(serial, serial.chain("weight")[-1]),
        max(ways) * per_bit(serial, home),
        1 / unit.lanes.value,
    )
    waited = layer.latency_by_cause[f"transfer:{home.name}.weight"]
    assert abs(waited - 256 * 128 * slowest) <= 1
    assert not any(cause.startswith("stall:quantization") for cause in layer.latency_by_cause)


@pytest.mark.parametrize(
    ("settings_", "message"),
    [
        (
            {"memories.buffer.transfers": "serial"},
            "transfers 'serial' needs 'double_buffered: false'",
        ),
        (
            {"memories.lpddr4.transfers": "serial", "memories.lpddr4.double_buffered": "false"},
            "transfers: an off-chip memory has nothing outside; state it further in",
        ),
        ({"memories.buffer.transfers": "blocking"}, "memories.buffer.transfers"),
    ],
)
def test_nonsense_is_refused(settings_: dict[str, str], message: str) -> None:
    document = find_spec("edge8")
    for path, value in settings_.items():
        document = document.override(path, value, f"--set {path}={value}")
    with pytest.raises(InputError) as caught:
        document.validate(ArraySpec)
    assert message in str(caught.value)
