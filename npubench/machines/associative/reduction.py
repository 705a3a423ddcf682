"""Sums over the rows of a segment, in three variants.

* `carry_save_reduction`: executed, the default. Each level turns three rows into two with one
  full-adder table in all bit columns at once (8 cycles) and moves the carry rows up by one column
  (2 cycles); the last two words then share a row and one ripple addition closes the sum.
* `tree_reduction`: executed. ceil(log2 L) levels of moving a word (2 W) and adding it (8 W): all
  that a one-dimensional processor, without keys over rows, can do.
* `literature_reduction`, `literature_gemm`: the closed forms of the BF-IMNA line of papers, as
  recalled. NOT executable: 8 cycles a level are one full-adder table, which leaves every carry in
  the wrong column. They stand beside the papers' tables and nowhere else.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import ClassVar

from npubench.machines.associative.instructions import FULL_ADDER, CarrySave
from npubench.machines.associative.operations.arithmetic import (
    MAX_ACCUMULATOR_BITS,
    emit_add_signed,
    emit_multiply,
    emit_ripple,
    emit_sign_extend,
    product_signed,
)
from npubench.machines.associative.program import Program, ProgramBuilder, check_bits

__all__ = [
    "LiteratureForm",
    "average_pool",
    "carry_save_reduction",
    "emit_carry_save",
    "emit_tree_sum",
    "levels_of",
    "literature_gemm",
    "literature_reduction",
    "scalar_product",
    "sum_bits",
    "tree_reduction",
]

_MAX_WORDS = 1 << 20


@dataclass(frozen=True, slots=True)
class LiteratureForm:
    """Cycles that a paper's formula gives, loading and reading included; no program does this."""

    cycles: int
    formula: str
    executable: ClassVar[bool] = False


def levels_of(words: int) -> int:
    """ceil(log2 words): levels of a binary tree, and bits that a sum of that many words gains."""
    return (words - 1).bit_length()


def sum_bits(words: int, bits: int) -> int:
    """Width that holds any sum of `words` words of `bits` bits, signed or not."""
    return bits + levels_of(words)


