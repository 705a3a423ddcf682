"""Selection, tables, requantization, division, normalisation against integer numpy."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from npubench.errors import MappingError
from npubench.machines.associative.emulator import execute
from npubench.machines.associative.operations.divide import divide, square_root
from npubench.machines.associative.operations.normalize import layer_norm, softmax
from npubench.machines.associative.operations.requantize import requantize, residual_add
from npubench.machines.associative.operations.select import (
    constant,
    copy,
    exponential_table,
    gelu_table,
    lookup,
    max_of_two,
    max_pool_rows,
    max_pool_word,
    relu,
    sigmoid_table,
)
from tests.depth import examples
from tests.machines.associative.operands import both, limits, word

WIDTHS = range(1, 17)


@pytest.mark.parametrize("passes", [3, 4])
@pytest.mark.parametrize("signed", [False, True])
def test_maximum_at_all_widths(signed: bool, passes: int) -> None:
    for bits in WIDTHS:
        x, y = both(bits, bits, signed, signed)
        program = max_of_two(bits, signed=signed, passes=passes)
        result, events = execute(program, {"a": x, "b": y})
        np.testing.assert_array_equal(result["a"][0], np.maximum(x, y))
        assert events.cycles == program.counts.cycles == 2 * passes * bits


def test_relu_at_all_widths() -> None:
    for bits in WIDTHS:
        x = word(bits, signed=True)
        for one_shot, cycles in ((True, 2), (False, 2 * bits)):
            program = relu(bits, one_shot=one_shot)
            result, events = execute(program, {"a": x})
            np.testing.assert_array_equal(result["a"][0], np.maximum(x, 0))
            assert events.cycles == program.counts.cycles == cycles
        assert relu(bits, one_shot=False).total_cycles == 4 * bits


def test_copy_and_constants() -> None:
    x = word(9)
    result, events = execute(copy(9), {"a": x})
    np.testing.assert_array_equal(result["r"][0], x)
    assert events.cycles == 18
    result, events = execute(constant(6, 37), {}, segments=70)
    assert set(result["r"].ravel().tolist()) == {37}
    assert events.cycles == 2


@pytest.mark.parametrize("window", [1, 2, 3, 4, 9])
@pytest.mark.parametrize("signed", [False, True])
def test_max_pooling_in_a_row_and_over_rows(window: int, signed: bool) -> None:
    x = np.array([word(5, signed, seed=item) for item in range(window)])
    rows = max_pool_rows(5, window, signed=signed)
    result, events = execute(rows, {"x": x})
    np.testing.assert_array_equal(result["x"][0], x.max(axis=0))
    levels = math.ceil(math.log2(window))
    assert events.cycles == rows.counts.cycles == levels * (2 * 5 + 8 * 5) + max(levels - 1, 0)

    inside = max_pool_word(5, window, signed=signed, passes=3)
    result, events = execute(inside, {f"x{item}": row for item, row in enumerate(x)})
    np.testing.assert_array_equal(result["x0"][0], x.max(axis=0))
    assert inside.counts.pass_cycles - inside.counts.cycles == 0
    assert events.cycles == inside.counts.cycles == (window - 1) * 6 * 5 + max(window - 2, 0)


@pytest.mark.parametrize("bits", [1, 2, 4, 6, 8])
def test_tables_at_stated_widths(bits: int) -> None:
    pattern = np.arange(1 << bits)
    number = np.where(pattern >= 1 << (bits - 1), pattern - (1 << bits), pattern)
    for table, out_bits, signed in (
        (sigmoid_table(bits, 2, 8), 8, False),
        (gelu_table(bits, 2), bits, True),
        (exponential_table(bits, 2, 8), 8, False),
    ):
        program = lookup(table, out_bits, signed=signed)
        result, events = execute(program, {"a": pattern})
        assert result["r"][0].tolist() == list(table)
        assert events.cycles == program.counts.cycles == 2 * sum(value != 0 for value in table)
    x = number / 4
    sigmoid = np.array(sigmoid_table(bits, 2, 8))
    assert np.abs(sigmoid / 255 - 1 / (1 + np.exp(-x))).max() <= 0.5 / 255 + 1e-12
    gelu = np.array([v / 2 * (1 + math.erf(v / math.sqrt(2))) for v in x])
    assert np.abs(np.array(gelu_table(bits, 2)) / 4 - gelu).max() <= 0.125 + 1e-12


def clip(values: np.ndarray, bits: int, signed: bool) -> np.ndarray:
    return np.clip(values, *limits(bits, signed))


@pytest.mark.parametrize("out_signed", [False, True])
@pytest.mark.parametrize("multiplier_bits", [0, 1, 3, 8])
def test_requantization_at_every_shift(multiplier_bits: int, out_signed: bool) -> None:
    for acc_bits in (1, 5, 12):
        acc = word(acc_bits, signed=True, count=70)
        m = word(multiplier_bits, count=70, seed=4) if multiplier_bits else np.ones(70, np.int64)
        m[2:4] = m[1], m[0]
        for shift in range(acc_bits + multiplier_bits + 1):
            scaled = (acc * m + (1 << shift >> 1)) >> shift
            for out_bits in (1, 2, 8):
                program = requantize(
                    acc_bits, multiplier_bits, shift, out_bits, out_signed=out_signed
                )
                operands = {"acc": acc} | ({"m": m} if multiplier_bits else {})
                result, events = execute(program, operands)
                np.testing.assert_array_equal(
                    result["q"][0], clip(scaled, out_bits, out_signed), err_msg=program.name
                )
                assert events.cycles == program.counts.cycles


def test_requantization_rounds_half_up_and_adds_its_bias_first() -> None:
    acc = np.array([-6, -5, -3, -2, -1, 1, 2, 3, 5, 6])
    result, _ = execute(requantize(8, 0, 2, 8, out_signed=True), {"acc": acc})
    assert result["q"][0].tolist() == [-1, -1, -1, 0, 0, 0, 1, 1, 1, 2]
    shifted = requantize(8, 0, 2, 8, out_signed=True, bias=True)
    result, _ = execute(shifted, {"acc": acc, "bias": np.full(10, 8)})
    assert result["q"][0].tolist() == [1, 1, 1, 2, 2, 2, 3, 3, 3, 4]


def test_a_shift_beyond_the_word_is_refused() -> None:
    with pytest.raises(MappingError) as caught:
        requantize(8, 4, 13, 8)
    assert str(caught.value) == (
        "associative processor: right shift 13 of a 12-bit word, expected 0 to 12"
    )


@given(
    widths=st.tuples(*[st.integers(1, 8)] * 4),
    signs=st.tuples(*[st.booleans()] * 3),
    data=st.data(),
)
@settings(max_examples=examples(50), deadline=None)
def test_residual_addition_of_two_scales(widths, signs, data) -> None:
    a_bits, b_bits, m_bits, out_bits = widths
    shift = data.draw(st.integers(0, max(a_bits, b_bits) + m_bits + 1))
    a, b = both(a_bits, b_bits, signs[0], signs[1])
    ma, mb = word(m_bits, seed=5), word(m_bits, seed=6)
    program = residual_add(
        a_bits, b_bits, m_bits, shift, out_bits,
        a_signed=signs[0], b_signed=signs[1], out_signed=signs[2],
    )  # fmt: skip
    result, _ = execute(program, {"a": a, "b": b, "ma": ma, "mb": mb})
    expected = clip((a * ma + b * mb + (1 << shift >> 1)) >> shift, out_bits, signs[2])
    np.testing.assert_array_equal(result["q"][0], expected)


@pytest.mark.parametrize("fraction", [0, 1, 5])
def test_division(fraction: int) -> None:
    for bits in (1, 3, 8, 12):
        for divisor_bits in (1, 3, 8, 10):
            x, y = both(bits, divisor_bits)
            program = divide(bits, divisor_bits, fraction_bits=fraction)
            result, events = execute(program, {"n": x, "d": y})
            quotient = np.where(
                y == 0, (1 << (bits + fraction)) - 1, (x << fraction) // np.maximum(y, 1)
            )
            np.testing.assert_array_equal(result["q"][0], quotient)
            assert events.cycles == (bits + fraction) * (16 * divisor_bits + 11)


def test_square_root() -> None:
    for bits in range(1, 25):
        x = word(bits)
        result, events = execute(square_root(bits), {"a": x})
        assert result["r"][0].tolist() == [math.isqrt(value) for value in x.tolist()]
        root_bits = -(-bits // 2)
        assert events.cycles == 8 * root_bits**2 + 27 * root_bits + 1


@pytest.mark.parametrize("words", [1, 2, 3, 4, 7, 10])
@pytest.mark.parametrize("bits", [2, 4, 8])
def test_softmax_follows_its_integer_rule_and_approximates_softmax(words: int, bits: int) -> None:
    x = np.array([word(bits, signed=True, seed=item) for item in range(words)])
    program = softmax(words, bits, fraction_bits=2, out_bits=8)
    result, events = execute(program, {"x": x})
    powers = np.floor(255 * np.exp(-(x.max(axis=0) - x) / 4) + 0.5).astype(np.int64)
    expected = np.minimum((powers << 8) // powers.sum(axis=0), 255)
    np.testing.assert_array_equal(result["y"], expected)
    assert events.cycles == program.counts.cycles
    real = np.exp(x / 4) / np.exp(x / 4).sum(axis=0)
    assert np.abs(result["y"] / 256 - real).max() < 0.02


@pytest.mark.parametrize("words", [1, 2, 3, 4, 7, 10])
@pytest.mark.parametrize("bits", [2, 4, 8])
def test_layer_norm_follows_its_integer_rule_and_approximates_it(words: int, bits: int) -> None:
    x = np.array([word(bits, signed=True, seed=item) for item in range(words)])
    program = layer_norm(words, bits, fraction_bits=7)
    result, events = execute(program, {"x": x})
    centred = words * x - x.sum(axis=0)
    root = np.array([max(math.isqrt(v), 1) for v in (centred**2).sum(axis=0).tolist()])
    np.testing.assert_array_equal(result["y"], np.sign(centred) * ((abs(centred) << 7) // root))
    assert events.cycles == program.counts.cycles
    if bits == 8 and words > 1:
        wide = x.std(axis=0) > 20  # below that, the root's rounding shows
        real = ((x - x.mean(axis=0)) / np.maximum(x.std(axis=0), 1))[:, wide]
        assert np.abs(result["y"][:, wide] / 128 * math.sqrt(words) - real).max() < 0.1
