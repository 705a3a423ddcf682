"""The best nest of tiles of a layer: exhaustive in a stated space, with what proves it.

The space: for every on-chip memory, outermost first, a tile (`LayerTiles.candidates`) and an order
of the loops over tiles; where everything that a memory tiles fits it whole, the tile is the whole.
For the array, every variant of its core (how arrays share a layer, what PEs keep). Every tile of a
tiling, ragged ones included, takes its own best inner nest; the tiles of the innermost memory
share one variant.

A nest costs a vector of resources: busy cycles of the array and of every memory port, joules, and
cycles that nothing hides. What a layer's finished outputs cost on their way out is the same for
every nest and is added at the end. Vectors of the parts add up, and each objective grows with every
component; so a part whose vector is nowhere smaller than another's can never be needed, and the
fronts of parts that remain hold the optimum of every objective (docs/models.md has the proof).
Where a memory that is not the outermost cuts by a bound, it does so by the score of its own part,
which proves nothing of the whole; `SearchCounts.proven` knows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import product
from typing import Protocol

import numpy as np
import numpy.typing as npt

from npubench.machines.array.core import Core, CoreWork
from npubench.machines.array.extents import Extents, Pieces, pieces
from npubench.machines.array.flows import AFTER, BEFORE, FloatArray, Flow, Resources
from npubench.machines.array.tiles import ORDERS, LayerTiles, OperandBits, Table, one

__all__ = ["DoesNotFitError", "Front", "LayerSearch", "Level", "Nest", "SearchCounts"]


# Rows of a front that are handed on; the best by the objective, where there are more.
MOST_KEPT = 48

# Candidates of one layer that get an inner search before the rest is left open.
MOST_EVALUATED = 96


@dataclass(frozen=True, slots=True)
class Level:
    """One on-chip memory, as the search sees it.

    Attributes:
        name: of the memory.
        operands: what it tiles; operands that stay in it whole are left out and cross its outer
            boundary no more.
        room_bits: capacity for tiles.
        double_buffered: a tile may take half of the room, unless everything fits whole.
        bits: widths of the operands in it.
        flow: over its outer boundary.
    """

    name: str
    operands: frozenset[str]
    room_bits: int
    double_buffered: bool
    bits: OperandBits
    flow: Flow


@dataclass(frozen=True, slots=True)
class Nest:
    """One way to run a tile: the choice at this level, and the nests of the tiles inside.

    Attributes:
        extents: what this nest covers.
        tile, order: the tile of the level and the order of its loops, outermost first; at the
            array the tile is the extents.
        variant: index of the core, at the array.
        inside: the distinct tiles with how often each occurs, the first one first.
    """

    extents: Extents
    tile: Extents
    order: str = ""
    variant: int = 0
    inside: tuple[tuple[int, Nest], ...] = ()


@dataclass(frozen=True, slots=True)
class Front:
    """Nests of which none is better in everything than another, and their cost vectors."""

    cost: FloatArray
    nests: tuple[Nest, ...]


@dataclass(slots=True)
class SearchCounts:
    """How the space was covered.

    Attributes:
        considered: (tile, order, variant) choices of all levels, each counted once a tile.
        too_large: of these, tiles that do not fit.
        bounded: of these, discarded because even a lower bound was no better than a found nest.
        dominated: of these, evaluated and beaten in every resource.
        open: of these, left when `MOST_EVALUATED` had been evaluated or a front held more than
            `MOST_KEPT`.
        cut_inside: of the bounded, those of memories that are not the outermost.
        evaluated: candidates that got an inner search.
    """

    considered: int = 0
    too_large: int = 0
    bounded: int = 0
    dominated: int = 0
    open: int = 0
    cut_inside: int = 0
    evaluated: int = 0

    @property
    def proven(self) -> bool:
        """Whether the nest found is the best of the space: nothing was left out unproven."""
        return self.open == 0 and self.cut_inside == 0


class DoesNotFitError(Exception):
    """Not even the smallest tile fits a memory; carries the memory's name and both sizes."""

    def __init__(self, level: str, needed_bits: int, room_bits: int) -> None:
        self.level, self.needed_bits, self.room_bits = level, needed_bits, room_bits
        super().__init__(f"{level}: needs {needed_bits} bits, has {room_bits}")


