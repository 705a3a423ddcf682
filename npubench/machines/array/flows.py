"""What a word that crosses a boundary costs: time at two ports and energy, as one linear map.

Every crossing is counted in words (elements). A `Flow` turns words into columns of resources:
busy cycles of the array, busy cycles of each memory port, and joules. Ports are columns of their
own where reads and writes have one each, one column where they share.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from npubench.machines.array.spec import ArraySpec, MemorySpec, Operand
from npubench.machines.array.tiles import OperandBits

__all__ = [
    "AFTER",
    "ARRAY",
    "BEFORE",
    "LEAVE",
    "ON_TOP",
    "SERIAL",
    "FloatArray",
    "Flow",
    "Resources",
    "add_words",
    "conversion_cycles",
    "cycles_per_bit",
    "finished_bits",
    "held_bits",
    "leaving_bits",
    "next_memories",
    "overlapped_operands",
    "steady",
    "whole",
]

FloatArray = npt.NDArray[np.float64]

ARRAY = 0  # the column of array cycles
BEFORE = 1  # cycles paid on top, before the first tile can run
AFTER = 2  # cycles paid on top of everything: the last fold's load and skew
LEAVE = 3  # cycles in which the last tile leaves, after the array is done
SERIAL = 4  # cycles on top in which words cross a serial memory's boundary: of all tiles
ON_TOP = [BEFORE, AFTER, LEAVE]  # of the first tile, or of the last one alone


# A clock, or one for each of many operating points.
Clock = TypeVar("Clock", float, FloatArray)


def cycles_per_bit(memory: MemorySpec, clock_hz: Clock) -> Clock:
    """Cycles of the array's clock in which one bit passes one port of a memory."""
    if memory.port_bits is not None:
        return clock_hz * 0.0 + 1.0 / memory.port_bits
    if memory.bits_per_s is not None:
        return clock_hz / memory.bits_per_s
    raise ValueError(f"memory '{memory.name}' has no rate")  # the schema demands one


def whole(cycles: FloatArray) -> FloatArray:
    """Cycles rounded up.

    A tiny tolerance keeps exact products from being pushed up by the rounding of a float.
    """
    down = np.floor(cycles)
    return np.asarray(down + (cycles - down > 1e-9 * np.maximum(1.0, cycles)))


def steady(joules: FloatArray) -> FloatArray:
    """Joules to 39 bits, which do not depend on the order in which parts were added up.

    So nests of equal energy compare as equal. The rounding of T. J. Dekker (Numerische Mathematik
    18, 1971) never swaps two numbers, so that lower bounds remain lower bounds.
    """
    up = joules * 16385.0
    return np.asarray(up - (up - joules))


def conversion_cycles(
    spec: ArraySpec, bits: OperandBits, weights: FloatArray, clock_hz: float | FloatArray
) -> FloatArray:
    """Cycles in which so many weights on chip are converted, nothing else using their memory."""
    unit = spec.quantization_unit
    if unit is None or bits.stored_weight is None:
        return weights * 0.0
    memory = spec.chain("weight")[-2]
    ways = (memory.lane_bits(bits.stored_weight), memory.lane_bits(bits.weight))
    busy = max(ways) if memory.ports == "separate" else sum(ways)
    per_weight = busy * cycles_per_bit(memory, np.asarray(clock_hz))
    return np.asarray(weights * np.maximum(1 / unit.lanes.value, per_weight))


@dataclass(frozen=True, slots=True)
class Flow:
    """Columns per word of each operand over one boundary.

    Attributes:
        input, weight: per word read from the outer side.
        output: per word written to the outer side, one that comes back for more: written at the
            accumulator's width, and read again.
        finished: per finished output, on top of its last word: the difference between a result
            leaving for good and a partial sum that comes back.
    """

    input: FloatArray
    weight: FloatArray
    output: FloatArray
    finished: FloatArray


def add_words(columns: FloatArray, words: npt.NDArray[np.int64], flow: FloatArray) -> None:
    """Add what words cost over a boundary to cost vectors, in place.

    Args:
        columns: one row a resource; cost vectors are the columns, so that what few resources a
            flow touches lies together in memory.
        words: how many cross, one entry a vector.
        flow: what each takes, see `Flow`.
    """
    for at in flow.nonzero()[0].tolist():
        columns[at] += words * flow[at]


