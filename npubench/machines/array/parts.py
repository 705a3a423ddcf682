"""Candidates of one memory for one tile of a layer: their crossings, costs and lower bounds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np

from npubench.machines.array.core import Core, CoreWork, IntArray
from npubench.machines.array.extents import Extents
from npubench.machines.array.flows import AFTER, BEFORE, LEAVE, ON_TOP, FloatArray, Resources
from npubench.machines.array.nests import DoesNotFitError, Level, SearchCounts
from npubench.machines.array.tiles import ORDERS, LayerTiles, Table, one

__all__ = ["CoreCost", "Cut", "Part", "PartMaker", "cuts"]

UNIT = Extents(1, 1, 1, 1, 1)


class CoreCost(Protocol):
    """Cost vectors of the array on a table of tiles, one row a tile."""

    def __call__(self, core: Core, work: CoreWork, table: Table) -> FloatArray:
        """Columns of `Resources`, inner words included."""
        ...


@dataclass(frozen=True, slots=True)
class Cut:
    """One kind of piece that tilings fall into: full ones, or ragged ones along some loops.

    Attributes:
        rows: candidates that have such a piece.
        table: its extents, one entry a candidate of ``rows``.
        count: how often it occurs in each.
    """

    rows: IntArray
    table: Table
    count: IntArray


def cuts(whole: Extents, table: Table) -> list[Cut]:
    """All pieces of every candidate tiling, in the order in which they run.

    Of the three loops of rows a candidate cuts one at most (see `LayerTiles.candidates`), so a
    tiling has one ragged piece along rows at most, one along K and one along C.
    """
    b, y, x, k, c = table
    full_b, full_y, full_x = whole.b // b, whole.y // y, whole.x // x
    rest_b, rest_y, rest_x = whole.b % b, whole.y % y, whole.x % x
    ragged = np.where(rest_b > 0, 1, np.where(rest_y > 0, full_b, full_b * full_y))
    rest = (
        np.where(rest_b > 0, rest_b, b),
        np.where(rest_y > 0, rest_y, y),
        np.where(rest_x > 0, rest_x, x),
    )
    over_rows = (
        ((b, y, x), full_b * full_y * full_x),
        (rest, np.where((rest_b > 0) | (rest_y > 0) | (rest_x > 0), ragged, 0)),
    )
    over_k = ((k, whole.k // k), (whole.k % k, np.minimum(whole.k % k, 1)))
    over_c = ((c, whole.c // c), (whole.c % c, np.minimum(whole.c % c, 1)))
    found: list[Cut] = []
    for (pb, py, px), count_m in over_rows:
        for pk, count_k in over_k:
            for pc, count_c in over_c:
                count = count_m * count_k * count_c
                rows = np.flatnonzero(count)
                if rows.size:
                    piece = (pb[rows], py[rows], px[rows], pk[rows], pc[rows])
                    found.append(Cut(rows, piece, count[rows]))
    return found


@dataclass(frozen=True, slots=True)
class Part:
    """All choices of one memory for one tile.

    Attributes:
        whole: the tile.
        table: candidates that fit; rows of the arrays are orders one after another, candidates
            within.
        orders: of the loops over tiles.
        crossing: cost vectors of the memory's own boundary.
        bound: nowhere above the cost vector of any nest with this choice.
        cut: pieces of the candidates.
    """

    whole: Extents
    table: Table
    orders: tuple[tuple[str, ...], ...]
    crossing: FloatArray
    bound: FloatArray
    cut: Sequence[Cut]

    def choice(self, index: int) -> tuple[Extents, str]:
        """(tile, order) of a row."""
        order, at = divmod(index, self.table[0].size)
        return Extents(*(int(sizes[at]) for sizes in self.table)), "".join(self.orders[order])


@dataclass(frozen=True, slots=True)
class PartMaker:
    """Makes the parts of one layer; arguments as of `LayerSearch`."""

    tiles: LayerTiles
    cores: tuple[Core, ...]
    levels: tuple[Level, ...]
    resources: Resources
    core_cost: CoreCost
    counts: SearchCounts = field(default_factory=SearchCounts)

    def part(self, depth: int, whole: Extents) -> Part:
        """The choices of a level for a tile.

        Raises:
            DoesNotFitError: the level cannot hold even single elements.
        """
        level = self.levels[depth]
        table, everything_fits = self._fitting(level, whole)
        orders = ORDERS[:1] if everything_fits else _orders(level.operands)
        crossing = self._crossing(level, whole, table, orders)
        self.counts.considered += 1 if everything_fits else 0
        cut = cuts(whole, table)
        bound = crossing
        if depth + 1 < len(self.levels):
            inside = np.zeros((table[0].size, self.resources.count))
            every = self._least(depth + 1, _joined(cut))
            for piece, least in zip(cut, _parted(every, cut), strict=True):
                inside[piece.rows] += piece.count[:, None] * least
            inside[:, ON_TOP] = self.least_on_top()
            bound = crossing + np.tile(inside, (len(orders), 1))
        return Part(whole, table, orders, crossing, bound, cut)

    def least_on_top(self) -> FloatArray:
        """The least of what is paid on top: the smallest tile pays least."""
        table = one(UNIT)
        costs = [self.core_cost(core, core.work(*table), table) for core in self.cores]
        return np.asarray(np.concatenate(costs).min(axis=0)[ON_TOP])

    def array_cost(self, core: Core, part: Part) -> FloatArray:
        """Array cost summed over all pieces of each candidate tiling, ragged ones as they are."""
        total = np.zeros((part.table[0].size, self.resources.count))
        pieces = _joined(part.cut)
        every = self.core_cost(core, core.work(*pieces), pieces)
        costs = _parted(every, part.cut)
        for number, (piece, cost) in enumerate(zip(part.cut, costs, strict=True)):
            # Before the first piece and after the last one, not for each.
            if number == 0:
                total[piece.rows, BEFORE] = cost[:, BEFORE]
            total[piece.rows, AFTER] = cost[:, AFTER]
            total[piece.rows, LEAVE] = cost[:, LEAVE]
            cost[:, ON_TOP] = 0.0
            total[piece.rows] += piece.count[:, None] * cost
        return total

    def uncut(self, core: Core, table: Table) -> FloatArray:
        """Vectors nowhere above those of the array on tiles cut in any way.

        Cutting never saves cycles or words, but for what `CoreWork` has a least of its own.
        """
        work = core.work(*table)
        least = replace(work, held_writes=work.held_least, input_words=work.input_least)
        return self.core_cost(core, least, table)

    def _least(self, depth: int, table: Table) -> FloatArray:
        """The array on uncut tiles, and every level from a depth on passing each word once."""
        array = [self.uncut(core, table) for core in self.cores]
        bound: FloatArray = np.min(array, axis=0)
        words = self.tiles.distinct(table)
        for level in self.levels[depth:]:
            flows = {
                "input": level.flow.input,
                "weight": level.flow.weight,
                "output": level.flow.output,
            }
            for operand in level.operands:
                bound += words[operand][:, None] * flows[operand]
        return bound

    def _fitting(self, level: Level, whole: Extents) -> tuple[Table, bool]:
        """The candidates that fit; the whole alone, and True, where it fits."""
        groups = self.cores[0].groups_at_once
        alone = one(whole)
        whole_fits = bool(
            self.tiles.footprint(alone, level.operands, level.bits, groups)[0] <= level.room_bits
        )
        if whole_fits and not level.streams:
            return alone, True
        room = level.room_bits // 2 if level.double_buffered else level.room_bits
        table = self.tiles.candidates(whole, level.operands, self.cores[0].steps)
        fits = self.tiles.footprint(table, level.operands, level.bits, groups) <= room
        if whole_fits:
            fits |= np.all([n == full for n, full in zip(table, whole, strict=True)], axis=0)
        choices = len(_orders(level.operands))
        self.counts.considered += choices * fits.size
        self.counts.too_large += choices * int(fits.size - fits.sum())
        if not fits.any():
            least = self.tiles.footprint(one(UNIT), level.operands, level.bits, groups)[0]
            raise DoesNotFitError(level.name, int(least), room)
        b, y, x, k, c = (sizes[fits] for sizes in table)
        return (b, y, x, k, c), False

    def _crossing(
        self, level: Level, whole: Extents, table: Table, orders: tuple[tuple[str, ...], ...]
    ) -> FloatArray:
        """Cost vectors of a level's own boundary: orders one after another, tiles within."""
        traffic = self.tiles.traffic(whole, table, orders)
        cost = np.zeros((len(orders) * table[0].size, self.resources.count))
        flows = {
            "input": level.flow.input,
            "weight": level.flow.weight,
            "output": level.flow.output,
        }
        for operand, vector in flows.items():
            if operand in level.operands:
                cost += traffic[operand].reshape(-1, 1) * vector
        return cost


def _joined(cut: Sequence[Cut]) -> Table:
    """The pieces of all kinds, one kind after another."""
    if len(cut) == 1:
        return cut[0].table
    b, y, x, k, c = (np.concatenate(sizes) for sizes in zip(*(p.table for p in cut), strict=True))
    return b, y, x, k, c


def _parted(rows: FloatArray, cut: Sequence[Cut]) -> list[FloatArray]:
    """Rows of `_joined` pieces, kind by kind."""
    ends = np.cumsum([piece.rows.size for piece in cut])
    return np.split(rows, ends[:-1])


def _orders(operands: frozenset[str]) -> tuple[tuple[str, ...], ...]:
    """Orders that differ for these operands: loops that touch none of them are left inside."""
    if operands == {"output"}:
        return (("M", "K", "C"), ("K", "M", "C"))
    if operands == {"weight"}:
        return (("K", "C", "M"), ("C", "K", "M"))
    return ORDERS
