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

An access narrower than the port costs its share where a memory allows it (``grain_bits``).
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

OPERANDS: Final[tuple[Operand, ...]] = ("input", "weight", "output")
_WINDOWS: Final = (("OZ", "FZ"), ("OY", "FY"), ("OX", "FX"))
_TOUCHES: Final[Mapping[Operand, frozenset[str]]] = {
    "input": frozenset(LOOP_DIMS) - {"K"},
    "weight": frozenset({"G", "K", "C", "FZ", "FY", "FX"}),
    "output": frozenset({"B", "G", "K", "OZ", "OY", "OX"}),
}
_UNROLLED: Final = ("B", "G", "K", "C")


class Loop(NamedTuple):
    """One temporal loop."""

    dim: str
    size: int


@dataclass(frozen=True, slots=True)
class Level:
    """One memory, or many equal ones side by side.

    Attributes:
        name: in results.
        operands: what it holds.
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
            if dim not in _UNROLLED:
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
        return math.fsum(c.energy_j for c in self._of(level, operand))

    def accesses(self, level: str, operand: Operand, kind: Kind) -> Fraction:
        """Full-width accesses of one kind, from both sides."""
        found = (c.accesses for c in self._of(level, operand) if c.kind == kind)
        return sum(found, Fraction(0))

    def bits(self, level: str, operand: Operand, kind: Kind) -> Fraction:
        """Bits of data moved by accesses of one kind, from both sides."""
        return sum((c.bits for c in self._of(level, operand) if c.kind == kind), Fraction(0))

    def _of(self, level: str, operand: Operand) -> list[Count]:
        return [c for c in self.counts if c.level == level and c.operand == operand]


def parse_order(text: str) -> tuple[Loop, ...]:
    """Read an order of temporal loops, innermost first: ``OX56 OY14 FX3``.

    Raises:
        OptionError: a word is not a loop's name followed by a size of at least 1.
    """
    loops = []
    problems = []
    for word in text.split():
        found = re.fullmatch(r"([A-Z]+)([0-9]+)", word)
        if found is None or found[1] not in LOOP_DIMS or int(found[2]) < 1:
            hint = f"expected a loop and its size, such as OX56; loops: {', '.join(LOOP_DIMS)}"
            problems.append(Problem(f"loop order: '{word}' is not a loop", hint=hint))
        else:
            loops.append(Loop(found[1], int(found[2])))
    if problems:
        raise OptionError(*problems)
    return tuple(loops)


def from_spec(spec: ArraySpec, format_name: str | None = None) -> ArrayLevels:
    """The array of a spec of dataflow ``unrolled`` with one loop a side and only weights in its PEs.

    A memory of outputs alone inside the shared ones is taken as one a column, accessed in whole
    words; other memories charge an access in steps of 8 bits. Double buffering is not considered.

    Raises:
        SpecError: the spec describes another kind of array.
    """
    unrolling, registers = spec.array.unrolling, spec.array.registers
    if unrolling is None or registers is None:
        raise SpecError(f"{spec.name}: a loop order needs dataflow 'unrolled'")
    if len(unrolling.rows) != 1 or len(unrolling.cols) != 1 or unrolling.kept:
        raise SpecError(f"{spec.name}: a loop order needs one loop a side and none kept in a PE")
    if registers.input is not None or registers.output is not None:
        raise SpecError(f"{spec.name}: a loop order needs PEs that hold weights only")
    fmt = spec.array.formats[format_name or spec.array.default_format]
    bits = OperandBits(
        input=fmt.activation_format.bits,
        weight=fmt.weight_format.bits,
        output=fmt.activation_format.bits,
        partial=fmt.accumulator_bits,
    )
    row, col = unrolling.rows[0], unrolling.cols[0]
    width, energy = bits.weight, registers.energy.value * bits.weight
    room = int(registers.weight.value)
    levels = [Level("weight_reg", ("weight",), room, width, width, energy, energy, frozenset())]
    for memory in spec.memories:
        split = spec.array.cols.integer if memory.operands == ("output",) else 1
        if memory.port_width is None:
            raise SpecError(f"{spec.name}: a loop order needs 'port_width' of '{memory.name}'")
        width = int(memory.port_width.value) // split
        levels.append(
            Level(
                name=memory.name,
                operands=memory.operands,
                capacity_bits=(
                    None
                    if memory.off_chip or memory.capacity is None
                    else int(memory.capacity.value) // split
                ),
                access_bits=width,
                grain_bits=8 if split == 1 else width,
                read_j=memory.read_energy.value * width,
                write_j=memory.write_energy.value * width,
                serves=frozenset({row, col} if split == 1 else {row}),
            )
        )
    unroll = {row: spec.array.rows.integer, col: spec.array.cols.integer}
    return ArrayLevels(unroll, tuple(levels), bits, fmt.mac_energy.value)


def allocate(nest: LoopNest, order: Sequence[Loop], machine: ArrayLevels) -> Cuts:
    """How many loops of the order each memory of each operand holds, inside to outside.

    Raises:
        MappingError: the order does not cover the layer, or what the PEs use at once does not fit
            some memory.
    """
    fill = _fill(nest, order, machine)
    cuts: dict[Operand, tuple[int, ...]] = {operand: () for operand in OPERANDS}
    for level in machine.levels:
        options = []
        for operand in level.operands:
            first = max(cuts[operand], default=0)
            width = machine.bits.of(operand)
            if operand == "output" and _reduces(order[first:]):
                width = machine.bits.partial
            # A memory without bound takes the whole order.
            cut_range = range(len(order) if level.capacity_bits is None else first, len(order) + 1)
            options.append(
                [(c, _held(nest, order[:c], operand, level, fill) * width) for c in cut_range]
            )
        best: tuple[Fraction, tuple[int, ...]] | None = None
        for choice in product(*options):
            if level.capacity_bits is not None and sum(s for _, s in choice) > level.capacity_bits:
                continue
            moved = Fraction(sum(math.prod(l.size for l in order[c:]) * s for c, s in choice))
            if best is None or moved <= best[0]:
                best = moved, tuple(c for c, _ in choice)
        if best is None:
            raise MappingError(
                f"loop order: '{level.name}' is too small for what the PEs use at once"
            )
        for operand, cut in zip(level.operands, best[1], strict=True):
            cuts[operand] += (cut,)
    return {operand: tuple(_stay(order, operand, c) for c in cuts[operand]) for operand in OPERANDS}


def evaluate(
    nest: LoopNest, order: Sequence[Loop], machine: ArrayLevels, counting: Counting = "own"
) -> Evaluation:
    """Count accesses and energy of a layer whose temporal loops run in this order.

    Raises:
        MappingError: see `allocate`.
    """
    cuts = allocate(nest, order, machine)
    counter = _Counter(nest, order, machine, cuts, counting)
    counts = tuple(count for operand in OPERANDS for count in counter.operand(operand))
    cycles = math.prod(loop.size for loop in order)
    return Evaluation(cycles, nest.macs * machine.mac_j, counts, cuts)


class _Counter:
    """Counts one layer in one order."""

    def __init__(
        self,
        nest: LoopNest,
        order: Sequence[Loop],
        machine: ArrayLevels,
        cuts: Cuts,
        counting: Counting,
    ) -> None:
        self.nest, self.order, self.machine, self.cuts = nest, order, machine, cuts
        self.zigzag = counting == "zigzag"
        self.fill = _fill(nest, order, machine)

    def operand(self, operand: Operand) -> list[Count]:
        """All accesses for one operand: across each boundary, at its inner and its outer side."""
        counts: list[Count] = []
        inner: Level | None = None
        for index, outer in enumerate(self.machine.chain(operand)):
            tile, periods, unfinished = self._boundary(operand, index, inner)
            width = self.machine.bits.of(operand)
            if unfinished:
                width = self.machine.bits.partial
            # Elements that distinct inner instances exchange with one outer instance at a time.
            served = outer.serves - (inner.serves if inner else frozenset())
            side_by_side = tile * self._whole(self._spread(served & _TOUCHES[operand]))
            back = periods
            if not self.zigzag:
                visits = side_by_side * periods * self._units(outer)
                back = periods * (1 - Fraction(self.nest.output_elements) / visits)
            output = operand == "output"
            sides = [(outer, side_by_side, False)] + ([(inner, tile, True)] if inner else [])
            for level, amount, outside in sides:
                inward: Kind = "write" if outside else "read"
                outward: Kind = "read" if outside else "write"
                if output:
                    counts.append(
                        self._count(level, operand, outward, outside, amount, periods, width)
                    )
                if not output or unfinished:
                    again = back if output else periods
                    counts.append(
                        self._count(level, operand, inward, outside, amount, again, width)
                    )
            inner = outer
        return [count for count in counts if count.accesses]

    def _boundary(
        self, operand: Operand, index: int, inner: Level | None
    ) -> tuple[Fraction, Fraction, bool]:
        """(elements of the tile inside, how often it changes, whether its sums are unfinished)."""
        if inner is None:
            # The accumulation reads and writes every cycle; an input or weight may stay at the MAC.
            in_pe = not self.machine.chain(operand)[0].serves
            every_mac = operand == "output" or (in_pe and not self.zigzag)
            cut = 0 if every_mac else _stay(self.order, operand, 0)
            tile = Fraction(1)
        else:
            cut = self.cuts[operand][index - 1]
            held = _held(self.nest, self.order[:cut], operand, inner, self.fill)
            tile = Fraction(round(held)) if self.zigzag else held
        outside = self.order[cut:]
        unfinished = operand == "output" and _reduces(outside)
        return tile, Fraction(math.prod(loop.size for loop in outside)), unfinished

    def _count(
        self,
        level: Level,
        operand: Operand,
        kind: Kind,
        outside: bool,
        amount: Fraction,
        periods: Fraction,
        width: int,
    ) -> Count:
        """Accesses that move ``amount`` elements ``periods`` times at every instance of a level."""
        times = periods * self._units(level)
        if self.zigzag or level.grain_bits < level.access_bits:
            grains = amount * width / level.grain_bits
            grains = Fraction(math.ceil(grains)) if self.zigzag else grains
        else:
            grains = amount * math.ceil(width / level.grain_bits)
        accesses = grains * times * level.grain_bits / level.access_bits
        if self.zigzag:
            accesses = Fraction(int(accesses))
        price = level.read_j if kind == "read" else level.write_j
        bits = amount * width * times
        return Count(level.name, operand, kind, outside, accesses, bits, float(accesses) * price)

    def _units(self, level: Level) -> Fraction:
        """Instances of a level in use."""
        return self._whole(self._spread(frozenset(self.fill) - level.serves))

    def _spread(self, dims: frozenset[str]) -> Fraction:
        return math.prod((self.fill[dim] for dim in dims), start=Fraction(1))

    def _whole(self, number: Fraction) -> Fraction:
        return Fraction(round(number)) if self.zigzag else number


def _fill(nest: LoopNest, order: Sequence[Loop], machine: ArrayLevels) -> dict[str, Fraction]:
    """PEs in use along each unrolled loop, on average; checks that the order covers the layer."""
    problems = []
    fill: dict[str, Fraction] = {}
    for dim, bound in nest.bounds.items():
        rounds = math.ceil(Fraction(bound, machine.unroll.get(dim, 1)))
        given = math.prod(loop.size for loop in order if loop.dim == dim)
        if given != rounds:
            across = f" over {machine.unroll[dim]} PEs" if dim in machine.unroll else ""
            problems.append(
                Problem(
                    f"loop order: {dim} runs {given} times, the layer's {bound}{across} take {rounds}"
                )
            )
        if dim in machine.unroll:
            fill[dim] = Fraction(bound, rounds)
    if problems:
        raise MappingError(*problems)
    return fill


def _stay(order: Sequence[Loop], operand: Operand, cut: int) -> int:
    """The end of the run of loops from ``cut`` on that leave the operand's tile as it is."""
    while cut < len(order) and (order[cut].dim not in _TOUCHES[operand] or order[cut].size == 1):
        cut += 1
    return cut


