"""Kinds of choices of one memory: which operand stays further in, which ones stay here.

Retained: the next memory keeps a whole tile of an operand while this one goes on to tiles that
share it. Held: this memory, if it is uneven, keeps an operand over all loops inside the one that
the operand lacks, while tiles of other operands change (L. Mei et al., "ZigZag", IEEE TC 70(8),
2021, call it uneven mapping); so the operand passes the outer boundary once for each round.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from npubench.machines.array.core import IntArray
from npubench.machines.array.extents import Extents
from npubench.machines.array.nests import Level
from npubench.machines.array.tiles import (
    USES,
    LayerTiles,
    Table,
    loops_inside,
    stretched,
)

__all__ = ["LOOPS", "Kind", "Kinds"]

LOOPS = {"M": "byx", "K": "k", "C": "c"}

Mask = npt.NDArray[np.bool_]


class Kind(NamedTuple):
    """Choices that differ in tile and order alone.

    Attributes:
        retained, held: see `Nest`.
        rows: tiles and orders: orders one after another, candidates within.
    """

    retained: str
    held: tuple[str, ...]
    rows: IntArray


@dataclass(frozen=True, slots=True)
class Kinds:
    """Finds the kinds of a memory for one tile.

    Attributes:
        tiles: the layer's tables.
        level, inner: the memory and the next one further in.
        groups: of the layer at once.
        whole: what is cut.
        table, orders: candidates and orders; masks have a row an order, a column a candidate.
    """

    tiles: LayerTiles
    level: Level
    inner: Level
    groups: int
    whole: Extents
    table: Table
    orders: tuple[str, ...]

    def all(self, saves: Mapping[str, Mask]) -> Iterator[Kind]:
        """Kinds with nothing retained, and with each operand that can be; without empty ones.

        Args:
            saves: where it saves words that an operand is held.
        """
        level, inner = self.level, self.inner
        # Tiles that fit by the room of finished outputs alone are for sums that are kept inside.
        needed = self.tiles.footprint(self.table, level.operands, level.bits, self.groups)
        full = np.all([n == size for n, size in zip(self.table, self.whole, strict=True)], axis=0)
        any_sums = (needed <= level.tile_bits) | (full & (needed <= level.room_bits))
        usable = {"": np.broadcast_to(any_sums, (len(self.orders), any_sums.size))}
        for operand in sorted(inner.operands):
            shared = self.tiles.retainable(self.whole, self.table, self.orders, operand)
            if operand != "output":
                shared &= any_sums
            if shared.any():
                usable[operand] = shared & self._stays_whole(operand)
        rooms = _Rooms(self)
        for operand, rows in usable.items():
            held: Iterator[tuple[tuple[str, ...], Mask]] = iter([((), rows)])
            if level.uneven:
                held = self._held(saves, rooms, finished=operand == "output")
            for names, which in held:
                some = np.flatnonzero(rows & which)
                if some.size:
                    yield Kind(operand, names, some)

    def once(self) -> dict[str, IntArray]:
        """Words of each operand over the outer boundary where it is held."""
        words: dict[str, IntArray] = {}
        for name in sorted(self.level.operands):
            known = {
                loops: self.tiles.once(name, self.whole, self.table, order)
                for loops, order in {_inside(order, name): order for order in self.orders}.items()
            }
            words[name] = np.stack([known[_inside(order, name)] for order in self.orders])
        return words

    def _held(
        self, saves: Mapping[str, Mask], rooms: _Rooms, *, finished: bool
    ) -> Iterator[tuple[tuple[str, ...], Mask]]:
        """Operands that are held, with tiles and orders.

        Holding takes room and saves words, so that as many are held as fit; where one or the
        other fits, either is a choice.
        """

        own = {name: rooms.of(name, "", finished=finished) for name in sorted(self.level.operands)}
        spare = self.level.tile_bits - np.sum(list(own.values()), axis=0)
        shape = len(self.orders), self.table[0].size
        found: dict[tuple[str, ...], Mask] = {}

        def note(names: tuple[str, ...], number: int, some: Mask) -> None:
            found.setdefault(names, np.zeros(shape, dtype=bool))[number] = some

        for number, order in enumerate(self.orders):
            more = {
                name: rooms.of(name, _inside(order, name), finished=finished) - own[name]
                for name in sorted(saves)
                if saves[name][number].any()
            }
            fits = {name: saves[name][number] & (bits <= spare) for name, bits in more.items()}
            # Two operands at most have loops inside the one that they lack.
            both = np.zeros(spare.shape, dtype=bool)
            if len(fits) > 1:
                both = np.logical_and(*fits.values()) & (np.add(*more.values()) <= spare)
                note(tuple(fits), number, both)
            for name, some in fits.items():
                note((name,), number, some & ~both)
            note((), number, ~np.any([both, *fits.values()], axis=0))
        yield from found.items()

    def _stays_whole(self, operand: str) -> Mask:
        """Whether the next memory can hold an operand of each tile uncut, beside least others."""
        level, table = self.inner, self.table
        whole = self.tiles.footprint(table, level.operands, level.bits, self.groups)
        cut = dict(zip("byxkc", table, strict=True))
        for loop in LOOPS.keys() - set(USES[operand]):
            if {loop} & {kind for one in level.operands for kind in USES[one]}:
                cut |= {name: np.ones_like(table[0]) for name in LOOPS[loop]}
        least = (cut["b"], cut["y"], cut["x"], cut["k"], cut["c"])
        needed = self.tiles.footprint(least, level.operands, level.bits, self.groups)
        return np.asarray((needed <= level.tile_bits) | (whole <= level.room_bits))


@dataclass(frozen=True, slots=True)
class _Rooms:
    """Room of one operand of each candidate, stretched over some loops; each found once."""

    kinds: Kinds
    known: dict[tuple[str, str, bool], IntArray] = field(default_factory=dict)

    def of(self, operand: str, loops: str, *, finished: bool) -> IntArray:
        key = operand, loops, finished and operand == "output"
        if key not in self.known:
            k = self.kinds
            table = stretched(k.table, k.whole, loops)
            self.known[key] = k.tiles.room(operand, table, k.level.bits, k.groups, finished=key[2])
        return self.known[key]


def _inside(order: str, operand: str) -> str:
    """`loops_inside`, in one order."""
    return "".join(sorted(loops_inside(order, operand)))
