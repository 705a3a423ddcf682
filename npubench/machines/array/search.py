"""The best nest of tiles of a layer: exhaustive in a stated space, with what proves it.

The space: for every on-chip memory, outermost first, a tile (`LayerTiles.candidates`) and an order
of the loops over tiles; where everything that a memory tiles fits it whole, the tile is the whole,
unless something waits for a tile that nothing hides. Where consecutive tiles share an operand, also
whether the next memory keeps it.
For the array, every variant of its core (how arrays share a layer, what PEs keep). Every tile of a
tiling, ragged ones included, takes its own best inner nest; the tiles of the innermost memory
share one variant.

A nest costs a vector of resources: busy cycles of the array and of every memory port, joules, and
cycles that nothing hides. Vectors of the parts add up, and what is sought grows with every
component. So a choice can be discarded where a lower bound of *everything* - the choice, what has
been chosen around it, and bounds of what is still open - cannot improve on a nest that has been
found; and a part whose vector is nowhere smaller than another's can never be needed. Neither loses
anything, at any depth and for any objective (docs/models.md has the proof).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
import numpy.typing as npt

from npubench.machines.array.core import Core
from npubench.machines.array.extents import Extents
from npubench.machines.array.flows import AFTER, BEFORE, LEAVE, ON_TOP, FloatArray, Resources
from npubench.machines.array.goals import Goal, ranked
from npubench.machines.array.nests import Level, Nest, SearchCounts, combinations, nondominated
from npubench.machines.array.parts import CoreCost, Part, PartMaker
from npubench.machines.array.tiles import LayerTiles, one

__all__ = ["MOST_EVALUATED", "Front", "LayerSearch"]

# Choices of one layer whose inner nests are searched before the rest is left open.
MOST_EVALUATED = 2000

Indices = npt.NDArray[np.intp]


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
        return np.asarray(self.fixed + self.weights * rows)


@dataclass(slots=True)
class LayerSearch:
    """Search for one layer; equal tiles are looked at once.

    Attributes:
        tiles: the layer's candidate tables.
        cores: the variants of the array.
        levels: on-chip memories, outermost first.
        resources: the columns.
        core_cost: see `CoreCost`.
        goal: what is sought; it knows what has been found.
        finished: what a finished output costs over all boundaries on its way out; the same for
            every nest, it only decides which resource is the busiest.
        counts: filled as the search runs.
    """

    tiles: LayerTiles
    cores: tuple[Core, ...]
    levels: tuple[Level, ...]
    resources: Resources
    core_cost: CoreCost
    goal: Goal
    finished: FloatArray
    counts: SearchCounts = field(default_factory=SearchCounts)
    parts: dict[tuple[int, Extents, str], Part] = field(default_factory=dict)
    fronts: dict[tuple[Extents, str], Front] = field(default_factory=dict)
    ideals: dict[tuple[int, Extents, str], FloatArray] = field(default_factory=dict)

    def run(self, whole: Extents) -> Front:
        """Nests of the layer, the ones that are sought among them.

        Raises:
            DoesNotFitError: a level cannot hold even single elements.
        """
        fixed = self.tiles.outputs(whole) * self.finished
        around = Around(fixed, np.ones(self.resources.count))
        if len(self.levels) == 1:
            return self._alone(whole, around)
        return self._search(0, whole, "", around)

    def _search(self, depth: int, whole: Extents, kept: str, around: Around) -> Front:
        """All nests of a tile, from a level inwards, that may be part of what is sought.

        Args:
            kept: see `PartMaker.part`.
        """
        if depth + 1 < len(self.levels):
            return self._branch(depth, whole, kept, around)
        front = self._innermost(whole, kept)
        figures = self.goal.score(around.total(front.cost))
        keep = self.goal.useful(figures).nonzero()[0]
        if around.dive:
            keep = keep[ranked(figures[keep])[:1]]
        elif len(keep) > 1:
            keep = keep[nondominated(around.weights * front.cost[keep])]
        return Front(front.cost[keep], tuple(front.makers[i] for i in keep.tolist()))

    def _innermost(self, whole: Extents, kept: str) -> Front:
        """Every nest of a tile at the last level that no other beats in every resource."""
        if (whole, kept) not in self.fronts:
            if not self.levels:
                table = one(whole)
                costs = [self.core_cost(core, core.work(*table), table) for core in self.cores]
                rows = np.concatenate(costs)
                keep = nondominated(rows)
                makers = tuple(partial(Nest, whole, whole, variant=int(i)) for i in keep)
            else:
                part = self._part(len(self.levels) - 1, whole, kept)
                rows = np.concatenate([self._exact(part, core) for core in self.cores])
                keep = nondominated(rows)
                size = len(part.bound)
                makers = tuple(partial(_nest, part, *divmod(i, size)) for i in keep.tolist())
                self.counts.considered -= len(part.bound)
            self.counts.considered += len(rows)
            self.counts.dominated += len(rows) - len(keep)
            self.fronts[whole, kept] = Front(rows[keep], makers)
        return self.fronts[whole, kept]

    def _alone(self, whole: Extents, around: Around) -> Front:
        """The only level of a machine: variants by their lower bounds, tiles where they matter."""
        part = self._part(0, whole, "")
        table = one(whole)
        uncut = np.concatenate([self._maker.uncut(core, table) for core in self.cores])
        uncut[:, ON_TOP] = self._maker.least_on_top()
        self.counts.considered += (len(self.cores) - 1) * len(part.bound)
        figures = self.goal.score(around.total(uncut + part.crossing.min(axis=0)))
        costs: list[FloatArray] = []
        makers: list[Callable[[], Nest]] = []
        for variant in ranked(figures).tolist():
            bound = around.total(part.crossing + uncut[variant])
            live = self._useful(bound)
            self.counts.bounded += len(bound) - len(live)
            if not len(live):
                continue
            rows = self._exact(part, self.cores[variant])[live]
            figures = self.goal.score(around.total(rows))
            better = self.goal.useful(figures).nonzero()[0]
            better = better[nondominated(figures[better])]
            self.counts.dominated += len(rows) - len(better)
            self.goal.offer(figures[better])
            costs.append(rows[better])
            makers += [partial(_nest, part, variant, i) for i in live[better].tolist()]
        return Front(np.concatenate(costs), tuple(makers))

    def _branch(self, depth: int, whole: Extents, kept: str, around: Around) -> Front:
        """Best first: follow the choice of least lower bound, discard what cannot improve."""
        part = self._part(depth, whole, kept)
        figures = self.goal.score(around.total(part.bound))
        rank = ranked(figures)
        cost = np.empty((0, self.resources.count))
        makers: list[Callable[[], Nest]] = []
        version = -1
        while len(rank):
            if version != self.goal.version:
                version = self.goal.version
                alive = rank[self.goal.useful(figures[rank])]
                self.counts.bounded += len(rank) - len(alive)
                rank = alive
                continue
            if self.counts.evaluated >= MOST_EVALUATED:
                self.counts.open += len(rank)
                break
            index, rank = int(rank[0]), rank[1:]
            bound = around.weights * part.bound[index]
            if depth and len(cost) and bool((around.weights * cost <= bound).all(axis=1).any()):
                self.counts.dominated += 1
                continue
            front = self._follow(depth, part, index, around)
            cost = np.concatenate([cost, front.cost])
            makers.extend(front.makers)
            if around.dive and len(makers):
                break
            if depth == 0:
                self.goal.offer(self.goal.score(around.total(front.cost)))
            elif len(front.makers):
                keep = nondominated(around.weights * cost)
                cost, makers = cost[keep], [makers[i] for i in keep.tolist()]
        return Front(cost, tuple(makers))

    def _follow(self, depth: int, part: Part, index: int, around: Around) -> Front:
        """A choice with all inner nests of its tiles that may be part of what is sought."""
        self.counts.evaluated += 1
        tile, _, retained = part.choice(index)
        pieces = list(combinations(part.whole, tile))
        weights = np.empty((len(pieces), self.resources.count))
        weights.T[:] = [count for _, count in pieces]
        # What is paid on top is that of the first tile before, and of the last one after.
        weights[:, ON_TOP] = 0.0
        weights[0, BEFORE] = 1.0
        weights[-1, [AFTER, LEAVE]] = 1.0
        least = weights * [self._ideal(depth + 1, piece, retained) for piece, _ in pieces]
        cost = part.crossing[index][None, :]
        if not len(self._useful(around.total(cost + least.sum(axis=0)))):
            self.counts.bounded += 1
            return Front(np.empty((0, self.resources.count)), ())
        if depth == 0 and not around.dive:
            quick = replace(around, dive=True)
            good = self._put_together(depth, part, index, pieces, weights, least, quick)
            self.goal.offer(self.goal.score(around.total(good.cost)))
            full = self._put_together(depth, part, index, pieces, weights, least, around)
            return Front(np.concatenate([good.cost, full.cost]), good.makers + full.makers)
        return self._put_together(depth, part, index, pieces, weights, least, around)

    def _put_together(
        self,
        depth: int,
        part: Part,
        index: int,
        pieces: list[tuple[Extents, int]],
        weights: FloatArray,
        least: FloatArray,
        around: Around,
    ) -> Front:
        """Piece by piece; what follows counts with its lower bound until it is chosen."""
        tile, order, retained = part.choice(index)
        cost = part.crossing[index][None, :]
        chosen: list[tuple[tuple[int, Callable[[], Nest]], ...]] = [()]
        for number, ((piece, count), weight) in enumerate(zip(pieces, weights, strict=True)):
            rest = least[number + 1 :].sum(axis=0)
            inner = self._search(
                depth + 1,
                piece,
                retained,
                Around(around.total(cost.min(axis=0) + rest), around.weights * weight, around.dive),
            )
            if not inner.makers:
                return Front(np.empty((0, self.resources.count)), ())
            sums = (cost[:, None, :] + weight * inner.cost[None, :, :]).reshape(
                -1, self.resources.count
            )
            keep = self._useful(around.total(sums + rest))
            if len(keep) > 1:
                keep = keep[nondominated(around.weights * sums[keep])]
            size = len(inner.makers)
            chosen = [(*chosen[i // size], (count, inner.makers[i % size])) for i in keep.tolist()]
            cost = sums[keep]
            if not len(keep):
                break
        choice = part.whole, tile, order, retained
        return Front(cost, tuple(partial(_joined, *choice, made) for made in chosen))

    def _useful(self, totals: FloatArray) -> Indices:
        return np.asarray(self.goal.useful(self.goal.score(totals)).nonzero()[0])

    def _ideal(self, depth: int, whole: Extents, kept: str) -> FloatArray:
        """A vector nowhere above that of any nest of a tile from a level inwards."""
        key = (depth, whole, kept)
        if key not in self.ideals:
            last = depth + 1 >= len(self.levels)
            front = self._innermost(whole, kept).cost if last else None
            rows = self._part(depth, whole, kept).bound if front is None else front
            self.ideals[key] = rows.min(axis=0)
        return self.ideals[key]

    def _part(self, depth: int, whole: Extents, kept: str) -> Part:
        key = (depth, whole, kept)
        if key not in self.parts:
            self.parts[key] = self._maker.part(depth, whole, kept)
        return self.parts[key]

    @property
    def _maker(self) -> PartMaker:
        return PartMaker(
            self.tiles, self.cores, self.levels, self.resources, self.core_cost, self.counts
        )

    def _exact(self, part: Part, core: Core) -> FloatArray:
        """Cost vectors of the last level's choices with one variant of the array."""
        return np.asarray(part.crossing + self._maker.array_cost(core, part))


def _nest(part: Part, variant: int, index: int) -> Nest:
    """The nest of a choice of the last level."""
    tile, order, _ = part.choice(index)
    inside = tuple(
        (count, Nest(piece, piece, variant=variant))
        for piece, count in combinations(part.whole, tile)
    )
    return Nest(part.whole, tile, order, inside=inside)


def _joined(
    whole: Extents,
    tile: Extents,
    order: str,
    retained: str,
    chosen: tuple[tuple[int, Callable[[], Nest]], ...],
) -> Nest:
    """The nest of a choice of another level, and what was chosen inside."""
    inside = tuple((count, make()) for count, make in chosen)
    return Nest(whole, tile, order, retained, inside=inside)
