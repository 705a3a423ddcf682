"""Addition and subtraction of any mix of signs, in place and out of place, and products in place.

`arithmetic` has the cases that networks use most: two unsigned or two signed words. Here the two
may differ. The exact result of a signed case has W = max(a', b') + 1 bits, where a' and b' are the
widths as two's complement (one more for an unsigned word). Closed forms of the core:

    in place, a unsigned, b signed    8 a + 4 (W - a) + 1, and 2 for extending b
    in place, a signed, b unsigned    8 b + 4 (W - b) + 1
    out of place, two signed          10 W + 1
    out of place, one unsigned of n   10 n + 4 (W - n) + 1; 2 (W - n) more where it is subtracted
    multiply in place                 8 a b + 3 b - 1      in 2 a + b + 1 columns
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from npubench.machines.associative.instructions import FULL_ADDER, FULL_SUBTRACTOR
from npubench.machines.associative.operations.arithmetic import (
    ADD_TO,
    MAX_ACCUMULATOR_BITS,
    SUBTRACT_TO,
    PresetTable,
    Table,
    add,
    add_out_of_place,
    emit_ripple,
    emit_sign_extend,
    subtract,
    subtract_out_of_place,
)
from npubench.machines.associative.program import Program, ProgramBuilder, check_bits

__all__ = [
    "add_mixed",
    "add_mixed_out_of_place",
    "mixed_bits",
    "multiply_in_place",
    "subtract_mixed",
    "subtract_mixed_out_of_place",
]


def mixed_bits(a_bits: int, b_bits: int, *, a_signed: bool, b_signed: bool) -> int:
    """Width of an exact sum or difference of which at least one operand is signed."""
    return max(a_bits + (not a_signed), b_bits + (not b_signed)) + 1


def _kind(bits: int, signed: bool) -> str:
    return f"{'s' if signed else 'u'}{bits}"


def _extended(word: Sequence[int], signed: bool, bits: int) -> list[int | None]:
    """Columns of a word read at `bits` bits: its sign's column again and again, or constant 0."""
    return [*word, *[word[-1] if signed else None] * (bits - len(word))]


def _in_place(
    name: str, table: Table, a_bits: int, b_bits: int, a_signed: bool, b_signed: bool
) -> Program:
    check_bits("operand a", a_bits, high=MAX_ACCUMULATOR_BITS)
    check_bits("operand b", b_bits, high=MAX_ACCUMULATOR_BITS)
    bits = mixed_bits(a_bits, b_bits, a_signed=a_signed, b_signed=b_signed)
    builder = ProgramBuilder(f"{name} {_kind(a_bits, a_signed)} {_kind(b_bits, b_signed)}")
    a = builder.input("a", a_bits, signed=a_signed)
    b = (*builder.input("b", b_bits, signed=b_signed), *builder.columns(bits - b_bits))
    (carry,) = builder.columns(1)
    zeros = 0 if b_signed else bits - b_bits
    if b_signed:
        emit_sign_extend(builder, b[b_bits - 1], b[b_bits:])
    emit_ripple(builder, table, _extended(a, a_signed, bits), b, carry, known_zero=zeros)
    builder.write([carry], 0)
    builder.output("b", b, signed=True)
    return builder.build()


@cache
def add_mixed(a_bits: int, b_bits: int, *, a_signed: bool, b_signed: bool) -> Program:
    """b <- a + b in place, exact.

    Raises:
        MappingError: a width that no program is defined for.
    """
    if a_signed == b_signed:
        return add(a_bits, b_bits, signed=a_signed)
    return _in_place("add", FULL_ADDER, a_bits, b_bits, a_signed, b_signed)


@cache
def subtract_mixed(a_bits: int, b_bits: int, *, a_signed: bool, b_signed: bool) -> Program:
    """b <- b - a in place, exact, always two's complement.

    Raises:
        MappingError: a width that no program is defined for.
    """
    if a_signed == b_signed:
        return subtract(a_bits, b_bits, signed=a_signed)
    return _in_place("subtract", FULL_SUBTRACTOR, a_bits, b_bits, a_signed, b_signed)


