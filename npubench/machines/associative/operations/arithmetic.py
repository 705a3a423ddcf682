"""Addition, subtraction, multiplication, multiply-accumulate: programs and their building blocks.

`emit_*` functions append to a builder and are shared by every larger program; the other public
functions return whole programs and are cached, as a network asks for few widths many times.

Words are two's complement when signed. Closed forms of the core (compare and write cycles), with
n = min(a, b), w = max(a, b) bits; loading and reading add one cycle per bit column:

    add, subtract, unsigned   8 n + 4 (w - n)           result w + 1 bits
    add, subtract, signed     8 (w + 1) + 3
    add, subtract out of place, unsigned  10 n + 4 (w - n)
    multiply u x u, u x s     8 a b                     result a + b bits
    multiply s x s            8 a b + 11
    accumulate p in W bits    8 p + 4 (W - p) unsigned, 8 W + 1 signed
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from npubench.machines.associative.instructions import (
    FULL_ADDER,
    FULL_SUBTRACTOR,
    Bit,
    LutRow,
    Pass,
)
from npubench.machines.associative.program import Program, ProgramBuilder, check_bits

__all__ = [
    "ADD_TO",
    "MAX_ACCUMULATOR_BITS",
    "SUBTRACT_TO",
    "PresetTable",
    "Table",
    "accumulate",
    "add",
    "add_out_of_place",
    "emit_add_signed",
    "emit_multiply",
    "emit_ripple",
    "emit_sign_extend",
    "multiply",
    "multiply_accumulate",
    "product_signed",
    "subtract",
    "subtract_out_of_place",
]

MAX_ACCUMULATOR_BITS = 48
Table = tuple[LutRow, ...]
PresetTable = tuple[tuple[tuple[int, int, int], tuple[int | None, int | None]], ...]
"""Key (a, b, c) and what is written to (r, c), for results in columns preset to 0."""

ADD_TO: PresetTable = (
    ((0, 0, 1), (1, 0)),
    ((0, 1, 0), (1, None)),
    ((1, 0, 0), (1, None)),
    ((1, 1, 1), (1, None)),
    ((1, 1, 0), (None, 1)),
)
"""r <- a + b + c with r preset to 0: key (a, b, c), write (r, c). 110 after 111."""

SUBTRACT_TO: PresetTable = (
    ((1, 0, 0), (1, 1)),
    ((0, 1, 0), (1, None)),
    ((0, 0, 1), (1, None)),
    ((1, 1, 1), (1, None)),
    ((0, 1, 1), (None, 0)),
)
"""r <- b - a - c with r preset to 0, c <- borrow. 011 after 010."""


def emit_ripple(
    builder: ProgramBuilder,
    table: Table,
    a: Sequence[int | None],
    b: Sequence[int],
    carry: int,
    *,
    known_zero: int = 0,
    when: tuple[Bit, ...] = (),
) -> None:
    """b <- b +- a in place, bit by bit from the least significant; `carry` must hold 0.

    Args:
        builder: receives the passes.
        table: FULL_ADDER or FULL_SUBTRACTOR.
        a: columns of the operand, None where its bit is a constant 0 (two passes instead of four).
        b: columns of the other operand and of the result, as many as a.
        carry: column of carry or borrow; holds the outgoing one at the end.
        known_zero: top columns of b that hold 0 in every row (two passes instead of four).
        when: extra keys; rows that fail them keep b. Only passes that can start a carry need
            them: where none starts, none is ever compared as 1.
    """
    for place, (a_column, b_column) in enumerate(zip(a, b, strict=True)):
        b_is_zero = place >= len(b) - known_zero
        for row in table:
            if (a_column is None and row.a) or (b_is_zero and row.b):
                continue
            compare: tuple[Bit, ...] = () if a_column is None else ((a_column, row.a),)
            if not b_is_zero:
                compare += ((b_column, row.b),)
            compare += ((carry, row.c),)
            if row.a and when:
                compare += tuple(bit for bit in when if bit not in compare)
            write: tuple[Bit, ...] = ()
            if row.write_b is not None:
                write = ((b_column, row.write_b),)
            if row.write_c is not None:
                write += ((carry, row.write_c),)
            builder.add(Pass(compare, write))


def emit_sign_extend(builder: ProgramBuilder, sign: int, upper: Sequence[int]) -> None:
    """Copy a sign into columns that hold 0: one pass that writes all of them, none for none."""
    if upper:
        builder.compare_write([(sign, 1)], [(column, 1) for column in upper])


def emit_add_signed(
    builder: ProgramBuilder,
    table: Table,
    a: Sequence[int],
    b: Sequence[int],
    carry: int,
    *,
    when: tuple[Bit, ...] = (),
) -> None:
    """b <- b +- a modulo 2**len(b), a sign-extended by reusing its top column as key.

    One write cycle clears the carry for the next use.
    """
    extended = [*a, *[a[-1]] * (len(b) - len(a))]
    emit_ripple(builder, table, extended[: len(b)], b, carry, when=when)
    builder.write([carry], 0)


def product_signed(a_signed: bool, b_signed: bool) -> bool:
    """Whether a product is two's complement."""
    return a_signed or b_signed


