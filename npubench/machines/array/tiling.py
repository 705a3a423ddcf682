"""Tiles of a layer in every on-chip memory, from the outermost inwards, and the traffic they make.

The stated schedule: each on-chip memory holds one tile of its operands (and, double-buffered, the
next one). Tiles of rows (whole images, whole lines or pieces of a line), of K and of C nest; loops
over tiles run in one of the six orders of rows, K and C; kernel loops stay whole inside. Memories
are decided one after another from the outermost inwards; each takes the tile and order of fewest
cycles (array or port, whichever is longer), then of least traffic, then the largest, of all that
fit. Ragged edges, halos and padding are counted as they are (`extents`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import permutations, product

import numpy as np
import numpy.typing as npt

from npubench.machines.array.core import Core, CoreWork, IntArray, exact
from npubench.machines.array.extents import Extents, Pieces, Shape, pieces

__all__ = [
    "DoesNotFitError",
    "OperandBits",
    "Stage",
    "StageTile",
    "TiledWork",
    "Words",
    "tile_layer",
]

ORDERS = tuple(permutations("MKC"))  # outermost first; M stands for B, Y and X
_USES = {"input": "MC", "weight": "KC", "output": "MK"}


@dataclass(frozen=True, slots=True)
class OperandBits:
    """Bits an element takes, by operand; ``partial`` is the width of an unfinished output."""

    input: int
    weight: int
    output: int
    partial: int

    def of(self, operand: str) -> int:
        """The width of ``input``, ``weight`` or ``output``."""
        return {"input": self.input, "weight": self.weight, "output": self.output}[operand]


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


@dataclass(frozen=True, slots=True)
class Stage:
    """One on-chip memory, as tiling sees it.

    Attributes:
        name: of the memory.
        operands: what it tiles; operands that stay in it whole (activations kept on chip) are
            left out and cross its outer boundary no more.
        capacity_bits: room for tiles.
        double_buffered: a tile may take half of the room, unless one tile is all there is.
        bits: widths of the operands in it.
        cycles_per_bit: of its outer boundary, for weighing traffic against the array.
        feeds: operands that pass between this memory and the array without another between.
        feed_cycles_per_bit: of its own port.
    """

    name: str
    operands: frozenset[str]
    capacity_bits: int
    double_buffered: bool
    bits: OperandBits
    cycles_per_bit: float
    feeds: frozenset[str]
    feed_cycles_per_bit: float


@dataclass(frozen=True, slots=True)
class StageTile:
    """The tile of one memory and the order of the loops over tiles, outermost first."""

    name: str
    tile: Extents
    order: str


@dataclass(frozen=True, slots=True)
class TiledWork:
    """Work of a layer (or of one tile of it) under a nest of tiles, all groups.

    Attributes:
        compute, load, skew: cycles of the array, see `CoreWork`.
        core: words between the array and the innermost memories.
        boundaries: words over the outer boundary of each stage, by its name.
        tiles: chosen for the largest tile of each stage, outermost first.
    """

    compute: int = 0
    load: int = 0
    skew: int = 0
    core: Words = Words()
    boundaries: Mapping[str, Words] = field(default_factory=dict)
    tiles: tuple[StageTile, ...] = ()

    @property
    def array_cycles(self) -> int:
        """Cycles of the array, without what is paid once a layer."""
        return self.compute + self.load + self.skew


class DoesNotFitError(Exception):
    """Not even the smallest tile fits a memory; carries the memory's name and both sizes."""

    def __init__(self, stage: str, needed_bits: int, room_bits: int) -> None:
        self.stage, self.needed_bits, self.room_bits = stage, needed_bits, room_bits
        super().__init__(f"{stage}: needs {needed_bits} bits, has {room_bits}")


def tile_layer(shape: Shape, core: Core, stages: tuple[Stage, ...]) -> TiledWork:
    """Tile a layer for every stage (outermost first) and count its work.

    Raises:
        DoesNotFitError: one element a loop is still too large for a stage.
    """
    return _Tiler(shape, core, stages).work(0, shape.extents)


