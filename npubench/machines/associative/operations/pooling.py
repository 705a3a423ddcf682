"""The mean of any window, exactly rounded: a sum, one addition and one product with constants."""

from __future__ import annotations

from functools import cache

from npubench.machines.associative.operations.constants import (
    emit_add_constant,
    emit_multiply_constant,
)
from npubench.machines.associative.program import Program, ProgramBuilder, check_bits
from npubench.machines.associative.reduction import emit_tree_sum, sum_bits

__all__ = ["mean_pool", "reciprocal"]


def reciprocal(divisor: int, bits: int) -> tuple[int, int]:
    """(m, s) with floor(n m / 2**s) = floor(n / divisor) for every n of `bits` bits.

    With m = ceil(2**s / divisor) and excess e = m divisor - 2**s the product is n / divisor +
    n e / (2**s divisor), which stays below the next multiple of 1 / divisor while n e < 2**s.

    Source: Granlund and Montgomery, Division by invariant integers using multiplication, PLDI 1994.
    """
    shift = 0
    while (-(1 << shift) % divisor) * ((1 << bits) - 1) >= 1 << shift:
        shift += 1
    return -(-(1 << shift) // divisor), shift


@cache
def mean_pool(bits: int, window: int, *, signed: bool = False) -> Program:
    """floor(mean + 1/2) over `window` rows, any window; `average_pool` drops bits without rounding.

    Signed words are summed as they are and moved above 0 by a constant that the window divides, so
    that one multiplication rounds them like unsigned ones; the sign bit is turned back at the end.

    Raises:
        MappingError: a width or a window that no program is defined for.
    """
    check_bits("word", bits)
    check_bits("pooling window", window, high=1 << 16)
    builder = ProgramBuilder(f"mean of {window} x {'s' if signed else 'u'}{bits}", window)
    total = emit_tree_sum(builder, builder.input("x", bits, signed=signed), signed=signed)
    carry, above = builder.columns(2)
    numerator = (*total, above)
    if signed:
        builder.compare_write([(total[-1], 1)], [(above, 1)])
    half = 1 << (bits - 1) if signed else 0
    emit_add_constant(builder, numerator, window // 2 + half * window, carry)
    factor, shift = reciprocal(window, sum_bits(window, bits) + 1)
    product = builder.columns(len(numerator) + factor.bit_length())
    emit_multiply_constant(builder, numerator, factor, product)
    mean = product[shift : shift + bits]
    if signed:
        emit_add_constant(builder, mean, half, carry)
    builder.output("mean", mean, signed=signed, slots=(0,))
    return builder.build()