def emit_multiply(
    builder: ProgramBuilder,
    a: Sequence[int],
    b: Sequence[int],
    product: Sequence[int],
    *,
    a_signed: bool = False,
    b_signed: bool = False,
) -> None:
    """product <- a * b, exact in len(a) + len(b) columns that hold 0 before.

    For every multiplier bit, a conditional addition of the multiplicand, shifted; the carry lives
    in the product column above, still 0 at that time, so none has to be cleared. A signed
    multiplier subtracts its last partial product: the borrow column is then the sign. For two
    signed operands the multiplicand's low bits are multiplied so, and where its sign is set the
    multiplier is subtracted at that place (8 a b + 11 cycles, where sign-extending every partial
    product takes 12 M**2 + 4 M).
    """
    if a_signed and not b_signed:
        emit_multiply(builder, b, a, product, b_signed=True)
        return
    low = a[:-1] if a_signed else a
    for place, multiplier in enumerate(b):
        last = b_signed and place == len(b) - 1
        top = place + len(low)
        emit_ripple(
            builder,
            FULL_SUBTRACTOR if last else FULL_ADDER,
            low,
            product[place:top],
            product[top],
            when=((multiplier, 1),),
        )
    if a_signed:
        emit_sign_extend(builder, product[-2], product[-1:])
        borrow = builder.columns(1)[0]
        emit_add_signed(
            builder, FULL_SUBTRACTOR, b, product[len(low) :], borrow, when=((a[-1], 1),)
        )


def _in_place(name: str, table: Table, a_bits: int, b_bits: int, signed: bool) -> Program:
    check_bits("operand a", a_bits, high=MAX_ACCUMULATOR_BITS)
    check_bits("operand b", b_bits, high=MAX_ACCUMULATOR_BITS)
    kind = "s" if signed else "u"
    builder = ProgramBuilder(f"{name} {kind}{a_bits} {kind}{b_bits}")
    wide = max(a_bits, b_bits)
    a = builder.input("a", a_bits, signed=signed)
    b = (*builder.input("b", b_bits, signed=signed), *builder.columns(wide + 1 - b_bits))
    if signed:
        emit_sign_extend(builder, b[b_bits - 1], b[b_bits:])
        emit_add_signed(builder, table, a, b, builder.columns(1)[0])
    else:
        operand = [*a, *[None] * (wide - a_bits)]
        emit_ripple(builder, table, operand, b[:wide], b[wide], known_zero=wide - b_bits)
    builder.output("b", b, signed=signed or table is FULL_SUBTRACTOR)
    return builder.build()


@cache
def add(a_bits: int, b_bits: int, *, signed: bool = False) -> Program:
    """b <- a + b in place, max(a_bits, b_bits) + 1 bits; the carry lives in the top bit.

    Raises:
        MappingError: a width that no program is defined for.
    """
    return _in_place("add", FULL_ADDER, a_bits, b_bits, signed)


@cache
def subtract(a_bits: int, b_bits: int, *, signed: bool = False) -> Program:
    """b <- b - a in place, max(a_bits, b_bits) + 1 bits, always two's complement.

    Raises:
        MappingError: a width that no program is defined for.
    """
    return _in_place("subtract", FULL_SUBTRACTOR, a_bits, b_bits, signed)


def _out_of_place(
    name: str,
    table: PresetTable,
    a_bits: int,
    b_bits: int,
) -> Program:
    check_bits("operand a", a_bits, high=MAX_ACCUMULATOR_BITS)
    check_bits("operand b", b_bits, high=MAX_ACCUMULATOR_BITS)
    builder = ProgramBuilder(f"{name} u{a_bits} u{b_bits}")
    wide = max(a_bits, b_bits)
    a, b = builder.input("a", a_bits), builder.input("b", b_bits)
    result = builder.columns(wide + 1)
    for place in range(wide):
        operands = (a[place : place + 1], b[place : place + 1])
        for key, write in table:
            if any(bit and not column for bit, column in zip(key, operands, strict=False)):
                continue
            compare = [
                (column[0], bit) for bit, column in zip(key, operands, strict=False) if column
            ]
            targets = zip((result[place], result[wide]), write, strict=True)
            builder.compare_write(
                [*compare, (result[wide], key[2])],
                [(column, bit) for column, bit in targets if bit is not None],
            )
    builder.output("r", result, signed=table is SUBTRACT_TO)
    return builder.build()