def _reduces(loops: Sequence[Loop]) -> bool:
    """Whether any of the loops adds to the same outputs again."""
    return any(loop.dim not in _TOUCHES["output"] and loop.size > 1 for loop in loops)


def _held(
    nest: LoopNest,
    loops: Sequence[Loop],
    operand: Operand,
    level: Level,
    fill: Mapping[str, Fraction],
) -> Fraction:
    """Elements of an operand that the loops touch at one instance of a level.

    Input rows and columns under a window are at most the input's, so padding is left out only
    where a tile spans more than the whole input.
    """
    size = {dim: fill[dim] if dim in level.serves else Fraction(1) for dim in fill}
    for dim, rounds in loops:
        size[dim] = size.get(dim, Fraction(1)) * rounds
    one = Fraction(1)
    if operand != "input":
        return math.prod((size.get(dim, one) for dim in _TOUCHES[operand]), start=one)
    elements = math.prod((size.get(dim, one) for dim in ("B", "G", "C")), start=one)
    for axis, (out, kernel) in enumerate(_WINDOWS):
        reach = _positions(
            int(size.get(out, one)),
            int(size.get(kernel, one)),
            nest.stride[axis],
            nest.dilation[axis],
        )
        elements *= min(reach, nest.input_extent[axis])
    return elements


def _positions(outputs: int, taps: int, stride: int, dilation: int) -> int:
    """Distinct values of ``stride * i + dilation * j``, i below ``outputs`` and j below ``taps``.

    Two pairs meet exactly when they differ by a multiple of (dilation, -stride) / gcd.
    """
    common = math.gcd(stride, dilation)
    repeats = max(0, outputs - dilation // common) * max(0, taps - stride // common)
    return outputs * taps - repeats
