"""Integer division and square root: restoring, one result bit at a time, from the top.

Closed forms of the core: a quotient of q bits by d bits takes q (16 d + 11) cycles, a square
root of q bits 8 q**2 + 27 q + 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from npubench.machines.associative.instructions import FULL_ADDER, FULL_SUBTRACTOR
from npubench.machines.associative.operations.arithmetic import (
    MAX_ACCUMULATOR_BITS,
    emit_ripple,
)
from npubench.machines.associative.program import Program, ProgramBuilder, check_bits

__all__ = ["divide", "emit_divide", "emit_square_root", "square_root"]


def _emit_trial(
    builder: ProgramBuilder,
    operand: Sequence[int | None],
    window: Sequence[int],
    flags: tuple[int, int],
    result: int,
) -> None:
    """window <- window - operand where that is not negative; `result` <- 1 there.

    Subtract everywhere, add back where a borrow came out, set the result elsewhere, clear flags.
    """
    borrow, carry = flags
    emit_ripple(builder, FULL_SUBTRACTOR, operand, window, borrow)
    emit_ripple(builder, FULL_ADDER, operand, window, carry, when=((borrow, 1),))
    builder.compare_write([(borrow, 0)], [(result, 1)])
    builder.write([borrow, carry], 0)


def emit_divide(
    builder: ProgramBuilder,
    numerator: Sequence[int],
    divisor: Sequence[int],
    quotient: Sequence[int],
    *,
    fraction_bits: int,
) -> None:
    """quotient <- floor(numerator * 2**fraction_bits / divisor), unsigned; destroys `numerator`.

    Needs a quotient that fits its columns, which must hold 0, and len(numerator) + fraction_bits
    <= len(quotient) + len(divisor). Division by 0 sets every quotient bit.
    """
    places = len(quotient) + len(divisor)
    below = builder.columns(fraction_bits)
    above = builder.columns(places - fraction_bits - len(numerator))
    remainder = (*below, *numerator, *above)
    flags = builder.columns(2)
    operand = [*divisor, None]
    for place in reversed(range(len(quotient))):
        window = remainder[place : place + len(operand)]
        _emit_trial(builder, operand[: len(window)], window, (flags[0], flags[1]), quotient[place])


@cache
def divide(bits: int, divisor_bits: int, *, fraction_bits: int = 0) -> Program:
    """q <- floor(n * 2**fraction_bits / d), unsigned; bits + fraction_bits quotient bits.

    Division by 0 sets every quotient bit.

    Raises:
        MappingError: a width that no program is defined for.
    """
    check_bits("numerator", bits, high=MAX_ACCUMULATOR_BITS)
    check_bits("divisor", divisor_bits, high=MAX_ACCUMULATOR_BITS)
    check_bits("quotient", bits + fraction_bits, high=MAX_ACCUMULATOR_BITS)
    builder = ProgramBuilder(f"divide u{bits}.{fraction_bits} by u{divisor_bits}")
    numerator = builder.input("n", bits)
    divisor = builder.input("d", divisor_bits)
    quotient = builder.columns(bits + fraction_bits)
    emit_divide(builder, numerator, divisor, quotient, fraction_bits=fraction_bits)
    builder.output("q", quotient)
    return builder.build()


def emit_square_root(builder: ProgramBuilder, radicand: Sequence[int], root: Sequence[int]) -> None:
    """root <- floor(sqrt(radicand)), ceil(len(radicand) / 2) columns that hold 0; destroys it.

    At each place the number (root so far, 0, 1) is tried against the remainder.
    """
    one = builder.columns(1)
    builder.write(one, 1)
    remainder = (*radicand, *builder.columns(2 * len(root) + 1 - len(radicand)))
    flags = builder.columns(2)
    for place in reversed(range(len(root))):
        operand = [*one, None, *root[place + 1 :], None]
        window = remainder[2 * place : 2 * place + len(operand)]
        _emit_trial(builder, operand, window, (flags[0], flags[1]), root[place])


@cache
def square_root(bits: int) -> Program:
    """r <- floor(sqrt(a)), unsigned, ceil(bits / 2) bits.

    Raises:
        MappingError: a width outside 1..48 bits.
    """
    check_bits("radicand", bits, high=MAX_ACCUMULATOR_BITS)
    builder = ProgramBuilder(f"square root u{bits}")
    radicand = builder.input("a", bits)
    root = builder.columns(-(-bits // 2))
    emit_square_root(builder, radicand, root)
    builder.output("r", root)
    return builder.build()
