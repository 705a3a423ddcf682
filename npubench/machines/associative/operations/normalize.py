"""Softmax and layer normalisation as integer programs over the slots of a segment.

Both follow the recipe of integer-only softmax on associative processors: maximum or sum by row
moves, the result broadcast back, the rest word-parallel in every row. Exponentials come from a
table (`exponential_table`), not from a polynomial. Source of the idea: SoftmAP (Rakka et al.,
DATE 2025, arXiv 2411.17847); these programs are this package's own.
"""

from __future__ import annotations

from functools import cache

from npubench.machines.associative.instructions import FULL_ADDER, FULL_SUBTRACTOR
from npubench.machines.associative.operations.arithmetic import (
    MAX_ACCUMULATOR_BITS,
    emit_add_signed,
    emit_multiply,
    emit_ripple,
)
from npubench.machines.associative.operations.divide import emit_divide, emit_square_root
from npubench.machines.associative.operations.select import (
    MAX_TABLE_BITS,
    emit_copy,
    emit_lookup,
    emit_max_tree,
    exponential_table,
)
from npubench.machines.associative.program import Program, ProgramBuilder, check_bits
from npubench.machines.associative.reduction import emit_tree_sum, sum_bits

__all__ = ["layer_norm", "softmax"]


@cache
def softmax(words: int, bits: int, *, fraction_bits: int, out_bits: int) -> Program:
    """y <- softmax(x) over a segment of `words` rows, x signed with `fraction_bits` behind the dot.

    The integer rule:

        d = max(x) - x                                     0 .. 2**bits - 1
        e = floor((2**out_bits - 1) exp(-d / 2**fraction_bits) + 1/2)
        y = min(floor(e * 2**out_bits / sum(e)), 2**out_bits - 1)

    Raises:
        MappingError: a width or a number of words that no program is defined for.
    """
    check_bits("word", bits, high=MAX_TABLE_BITS)
    check_bits("output", out_bits)
    check_bits("number of words", words, high=1 << 16)
    check_bits("sum", sum_bits(words, out_bits), high=MAX_ACCUMULATOR_BITS)
    builder = ProgramBuilder(f"softmax of {words} x s{bits} to u{out_bits}", words)
    x = builder.input("x", bits, signed=True)

    largest, difference = builder.columns(bits), builder.columns(bits)
    emit_copy(builder, x, largest)
    emit_max_tree(builder, largest, signed=True)
    builder.broadcast(largest, difference, 0)
    emit_ripple(builder, FULL_SUBTRACTOR, x, difference, builder.columns(1)[0])

    exponential, summed = builder.columns(out_bits), builder.columns(out_bits)
    table = exponential_table(bits, fraction_bits, out_bits)
    emit_lookup(builder, difference, exponential, table)
    emit_copy(builder, exponential, summed)
    total = emit_tree_sum(builder, summed, signed=False)
    builder.broadcast(total, total, 0)

    quotient = builder.columns(out_bits + 1)
    emit_divide(builder, exponential, total, quotient, fraction_bits=out_bits)
    builder.compare_write([(quotient[-1], 1)], [(column, 1) for column in quotient[:-1]])
    builder.output("y", quotient[:-1])
    return builder.build()


@cache
def layer_norm(words: int, bits: int, *, fraction_bits: int) -> Program:
    """y <- (x - mean) / (deviation * sqrt(words)) over a segment, x signed.

    The integer rule (no rounding before the division, as everything is scaled by `words`):

        c = words * x - sum(x)
        r = max(floor(sqrt(sum(c * c))), 1)
        y = sign(c) * floor(|c| * 2**fraction_bits / r)    |y| <= 2**fraction_bits

    The constant sqrt(words) and the learned scale belong to the requantization that follows.

    Raises:
        MappingError: a width or a number of words that no program is defined for.
    """
    check_bits("word", bits)
    check_bits("fraction", fraction_bits)
    check_bits("number of words", words, high=1 << 16)
    magnitude_bits = sum_bits(words, bits)
    check_bits("sum of squares", sum_bits(words, 2 * magnitude_bits), high=2 * MAX_ACCUMULATOR_BITS)
    builder = ProgramBuilder(f"layer norm of {words} x s{bits}", words)
    x = builder.input("x", bits, signed=True)

    summed = builder.columns(bits)
    emit_copy(builder, x, summed)
    total = emit_tree_sum(builder, summed, signed=True)
    builder.broadcast(total, total, 0)
    centred = builder.columns(magnitude_bits + 1)
    carry, borrow = builder.columns(2)
    for place in range(words.bit_length()):
        if words >> place & 1:
            emit_add_signed(builder, FULL_ADDER, x, centred[place:], carry)
    emit_add_signed(builder, FULL_SUBTRACTOR, total, centred, carry)

    sign, low = centred[-1], centred[:-1]
    magnitude = builder.columns(magnitude_bits)
    for origin, place in zip(low, magnitude, strict=True):
        builder.compare_write([(sign, 0), (origin, 1)], [(place, 1)])
    emit_ripple(builder, FULL_SUBTRACTOR, low, magnitude, borrow, when=((sign, 1),))
    builder.write([borrow], 0)

    square = builder.columns(2 * magnitude_bits)
    emit_multiply(builder, magnitude, magnitude, square)
    variance = emit_tree_sum(builder, square, signed=False)
    builder.broadcast(variance, variance, 0)
    root = builder.columns(-(-len(variance) // 2))
    emit_square_root(builder, variance, root)
    builder.compare_write([(column, 0) for column in root], [(root[0], 1)])

    quotient = builder.columns(fraction_bits + 1)
    emit_divide(builder, magnitude, root, quotient, fraction_bits=fraction_bits)
    result = builder.columns(fraction_bits + 2)
    for origin, place in zip(quotient, result, strict=False):
        builder.compare_write([(sign, 0), (origin, 1)], [(place, 1)])
    emit_ripple(builder, FULL_SUBTRACTOR, [*quotient, None], result, borrow, when=((sign, 1),))
    builder.output("y", result, signed=True)
    return builder.build()
