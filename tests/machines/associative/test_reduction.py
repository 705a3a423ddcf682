"""Reductions: exact variants by execution, the literature's form against the reference table."""

from __future__ import annotations

import math

import numpy as np
import pytest

from npubench.machines.associative.emulator import execute
from npubench.machines.associative.operations.arithmetic import multiply
from npubench.machines.associative.reduction import (
    average_pool,
    carry_save_reduction,
    literature_gemm,
    literature_reduction,
    scalar_product,
    sum_bits,
    tree_reduction,
)
from tests.machines.associative.operands import word

WORDS = [1, 2, 3, 4, 5, 7, 16, 25, 64, 144]


def carry_save_levels(words: int) -> int:
    levels = 0
    while words > 2:
        words -= words // 3
        levels += 1
    return levels


@pytest.mark.parametrize("words", WORDS)
@pytest.mark.parametrize("signed", [False, True])
def test_carry_save_is_exact_and_counts_its_closed_form(words: int, signed: bool) -> None:
    x = np.array([word(6, signed, 70, seed=item) for item in range(words)])
    program = carry_save_reduction(words, 6, signed=signed)
    result, events = execute(program, {"x": x})
    np.testing.assert_array_equal(result["sum"][0], x.sum(axis=0))
    width = sum_bits(words, 6)
    extension = 2 if signed and words > 1 else 0
    closing = 10 * width if words > 1 else 0
    assert program.counts.cycles == 10 * carry_save_levels(words) + closing + extension
    assert events.cycles == program.counts.cycles
    assert events.compared_cells == 70 * program.counts.compared_cells


@pytest.mark.parametrize("words", WORDS)
def test_without_segmentation_every_group_takes_its_own_turn(words: int) -> None:
    x = np.array([word(6, count=9, seed=item) for item in range(words)])
    program = carry_save_reduction(words, 6, segmented=False)
    result, events = execute(program, {"x": x})
    np.testing.assert_array_equal(result["sum"][0], x.sum(axis=0))
    closing = 10 * sum_bits(words, 6) if words > 1 else 0
    expected = 9 * 10 * max(words - 2, 0) + closing
    assert program.counts.cycles_for(9) == events.cycles == expected


@pytest.mark.parametrize("words", WORDS)
@pytest.mark.parametrize("signed", [False, True])
def test_the_tree_is_exact_and_counts_its_closed_form(words: int, signed: bool) -> None:
    x = np.array([word(6, signed, 70, seed=item) for item in range(words)])
    program = tree_reduction(words, 6, signed=signed)
    result, events = execute(program, {"x": x})
    np.testing.assert_array_equal(result["sum"][0], x.sum(axis=0))
    levels = math.ceil(math.log2(words))
    per_level = 11 if signed else 0
    assert events.cycles == sum(10 * (6 + level) + per_level for level in range(levels))
    assert events.cycles == program.counts.cycles


@pytest.mark.parametrize(
    ("words", "literature", "carry_save", "tree"),
    [(16, 580, 764, 1248), (64, 598, 814, 1660), (576, 634, 890, 2604), (4608, 661, 957, 3417)],
)
def test_scalar_products_of_eight_bits_are_those_of_the_reference_table(
    words: int, literature: int, carry_save: int, tree: int
) -> None:
    form = literature_gemm(8, 8, words)
    assert (form.cycles, form.executable) == (literature, False)
    moved = scalar_product(words, 8, 8, tree=True)
    read = moved.output("sum").bits
    assert moved.counts.cycles + 16 + read == tree
    # The table's carry-save column takes row moves and carry shifts as free and ripples through
    # one column more than the sum has: 8 cycles.
    saved = scalar_product(words, 8, 8)
    assert saved.counts.pass_cycles + 16 + read == carry_save - 8
    levels = carry_save_levels(words)
    assert saved.counts.move_cycles == 2 * levels + 2 * read


def test_literature_reduction() -> None:
    form = literature_reduction(64, 8)
    assert (form.cycles, form.formula) == (80 + 8 * 5 + 1, "2M + 8M + 8 log2(L/2) + 1")
    assert literature_reduction(64, 8, segmented=False).cycles == 80 + 8 * 31 + 1


def test_eight_cycles_a_level_with_full_carries_would_not_add_up() -> None:
    """Why the literature's form is no program: one table pass leaves carries in place."""
    x = np.arange(256)[:, None] + np.zeros(256, dtype=int)
    y = x.T
    wrong = (x ^ y) + (x & y) != x + y
    assert wrong.mean() > 0.8


@pytest.mark.parametrize(("a_signed", "b_signed"), [(False, False), (False, True), (True, True)])
@pytest.mark.parametrize("tree", [False, True])
@pytest.mark.parametrize("words", [1, 2, 9, 27])
def test_scalar_products(words: int, tree: bool, a_signed: bool, b_signed: bool) -> None:
    a = np.array([word(5, a_signed, seed=item) for item in range(words)])
    b = np.array([word(3, b_signed, seed=100 + item) for item in range(words)])
    program = scalar_product(words, 5, 3, a_signed=a_signed, b_signed=b_signed, tree=tree)
    result, events = execute(program, {"a": a, "b": b})
    np.testing.assert_array_equal(result["sum"][0], (a * b).sum(axis=0))
    signed = a_signed or b_signed
    product = multiply(5, 3, a_signed=a_signed, b_signed=b_signed)
    reduction = tree_reduction if tree else carry_save_reduction
    expected = product.counts + reduction(words, 8, signed=signed).counts
    assert program.counts.cycles == expected.cycles == events.cycles


def test_runtime_does_not_depend_on_how_many_rows_work() -> None:
    program = scalar_product(9, 4, 4)
    cycles = set()
    for segments in (1, 64, 300):
        operands = {name: np.full((9, segments), 5) for name in "ab"}
        cycles.add(execute(program, operands)[1].cycles)
    assert cycles == {program.counts.cycles}


@pytest.mark.parametrize("signed", [False, True])
def test_average_pooling_drops_low_bits(signed: bool) -> None:
    x = np.array([word(7, signed, seed=item) for item in range(8)])
    result, _ = execute(average_pool(7, 3, signed=signed), {"x": x})
    np.testing.assert_array_equal(result["mean"][0], x.sum(axis=0) >> 3)


def test_columns_of_an_eight_bit_scalar_product() -> None:
    """a, b, the sum, the rest of its partner beside the spent activation, one carry."""
    total = sum_bits(576, 16)
    assert scalar_product(576, 8, 8).width == 16 + total + (total - 8) + 1 == 61
