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
from npubench.machines.array.kinds import LOOPS, Kind, Kinds
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
        chosen: kinds of choices, which follow each other in ``crossing`` and ``bound``. Empty where
            every tile and order is a choice, and no other.
    """

    whole: Extents
    table: Table
    orders: tuple[str, ...]
    crossing: FloatArray
    bound: FloatArray
    cut: Sequence[Cut]
    chosen: tuple[Kind, ...] = ()

    def choice(self, index: int) -> tuple[Extents, str, str, tuple[str, ...]]:
        """(tile, order, retained operand, held operands) of a row."""
        kept, beyond = "", index
        held: tuple[str, ...] = ()
        for kind in self.chosen:
            if 0 <= beyond < kind.rows.size:
                index, kept, held = int(kind.rows[beyond]), kind.retained, kind.held
            beyond -= kind.rows.size
        order, at = divmod(index, self.table[0].size)
        tile = Extents(*(int(sizes[at]) for sizes in self.table))
        return tile, self.orders[order], kept, held

    def tiles(self, indices: IntArray) -> tuple[Table, list[str]]:
        """The tiles and the retained operands of many rows."""
        start, rows, kept = 0, indices.copy(), [""] * len(indices)
        for kind in self.chosen:
            some = ((indices >= start) & (indices < start + kind.rows.size)).nonzero()[0]
            rows[some] = kind.rows[indices[some] - start]
            for number in some.tolist():
                kept[number] = kind.retained
            start += kind.rows.size
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
        over = {name: traffic[name].ravel() for name in level.operands - {kept}}
        if last:
            columns = np.zeros((self.resources.count, size))
            self._cross(level, over, whole, columns)
            return Part(whole, table, orders, columns.T, columns.T, cut)
        inner, groups = self.levels[depth + 1], self.cores[0].groups_at_once
        finder = Kinds(self.tiles, level, inner, groups, whole, table, orders)
        once = finder.once() if level.uneven else {}
        saves = {name: words < traffic[name] for name, words in once.items() if name != kept}
        kinds = tuple(finder.all(saves))
        total = sum(kind.rows.size for kind in kinds)
        if not total:
            least = self._footprint(level, one(UNIT))[0]
            raise DoesNotFitError(level.name, int(least), level.tile_bits)
        columns, bound = np.zeros((2, self.resources.count, total))
        within = self._within(depth + 1, whole, table, cut, kinds)
        start = 0
        for operand, held, rows in kinds:
            end = start + rows.size
            some, tiles = columns[:, start:end], rows % table[0].size
            moved = {
                n: (once[n].ravel() if n in held else words)[rows] for n, words in over.items()
            }
            self._cross(level, moved, whole, some)
            if operand:
                self._cross(inner, {operand: traffic[operand].ravel()[rows]}, whole, some)
            np.add(some, within[operand][:, tiles], out=bound[:, start:end])
            start = end
        self.counts.considered += total - size
        return Part(whole, table, orders, columns.T, bound.T, cut, kinds)

    def _within(
        self, depth: int, whole: Extents, table: Table, cut: Sequence[Cut], kinds: Sequence[Kind]
    ) -> dict[str, FloatArray]:
        """Bounds of what is inside each candidate by the operand that this level retains.

        Columns, as of `_inside`; of what is retained nothing passes this level's boundary.
        """
        least, own = self._inside(depth, table, cut)
        bounds: dict[str, FloatArray] = {}
        for operand in {kind.retained: None for kind in kinds}:
            if self.levels[depth].operands == {operand} and depth + 1 == len(self.levels):
                # A last memory of nothing else cuts nothing then: the array runs these very tiles.
                rows = np.concatenate([kind.rows for kind in kinds if kind.retained == operand])
                tiles = np.unique(rows % table[0].size)
                uncut = taken(table, tiles)
                array = self.array(self.cores, uncut, cuts(whole, uncut), on_top=False)
                array[ON_TOP] = least[ON_TOP][:, tiles]
                bounds[operand] = least.copy()
                bounds[operand][:, tiles] = array
            else:
                others = (own[name] for name in own if name != operand)
                bounds[operand] = np.sum([least, *others], axis=0)
        return bounds

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
        room, steps = level.tile_bits, self.cores[0].steps
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
            uncut = {name for loop in USES[kept] for name in LOOPS[loop]}
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
