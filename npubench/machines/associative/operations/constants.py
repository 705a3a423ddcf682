"""Arithmetic with a number that is the same in every row: no columns hold it, its bits are keys.

A constant operand halves a full adder's table: two passes a bit. Closed forms of the core, where t
is the place of the constant's lowest one and k its width:

    add a constant in W bits      4 (W - t) + 1
    multiply by a constant        4 a (k - t)
    minimum with a constant       2 M + 2
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from npubench.errors import MappingError
from npubench.machines.associative.instructions import FULL_ADDER, FULL_SUBTRACTOR, Bit
from npubench.machines.associative.operations.arithmetic import MAX_ACCUMULATOR_BITS, Table
from npubench.machines.associative.program import Program, ProgramBuilder, check_bits

__all__ = [
    "add_constant",
    "clip_to",
    "emit_add_constant",
    "emit_multiply_constant",
    "multiply_constant",
]


def _emit_ripple_constant(
    builder: ProgramBuilder,
    table: Table,
    value: int,
    b: Sequence[int],
    carry: int,
    *,
    when: tuple[Bit, ...] = (),
) -> None:
    """b <- b +- value in place; `carry` must hold 0 and holds the outgoing one at the end.

    Bits below the lowest one of `value` keep their place without a pass.
    """
    started = False
    for place, column in enumerate(b):
        bit = value >> place & 1
        started = started or bool(bit)
        for row in table if started else ():
            if row.a != bit:
                continue
            compare = [(column, row.b), (carry, row.c), *(when if bit else ())]
            write = ((column, row.write_b), (carry, row.write_c))
            builder.compare_write(compare, [(col, to) for col, to in write if to is not None])


def emit_add_constant(builder: ProgramBuilder, word: Sequence[int], value: int, carry: int) -> None:
    """word <- word + value modulo 2**len(word); the carry is 0 before and after."""
    _emit_ripple_constant(builder, FULL_ADDER, value % (1 << len(word)), word, carry)
    builder.write([carry], 0)


@cache
def add_constant(bits: int, value: int, *, signed: bool = False) -> Program:
    """b <- b + value modulo 2**bits; the caller chooses bits so that the sum fits.

    Raises:
        MappingError: a width that no program is defined for.
    """
    check_bits("word", bits, high=MAX_ACCUMULATOR_BITS)
    builder = ProgramBuilder(f"add constant {value} to {'s' if signed else 'u'}{bits}")
    word = builder.input("b", bits, signed=signed)
    emit_add_constant(builder, word, value, builder.columns(1)[0])
    builder.output("b", word, signed=signed)
    return builder.build()


def emit_multiply_constant(
    builder: ProgramBuilder,
    a: Sequence[int],
    value: int,
    product: Sequence[int],
    *,
    signed: bool = False,
) -> None:
    """product <- a * value, exact in len(a) + value.bit_length() columns that hold 0 before.

    Where bit i of a is set, the constant is added at place i; a sign bit subtracts it.
    """
    width = value.bit_length()
    for place, multiplier in enumerate(a):
        last = signed and place == len(a) - 1
        _emit_ripple_constant(
            builder,
            FULL_SUBTRACTOR if last else FULL_ADDER,
            value,
            product[place : place + width],
            product[place + width],
            when=((multiplier, 1),),
        )


@cache
def multiply_constant(bits: int, value: int, *, signed: bool = False) -> Program:
    """p <- a * value for a constant from 1 on, exact.

    Raises:
        MappingError: a width that no program is defined for, or a constant below 1.
    """
    check_bits("word", bits, high=MAX_ACCUMULATOR_BITS)
    if value < 1:
        raise MappingError(f"associative processor: multiplication by {value}, expected 1 or more")
    check_bits("constant", value.bit_length(), high=MAX_ACCUMULATOR_BITS)
    builder = ProgramBuilder(f"multiply {'s' if signed else 'u'}{bits} by constant {value}")
    a = builder.input("a", bits, signed=signed)
    product = builder.columns(bits + value.bit_length())
    emit_multiply_constant(builder, a, value, product, signed=signed)
    builder.output("p", product, signed=signed)
    return builder.build()


@cache
def clip_to(bits: int, high: int, *, signed: bool = False) -> Program:
    """a <- min(a, high), 0 <= high; with `relu` before it this is a ReLU6.

    From the top bit down, the first place that differs decides; one pass a bit finds it and one
    writes the constant where the word was larger.

    Raises:
        MappingError: a width that no program is defined for, or a bound that the word cannot hold.
    """
    check_bits("word", bits, high=MAX_ACCUMULATOR_BITS)
    top = bits - signed
    if not 0 <= high < 1 << top:
        raise MappingError(
            f"associative processor: bound {high} of a word that holds 0 to {(1 << top) - 1}"
        )
    builder = ProgramBuilder(f"min of {'s' if signed else 'u'}{bits} and {high}")
    word = builder.input("a", bits, signed=signed)
    below, above = builder.columns(2)
    if signed:
        builder.compare_write([(word[-1], 1)], [(below, 1)])
    for place in reversed(range(top)):
        bit = high >> place & 1
        decided = below if bit else above
        builder.compare_write([(below, 0), (above, 0), (word[place], 1 - bit)], [(decided, 1)])
    builder.compare_write([(above, 1)], [(word[place], high >> place & 1) for place in range(top)])
    builder.output("a", word, signed=signed)
    return builder.build()
