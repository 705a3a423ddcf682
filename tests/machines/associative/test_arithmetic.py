"""Closed form = counts of the program = counts of the emulator, and results equal integers."""

from __future__ import annotations

from itertools import permutations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from npubench.errors import MappingError
from npubench.machines.associative.emulator import execute, measured_activity
from npubench.machines.associative.instructions import FULL_ADDER, FULL_SUBTRACTOR
from npubench.machines.associative.operations.arithmetic import (
    accumulate,
    add,
    add_out_of_place,
    multiply,
    multiply_accumulate,
    subtract,
    subtract_out_of_place,
)
from npubench.machines.associative.program import Program
from tests.depth import examples
from tests.machines.associative.operands import both, word

PAIRS = list(product(range(1, 17), repeat=2))
SIGNS = list(product((False, True), repeat=2))
# Counts are compared at every pair of widths; programs are executed at every n-th.
EXECUTED = pytest.mark.parametrize("every", [3, pytest.param(1, marks=pytest.mark.slow)])


def proven(
    program: Program, operands: dict[str, np.ndarray], output: str, cycles: int
) -> np.ndarray:
    """The program's result, after the three counts were found equal."""
    assert program.counts.cycles == cycles, program.name
    results, events = execute(program, operands)
    assert events.cycles == cycles, program.name
    assert events.compares == program.counts.compares
    assert events.writes == program.counts.writes
    segments = results[output].shape[1]
    assert events.compared_cells == program.counts.compared_cells * segments
    assert events.total_cycles == program.total_cycles
    return results[output][0]


def adder_cycles(a: int, b: int, signed: bool) -> int:
    wide, narrow = max(a, b), min(a, b)
    if signed:
        return 8 * (wide + 1) + 3
    return 8 * narrow + 4 * (wide - narrow)


@pytest.mark.parametrize("signed", [False, True])
def test_addition_and_subtraction_at_all_width_pairs(signed: bool) -> None:
    for a, b in PAIRS:
        x, y = both(a, b, signed, signed)
        operands, cycles = {"a": x, "b": y}, adder_cycles(a, b, signed)
        total = proven(add(a, b, signed=signed), operands, "b", cycles)
        np.testing.assert_array_equal(total, x + y, err_msg=f"{a} + {b}")
        rest = proven(subtract(a, b, signed=signed), operands, "b", cycles)
        np.testing.assert_array_equal(rest, y - x, err_msg=f"{b} - {a}")


def test_out_of_place_forms_at_all_width_pairs() -> None:
    for a, b in PAIRS:
        x, y = both(a, b)
        operands, cycles = {"a": x, "b": y}, 10 * min(a, b) + 4 * abs(a - b)
        total = proven(add_out_of_place(a, b), operands, "r", cycles)
        np.testing.assert_array_equal(total, x + y, err_msg=f"{a} + {b}")
        cycles += 2 * max(b - a, 0)  # a minuend bit alone takes three passes, not two
        rest = proven(subtract_out_of_place(a, b), operands, "r", cycles)
        np.testing.assert_array_equal(rest, y - x, err_msg=f"{b} - {a}")


@EXECUTED
@pytest.mark.parametrize(("a_signed", "b_signed"), SIGNS)
def test_multiplication_at_all_width_pairs(a_signed: bool, b_signed: bool, every: int) -> None:
    for a, b in PAIRS:
        program = multiply(a, b, a_signed=a_signed, b_signed=b_signed)
        cycles = 8 * a * b + (11 if a_signed and b_signed else 0)
        assert program.counts.cycles == cycles, program.name
        assert program.width == 2 * (a + b) + (a_signed and b_signed)
        if (a + b) % every:
            continue
        x, y = both(a, b, a_signed, b_signed)
        result = proven(program, {"a": x, "b": y}, "p", cycles)
        np.testing.assert_array_equal(result, x * y, err_msg=program.name)


@EXECUTED
@pytest.mark.parametrize(("a_signed", "b_signed"), SIGNS)
def test_multiply_accumulate_at_all_width_pairs(a_signed: bool, b_signed: bool, every: int) -> None:
    for a, b in PAIRS:
        x, y = both(a, b, a_signed, b_signed)
        product_bits, total_bits = a + b, a + b + 3
        signed = a_signed or b_signed
        acc = word(total_bits, signed) // 8 * 7  # headroom for one more product
        program = multiply_accumulate(a, b, total_bits, a_signed=a_signed, b_signed=b_signed)
        cycles = 8 * a * b + (11 if a_signed and b_signed else 0)
        cycles += 8 * total_bits + 1 if signed else 8 * product_bits + 4 * 3
        assert program.counts.cycles == cycles, program.name
        if (a + b) % every:
            continue
        result = proven(program, {"a": x, "b": y, "acc": acc}, "acc", cycles)
        np.testing.assert_array_equal(result, acc + x * y, err_msg=program.name)


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
def test_totals_of_the_literature_with_loading_and_reading(bits: int) -> None:
    assert add(bits, bits).counts.cycles == 8 * bits
    assert add(bits, bits).total_cycles == 2 * bits + 8 * bits + bits + 1 == 11 * bits + 1
    assert add_out_of_place(bits, bits).counts.cycles == 10 * bits
    assert multiply(bits, bits).counts.cycles == 8 * bits**2
    assert multiply(bits, bits).total_cycles == 8 * bits**2 + 4 * bits
    assert multiply(bits, bits).width == 4 * bits


