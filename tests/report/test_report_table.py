"""Columns: units, digits, and what happens where a value is missing."""

from __future__ import annotations

import pytest

from npubench.report.table import Table, count, fixed, label, number, quantity, ratio, share


def test_one_prefix_for_a_column_chosen_from_its_median() -> None:
    column = quantity("latency_s", "Latency", "s", [1.234e-3, 5e-3, 0.9, None, 0.0])
    assert column.unit == "ms"
    assert [column.format(v) for v in (1.234e-3, 5e-3, 0.9, None, 0.0)] == [
        *("1.23", "5.00", "900", "-", "0")
    ]


def test_products_take_a_prefix_and_areas_do_not() -> None:
    assert quantity("edp_js", "EDP", "J*s", [8.4e-6]).unit == "uJ*s"
    area = quantity("area_mm2", "Area", "mm2", [4000.0])
    assert (area.unit, area.format(4000.0)) == ("mm2", "4000")


def test_counts_show_the_prefix_alone() -> None:
    column = count("macs", "MACs", [4_089_184_256])
    assert (column.unit, column.format(4_089_184_256)) == ("G", "4.09")


def test_shares_fixed_and_plain_numbers() -> None:
    assert [share("s", "S").format(v) for v in (0.5, 0.0, 1e-5, -1e-5, 1.0, None)] == [
        *("50.0", "0.0", "<0.1", ">-0.1", "100.0", "-")
    ]
    assert fixed("cycles", "Cycles", 0).format(1234567) == "1,234,567"
    assert [ratio("edp_ratio", "EDP").format(v) for v in (1.0, 0.0065, 1839.6, None)] == [
        *("1.00", "0.00650", "1840", "-")
    ]
    assert number("node_nm", "Node").format(7.0) == "7"


def test_a_row_of_the_wrong_length_is_a_mistake() -> None:
    with pytest.raises(ValueError, match=r"2 columns, but a row of 1: \('x',\)"):
        Table("", (label("a", "A"), label("b", "B")), (("x",),))
