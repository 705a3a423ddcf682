"""Accesses and energy of one explicit order of temporal loops on an array with its memories.

The order runs from the innermost loop out (``OX56 OY14 FX3 FY3 C2 OY4 K2``). Each memory takes, for
each operand, the longest prefix of the order whose tile fits; a memory that operands share takes
the combination of prefixes that moves fewest bits from outside, and among equals the longest ones.
A loop is never cut. Loops directly above a prefix that do not touch the operand belong to it: the
tile stays. What is left outside a prefix says how often its tile changes, and every change moves
a whole tile (windows overlap, and what they share is moved again).

Unrolled loops (K, C) that do not divide are spread evenly: 1000 channels over 32 columns are 32
rounds of 31.25. Reductions across the array end in the innermost memory of the outputs.

Two ways of counting share all of this:

``zigzag``: what ZigZag 3.9.1 counts (L. Mei et al., "ZigZag", IEEE TC 70(8), 2021).
    * A weight that stays at its MAC is read from the register once, not once per MAC.
    * While anything is left to reduce over time, every partial sum written also counts a read,
      the first one of an output included.
    * Outputs leave packed: four finished bytes take one access of a 32-bit accumulator.
    * Memory units, and elements served side by side, are rounded to whole numbers (31.25 columns
      are 31), and accesses of each direction are truncated to a whole number of full-width ones.

``own``: a weight register is read for every MAC; a partial sum is read only when there is one, that
    is for all but the first visit to an output; a memory that is accessed in whole words reads
    one word for each result that leaves; nothing is rounded.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import product
from typing import Final, Literal, NamedTuple, TypeAlias

from npubench.errors import MappingError, OptionError, Problem, SpecError
from npubench.ir import LOOP_DIMS, LoopNest
from npubench.machines.array.spec import ArraySpec
from npubench.machines.array.tiles import OperandBits

__all__ = [
    "ArrayLevels",
    "Count",
    "Counting",
    "Evaluation",
    "Level",
    "Loop",
    "allocate",
    "evaluate",
    "from_spec",
    "parse_order",
]

Operand = Literal["input", "weight", "output"]
Counting = Literal["zigzag", "own"]
Kind = Literal["read", "write"]
# For each operand, how many loops of the order each of its memories holds, inside to outside.
Cuts: TypeAlias = Mapping[Operand, tuple[int, ...]]
_Fill: TypeAlias = Mapping[str, Fraction]

OPERANDS: Final[tuple[Operand, ...]] = ("input", "weight", "output")
_WINDOWS: Final = (("OZ", "FZ"), ("OY", "FY"), ("OX", "FX"))
_TOUCHES: Final[Mapping[Operand, frozenset[str]]] = {
    "input": frozenset(LOOP_DIMS) - {"K"},
    "weight": frozenset({"G", "K", "C", "FZ", "FY", "FX"}),
    "output": frozenset({"B", "G", "K", "OZ", "OY", "OX"}),
}


class Loop(NamedTuple):
    """One temporal loop."""

    dim: str
    size: int


@dataclass(frozen=True, slots=True)
class Level:
    """One memory, or many equal ones side by side.

    Attributes:
        capacity_bits: of one instance; None where everything fits.
        access_bits: width of the port of one instance.
        grain_bits: an access costs its share in steps of this; ``access_bits`` if only whole.
        read_j, write_j: joules of a full-width access.
        serves: unrolled loops whose PEs share one instance.
    """

    name: str
    operands: tuple[Operand, ...]
    capacity_bits: int | None
    access_bits: int
    grain_bits: int
    read_j: float
    write_j: float
    serves: frozenset[str]


@dataclass(frozen=True, slots=True)
class ArrayLevels:
    """An array and its memories, inside to outside.

    Attributes:
        unroll: PEs along each unrolled loop (``B``, ``G``, ``K`` or ``C``).
        bits: widths of the operands.
        mac_j: joules of one MAC.
    """

    unroll: Mapping[str, int]
    levels: tuple[Level, ...]
    bits: OperandBits
    mac_j: float

    def __post_init__(self) -> None:
        for dim in self.unroll:
            if dim not in ("B", "G", "K", "C"):
                raise SpecError(f"loop order: '{dim}' across the array; expected B, G, K or C")
        for operand in OPERANDS:
            chain = self.chain(operand)
            if not chain or chain[-1].capacity_bits is not None:
                raise SpecError(f"loop order: {operand} needs an outermost memory without bound")
        if "C" in self.unroll and "C" not in self.chain("output")[0].serves:
            raise SpecError("loop order: sums across the array must end in one memory of outputs")

    def chain(self, operand: Operand) -> tuple[Level, ...]:
        """The memories of an operand, inside to outside."""
        return tuple(level for level in self.levels if operand in level.operands)


@dataclass(frozen=True, slots=True)
class Count:
    """Accesses of one kind to one memory for one operand, from one side.

    Attributes:
        outside: the other end lies further out; otherwise further in, or it is the array.
        accesses: of full width; a fraction only where accesses are not truncated.
        bits: of data moved, before any truncation.
        energy_j: joules.
    """

    level: str
    operand: Operand
    kind: Kind
    outside: bool
    accesses: Fraction
    bits: Fraction
    energy_j: float


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What a layer takes in one order of loops.

    Attributes:
        cycles: of compute, the product of all temporal loops.
        mac_j: joules of all MACs.
        counts: every memory access; directions that never occur are left out.
        cuts: see `allocate`.
    """

    cycles: int
    mac_j: float
    counts: tuple[Count, ...]
    cuts: Cuts

    @property
    def energy_j(self) -> float:
        """MACs and memories together."""
        return self.mac_j + math.fsum(count.energy_j for count in self.counts)

    def energy_of(self, level: str, operand: Operand) -> float:
        """Joules of one memory for one operand, reads and writes together."""
        key = level, operand
        return math.fsum(c.energy_j for c in self.counts if (c.level, c.operand) == key)

    def total(self, level: str, operand: Operand, kind: Kind) -> tuple[Fraction, Fraction]:
        """(accesses, bits) of one kind at one memory for one operand, from both sides."""
        key, zero = (level, operand, kind), Fraction(0)
        found = [c for c in self.counts if (c.level, c.operand, c.kind) == key]
        return sum((c.accesses for c in found), zero), sum((c.bits for c in found), zero)