Score = Callable[[FloatArray], tuple[FloatArray, FloatArray]]


class CoreCost(Protocol):
    """Cost vectors of the array on a table of tiles, one row a tile."""

    def __call__(self, core: Core, work: CoreWork, table: Table) -> FloatArray:
        """Columns of `Resources`, inner words included."""
        ...


@dataclass(slots=True)
class LayerSearch:
    """Search for one layer; equal tiles are searched once.

    Attributes:
        tiles: the layer's candidate tables.
        cores: the variants of the array.
        levels: on-chip memories, outermost first.
        resources: the columns.
        core_cost: see `CoreCost`.
        score: what is minimised, and what decides ties; both grow with every column.
        finished: what a finished output costs over all boundaries on its way out; the same for
            every nest, it only decides which resource is the busiest.
        counts: filled as the search runs.
    """

    tiles: LayerTiles
    cores: tuple[Core, ...]
    levels: tuple[Level, ...]
    resources: Resources
    core_cost: CoreCost
    score: Score
    finished: FloatArray
    counts: SearchCounts = field(default_factory=SearchCounts)
    known: dict[tuple[int, Extents], Front] = field(default_factory=dict)

    def front(self, depth: int, whole: Extents) -> Front:
        """All nests of a tile, from a level inwards, that no other beats in every resource.

        Raises:
            DoesNotFitError: a level cannot hold even single elements.
        """
        key = (depth, whole)
        if key not in self.known:
            if depth == len(self.levels):
                self.known[key] = self._array_front(whole)
            else:
                self.known[key] = self._level_front(depth, whole)
        return self.known[key]

    def _array_front(self, whole: Extents) -> Front:
        table = one(whole)
        rows = np.concatenate(
            [self.core_cost(core, core.work(*table), table) for core in self.cores]
        )
        self.counts.considered += len(rows)
        keep = nondominated(rows)
        self.counts.dominated += len(rows) - len(keep)
        return Front(rows[keep], tuple(Nest(whole, whole, variant=int(i)) for i in keep))

    def _level_front(self, depth: int, whole: Extents) -> Front:
        level = self.levels[depth]
        table, everything_fits = self._fitting(level, whole)
        orders = _orders(level.operands)
        crossing = self._crossing(level, whole, table, orders)
        if everything_fits:
            self.counts.considered += 1
            return self._extended(depth, whole, whole, "".join(ORDERS[0]), crossing[0])
        if depth + 1 == len(self.levels):
            return self._innermost(whole, table, orders, crossing)
        return self._bounded(depth, whole, table, orders, crossing)

    def _fitting(self, level: Level, whole: Extents) -> tuple[Table, bool]:
        """The candidates that fit; the whole alone, and True, where it fits."""
        groups = self.cores[0].groups_at_once
        alone = one(whole)
        if self.tiles.footprint(alone, level.operands, level.bits, groups)[0] <= level.room_bits:
            return alone, True
        room = level.room_bits // 2 if level.double_buffered else level.room_bits
        table = self.tiles.candidates(whole, level.operands, self.cores[0].steps)
        fits = self.tiles.footprint(table, level.operands, level.bits, groups) <= room
        choices = len(_orders(level.operands))
        self.counts.considered += choices * fits.size
        self.counts.too_large += choices * int(fits.size - fits.sum())
        if not fits.any():
            smallest = one(Extents(1, 1, 1, 1, 1))
            least = self.tiles.footprint(smallest, level.operands, level.bits, groups)[0]
            raise DoesNotFitError(level.name, int(least), room)
        b, y, x, k, c = (sizes[fits] for sizes in table)
        return (b, y, x, k, c), False

    def _crossing(
        self, level: Level, whole: Extents, table: Table, orders: tuple[tuple[str, ...], ...]
    ) -> FloatArray:
        """Cost vectors of a level's own boundary: orders one after another, tiles within."""
        traffic = self.tiles.traffic(whole, table, orders)
        cost = np.zeros((len(orders) * table[0].size, self.resources.count))
        flows = {"input": level.flow.input, "weight": level.flow.weight}
        for operand, vector in flows.items():
            if operand in level.operands:
                cost += traffic[operand].reshape(-1, 1) * vector
        if "output" in level.operands:
            cost += traffic["output"].reshape(-1, 1) * level.flow.output
        return cost

    def _innermost(
        self,
        whole: Extents,
        table: Table,
        orders: tuple[tuple[str, ...], ...],
        crossing: FloatArray,
    ) -> Front:
        """Every candidate of the last level, evaluated exactly and at once."""
        size = table[0].size
        inner = [self._pieces_cost(core, whole, table) for core in self.cores]
        rows = np.concatenate([crossing + np.tile(cost, (len(orders), 1)) for cost in inner])
        self.counts.considered += len(rows) - len(crossing)
        keep = self._kept(whole, rows)
        nests = []
        for index in keep.tolist():
            variant, choice = divmod(index, len(crossing))
            order, at = divmod(choice, size)
            tile = Extents(*(int(sizes[at]) for sizes in table))
            inside = tuple(
                (count, Nest(piece, piece, variant=variant))
                for piece, count in combinations(whole, tile)
            )
            nests.append(Nest(whole, tile, "".join(orders[order]), inside=inside))
        return Front(rows[keep], tuple(nests))

    def _kept(self, whole: Extents, rows: FloatArray) -> npt.NDArray[np.intp]:
        """Indices of the rows of a front, the best by the objective where there are too many."""
        keep = nondominated(rows)
        self.counts.dominated += len(rows) - len(keep)
        if len(keep) <= MOST_KEPT:
            return keep
        self.counts.open += len(keep) - MOST_KEPT
        finished = self.tiles.outputs(whole) * self.finished
        first, second = self.score(rows[keep] + finished)
        return np.sort(keep[np.lexsort((second, first))[:MOST_KEPT]])

    def _pieces_cost(self, core: Core, whole: Extents, table: Table) -> FloatArray:
        """Array cost summed over all tiles of each candidate tiling, ragged tiles as they are."""
        total = np.zeros((table[0].size, self.resources.count))
        cuts = [
            ((size, extent // size), (extent % size, np.minimum(extent % size, 1)))
            for extent, size in zip(whole, table, strict=True)
        ]
        for number, parts in enumerate(product(*cuts)):
            sizes = tuple(size for size, _ in parts)
            count = np.prod([often for _, often in parts], axis=0)
            if not count.any():
                continue
            present = count > 0
            b, y, x, k, c = (np.maximum(size, 1) for size in sizes)
            piece: Table = (b, y, x, k, c)
            cost = self.core_cost(core, core.work(*piece), piece)
            ends = np.array([BEFORE, AFTER])
            last = np.where(present, cost[:, AFTER], total[:, AFTER])
            before = cost[:, BEFORE] if number == 0 else total[:, BEFORE]
            total += np.where(present, count, 0)[:, None] * cost
            total[:, ends] = np.stack([before, last], axis=1)
        return total

    def _bounded(
        self,
        depth: int,
        whole: Extents,
        table: Table,
        orders: tuple[tuple[str, ...], ...],
        crossing: FloatArray,
    ) -> Front:
        """Best first: evaluate the candidate of least lower bound, discard what it beats."""
        size = table[0].size
        bound = crossing + np.tile(self._inner_bound(depth, whole, table), (len(orders), 1))
        finished = self.tiles.outputs(whole) * self.finished
        first, second = self.score(bound + finished)
        rank = np.lexsort((second, first))
        found_cost = np.empty((0, self.resources.count))
        found: list[Nest] = []
        best = (np.inf, np.inf)
        for number, index in enumerate(rank.tolist()):
            # Later candidates have no lower bound than this one: none of them can do better.
            if (first[index], second[index]) >= best:
                self.counts.bounded += len(rank) - number
                self.counts.cut_inside += len(rank) - number if depth else 0
                break
            if number and self.counts.evaluated >= MOST_EVALUATED:
                self.counts.open += len(rank) - number
                break
            self.counts.evaluated += 1
            order, at = divmod(index, size)
            tile = Extents(*(int(sizes[at]) for sizes in table))
            front = self._extended(depth, whole, tile, "".join(orders[order]), crossing[index])
            found_cost = np.concatenate([found_cost, front.cost])
            found.extend(front.nests)
            keep = self._kept(whole, found_cost)
            found_cost, found = found_cost[keep], [found[i] for i in keep]
            scores = self.score(found_cost + finished)
            best = min(zip(*(score.tolist() for score in scores), strict=True))
        return Front(found_cost, tuple(found))

    def _inner_bound(self, depth: int, whole: Extents, table: Table) -> FloatArray:
        """What everything inside a level costs at the least, for each candidate tile.

        The array on the tiles as they are: cutting a tile further never saves it a cycle or a
        word. And every level inside passes each of its operands at least once a tile.
        """
        array = [self._pieces_cost(core, whole, table) for core in self.cores]
        bound: FloatArray = np.min(array, axis=0)
        bound[:, [BEFORE, AFTER]] = 0.0
        words = {
            "input": self.tiles.least_inputs(whole),
            "weight": self.tiles.shape.nest.G * whole.k * whole.c * self.tiles.shape.kernel,
            "output": self.tiles.outputs(whole),
        }
        for level in self.levels[depth + 1 :]:
            vectors = {
                "input": level.flow.input,
                "weight": level.flow.weight,
                "output": level.flow.output,
            }
            for operand in level.operands:
                bound += words[operand] * vectors[operand]
        return bound

    def _extended(
        self, depth: int, whole: Extents, tile: Extents, order: str, crossing: FloatArray
    ) -> Front:
        """A level's choice with the best inner nests of each of its tiles."""
        costs = crossing[None, :]
        chosen: list[tuple[tuple[int, Nest], ...]] = [()]
        for number, (piece, count) in enumerate(combinations(whole, tile)):
            inner = self.front(depth + 1, piece)
            parts = costs[:, None, :] + count * inner.cost[None, :, :]
            # What is paid on top is that of the first tile before, and of the last one after.
            parts[..., AFTER] = inner.cost[None, :, AFTER]
            first = inner.cost[None, :, BEFORE] if number == 0 else costs[:, None, BEFORE]
            parts[..., BEFORE] = first
            sums = parts.reshape(-1, self.resources.count)
            keep = self._kept(whole, sums)
            chosen = [
                (*chosen[i // len(inner.nests)], (count, inner.nests[i % len(inner.nests)]))
                for i in keep.tolist()
            ]
            costs = sums[keep]
        return Front(costs, tuple(Nest(whole, tile, order, inside=inside) for inside in chosen))


def combinations(whole: Extents, tile: Extents) -> Iterator[tuple[Extents, int]]:
    """Each distinct tile of a tiling with how often it occurs; the first is the largest."""
    cuts: list[Pieces] = [pieces(extent, size) for extent, size in zip(whole, tile, strict=True)]
    for parts in product(*(cut.sizes() for cut in cuts)):
        count = 1
        for _, often in parts:
            count *= often
        yield Extents(*(size for size, _ in parts)), count


def nondominated(rows: FloatArray) -> npt.NDArray[np.intp]:
    """Indices of the rows that no other row equals or undercuts in every column.

    Of equal rows the first is kept. Rows are taken from the smallest sum on, so that each survivor
    is final when it is met.
    """
    order = np.lexsort((np.arange(len(rows)), rows.sum(axis=1)))
    left = rows[order]
    keep: list[int] = []
    while len(left):
        keep.append(int(order[0]))
        alive = ~(left >= left[0]).all(axis=1)
        left, order = left[alive], order[alive]
    return np.array(sorted(keep), dtype=np.intp)


def _orders(operands: frozenset[str]) -> tuple[tuple[str, ...], ...]:
    """Orders that differ for these operands: loops that touch none of them are left inside."""
    if operands == {"output"}:
        return (("M", "K", "C"), ("K", "M", "C"))
    if operands == {"weight"}:
        return (("K", "C", "M"), ("C", "K", "M"))
    return ORDERS
