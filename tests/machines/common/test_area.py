"""Area from constants, by hand, and the sizes of the shipped siblings of equal area."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from npubench.errors import MappingError
from npubench.machines.array.spec import ArraySpec, MemorySpec
from npubench.machines.common.area import (
    AREA_FACTORS,
    PE_WIDTHS,
    AreaSpec,
    array_area,
    array_leakage,
    node_area_factor,
    pe_area_mm2,
    square_of_equal_area,
)
from npubench.specs.catalog import find_spec


def areas(**more: object) -> AreaSpec:
    return AreaSpec.model_validate(
        {
            "pe": "117 um2",
            "sram": {"capacity": "1 MiB", "area": "0.5 mm2", "leakage": "14 mW"},
        }
        | more
    )


def test_published_pe_areas() -> None:
    square_microns = [round(pe_area_mm2(bits, 45) * 1e6) for bits in (2, 4, 8, 16)]
    assert square_microns == [125, 282, 688, 2203]
    assert pe_area_mm2(8, 14) == pytest.approx(688e-6 * 0.17)


def test_area_rises_with_width_and_falls_with_the_node() -> None:
    by_width = [pe_area_mm2(bits, 14) for bits in PE_WIDTHS]
    assert by_width == sorted(set(by_width))
    by_node = [pe_area_mm2(8, node) for node in AREA_FACTORS]
    assert by_node == sorted(set(by_node), reverse=True)


def test_scaling_there_and_back_is_the_identity() -> None:
    for old in AREA_FACTORS:
        for new in AREA_FACTORS:
            there = node_area_factor(old, new)
            assert there * node_area_factor(new, old) == pytest.approx(1.0, rel=1e-15)


def test_a_design_added_up_by_hand() -> None:
    # 64 x 64 PEs of 117 um2 are 0.479232 mm2; 4.5 MiB at 0.5 mm2 a MiB are 2.25 mm2.
    parts = array_area(areas(other="0.1 mm2"), 64 * 64, 4.5 * 2**23)
    assert (parts.pes, parts.sram, parts.other) == pytest.approx((0.479232, 2.25, 0.1))
    assert parts.total == pytest.approx(2.829232)
    assert array_area(areas(), 64 * 64, 4.5 * 2**23).total == pytest.approx(2.729232)


def test_leakage_added_up_by_hand() -> None:
    # 4096 x 1 uW + 4.5 x 14 mW.
    parts = array_leakage(areas(pe_leakage="1 uW"), 4096, 4.5 * 2**23)
    assert parts is not None
    assert (parts.pes, parts.sram) == pytest.approx((4.096e-3, 63e-3))
    assert parts.total == pytest.approx(67.096e-3)


def test_leakage_is_unknown_where_a_constant_is() -> None:
    assert array_leakage(areas(), 4096, 2**23) is None
    silent = {"capacity": "1 MiB", "area": "0.5 mm2"}
    assert array_leakage(areas(pe_leakage="1 uW", sram=silent), 4096, 2**23) is None


def test_equal_area_by_hand() -> None:
    # 10 mm2 less 1 mm2 of buffers hold 900 PEs of 0.01 mm2: 30 x 30, exactly.
    fit = square_of_equal_area(10.0, 0.01, 1.0)
    assert (fit.rows, fit.cols) == (30, 30)
    assert (fit.area_mm2, fit.deviation) == pytest.approx((10.0, 0.0))
    # PEs of 0.011 mm2: 818 fit, 28 x 28 = 784 of them are square.
    fit = square_of_equal_area(10.0, 0.011, 1.0)
    assert (fit.rows, fit.cols) == (28, 28)
    assert fit.area_mm2 == pytest.approx(1 + 784 * 0.011)
    assert fit.deviation == pytest.approx(-0.0376)
    # Twice as many columns as rows: 450 units of 1 x 2, 21 x 21 of them.
    fit = square_of_equal_area(10.0, 0.01, 1.0, aspect=(1, 2))
    assert (fit.rows, fit.cols) == (21, 42)


@given(
    budget=st.floats(1.0, 100.0),
    pe=st.floats(1e-5, 0.1),
    share=st.floats(0.0, 0.9),
    aspect=st.sampled_from([(1, 1), (1, 2), (3, 2)]),
)
def test_the_result_fits_and_the_next_larger_does_not(
    budget: float, pe: float, share: float, aspect: tuple[int, int]
) -> None:
    fixed = budget * share
    try:
        fit = square_of_equal_area(budget, pe, fixed, aspect=aspect, tolerance=1.0)
    except MappingError:
        assert fixed + aspect[0] * aspect[1] * pe > budget
        return
    assert fit.rows * aspect[1] == fit.cols * aspect[0]
    assert fit.area_mm2 <= budget * (1 + 1e-9)
    assert fixed + (fit.rows + aspect[0]) * (fit.cols + aspect[1]) * pe > budget


def test_what_cannot_be_sized_is_said() -> None:
    with pytest.raises(MappingError) as caught:
        square_of_equal_area(1.0, 0.5, 0.8)
    assert (
        str(caught.value) == "no array of 1 x 1 PEs fits: it takes 0.5 mm2, 0.2 of 1 mm2 are free"
    )
    with pytest.raises(MappingError) as caught:
        square_of_equal_area(10.0, 2.0, 3.0)
    assert str(caught.value) == (
        "the largest array that fits, 1 x 1 PEs, leaves 50.0% of 10 mm2 unused, more than 20%"
    )
    with pytest.raises(MappingError) as caught:
        pe_area_mm2(3, 14)
    assert str(caught.value) == "no PE area for 3 bits\n  known widths: 2, 4, 5, 6, 7, 8, 16"
    with pytest.raises(MappingError) as caught:
        pe_area_mm2(8, 12)
    assert str(caught.value) == (
        "no area factor for 12 nm\n  known nodes: 45, 32, 28, 22, 16, 14, 7 nm"
    )


def on_chip_bits(spec: ArraySpec) -> float:
    return sum(m.capacity.value for m in spec.memories if m.capacity and not m.off_chip)


def constants(memory: MemorySpec) -> tuple[str, list[float | None]]:
    """What the siblings of a memory share; the port to the array's columns follows their number."""
    given = (memory.capacity, memory.bandwidth, memory.read_energy, memory.write_energy)
    return memory.name, [None if constant is None else constant.value for constant in given]