def parse_order(text: str) -> tuple[Loop, ...]:
    """Read an order of temporal loops, innermost first: ``OX56 OY14 FX3``.

    Raises `OptionError` where a word is not a loop's name followed by a size of at least 1.
    """
    loops, problems = [], []
    for word in text.split():
        found = re.fullmatch(r"([A-Z]+)([1-9][0-9]*)", word)
        if found is not None and found[1] in LOOP_DIMS:
            loops.append(Loop(found[1], int(found[2])))
        else:
            hint = f"expected a loop and its size, such as OX56; loops: {', '.join(LOOP_DIMS)}"
            problems.append(Problem(f"loop order: '{word}' is not a loop", hint=hint))
    if problems:
        raise OptionError(*problems)
    return tuple(loops)


def from_spec(spec: ArraySpec) -> ArrayLevels:
    """The array of an ``unrolled`` spec with one loop a side and only weights in its PEs.

    A memory of outputs alone is taken as one a column, accessed in whole words; other memories
    charge an access in steps of 8 bits. Double buffering is not considered. Raises `SpecError`
    where the spec describes another kind of array.
    """
    form, registers = spec.array.unrolling, spec.array.registers
    if form is None or registers is None or registers.input or registers.output:
        raise SpecError(f"{spec.name}: a loop order needs an unrolled array with weights in PEs")
    if len(form.rows) != 1 or len(form.cols) != 1 or form.rows == form.cols or form.kept:
        raise SpecError(f"{spec.name}: a loop order needs a loop on each side and none in a PE")
    fmt = spec.array.formats[spec.array.default_format]
    data, held = fmt.activation_format.bits, fmt.weight_format.bits
    bits = OperandBits(input=data, weight=held, output=data, partial=fmt.accumulator_bits)
    room, energy = int(registers.weight.value), registers.energy.value * held
    levels = [Level("weight_reg", ("weight",), room, held, held, energy, energy, frozenset())]
    rows, cols = str(form.rows[0]), str(form.cols[0])
    for memory in spec.memories:
        alone = memory.operands == ("output",)
        columns = spec.array.cols.integer if alone else 1
        if memory.port_width is None:
            raise SpecError(f"{spec.name}: a loop order needs 'port_width' of '{memory.name}'")
        if memory.word_width is not None:
            raise SpecError(f"{spec.name}: a loop order takes no 'word_width' of '{memory.name}'")
        width = int(memory.port_bits or 0) // columns
        bounded = None if memory.off_chip else memory.capacity_bits
        capacity = None if bounded is None else bounded // columns
        read, write = memory.read_energy.value * width, memory.write_energy.value * width
        grain, serves = (width, {rows}) if alone else (8, {rows, cols})
        holds = memory.name, memory.operands, capacity
        levels.append(Level(*holds, width, grain, read, write, frozenset(serves)))
    unroll = {rows: spec.array.rows.integer, cols: spec.array.cols.integer}
    return ArrayLevels(unroll, tuple(levels), bits, fmt.mac_energy.value)


