"""Candidates of one memory for one tile of a layer: their crossings, costs and lower bounds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from npubench.machines.array.core import Core, CoreWork, IntArray
from npubench.machines.array.extents import Extents
from npubench.machines.array.flows import AFTER, BEFORE, LEAVE, ON_TOP, FloatArray, Resources
from npubench.machines.array.nests import DoesNotFitError, Level, SearchCounts
from npubench.machines.array.tiles import ORDERS, USES, LayerTiles, Table, one

__all__ = ["CoreCost", "Cut", "Part", "PartMaker", "cuts"]

Rows = TypeVar("Rows", FloatArray, IntArray)

UNIT = Extents(1, 1, 1, 1, 1)
_LOOPS = {"M": "byx", "K": "k", "C": "c"}


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
        retained: (row, operand) of the choices that follow these rows in ``crossing`` and
            ``bound``: the same tile and order, the operand retained by the next memory.
        weights: of the last memory, what the array loads of them where those that a tile shares
            with the one before stay in the PEs: one row an order, one column a candidate.
    """

    whole: Extents
    table: Table
    orders: tuple[tuple[str, ...], ...]
    crossing: FloatArray
    bound: FloatArray
    cut: Sequence[Cut]
    retained: tuple[tuple[int, str], ...] = ()
    weights: IntArray | None = None

    def choice(self, index: int) -> tuple[Extents, str, str]:
        """(tile, order, retained operand) of a row."""
        kept, plain = "", len(self.orders) * self.table[0].size
        if index >= plain:
            index, kept = self.retained[index - plain]
        order, at = divmod(index, self.table[0].size)
        tile = Extents(*(int(sizes[at]) for sizes in self.table))
        return tile, "".join(self.orders[order]), kept


