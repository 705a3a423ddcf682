"""Programs that pick: copy, constants, ReLU, maximum of two, max pooling, tables.

Closed forms of the core, M bits: copy 2 M; constant 1 or 2; ReLU 2 M serial, 2 one-shot; maximum
8 M with four passes per bit, 6 M with three; a table 2 cycles per entry that is not 0.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache

from npubench.errors import MappingError
from npubench.machines.associative.instructions import Bit
from npubench.machines.associative.program import Program, ProgramBuilder, check_bits

__all__ = [
    "MAX_TABLE_BITS",
    "check_passes",
    "constant",
    "copy",
    "emit_copy",
    "emit_lookup",
    "emit_max",
    "emit_max_tree",
    "exponential_table",
    "gelu_table",
    "lookup",
    "max_of_two",
    "max_pool_rows",
    "max_pool_word",
    "relu",
    "sigmoid_table",
]

MAX_TABLE_BITS = 12
MaxRow = tuple[dict[str, int], dict[str, int]]

_MAX: dict[int, tuple[MaxRow, ...]] = {
    4: (
        ({"fa": 0, "fb": 0, "a": 0, "b": 1}, {"fb": 1}),
        ({"fa": 0, "fb": 0, "a": 1, "b": 0}, {"fa": 1}),
        ({"fb": 1, "a": 0, "b": 1}, {"a": 1}),
        ({"fb": 1, "a": 1, "b": 0}, {"a": 0}),
    ),
    3: (
        ({"fa": 0, "a": 0, "b": 1}, {"a": 1, "fb": 1}),
        ({"fb": 1, "a": 1, "b": 0}, {"a": 0}),
        ({"fa": 0, "fb": 0, "a": 1, "b": 0}, {"fa": 1}),
    ),
}
"""a <- max(a, b) from the top bit down, by passes per bit: key, write. fa: a has won, fb: b has."""


def emit_copy(builder: ProgramBuilder, source: Sequence[int], target: Sequence[int]) -> None:
    """target <- source inside a row, into columns that hold 0; one pass per bit."""
    for origin, place in zip(source, target, strict=True):
        builder.compare_write([(origin, 1)], [(place, 1)])


@cache
def copy(bits: int) -> Program:
    """r <- a.

    Raises:
        MappingError: a width outside 1..48 bits.
    """
    check_bits("word", bits, high=48)
    builder = ProgramBuilder(f"copy {bits}")
    source, target = builder.input("a", bits), builder.columns(bits)
    emit_copy(builder, source, target)
    builder.output("r", target)
    return builder.build()


@cache
def constant(bits: int, value: int) -> Program:
    """r <- value in every row: one write cycle for its ones, one for its zeros.

    Raises:
        MappingError: the value does not fit an unsigned word of that width.
    """
    check_bits("word", bits, high=48)
    if not 0 <= value < 1 << bits:
        raise MappingError(f"associative processor: constant {value} does not fit {bits} bits")
    builder = ProgramBuilder(f"constant {bits} {value}")
    target = builder.columns(bits)
    for bit in (1, 0):
        builder.write(
            [column for place, column in enumerate(target) if value >> place & 1 == bit], bit
        )
    builder.output("r", target)
    return builder.build()


@cache
def relu(bits: int, *, one_shot: bool = True) -> Program:
    """a <- max(a, 0) for two's complement words.

    One-shot: tag negative rows, write zeros to all columns at once. Serial: one column per pass,
    the sign last.

    Raises:
        MappingError: a width outside 1..48 bits.
    """
    check_bits("word", bits, high=48)
    builder = ProgramBuilder(f"relu {bits} {'one-shot' if one_shot else 'serial'}")
    word = builder.input("a", bits, signed=True)
    negative = [(word[-1], 1)]
    if one_shot:
        builder.compare_write(negative, [(column, 0) for column in word])
    else:
        for column in word:
            builder.compare_write(negative, [(column, 0)])
    builder.output("a", word, signed=True)
    return builder.build()


def emit_max(
    builder: ProgramBuilder,
    a: Sequence[int],
    b: Sequence[int],
    flags: tuple[int, int],
    *,
    signed: bool,
    passes: int = 4,
    smallest: bool = False,
) -> None:
    """a <- max(a, b); the flags must hold 0 and hold the winner afterwards.

    The sign of a two's complement word decides the other way round, so its keys are inverted;
    so are all keys for the minimum (`smallest`).
    """
    for place in reversed(range(len(a))):
        inverted = int((signed and place == len(a) - 1) != smallest)
        columns = {"a": a[place], "b": b[place], "fa": flags[0], "fb": flags[1]}
        flip = {"a": inverted, "b": inverted, "fa": 0, "fb": 0}
        for key, write in _MAX[passes]:
            builder.compare_write(
                [(columns[name], bit ^ flip[name]) for name, bit in key.items()],
                [(columns[name], bit ^ flip[name]) for name, bit in write.items()],
            )


def check_passes(passes: int) -> None:
    """Refuse a number of passes per bit that no table of the maximum has.

    Raises:
        MappingError: neither 3 nor 4.
    """
    if passes not in _MAX:
        raise MappingError(f"associative processor: maximum in {passes} passes, expected 3 or 4")


@cache
def max_of_two(bits: int, *, signed: bool = False, passes: int = 4) -> Program:
    """a <- max(a, b) with 3 or 4 passes per bit.

    Raises:
        MappingError: a width outside 1..48 bits, or another number of passes.
    """
    check_bits("word", bits, high=48)
    check_passes(passes)
    builder = ProgramBuilder(f"max {'s' if signed else 'u'}{bits} {passes} passes")
    a = builder.input("a", bits, signed=signed)
    b = builder.input("b", bits, signed=signed)
    fa, fb = builder.columns(2)
    emit_max(builder, a, b, (fa, fb), signed=signed, passes=passes)
    builder.output("a", a, signed=signed)
    return builder.build()


@cache
def max_pool_word(bits: int, window: int, *, signed: bool = False, passes: int = 4) -> Program:
    """Maximum of `window` words held in one row: window - 1 maxima, flags cleared in between.

    Raises:
        MappingError: a width outside 1..48 bits, an empty window, another number of passes.
    """
    check_bits("word", bits, high=48)
    check_bits("pooling window", window, high=1 << 16)
    check_passes(passes)
    builder = ProgramBuilder(f"max pool {'s' if signed else 'u'}{bits} of {window} in a row")
    words = [builder.input(f"x{item}", bits, signed=signed) for item in range(window)]
    fa, fb = builder.columns(2)
    for item, word in enumerate(words[1:]):
        if item:
            builder.write([fa, fb], 0)
        emit_max(builder, words[0], word, (fa, fb), signed=signed, passes=passes)
    builder.output("x0", words[0], signed=signed)
    return builder.build()


def emit_max_tree(
    builder: ProgramBuilder, word: Sequence[int], *, signed: bool, passes: int = 4
) -> None:
    """Slot 0 of `word` <- maximum over the segment's slots; other slots end up with leftovers.

    ceil(log2 slots) levels; the last distance is shortened so that no row beyond the segment is
    needed (a maximum may count an element twice).
    """
    other = builder.columns(len(word))
    fa, fb = builder.columns(2)
    covered = 1
    while covered < builder.slots:
        if covered > 1:
            builder.write([fa, fb], 0)
        distance = min(covered, builder.slots - covered)
        builder.move(word, other, distance)
        emit_max(builder, word, other, (fa, fb), signed=signed, passes=passes)
        covered += distance


@cache
def max_pool_rows(bits: int, window: int, *, signed: bool = False, passes: int = 4) -> Program:
    """Maximum of `window` rows, a tree of ceil(log2 window) levels: move 2 M, maximum 8 M.

    Raises:
        MappingError: a width outside 1..48 bits, an empty window, another number of passes.
    """
    check_bits("word", bits, high=48)
    check_bits("pooling window", window, high=1 << 16)
    check_passes(passes)
    builder = ProgramBuilder(f"max pool {'s' if signed else 'u'}{bits} of {window} rows", window)
    word = builder.input("x", bits, signed=signed)
    emit_max_tree(builder, word, signed=signed, passes=passes)
    builder.output("x", word, signed=signed, slots=(0,))
    return builder.build()


def emit_lookup(
    builder: ProgramBuilder, source: Sequence[int], target: Sequence[int], table: Sequence[int]
) -> None:
    """target <- table[source] into columns that hold 0: one pass per entry that is not 0.

    The index is the source's bit pattern (two's complement for negative inputs).
    """
    for index, value in enumerate(table):
        ones: list[Bit] = [(col, 1) for place, col in enumerate(target) if value >> place & 1]
        if ones:
            builder.compare_write(
                [(column, index >> place & 1) for place, column in enumerate(source)], ones
            )


@cache
def lookup(table: tuple[int, ...], out_bits: int, *, signed: bool = False) -> Program:
    """r <- table[a], a of log2(len(table)) bits; two cycles per entry that is not 0.

    Args:
        table: result for every bit pattern of the input.
        out_bits: width of the result.
        signed: whether results are two's complement.

    Raises:
        MappingError: a length that is no power of two, or an entry that does not fit.
    """
    bits = len(table).bit_length() - 1
    check_bits("table index", bits, high=MAX_TABLE_BITS)
    check_bits("table entry", out_bits)
    low = -(1 << (out_bits - 1)) if signed else 0
    if len(table) != 1 << bits or not low <= min(table) <= max(table) < low + (1 << out_bits):
        raise MappingError(
            f"associative processor: a table needs 2**n entries of {low} to "
            f"{low + (1 << out_bits) - 1}, got {len(table)} of {min(table)} to {max(table)}"
        )
    builder = ProgramBuilder(f"table {bits} to {out_bits}")
    source, target = builder.input("a", bits), builder.columns(out_bits)
    emit_lookup(builder, source, target, table)
    builder.output("r", target, signed=signed)
    return builder.build()


def _signed_index(index: int, bits: int) -> int:
    return index - (1 << bits) if index >> (bits - 1) else index


@cache
def sigmoid_table(bits: int, fraction_bits: int, out_bits: int) -> tuple[int, ...]:
    """floor((2**out_bits - 1) / (1 + exp(-x)) + 1/2), x = signed index / 2**fraction_bits."""
    top = (1 << out_bits) - 1
    inputs = (_signed_index(index, bits) / (1 << fraction_bits) for index in range(1 << bits))
    return tuple(math.floor(top / (1 + math.exp(-x)) + 0.5) for x in inputs)


@cache
def gelu_table(bits: int, fraction_bits: int) -> tuple[int, ...]:
    """floor(x Phi(x) + 1/2) at the input's own scale and width; Phi is the normal distribution."""
    values = [_signed_index(index, bits) for index in range(1 << bits)]
    scale = 1 << fraction_bits
    return tuple(
        math.floor(value * (1 + math.erf(value / scale / math.sqrt(2))) / 2 + 0.5)
        for value in values
    )


@cache
def exponential_table(bits: int, fraction_bits: int, out_bits: int) -> tuple[int, ...]:
    """floor((2**out_bits - 1) exp(-d) + 1/2), d = unsigned index / 2**fraction_bits."""
    top = (1 << out_bits) - 1
    return tuple(
        math.floor(top * math.exp(-index / (1 << fraction_bits)) + 0.5)
        for index in range(1 << bits)
    )
