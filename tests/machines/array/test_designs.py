"""Shipped array designs against what their sources say of peak, size and energy."""

from __future__ import annotations

import pytest

from npubench.ir import parse_network
from npubench.machines.array.machine import ArrayMachine
from npubench.machines.protocol import evaluate
from npubench.machines.registry import build_machine
from npubench.specs.catalog import find_spec
from npubench.specs.header import apply_knobs

ONE_PRODUCT = """
network one_product
input x fp32[4096,{reduction}]
weight w fp32[{reduction},512]
mac fc MatMul (x w) -> y fp32[4096,512] : OX4096 K512 C{reduction} in=1,1,4096
output y
"""


def machine(name: str, **knobs: str) -> ArrayMachine:
    built = build_machine(apply_knobs(find_spec(name), knobs))
    assert isinstance(built, ArrayMachine)
    return built


def compute_cycles(built: ArrayMachine, reduction: int) -> int:
    network = parse_network(ONE_PRODUCT.format(reduction=reduction))
    cost = evaluate(built, network, built.legalise(network, None).executed)
    return cost.latency_by_cause["compute"]


def test_stimpack_bursts_at_twice_the_base_peak() -> None:
    base, burst = (machine("stimpack", mode=mode).info for mode in ("base", "burst"))
    assert 2 * base.peak_macs_per_s == pytest.approx(137.6e12, rel=1e-3)
    assert burst.peak_macs_per_s == 2 * base.peak_macs_per_s
    assert (str(base.default_precision), str(burst.default_precision)) == ("bf16", "w8a8")


def test_stimpack_is_a_tpuv4i_but_for_the_second_int8_mac() -> None:
    ours, theirs = machine("stimpack").spec, machine("tpuv4i").spec
    for field in ("clock", "memories", "vector_unit", "static_power", "area", "node"):
        assert getattr(ours, field) == getattr(theirs, field)
    assert ours.array.formats["bf16"] == theirs.array.formats["bf16"]
    macs = [spec.array.formats["int8"].macs_per_pe.integer for spec in (ours, theirs)]
    assert macs == [2, 1]


def test_packing_along_the_reduction_needs_a_long_reduction() -> None:
    base, burst = (machine("stimpack", mode=mode) for mode in ("base", "burst"))
    assert compute_cycles(burst, 128) == compute_cycles(base, 128)
    assert 2 * compute_cycles(burst, 1024) == compute_cycles(base, 1024)


def test_packing_along_columns_does_not() -> None:
    columns = machine("stimpack", mode="burst", packing="columns")
    assert 2 * compute_cycles(columns, 128) == compute_cycles(machine("stimpack"), 128)


@pytest.mark.parametrize(
    ("name", "config", "area_mm2", "buffer_kib", "gbytes_per_s"),
    [
        ("nvdla", "2048", 3.3, 512, 20),
        ("nvdla_large", "1024", 1.8, 256, 15),
        ("nvdla_small", "256", 1.0, 256, 5),
        ("nvdla_small", "64", 0.55, 128, 1),
        ("nvdla_small", "32", 0.51, 128, 0.5),
    ],
)
def test_nvdla_configurations(
    name: str, config: str, area_mm2: float, buffer_kib: int, gbytes_per_s: float
) -> None:
    built = machine(name, config=config)
    assert built.info.peak_macs_per_s == float(config) * 1e9
    assert built.info.area_mm2 == area_mm2
    buffer = next(m for m in built.spec.memories if m.name == "cbuf")
    assert buffer.capacity is not None
    assert buffer.capacity.integer == buffer_kib * 8192
    dram = built.spec.memories[-1]
    assert dram.bandwidth is not None
    assert dram.bandwidth.value == gbytes_per_s * 8e9


def test_gemmini_is_the_default_configuration() -> None:
    built = machine("gemmini")
    assert built.info.peak_macs_per_s == 256e9
    capacities = {m.name: m.capacity.integer // 8192 for m in built.spec.memories if m.capacity}
    assert capacities == {"accumulators": 64, "scratchpad": 256}


def test_the_comparison_machine_has_the_round_energies() -> None:
    spec = machine("ws32x32_int8").spec
    width = {"accumulator": 32, "buffer": 256, "dram": 128}
    joules = {m.name: (m.read_energy.value, m.write_energy.value) for m in spec.memories}
    per_access = {
        name: [round(width[name] * each * 1e12, 9) for each in both]
        for name, both in joules.items()
    }
    assert per_access == {"accumulator": [0.6, 0.6], "buffer": [200, 200], "dram": [2560, 2560]}
    assert spec.array.formats["int8"].mac_energy.value == 0.25e-12
    capacities = [m.capacity.integer for m in spec.memories if m.capacity and not m.off_chip]
    assert capacities == [32 * 1024 * 32, 2**23]