def allocate(nest: LoopNest, order: Sequence[Loop], machine: ArrayLevels) -> Cuts:
    """How many loops of the order each memory of each operand holds, inside to outside.

    Raises `MappingError` where the order does not cover the layer, or a memory is too small for
    what the PEs use at once.
    """
    fill = _fill(nest, order, machine)
    cuts: dict[Operand, tuple[int, ...]] = dict.fromkeys(OPERANDS, ())
    for level in machine.levels:
        room = math.inf if level.capacity_bits is None else level.capacity_bits
        choices = []
        for operand in level.operands:
            start = max(cuts[operand], default=0)
            width = machine.bits.of(operand)
            if operand == "output" and _reduces(order[start:]):
                width = machine.bits.partial
            # A memory without bound takes the whole order.
            ends = range(len(order) if room == math.inf else start, len(order) + 1)
            tiles = (_held(nest, order[:end], operand, level, fill) for end in ends)
            choices.append([(end, tile * width) for end, tile in zip(ends, tiles, strict=True)])
        fitting = [c for c in product(*choices) if sum(size for _, size in c) <= room]
        if not fitting:
            raise MappingError(f"loop order: '{level.name}' cannot hold what the PEs use at once")
        # Every change moves a tile. Longer prefixes come later, so that they win a tie.
        moved = [sum(_rounds(order[end:]) * size for end, size in c) for c in fitting]
        best = max(range(len(moved)), key=lambda i: (-moved[i], i))
        for operand, (end, _) in zip(level.operands, fitting[best], strict=True):
            cuts[operand] += (end,)
    return {operand: tuple(_stay(order, operand, c) for c in cuts[operand]) for operand in OPERANDS}


def evaluate(
    nest: LoopNest, order: Sequence[Loop], machine: ArrayLevels, counting: Counting = "own"
) -> Evaluation:
    """Accesses and energy of a layer whose loops run in this order; raises as `allocate` does."""
    cuts = allocate(nest, order, machine)
    counter = _Counter(nest, order, machine, cuts, counting == "zigzag")
    counts = tuple(count for operand in OPERANDS for count in counter.operand(operand))
    return Evaluation(_rounds(order), nest.macs * machine.mac_j, counts, cuts)


@dataclass(frozen=True, slots=True)
class _Counter:
    """Counts one layer in one order."""

    nest: LoopNest
    order: Sequence[Loop]
    machine: ArrayLevels
    cuts: Cuts
    zigzag: bool

    def operand(self, operand: Operand) -> list[Count]:
        """All accesses for one operand: across each boundary, at its inner and its outer side."""
        counts: list[Count] = []
        fill = _fill(self.nest, self.order, self.machine)
        inner: Level | None = None
        for index, outer in enumerate(self.machine.chain(operand)):
            if inner is None:
                # Sums change every cycle, while an input or a weight may stay at the MAC.
                every_mac = operand == "output" or not (self.zigzag or outer.serves)
                cut, tile = 0 if every_mac else _stay(self.order, operand, 0), Fraction(1)
            else:
                cut = self.cuts[operand][index - 1]
                tile = self._whole(_held(self.nest, self.order[:cut], operand, inner, fill))
            # What distinct inner instances exchange with one outer instance at a time.
            served = outer.serves - (inner.serves if inner else frozenset())
            beside = tile * self._whole(_spread(fill, served & _TOUCHES[operand]))
            for level, amount in ((outer, beside), (inner, tile)):
                if level is not None:
                    units = self._whole(_spread(fill, frozenset(fill) - level.serves))
                    counts += self._side(operand, level, amount, units, cut, level is inner)
            inner = outer
        return [count for count in counts if count.bits]

    def _side(
        self, operand: Operand, level: Level, amount: Fraction, units: Fraction, cut: int, up: bool
    ) -> list[Count]:
        """Both directions at one level, in whose units ``amount`` elements move at a time."""
        rounds, width = Fraction(_rounds(self.order[cut:])), self.machine.bits.of(operand)
        inward, outward = (Fraction(0), rounds) if operand == "output" else (rounds, Fraction(0))
        if operand == "output" and _reduces(self.order[cut:]):
            first = Fraction(0 if self.zigzag else self.nest.output_elements)
            width, inward = self.machine.bits.partial, rounds - first / (amount * units)
        grains = amount * width / level.grain_bits
        if self.zigzag:
            grains = Fraction(math.ceil(grains))
        elif level.grain_bits == level.access_bits:
            grains = amount * math.ceil(width / level.grain_bits)
        counts = []
        kinds: tuple[Kind, Kind] = ("write", "read") if up else ("read", "write")
        for times, kind in zip((inward, outward), kinds, strict=True):
            accesses = grains * times * units * level.grain_bits / level.access_bits
            accesses = Fraction(int(accesses)) if self.zigzag else accesses
            joules = float(accesses) * (level.read_j if kind == "read" else level.write_j)
            bits = amount * width * times * units
            counts.append(Count(level.name, operand, kind, up, accesses, bits, joules))
        return counts

    def _whole(self, number: Fraction) -> Fraction:
        return Fraction(round(number)) if self.zigzag else number


