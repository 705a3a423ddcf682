"""Constants of the shipped array specs against the figures of their sources, written down again.

A row is (path, value, unit, origin). Values that follow from published ones are left as the
arithmetic that leads to them, compared to the digits that a spec gives. Origins: a spec never
claims to be surer of a figure than whoever read the source was.
"""

from __future__ import annotations

import math
from functools import cache

import pytest

from npubench.machines.array.spec import ArraySpec
from npubench.specs.catalog import find_spec
from npubench.specs.header import apply_knobs, read_header
from npubench.specs.quantity import Quantity, walk_quantities

Row = tuple[str, float, str, str]

UNITS = {
    "": 1.0,
    "GHz": 1e9,
    "MHz": 1e6,
    "W": 1.0,
    "mW": 1e-3,
    "uW": 1e-6,
    "mm2": 1.0,
    "um2": 1e-6,
    "pJ": 1e-12,
    "pJ/bit": 1e-12,
    "KiB": 8.0 * 1024,
    "MiB": 8.0 * 2**20,
    "kB": 8e3,
    "B": 8.0,
    "GB/s": 8e9,
    "MB/s": 8e6,
    "bit/cycle": 1.0,
    "nm": 1e-9,
}
SURENESS = ("published", "secondary", "recalled", "derived", "assumed")

# Horowitz, ISSCC 2014 (45 nm) and Jouppi et al., ISCA 2021, Table 2 (7 nm), pJ an operation.
ADD8_45, MULTIPLY8_45, ADD32_45 = 0.03, 0.2, 0.1
ADD32_7, MULTIPLY8_7, MULTIPLY_BF16_7, ADD_FP32_7, MULTIPLY_FP32_7 = 0.03, 0.07, 0.21, 0.38, 1.31
MAC8_45 = MULTIPLY8_45 + ADD32_45
# Stillmaker and Baas, Integration 58, 2017, both at 0.8 V: energy and area from 45 nm.
ENERGY = {28: 0.51, 22: 0.29, 16: 0.17, 14: 0.14, 7: 0.094}
AREA = {22: 0.25, 16: 0.19, 14: 0.17, 7: 0.059}
# CACTI 7: pJ of one read of so many KB and bits, at 45 and 22 nm (high performance cells).
CACTI_45 = {(256, 256): 86.7, (1024, 256): 180.0}
CACTI_22 = {(32, 256): 6.6, (256, 64): 9.9, (256, 256): 25.4, (1024, 256): 54.6}
# Aladdin, 40 nm: pJ a register bit.
REGISTER_40 = 0.009
# Sharma et al., ISCA 2018, 45 nm: um2 and pJ of a PE by bits; relative to 8 bits by gate count.
BITFUSION_AREA, BITFUSION_PJ = {8: 688.0}, {16: 0.947}
NARROW = {4: (0.41, 0.40), 5: (0.52, 0.50), 6: (0.62, 0.60), 7: (0.80, 0.81)}  # area, energy
LEAKAGE_UW = {4: 7.8, 8: 23.0}  # of a PE at 45 nm
DEPTH = {4: 0.70, 5: 0.83, 6: 0.87, 7: 0.90}  # logic depth, relative to 8 bits

