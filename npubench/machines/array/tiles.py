"""What a tile of a layer holds and moves: one memory's candidates, their room and their traffic.

Each on-chip memory holds one tile of its operands (and, double-buffered, the next one). Tiles of
rows (whole images, whole lines or pieces of a line), of K and of C nest; loops over tiles run in
one of the six orders of rows, K and C; kernel loops stay whole inside. Ragged edges, halos and
padding are counted as they are (`extents`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import permutations
from typing import overload

import numpy as np
import numpy.typing as npt

from npubench.machines.array.core import IntArray, exact
from npubench.machines.array.extents import Extents, Shape

__all__ = [
    "ORDERS",
    "LayerTiles",
    "OperandBits",
    "SumBits",
    "Table",
    "Words",
    "joined",
    "loops_inside",
    "mapped",
    "mapped_pairs",
    "one",
    "stretched",
    "tabled",
    "taken",
    "tile_sizes",
]

ORDERS = tuple(
    "".join(order) for order in permutations("MKC")
)  # outermost first; M stands for B, Y and X
USES = {"input": "MC", "weight": "KC", "output": "MK"}

# Tile sizes of a loop up to this extent are all integers; above, see `tile_sizes`.
EVERY_SIZE_UP_TO = 16

# Sizes up to this are looked up in a table of them all.
_LOOKED_UP = 1 << 16

Table = tuple[IntArray, IntArray, IntArray, IntArray, IntArray]


@dataclass(frozen=True, slots=True)
class SumBits:
    """Bits of a sum in the memory where sums of the array end, for other rules than our own.

    With it, a tile without all input channels holds sums at their own width in other memories too,
    and sums that leave to come back cross at that width every time, in and out.

    Attributes:
        held: room it takes.
        first_read: read before it is written for the first time.
        leaving: read when it is finished and leaves.
        at_once: output channels side by side in the columns, each of which has room of its own.
        columns: all of them, used or not.
    """

    held: int
    first_read: int
    leaving: int
    at_once: int
    columns: int

    def channels(self, k: IntArray) -> IntArray:
        """Channels for which there would be room where so many are held."""
        return -(-k // self.at_once) * self.columns


@dataclass(frozen=True, slots=True)
class OperandBits:
    """Bits an element takes, by operand.

    Attributes:
        input, weight, output: as the array takes and gives them.
        partial: of an unfinished output.
        stored_weight: of a weight off chip, where a unit on chip converts it; None where it comes
            as the array takes it.
        sums: in a memory of outputs alone; None where full sums are held and leave.
    """

    input: int
    weight: int
    output: int
    partial: int
    stored_weight: int | None = None
    sums: SumBits | None = None

    def of(self, operand: str) -> int:
        """The width of ``input``, ``weight`` or ``output``."""
        return {"input": self.input, "weight": self.weight, "output": self.output}[operand]

    def off_chip(self, operand: str) -> int:
        """The same in the outermost memory."""
        if operand == "weight" and self.stored_weight is not None:
            return self.stored_weight
        return self.of(operand)


@dataclass(frozen=True, slots=True)
class Words:
    """Elements of each operand that cross one boundary.

    Attributes:
        input, weight: elements read from the outer side.
        output: elements written to the outer side; every writing of an element but its first was
            preceded by reading it back.
    """

    input: int = 0
    weight: int = 0
    output: int = 0

    def times(self, count: int) -> Words:
        """The same crossing ``count`` times over."""
        return Words(self.input * count, self.weight * count, self.output * count)

    def plus(self, other: Words) -> Words:
        """Both crossings."""
        return Words(
            self.input + other.input, self.weight + other.weight, self.output + other.output
        )

    def of(self, operand: str) -> int:
        """The count of ``input``, ``weight`` or ``output``."""
        return {"input": self.input, "weight": self.weight, "output": self.output}[operand]


@dataclass(frozen=True, slots=True)
class LayerTiles:
    """Candidates and their counts for one layer; tables have one entry per candidate tile."""

    shape: Shape

    def candidates(self, whole: Extents, operands: frozenset[str], steps: tuple[int, int]) -> Table:
        """Every candidate tile of a memory; loops that touch none of its operands stay whole.

        Args:
            whole: what is being tiled.
            operands: what the memory tiles.
            steps: (K, C) that fill the array once.
        """
        used = {loop for operand in operands for loop in USES[operand]}
        rows = [(whole.b, whole.y, whole.x)]
        if "M" in used:
            rows = [(b, whole.y, whole.x) for b in tile_sizes(whole.b)]
            rows += [(1, y, whole.x) for y in tile_sizes(whole.y)]
            rows += [(1, 1, x) for x in tile_sizes(whole.x)]
            rows = list(dict.fromkeys(rows))
        channels = tile_sizes(whole.k, steps[0]) if "K" in used else (whole.k,)
        depths = tile_sizes(whole.c, steps[1]) if "C" in used else (whole.c,)
        b, y, x = exact(rows).T.repeat(len(channels) * len(depths), axis=1)
        k = np.tile(exact(channels).repeat(len(depths)), len(rows))
        return b, y, x, k, np.tile(exact(depths), len(rows) * len(channels))

    def footprint(
        self,
        table: Table,
        operands: frozenset[str],
        bits: OperandBits,
        groups: int,
        *,
        finished: bool = False,
    ) -> IntArray:
        """Bits of one tile of every operand named, for ``groups`` groups at once.

        Args:
            finished: whether no outputs come but finished ones, their sums being kept inside.
        """
        if bits.sums is not None and operands == {"output"}:
            b, y, x, k, c = table
            table = b, y, x, bits.sums.channels(k), c
            finished = True
        total = np.zeros_like(table[0])
        for operand in operands:
            total = total + self.room(operand, table, bits, groups, finished=finished)
        return total

    def room(
        self, operand: str, table: Table, bits: OperandBits, groups: int, *, finished: bool = False
    ) -> IntArray:
        """Bits of one tile of an operand in a memory that others share; see `footprint`."""
        b, y, x, k, c = table
        nest = self.shape.nest
        if operand == "input":
            rows = mapped(y, lambda size: self.shape.reach(1, size))
            columns = mapped(x, lambda size: self.shape.reach(2, size))
            total = b * nest.input_extent[0] * rows * columns * c * bits.input
        elif operand == "weight":
            total = k * c * self.shape.kernel * bits.weight
        else:
            width: int | IntArray = bits.output
            if bits.sums is not None and not finished:
                # Without all input channels they are sums that may come back for more.
                width = np.where(c < self.shape.extents.c, bits.partial, bits.output)
            total = b * nest.OZ * y * x * k * width
        return exact(total * groups)

    def traffic(
        self,
        whole: Extents | Table,
        table: Table,
        orders: tuple[str, ...] = ORDERS,
        operands: Collection[str] = tuple(USES),
    ) -> dict[str, IntArray]:
        """Elements of each operand over the outer boundary: one row an order, one column a tile.

        An operand's tile is fetched anew whenever it changes: a loop over a dimension that the
        operand does not have repeats its traffic, unless every loop inside that one leaves the
        operand alone too.

        Args:
            whole: what is cut, or what each tile of the table cuts.
        """
        loops = self._loops(whole, table)
        several = {loop: count > 1 for loop, count in loops.items()}
        traffic: dict[str, IntArray] = {}
        for operand in operands:
            uses = USES[operand]
            (other,) = set("MKC") - set(uses)
            words = self._once(operand, whole, table)
            again = words * loops[other]
            per_order = []
            for order in orders:
                inside = [loop for loop in order[order.index(other) + 1 :] if loop in uses]
                if inside:
                    changes = several[inside[0]]
                    for loop in inside[1:]:
                        changes = changes | several[loop]
                    per_order.append(np.where(changes, again, words))
                else:
                    per_order.append(words)
            traffic[operand] = exact(per_order)
        return traffic

    def _once(self, operand: str, whole: Extents | Table, table: Table) -> IntArray:
        """Elements of an operand in one sweep over what is cut, tile by tile."""
        full_b, full_y, full_x, full_k, full_c = whole
        nest = self.shape.nest
        if operand == "input":
            _, y, x, _, _ = table
            rows = mapped_pairs(full_y, y, lambda full, size: self.shape.swept(1, full, size))
            columns = mapped_pairs(full_x, x, lambda full, size: self.shape.swept(2, full, size))
            return exact(nest.G * full_b * nest.input_extent[0] * full_c * rows * columns)
        if operand == "weight":
            words = nest.G * full_k * full_c * self.shape.kernel
        else:
            words = self.outputs(whole)
        return exact(np.broadcast_to(words, table[0].shape))

    def retainable(
        self, whole: Extents, table: Table, orders: tuple[str, ...], operand: str
    ) -> npt.NDArray[np.bool_]:
        """Whether consecutive tiles share an operand: one row an order, one column a tile.

        They do where the innermost loop of more than one tile leaves the operand alone.
        """
        loops = self._loops(whole, table)
        rows = []
        for order in orders:
            shared = np.zeros(table[0].shape, dtype=bool)
            for loop in order:
                shared = np.where(loops[loop] > 1, loop not in USES[operand], shared)
            rows.append(shared)
        return np.asarray(rows)

    @staticmethod
    def _loops(whole: Extents | Table, table: Table) -> dict[str, IntArray]:
        """Tiles along rows, K and C."""
        b, y, x, k, c = table
        full_b, full_y, full_x, full_k, full_c = whole
        return {
            "M": -(-full_b // b) * -(-full_y // y) * -(-full_x // x),
            "K": -(-full_k // k),
            "C": -(-full_c // c),
        }

    def once(self, operand: str, whole: Extents, table: Table, order: str) -> IntArray:
        """Elements of an operand over the outer boundary where it stays over `loops_inside`."""
        return self._once(operand, whole, stretched(table, whole, loops_inside(order, operand)))

    def crossing(
        self,
        whole: Extents,
        tile: Extents,
        order: str,
        operands: frozenset[str],
        held: Collection[str] = (),
    ) -> Words:
        """Words of the operands a memory tiles, for one tile and order.

        Args:
            held: operands that stay over all loops inside the one that they lack.
        """
        traffic = self.traffic(whole, one(tile), (order,), operands - {*held})
        words = {name: int(count[0, 0]) for name, count in traffic.items()}
        for name in operands & {*held}:
            words[name] = int(self.once(name, whole, one(tile), order)[0])
        return Words(**words)

    def distinct(self, table: Table) -> dict[str, IntArray]:
        """Distinct elements of each operand under a tile, all groups: what no memory can save."""
        b, y, x, k, c = table
        nest = self.shape.nest
        rows = mapped(y, lambda size: self.shape.swept(1, size, size))
        columns = mapped(x, lambda size: self.shape.swept(2, size, size))
        return {
            "input": exact(nest.G * nest.input_extent[0] * b * rows * columns * c),
            "weight": exact(nest.G * self.shape.kernel * k * c),
            "output": exact(nest.G * nest.OZ * b * y * x * k),
        }

    @overload
    def outputs(self, whole: Extents) -> int: ...

    @overload
    def outputs(self, whole: Table) -> IntArray: ...

    def outputs(self, whole: Extents | Table) -> int | IntArray:
        """Output elements of a tile, or of each tile of a table, all groups."""
        b, y, x, k, _ = whole
        return self.shape.nest.G * b * self.shape.nest.OZ * y * x * k


def one(tile: Extents) -> Table:
    """A table of a single tile."""
    b, y, x, k, c = (exact([size]) for size in tile)
    return b, y, x, k, c


def loops_inside(order: str, operand: str) -> str:
    """Loops of an operand inside the one that it lacks, whose every round goes over them again."""
    (other,) = set(order) - set(USES[operand])
    return order[order.index(other) + 1 :]


def stretched(table: Table, whole: Extents, loops: str) -> Table:
    """A table whose tiles are whole along some loops."""
    b, y, x, k, c = table
    if "M" in loops:
        b, y, x = (np.full_like(b, size) for size in whole[:3])
    if "K" in loops:
        k = np.full_like(k, whole.k)
    return b, y, x, k, np.full_like(c, whole.c) if "C" in loops else c


def tabled(tiles: Sequence[Extents]) -> Table:
    """A table of these tiles."""
    b, y, x, k, c = exact(tiles).reshape(-1, len(Extents._fields)).T
    return b, y, x, k, c


def taken(table: Table, rows: npt.NDArray[np.intp] | npt.NDArray[np.bool_] | slice) -> Table:
    """Some entries of a table."""
    b, y, x, k, c = table
    return b[rows], y[rows], x[rows], k[rows], c[rows]


def joined(tables: Sequence[Table]) -> Table:
    """Tables one after another."""
    if len(tables) == 1:
        return tables[0]
    b, y, x, k, c = (np.concatenate(sizes) for sizes in zip(*tables, strict=True))
    return b, y, x, k, c


@lru_cache(maxsize=4096)
def tile_sizes(extent: int, step: int = 1) -> tuple[int, ...]:
    """The tile sizes of the stated space for one loop.

    Every integer up to `EVERY_SIZE_UP_TO`. Of longer loops, the smallest number of whole fillings
    of the array for each possible number of tiles (more fillings with the same number of tiles
    need more room and save nothing but a shorter last tile), the loop itself, and halves,
    quarters and so on of a single filling.

    Args:
        extent: the loop's bound.
        step: elements that fill the array once along this loop.
    """
    if extent <= EVERY_SIZE_UP_TO:
        return tuple(range(1, extent + 1))
    fillings = -(-extent // step)
    sizes = {extent} | {min(extent, step * -(-fillings // count)) for count in _counts(fillings)}
    part = min(step, extent)
    while part > 1:
        part = -(-part // 2)
        sizes.add(part)
    return tuple(sorted(sizes))


def _counts(extent: int) -> Iterator[int]:
    """Numbers of tiles that give different balanced sizes: about 2 sqrt(extent) of them."""
    count = 1
    while count <= extent:
        yield count
        size = -(-extent // count)
        if size == 1:
            return
        count = -(-extent // (size - 1))


def mapped(sizes: IntArray, function: Callable[[int], int]) -> IntArray:
    """A function of one size over a table in which few sizes differ; sizes are not negative."""
    if not sizes.size or sizes.max() > _LOOKED_UP:
        distinct, where = np.unique(sizes, return_inverse=True)
        return exact([function(int(size)) for size in distinct])[where]
    # One look-up table for all sizes: no sorting.
    seen = np.zeros(int(sizes.max()) + 1, dtype=bool)
    seen[sizes] = True
    found = seen.nonzero()[0]
    table = np.empty(len(seen), dtype=np.int64)
    table[found] = [function(size) for size in found.tolist()]
    return np.asarray(table[sizes])


def mapped_pairs(
    first: int | IntArray, second: IntArray, function: Callable[[int, int], int]
) -> IntArray:
    """The same for a function of two sizes, of which the first may be the same for all."""
    if isinstance(first, int):
        return mapped(second, lambda size: function(first, size))
    base = int(second.max(initial=0)) + 1
    return mapped(first * base + second, lambda pair: function(*divmod(pair, base)))
