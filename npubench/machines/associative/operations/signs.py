"""Sign changes and choices: negative, absolute value, minimum of two, selection by a mask.

Closed forms of the core, M bits: negate 4 M + 2, absolute value 6 M - 4, minimum 8 M (6 M with
three passes per bit), select 4 M.
"""

from __future__ import annotations

from functools import cache

from npubench.machines.associative.operations.arithmetic import MAX_ACCUMULATOR_BITS
from npubench.machines.associative.operations.select import check_passes, emit_max
from npubench.machines.associative.program import Program, ProgramBuilder, check_bits

__all__ = ["absolute", "min_of_two", "negate", "select"]


@cache
def negate(bits: int) -> Program:
    """r <- -a for a two's complement word; r has one bit more, so that -2**(bits-1) fits.

    Bits up to the lowest one stay, those above flip: two passes a bit once a one was seen.

    Raises:
        MappingError: a width that no program is defined for.
    """
    check_bits("word", bits, high=MAX_ACCUMULATOR_BITS)
    builder = ProgramBuilder(f"negate s{bits}")
    word = builder.input("a", bits, signed=True)
    result = builder.columns(bits + 1)
    (seen,) = builder.columns(1)
    for column, place in zip(word, result, strict=False):
        builder.compare_write([(seen, 1), (column, 0)], [(place, 1)])
        builder.compare_write([(seen, 0), (column, 1)], [(place, 1), (seen, 1)])
    # The sign above: set where the word was positive, that is, a one seen and its sign 0.
    builder.compare_write([(seen, 1), (word[-1], 0)], [(result[-1], 1)])
    builder.output("r", result, signed=True)
    return builder.build()


@cache
def absolute(bits: int) -> Program:
    """r <- |a| for a two's complement word; r is unsigned and as wide.

    Raises:
        MappingError: a width that no program is defined for.
    """
    check_bits("word", bits, high=MAX_ACCUMULATOR_BITS)
    builder = ProgramBuilder(f"absolute s{bits}")
    word = builder.input("a", bits, signed=True)
    result = builder.columns(bits)
    (seen,) = builder.columns(1)
    sign = word[-1]
    for column, place in zip(word, result, strict=True):
        negative = [] if column == sign else [(sign, 1)]
        positive = [] if column == sign else [(sign, 0), (column, 1)]
        if positive:  # the sign itself is 0 in a word that is not negative
            builder.compare_write(positive, [(place, 1)])
            builder.compare_write([*negative, (seen, 1), (column, 0)], [(place, 1)])
        builder.compare_write([*negative, (seen, 0), (column, 1)], [(place, 1), (seen, 1)])
    builder.output("r", result)
    return builder.build()


@cache
def min_of_two(bits: int, *, signed: bool = False, passes: int = 4) -> Program:
    """a <- min(a, b): the maximum's passes with every key of a and b inverted.

    Raises:
        MappingError: a width outside 1..48 bits, or another number of passes.
    """
    check_bits("word", bits, high=MAX_ACCUMULATOR_BITS)
    check_passes(passes)
    builder = ProgramBuilder(f"min {'s' if signed else 'u'}{bits} {passes} passes")
    a = builder.input("a", bits, signed=signed)
    b = builder.input("b", bits, signed=signed)
    fa, fb = builder.columns(2)
    emit_max(builder, a, b, (fa, fb), signed=signed, passes=passes, smallest=True)
    builder.output("a", a, signed=signed)
    return builder.build()


@cache
def select(bits: int) -> Program:
    """r <- a where the mask bit m is 1, else b; signs do not matter.

    Raises:
        MappingError: a width that no program is defined for.
    """
    check_bits("word", bits, high=MAX_ACCUMULATOR_BITS)
    builder = ProgramBuilder(f"select {bits}")
    a, b = builder.input("a", bits), builder.input("b", bits)
    (mask,) = builder.input("m", 1)
    result = builder.columns(bits)
    for place in range(bits):
        builder.compare_write([(mask, 1), (a[place], 1)], [(result[place], 1)])
        builder.compare_write([(mask, 0), (b[place], 1)], [(result[place], 1)])
    builder.output("r", result)
    return builder.build()