TPUV4I: tuple[Row, ...] = (  # Jouppi et al., ISCA 2021
    ("node", 7, "nm", "secondary"),
    ("clock", 1.05, "GHz", "secondary"),
    ("static_power", 55, "W", "recalled"),
    ("area", 400, "mm2", "secondary"),
    ("array.rows", 128, "", "secondary"),
    ("array.cols", 128, "", "secondary"),
    ("array.count", 4, "", "secondary"),
    ("array.register_energy", REGISTER_40 * 0.35, "pJ/bit", "derived"),
    ("array.formats.bf16.mac_energy", MULTIPLY_BF16_7 + ADD_FP32_7, "pJ", "derived"),
    ("array.formats.int8.mac_energy", MULTIPLY8_7 + ADD32_7, "pJ", "derived"),
    ("memories.accumulators.read_energy", 8.5 / 64, "pJ/bit", "recalled"),
    ("memories.vmem.capacity", 144 - 128, "MiB", "derived"),
    ("memories.vmem.read_energy", 14 / 64, "pJ/bit", "recalled"),
    ("memories.cmem.capacity", 128, "MiB", "secondary"),
    ("memories.cmem.read_energy", 14 / 64 + 0.3, "pJ/bit", "assumed"),
    ("memories.hbm.capacity", 8 * 1024, "MiB", "recalled"),
    ("memories.hbm.bandwidth", 614, "GB/s", "secondary"),
    ("memories.hbm.read_energy", 3.9, "pJ/bit", "secondary"),
    ("vector_unit.alu_energy", (ADD_FP32_7 + MULTIPLY_FP32_7) / 2, "pJ", "derived"),
)
STIMPACK: tuple[Row, ...] = (  # Kal et al., JSA 2023, on TPUv4i
    *TPUV4I,
    ("array.formats.int8.macs_per_pe", 2, "", "published"),
    ("added_areas.convertible_core", 740e-6 * AREA[7] * 4 * 128 * 128, "mm2", "derived"),
    ("quantization_unit.lanes", 8192 / (16 + 8), "", "assumed"),
    ("quantization_unit.energy", MULTIPLY_BF16_7 + ADD32_7, "pJ", "derived"),
    ("quantization_unit.area", 342 * (1640 + 137) * 1e-6 * AREA[7], "mm2", "derived"),
)
TPUV1: tuple[Row, ...] = (  # Jouppi et al., ISCA 2017
    ("node", 28, "nm", "published"),
    ("clock", 0.7, "GHz", "published"),
    ("static_power", 28, "W", "published"),
    ("array.rows", 256, "", "published"),
    ("array.cols", 256, "", "published"),
    ("array.register_energy", REGISTER_40 * ENERGY[28], "pJ/bit", "derived"),
    ("array.formats.int8.mac_energy", MAC8_45 * ENERGY[28], "pJ", "derived"),
    (
        "memories.weight_fifo.read_energy",
        CACTI_45[256, 256] / 256 * ENERGY[28],
        "pJ/bit",
        "derived",
    ),
    ("memories.accumulators.capacity", 4, "MiB", "published"),
    (
        "memories.accumulators.read_energy",
        CACTI_45[1024, 256] / 256 * ENERGY[28],
        "pJ/bit",
        "derived",
    ),
    ("memories.unified_buffer.capacity", 24, "MiB", "published"),
    (
        "memories.unified_buffer.read_energy",
        (CACTI_45[1024, 256] / 256 + 0.6) * ENERGY[28],
        "pJ/bit",
        "derived",
    ),
    ("memories.ddr3.bandwidth", 34, "GB/s", "published"),
    ("memories.ddr3.read_energy", 1300 / 64, "pJ/bit", "recalled"),
    ("vector_unit.alu_energy", ADD32_45 * ENERGY[28], "pJ", "derived"),
)
EYERISS_MAC = BITFUSION_PJ[16] * 65 / 45 * (1.0 / 0.9) ** 2
EYERISS: tuple[Row, ...] = (  # Chen et al., JSSC 2017; relative energies of ISCA 2016
    ("node", 65, "nm", "published"),
    ("clock", 200, "MHz", "published"),
    ("array.rows", 12, "", "published"),
    ("array.cols", 14, "", "published"),
    ("array.registers.weight", 224, "B", "published"),
    ("array.registers.input", 24, "B", "published"),
    ("array.registers.output", 48, "B", "published"),
    ("array.formats.int16.mac_energy", EYERISS_MAC, "pJ", "derived"),
    ("array.registers.energy", EYERISS_MAC / 16, "pJ/bit", "derived"),
    ("array.registers.hop_energy", 2 * EYERISS_MAC / 16, "pJ/bit", "derived"),
    ("memories.buffer.capacity", 108, "kB", "published"),
    ("memories.buffer.read_energy", 6 * EYERISS_MAC / 16, "pJ/bit", "derived"),
    ("memories.dram.read_energy", 200 * EYERISS_MAC / 16, "pJ/bit", "derived"),
    ("memories.dram.bandwidth", 60 * 64 / 8, "MB/s", "recalled"),
)
GEMMINI: tuple[Row, ...] = (  # Genc et al., DAC 2021; default configuration of the generator
    ("clock", 1, "GHz", "recalled"),
    ("array.rows", 16, "", "published"),
    ("array.cols", 16, "", "published"),
    ("array.formats.int8.mac_energy", MAC8_45 * ENERGY[22], "pJ", "derived"),
    ("memories.accumulators.capacity", 64, "KiB", "published"),
    (
        "memories.accumulators.read_energy",
        0.52 * 64**0.53 * (512 / 64) ** 0.68 / 512,
        "pJ/bit",
        "derived",
    ),
    ("memories.scratchpad.capacity", 256, "KiB", "published"),
    ("memories.dram.read_energy", 1300 / 64, "pJ/bit", "recalled"),
    ("vector_unit.alu_energy", ADD32_45 * ENERGY[22], "pJ", "derived"),
)


