"""Executes microprograms bit by bit on numpy bit planes and counts what happens.

A `Cam` holds planes[column, slot, word]: 64 segments to a uint64 word, so that one numpy operation
is one compare or write of that many rows. Nothing here knows what a program computes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from npubench.errors import MappingError
from npubench.machines.associative.instructions import (
    FULL_ADDER,
    Broadcast,
    CarrySave,
    Move,
    Pass,
    Rows,
    Word,
)
from npubench.machines.associative.program import Program

__all__ = ["Activity", "Cam", "Events", "execute", "measured_activity"]

Plane = NDArray[np.uint64]
Integers = NDArray[np.int64]

_LANES = 64
_SAMPLE_ROWS = 4096


@dataclass(frozen=True, slots=True)
class Events:
    """What an emulation did. Cycles are of the array, the rest is summed over all its rows.

    Attributes:
        compares, writes: cycles, those of moves included.
        populates, reads: cycles of loading and reading, one per bit column.
        compared_cells: bit cells compared.
        written_cells: bit cells of tagged rows addressed by a write.
        tagged_rows: rows matched, over all compares.
        flipped_cells: bit cells that changed in writes of the program (loading not included).
        loaded_cells: bit cells written while loading.
        read_cells: bit cells read out.
    """

    compares: int = 0
    writes: int = 0
    populates: int = 0
    reads: int = 0
    compared_cells: int = 0
    written_cells: int = 0
    tagged_rows: int = 0
    flipped_cells: int = 0
    loaded_cells: int = 0
    read_cells: int = 0

    @property
    def cycles(self) -> int:
        """Compare and write cycles."""
        return self.compares + self.writes

    @property
    def total_cycles(self) -> int:
        """All cycles, loading and reading included."""
        return self.cycles + self.populates + self.reads

    def __add__(self, other: Events) -> Events:
        """Two emulations, one after the other."""
        return Events(
            *(getattr(self, item.name) + getattr(other, item.name) for item in fields(Events))
        )

    def beside(self, other: Events) -> Events:
        """Two emulations of the same program at the same time: cycles once, cells added."""
        return Events(
            self.compares,
            self.writes,
            self.populates,
            self.reads,
            *(getattr(self, item.name) + getattr(other, item.name) for item in fields(Events)[4:]),
        )


@dataclass(frozen=True, slots=True)
class Activity:
    """Measured activity per segment (per row for programs of one slot), random operands."""

    tagged_rows: float
    written_cells: float
    flipped_cells: float


class Cam:
    """Rows x bit columns of one array (or of many in lockstep), all 0 at first."""

    def __init__(self, width: int, segments: int, slots: int = 1) -> None:
        """Make an array of slots x segments rows of `width` columns."""
        self._segments = segments
        self._slots = slots
        words = -(-segments // _LANES)
        self._planes: Plane = np.zeros((width, slots, words), dtype=np.uint64)
        self._valid: Plane = np.full((1, words), np.iinfo(np.uint64).max, dtype=np.uint64)
        if segments % _LANES:
            self._valid[0, -1] = np.uint64((1 << segments % _LANES) - 1)
        self._seen: list[tuple[int, ...]] = []  # fields of Events, one entry per cycle or word

    @property
    def events(self) -> Events:
        """Everything counted since the array was made."""
        if not self._seen:
            return Events()
        self._seen = [tuple(map(sum, zip(*self._seen, strict=True)))]
        return Events(*self._seen[0])

    def load(self, word: Word, values: Integers) -> None:
        """Write integers into a word, one cycle per bit column.

        Args:
            word: where; `word.slots` chooses the rows of a segment.
            values: shape (slots of the word, segments), or (segments,) for one slot.

        Raises:
            MappingError: a value that the word cannot hold.
        """
        picked = self._slots if word.slots is None else len(word.slots)
        numbers = np.asarray(values, dtype=np.int64).reshape(picked, self._segments)
        low = -(1 << (word.bits - 1)) if word.signed else 0
        high = low + (1 << word.bits) - 1
        if numbers.size and (numbers.min() < low or numbers.max() > high):
            raise MappingError(
                f"associative processor: word '{word.name}' holds {low} to {high}, "
                f"got {int(numbers.min())} to {int(numbers.max())}"
            )
        rows = slice(None) if word.slots is None else list(word.slots)
        narrow = word.bits <= np.iinfo(np.int16).bits
        pattern = numbers.astype(np.int16) if narrow else numbers
        for place, column in enumerate(word.columns):
            self._planes[column, rows] = self._pack(pattern >> place & 1)
        loaded = word.bits * picked * self._segments
        self._seen.append((0, 0, word.bits, 0, 0, 0, 0, 0, loaded, 0))

    def read(self, word: Word) -> Integers:
        """Integers of a word, shape (slots of the word, segments); one cycle per bit column."""
        rows = slice(None) if word.slots is None else list(word.slots)
        picked = self._slots if word.slots is None else len(word.slots)
        total = np.zeros((picked, self._segments), dtype=np.int64)
        for place, column in enumerate(word.columns):
            bits = self._unpack(self._planes[column, rows])
            if word.signed and place == word.bits - 1:
                total -= bits << place
            else:
                total += bits << place
        read = word.bits * picked * self._segments
        self._seen.append((0, 0, 0, word.bits, 0, 0, 0, 0, 0, read))
        return total

    def run(self, program: Program) -> None:
        """Execute a program; its columns are the array's first ones.

        Raises:
            MappingError: the array has too few columns or another number of slots.
        """
        if program.width > len(self._planes) or program.slots != self._slots:
            raise MappingError(
                f"associative processor: {program.name} needs {program.width} columns and "
                f"{program.slots} slots, the array has {len(self._planes)} and {self._slots}"
            )
        active = slice(None)
        for step in program.instructions:
            match step:
                case Pass():
                    self._pass(step, self._planes[:, active])
                case Rows():
                    active = slice(step.start, step.stop, step.step)
                case Move():
                    self._put(step.target, self._shifted(step), active)
                case Broadcast():
                    self._put(step.target, self._planes[step.source, [step.slot]], active)
                case CarrySave():
                    self._carry_save(step)

    def _pack(self, bits: NDArray[np.signedinteger[Any]]) -> Plane:
        """0/1 integers (rows, segments) as (rows, words)."""
        padded = np.zeros((len(bits), self._planes.shape[2] * _LANES), dtype=np.uint8)
        padded[:, : self._segments] = bits
        octets = np.packbits(padded, axis=1, bitorder="little")
        words: Plane = octets.view(np.uint64)
        return words

    def _unpack(self, plane: Plane) -> Integers:
        """(rows, words) as 0/1 integers (rows, segments)."""
        octets = np.ascontiguousarray(plane).view(np.uint8)
        bits = np.unpackbits(octets, axis=1, count=self._segments, bitorder="little")
        return bits.astype(np.int64)

    def _pass(self, step: Pass, view: Plane) -> None:
        tag = np.empty(view.shape[1:], dtype=np.uint64)
        spare = np.empty_like(tag)
        tag[:] = self._valid
        for column, bit in step.compare:
            _match(tag, view[column], bit, spare)
        tagged = _ones(tag)
        key = dict(step.compare)
        flips = 0
        for column, bit in step.write:
            plane = view[column]
            if key.get(column) == 1 - bit:  # every tagged row holds the opposite
                plane ^= tag
                flips += tagged
                continue
            np.bitwise_and(tag, plane if bit == 0 else np.invert(plane, out=spare), out=spare)
            plane ^= spare
            flips += _ones(spare)
        rows = view.shape[1] * self._segments
        cycles = int(bool(step.compare)), int(bool(step.write))
        cells = rows * len(step.compare), tagged * len(step.write)
        self._seen.append((*cycles, 0, 0, *cells, tagged, flips, 0, 0))

    def _shifted(self, step: Move) -> Plane:
        source = self._planes[step.source]
        moved: Plane = np.zeros_like(source)
        kept = max(self._slots - abs(step.distance), 0)
        if step.distance >= 0:
            moved[:kept] = source[self._slots - kept :]
        else:
            moved[self._slots - kept :] = source[:kept]
        return moved

    def _put(self, target: int, value: Plane, active: slice) -> None:
        """Write a column of tags in the active rows: one compare and one write cycle."""
        place = self._planes[target, active]
        tags = np.broadcast_to(value, self._planes.shape[1:])[active]
        rows = place.shape[0] * self._segments
        flips = _ones(place ^ tags)
        place[:] = tags
        self._seen.append((1, 1, 0, 0, rows, rows, _ones(tags), flips, 0, 0))

    def _carry_save(self, step: CarrySave) -> None:
        word = self._planes[step.first : step.first + step.bits]
        slots = np.array(step.groups, dtype=np.intp).reshape(-1, 3).T
        lanes = {name: word[:, rows] for name, rows in zip("abc", slots, strict=True)}
        tag = np.empty_like(lanes["a"])
        spare = np.empty_like(tag)
        cells, turns = tag.shape[0] * tag.shape[1] * self._segments, 1
        if not step.segmented:
            turns = len(step.groups) * self._segments
        for row in FULL_ADDER:
            tag[:] = self._valid
            for name, bit in (("a", row.a), ("b", row.b), ("c", row.c)):
                _match(tag, lanes[name], bit, spare)
            tagged = _ones(tag)
            flips = 0
            for name, value in (("b", row.write_b), ("c", row.write_c)):
                if value is not None:  # the table only writes cells that hold the opposite
                    lanes[name] ^= tag
                    flips += tagged
            self._seen.append((turns, turns, 0, 0, 3 * cells, flips, tagged, flips, 0, 0))
        shifted = np.zeros_like(lanes["c"])
        shifted[1:] = lanes["c"][:-1]
        flips = _ones(shifted ^ lanes["c"])
        self._seen.append((turns, turns, 0, 0, cells, cells, _ones(shifted), flips, 0, 0))
        word[:, slots[1]] = lanes["b"]
        word[:, slots[2]] = shifted


def _match(tag: Plane, plane: Plane, bit: int, spare: Plane) -> None:
    """tag <- tag and (plane == bit), in place."""
    np.bitwise_and(tag, plane if bit else np.invert(plane, out=spare), out=tag)


def _ones(plane: Plane) -> int:
    return int(np.bitwise_count(plane).sum(dtype=np.int64))


def execute(
    program: Program, operands: Mapping[str, Integers], segments: int | None = None
) -> tuple[dict[str, Integers], Events]:
    """Load, run, read.

    Args:
        program: what to execute.
        operands: one array per input of the program, shape (slots, segments) or (segments,).
        segments: how many; by default the last axis of the first operand.

    Returns:
        Outputs by name, shape (slots of the word, segments), and the events counted.

    Raises:
        MappingError: an operand its word cannot hold.
    """
    if segments is None:
        segments = np.asarray(operands[program.inputs[0].name]).shape[-1]
    cam = Cam(program.width, segments, program.slots)
    for word in program.inputs:
        cam.load(word, operands[word.name])
    cam.run(program)
    return {word.name: cam.read(word) for word in program.outputs}, cam.events


@lru_cache(maxsize=4096)
def _activity(program: Program, rows: int, seed: int) -> Activity:
    random = np.random.default_rng(seed)
    operands: dict[str, Integers] = {}
    segments = max(rows // program.slots, _LANES)
    for word in program.inputs:
        slots = program.slots if word.slots is None else len(word.slots)
        low = -(1 << (word.bits - 1)) if word.signed else 0
        operands[word.name] = random.integers(
            low, low + (1 << word.bits), size=(slots, segments), dtype=np.int64
        )
    cam = Cam(program.width, segments, program.slots)
    for word in program.inputs:
        cam.load(word, operands[word.name])
    cam.run(program)
    seen = cam.events
    return Activity(
        seen.tagged_rows / segments, seen.written_cells / segments, seen.flipped_cells / segments
    )


def measured_activity(program: Program, rows: int = _SAMPLE_ROWS, seed: int = 0) -> Activity:
    """Tags and flips per segment over uniformly random operands; the same for the same seed.

    Cached: a few milliseconds for the first 8 x 8 multiplication, nothing after that.
    """
    return _activity(program, rows, seed)
