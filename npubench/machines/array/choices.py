"""What the search of a layer hands from level to level: choices, what is around them, and nests."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from npubench.machines.array.extents import Extents
from npubench.machines.array.flows import FloatArray
from npubench.machines.array.nests import Nest

__all__ = ["Around", "Choice", "Front"]


@dataclass(frozen=True, slots=True)
class Front:
    """Nests and their cost vectors, one row a nest.

    Attributes:
        cost: vectors.
        makers: of the nests; most nests are compared and dropped without ever being written out.
    """

    cost: FloatArray
    makers: tuple[Callable[[], Nest], ...]

    @property
    def nests(self) -> tuple[Nest, ...]:
        """All of them, written out."""
        return tuple(make() for make in self.makers)


@dataclass(frozen=True, slots=True)
class Around:
    """What surrounds a tile in the nest that is being put together.

    Attributes:
        fixed: cost vector of everything else, or a lower bound of it.
        weights: how often each column of the tile's vector counts.
        dive: whether one good nest is wanted, instead of all that may be the best.
    """

    fixed: FloatArray
    weights: FloatArray
    dive: bool = False

    def total(self, rows: FloatArray) -> FloatArray:
        """Vectors of the whole for vectors of the tile."""
        total = rows * self.weights
        total += self.fixed
        return np.asarray(total)


@dataclass(frozen=True, slots=True)
class Choice:
    """A choice at one level with the tiles that it leaves inside.

    Attributes:
        whole, tile, order, retained, held: see `Nest`.
        crossing: cost vector of the level's own boundary.
        pieces: the distinct tiles and how often each occurs.
        weights: how often each column of a piece's vector counts, one row a piece.
        least: lower bounds of the pieces, all occurrences of each together, one row a piece.
        bound: of the choice with everything inside it.
        figures: of a bound of everything.
    """

    whole: Extents
    tile: Extents
    order: str
    retained: str
    held: tuple[str, ...]
    crossing: FloatArray
    pieces: tuple[tuple[Extents, int], ...]
    weights: FloatArray
    least: FloatArray
    bound: FloatArray
    figures: FloatArray

    def nest(self, inside: tuple[tuple[int, Callable[[], Nest]], ...]) -> Nest:
        """The nest of the choice with what was chosen for its pieces."""
        made = tuple((count, make()) for count, make in inside)
        return Nest(self.whole, self.tile, self.order, self.retained, inside=made, held=self.held)
