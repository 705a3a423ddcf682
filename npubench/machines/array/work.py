"""What a chosen nest does, counted exactly: cycles of the array and words over every boundary."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from npubench.machines.array.core import Core
from npubench.machines.array.extents import Extents
from npubench.machines.array.nests import Level, Nest
from npubench.machines.array.tiles import LayerTiles, Words, one

__all__ = ["LevelTile", "NestWork", "measure"]


@dataclass(frozen=True, slots=True)
class LevelTile:
    """The tile of one memory, its order of loops, outermost first, and what it holds (`Nest`)."""

    memory: str
    tile: Extents
    order: str
    held: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class NestWork:
    """Work of one execution of a layer, all groups.

    Attributes:
        compute, load, skew: cycles of the array, see `CoreWork`.
        core: words between the array and the innermost memories.
        held_writes: see `CoreWork`.
        boundaries: words over the outer boundary of each memory that tiles, by its name.
        tiles: of the first tile at each level, outermost first.
        first, last: extents of the first and the last tile that the array runs.
        variant: index of the core that runs it.
    """

    compute: int
    load: int
    skew: int
    held_writes: int
    core: Words
    first: Extents
    last: Extents
    variant: int
    boundaries: Mapping[str, Words] = field(default_factory=dict)
    tiles: tuple[LevelTile, ...] = ()

    @property
    def array_cycles(self) -> int:
        """Cycles of the array, without what is paid once a layer."""
        return self.compute + self.load + self.skew


def measure(
    tiles: LayerTiles,
    cores: tuple[Core, ...],
    levels: tuple[Level, ...],
    nest: Nest,
    kept: str = "",
) -> NestWork:
    """Add up a nest; equal parts are counted once and multiplied.

    Args:
        kept: operand whose words over the outermost of the levels' boundary are counted around.
    """
    if not nest.inside:
        work = cores[nest.variant].work(*one(nest.extents))
        words = Words(
            int(work.input_words[0]), int(work.weight_words[0]), int(work.output_words[0])
        )
        return NestWork(
            compute=int(work.compute[0]),
            load=int(work.load[0]),
            skew=int(work.skew[0]),
            held_writes=int(work.held_writes[0]),
            core=words,
            first=nest.extents,
            last=nest.extents,
            variant=nest.variant,
        )
    level = levels[0]
    inner = [
        (count, measure(tiles, cores, levels[1:], part, nest.retained))
        for count, part in nest.inside
    ]
    core = Words()

    def crossing(operands: frozenset[str], held: tuple[str, ...] = ()) -> Words:
        return tiles.crossing(nest.extents, nest.tile, nest.order, operands, held)

    boundaries = {level.name: crossing(level.operands - {kept}, nest.held)}
    if nest.retained:
        boundaries[levels[1].name] = crossing(frozenset({nest.retained}))
    for count, part in inner:
        core = core.plus(part.core.times(count))
        for name, words in part.boundaries.items():
            boundaries[name] = boundaries.get(name, Words()).plus(words.times(count))
    first = inner[0][1]
    held_writes = sum(count * part.held_writes for count, part in inner)
    table = one(nest.tile)
    stays = cores[first.variant].stays(table[3], table[4]) if len(levels) == 1 else None
    if stays is not None and stays[0]:
        # Weights that are in the PEs from the tile before are not loaded again.
        changed = crossing(frozenset({"weight"})).weight
        held_writes = held_writes * changed // core.weight
        core = replace(core, weight=changed)
    return NestWork(
        compute=sum(count * part.compute for count, part in inner),
        load=sum(count * part.load for count, part in inner),
        skew=sum(count * part.skew for count, part in inner),
        held_writes=held_writes,
        core=core,
        boundaries=boundaries,
        tiles=(LevelTile(level.name, nest.tile, nest.order, nest.held), *first.tiles),
        first=first.first,
        last=inner[-1][1].last,
        variant=first.variant,
    )
