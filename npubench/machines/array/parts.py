"""Candidates of one memory for one tile of a layer: their crossings, costs and lower bounds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np
import numpy.typing as npt

from npubench.machines.array.core import Core, CoreWork, IntArray
from npubench.machines.array.cutting import Cut, cuts, over_pieces
from npubench.machines.array.extents import Extents
from npubench.machines.array.flows import (
    AFTER,
    BEFORE,
    LEAVE,
    ON_TOP,
    FloatArray,
    Resources,
    add_words,
)
from npubench.machines.array.nests import DoesNotFitError, Level, SearchCounts
from npubench.machines.array.tiles import (
    ORDERS,
    USES,
    LayerTiles,
    Table,
    joined,
    one,
    tabled,
    taken,
)

__all__ = ["CoreCost", "Part", "PartMaker"]

UNIT = Extents(1, 1, 1, 1, 1)
_LOOPS = {"M": "byx", "K": "k", "C": "c"}


class CoreCost(Protocol):
    """Cost vectors of the array on a table of tiles: a row a resource, a column a tile."""

    def __call__(self, core: Core, work: CoreWork, table: Table) -> FloatArray:
        """Columns of `Resources`, inner words included, without what is paid on top."""
        ...

    def on_top(self, core: Core, table: Table) -> FloatArray:
        """Rows `BEFORE`, `AFTER` and `LEAVE` of these tiles."""
        ...


@dataclass(frozen=True, slots=True)
class Part:
    """All choices of one memory for one tile.

    Attributes:
        whole: the tile.
        table: candidates that fit; choices are orders one after another, candidates within.
        orders: of the loops over tiles.
        crossing: cost vectors of the memory's own boundary.
        bound: nowhere above the cost vector of any nest with this choice.
        cut: pieces of the candidates.
        chosen: what the next memory retains, an operand or nothing, with the tiles and orders of
            its choices (orders one after another, candidates within): these follow each other in
            ``crossing`` and ``bound``. Empty where every tile and order is a choice, and no other.
    """

    whole: Extents
    table: Table
    orders: tuple[str, ...]
    crossing: FloatArray
    bound: FloatArray
    cut: Sequence[Cut]
    chosen: tuple[tuple[str, IntArray], ...] = ()

    def choice(self, index: int) -> tuple[Extents, str, str]:
        """(tile, order, retained operand) of a row."""
        kept, beyond = "", index
        for operand, rows in self.chosen:
            if 0 <= beyond < rows.size:
                index, kept = int(rows[beyond]), operand
            beyond -= rows.size
        order, at = divmod(index, self.table[0].size)
        tile = Extents(*(int(sizes[at]) for sizes in self.table))
        return tile, self.orders[order], kept

    def tiles(self, indices: IntArray) -> tuple[Table, list[str]]:
        """The tiles and the retained operands of many rows."""
        start, rows, kept = 0, indices.copy(), [""] * len(indices)
        for operand, all_rows in self.chosen:
            some = ((indices >= start) & (indices < start + all_rows.size)).nonzero()[0]
            rows[some] = all_rows[indices[some] - start]
            for number in some.tolist():
                kept[number] = operand
            start += all_rows.size
        return taken(self.table, rows % self.table[0].size), kept


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
        table, everything_fits = one(whole), bool(self.fits_whole(level, one(whole))[0])
        last = depth + 1 == len(self.levels)
        if not everything_fits:
            # Where the next memory may keep sums, outputs that come here may be finished.
            finished = not last and "output" in self.levels[depth + 1].operands
            table, _ = self.cutting(level, [whole], kept, finished=finished)
        orders = self.orders(level, uncut=everything_fits)
        self.counts.considered += 1 if everything_fits else 0
        cut = cuts(whole, table)
        traffic = self.tiles.traffic(whole, table, orders)
        size = len(orders) * table[0].size
        base = np.zeros((self.resources.count, size))
        self._cross(level, {name: traffic[name] for name in level.operands - {kept}}, whole, base)
        if last:
            return Part(whole, table, orders, base.T, base.T, cut)
        choices = self._choices(depth, whole, table, orders)
        total = sum(rows.size for _, rows in choices)
        columns, bound = np.empty((2, self.resources.count, total))
        inner, (least, own) = self.levels[depth + 1], self._inside(depth + 1, table, cut)
        start = 0
        for operand, rows in choices:
            end = start + rows.size
            once, tiles = columns[:, start:end], rows % table[0].size
            once[:] = base if rows.size == size else base[:, rows]
            if operand:
                words = {operand: traffic[operand].ravel()[rows]}
                self._cross(inner, words, whole, once)
            if inner.operands == {operand} and depth + 2 == len(self.levels):
                # A last memory of nothing else cuts nothing then: the array runs these very tiles.
                within = self._uncut_inside(whole, table, tiles, least[ON_TOP, 0])
            else:
                within = np.sum([least, *(own[name] for name in own if name != operand)], axis=0)
                within = within[:, tiles]
            np.add(once, within, out=bound[:, start:end])
            start = end
        self.counts.considered += total - size
        return Part(whole, table, orders, columns.T, bound.T, cut, choices)

    def _choices(
        self, depth: int, whole: Extents, table: Table, orders: tuple[str, ...]
    ) -> tuple[tuple[str, IntArray], ...]:
        """Rows of tiles and orders, with nothing retained and with each operand that can be.

        Raises:
            DoesNotFitError: the level holds tiles of finished outputs only, and sums come back.
        """
        level, inner = self.levels[depth], self.levels[depth + 1]
        # Tiles that fit by the room of finished outputs alone are for sums that are kept inside.
        any_sums = self._footprint(level, table) <= _room(level)
        full = np.all([n == size for n, size in zip(table, whole, strict=True)], axis=0)
        any_sums |= full & (self._footprint(level, table) <= level.room_bits)
        found = [("", np.flatnonzero(np.tile(any_sums, len(orders))))]
        for operand in sorted(inner.operands):
            shared = self.tiles.retainable(whole, table, orders, operand)
            if operand != "output":
                shared &= any_sums
            if shared.any():
                rows = np.flatnonzero(shared & self._holds_whole(inner, table, operand))
                if rows.size:
                    found.append((operand, rows))
        if not sum(rows.size for _, rows in found):
            least = self._footprint(level, one(UNIT))[0]
            raise DoesNotFitError(level.name, int(least), _room(level))
        return tuple(found)

    def _uncut_inside(
        self, whole: Extents, table: Table, tiles: IntArray, on_top: FloatArray
    ) -> FloatArray:
        """Columns of the array on some candidates' pieces as they are, and a bound on top."""
        distinct, at = np.unique(tiles, return_inverse=True)
        some = taken(table, distinct)
        columns = self.array(self.cores, some, cuts(whole, some), on_top=False)
        columns[ON_TOP] = on_top[:, None]
        return np.asarray(columns[:, at])

    def _inside(
        self, depth: int, table: Table, cut: Sequence[Cut]
    ) -> tuple[FloatArray, dict[str, FloatArray]]:
        """Bounds of what is inside each candidate: array and levels further in, and this level's.

        The array on uncut tiles, and every level passing each word once; what passes the outermost
        of the levels by operand. Both with a row for each resource, a column for each candidate.
        """
        level, size = self.levels[depth], table[0].size
        pieces = joined([piece.table for piece in cut])
        bounds = self._least_of(self.cores, pieces)
        words = self.tiles.distinct(pieces)
        for deeper in self.levels[depth + 1 :]:
            for name in sorted(deeper.operands):
                add_words(bounds, words[name], _of(deeper, name))
        least = over_pieces(bounds, cut, size)
        least[ON_TOP] = self.least_on_top()[:, None]
        own = {}
        for name in sorted(level.operands):
            passed = over_pieces(words[name][None, :], cut, size)[0]
            own[name] = np.zeros_like(least)
            add_words(own[name], passed, _of(level, name))
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
        costs = [self.core_cost.on_top(core, table) for core in self.cores]
        return np.asarray(np.min(costs, axis=0)[:, 0])

    def array_cost(
        self,
        core: Core,
        whole: Extents | Table,
        table: Table,
        orders: tuple[str, ...],
        cut: Sequence[Cut],
    ) -> FloatArray:
        """Columns of the array inside the last memory, one for an order and tiling.

        Orders one after another. Weights may stay in the PEs from tile to tile (`Core.stays`).
        """
        cost = np.tile(self.array((core,), table, cut), len(orders))
        stays = core.stays(table[3], table[4])
        if stays is not None and stays.any():
            _, _, _, k, c = joined([piece.table for piece in cut])
            loaded = over_pieces((k * c)[None, :], cut, table[0].size)[0]
            loaded *= self.tiles.shape.nest.G * self.tiles.shape.kernel
            changed = self.tiles.traffic(whole, table, orders, ("weight",))["weight"]
            cost -= self._weight_cost(core)[:, None] * ((loaded - changed) * stays).ravel()
        return cost

    def _weight_cost(self, core: Core) -> FloatArray:
        """The vector of one weight that the array loads."""
        work, table = core.work(*one(UNIT)), one(UNIT)
        none = replace(work, weight_words=work.weight_words * 0, held_writes=work.held_writes * 0)
        more = self.core_cost(core, work, table) - self.core_cost(core, none, table)
        return np.asarray(more[:, 0] / work.weight_words[0])

    def array(
        self, cores: tuple[Core, ...], table: Table, cut: Sequence[Cut], *, on_top: bool = True
    ) -> FloatArray:
        """Columns of the array over all pieces of each tiling, ragged ones as they are.

        Of several variants the least of each piece and column.
        """
        pieces = joined([piece.table for piece in cut])
        every = self.core_cost(cores[0], cores[0].work(*pieces), pieces)
        for core in cores[1:]:
            np.minimum(every, self.core_cost(core, core.work(*pieces), pieces), out=every)
        total = over_pieces(every, cut, table[0].size)
        if on_top:
            # Before the first piece and after the last one, not for each.
            paid = np.min([self.core_cost.on_top(core, pieces) for core in cores], axis=0)
            at = 0
            for number, piece in enumerate(cut):
                before, after, leave = paid[:, at : at + piece.rows.size]
                if number == 0:
                    total[BEFORE, piece.rows] = before
                total[AFTER, piece.rows], total[LEAVE, piece.rows] = after, leave
                at += piece.rows.size
        return total

    def uncut(self, core: Core, table: Table) -> FloatArray:
        """Columns nowhere above those of the array on tiles cut in any way; nothing on top.

        Cutting never saves cycles or words, but for what `CoreWork` has a least of its own.
        """
        work = core.work(*table)
        least = replace(work, held_writes=work.held_least, input_words=work.input_least)
        return self.core_cost(core, least, table)

    def _least_of(self, cores: Sequence[Core], table: Table) -> FloatArray:
        """The same for whichever variant takes least of each column."""
        columns = self.uncut(cores[0], table)
        for core in cores[1:]:
            np.minimum(columns, self.uncut(core, table), out=columns)
        return columns

    @staticmethod
    def orders(level: Level, *, uncut: bool) -> tuple[str, ...]:
        """Orders of loops over a memory's tiles; any one will do where there is one tile."""
        return ORDERS[:1] if uncut else _orders(level.operands)

    def fits_whole(self, level: Level, table: Table) -> npt.NDArray[np.bool_]:
        """Whether tiles are not cut in a memory: all of its operands fit, and nothing waits."""
        if level.streams:
            return np.zeros(table[0].shape, dtype=bool)
        return self._footprint(level, table) <= level.room_bits

    def cutting(
        self, level: Level, wholes: Sequence[Extents], kept: str, *, finished: bool = False
    ) -> tuple[Table, IntArray]:
        """The candidates of a memory that fit, for tiles one after another, and whose they are.

        Args:
            kept: see `part`.
            finished: see `LayerTiles.footprint`.

        Raises:
            DoesNotFitError: the level cannot hold even single elements of one of the tiles.
        """
        room, steps = _room(level), self.cores[0].steps
        tables = [self.tiles.candidates(whole, level.operands, steps) for whole in wholes]
        owner = np.repeat(np.arange(len(wholes)), [table[0].size for table in tables])
        table = joined(tables)
        around = taken(tabled(wholes), owner)
        fits = self._footprint(level, table, finished=finished) <= room
        if level.streams:
            full = np.all([n == whole for n, whole in zip(table, around, strict=True)], axis=0)
            fits |= full & (self._footprint(level, table) <= level.room_bits)
        choices = len(_orders(level.operands))
        self.counts.considered += choices * fits.size
        self.counts.too_large += choices * int(fits.size - fits.sum())
        if not np.bincount(owner[fits], minlength=len(wholes)).all():
            least = self._footprint(level, one(UNIT))[0]
            raise DoesNotFitError(level.name, int(least), room)
        if kept:
            uncut = {name for loop in USES[kept] for name in _LOOPS[loop]}
            for name, sizes, whole in zip("byxkc", table, around, strict=True):
                fits &= sizes == whole if name in uncut else True
        return taken(table, fits), owner[fits]

    def _footprint(self, level: Level, table: Table, *, finished: bool = False) -> IntArray:
        groups = self.cores[0].groups_at_once
        return self.tiles.footprint(table, level.operands, level.bits, groups, finished=finished)

    def last_crossing(
        self, whole: Table, table: Table, orders: tuple[str, ...], kept: str
    ) -> FloatArray:
        """Columns of what crosses the last memory's boundary for candidates of many tiles.

        Args:
            whole: the tile that each candidate cuts.
            orders: of the loops; one after another in the answer.
            kept: see `part`.
        """
        level = self.levels[-1]
        traffic = self.tiles.traffic(whole, table, orders, level.operands - {kept})
        columns = np.zeros((self.resources.count, len(orders) * table[0].size))
        self._cross(level, traffic, whole, columns)
        return columns

    def _cross(
        self,
        level: Level,
        traffic: Mapping[str, IntArray],
        whole: Extents | Table,
        columns: FloatArray,
    ) -> None:
        """Add words over a level's own boundary: orders one after another.

        Args:
            traffic: of the operands that cross.
            whole: what is cut.
        """
        for operand in USES:
            if operand in traffic:
                add_words(columns, traffic[operand].ravel(), _of(level, operand))
        if level.bits.sums is not None and "output" in traffic:
            # By ZigZag's rules the last way out of sums that were out before, and the first way in,
            # are like the others: what finished outputs are spared is taken back, in equal shares.
            outputs, channels = self.tiles.outputs(whole), self.tiles.shape.extents.c
            again = (traffic["output"] > outputs) | (whole[4] < channels)
            share = again * (outputs * whole[4] / channels)
            columns -= level.flow.finished[:, None] * share.ravel()


def _room(level: Level) -> int:
    return level.room_bits // 2 if level.double_buffered else level.room_bits


def _of(level: Level, operand: str) -> FloatArray:
    flow = level.flow
    return {"input": flow.input, "weight": flow.weight, "output": flow.output}[operand]


def _orders(operands: frozenset[str]) -> tuple[str, ...]:
    """Orders that differ for these operands: loops that touch none of them are left inside."""
    if operands == {"output"}:
        return ("MKC", "KMC")
    if operands == {"weight"}:
        return ("KCM", "CKM")
    return ORDERS