class Resources:
    """The columns of one spec, and the flows between its memories.

    Args:
        spec: with the constants that hold.
        split: whether joules off chip have a column of their own, since another supply of the die
            changes all others.
    """

    def __init__(self, spec: ArraySpec, *, split: bool = False) -> None:
        self.spec = spec
        self.reads: dict[str, int] = {}
        self.writes: dict[str, int] = {}
        column = SERIAL
        for memory in spec.memories:
            column += 1
            self.reads[memory.name] = column
            column += memory.ports == "separate"
            self.writes[memory.name] = column
        if spec.quantization_unit is not None:
            column += 1
            self.unit = column
        self.energy = column + 1
        self.off_chip_energy = self.energy + split
        self.count = self.off_chip_energy + 1
        outside = {m.name for m in spec.memories if m.off_chip}
        sides = (self.reads.items(), self.writes.items())
        self.off_chip = sorted({at for side in sides for name, at in side if name in outside})
        self.on_chip = [ARRAY, *range(SERIAL + 1, self.energy)]
        self.on_chip = [at for at in self.on_chip if at not in self.off_chip]
        self._runs = (_runs(self.on_chip), _runs(self.off_chip))
        timed = {m.name for m in spec.memories if m.port_width is None}
        self.timed = {at for side in sides for name, at in side if name in timed}

    def latency(self, cost: FloatArray) -> FloatArray:
        """Cycles of each row: the busiest column, and what is paid on top.

        Tiles that nothing hides pass the off-chip memories while the die waits, so that what these
        take in all has them in it.
        """
        on_chip = cost[..., self.on_chip].max(axis=-1) + cost[..., BEFORE] + cost[..., LEAVE]
        off_chip = cost[..., self.off_chip].max(axis=-1)
        return np.asarray(np.maximum(on_chip, off_chip) + cost[..., AFTER] + cost[..., SERIAL])

    def cycles(self, cost: FloatArray) -> FloatArray:
        """The same in whole cycles: each unit and each wait rounded up, as a result counts them."""
        columns = cost.T
        cycles = np.empty((5, len(cost)))
        for runs, busiest in zip(self._runs, cycles, strict=False):
            columns[runs[0]].max(axis=0, out=busiest)
            for run in runs[1:]:
                np.maximum(busiest, columns[run].max(axis=0), out=busiest)
        cycles[2], cycles[3], cycles[4] = columns[BEFORE], columns[LEAVE], columns[SERIAL]
        on_chip, off_chip, before, leave, serial = whole(cycles)
        on_chip += before
        on_chip += leave
        latency = np.maximum(on_chip, off_chip, out=on_chip)
        latency += columns[AFTER]
        latency += serial
        return np.asarray(latency)

    def anywhere(self, cost: FloatArray) -> FloatArray:
        """Figures of each row with which latency and energy rise at every operating point.

        Columns: latency and joules here; then what the latency elsewhere is made of (see
        `cycles_at`), and joules of the die and off chip.
        """
        parts = [self.latency(cost), self.joules(cost), *self._parts(cost)]
        parts += [cost[:, self.energy], cost[:, self.off_chip_energy]]
        return np.stack(parts, axis=1)

    def cycles_at(self, cost: FloatArray, ratio: FloatArray) -> FloatArray:
        """`cycles` of each row (first axis) at clocks of these ratios to the spec's (second axis).

        Memories with a rate per second take that many more cycles of a faster clock. So do waits
        for tiles where the off-chip memories, which they pass, have such a rate. Not for specs
        with serial transfers, which take the slower of the two kinds.
        """
        on, on_timed, off, off_timed, before, leave, after = (
            part[:, None] for part in self._parts(cost)
        )
        scale = ratio if self.timed & {*self.off_chip} else np.ones_like(ratio)
        on_chip = whole(np.maximum(on, on_timed * ratio))
        on_chip = on_chip + whole(before * scale) + whole(leave * scale)
        return np.asarray(np.maximum(on_chip, whole(np.maximum(off, off_timed * ratio))) + after)

    def _parts(self, cost: FloatArray) -> tuple[FloatArray, ...]:
        """Busiest of each kind of column, and what is paid on top."""

        def busiest(columns: list[int], *, timed: bool) -> FloatArray:
            of_kind = [at for at in columns if (at in self.timed) is timed]
            return np.asarray(cost[:, of_kind].max(axis=1, initial=0.0))

        return (
            busiest(self.on_chip, timed=False),
            busiest(self.on_chip, timed=True),
            busiest(self.off_chip, timed=False),
            busiest(self.off_chip, timed=True),
            cost[:, BEFORE],
            cost[:, LEAVE],
            cost[:, AFTER],
        )

    def joules(self, cost: FloatArray) -> FloatArray:
        """Dynamic energy of each row."""
        if self.off_chip_energy == self.energy:
            return np.asarray(cost[..., self.energy])
        return np.asarray(cost[..., self.energy] + cost[..., self.off_chip_energy])

    def between(
        self, memory: MemorySpec | None, operands: Mapping[str, MemorySpec], bits: OperandBits
    ) -> Flow:
        """The flow over one boundary.

        A word that crosses a serial memory's boundary takes the cycles of the slowest of what it
        passes, while nothing else happens; it keeps no port busy beside other work.

        Args:
            memory: the inner side; None for the array itself.
            operands: the outer memory of each operand that crosses here.
            bits: widths.
        """
        zero = np.zeros(self.count)
        vectors: dict[str, FloatArray] = {"input": zero, "weight": zero}
        for operand in ("input", "weight"):
            outer = operands.get(operand)
            if outer is not None:
                vector = self._move(outer, memory, bits.of(operand))
                if operand == "weight" and outer.off_chip and bits.stored_weight is not None:
                    vector = self._converted(outer, memory, bits.stored_weight, bits)
                vectors[operand] = self._waited_for(memory, vector)
        revisit, finished = zero, zero
        outer = operands.get("output")
        if outer is not None:
            out = self._waited_for(memory, self._move(memory, outer, bits.partial))
            back = self._waited_for(memory, self._move(outer, memory, bits.partial))
            revisit = out + back
            leave = self._write(outer, finished_bits(outer, bits))
            if memory is not None:
                leave = leave + self._read(memory, leaving_bits(memory, bits))
            finished = self._waited_for(memory, leave) - revisit
            if memory is None and bits.sums is not None and bits.sums.first_read:
                finished = finished + self._read(outer, bits.sums.first_read)
        return Flow(vectors["input"], vectors["weight"], revisit, finished)

    def _converted(
        self, outer: MemorySpec, inner: MemorySpec | None, stored: int, bits: OperandBits
    ) -> FloatArray:
        """A weight that comes in as it is stored, is read back and written as it is multiplied."""
        unit = self.spec.quantization_unit
        assert unit is not None  # nothing has a stored width without one
        vector = self._move(outer, inner, stored)
        vector = vector + self._read(inner, stored) + self._write(inner, bits.weight)
        vector[self.unit] += 1 / unit.lanes.value
        vector[self.energy] += unit.energy.value
        return vector

    def _waited_for(self, inner: MemorySpec | None, vector: FloatArray) -> FloatArray:
        """A word's way over an inner memory's boundary, for which everything waits if serial."""
        if inner is not None and inner.serial:
            passed = slice(SERIAL + 1, self.energy)
            vector[SERIAL] = vector[passed].max()
            vector[passed] = 0.0
        return vector

    def _move(self, source: MemorySpec | None, target: MemorySpec | None, bits: int) -> FloatArray:
        return self._read(source, bits) + self._write(target, bits)

    def _read(self, memory: MemorySpec | None, bits: int) -> FloatArray:
        vector = np.zeros(self.count)
        if memory is not None:
            bits = memory.lane_bits(bits)
            vector[self.reads[memory.name]] += bits * cycles_per_bit(memory, self.spec.clock.value)
            at = self.off_chip_energy if memory.off_chip else self.energy
            vector[at] += bits * memory.read_energy.value
        return vector

    def _write(self, memory: MemorySpec | None, bits: int) -> FloatArray:
        vector = np.zeros(self.count)
        if memory is not None:
            bits = memory.lane_bits(bits)
            vector[self.writes[memory.name]] += bits * cycles_per_bit(memory, self.spec.clock.value)
            at = self.off_chip_energy if memory.off_chip else self.energy
            vector[at] += bits * memory.write_energy.value
        return vector


