"""What a search looks for: the best nest for an objective, or the front of latency and energy.

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

__all__ = ["BestGoal", "FrontGoal", "Goal", "Score", "staircase"]

# The figure that is minimised, and the one that decides ties; one entry a row.
Score = Callable[[FloatArray], tuple[FloatArray, FloatArray]]
Mask = npt.NDArray[np.bool_]


class Goal(Protocol):
    """See the module.

    Attributes:
        version: changes whenever what is useful may have changed.
    """

    version: int

    def score(self, rows: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Two figures of each row; candidates are taken by the first, then by the second."""
        ...

    def useful(self, first: FloatArray, second: FloatArray) -> Mask:
        """Whether a row of these figures would improve on what has been found."""
        ...

    def offer(self, first: FloatArray, second: FloatArray) -> None:
        """Take note of complete nests."""
        ...


@dataclass(slots=True)
class BestGoal:
    """The nest of least first figure; among equals, of least second figure."""

    figures: Score
    best: tuple[float, float] = (np.inf, np.inf)
    version: int = 0

    def score(self, rows: FloatArray) -> tuple[FloatArray, FloatArray]:
        """See `Goal.score`."""
        return self.figures(rows)

    def useful(self, first: FloatArray, second: FloatArray) -> Mask:
        """See `Goal.useful`."""
        tied = (first == self.best[0]) & (second < self.best[1])
        return np.asarray((first < self.best[0]) | tied)

    def offer(self, first: FloatArray, second: FloatArray) -> None:
        """See `Goal.offer`."""
        if len(first):
            at = int(np.lexsort((second, first))[0])
            found = (float(first[at]), float(second[at]))
            if found < self.best:
                self.best = found
                self.version += 1


@dataclass(slots=True)
class FrontGoal:
    """Every pair of figures that no other pair equals or undercuts in both."""

    figures: Score
    first: FloatArray = field(default_factory=lambda: np.array([-np.inf]))
    second: FloatArray = field(default_factory=lambda: np.array([np.inf]))
    version: int = 0

    def score(self, rows: FloatArray) -> tuple[FloatArray, FloatArray]:
        """See `Goal.score`."""
        return self.figures(rows)

    def useful(self, first: FloatArray, second: FloatArray) -> Mask:
        """See `Goal.useful`: nothing found is as good in the first figure and in the second."""
        # Found pairs ascend in the first figure and descend in the second.
        at = np.searchsorted(self.first, first, side="right") - 1
        return np.asarray(second < self.second[at])

    def offer(self, first: FloatArray, second: FloatArray) -> None:
        """See `Goal.offer`."""
        if not self.useful(first, second).any():
            return
        self.version += 1
        firsts = np.concatenate([self.first, first])
        seconds = np.concatenate([self.second, second])
        keep = staircase(firsts, seconds)
        self.first, self.second = firsts[keep], seconds[keep]


def staircase(first: FloatArray, second: FloatArray) -> npt.NDArray[np.intp]:
    """Indices of the pairs that no other equals or undercuts in both, by the first figure."""
    order = np.lexsort((second, first))
    least = np.minimum.accumulate(second[order])
    falls = np.ones(len(order), dtype=bool)
    falls[1:] = second[order][1:] < least[:-1]
    return np.asarray(order[falls])