@pytest.mark.parametrize(
    ("table", "value"),
    [
        (FULL_ADDER, lambda a, b, c: a + b + c),
        (FULL_SUBTRACTOR, lambda a, b, c: b - a - c),
    ],
)
def test_six_of_the_orders_of_each_table_are_valid(table, value) -> None:
    valid = []
    for order in permutations(range(4)):
        right = True
        for a, b, c in product((0, 1), repeat=3):
            state_b, state_c = b, c
            for row in (table[place] for place in order):
                if (row.a, row.b, row.c) == (a, state_b, state_c):
                    state_b = state_b if row.write_b is None else row.write_b
                    state_c = state_c if row.write_c is None else row.write_c
            expected = value(a, b, c)
            right &= state_b == expected % 2 and state_c == int(expected // 2 != 0)
        if right:
            valid.append(order)
    assert len(valid) == 6
    assert (0, 1, 2, 3) in valid


def test_cells_compared_and_flipped_are_those_of_the_reference() -> None:
    assert add(8, 8).counts.compared_cells == 12 * 8
    assert add(8, 8).counts.flipped_cells == 0.75 * 8
    assert measured_activity(add(16, 16)).flipped_cells == pytest.approx(0.75 * 16, rel=0.03)
    assert multiply(8, 8).counts.compared_cells == 14 * 64 == 896
    for bits, flips in ((1, 0.25), (4, 0.28), (8, 0.32), (16, 0.35)):
        measured = measured_activity(multiply(bits, bits)).flipped_cells / bits**2
        assert measured == pytest.approx(flips, rel=0.03, abs=0.005)
    mac = multiply_accumulate(8, 8, 16)
    assert mac.counts.compared_cells == 896 + 192


def test_every_adder_write_is_a_flip() -> None:
    activity = measured_activity(multiply(8, 8))
    assert activity.written_cells == activity.flipped_cells


@given(
    a_bits=st.integers(1, 16),
    b_bits=st.integers(1, 16),
    signs=st.sampled_from(SIGNS),
    data=st.data(),
)
@settings(max_examples=examples(60), deadline=None)
def test_any_two_numbers_multiply(a_bits: int, b_bits: int, signs, data) -> None:
    def number(bits: int, signed: bool) -> int:
        low = -(1 << (bits - 1)) if signed else 0
        return data.draw(st.integers(low, low + (1 << bits) - 1))

    x, y = number(a_bits, signs[0]), number(b_bits, signs[1])
    program = multiply(a_bits, b_bits, a_signed=signs[0], b_signed=signs[1])
    result, _ = execute(program, {"a": np.array([x]), "b": np.array([y])})
    assert result["p"].tolist() == [[x * y]]


def test_exhaustive_four_bit_products_of_all_signs() -> None:
    for signs in SIGNS:
        lows = [-8 if signed else 0 for signed in signs]
        x, y = (grid.ravel() for grid in np.mgrid[lows[0] : lows[0] + 16, lows[1] : lows[1] + 16])
        result, _ = execute(multiply(4, 4, a_signed=signs[0], b_signed=signs[1]), {"a": x, "b": y})
        np.testing.assert_array_equal(result["p"][0], x * y)


def test_cycles_rise_with_either_width() -> None:
    for bits in range(1, 16):
        assert multiply(bits, 8).counts.cycles < multiply(bits + 1, 8).counts.cycles
        assert multiply(8, bits).counts.cycles < multiply(8, bits + 1).counts.cycles
        assert add(bits, bits).counts.cycles < add(bits + 1, bits + 1).counts.cycles


def test_accumulation_repeats_without_clearing_anything() -> None:
    program = accumulate(4, 8, signed=True)
    total = np.zeros((1, 64), dtype=np.int64)
    for step in range(8):
        term = np.roll(np.arange(64) % 16 - 8, step)
        expected = total[0] + term
        result, _ = execute(program, {"a": term, "acc": total})
        total = result["acc"]
        np.testing.assert_array_equal(total[0], expected)


def test_a_width_without_a_program_is_refused() -> None:
    with pytest.raises(MappingError) as caught:
        multiply_accumulate(17, 8, 32)
    assert str(caught.value) == (
        "associative processor: operand a is 17 bits wide, expected 1 to 16"
    )
    with pytest.raises(MappingError) as caught:
        multiply_accumulate(8, 8, 15)
    assert str(caught.value) == (
        "associative processor: accumulator is 15 bits wide, expected 16 to 48"
    )