class _Tiler:
    """Recursion over stages for one layer, with equal tiles worked out once."""

    def __init__(self, shape: Shape, core: Core, stages: tuple[Stage, ...]) -> None:
        self.shape, self.core, self.stages = shape, core, stages
        self.known: dict[tuple[int, Extents], TiledWork] = {}

    def work(self, depth: int, whole: Extents) -> TiledWork:
        key = (depth, whole)
        if key not in self.known:
            at_core = depth == len(self.stages)
            self.known[key] = self._array(whole) if at_core else self._stage(depth, whole)
        return self.known[key]

    def _array(self, whole: Extents) -> TiledWork:
        work = self.core.work(*(exact(extent) for extent in whole))
        words = Words(int(work.input_words), int(work.weight_words), int(work.output_words))
        return TiledWork(int(work.compute), int(work.load), int(work.skew), words)

    def _stage(self, depth: int, whole: Extents) -> TiledWork:
        stage = self.stages[depth]
        tile, order = self._choose(stage, whole)
        cuts = [pieces(extent, size) for extent, size in zip(whole, tile, strict=True)]
        words = self._crossing(stage, whole, tile, order)
        total = TiledWork(boundaries={stage.name: words})
        inner_tiles: tuple[StageTile, ...] = ()
        for piece, count in _combinations(cuts):
            inner = self.work(depth + 1, piece)
            inner_tiles = inner_tiles or inner.tiles
            total = TiledWork(
                compute=total.compute + count * inner.compute,
                load=total.load + count * inner.load,
                skew=total.skew + count * inner.skew,
                core=total.core.plus(inner.core.times(count)),
                boundaries=_added(total.boundaries, inner.boundaries, count),
            )
        chosen = StageTile(stage.name, tile, order)
        return TiledWork(
            total.compute,
            total.load,
            total.skew,
            total.core,
            total.boundaries,
            (chosen, *inner_tiles),
        )

    def _crossing(self, stage: Stage, whole: Extents, tile: Extents, order: str) -> Words:
        one = tuple(exact([size]) for size in tile)
        traffic = self._traffic(whole, one, orders=(tuple(order),))
        count = {
            operand: int(words[0, 0]) if operand in stage.operands else 0
            for operand, words in traffic.items()
        }
        return Words(**count)

    def _choose(self, stage: Stage, whole: Extents) -> tuple[Extents, str]:
        """The best tile and order of a stage; the whole layer where it fits, which none beats."""
        room = stage.capacity_bits
        if self._footprint(stage, *(exact([n]) for n in whole))[0] <= room:
            return whole, "".join(ORDERS[0])
        if stage.double_buffered:
            room //= 2
        table = self._table(stage, whole)
        fits = self._footprint(stage, *table) <= room
        if not fits.any():
            least = self._footprint(stage, *(exact([1]) for _ in whole))[0]
            raise DoesNotFitError(stage.name, int(least), room)
        return self._best(stage, whole, tuple(sizes[fits] for sizes in table))

    def _table(self, stage: Stage, whole: Extents) -> tuple[IntArray, ...]:
        """Every candidate tile, one array a loop; loops that touch no operand here stay whole.

        A tile of rows is several whole images, several whole lines of one image or a piece of
        one line: the rows of the product in their order.
        """
        used = {loop for operand in stage.operands for loop in _USES[operand]}
        rows = [(whole.b, whole.y, whole.x)]
        if "M" in used:
            rows = [(b, whole.y, whole.x) for b in _tilings(whole.b)]
            rows += [(1, y, whole.x) for y in _tilings(whole.y)]
            rows += [(1, 1, x) for x in _tilings(whole.x)]
            rows = list(dict.fromkeys(rows))
        k_step, c_step = self.core.steps
        channels = _stepped(whole.k, k_step) if "K" in used else [whole.k]
        depths = _stepped(whole.c, c_step) if "C" in used else [whole.c]
        index, k, c = (
            axis.ravel() for axis in np.meshgrid(range(len(rows)), channels, depths, indexing="ij")
        )
        b, y, x = exact(rows)[index].T
        return b, y, x, exact(k), exact(c)

    def _best(
        self, stage: Stage, whole: Extents, table: tuple[IntArray, ...]
    ) -> tuple[Extents, str]:
        work = self.core.work(*table)
        counts = np.prod(
            [-(-extent // sizes) for extent, sizes in zip(whole, table, strict=True)], axis=0
        )
        cycles = np.maximum(work.cycles, _feeding(stage, work)) * counts
        traffic = self._traffic(whole, table)
        first_writes = int(np.prod(self._outputs(whole)))
        bits = np.zeros(traffic["input"].shape)
        for operand in sorted(stage.operands):
            width = stage.bits.of(operand)
            if operand == "output":
                bits = bits + width * (2.0 * traffic[operand] - first_writes)
            else:
                bits = bits + width * traffic[operand].astype(float)
        time = np.maximum(cycles[None, :], bits * stage.cycles_per_bit)
        # Ties go to fewer, larger tiles: they leave the memories further in the most freedom.
        best = np.flatnonzero(time == time.min())
        best = best[bits.ravel()[best] == bits.ravel()[best].min()]
        best = best[np.argsort(counts[best % counts.size], kind="stable")]
        order, index = divmod(int(best[0]), counts.size)
        tile = Extents(*(int(sizes[index]) for sizes in table))
        return tile, "".join(ORDERS[order])

    def _outputs(self, whole: Extents) -> tuple[int, ...]:
        return (self.shape.nest.G, whole.b, self.shape.nest.OZ, whole.y, whole.x, whole.k)

    def _footprint(
        self, stage: Stage, b: IntArray, y: IntArray, x: IntArray, k: IntArray, c: IntArray
    ) -> IntArray:
        """Bits of one tile of every operand the stage holds, for the groups in use at once."""
        nest, kernel = self.shape.nest, self.shape.kernel
        held = {
            "input": b * nest.input_extent[0] * self._reach(1, y) * self._reach(2, x) * c,
            "weight": k * c * kernel,
            "output": b * nest.OZ * y * x * k,
        }
        total = np.zeros_like(b)
        for operand in stage.operands:
            total = total + held[operand] * stage.bits.of(operand)
        return exact(total * self.core.groups_at_once)

    def _traffic(
        self,
        whole: Extents,
        table: tuple[IntArray, ...],
        orders: tuple[tuple[str, ...], ...] = ORDERS,
    ) -> dict[str, IntArray]:
        """Elements of each operand over the outer boundary: one row an order, one column a tile.

        An operand's tile is fetched anew whenever it changes: a loop over a dimension that the
        operand does not have repeats its traffic, unless every loop inside that one leaves the
        operand alone too.
        """
        nest = self.shape.nest
        b, y, x, k, c = table
        loops = {
            "M": -(-whole.b // b) * -(-whole.y // y) * -(-whole.x // x),
            "K": -(-whole.k // k),
            "C": -(-whole.c // c),
        }
        rows, columns = self._swept(1, whole.y, y), self._swept(2, whole.x, x)
        once = {
            "input": nest.G * whole.b * nest.input_extent[0] * whole.c * rows * columns,
            "weight": np.full_like(b, nest.G * whole.k * whole.c * self.shape.kernel),
            "output": np.full_like(b, int(np.prod(self._outputs(whole)))),
        }
        traffic: dict[str, IntArray] = {}
        for operand, uses in _USES.items():
            per_order = []
            for order in orders:
                repeats = np.ones_like(b)
                changes = np.zeros(b.shape, dtype=bool)
                for loop in reversed(order):
                    if loop in uses:
                        changes |= loops[loop] > 1
                    else:
                        repeats = repeats * np.where(changes, loops[loop], 1)
                per_order.append(once[operand] * repeats)
            traffic[operand] = exact(per_order)
        return traffic

    def _reach(self, axis: int, sizes: IntArray) -> IntArray:
        return _mapped(sizes, lambda size: self.shape.reach(axis, size))

    def _swept(self, axis: int, whole: int, sizes: IntArray) -> IntArray:
        return _mapped(sizes, lambda size: self.shape.swept(axis, whole, size))


def _feeding(stage: Stage, work: CoreWork) -> npt.NDArray[np.float64]:
    """Cycles in which a memory's port serves the array, reads and writes at the same time."""
    reads = np.zeros(work.compute.shape)
    writes = np.zeros(work.compute.shape)
    if "input" in stage.feeds:
        reads += work.input_words * stage.bits.input
    if "weight" in stage.feeds:
        reads += work.weight_words * stage.bits.weight
    if "output" in stage.feeds:
        reads += work.output_words * stage.bits.partial
        writes += work.output_words * stage.bits.partial
    return np.maximum(reads, writes) * stage.feed_cycles_per_bit


def _mapped(sizes: IntArray, function: Callable[[int], int]) -> IntArray:
    """A function of one size over a table in which few sizes differ."""
    distinct, where = np.unique(sizes, return_inverse=True)
    return exact([function(int(size)) for size in distinct])[where]


def _tilings(extent: int) -> list[int]:
    """Tile sizes worth trying: the smallest for each possible number of tiles.

    A larger tile with the same number of tiles needs more room and saves nothing but a shorter
    last tile, so balanced tiles stand for all.
    """
    sizes = {-(-extent // count) for count in _counts(extent)}
    return sorted(sizes)


def _stepped(extent: int, step: int) -> list[int]:
    """Tile sizes in whole fillings of the array, and balanced parts of a single one."""
    fillings = {min(extent, size * step) for size in _tilings(-(-extent // step))}
    return sorted(fillings | set(_tilings(min(extent, step))))


def _counts(extent: int) -> Iterator[int]:
    """Numbers of tiles that give different balanced sizes: about 2 sqrt(extent) of them."""
    count = 1
    while count <= extent:
        yield count
        size = -(-extent // count)
        if size == 1:
            return
        count = -(-extent // (size - 1))


def _combinations(cuts: list[Pieces]) -> Iterator[tuple[Extents, int]]:
    """Each distinct tile of a tiling with how often it occurs, the largest first."""
    for parts in product(*(cut.sizes() for cut in cuts)):
        count = 1
        for _, often in parts:
            count *= often
        yield Extents(*(size for size, _ in parts)), count


def _added(total: Mapping[str, Words], inner: Mapping[str, Words], count: int) -> dict[str, Words]:
    merged = dict(total)
    for name, words in inner.items():
        merged[name] = merged.get(name, Words()).plus(words.times(count))
    return merged
