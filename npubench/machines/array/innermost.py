"""Every choice inside many tiles at once: the last memory before the array, and the array.

A search asks for the inner nests of tile after tile, each with few candidates. Their tables are put
one after another and costed together; each tile then has its own rows of the result.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from npubench.machines.array.cutting import cuts
from npubench.machines.array.extents import Extents
from npubench.machines.array.flows import FloatArray
from npubench.machines.array.nests import Nest, combinations
from npubench.machines.array.parts import PartMaker
from npubench.machines.array.tiles import Table, tabled, taken

__all__ = ["Inner", "inner_choices"]

# Tiles whose tables are put together at most: more would need memory and save nothing.
_TOGETHER = 64


@dataclass(frozen=True, slots=True)
class Inner:
    """Everything that can be done inside one tile.

    Attributes:
        whole: the tile.
        cost: cost vectors, one row a choice: variants of the array, for each the orders, for each
            the candidates of the last memory.
        least: the least of each column.
        orders: of loops over tiles; one empty order where no memory is left to tile.
        table: the candidates.
    """

    whole: Extents
    cost: FloatArray
    least: FloatArray
    orders: tuple[str, ...]
    table: Table

    def nest(self, index: int) -> Nest:
        """The nest of a row."""
        size = self.table[0].size
        variant, rest = divmod(index, len(self.orders) * size)
        order, at = divmod(rest, size)
        if not self.orders[order]:
            return Nest(self.whole, self.whole, variant=variant)
        tile = Extents(*(int(sizes[at]) for sizes in self.table))
        inside = tuple(
            (count, Nest(piece, piece, variant=variant))
            for piece, count in combinations(self.whole, tile)
        )
        return Nest(self.whole, tile, self.orders[order], inside=inside)


def inner_choices(maker: PartMaker, wanted: Sequence[tuple[Extents, str]]) -> list[Inner]:
    """What can be done inside each of these tiles, from the last memory inwards.

    Args:
        wanted: tiles, each with the operand that stays in that memory whole; see `PartMaker.part`.

    Raises:
        DoesNotFitError: the memory cannot hold even single elements of a tile.
    """
    found: dict[int, Inner] = {}
    for kept in dict.fromkeys(kept for _, kept in wanted):
        numbers = [number for number, (_, one) in enumerate(wanted) if one == kept]
        wholes = [wanted[number][0] for number in numbers]
        fits = np.ones(len(wholes), dtype=bool)
        if maker.levels:
            fits = maker.fits_whole(maker.levels[-1], tabled(wholes))
        for uncut in (True, False):
            at = (fits == uncut).nonzero()[0].tolist()
            for start in range(0, len(at), _TOGETHER):
                some = at[start : start + _TOGETHER]
                made = _inside(maker, [wholes[i] for i in some], kept, uncut=uncut)
                found.update(zip((numbers[i] for i in some), made, strict=True))
    return [found[number] for number in range(len(wanted))]


def _inside(maker: PartMaker, wholes: Sequence[Extents], kept: str, *, uncut: bool) -> list[Inner]:
    """The same for tiles that the memory holds whole (``uncut``), or that it has to cut."""
    level = maker.levels[-1] if maker.levels else None
    orders = ("",) if level is None else maker.orders(level, uncut=uncut)
    around = tabled(wholes)
    if level is None or uncut:
        table, ends = around, np.arange(1, len(wholes) + 1)
    else:
        table, owner = maker.cutting(level, wholes, kept)
        ends, around = np.bincount(owner, minlength=len(wholes)).cumsum(), taken(around, owner)
        maker.counts.considered -= len(orders) * owner.size
    cut = cuts(around, table)
    if level is None:
        each = [maker.array((core,), table, cut) for core in maker.cores]
        columns = np.stack(each, axis=1)[:, :, None, :]
    else:
        each = [maker.array_cost(core, around, table, orders, cut) for core in maker.cores]
        columns = maker.last_crossing(around, table, orders, kept)[:, None, :] + np.stack(
            each, axis=1
        )
        columns = columns.reshape(*columns.shape[:2], len(orders), -1)
    found = []
    for whole, start, end in zip(wholes, [0, *ends[:-1].tolist()], ends.tolist(), strict=True):
        rows = columns[..., start:end].reshape(len(columns), -1)
        some = taken(table, slice(start, end))
        found.append(Inner(whole, rows.T, rows.min(axis=1), orders, some))
        maker.counts.considered += rows.shape[1]
    return found
