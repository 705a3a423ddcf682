"""What a search looks for: the best nest for an objective, or every nest that some point may want.

A goal knows what has been found so far and says of any cost vector, or of any lower bound of one,
whether it could still improve on that. Figures grow with every column of a vector, so a bound that
cannot improve rules out all that it bounds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt

from npubench.machines.array.flows import FloatArray

__all__ = ["BestGoal", "FrontGoal", "Goal", "Indices", "ManyGoal", "Score", "ranked", "staircase"]

# Figures of cost vectors, one row each: what is minimised first, then what decides ties.
Score = Callable[[FloatArray], FloatArray]
Indices = npt.NDArray[np.intp]
Mask = npt.NDArray[np.bool_]


class Goal(Protocol):
    """See the module.

    Attributes:
        version: changes whenever what is useful may have changed.
    """

    version: int

    def score(self, rows: FloatArray) -> FloatArray:
        """Figures of each row; candidates are taken by the first, then by those that follow."""
        ...

    def useful(self, figures: FloatArray) -> Mask:
        """Whether a row of these figures would improve on what has been found."""
        ...

    def offer(self, figures: FloatArray) -> None:
        """Take note of complete nests."""
        ...


@dataclass(slots=True)
class BestGoal:
    """The nest of least first figure; among equals, of least second figure."""

    figures: Score
    best: tuple[float, float] = (np.inf, np.inf)
    version: int = 0

    def score(self, rows: FloatArray) -> FloatArray:
        """See `Goal.score`."""
        return self.figures(rows)

    def useful(self, figures: FloatArray) -> Mask:
        """See `Goal.useful`."""
        first, second = figures[:, 0], figures[:, 1]
        tied = (first == self.best[0]) & (second < self.best[1])
        return np.asarray((first < self.best[0]) | tied)

    def offer(self, figures: FloatArray) -> None:
        """See `Goal.offer`."""
        if len(figures):
            first, second = figures[int(ranked(figures)[0])].tolist()
            if (first, second) < self.best:
                self.best = (first, second)
                self.version += 1


@dataclass(slots=True)
class FrontGoal:
    """Every pair of figures that no other pair equals or undercuts in both."""

    figures: Score
    first: FloatArray = field(default_factory=lambda: np.array([-np.inf]))
    second: FloatArray = field(default_factory=lambda: np.array([np.inf]))
    version: int = 0

    def score(self, rows: FloatArray) -> FloatArray:
        """See `Goal.score`."""
        return self.figures(rows)

    def useful(self, figures: FloatArray) -> Mask:
        """See `Goal.useful`: nothing found is as good in the first figure and in the second."""
        # Found pairs ascend in the first figure and descend in the second.
        at = np.searchsorted(self.first, figures[:, 0], side="right") - 1
        return np.asarray(figures[:, 1] < self.second[at])

    def offer(self, figures: FloatArray) -> None:
        """See `Goal.offer`."""
        if not self.useful(figures).any():
            return
        self.version += 1
        firsts = np.concatenate([self.first, figures[:, 0]])
        seconds = np.concatenate([self.second, figures[:, 1]])
        keep = staircase(firsts, seconds)
        self.first, self.second = firsts[keep], seconds[keep]


@dataclass(slots=True)
class ManyGoal:
    """Every row of figures that no other equals or undercuts in all of them."""

    figures: Score
    found: FloatArray = field(default_factory=lambda: np.empty((0, 0)))
    version: int = 0

    def score(self, rows: FloatArray) -> FloatArray:
        """See `Goal.score`."""
        return self.figures(rows)

    def useful(self, figures: FloatArray) -> Mask:
        """See `Goal.useful`: nothing found is as good in every figure."""
        alive = np.ones(len(figures), dtype=bool)
        for one in self.found:
            alive &= (figures < one).any(axis=1)
        return alive

    def offer(self, figures: FloatArray) -> None:
        """See `Goal.offer`."""
        new = figures[self.useful(figures)]
        if not len(new):
            return
        self.version += 1
        together = np.concatenate([self.found, new]) if len(self.found) else new
        self.found = together[[not _beaten(together, i) for i in range(len(together))]]


def _beaten(rows: FloatArray, index: int) -> bool:
    """Whether another row is nowhere above a row; of equal ones the first is not beaten."""
    below = (rows <= rows[index]).all(axis=1)
    equal = (rows == rows[index]).all(axis=1)
    return bool((below & ~equal).any() or equal[:index].any())


def ranked(figures: FloatArray) -> Indices:
    """Indices of rows by their first figure, ties by those that follow."""
    return np.asarray(np.lexsort(figures.T[::-1]))


def staircase(first: FloatArray, second: FloatArray) -> Indices:
    """Indices of the pairs that no other equals or undercuts in both, by the first figure."""
    order = np.lexsort((second, first))
    least = np.minimum.accumulate(second[order])
    falls = np.ones(len(order), dtype=bool)
    falls[1:] = second[order][1:] < least[:-1]
    return np.asarray(order[falls])