def nvdla(buffer_kb: float, gb_per_s: float, area_mm2: float, average_mw: float) -> tuple[Row, ...]:
    """A row of the NVDLA Primer's table at 16 nm, and what all of them share."""
    return (
        ("memories.cbuf.capacity", buffer_kb, "KiB", "published"),
        ("memories.dram.bandwidth", gb_per_s, "GB/s", "published"),
        ("area", area_mm2, "mm2", "published"),
        ("static_power", average_mw / 10, "mW", "assumed"),
        ("clock", 1, "GHz", "published"),
        ("array.formats.int8.mac_energy", MAC8_45 * ENERGY[16], "pJ", "derived"),
        ("array.registers.energy", REGISTER_40 * ENERGY[16], "pJ/bit", "derived"),
        (
            "memories.cbuf.read_energy",
            CACTI_22[256, 256] / 256 * ENERGY[16] / ENERGY[22],
            "pJ/bit",
            "derived",
        ),
        ("memories.dram.read_energy", 8, "pJ/bit", "secondary"),
    )


def edge(bits: int) -> tuple[Row, ...]:
    """The edge NPU of a width: PEs as the area of 64 x 64 8-bit ones allows."""
    area, energy = NARROW.get(bits, (1.0, 1.0))
    side = math.floor(math.sqrt(64 * 64 / area))
    return (
        ("array.rows", side, "", "derived"),
        ("array.cols", side, "", "derived"),
        ("areas.pe", BITFUSION_AREA[8] * AREA[14] * area, "um2", "derived"),
        ("areas.pe_leakage", LEAKAGE_UW.get(bits, 23.0 * area) * AREA[14], "uW", "assumed"),
        ("areas.sram.leakage", 0.014 * 1024, "mW", "derived"),
        (f"array.formats.int{bits}.mac_energy", 0.12 * energy, "pJ", "assumed"),
        ("memories.accumulators.port_width", 32 * side, "bit/cycle", "derived"),
        ("memories.buffer.read_energy", CACTI_22[1024, 256] / 256, "pJ/bit", "derived"),
        ("memories.lpddr4.read_energy", 8, "pJ/bit", "secondary"),
    )


SPECS: dict[str, tuple[Row, ...]] = {
    "tpuv4i": (*TPUV4I, ("array.formats.int8.macs_per_pe", 1, "", "recalled")),
    "stimpack": STIMPACK,
    "tpuv1": TPUV1,
    "eyeriss": EYERISS,
    "gemmini": GEMMINI,
    "nvdla_large": nvdla(512, 20, 3.3, 291),
    "nvdla_large:config=1024": nvdla(256, 15, 1.8, 143),
    "nvdla_small:config=256": nvdla(256, 5, 1.0, 48),
    "nvdla_small": nvdla(128, 1, 0.55, 21),
    "nvdla_small:config=32": nvdla(128, 0.5, 0.51, 17),
    **{f"edge{bits}": edge(bits) for bits in (4, 5, 6, 7, 8)},
}
# A figure with fewer digits than its arithmetic: (spec, path) to the relative rounding it shows.
ROUNDED = {
    ("tpuv4i", "array.register_energy"): 0.05,  # 3.15 given as 3
    ("stimpack", "array.register_energy"): 0.05,
    ("stimpack", "quantization_unit.lanes"): 0.003,  # whole lanes, so that the port decides
    ("gemmini", "vector_unit.alu_energy"): 0.04,  # 0.029 given as 0.03
    ("edge", "memories.buffer.read_energy"): 0.07,  # 0.213 given as 0.2
}