@cache
def add_out_of_place(a_bits: int, b_bits: int) -> Program:
    """r <- a + b, unsigned operands, both kept; five passes per common bit.

    Raises:
        MappingError: a width that no program is defined for.
    """
    return _out_of_place("add to", ADD_TO, a_bits, b_bits)


@cache
def subtract_out_of_place(a_bits: int, b_bits: int) -> Program:
    """r <- b - a, unsigned operands, both kept; r is two's complement.

    Raises:
        MappingError: a width that no program is defined for.
    """
    return _out_of_place("subtract to", SUBTRACT_TO, a_bits, b_bits)


def _kinds(a_signed: bool, b_signed: bool) -> tuple[str, str]:
    return "s" if a_signed else "u", "s" if b_signed else "u"


@cache
def multiply(
    a_bits: int, b_bits: int, *, a_signed: bool = False, b_signed: bool = False
) -> Program:
    """p <- a * b, out of place, a_bits + b_bits bits; needs 2 (a_bits + b_bits) columns.

    Raises:
        MappingError: an operand outside 1..MAX_ACCUMULATOR_BITS bits.
    """
    check_bits("operand a", a_bits, high=MAX_ACCUMULATOR_BITS)
    check_bits("operand b", b_bits, high=MAX_ACCUMULATOR_BITS)
    a_kind, b_kind = _kinds(a_signed, b_signed)
    builder = ProgramBuilder(f"multiply {a_kind}{a_bits} {b_kind}{b_bits}")
    a = builder.input("a", a_bits, signed=a_signed)
    b = builder.input("b", b_bits, signed=b_signed)
    product = builder.columns(a_bits + b_bits)
    emit_multiply(builder, a, b, product, a_signed=a_signed, b_signed=b_signed)
    builder.output("p", product, signed=product_signed(a_signed, b_signed))
    return builder.build()


def _emit_accumulate(
    builder: ProgramBuilder, word: Sequence[int], total: Sequence[int], *, signed: bool
) -> None:
    """total <- total + word; unsigned totals must not overflow, signed ones wrap."""
    carry = builder.columns(1)[0]
    if signed:
        emit_add_signed(builder, FULL_ADDER, word, total, carry)
    else:
        operand = [*word, *[None] * (len(total) - len(word))]
        emit_ripple(builder, FULL_ADDER, operand, total, carry)


@cache
def accumulate(bits: int, total_bits: int, *, signed: bool = False) -> Program:
    """acc <- acc + a in total_bits columns, total_bits >= bits; no column is added.

    The caller chooses total_bits so that the sum fits. An unsigned sum that fits leaves the
    carry column at 0; a signed one does not, so that a write cycle clears it.

    Raises:
        MappingError: a width that no program is defined for.
    """
    check_bits("addend", bits, high=MAX_ACCUMULATOR_BITS)
    check_bits("accumulator", total_bits, low=bits, high=MAX_ACCUMULATOR_BITS)
    kind = "s" if signed else "u"
    builder = ProgramBuilder(f"accumulate {kind}{bits} {kind}{total_bits}")
    word = builder.input("a", bits, signed=signed)
    total = builder.input("acc", total_bits, signed=signed)
    _emit_accumulate(builder, word, total, signed=signed)
    builder.output("acc", total, signed=signed)
    return builder.build()


@cache
def multiply_accumulate(
    a_bits: int,
    b_bits: int,
    total_bits: int,
    *,
    a_signed: bool = False,
    b_signed: bool = False,
) -> Program:
    """acc <- acc + a * b: a multiplication and one addition at accumulator width.

    Raises:
        MappingError: an operand outside 1..16 bits, or an accumulator narrower than the product.
    """
    check_bits("operand a", a_bits)
    check_bits("operand b", b_bits)
    check_bits("accumulator", total_bits, low=a_bits + b_bits, high=MAX_ACCUMULATOR_BITS)
    a_kind, b_kind = _kinds(a_signed, b_signed)
    signed = product_signed(a_signed, b_signed)
    builder = ProgramBuilder(f"multiply-accumulate {a_kind}{a_bits} {b_kind}{b_bits} {total_bits}")
    a = builder.input("a", a_bits, signed=a_signed)
    b = builder.input("b", b_bits, signed=b_signed)
    total = builder.input("acc", total_bits, signed=signed)
    product = builder.columns(a_bits + b_bits)
    emit_multiply(builder, a, b, product, a_signed=a_signed, b_signed=b_signed)
    _emit_accumulate(builder, product, total, signed=signed)
    builder.output("acc", total, signed=signed)
    return builder.build()