def literature_reduction(words: int, bits: int, *, segmented: bool = True) -> LiteratureForm:
    """Reduction of `words` words on a 2D processor, as recalled from the papers.

    Source: BF-IMNA (arXiv 2411.01417) and related papers, recalled; low confidence unsegmented.
    """
    check_bits("word", bits, high=MAX_ACCUMULATOR_BITS)
    check_bits("number of words", words, low=2, high=_MAX_WORDS)
    if segmented:
        return LiteratureForm(
            10 * bits + 8 * (levels_of(words) - 1) + 1, "2M + 8M + 8 log2(L/2) + 1"
        )
    return LiteratureForm(
        10 * bits + 8 * max(-(-words // 2) - 1, 0) + 1, "2M + 8M + 8(L/2 - 1) + 1"
    )


def literature_gemm(a_bits: int, b_bits: int, words: int) -> LiteratureForm:
    """Scalar products of `words` terms on a segmented 2D processor: multiply, reduce, read.

    Written for equal widths M in the papers; a_bits + b_bits stands for 2M, a_bits * b_bits for
    M**2. Source: as literature_reduction; agrees with the emulator but for the 8 log2(j) term.
    """
    check_bits("operand a", a_bits)
    check_bits("operand b", b_bits)
    check_bits("number of words", words, high=_MAX_WORDS)
    both, levels = a_bits + b_bits, levels_of(words)
    return LiteratureForm(
        both + 8 * a_bits * b_bits + 8 * levels + both + levels,
        "2M + 8M^2 + 8 log2(j) + 2M + log2(j)",
    )


def emit_carry_save(
    builder: ProgramBuilder,
    word: tuple[int, ...],
    *,
    sign: int | None,
    spare: tuple[int, ...] = (),
    segmented: bool = True,
) -> int:
    """Slot that holds the sum of `word` over the segment's slots, modulo 2**len(word).

    Levels follow 3 -> 2 until two words are left; they then meet in one row, in new columns or in
    the `spare` ones, whose content is lost there.

    Args:
        builder: receives the steps; its columns of `word` must be consecutive.
        word: columns of addends and sum.
        sign: place of the addends' sign, from which they are extended; None if unsigned.
        spare: columns that may be overwritten in the slot of the sum.
        segmented: every group of every segment adds at the same time; otherwise one by one.
    """
    if sign is not None:
        emit_sign_extend(builder, word[sign], word[sign + 1 :])
    live = list(range(builder.slots))
    while len(live) > 2:
        whole = len(live) - len(live) % 3
        second, third = live[1:whole:3], live[2:whole:3]
        groups = tuple(zip(live[:whole:3], second, third, strict=True))
        builder.add(CarrySave(word[0], len(word), groups, segmented))
        live = [slot for pair in zip(second, third, strict=True) for slot in pair] + live[whole:]
    if len(live) == 2:
        reused = spare[: len(word)]
        other = (*reused, *builder.columns(len(word) - len(reused)))
        builder.rows(live[0], live[0] + 1)
        builder.move(word, other, live[1] - live[0])
        emit_ripple(builder, FULL_ADDER, other, word, builder.columns(1)[0])
        builder.rows()
    return live[0]


def _check_sum(words: int, bits: int, total_bits: int | None) -> int:
    check_bits("word", bits, high=MAX_ACCUMULATOR_BITS)
    check_bits("number of words", words, high=_MAX_WORDS)
    total = sum_bits(words, bits) if total_bits is None else total_bits
    check_bits("sum", total, low=bits, high=MAX_ACCUMULATOR_BITS)
    return total


@cache
def carry_save_reduction(
    words: int,
    bits: int,
    *,
    signed: bool = False,
    total_bits: int | None = None,
    segmented: bool = True,
) -> Program:
    """sum <- x over the slots of a segment, exact in total_bits columns.

    Input ``x`` in every slot, output ``sum`` in one slot (the word's `slots` says which).
    Columns: 2 total_bits + 1.

    Args:
        words: rows of a segment.
        bits: width of each word.
        signed: two's complement words; they are sign-extended to total_bits by one pass.
        total_bits: width of the sum; by default bits + ceil(log2 words), which any sum fits.
        segmented: every group of every segment adds at the same time; otherwise one by one.

    Raises:
        MappingError: a width or a number of words that no program is defined for.
    """
    total = _check_sum(words, bits, total_bits)
    how = "segmented" if segmented else "not segmented"
    builder = ProgramBuilder(f"carry-save sum of {words} x {bits} bits, {how}", words)
    word = (*builder.input("x", bits, signed=signed), *builder.columns(total - bits))
    slot = emit_carry_save(builder, word, sign=bits - 1 if signed else None, segmented=segmented)
    builder.output("sum", word, signed=signed, slots=(slot,))
    return builder.build()


@cache
def scalar_product(
    words: int,
    a_bits: int,
    b_bits: int,
    *,
    a_signed: bool = False,
    b_signed: bool = False,
    total_bits: int | None = None,
    segmented: bool = True,
    tree: bool = False,
    multiplied: bool = True,
) -> Program:
    """sum <- sum of a * b over the slots of a segment, as in convolutions and matrix products.

    One term per row, all rows multiply at once; then carry-save reduction, or a tree with row
    moves (`tree`, full width bits + levels whatever total_bits says). Activations ``a`` are lost
    in the row of the sum, weights ``b`` are kept. Without `multiplied` the products are taken to
    be there: the same columns and the same summing, for counting what `multiply` counts apart.

    Raises:
        MappingError: a width or a number of words that no program is defined for.
    """
    check_bits("operand a", a_bits)
    check_bits("operand b", b_bits)
    bits, signed = a_bits + b_bits, product_signed(a_signed, b_signed)
    total = _check_sum(words, bits, None if tree else total_bits)
    builder = ProgramBuilder(
        f"scalar product of {words} x {'s' if a_signed else 'u'}{a_bits} "
        f"{'s' if b_signed else 'u'}{b_bits}, {'tree' if tree else 'carry-save'}",
        words,
    )
    a = builder.input("a", a_bits, signed=a_signed)
    b = builder.input("b", b_bits, signed=b_signed)
    word = builder.columns(bits if tree else total)
    if multiplied:
        emit_multiply(builder, a, b, word[:bits], a_signed=a_signed, b_signed=b_signed)
    elif a_signed and b_signed:
        builder.columns(1)  # the borrow of the multiplication
    if tree:
        word, slot = emit_tree_sum(builder, word, signed=signed), 0
    else:
        sign = bits - 1 if signed else None
        slot = emit_carry_save(builder, word, sign=sign, spare=a, segmented=segmented)
    builder.output("sum", word, signed=signed, slots=(slot,))
    return builder.build()


def emit_tree_sum(
    builder: ProgramBuilder, word: tuple[int, ...], *, signed: bool
) -> tuple[int, ...]:
    """Columns of the sum of `word` over the segment's slots, in slot 0; destroys `word`.

    Level l adds words of len(word) + l bits that lie 2**l slots apart; only the slots that keep a
    partial sum are enabled. All slots are enabled again at the end.
    """
    levels = levels_of(builder.slots)
    total = (*word, *builder.columns(levels))
    other = builder.columns(len(total) - 1) if levels else ()
    carry = builder.columns(1)[0] if signed and levels else -1
    for level in range(levels):
        width = len(word) + level
        builder.rows(0, None, 2 << level)
        builder.move(total[:width], other[:width], 1 << level)
        if signed:
            emit_sign_extend(builder, total[width - 1], total[width : width + 1])
            emit_add_signed(builder, FULL_ADDER, other[:width], total[: width + 1], carry)
        else:
            emit_ripple(builder, FULL_ADDER, other[:width], total[:width], total[width])
    builder.rows()
    return total


@cache
def tree_reduction(words: int, bits: int, *, signed: bool = False) -> Program:
    """sum <- x over the slots of a segment by a tree with row moves; result in slot 0.

    Cycles: sum over levels l of 8 (bits + l) + 2 (bits + l) unsigned; the signed form takes 11
    more per level (one more sum bit, its sign, the carry's clearing).

    Raises:
        MappingError: a width or a number of words that no program is defined for.
    """
    check_bits("word", bits, high=MAX_ACCUMULATOR_BITS)
    check_bits("number of words", words, high=_MAX_WORDS)
    check_bits("sum", sum_bits(words, bits), high=MAX_ACCUMULATOR_BITS)
    builder = ProgramBuilder(f"tree sum of {words} x {'s' if signed else 'u'}{bits}", words)
    total = emit_tree_sum(builder, builder.input("x", bits, signed=signed), signed=signed)
    builder.output("sum", total, signed=signed, slots=(0,))
    return builder.build()


@cache
def average_pool(bits: int, log2_window: int, *, signed: bool = False) -> Program:
    """floor(mean) of 2**log2_window rows: a tree sum read from bit log2_window on.

    Windows that are no power of two sum with `tree_reduction` and scale with `requantize`.

    Raises:
        MappingError: a width that no program is defined for.
    """
    check_bits("word", bits)
    check_bits("log2 of the pooling window", log2_window, low=0)
    builder = ProgramBuilder(f"average pool {bits} of {1 << log2_window}", 1 << log2_window)
    total = emit_tree_sum(builder, builder.input("x", bits, signed=signed), signed=signed)
    builder.output("mean", total[log2_window:], signed=signed, slots=(0,))
    return builder.build()
