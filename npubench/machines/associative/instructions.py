"""What an associative processor can do in its cycles: passes, moves between rows, row enables."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = [
    "FULL_ADDER",
    "FULL_SUBTRACTOR",
    "Bit",
    "Broadcast",
    "CarrySave",
    "Instruction",
    "LutRow",
    "Move",
    "Pass",
    "Rows",
    "Word",
]

Bit = tuple[int, int]
"""A column and the value it is compared with or set to."""


@dataclass(frozen=True, slots=True)
class LutRow:
    """One pass of a three-input table: key for (a, b, c), values for b and c (None: kept)."""

    a: int
    b: int
    c: int
    write_b: int | None
    write_c: int | None


FULL_ADDER = (
    LutRow(1, 1, 0, 0, 1),
    LutRow(1, 0, 0, 1, None),
    LutRow(0, 0, 1, 1, 0),
    LutRow(0, 1, 1, 0, None),
)
"""b <- a + b + c with c <- carry, in place. Pass 1 before 2 and 3 before 4; other orders fail.

Source: table and order of the FPGA associative processor of Tian et al. (public repository).
"""

FULL_SUBTRACTOR = (
    LutRow(1, 0, 0, 1, 1),
    LutRow(1, 1, 0, 0, None),
    LutRow(0, 1, 1, 0, 0),
    LutRow(0, 0, 1, 1, None),
)
"""b <- b - a - c with c <- borrow, in place. Source: as FULL_ADDER."""


@dataclass(frozen=True, slots=True)
class Pass:
    """Compare, then write the rows that match; an empty compare writes every active row."""

    compare: tuple[Bit, ...]
    write: tuple[Bit, ...]


@dataclass(frozen=True, slots=True)
class Move:
    """target[slot] <- source[slot + distance] inside a segment, 0 from beyond its ends.

    One bit column: a compare reads it into the tags, the tags shift along the rows, a write puts
    them down. Two cycles at any distance (assumption: the segment's tag network is that wide).
    """

    source: int
    target: int
    distance: int


@dataclass(frozen=True, slots=True)
class Broadcast:
    """target[every active slot] <- source[slot]; two cycles a bit column, as a move."""

    source: int
    target: int
    slot: int


@dataclass(frozen=True, slots=True)
class Rows:
    """Enable the slots start, start + step, ... below stop from here on.

    Disabled rows neither compare nor write. Setting the enable lines takes no cycle of its own
    (assumption: it happens while the previous write completes).
    """

    start: int
    stop: int
    step: int = 1

    @property
    def count(self) -> int:
        """Active slots of a segment."""
        return len(range(self.start, self.stop, self.step))


@dataclass(frozen=True, slots=True)
class CarrySave:
    """Add three rows into two, without carry propagation, in all `bits` columns at once.

    Keys run over rows and there is one tag per column (the vertical mode of a 2D processor). Each
    group (a, b, c) of slots executes FULL_ADDER: slot b then holds the sums, slot c the carries,
    which move up by one column (one compare, one write). The result is exact modulo 2**bits.
    `segmented`: all groups of all segments at once; otherwise one group after the other.
    """

    first: int
    bits: int
    groups: tuple[tuple[int, int, int], ...]
    segmented: bool = True


Instruction = Pass | Move | Broadcast | Rows | CarrySave


@dataclass(frozen=True, slots=True)
class Word:
    """Named bit columns, least significant first.

    `slots` are the rows of a segment that hold it; None stands for all of them.
    """

    name: str
    columns: tuple[int, ...]
    signed: bool = False
    slots: tuple[int, ...] | None = None

    @property
    def bits(self) -> int:
        """Width."""
        return len(self.columns)