def _fill(nest: LoopNest, order: Sequence[Loop], machine: ArrayLevels) -> dict[str, Fraction]:
    """PEs in use along each unrolled loop, on average; checks that the order covers the layer."""
    lanes, problems = machine.unroll, []
    fill = {dim: Fraction(b, -(-b // lanes[dim])) for dim, b in nest.bounds.items() if dim in lanes}
    for dim, bound in nest.bounds.items():
        needed = bound / fill.get(dim, Fraction(1))
        given = _rounds([loop for loop in order if loop.dim == dim])
        if given != needed:
            on = f" on {lanes[dim]} PEs" if dim in lanes else ""
            problems.append(f"loop order: {dim} runs {given} times, but {bound}{on} takes {needed}")
    if problems:
        raise MappingError(*problems)
    return fill


def _rounds(loops: Sequence[Loop]) -> int:
    return math.prod(loop.size for loop in loops)


def _spread(fill: _Fill, dims: frozenset[str]) -> Fraction:
    return math.prod((fill[dim] for dim in dims), start=Fraction(1))


def _stay(order: Sequence[Loop], operand: Operand, cut: int) -> int:
    """The end of the run of loops from ``cut`` on that leave the operand's tile as it is."""
    while cut < len(order) and (order[cut].dim not in _TOUCHES[operand] or order[cut].size == 1):
        cut += 1
    return cut


def _reduces(loops: Sequence[Loop]) -> bool:
    """Whether any of the loops adds to the same outputs again."""
    return any(loop.dim not in _TOUCHES["output"] and loop.size > 1 for loop in loops)


def _held(
    nest: LoopNest, loops: Sequence[Loop], operand: Operand, level: Level, fill: _Fill
) -> Fraction:
    """Elements of an operand that the loops touch at one instance of a level.

    Input rows and columns are at most the input's, so that padding is left out of tiles that
    would span more than it.
    """
    size = {dim: fill[dim] if dim in level.serves else Fraction(1) for dim in fill}
    for dim, rounds in loops:
        size[dim] = size.get(dim, Fraction(1)) * rounds
    one = Fraction(1)
    if operand != "input":
        return math.prod((size.get(dim, one) for dim in _TOUCHES[operand]), start=one)
    elements = math.prod((size.get(dim, one) for dim in ("B", "G", "C")), start=one)
    for axis, (out, kernel) in enumerate(_WINDOWS):
        outputs, taps = int(size.get(out, one)), int(size.get(kernel, one))
        reach = _positions(outputs, taps, nest.stride[axis], nest.dilation[axis])
        elements *= min(reach, nest.input_extent[axis])
    return elements


def _positions(outputs: int, taps: int, stride: int, dilation: int) -> int:
    """Distinct ``stride * i + dilation * j`` for i below ``outputs`` and j below ``taps``."""
    common = math.gcd(stride, dilation)  # pairs meet when (dilation, -stride) / common apart
    repeats = max(0, outputs - dilation // common) * max(0, taps - stride // common)
    return outputs * taps - repeats
