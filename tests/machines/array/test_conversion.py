"""The quantization unit: what a converted weight costs, in words counted by hand, and switches."""

from __future__ import annotations

import random
from functools import cache

import pytest

from npubench.errors import InputError
from npubench.ir import LayerPrecision, Network, PrecisionPlan, parse_format, parse_network
from npubench.machines.array.machine import ArrayMachine
from npubench.machines.array.switching import exposed, mode_switch
from npubench.machines.protocol import Cost, Switching, evaluate
from npubench.machines.registry import build_machine
from npubench.specs.catalog import find_spec
from npubench.specs.header import apply_knobs

FIRST = 512 * 1024  # weights of the first product
SECOND = 1024 * 256
TWO_PRODUCTS = """
network two_products
input x fp32[64,512]
weight w fp32[512,1024]
weight v fp32[1024,256]
mac one MatMul (x w) -> y fp32[64,1024] : OX64 K1024 C512 in=1,1,64
mac two MatMul (y v) -> z fp32[64,256] : OX64 K256 C1024 in=1,1,64
output z
"""
BF16 = PrecisionPlan(LayerPrecision(parse_format("bf16"), parse_format("bf16")))
INT8 = PrecisionPlan(LayerPrecision(parse_format("int8"), parse_format("int8")))


@cache
def machine(**knobs: str) -> ArrayMachine:
    built = build_machine(apply_knobs(find_spec("stimpack"), {"quantize": "converted", **knobs}))
    assert isinstance(built, ArrayMachine)
    return built


def network() -> Network:
    return parse_network(TWO_PRODUCTS)


def burst(**knobs: str) -> Cost:
    built, net = machine(mode="burst", **knobs), network()
    return evaluate(built, net, built.legalise(net, None).executed)


def joules(cost: Cost, path: str) -> float:
    (found,) = [c.energy_j for c in cost.constants if c.path == path]
    return found


def test_a_streamed_weight_is_read_wide_written_twice_and_read_back() -> None:
    converted = burst(weights="fetched")
    fetched = burst(weights="fetched", quantize="fetched")
    weights = FIRST + SECOND
    spec = machine().spec
    hbm, cmem = spec.memories[-1], spec.memories[-2]
    unit = spec.quantization_unit
    assert unit is not None
    more = {
        "memories.hbm.read_energy": 8 * hbm.read_energy.value,
        "memories.cmem.write_energy": 16 * cmem.write_energy.value,
        "memories.cmem.read_energy": 16 * cmem.read_energy.value,
        "quantization_unit.energy": unit.energy.value,
    }
    for path, each in more.items():
        found = joules(converted, path) - joules(fetched, path)
        assert found == pytest.approx(weights * each, rel=1e-9)
    assert converted.cycles > fetched.cycles
    assert "quantization_unit" not in fetched.energy_by_component


def test_resident_weights_are_converted_once_at_the_switch_and_free_in_a_run() -> None:
    kept = burst(weights="kept")
    assert "quantization_unit" not in kept.energy_by_component
    assert kept.cycles == burst(weights="kept", quantize="fetched").cycles
    # Base mode never converts.
    built, net = machine(weights="fetched"), network()
    base = evaluate(built, net, built.legalise(net, None).executed)
    assert "quantization_unit" not in base.energy_by_component


def test_a_slow_unit_is_what_a_layer_waits_for() -> None:
    document = apply_knobs(find_spec("stimpack"), {"mode": "burst", "quantize": "converted"})
    slow = build_machine(document.override("quantization_unit.lanes", "1", "--set"))
    net = network()
    cost = evaluate(slow, net, slow.legalise(net, None).executed)
    by_layer = {layer.name: layer for layer in cost.layers}
    assert by_layer["two"].latency_by_cause["stall:quantization_unit.weight"] > 0
    # One weight a cycle: the second layer, whose first tile comes in early, takes its weights.
    skew = by_layer["two"].latency_by_cause["fill_drain"]
    load = by_layer["two"].latency_by_cause.get("weight_load", 0)
    assert SECOND <= by_layer["two"].cycles <= SECOND + skew + load


def test_a_switch_empties_the_arrays_and_converts_what_is_resident() -> None:
    spec, net = machine(weights="kept").spec, network()
    there = mode_switch(spec, net, BF16, INT8)
    assert (there.drain, there.converted, there.fetched) == (256, FIRST + SECOND, 0)
    assert spec.quantization_unit is not None
    each = 24 / 8192  # the port's cycles a weight: 16 bits read, 8 written; the unit is quicker
    assert each > 1 / spec.quantization_unit.lanes.value
    assert FIRST * each <= there.weights <= (FIRST + SECOND) * each + 1e-9
    back = mode_switch(spec, net, INT8, BF16)
    assert (back.converted, back.fetched) == (0, FIRST + SECOND)
    assert back.weights > there.weights  # HBM is slower than the chip
    assert mode_switch(spec, net, BF16, BF16).cycles == 0
    # Nothing is resident: the arrays run empty, and that is all.
    streamed = mode_switch(machine(weights="fetched").spec, net, BF16, INT8)
    assert (streamed.cycles, streamed.converted, streamed.fetched) == (256, 0, 0)
    assert isinstance(machine(), Switching)
    seconds, _ = machine(weights="fetched").mode_switch(net, BF16, INT8)
    assert seconds == pytest.approx(256 / 1.05e9)


def test_int8_copies_off_chip_are_fetched_at_the_switch() -> None:
    net = network()
    copies = mode_switch(machine(weights="kept", quantize="fetched").spec, net, BF16, INT8)
    assert (copies.converted, copies.fetched) == (0, FIRST + SECOND)


@pytest.mark.parametrize("seed", range(20))
def test_exposed_time_is_what_stepping_through_says(seed: int) -> None:
    dice = random.Random(seed)
    count = dice.randint(1, 8)
    arrivals = [float(dice.choice((0, 1, 5, 9))) for _ in range(count)]
    runs = [float(dice.randint(1, 9)) for _ in range(count)]
    found = exposed(arrivals, runs)
    # Closed form: the longest of all chains "arrivals up to i, then runs from i on".
    chains = [sum(arrivals[: i + 1]) + sum(runs[i:]) for i in range(count)]
    assert found == pytest.approx(max(0.0, max(chains) - sum(runs)))
    assert found >= arrivals[0]


def test_areas_are_told_by_part() -> None:
    info = machine().info
    assert set(info.areas_mm2) == {"die", "convertible_core", "quantization_unit"}
    assert info.area_mm2 == pytest.approx(sum(info.areas_mm2.values()))
    # 740 um2 a PE at 45 nm, 0.059 of that at 7 nm; at most 24 % of the MXUs' 100 mm2.
    core = 740e-6 * 0.059 * 4 * 128 * 128
    assert info.areas_mm2["convertible_core"] == pytest.approx(core, rel=2e-3)
    edge = build_machine(find_spec("edge8")).info
    assert set(edge.areas_mm2) >= {"pes", "memories"}
    assert edge.area_mm2 == pytest.approx(sum(edge.areas_mm2.values()))


def test_a_unit_that_makes_an_unknown_format_is_refused() -> None:
    document = find_spec("stimpack").override("quantization_unit.formats.0", "int3", "--set")
    with pytest.raises(InputError, match="int3"):
        build_machine(document)
