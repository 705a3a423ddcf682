"""Mixed signs, constants, means and choices: closed form = program = emulator = integers."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from npubench.errors import MappingError
from npubench.machines.associative.emulator import execute
from npubench.machines.associative.operations.constants import (
    add_constant,
    clip_to,
    multiply_constant,
)
from npubench.machines.associative.operations.mixed import (
    add_mixed,
    add_mixed_out_of_place,
    mixed_bits,
    multiply_in_place,
    subtract_mixed,
    subtract_mixed_out_of_place,
)
from npubench.machines.associative.operations.pooling import mean_pool, reciprocal
from npubench.machines.associative.operations.signs import absolute, min_of_two, negate, select
from tests.depth import examples
from tests.machines.associative.operands import both, limits, word
from tests.machines.associative.test_arithmetic import PAIRS, proven

SAMPLE = [(1, 1), (1, 16), (16, 1), (2, 3), (3, 2), (4, 8), (8, 4), (7, 7), (8, 8), (16, 16)]
WIDTHS = pytest.mark.parametrize(
    "pairs",
    [pytest.param(SAMPLE, id="some"), pytest.param(PAIRS, id="all", marks=pytest.mark.slow)],
)
MIXED = pytest.mark.parametrize(("a_signed", "b_signed"), [(False, True), (True, False)])
Pairs = list[tuple[int, int]]


def width_of(a: int, b: int, a_signed: bool, b_signed: bool) -> int:
    """Width of a result, which holds every sum and difference; at most one bit is to spare."""
    corners = [
        y + sign * x for x in limits(a, a_signed) for y in limits(b, b_signed) for sign in (1, -1)
    ]
    needed = max((value if value >= 0 else ~value).bit_length() for value in corners) + 1
    bits = mixed_bits(a, b, a_signed=a_signed, b_signed=b_signed)
    assert needed <= bits <= needed + (b_signed and b == 1)
    return bits


@WIDTHS
@MIXED
def test_in_place_with_one_signed_operand(pairs: Pairs, a_signed: bool, b_signed: bool) -> None:
    for a, b in pairs:
        x, y = both(a, b, a_signed, b_signed)
        bits = width_of(a, b, a_signed, b_signed)
        narrow, extending = (b, 0) if a_signed else (a, 2)
        cycles = 8 * narrow + 4 * (bits - narrow) + 1 + extending
        signs = {"a_signed": a_signed, "b_signed": b_signed}
        total = proven(add_mixed(a, b, **signs), {"a": x, "b": y}, "b", cycles)
        np.testing.assert_array_equal(total, x + y, err_msg=f"{a} + {b}")
        rest = proven(subtract_mixed(a, b, **signs), {"a": x, "b": y}, "b", cycles)
        np.testing.assert_array_equal(rest, y - x, err_msg=f"{b} - {a}")


@WIDTHS
@pytest.mark.parametrize(("a_signed", "b_signed"), [(False, True), (True, False), (True, True)])
def test_out_of_place_with_signed_operands(pairs: Pairs, a_signed: bool, b_signed: bool) -> None:
    for a, b in pairs:
        x, y = both(a, b, a_signed, b_signed)
        bits = width_of(a, b, a_signed, b_signed)
        plain = [width for width, signed in ((a, a_signed), (b, b_signed)) if not signed]
        narrow = plain[0] if plain else bits
        cycles = 10 * narrow + 4 * (bits - narrow) + 1
        signs = {"a_signed": a_signed, "b_signed": b_signed}
        total = proven(add_mixed_out_of_place(a, b, **signs), {"a": x, "b": y}, "r", cycles)
        np.testing.assert_array_equal(total, x + y, err_msg=f"{a} + {b}")
        # above an unsigned subtrahend, the minuend's bits take three passes each
        cycles += 0 if a_signed else 2 * (bits - a)
        rest = proven(subtract_mixed_out_of_place(a, b, **signs), {"a": x, "b": y}, "r", cycles)
        np.testing.assert_array_equal(rest, y - x, err_msg=f"{b} - {a}")


@pytest.mark.parametrize("signed", [False, True])
def test_equal_signs_are_the_programs_of_arithmetic(signed: bool) -> None:
    x, y = both(5, 7, signed, signed)
    for make, expected in ((add_mixed, x + y), (subtract_mixed, y - x)):
        result, _ = execute(make(5, 7, a_signed=signed, b_signed=signed), {"a": x, "b": y})
        np.testing.assert_array_equal(result["b"][0], expected)
    for make, expected in (
        (add_mixed_out_of_place, x + y),
        (subtract_mixed_out_of_place, y - x),
    ):
        result, _ = execute(make(5, 7, a_signed=signed, b_signed=signed), {"a": x, "b": y})
        np.testing.assert_array_equal(result["r"][0], expected)


@WIDTHS
@pytest.mark.parametrize("b_signed", [False, True])
def test_products_in_place(pairs: Pairs, b_signed: bool) -> None:
    for a, b in pairs:
        x, y = both(a, b, b_signed=b_signed)
        program = multiply_in_place(a, b, b_signed=b_signed)
        result = proven(program, {"a": x, "b": y}, "p", 8 * a * b + 3 * b - 1)
        np.testing.assert_array_equal(result, x * y, err_msg=program.name)
        assert program.width == 2 * a + b + 1


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("bits", [1, 2, 5, 8])
def test_a_constant_is_added_modulo_the_width(bits: int, signed: bool) -> None:
    x = word(bits, signed)
    low, _ = limits(bits, signed)
    for value in range(-(1 << bits) + 1, 1 << bits, 1 if bits < 8 else 7):
        place = (value & -value).bit_length() - 1 if value else bits
        program = add_constant(bits, value, signed=signed)
        result = proven(program, {"b": x}, "b", 4 * (bits - place) + 1)
        np.testing.assert_array_equal(result, (x + value - low) % (1 << bits) + low)


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("bits", [1, 2, 5, 16])
def test_a_constant_multiplies(bits: int, signed: bool) -> None:
    x = word(bits, signed)
    for value in (*range(1, 18), 96, 255, 256, 40503):
        place = (value & -value).bit_length() - 1
        cycles = 4 * bits * (value.bit_length() - place)
        result = proven(multiply_constant(bits, value, signed=signed), {"a": x}, "p", cycles)
        np.testing.assert_array_equal(result, x * value)


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("bits", [2, 3, 6, 8])
def test_the_smaller_of_a_word_and_a_constant(bits: int, signed: bool) -> None:
    low, top = limits(bits, signed)
    x = np.arange(low, top + 1)
    for high in range(0, top + 1, 1 if bits < 8 else 9):
        cycles = 2 * bits + 2
        result = proven(clip_to(bits, high, signed=signed), {"a": x}, "a", cycles)
        np.testing.assert_array_equal(result, np.minimum(x, high))


@pytest.mark.parametrize("bits", range(1, 17))
def test_signs_and_choices_at_every_width(bits: int) -> None:
    x = word(bits, signed=True)
    np.testing.assert_array_equal(proven(negate(bits), {"a": x}, "r", 4 * bits + 2), -x)
    np.testing.assert_array_equal(proven(absolute(bits), {"a": x}, "r", 6 * bits - 4), abs(x))
    for signed, passes in product((False, True), (3, 4)):
        a, b = both(bits, bits, signed, signed)
        program = min_of_two(bits, signed=signed, passes=passes)
        result = proven(program, {"a": a, "b": b}, "a", 2 * passes * bits)
        np.testing.assert_array_equal(result, np.minimum(a, b))
    a, b = both(bits, bits)
    mask = word(1, seed=9)
    result = proven(select(bits), {"a": a, "b": b, "m": mask}, "r", 4 * bits)
    np.testing.assert_array_equal(result, np.where(mask, a, b))


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("window", [1, 2, 3, 4, 7, 9, 25, 49])
def test_means_are_rounded_exactly(window: int, signed: bool) -> None:
    for bits in (1, 2, 5, 8):
        x = np.array([word(bits, signed, seed=item) for item in range(window)])
        low, high = limits(bits, signed)
        x[:, 0], x[:, 1] = low, high
        program = mean_pool(bits, window, signed=signed)
        result, events = execute(program, {"x": x})
        # floor(sum / window + 1/2) in integers
        expected = (2 * x.sum(axis=0) + window) // (2 * window)
        np.testing.assert_array_equal(result["mean"][0], expected, err_msg=program.name)
        assert events.cycles == program.counts.cycles


@given(divisor=st.integers(1, 1 << 16), bits=st.integers(1, 20), data=st.data())
@settings(max_examples=examples(100), deadline=None)
def test_a_reciprocal_divides_every_number(divisor: int, bits: int, data: st.DataObject) -> None:
    factor, shift = reciprocal(divisor, bits)
    number = data.draw(st.integers(0, (1 << bits) - 1))
    edge = min(number // divisor * divisor, (1 << bits) - 1)  # multiples are the worst cases
    for n in (number, edge, max(edge - 1, 0), (1 << bits) - 1):
        assert n * factor >> shift == n // divisor


def test_constants_that_make_no_sense_are_refused() -> None:
    with pytest.raises(MappingError, match="multiplication by 0, expected 1 or more"):
        multiply_constant(8, 0)
    with pytest.raises(MappingError, match="bound 128 of a word that holds 0 to 127"):
        clip_to(8, 128, signed=True)