@cache
def spec_of(text: str) -> ArraySpec:
    name, _, config = text.partition(":")
    knobs = dict([config.split("=")]) if config else {}
    return apply_knobs(find_spec(name), knobs).validate(ArraySpec)


@cache
def quantities(text: str) -> dict[str, Quantity]:
    return dict(walk_quantities(spec_of(text)))


@pytest.mark.parametrize("name", SPECS)
def test_constants_are_those_of_their_sources(name: str) -> None:
    found = quantities(name)
    wrong = []
    for path, value, unit, origin in SPECS[name]:
        quantity = found[path]
        family = "edge" if name.startswith("edge") else name
        shown = 0.025 if origin in ("derived", "recalled", "assumed") else 1e-9
        tolerance = ROUNDED.get((family, path), shown)
        if not math.isclose(quantity.value, value * UNITS[unit], rel_tol=tolerance):
            wrong.append(f"{path}: {quantity}, {value:.6g} {unit} by the source")
        if SURENESS.index(quantity.confidence) < SURENESS.index(origin):
            wrong.append(f"{path}: claims to be {quantity.confidence}, is {origin}")
    assert not wrong


@pytest.mark.parametrize("name", SPECS)
def test_a_figure_that_is_not_assumed_names_its_source(name: str) -> None:
    for path, quantity in quantities(name).items():
        assert quantity.source or quantity.confidence == "assumed", path


@pytest.mark.parametrize(
    ("name", "macs"),
    [("nvdla_large", 2048), ("nvdla_large:config=1024", 1024), ("nvdla_small:config=256", 256),
     ("nvdla_small", 64), ("nvdla_small:config=32", 32), ("tpuv1", 65536), ("edge8", 4096),
     ("eyeriss", 168), ("gemmini", 256)],
)  # fmt: skip
def test_macs_a_cycle(name: str, macs: int) -> None:
    array = spec_of(name).array
    assert array.rows.integer * array.cols.integer * array.count.integer == macs


@pytest.mark.parametrize("bits", sorted(NARROW))
def test_a_narrow_edge_npu_has_the_area_of_the_wide_one_and_its_own_clock_range(bits: int) -> None:
    areas, capacities = [], []
    for name in (f"edge{bits}", "edge8"):
        spec = spec_of(name)
        pes = spec.array.rows.integer * spec.array.cols.integer
        areas.append(pes * quantities(name)["areas.pe"].value)
        capacities.append([memory.capacity_bits for memory in spec.memories])
    assert 0.97 * areas[1] < areas[0] <= areas[1] * 1.001  # the largest square that fits
    assert capacities[0] == capacities[1]
    clock = read_header(find_spec(f"edge{bits}")).knobs["clock"]
    assert clock.range == f"0.2..{math.floor(120 / DEPTH[bits]) / 100:g} GHz"


def test_power_at_peak_is_below_the_tdp() -> None:
    """TPUv4i: 41 W of arithmetic in BF16 and 7 W in INT8, at most 34 W of HBM, of 175 W."""
    spec = spec_of("tpuv4i")
    rate = 4 * 128 * 128 * spec.clock.value
    arithmetic = {n: rate * f.mac_energy.value for n, f in spec.array.formats.items()}
    assert arithmetic == pytest.approx({"bf16": 40.6, "int8": 6.9}, abs=0.1)
    hbm = spec.memories[-1]
    assert hbm.bandwidth is not None
    assert hbm.bandwidth.value * hbm.read_energy.value == pytest.approx(19, abs=0.5)
    assert arithmetic["bf16"] + 34 < 175


@pytest.mark.parametrize("name", ["tpuv4i", "stimpack", "tpuv1", "edge8", "gemmini", "eyeriss"])
def test_energy_a_bit_rises_outwards(name: str) -> None:
    reads = [memory.read_energy.value for memory in spec_of(name).memories]
    assert reads == sorted(reads)