def _runs(columns: list[int]) -> list[slice]:
    """Columns as slices of neighbours: views of a table, where a list of columns is a copy."""
    starts = [at for at in columns if at - 1 not in columns]
    ends = [at + 1 for at in columns if at + 1 not in columns]
    return [slice(start, end) for start, end in zip(starts, ends, strict=True)]


def finished_bits(memory: MemorySpec, bits: OperandBits) -> int:
    """Width of a finished output in a memory: accumulators keep the full sum."""
    return bits.partial if _outputs_alone(memory) else bits.output


def held_bits(memory: MemorySpec, bits: OperandBits) -> int:
    """Room of an output in a memory."""
    if bits.sums is not None and _outputs_alone(memory):
        return bits.sums.held
    return finished_bits(memory, bits)


def leaving_bits(memory: MemorySpec, bits: OperandBits) -> int:
    """Width at which a finished output is read when it leaves a memory."""
    if bits.sums is not None and _outputs_alone(memory):
        return bits.sums.leaving
    return finished_bits(memory, bits)


def _outputs_alone(memory: MemorySpec) -> bool:
    return tuple(memory.operands) == ("output",)


def next_memories(
    spec: ArraySpec, memory: MemorySpec | None, operands: frozenset[str]
) -> dict[str, MemorySpec]:
    """The next memory outside one, for each operand; inside out from the array for None."""
    found: dict[str, MemorySpec] = {}
    names: tuple[Operand, ...] = ("input", "weight", "output")
    for operand in names:
        if operand not in operands:
            continue
        chain = spec.chain(operand)
        index = -1 if memory is None else chain.index(memory)
        found[operand] = chain[index + 1]
    return found


def overlapped_operands(spec: ArraySpec) -> frozenset[str]:
    """Operands that come from off chip, or go there, while the machine works.

    The others are waited for on every tile, so that their first and last ones are nothing apart.
    """
    names: tuple[Operand, ...] = ("input", "weight", "output")
    return frozenset(name for name in names if not spec.chain(name)[-2].serial)
