"""Microprograms of an associative processor: what it executes and what it is charged for.

The machine is a content-addressable memory of rows x bit columns with one tag bit per row. A LUT
pass takes one compare cycle (rows whose unmasked bits equal the key are tagged) and one write
cycle (unmasked bits of tagged rows are overwritten). A program is an immutable sequence of passes
and of moves between the rows of a segment. The emulator executes exactly these instructions and
`Program.counts` counts exactly these instructions, so a cost is never typed a second time.

A *segment* is the group of rows that belong together (the products of one scalar product, the
elements of one softmax); a row's position in it is its *slot*. Programs without row moves have one
slot: every row is a segment of its own. All segments execute a program at the same time.

Every column that is no input must hold 0 when a program starts; `Program.scratch` lists them and
one write cycle over all of them (`Program.cleared`) restores that state for a second use.

Sources: Foster, Content Addressable Parallel Processors, 1976; Fouda, Yantir, Eltawil, Kurdahi,
In-memory associative processors, IEEE TCAS-II 2022 (arXiv 2203.00662).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields
from functools import cache, cached_property

from npubench.errors import MappingError
from npubench.machines.associative.instructions import (
    FULL_ADDER,
    Bit,
    Broadcast,
    CarrySave,
    Instruction,
    Move,
    Pass,
    Rows,
    Word,
)

__all__ = [
    "MAX_OPERAND_BITS",
    "Counts",
    "Program",
    "ProgramBuilder",
    "check_bits",
]

MAX_OPERAND_BITS = 16


@dataclass(frozen=True, slots=True)
class Counts:
    """Events of one program; every field is counted from its instructions.

    Cycles are those of the whole array when all segments work at once. Cells are per segment
    (per row for programs of one slot): multiply by the segments that take part.

    Attributes:
        compares: compare cycles, those of moves included.
        writes: write cycles, those of moves included.
        move_compares: compare cycles that belong to moves, broadcasts and carry shifts.
        move_writes: write cycles that belong to the same.
        serial_cycles: cycles, out of the above, that every further segment repeats; not 0 only in
            reductions without segmentation.
        compared_cells: bit cells compared, over all compare cycles.
        driven_cells: bit cells whose bit lines a write cycle drives; only tagged rows are written.
        row_passes: compares times the rows (or, for a carry-save step, the columns) that take part:
            what an energy per pass and row is multiplied with.
        tagged_rows: expected matches under independent uniform bits: 2**-n for n cells.
        flipped_cells: expected bit flips under the same assumption. Products are far from uniform:
            `emulator.measured_activity` gives their real activity.
    """

    compares: int = 0
    writes: int = 0
    move_compares: int = 0
    move_writes: int = 0
    serial_cycles: int = 0
    compared_cells: int = 0
    driven_cells: int = 0
    row_passes: int = 0
    tagged_rows: float = 0.0
    flipped_cells: float = 0.0

    @property
    def cycles(self) -> int:
        """Compare and write cycles for one segment, or for any number that work at once."""
        return self.compares + self.writes

    @property
    def move_cycles(self) -> int:
        """Cycles spent on moves, broadcasts and carry shifts."""
        return self.move_compares + self.move_writes

    @property
    def pass_cycles(self) -> int:
        """Cycles spent on LUT passes: what the literature's formulas count."""
        return self.cycles - self.move_cycles

    @property
    def passes(self) -> int:
        """LUT passes: compare cycles that no move accounts for."""
        return self.compares - self.move_compares

    def cycles_for(self, segments: int) -> int:
        """Cycles when `segments` segments execute the program on one array."""
        return self.cycles + (segments - 1) * self.serial_cycles

    def __add__(self, other: Counts) -> Counts:
        """Events of two programs, one after the other."""
        return Counts(
            *(getattr(self, item.name) + getattr(other, item.name) for item in fields(Counts))
        )


_Row = tuple[int, int, int, int, int, int, int, int, float, float]
"""The fields of `Counts`, in order."""


@cache
def _count_shape(compared: int, written: int, changes: float, active: int) -> _Row:
    """A pass of so many cells; `changes` are its expected flips in a row that matches."""
    match = active * 0.5**compared
    cycles = int(compared > 0), int(written > 0)
    passed = active if compared else 0
    cells = active * compared, active * written
    return (*cycles, 0, 0, 0, *cells, passed, match, match * changes)


def _count_pass(step: Pass, active: int) -> _Row:
    """A pass in `active` rows. A written cell flips for certain if its own key was the opposite."""
    changes = 0.0
    for cell in step.write:
        if (cell[0], 1 - cell[1]) in step.compare:
            changes += 1.0
        elif cell not in step.compare:
            changes += 0.5
    return _count_shape(len(step.compare), len(step.write), changes, active)


def _count_carry_save(step: CarrySave) -> _Row:
    """One level: the adder's passes and the shift of the carry rows, per group in `bits` lanes."""
    groups, passes = len(step.groups), len(FULL_ADDER)
    turns = 1 if step.segmented else groups
    cycles = turns * (passes + 1)
    repeated = 0 if step.segmented else 2 * cycles
    lanes = groups * step.bits
    writes = sum((row.write_b is not None) + (row.write_c is not None) for row in FULL_ADDER)
    cells = lanes * (3 * passes + 1), lanes * (writes + 1)
    expected = lanes * (passes / 8 + 0.5), lanes * (writes / 8 + 0.5)
    return (cycles, cycles, turns, turns, repeated, *cells, lanes * (passes + 1), *expected)


def _count_move(active: int) -> _Row:
    """One bit column carried between rows; half of uniform bits are 1, half change."""
    return (1, 1, 1, 1, 0, active, active, active, active / 2, active / 2)


