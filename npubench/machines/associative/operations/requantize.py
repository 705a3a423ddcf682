"""From accumulators back to operands: multiply, shift, round, clip; and the scaled residual add.

The rule, used by programs, network emulator and documentation alike (dyadic requantization):

    q = clip(floor((acc * multiplier + 2**(shift - 1)) / 2**shift), low, high)

that is round half up; shift 0 does not round. low..high is the range of the output word:
0..2**n - 1 unsigned, -2**(n-1)..2**(n-1) - 1 signed. Zero points are 0. The multiplier is an
unsigned word of its own in every row, so that each output channel may have another.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from npubench.errors import MappingError
from npubench.machines.associative.instructions import FULL_ADDER
from npubench.machines.associative.operations.arithmetic import (
    MAX_ACCUMULATOR_BITS,
    emit_add_signed,
    emit_multiply,
    emit_ripple,
    emit_sign_extend,
)
from npubench.machines.associative.program import Program, ProgramBuilder, check_bits

__all__ = ["emit_round_clip", "requantize", "residual_add"]


def emit_round_clip(
    builder: ProgramBuilder,
    word: Sequence[int],
    *,
    shift: int,
    out_bits: int,
    out_signed: bool,
) -> tuple[int, ...]:
    """Columns of clip(round_half_up(word / 2**shift)); `word` is two's complement.

    The shift renames columns. The bit below the new units is the carry of the rounding increment,
    two passes per bit. `word` must have room for that increment (see `requantize`).
    """
    kept = list(word[shift:])
    if shift:
        emit_ripple(builder, FULL_ADDER, [None] * len(kept), kept, word[shift - 1])
    missing = out_bits + (not out_signed) - len(kept)
    if missing > 0:
        upper = builder.columns(missing)
        emit_sign_extend(builder, kept[-1], upper)
        kept.extend(upper)
    sign = kept[-1]
    if not out_signed:
        builder.compare_write([(sign, 1)], [(column, 0) for column in kept])
        low = kept[:out_bits]
        for column in kept[out_bits:-1]:
            builder.compare_write([(column, 1)], [(place, 1) for place in low])
        return tuple(low)
    low = kept[: out_bits - 1]
    for column in kept[out_bits - 1 : -1]:
        for bit in (0, 1):  # sign 0 above a 1 overflows upwards, sign 1 above a 0 downwards
            builder.compare_write(
                [(sign, bit), (column, 1 - bit)], [(place, 1 - bit) for place in low]
            )
    return (*low, sign)


def _check_shift(shift: int, bits: int) -> None:
    if not 0 <= shift <= bits:
        raise MappingError(
            f"associative processor: right shift {shift} of a {bits}-bit word, expected 0 to {bits}"
        )


@cache
def requantize(
    acc_bits: int,
    multiplier_bits: int,
    shift: int,
    out_bits: int,
    *,
    out_signed: bool = False,
    bias: bool = False,
) -> Program:
    """q <- clip(round_half_up((acc + bias) * m / 2**shift)).

    Inputs: ``acc`` (signed), ``m`` (unsigned; none for multiplier_bits 0, a shift alone), and with
    `bias` the word ``bias`` of the accumulator's width; their sum must fit that width.

    Raises:
        MappingError: a width that no program is defined for, or a shift beyond the product.
    """
    check_bits("accumulator", acc_bits, high=MAX_ACCUMULATOR_BITS)
    check_bits("multiplier", multiplier_bits, low=0)
    check_bits("output", out_bits)
    bits = acc_bits + multiplier_bits
    _check_shift(shift, bits)
    kind = "s" if out_signed else "u"
    builder = ProgramBuilder(
        f"requantize s{acc_bits} x u{multiplier_bits} >> {shift} {kind}{out_bits}"
    )
    word = builder.input("acc", acc_bits, signed=True)
    if bias:
        addend = builder.input("bias", acc_bits, signed=True)
        emit_add_signed(builder, FULL_ADDER, addend, word, builder.columns(1)[0])
    if multiplier_bits:
        scale = builder.input("m", multiplier_bits)
        product = builder.columns(bits)
        emit_multiply(builder, scale, word, product, b_signed=True)
        word = product
    if shift > acc_bits or not multiplier_bits:  # the increment may need one more bit
        guard = builder.columns(1)
        emit_sign_extend(builder, word[-1], guard)
        word = (*word, *guard)
    result = emit_round_clip(builder, word, shift=shift, out_bits=out_bits, out_signed=out_signed)
    builder.output("q", result, signed=out_signed)
    return builder.build()


@cache
def residual_add(
    a_bits: int,
    b_bits: int,
    multiplier_bits: int,
    shift: int,
    out_bits: int,
    *,
    a_signed: bool = False,
    b_signed: bool = False,
    out_signed: bool = False,
) -> Program:
    """q <- clip(round_half_up((a * ma + b * mb) / 2**shift)): operands of two scales meet.

    Raises:
        MappingError: a width that no program is defined for, or a shift beyond the sum.
    """
    check_bits("operand a", a_bits)
    check_bits("operand b", b_bits)
    check_bits("multiplier", multiplier_bits)
    check_bits("output", out_bits)
    # sign of an unsigned operand, the sum of two, and room for rounding: three bits on top
    bits = max(a_bits, b_bits) + multiplier_bits + 3
    _check_shift(shift, bits - 2)
    builder = ProgramBuilder(
        f"residual add {'s' if a_signed else 'u'}{a_bits} {'s' if b_signed else 'u'}{b_bits} "
        f"x u{multiplier_bits} >> {shift} {'s' if out_signed else 'u'}{out_bits}"
    )
    sums: list[tuple[int, ...]] = []
    for name, width, signed in (("a", a_bits, a_signed), ("b", b_bits, b_signed)):
        word = builder.input(name, width, signed=signed)
        scale = builder.input(f"m{name}", multiplier_bits)
        product = builder.columns(bits)
        used = product[: width + multiplier_bits]
        emit_multiply(builder, scale, word, used, b_signed=signed)
        if signed:
            emit_sign_extend(builder, used[-1], product[len(used) :])
        sums.append(product)
    emit_add_signed(builder, FULL_ADDER, sums[0], sums[1], builder.columns(1)[0])
    result = emit_round_clip(
        builder, sums[1], shift=shift, out_bits=out_bits, out_signed=out_signed
    )
    builder.output("q", result, signed=out_signed)
    return builder.build()