def _out_of_place(
    name: str, table: PresetTable, a_bits: int, b_bits: int, a_signed: bool, b_signed: bool
) -> Program:
    check_bits("operand a", a_bits, high=MAX_ACCUMULATOR_BITS)
    check_bits("operand b", b_bits, high=MAX_ACCUMULATOR_BITS)
    bits = mixed_bits(a_bits, b_bits, a_signed=a_signed, b_signed=b_signed)
    builder = ProgramBuilder(f"{name} {_kind(a_bits, a_signed)} {_kind(b_bits, b_signed)}")
    a = builder.input("a", a_bits, signed=a_signed)
    b = builder.input("b", b_bits, signed=b_signed)
    result = builder.columns(bits)
    (carry,) = builder.columns(1)
    operands = zip(_extended(a, a_signed, bits), _extended(b, b_signed, bits), strict=True)
    for place, columns in enumerate(operands):
        for (*key, carry_key), write in table:
            pairs = list(zip(columns, key, strict=True))
            if any(column is None and bit for column, bit in pairs):
                continue
            compare = [(column, bit) for column, bit in pairs if column is not None]
            targets = zip((result[place], carry), write, strict=True)
            builder.compare_write(
                [*compare, (carry, carry_key)],
                [(column, bit) for column, bit in targets if bit is not None],
            )
    builder.write([carry], 0)
    builder.output("r", result, signed=True)
    return builder.build()


@cache
def add_mixed_out_of_place(a_bits: int, b_bits: int, *, a_signed: bool, b_signed: bool) -> Program:
    """r <- a + b, exact, both kept.

    Raises:
        MappingError: a width that no program is defined for.
    """
    if not (a_signed or b_signed):
        return add_out_of_place(a_bits, b_bits)
    return _out_of_place("add to", ADD_TO, a_bits, b_bits, a_signed, b_signed)


@cache
def subtract_mixed_out_of_place(
    a_bits: int, b_bits: int, *, a_signed: bool, b_signed: bool
) -> Program:
    """r <- b - a, exact, both kept; r is two's complement.

    Raises:
        MappingError: a width that no program is defined for.
    """
    if not (a_signed or b_signed):
        return subtract_out_of_place(a_bits, b_bits)
    return _out_of_place("subtract to", SUBTRACT_TO, a_bits, b_bits, a_signed, b_signed)


@cache
def multiply_in_place(a_bits: int, b_bits: int, *, b_signed: bool = False) -> Program:
    """p <- a * b where b lies in the top columns of p and is used up; a is unsigned and kept.

    Bit j of b leaves its column for a flag just before that column becomes the carry of the j-th
    partial product, so that 2 a + b + 1 columns suffice where `multiply` takes 2 (a + b).

    Raises:
        MappingError: an operand outside 1..MAX_ACCUMULATOR_BITS bits.
    """
    check_bits("operand a", a_bits, high=MAX_ACCUMULATOR_BITS)
    check_bits("operand b", b_bits, high=MAX_ACCUMULATOR_BITS)
    builder = ProgramBuilder(f"multiply in place u{a_bits} {_kind(b_bits, b_signed)}")
    a = builder.input("a", a_bits)
    below = builder.columns(a_bits)
    product = (*below, *builder.input("b", b_bits, signed=b_signed))
    (flag,) = builder.columns(1)
    for place in range(b_bits):
        top = place + a_bits
        if place:
            builder.write([flag], 0)
        builder.compare_write([(product[top], 1)], [(product[top], 0), (flag, 1)])
        last = b_signed and place == b_bits - 1
        emit_ripple(
            builder,
            FULL_SUBTRACTOR if last else FULL_ADDER,
            a,
            product[place:top],
            product[top],
            when=((flag, 1),),
        )
    builder.output("p", product, signed=b_signed)
    return builder.build()
