"""A nest walked tile by tile: the oracle of the counts that `work.measure` gets from formulas.

Every memory holds one tile of each operand that it tiles. The walk goes through all tiles in the
order of the loops and fetches a tile whenever it is not the one that is held; inputs are counted as
the lines and columns that really lie under the windows of the tile, by position. Meant for small
layers: it takes a step for every tile of every level.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import product

from npubench.machines.array.extents import Extents, Shape
from npubench.machines.array.nests import Level, Nest
from npubench.machines.array.tiles import USES, loops_inside

__all__ = ["Walk", "walk"]

_ROWS = ("b", "y", "x")
_LOOPS = {"M": _ROWS, "K": ("k",), "C": ("c",)}


@dataclass(slots=True)
class Walk:
    """What a walk met, all groups of the layer.

    Attributes:
        words: elements over the outer boundary of a memory, by (memory, operand); outputs are
            those written.
        returned: of these, outputs that had been there before and were read back.
        pieces: how often the array ran a piece of these extents, on one group.
        products: times each (b, y, x, k, c) was worked on, on one group.
        begun: outputs (b, y, x, k) of one group that a memory has handed outwards, by its name.
    """

    words: Counter[tuple[str, str]] = field(default_factory=Counter)
    returned: Counter[str] = field(default_factory=Counter)
    pieces: Counter[Extents] = field(default_factory=Counter)
    products: Counter[tuple[int, ...]] = field(default_factory=Counter)
    begun: set[tuple[str, int, int, int, int]] = field(default_factory=set)


def walk(shape: Shape, levels: tuple[Level, ...], nest: Nest) -> Walk:
    """Go through a nest of a layer, outermost memory first.

    Args:
        shape: the layer.
        levels: the memories of the nest.
        nest: of the whole layer.
    """
    found = Walk()
    _visit(shape, levels, nest, dict.fromkeys("byxkc", 0), {}, found)
    return found


def _visit(
    shape: Shape,
    levels: tuple[Level, ...],
    nest: Nest,
    origin: Mapping[str, int],
    held: dict[str, tuple[int, ...]],
    found: Walk,
) -> None:
    """Go through the tiles of a level; ``held`` says what it has from the tile before this one."""
    extents = nest.extents._asdict()
    if not levels:
        found.pieces[nest.extents] += 1
        ranges = (range(origin[loop], origin[loop] + extents[loop]) for loop in "byxkc")
        found.products.update(product(*ranges))
        return
    level, groups = levels[0], shape.nest.G
    inside = {inner.extents: inner for _, inner in nest.inside}
    within: dict[str, tuple[int, ...]] = {}
    for start, piece in _tiles(nest, origin):
        for operand in sorted(level.operands):
            loops = [loop for kind in USES[operand] for loop in _LOOPS[kind]]
            begin, sizes = start, piece._asdict()
            if operand in nest.held:
                # All of it along these loops, while the others stand still.
                stays = {n for kind in loops_inside(nest.order, operand) for n in _LOOPS[kind]}
                begin = {loop: origin[loop] if loop in stays else start[loop] for loop in start}
                sizes = {loop: extents[loop] if loop in stays else sizes[loop] for loop in sizes}
            place = tuple(size for loop in loops for size in (begin[loop], sizes[loop]))
            if held.get(operand) != place:
                held[operand] = place
                tile = Extents(**sizes)
                found.words[level.name, operand] += groups * _elements(shape, operand, begin, tile)
                if operand == "output":
                    _hand_out(shape, level.name, begin, tile, found)
        # At the innermost memory the pieces are the array's own.
        within = {name: what for name, what in within.items() if name == nest.retained}
        _visit(shape, levels[1:], inside[piece], start, within, found)


def _hand_out(
    shape: Shape, name: str, start: Mapping[str, int], piece: Extents, found: Walk
) -> None:
    sizes = piece._asdict()
    ranges = (range(start[loop], start[loop] + sizes[loop]) for loop in "byxk")
    for b, y, x, k in product(*ranges):
        output = (name, b, y, x, k)
        found.returned[name] += shape.nest.G * shape.nest.OZ * (output in found.begun)
        found.begun.add(output)


def _tiles(nest: Nest, origin: Mapping[str, int]) -> Iterator[tuple[dict[str, int], Extents]]:
    """Place and extents of each tile of a nest, in the order of its loops."""
    whole, tile = nest.extents._asdict(), nest.tile._asdict()
    loops = [loop for kind in nest.order or "MKC" for loop in _LOOPS[kind]]
    steps = [range(0, whole[loop], tile[loop]) for loop in loops]
    for offsets in product(*steps):
        at = dict(zip(loops, offsets, strict=True))
        sizes = {loop: min(tile[loop], whole[loop] - at[loop]) for loop in loops}
        yield {loop: origin[loop] + at[loop] for loop in loops}, Extents(**sizes)


def _elements(shape: Shape, operand: str, start: Mapping[str, int], piece: Extents) -> int:
    nest = shape.nest
    if operand == "weight":
        return piece.k * piece.c * shape.kernel
    if operand == "output":
        return piece.b * nest.OZ * piece.y * piece.x * piece.k
    lines = _touched(shape, 1, start["y"], piece.y)
    columns = _touched(shape, 2, start["x"], piece.x)
    return piece.b * nest.input_extent[0] * lines * columns * piece.c


def _touched(shape: Shape, axis: int, first: int, size: int) -> int:
    """Input lines or columns under the windows of outputs ``first`` to ``first + size - 1``."""
    nest = shape.nest
    kernel = (nest.FZ, nest.FY, nest.FX)[axis]
    span = (kernel - 1) * nest.dilation[axis] + 1
    under: set[int] = set()
    for output in range(first, first + size):
        begin = output * nest.stride[axis] - nest.pad_begin[axis]
        under.update(range(begin, begin + span))
    return sum(0 <= line < nest.input_extent[axis] for line in under)
