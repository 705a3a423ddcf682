"""The microprograms put to the test: closed form, program, emulator and integers side by side.

Closed forms are written here a second time, from the algorithms and not from the programs: n and w
are the narrower and the wider operand, t the accumulator, a and b the widths. `prove` executes a
program on random and extreme operands and reports what it found; it never decides.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from npubench.machines.associative.emulator import execute
from npubench.machines.associative.operations.arithmetic import (
    add,
    add_out_of_place,
    multiply,
    multiply_accumulate,
    subtract,
    subtract_out_of_place,
)
from npubench.machines.associative.operations.mixed import add_mixed, multiply_in_place
from npubench.machines.associative.operations.select import (
    exponential_table,
    gelu_table,
    lookup,
    max_of_two,
    relu,
    sigmoid_table,
)
from npubench.machines.associative.operations.signs import min_of_two
from npubench.machines.associative.program import Program

__all__ = ["OPERATIONS", "TABLES", "Operation", "Proof", "prove", "random_operands"]

Integers = NDArray[np.int64]
Operands = Mapping[str, Integers]
_HEADROOM = 3


@dataclass(frozen=True, slots=True)
class Operation:
    """A program family with its closed form and its meaning.

    Attributes:
        name: in words.
        formula: the closed form of the core's cycles, as text.
        cycles: the same as a function of the operands' widths.
        make: the program at those widths.
        meaning: the result in int64 from the operands by name.
        unary: whether there is one operand only; the second width is then without effect.
    """

    name: str
    formula: str
    cycles: Callable[[int, int], int]
    make: Callable[[int, int], Program]
    meaning: Callable[[Operands], Integers]
    unary: bool = False


@dataclass(frozen=True, slots=True)
class Proof:
    """What one program showed: three counts, and results that differ from the integers.

    Attributes:
        program: its name.
        closed_form, counted, emulated: cycles of the core by formula, program and emulator.
        columns: bit columns of a row.
        operands: operand sets executed.
        wrong: how many of them gave another result.
    """

    program: str
    closed_form: int
    counted: int
    emulated: int
    columns: int
    operands: int
    wrong: int

    @property
    def holds(self) -> bool:
        """Whether all three counts are equal and every result is right."""
        return self.closed_form == self.counted == self.emulated and self.wrong == 0


def random_operands(program: Program, rows: int, seed: int) -> dict[str, Integers]:
    """Uniform operands; the first rows hold every combination of two operands' extremes.

    A word named ``acc`` keeps headroom for one more product.
    """
    random = np.random.default_rng(seed)
    operands: dict[str, Integers] = {}
    for index, word in enumerate(program.inputs):
        low = -(1 << (word.bits - 1)) if word.signed else 0
        high = low + (1 << word.bits) - 1
        values = random.integers(low, high + 1, size=rows, dtype=np.int64)
        corners = [low, high] if index == 0 else [low, low, high, high]
        values[:4] = (corners * 2)[:4]
        operands[word.name] = values // 8 * 7 if word.name == "acc" else values
    return operands


def prove(operation: Operation, a_bits: int, b_bits: int, rows: int, seed: int = 0) -> Proof:
    """Execute an operation at these widths on `rows` operand sets, at least 4.

    Raises:
        MappingError: a width that no program is defined for.
    """
    program = operation.make(a_bits, b_bits)
    operands = random_operands(program, rows, seed)
    results, events = execute(program, operands)
    found = results[program.outputs[0].name][0]
    return Proof(
        program=program.name,
        closed_form=operation.cycles(a_bits, b_bits),
        counted=program.counts.cycles,
        emulated=events.cycles,
        columns=program.width,
        operands=rows,
        wrong=int(np.count_nonzero(found != operation.meaning(operands))),
    )


def _narrow_and_rest(a: int, b: int) -> int:
    return 8 * min(a, b) + 4 * abs(a - b)


def _mac(kinds: str) -> Operation:
    """Of operands of these kinds, ``u`` or ``s`` each, into an accumulator with headroom."""
    a_signed, b_signed = (kind == "s" for kind in kinds)
    signed = a_signed or b_signed
    extra = 11 if kinds == "ss" else 0

    def cycles(a: int, b: int) -> int:
        total = a + b + _HEADROOM
        return 8 * a * b + extra + (8 * total + 1 if signed else 8 * (a + b) + 4 * _HEADROOM)

    return Operation(
        f"multiply-accumulate {' x '.join(kinds)}",
        f"8 a b{_more(extra)} + {'8 t + 1' if signed else '8 (a + b) + 4 (t - a - b)'}",
        cycles,
        lambda a, b: multiply_accumulate(
            a, b, a + b + _HEADROOM, a_signed=a_signed, b_signed=b_signed
        ),
        lambda x: x["acc"] + x["a"] * x["b"],
    )


def _multiply(kinds: str) -> Operation:
    extra = 11 if kinds == "ss" else 0
    return Operation(
        f"multiply {' x '.join(kinds)}",
        f"8 a b{_more(extra)}",
        lambda a, b: 8 * a * b + extra,
        partial(multiply, a_signed=kinds[0] == "s", b_signed=kinds[1] == "s"),
        lambda x: x["a"] * x["b"],
    )


def _more(extra: int) -> str:
    return f" + {extra}" if extra else ""


def _extreme(name: str, make: Callable[..., Program], kind: str) -> Operation:
    pick = np.maximum if name == "maximum" else np.minimum
    return Operation(
        f"{name} {kind}",
        "8 a",
        lambda a, _: 8 * a,
        lambda a, _: make(a, signed=kind == "s"),
        lambda x: pick(x["a"], x["b"]),
        unary=True,
    )


def _relu(how: str, formula: str, per_bit: int) -> Operation:
    return Operation(
        f"ReLU, {how}",
        formula,
        lambda a, _: per_bit * a or 2,
        lambda a, _: relu(a, one_shot=how == "one-shot"),
        lambda x: np.maximum(x["a"], 0),
        unary=True,
    )


def _lookup(
    name: str, table: Callable[[int], tuple[int, ...]], out: int | None, *, signed: bool = False
) -> Operation:
    """A function by table; `out` bits, or as many as go in."""
    return Operation(
        f"{name} by table",
        "2 for each entry that is not 0",
        lambda a, _: 2 * sum(value != 0 for value in table(a)),
        lambda a, _: lookup(table(a), a if out is None else out, signed=signed),
        lambda x: np.array(table(int(x["a"].max()).bit_length()), dtype=np.int64)[x["a"]],
        unary=True,
    )


OPERATIONS: tuple[Operation, ...] = (
    Operation("add u + u", "8 n + 4 (w - n)", _narrow_and_rest, add, lambda x: x["b"] + x["a"]),
    Operation(
        "add s + s",
        "8 (w + 1) + 3",
        lambda a, b: 8 * (max(a, b) + 1) + 3,
        partial(add, signed=True),
        lambda x: x["b"] + x["a"],
    ),
    Operation(
        "add u + s",
        "8 a + 4 (max(a + 1, b) + 1 - a) + 3",
        lambda a, b: 8 * a + 4 * (max(a + 1, b) + 1 - a) + 3,
        partial(add_mixed, a_signed=False, b_signed=True),
        lambda x: x["b"] + x["a"],
    ),
    Operation(
        "add u + u, out of place",
        "10 n + 4 (w - n)",
        lambda a, b: 10 * min(a, b) + 4 * abs(a - b),
        add_out_of_place,
        lambda x: x["b"] + x["a"],
    ),
    Operation(
        "subtract u - u", "8 n + 4 (w - n)", _narrow_and_rest, subtract, lambda x: x["b"] - x["a"]
    ),
    Operation(
        "subtract s - s",
        "8 (w + 1) + 3",
        lambda a, b: 8 * (max(a, b) + 1) + 3,
        partial(subtract, signed=True),
        lambda x: x["b"] - x["a"],
    ),
    Operation(
        "subtract u - u, out of place",
        "10 n + 4 (w - n), 2 more a bit where b is wider",
        lambda a, b: 10 * min(a, b) + 4 * abs(a - b) + 2 * max(b - a, 0),
        subtract_out_of_place,
        lambda x: x["b"] - x["a"],
    ),
    _multiply("uu"),
    _multiply("us"),
    _multiply("ss"),
    Operation(
        "multiply u x u, in place",
        "8 a b + 3 b - 1",
        lambda a, b: 8 * a * b + 3 * b - 1,
        multiply_in_place,
        lambda x: x["a"] * x["b"],
    ),
    _mac("uu"),
    _mac("us"),
    _mac("ss"),
    _extreme("maximum", max_of_two, "u"),
    _extreme("maximum", max_of_two, "s"),
    _extreme("minimum", min_of_two, "s"),
    _relu("one-shot", "2", 0),
    _relu("serial", "2 a", 2),
)
"""What a network is made of, at widths 1..16 of either operand."""

TABLES: tuple[Operation, ...] = (
    _lookup("sigmoid", lambda a: sigmoid_table(a, 2, 8), 8),
    _lookup("exponential", lambda a: exponential_table(a, 2, 8), 8),
    _lookup("GELU", lambda a: gelu_table(a, 2), None, signed=True),
)
"""Functions of one operand by table: 8-bit results, GELU as wide as its input; 1..12 bits."""