def test_the_edge_siblings_are_the_largest_that_fit_the_area_of_edge8() -> None:
    base = find_spec("edge8").validate(ArraySpec)
    sram = array_area(areas(), 0, on_chip_bits(base)).total
    budget = sram + base.array.rows.integer * base.array.cols.integer * pe_area_mm2(8, 14)
    sides = {}
    for bits in (4, 5, 6, 7):
        spec = find_spec(f"edge{bits}").validate(ArraySpec)
        assert on_chip_bits(spec) == on_chip_bits(base)
        fit = square_of_equal_area(budget, pe_area_mm2(bits, 14), sram)
        assert (spec.array.rows.integer, spec.array.cols.integer) == (fit.rows, fit.cols)
        assert -0.005 < fit.deviation <= 0
        sides[bits] = fit.rows
    assert sides == {4: 99, 5: 88, 6: 81, 7: 71}


@pytest.mark.parametrize("bits", [4, 5, 6, 7, 8])
def test_static_power_of_the_edge_npus_is_that_of_their_parts(bits: int) -> None:
    spec = find_spec(f"edge{bits}").validate(ArraySpec)
    assert spec.areas is not None
    pes = spec.array.rows.integer * spec.array.cols.integer
    leakage = array_leakage(spec.areas, pes, on_chip_bits(spec))
    assert leakage is not None
    assert spec.static_power.value == pytest.approx(leakage.total, abs=0.05e-3)


def test_the_edge_siblings_differ_from_edge8_in_width_and_size_only() -> None:
    relative = {4: 0.40, 5: 0.50, 6: 0.60, 7: 0.81}
    base = find_spec("edge8").validate(ArraySpec)
    energy = base.array.formats["int8"].mac_energy.value
    for bits, factor in relative.items():
        spec = find_spec(f"edge{bits}").validate(ArraySpec)
        fmt = spec.array.formats[f"int{bits}"]
        assert fmt.mac_energy.value == pytest.approx(factor * energy)
        assert spec.vector_unit.lanes.value == base.vector_unit.lanes.value
        for ours, theirs in zip(spec.memories, base.memories, strict=True):
            assert constants(ours) == constants(theirs)
