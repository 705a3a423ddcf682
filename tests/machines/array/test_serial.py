"""Memories whose transfers nothing overlaps: the search against brute force on walked nests."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from npubench.errors import InputError
from npubench.ir import LayerPrecision, LoopNest, PrecisionPlan, parse_network
from npubench.machines.array.cost import cost_network
from npubench.machines.array.extents import Extents, Shape
from npubench.machines.array.mapping import map_network
from npubench.machines.array.nests import Nest
from npubench.machines.array.spec import ArraySpec
from npubench.machines.array.tiles import LayerTiles
from npubench.machines.array.work import measure
from npubench.machines.protocol import Objective
from npubench.specs.catalog import find_spec
from tests.depth import examples
from tests.machines.array.bills import changed, check, costed, per_bit, space, up
from tests.machines.array.test_search import (
    machine_precision,
    network_of,
    three_memories,
    tiny_spec,
)

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
    # No best nest: four sums in two pieces, over a reduction in slices, each piece once a slice.
    nest = LoopNest(K=4, C=8)
    spec = changed(tiny_spec(20, 2), ("accumulators",))
    _, cores, levels = space(spec, nest)
    half, slice_ = Extents(1, 1, 1, 2, 2), Extents(1, 1, 1, 4, 2)
    inner = Nest(slice_, half, "MKC", inside=((2, Nest(half, half)),))
    whole = Nest(Extents(1, 1, 1, 4, 8), slice_, "MKC", inside=((4, inner),))
    plan = PrecisionPlan(machine_precision(spec))
    mapping = map_network(spec, network_of(nest), plan)
    work = measure(LayerTiles(Shape(nest)), cores, levels, whole)
    forced = replace(mapping, layers={"mac": replace(mapping.layers["mac"], work=work)})
    layer = cost_network(spec, network_of(nest), plan, forced).layers[0]
    assert work.boundaries["accumulators"].output == 4 * 4
    # 12 sums leave and come back: 32 bits each way pass the buffer's 24 a cycle. 4 finished ones
    # pass the accumulators' 64 with 32 bits, the buffer with 8.
    cycles = up(2 * 12 * 32 / 24 + 4 * max(32 / 64, 8 / 24))
    assert layer.latency_by_cause["transfer:accumulators.output"] == cycles


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
