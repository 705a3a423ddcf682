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

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
import numpy.typing as npt

from npubench.machines.array.choices import Around, Choice, Front
from npubench.machines.array.core import Core
from npubench.machines.array.cutting import cuts
from npubench.machines.array.extents import Extents
from npubench.machines.array.flows import AFTER, BEFORE, LEAVE, ON_TOP, FloatArray, Resources
from npubench.machines.array.goals import Goal, ranked
from npubench.machines.array.innermost import Inner, inner_choices
from npubench.machines.array.nests import Level, Nest, SearchCounts, combinations, nondominated
from npubench.machines.array.parts import CoreCost, Part, PartMaker
from npubench.machines.array.tiles import LayerTiles, one

__all__ = ["MOST_EVALUATED", "Front", "LayerSearch"]

# Choices of one layer whose inner nests are searched before the rest is left open.
MOST_EVALUATED = 2000

# Choices that are looked into together: few before anything is known, then twice as many each time.
_FIRST_HANDFUL, _LAST_HANDFUL = 8, 64

Indices = npt.NDArray[np.intp]


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
    inners: dict[tuple[Extents, str], Inner] = field(default_factory=dict)
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
        inner = self._inner(whole, kept)
        figures = self.goal.score(around.total(inner.cost))
        keep = self.goal.useful(figures).nonzero()[0]
        if around.dive:
            keep = keep[ranked(figures[keep])[:1]]
        elif len(keep) > 1:
            keep = keep[nondominated(around.weights * inner.cost[keep])]
        return Front(inner.cost[keep], tuple(partial(inner.nest, i) for i in keep.tolist()))

    def _inner(self, whole: Extents, kept: str) -> Inner:
        """Every choice inside a tile, from the last level inwards."""
        if (whole, kept) not in self.inners:
            self._look_inside([(whole, kept)])
        return self.inners[whole, kept]

    def _look_inside(self, wanted: Iterable[tuple[Extents, str]]) -> None:
        """The same for many tiles at once, which takes little longer than for one."""
        new = [key for key in dict.fromkeys(wanted) if key not in self.inners]
        if new:
            self.inners.update(zip(new, inner_choices(self._maker, new), strict=True))

    def _alone(self, whole: Extents, around: Around) -> Front:
        """The only level of a machine: variants by their lower bounds, tiles where they matter."""
        part = self._part(0, whole, "")
        table = one(whole)
        uncut = np.concatenate([self._maker.uncut(core, table).T for core in self.cores])
        uncut[:, ON_TOP] = self._maker.least_on_top()
        self.counts.considered += (len(self.cores) - 1) * len(part.bound)
        crossing = around.total(part.crossing)
        figures = self.goal.score(uncut + crossing.min(axis=0))
        costs: list[FloatArray] = []
        makers: list[Callable[[], Nest]] = []
        for variant in ranked(figures).tolist():
            live = self._useful(crossing + uncut[variant])
            self.counts.bounded += len(crossing) - len(live)
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
        """Best first: follow the choice of least lower bound, discard what cannot improve.

        Choices are taken a handful at a time, in which closer bounds of each are found together.
        """
        part = self._part(depth, whole, kept)
        figures = self.goal.score(around.total(part.bound))
        left: Indices = np.arange(len(figures))
        cost = np.empty((0, self.resources.count))
        makers: list[Callable[[], Nest]] = []
        version, handful = -1, _FIRST_HANDFUL
        while True:
            if version != self.goal.version:
                version = self.goal.version
                alive = left[self.goal.useful(figures[left])]
                self.counts.bounded += len(left) - len(alive)
                left = alive
            if not len(left):
                break
            room = MOST_EVALUATED - self.counts.evaluated
            if room <= 0:
                self.counts.open += len(left)
                break
            if depth + 2 < len(self.levels):
                handful = 1
            taken, left = _least(figures, left, min(handful, room))
            handful = min(2 * handful, _LAST_HANDFUL)
            for choice in self._closer(depth, part, taken, around):
                if version != self.goal.version and not self.goal.useful(choice.figures).any():
                    self.counts.bounded += 1
                    continue
                bound = around.weights * choice.bound
                if depth and len(cost) and bool((around.weights * cost <= bound).all(axis=1).any()):
                    self.counts.dominated += 1
                    continue
                front = self._follow(depth, choice, around)
                cost = np.concatenate([cost, front.cost])
                makers.extend(front.makers)
                if around.dive and len(makers):
                    return Front(cost, tuple(makers))
                if depth and len(front.makers):
                    keep = nondominated(around.weights * cost)
                    cost, makers = cost[keep], [makers[i] for i in keep.tolist()]
        return Front(cost, tuple(makers))

    def _closer(self, depth: int, part: Part, indices: Indices, around: Around) -> list[Choice]:
        """Choices by their closer bounds, without those that cannot improve on what was found."""
        self.counts.evaluated += len(indices)
        bounds = part.crossing[indices] + self._least_inside(depth + 1, part, indices)
        figures = self.goal.score(around.total(bounds))
        keep = self.goal.useful(figures).nonzero()[0]
        self.counts.bounded += len(indices) - len(keep)
        return [
            self._choice(depth, part, int(indices[i]), bounds[i], figures[[i]])
            for i in keep[ranked(figures[keep])].tolist()
        ]

    def _least_inside(self, depth: int, part: Part, indices: Indices) -> FloatArray:
        """The least of each resource that choices can take inside, from a level inwards."""
        tiles, kept = part.tiles(indices)
        found = []
        for cut in cuts(part.whole, tiles):
            sizes = zip(*(extent.tolist() for extent in cut.table), strict=True)
            names = (kept[row] for row in cut.rows.tolist())
            found.append((cut, list(zip(map(Extents._make, sizes), names, strict=True))))
        if depth + 1 == len(self.levels):
            self._look_inside(key for _, keys in found for key in keys)
        least = np.zeros((len(indices), self.resources.count))
        for number, (cut, keys) in enumerate(found):
            rows = np.array([self._ideal(depth, *key) for key in keys])
            # What is paid on top is that of the first tile before, and of the last one after.
            if number == 0:
                least[cut.rows, BEFORE] = rows[:, BEFORE]
            least[cut.rows, AFTER], least[cut.rows, LEAVE] = rows[:, AFTER], rows[:, LEAVE]
            rows[:, ON_TOP] = 0.0
            least[cut.rows] += cut.count[:, None] * rows
        return least

    def _choice(
        self, depth: int, part: Part, index: int, bound: FloatArray, figures: FloatArray
    ) -> Choice:
        """A row of a level's choices with its bounds."""
        tile, order, retained, held = part.choice(index)
        pieces = tuple(combinations(part.whole, tile))
        weights = np.empty((len(pieces), self.resources.count))
        weights.T[:] = [count for _, count in pieces]
        weights[:, ON_TOP] = 0.0
        weights[0, BEFORE] = 1.0
        weights[-1, [AFTER, LEAVE]] = 1.0
        least = weights * [self._ideal(depth + 1, piece, retained) for piece, _ in pieces]
        place = part.whole, tile, order, retained, held
        return Choice(*place, part.crossing[index], pieces, weights, least, bound, figures)

    def _follow(self, depth: int, choice: Choice, around: Around) -> Front:
        """A choice with all inner nests of its tiles that may be part of what is sought."""
        if depth or around.dive:
            return self._put_together(depth, choice, around)
        if len(choice.pieces) == 1 and len(self.levels) == 2:
            return self._repeated(choice, around)
        good = self._put_together(depth, choice, replace(around, dive=True))
        self.goal.offer(self.goal.score(around.total(good.cost)))
        if not self.goal.useful(choice.figures).any():
            return good
        full = self._put_together(depth, choice, around)
        self.goal.offer(self.goal.score(around.total(full.cost)))
        return Front(np.concatenate([good.cost, full.cost]), good.makers + full.makers)

    def _repeated(self, choice: Choice, around: Around) -> Front:
        """The same where one tile is repeated: what is inside makes the nest complete."""
        ((piece, count),) = choice.pieces
        inner = self._inner(piece, choice.retained)
        rows = choice.crossing + choice.weights * inner.cost
        figures = self.goal.score(around.total(rows))
        keep = self.goal.useful(figures).nonzero()[0]
        keep = keep[nondominated(figures[keep])]
        self.goal.offer(figures[keep])
        makers = (partial(choice.nest, ((count, partial(inner.nest, i)),)) for i in keep.tolist())
        return Front(rows[keep], tuple(makers))

    def _put_together(self, depth: int, choice: Choice, around: Around) -> Front:
        """Piece by piece; what follows counts with its lower bound until it is chosen."""
        cost = choice.crossing[None, :]
        chosen: list[tuple[tuple[int, Callable[[], Nest]], ...]] = [()]
        for number, (piece, count) in enumerate(choice.pieces):
            weight, rest = choice.weights[number], choice.least[number + 1 :].sum(axis=0)
            inner = self._search(
                depth + 1,
                piece,
                choice.retained,
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
        return Front(cost, tuple(partial(choice.nest, made) for made in chosen))

    def _useful(self, totals: FloatArray) -> Indices:
        return np.asarray(self.goal.useful(self.goal.score(totals)).nonzero()[0])

    def _ideal(self, depth: int, whole: Extents, kept: str) -> FloatArray:
        """A vector nowhere above that of any nest of a tile from a level inwards."""
        if depth + 1 >= len(self.levels):
            return self._inner(whole, kept).least
        key = (depth, whole, kept)
        if key not in self.ideals:
            self.ideals[key] = self._part(depth, whole, kept).bound.min(axis=0)
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
        cost = self._maker.array_cost(core, part.whole, part.table, part.orders, part.cut)
        return np.asarray(part.crossing + cost.T)


def _nest(part: Part, variant: int, index: int) -> Nest:
    """The nest of a choice of the last level."""
    tile, order, _, _ = part.choice(index)
    inside = tuple(
        (count, Nest(piece, piece, variant=variant))
        for piece, count in combinations(part.whole, tile)
    )
    return Nest(part.whole, tile, order, inside=inside)


def _least(figures: FloatArray, left: Indices, count: int) -> tuple[Indices, Indices]:
    """So many rows of least figures, best first, and the others."""
    if len(left) > 4 * count:
        first = figures[left, 0]
        near = first <= np.partition(first, count - 1)[count - 1]
        left, beyond = left[near], left[~near]
    else:
        beyond = left[:0]
    left = left[ranked(figures[left])]
    return left[:count], np.concatenate([left[count:], beyond])
