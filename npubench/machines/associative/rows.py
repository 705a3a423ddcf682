"""Rows and words on the arrays: how many segments run at once, and what is charged for them."""

from __future__ import annotations

from dataclasses import dataclass

from npubench.machines.associative.program import Counts, Program
from npubench.machines.associative.spec import AssociativeSpec

__all__ = ["Charge", "charge", "fold_count", "gang_of", "loaded", "program_charge", "read"]


@dataclass(frozen=True, slots=True)
class Charge:
    """Work of one kind: cycles of the clock, and events over all rows.

    Attributes:
        cycles: of the array.
        compared: cells compared or read.
        changed: cells that a write changes.
        row_passes: rows times LUT passes; a column read counts as one.
        loaded: of the cells changed, those that loading changes, which has no passes.
    """

    cycles: int = 0
    compared: float = 0.0
    changed: float = 0.0
    row_passes: float = 0.0
    loaded: float = 0.0

    def __add__(self, other: Charge) -> Charge:
        """Both, one after the other."""
        return Charge(
            self.cycles + other.cycles,
            self.compared + other.compared,
            self.changed + other.changed,
            self.row_passes + other.row_passes,
            self.loaded + other.loaded,
        )

    def times(self, count: int) -> Charge:
        """The same work again and again."""
        return Charge(
            self.cycles * count,
            self.compared * count,
            self.changed * count,
            self.row_passes * count,
            self.loaded * count,
        )


def gang_of(spec: AssociativeSpec, columns: int) -> int:
    """CAPs that a word of so many columns lies across."""
    if spec.organisation.word == "paper":
        return 1
    return -(-columns // spec.organisation.columns.integer)


def fold_count(spec: AssociativeSpec, segments: int, slots: int, columns: int) -> int:
    """Executions until every segment had its turn; at least 1.

    A segment of `slots` rows lies inside one CAP (or gang); `slots` is at most a CAP's rows.
    """
    organisation = spec.organisation
    if organisation.resources == "unlimited":
        return 1
    if organisation.word == "paper":
        return max(-(-segments * slots // (organisation.caps * organisation.rows.integer)), 1)
    together = organisation.caps // gang_of(spec, columns)
    at_once = max(together, 1) * (organisation.rows.integer // slots)
    return max(-(-segments // at_once), 1)


def charge(
    spec: AssociativeSpec, counts: Counts, segments: int, folds: int, changed: float | None = None
) -> Charge:
    """Events of a program in `segments` segments that take `folds` executions.

    Args:
        spec: cycles of compares and writes.
        counts: of the program; cells are per segment.
        segments: all of them.
        folds: executions.
        changed: cells that change, a segment; by default what uniform bits would.
    """
    cell = spec.cell
    cycles = (
        counts.compares * cell.compare_cycles.integer + counts.writes * cell.write.cycles.integer
    )
    flips = counts.flipped_cells if changed is None else changed
    return Charge(
        cycles * folds,
        float(counts.compared_cells) * segments,
        flips * segments,
        float(counts.row_passes) * segments,
    )


def program_charge(
    spec: AssociativeSpec, program: Program, segments: int
) -> tuple[Charge, Charge, Charge]:
    """(core, loading, reading) of a program over all segments, folds included."""
    slots = min(program.slots, _rows(spec, program.slots))
    folds = fold_count(spec, segments, slots, program.width)
    core = charge(spec, program.counts, segments, folds)
    return (
        core,
        loaded(spec, program.populate_cycles, segments * program.slots, folds),
        read(program.read_cycles, segments, folds),
    )


def _rows(spec: AssociativeSpec, slots: int) -> int:
    if spec.organisation.resources == "unlimited":
        return slots
    return spec.organisation.rows.integer


def loaded(spec: AssociativeSpec, columns: int, rows: int, folds: int) -> Charge:
    """Writing `columns` bit columns in every row; half of uniform bits change their cell."""
    cycles = columns * spec.cell.write.cycles.integer * folds
    changed = columns * rows / 2
    return Charge(cycles, changed=changed, loaded=changed)


def read(columns: int, rows: int, folds: int) -> Charge:
    """Reading `columns` bit columns of every row: a compare of one cell each."""
    return Charge(columns * folds, float(columns * rows), 0.0, float(columns * rows))
