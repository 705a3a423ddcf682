"""The study of microprograms shows no difference anywhere, and nothing it could not have shown."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from npubench.errors import OptionError
from npubench.machines.associative.operations.arithmetic import multiply
from npubench.machines.associative.program import Program
from npubench.machines.associative.proof import OPERATIONS, TABLES, prove, random_operands
from npubench.study.studies.registry import run_study


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param({"pairs": "some", "operands": "64"}, id="some"),
        pytest.param({"pairs": "all", "operands": "256"}, id="all", marks=pytest.mark.slow),
    ],
)
def test_three_counts_agree_and_no_result_is_wrong(settings: dict[str, str]) -> None:
    result = run_study("ap_programs", settings, seed=3)
    for key, operations in (("programs", OPERATIONS), ("tables", TABLES)):
        section = result.section(key)
        assert section.column("operation") == tuple(one.name for one in operations)
        assert set(section.column("differing")) == {0}
        assert set(section.column("wrong")) == {0}
        assert min(section.column("operands")) >= 4 * int(settings["operands"])
        counts = ("closed_form", "program", "emulator")
        assert len({section.column(name) for name in counts}) == 1
    for claim in result.section("events").claims:
        assert claim.ours == pytest.approx(claim.published, rel=0.03)


def test_reductions_have_the_reference_s_literature_and_tree_columns() -> None:
    section = run_study("ap_programs", {"operands": "4"}).section("reductions")
    rows = [row for row in section.rows if row[0] == "8 x 8"]
    assert [row[1] for row in rows] == [16, 64, 576, 4608]
    assert [row[2] for row in rows] == [580, 598, 634, 661]
    assert [row[5] for row in rows] == [1248, 1660, 2604, 3417]


def test_a_wrong_formula_or_a_wrong_program_would_be_seen() -> None:
    times = next(one for one in OPERATIONS if one.name == "multiply u x u")
    assert prove(times, 5, 3, 64).holds
    assert not prove(replace(times, cycles=lambda a, b: 8 * a * b + 1), 5, 3, 64).holds
    taken_for_signed = prove(replace(times, make=_signed), 5, 3, 64)
    assert taken_for_signed.wrong == 0  # right, since its operands are signed too
    assert not taken_for_signed.holds
    found = prove(replace(times, meaning=lambda x: x["a"] + x["b"]), 5, 3, 64)
    assert found.wrong > 32


def _signed(a: int, b: int) -> Program:
    return multiply(a, b, a_signed=True, b_signed=True)


def test_operands_hold_every_pair_of_extremes() -> None:
    operands = random_operands(multiply(3, 5, b_signed=True), 16, 0)
    pairs = set(zip(operands["a"].tolist(), operands["b"].tolist(), strict=True))
    assert pairs >= {(0, -16), (0, 15), (7, -16), (7, 15)}
    assert np.ptp(operands["a"]) == 7


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("pairs", "each", "--set pairs: expected 'some' or 'all'"),
        ("operands", "3", "--set operands: expected a whole number from 4 to 1048576"),
        ("operands", "x", "--set operands: expected a whole number from 4 to 1048576"),
    ],
)
def test_settings_are_checked(name: str, value: str, message: str) -> None:
    with pytest.raises(OptionError) as caught:
        run_study("ap_programs", {name: value})
    assert str(caught.value) == message