@dataclass(frozen=True, eq=False)
class Program:
    """An operation as the processor executes it.

    Compared by identity: the functions that make programs are cached, and a program may be a key.

    Attributes:
        name: operation and widths, for tables and messages.
        width: bit columns a row needs; a wider word than a processor's row must be ganged.
        slots: rows of a segment.
        inputs: words that are loaded, one cycle per bit column.
        outputs: words that hold results; their columns may be those of inputs.
        instructions: in order.
    """

    name: str
    width: int
    slots: int
    inputs: tuple[Word, ...]
    outputs: tuple[Word, ...]
    instructions: tuple[Instruction, ...] = field(repr=False)

    @cached_property
    def counts(self) -> Counts:
        """Compare, write and cell events; loading and reading are apart."""
        seen: Counter[_Row] = Counter()  # programs have thousands of steps of a few kinds
        active = self.slots
        for step in self.instructions:
            match step:
                case Rows():
                    active = step.count
                case Pass():
                    seen[_count_pass(step, active)] += 1
                case CarrySave():
                    seen[_count_carry_save(step)] += 1
                case Move() | Broadcast():
                    seen[_count_move(active)] += 1
        rows = (tuple(times * value for value in row) for row, times in seen.items())
        return Counts(*map(sum, zip(*rows, strict=True)))

    @property
    def populate_cycles(self) -> int:
        """Write cycles that load the inputs: one per bit column."""
        return sum(word.bits for word in self.inputs)

    @property
    def read_cycles(self) -> int:
        """Cycles that read the outputs: one per bit column."""
        return sum(word.bits for word in self.outputs)

    @property
    def total_cycles(self) -> int:
        """Loading, compare and write cycles, reading."""
        return self.populate_cycles + self.counts.cycles + self.read_cycles

    @cached_property
    def scratch(self) -> tuple[int, ...]:
        """Columns that must be 0 at the start."""
        loaded = {column for word in self.inputs for column in word.columns}
        return tuple(column for column in range(self.width) if column not in loaded)

    @cached_property
    def cleared(self) -> Program:
        """The same program, first clearing its scratch columns (one write cycle, if any)."""
        clear = Pass((), tuple((column, 0) for column in self.scratch))
        head = (clear,) if self.scratch else ()
        return Program(
            f"{self.name}, cleared",
            self.width,
            self.slots,
            self.inputs,
            self.outputs,
            (*head, *self.instructions),
        )

    def input(self, name: str) -> Word:
        """The input of that name."""
        return _named(self.inputs, name)

    def output(self, name: str) -> Word:
        """The output of that name."""
        return _named(self.outputs, name)


def _named(words: Iterable[Word], name: str) -> Word:
    known = {word.name: word for word in words}
    return known[name]


class ProgramBuilder:
    """Collects columns, words and instructions; `build` returns the finished program."""

    def __init__(self, name: str, slots: int = 1) -> None:
        self._name = name
        self._slots = slots
        self._width = 0
        self._inputs: list[Word] = []
        self._outputs: list[Word] = []
        self._steps: list[Instruction] = []

    @property
    def slots(self) -> int:
        """Rows of a segment."""
        return self._slots

    def columns(self, bits: int) -> tuple[int, ...]:
        """New columns that hold 0 at the start."""
        first = self._width
        self._width += bits
        return tuple(range(first, self._width))

    def input(
        self, name: str, bits: int, *, signed: bool = False, slots: tuple[int, ...] | None = None
    ) -> tuple[int, ...]:
        """New columns that are loaded before the start."""
        columns = self.columns(bits)
        self._inputs.append(Word(name, columns, signed, slots))
        return columns

    def output(
        self,
        name: str,
        columns: Sequence[int],
        *,
        signed: bool = False,
        slots: tuple[int, ...] | None = None,
    ) -> None:
        """Name the columns of a result, least significant first."""
        self._outputs.append(Word(name, tuple(columns), signed, slots))

    def compare_write(self, compare: Iterable[Bit], write: Iterable[Bit]) -> None:
        """One LUT pass."""
        self._steps.append(Pass(tuple(compare), tuple(write)))

    def write(self, columns: Iterable[int], bit: int) -> None:
        """Set columns of every active row in one write cycle; none for no columns."""
        bits = tuple((column, bit) for column in columns)
        if bits:
            self._steps.append(Pass((), bits))

    def move(self, source: Sequence[int], target: Sequence[int], distance: int) -> None:
        """Carry a word over `distance` slots, bit by bit."""
        for origin, place in zip(source, target, strict=True):
            self._steps.append(Move(origin, place, distance))

    def broadcast(self, source: Sequence[int], target: Sequence[int], slot: int) -> None:
        """Copy the word of one slot to all active slots, bit by bit."""
        for origin, place in zip(source, target, strict=True):
            self._steps.append(Broadcast(origin, place, slot))

    def rows(self, start: int = 0, stop: int | None = None, step: int = 1) -> None:
        """Enable some slots, all by default."""
        self._steps.append(Rows(start, self._slots if stop is None else stop, step))

    def add(self, step: Instruction) -> None:
        """Append a ready instruction."""
        self._steps.append(step)

    def build(self) -> Program:
        """The finished program."""
        return Program(
            self._name,
            self._width,
            self._slots,
            tuple(self._inputs),
            tuple(self._outputs),
            tuple(self._steps),
        )


def check_bits(what: str, bits: int, low: int = 1, high: int = MAX_OPERAND_BITS) -> None:
    """Refuse a width that no program is defined for.

    Raises:
        MappingError: bits is outside low..high.
    """
    if not low <= bits <= high:
        raise MappingError(
            f"associative processor: {what} is {bits} bits wide, expected {low} to {high}"
        )