@dataclass(frozen=True, slots=True)
class PartMaker:
    """Makes the parts of one layer; arguments as of `LayerSearch`."""

    tiles: LayerTiles
    cores: tuple[Core, ...]
    levels: tuple[Level, ...]
    resources: Resources
    core_cost: CoreCost
    counts: SearchCounts = field(default_factory=SearchCounts)

    def part(self, depth: int, whole: Extents, kept: str = "") -> Part:
        """The choices of a level for a tile.

        Args:
            kept: an operand that stays here whole from tile to tile of the memory around: it is
                not cut, and what crosses of it is counted there.

        Raises:
            DoesNotFitError: the level cannot hold even single elements.
        """
        level = self.levels[depth]
        table, everything_fits = self._fitting(level, whole, kept)
        orders = ORDERS[:1] if everything_fits else _orders(level.operands)
        traffic = self.tiles.traffic(whole, table, orders)
        crossing = self._crossing(level, traffic, level.operands - {kept}, whole)
        self.counts.considered += 1 if everything_fits else 0
        cut = cuts(whole, table)
        if depth + 1 == len(self.levels):
            return Part(whole, table, orders, crossing, crossing, cut, weights=traffic["weight"])
        inner = self.levels[depth + 1]
        least, own = self._inside(depth + 1, table, cut)
        every = len(orders)

        def inside(without: str) -> FloatArray:
            rows = sum((own[name] for name in own if name != without), start=least)
            return np.tile(rows, (every, 1))

        crossings, bounds = [crossing], [crossing + inside("")]
        retained: list[tuple[int, str]] = []
        for operand in own:
            shared = self.tiles.retainable(whole, table, orders, operand)
            if not shared.any():
                continue
            rows = np.flatnonzero(shared & self._holds_whole(inner, table, operand))
            if not rows.size:
                continue
            once = crossing + self._crossing(inner, traffic, frozenset({operand}), whole)
            crossings.append(once[rows])
            if inner.operands == {operand} and depth + 2 == len(self.levels):
                # A last memory of nothing else cuts nothing then: the array runs these very tiles.
                tiles, at = np.unique(rows % table[0].size, return_inverse=True)
                b, y, x, k, c = (sizes[tiles] for sizes in table)
                array = self._array(self.cores, (b, y, x, k, c), cuts(whole, (b, y, x, k, c)))
                bounds.append(once[rows] + array[at])
            else:
                bounds.append(once[rows] + inside(operand)[rows])
            retained += [(int(row), operand) for row in rows]
        self.counts.considered += len(retained)
        crossing, bound = np.concatenate(crossings), np.concatenate(bounds)
        return Part(whole, table, orders, crossing, bound, cut, tuple(retained))

    def _inside(
        self, depth: int, table: Table, cut: Sequence[Cut]
    ) -> tuple[FloatArray, dict[str, FloatArray]]:
        """Bounds of what is inside each candidate: array and levels further in, and this level's.

        The array on uncut tiles, and every level passing each word once; what passes the outermost
        of the levels by operand.
        """
        level, size = self.levels[depth], (table[0].size, self.resources.count)
        least, own = np.zeros(size), {name: np.zeros(size) for name in sorted(level.operands)}
        pieces = _joined(cut)
        bounds: FloatArray = np.min([self.uncut(core, pieces) for core in self.cores], axis=0)
        words = self.tiles.distinct(pieces)
        for deeper in self.levels[depth + 1 :]:
            for name in deeper.operands:
                bounds += words[name][:, None] * _of(deeper, name)
        for piece, bound in zip(cut, _parted(bounds, cut), strict=True):
            least[piece.rows] += piece.count[:, None] * bound
        for name, rows in own.items():
            flow = _of(level, name)
            for piece, passed in zip(cut, _parted(words[name], cut), strict=True):
                rows[piece.rows] += (piece.count * passed)[:, None] * flow
        least[:, ON_TOP] = self.least_on_top()
        return least, own

    def _holds_whole(self, level: Level, table: Table, operand: str) -> npt.NDArray[np.bool_]:
        """Whether a level can hold an operand of each tile uncut, beside the least of others."""
        groups = self.cores[0].groups_at_once
        whole = self.tiles.footprint(table, level.operands, level.bits, groups)
        cut = dict(zip("byxkc", table, strict=True))
        for loop in _LOOPS.keys() - set(USES[operand]):
            if {loop} & {kind for one in level.operands for kind in USES[one]}:
                cut |= {name: np.ones_like(table[0]) for name in _LOOPS[loop]}
        least = (cut["b"], cut["y"], cut["x"], cut["k"], cut["c"])
        needed = self.tiles.footprint(least, level.operands, level.bits, groups)
        return np.asarray((needed <= _room(level)) | (whole <= level.room_bits))

    def least_on_top(self) -> FloatArray:
        """The least of what is paid on top: the smallest tile pays least."""
        table = one(UNIT)
        costs = [self.core_cost(core, core.work(*table), table) for core in self.cores]
        return np.asarray(np.concatenate(costs).min(axis=0)[ON_TOP])

    def array_cost(self, core: Core, part: Part) -> FloatArray:
        """Array cost summed over all pieces of each candidate tiling, ragged ones as they are.

        Orders one after another, candidates within.
        """
        cost = np.tile(self._array((core,), part.table, part.cut), (len(part.orders), 1))
        stays = core.stays(part.table[3], part.table[4])
        if part.weights is None or stays is None or not stays.any():
            return np.asarray(cost)
        loaded = np.zeros_like(part.table[3])
        for piece in part.cut:
            loaded[piece.rows] += piece.count * piece.table[3] * piece.table[4]
        loaded *= self.tiles.shape.nest.G * self.tiles.shape.kernel
        spared = (loaded - part.weights) * stays
        return np.asarray(cost - spared.reshape(-1, 1) * self._weight_cost(core))

    def _weight_cost(self, core: Core) -> FloatArray:
        """The vector of one weight that the array loads."""
        work, table = core.work(*one(UNIT)), one(UNIT)
        none = replace(work, weight_words=work.weight_words * 0, held_writes=work.held_writes * 0)
        more = self.core_cost(core, work, table) - self.core_cost(core, none, table)
        return np.asarray(more[0] / work.weight_words[0])

    def _array(self, cores: tuple[Core, ...], table: Table, cut: Sequence[Cut]) -> FloatArray:
        """The same; of several variants the least of each piece and column."""
        total = np.zeros((table[0].size, self.resources.count))
        pieces = _joined(cut)
        every: FloatArray = np.min(
            [self.core_cost(core, core.work(*pieces), pieces) for core in cores], axis=0
        )
        costs = _parted(every, cut)
        for number, (piece, cost) in enumerate(zip(cut, costs, strict=True)):
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

    def _fitting(self, level: Level, whole: Extents, kept: str) -> tuple[Table, bool]:
        """The candidates that fit; the whole alone, and True, where it fits."""
        groups = self.cores[0].groups_at_once
        alone = one(whole)
        whole_fits = bool(
            self.tiles.footprint(alone, level.operands, level.bits, groups)[0] <= level.room_bits
        )
        if whole_fits and not level.streams:
            return alone, True
        room = _room(level)
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
        if kept:
            uncut = {name for loop in USES[kept] for name in _LOOPS[loop]}
            for name, sizes, full in zip("byxkc", table, whole, strict=True):
                fits &= sizes == full if name in uncut else True
        b, y, x, k, c = (sizes[fits] for sizes in table)
        return (b, y, x, k, c), False

    def _crossing(
        self,
        level: Level,
        traffic: Mapping[str, IntArray],
        operands: frozenset[str],
        whole: Extents,
    ) -> FloatArray:
        """Cost vectors of words over a level's own boundary: orders one after another."""
        cost = np.zeros((traffic["input"].size, self.resources.count))
        for operand in ("input", "weight", "output"):
            if operand in operands:
                cost += traffic[operand].reshape(-1, 1) * _of(level, operand)
        if level.bits.sums is not None and "output" in operands:
            # By ZigZag's rules the last way out of sums that were out before, and the first way in,
            # are like the others: what finished outputs are spared is taken back, in equal shares.
            outputs, channels = self.tiles.outputs(whole), self.tiles.shape.extents.c
            again = (traffic["output"] > outputs) | (whole.c < channels)
            share = again.reshape(-1, 1) * (outputs * whole.c / channels)
            cost -= share * level.flow.finished
        return cost


def _joined(cut: Sequence[Cut]) -> Table:
    """The pieces of all kinds, one kind after another."""
    if len(cut) == 1:
        return cut[0].table
    b, y, x, k, c = (np.concatenate(sizes) for sizes in zip(*(p.table for p in cut), strict=True))
    return b, y, x, k, c


def _parted(rows: Rows, cut: Sequence[Cut]) -> list[Rows]:
    """Rows of `_joined` pieces, kind by kind."""
    ends = np.cumsum([piece.rows.size for piece in cut])
    return np.split(rows, ends[:-1])


def _room(level: Level) -> int:
    return level.room_bits // 2 if level.double_buffered else level.room_bits


def _of(level: Level, operand: str) -> FloatArray:
    flow = level.flow
    return {"input": flow.input, "weight": flow.weight, "output": flow.output}[operand]


def _orders(operands: frozenset[str]) -> tuple[tuple[str, ...], ...]:
    """Orders that differ for these operands: loops that touch none of them are left inside."""
    if operands == {"output"}:
        return (("M", "K", "C"), ("K", "M", "C"))
    if operands == {"weight"}:
        return (("K", "C", "M"), ("C", "K", "M"))
    return ORDERS
