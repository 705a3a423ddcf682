"""Which width for which layer: exact choice under budgets, and the whole frontier of one cost.

A problem has groups of layers that share a width; each choice of a group has a loss and costs,
and both add up over groups. EDP is the product of two such sums and is handled exactly as well.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from npubench.errors import OptionError, Problem

__all__ = [
    "EDP",
    "LOSS",
    "Choice",
    "Frontier",
    "PrecisionProblem",
    "Solution",
    "find_frontier",
    "solve",
]

LOSS = "loss"
EDP = "edp_js"
_LATENCY, _ENERGY = "latency_s", "energy_j"

Floats = npt.NDArray[np.float64]

# Solvers work to tolerances; a budget is met if it is met to this relative precision.
_SLACK = 1e-9
_MOST_POINTS = 100_000
_MOST_SPLITS = 200


@dataclass(frozen=True, slots=True)
class Choice:
    """One width of a group: what it loses, and what it costs in each metric."""

    loss: float
    costs: tuple[float, ...]


@dataclass(frozen=True)
class PrecisionProblem:
    """Groups of choices.

    Attributes:
        metrics: names of the costs, such as ``latency_s``.
        groups: the choices of each group; at least one each.
        fixed: what everything else costs, by metric.
    """

    metrics: tuple[str, ...]
    groups: tuple[tuple[Choice, ...], ...]
    fixed: tuple[float, ...]

    def total(self, picks: Sequence[int]) -> Solution:
        """Loss and costs of one choice per group."""
        chosen = [group[pick] for group, pick in zip(self.groups, picks, strict=True)]
        costs = {
            metric: math.fsum((self.fixed[i], *(c.costs[i] for c in chosen)))
            for i, metric in enumerate(self.metrics)
        }
        return Solution(tuple(picks), math.fsum(c.loss for c in chosen), costs)

    def rows(self, name: str) -> Floats:
        """The loss or a cost of every choice of every group, one after another."""
        if name == LOSS:
            return np.array([c.loss for group in self.groups for c in group])
        index = self.metrics.index(name)
        return np.array([c.costs[index] for group in self.groups for c in group])

    def fixed_part(self, name: str) -> float:
        """What does not depend on the choice."""
        return 0.0 if name == LOSS else self.fixed[self.metrics.index(name)]


@dataclass(frozen=True)
class Solution:
    """One choice per group, with its loss and its costs, fixed parts included."""

    picks: tuple[int, ...]
    loss: float
    costs: Mapping[str, float]

    def value(self, name: str) -> float:
        """A metric, the loss, or the product of energy and latency."""
        if name == LOSS:
            return self.loss
        if name == EDP:
            return self.costs[_LATENCY] * self.costs[_ENERGY]
        return self.costs[name]


def solve(
    problem: PrecisionProblem, objective: str, limits: Mapping[str, float]
) -> Solution | None:
    """The choice of least objective within all limits, or None if there is none.

    Args:
        problem: what there is to choose from.
        objective: ``loss``, a metric, or ``edp_js`` where there are latency and energy.
        limits: upper bounds by the same names; at most one of objective and limits is EDP.

    Raises:
        OptionError: scipy is missing.
    """
    linear = {name: bound for name, bound in limits.items() if name != EDP}
    if objective == EDP:
        return _least_product(problem, linear)
    if EDP in limits:
        return _within_product(problem, objective, linear, limits[EDP])
    return _linear(problem, problem.rows(objective), linear)


def _linear(
    problem: PrecisionProblem,
    weights: Floats,
    limits: Mapping[str, float],
    extra: Sequence[tuple[Floats, float]] = (),
) -> Solution | None:
    """One integer linear programme: least ``weights`` over one pick per group."""
    milp, constraint, bounds = _scipy()
    sizes = [len(group) for group in problem.groups]
    one_each = np.zeros((len(sizes), sum(sizes)))
    start = 0
    for index, size in enumerate(sizes):
        one_each[index, start : start + size] = 1
        start += size
    rules = [constraint(one_each, 1, 1)]
    bounded = [
        *((problem.rows(name), bound - problem.fixed_part(name)) for name, bound in limits.items()),
        *extra,
    ]
    for row, bound in bounded:
        # Metrics are as small as picojoules: the solver's tolerances want numbers near one.
        scale = float(np.max(np.abs(row))) or 1.0
        rules.append(constraint(row[None] / scale, -np.inf, (bound + abs(bound) * _SLACK) / scale))
    size_of_weights = float(np.max(np.abs(weights))) or 1.0
    starts = np.cumsum([0, *sizes[:-1]])
    for _ in range(_MOST_SPLITS):
        found = milp(
            weights / size_of_weights,
            constraints=rules,
            integrality=np.ones(len(weights)),
            bounds=bounds(0, 1),
            options={"mip_rel_gap": 0.0},
        )
        if found.x is None:
            return None
        picks = [
            int(np.argmax(found.x[start : start + size]))
            for start, size in zip(starts, sizes, strict=True)
        ]
        chosen = starts + picks
        if all(row[chosen].sum() <= bound + abs(bound) * 2 * _SLACK for row, bound in bounded):
            return problem.total(picks)
        # Within the solver's tolerance of a bound, but beyond it: forbid just this one.
        cut = np.zeros(len(weights))
        cut[chosen] = 1
        rules.append(constraint(cut[None], -np.inf, len(sizes) - 1))
    raise OptionError("too many plans lie within rounding of a budget: change it a little")


def _scipy() -> tuple[Any, ...]:
    try:
        from scipy.optimize import Bounds, LinearConstraint, milp
    except ImportError:
        raise OptionError(
            Problem("a precision search needs scipy", hint="pip install 'npubench[search]'")
        ) from None
    return milp, LinearConstraint, Bounds


def _least_product(problem: PrecisionProblem, limits: Mapping[str, float]) -> Solution | None:
    """Least energy x latency.

    A product of two positive sums is quasi-concave, so it is least at a corner of the convex hull
    of the feasible points; all corners that face the origin are found by bisecting directions.
    """
    latency, energy = problem.rows(_LATENCY), problem.rows(_ENERGY)
    ends = [_linear(problem, row, limits) for row in (latency, energy)]
    first, last = ends
    if first is None or last is None:
        return None
    corners = [first, last]
    pending = [(first, last)]
    while pending:
        a, b = pending.pop()
        run = b.costs[_LATENCY] - a.costs[_LATENCY]
        rise = a.costs[_ENERGY] - b.costs[_ENERGY]
        if run <= 0 or rise <= 0:
            continue
        weights = rise * latency + run * energy
        corner = _linear(problem, weights, limits)
        if corner is None:
            continue
        on_edge = rise * a.costs[_LATENCY] + run * a.costs[_ENERGY]
        value = rise * corner.costs[_LATENCY] + run * corner.costs[_ENERGY]
        if value < on_edge * (1 - _SLACK):
            corners.append(corner)
            pending += [(a, corner), (corner, b)]
    return min(corners, key=lambda s: (s.value(EDP), s.loss))


def _within_product(
    problem: PrecisionProblem, objective: str, limits: Mapping[str, float], bound: float
) -> Solution | None:
    """Least objective with energy x latency within a bound, by branch and bound on the latency.

    Over an interval of latencies the hyperbola bound / latency lies below its chord, so the chord
    is a relaxation; a solution that breaks the bound splits the interval at its latency.
    """
    rows = {name: problem.rows(name) for name in (_LATENCY, _ENERGY)}
    fixed = {name: problem.fixed_part(name) for name in rows}
    shortest = _linear(problem, rows[_LATENCY], limits)
    longest = _linear(problem, -rows[_LATENCY], limits)
    if shortest is None or longest is None:
        return None
    best: Solution | None = None
    pending = [(shortest.costs[_LATENCY], longest.costs[_LATENCY])]
    for _ in range(_MOST_SPLITS):
        if not pending:
            return best
        low, high = pending.pop()
        slope = bound / low / high  # of the chord from (low, bound / low) to (high, bound / high)
        chord = rows[_ENERGY] + slope * rows[_LATENCY]
        ceiling = bound / low + slope * low - fixed[_ENERGY] - slope * fixed[_LATENCY]
        extra = [
            (chord, ceiling),
            (rows[_LATENCY], high - fixed[_LATENCY]),
            (-rows[_LATENCY], fixed[_LATENCY] - low),
        ]
        found = _linear(problem, problem.rows(objective), limits, extra)
        if found is None or (best is not None and found.value(objective) >= best.value(objective)):
            continue
        if found.value(EDP) <= bound * (1 + _SLACK):
            best = found
            continue
        split = found.costs[_LATENCY]
        width = high - low
        # The solution itself must be cut off; at an end of the interval the middle does it.
        if not low + 1e-9 * width < split < high - 1e-9 * width:
            split = (low + high) / 2
        if width > 1e-12 * high:
            pending += [(low, split), (split, high)]
    raise OptionError("the EDP budget cannot be settled: give one on latency or energy")


@dataclass(frozen=True)
class Frontier:
    """Plans that no other plan beats in cost and loss at once, from cheap to exact.

    Attributes:
        problem: where they are from.
        costs, losses: one per plan; costs rise, losses fall.
        exact: whether these are all; else near neighbours were dropped on the way.
    """

    problem: PrecisionProblem
    costs: Floats
    losses: Floats
    exact: bool
    _parents: tuple[npt.NDArray[np.int32], ...]
    _picks: tuple[npt.NDArray[np.int8], ...]

    def __len__(self) -> int:
        """Number of plans."""
        return len(self.costs)

    def solution(self, index: int) -> Solution:
        """One plan."""
        picks: list[int] = []
        for parents, chosen in zip(reversed(self._parents), reversed(self._picks), strict=True):
            picks.append(int(chosen[index]))
            index = int(parents[index])
        return self.problem.total(picks[::-1])

    @cached_property
    def knees(self) -> tuple[int, ...]:
        """Indices of the convex hull's corners: where a little cost buys the most."""
        corners: list[int] = []
        for index in range(len(self)):
            while len(corners) >= 2 and self._above(corners[-2], corners[-1], index):
                corners.pop()
            corners.append(index)
        return tuple(corners)

    def _above(self, a: int, b: int, c: int) -> bool:
        """Whether the middle one lies on or above the line between the others."""
        run, rise = self.costs[c] - self.costs[a], self.losses[c] - self.losses[a]
        return bool(
            (self.losses[b] - self.losses[a]) * run >= rise * (self.costs[b] - self.costs[a])
        )


def find_frontier(problem: PrecisionProblem, metric: str, most: int = _MOST_POINTS) -> Frontier:
    """Every plan that is not beaten in a metric and the loss, group by group.

    A partial plan that another one beats in both can be dropped for good, since both add up.

    Args:
        problem: what there is to choose from.
        metric: one of the problem's.
        most: partial plans kept; beyond it the best of each of as many steps of cost are.
    """
    index = problem.metrics.index(metric)
    costs, losses = np.array([problem.fixed[index]]), np.zeros(1)
    parents: list[npt.NDArray[np.int32]] = []
    picks: list[npt.NDArray[np.int8]] = []
    exact = True
    for group in problem.groups:
        count = len(costs)
        all_costs = np.concatenate([costs + c.costs[index] for c in group])
        all_losses = np.concatenate([losses + c.loss for c in group])
        kept = _undominated(all_costs, all_losses)
        if len(kept) > most:
            exact = False
            kept = _thinned(kept, all_costs, most)
        costs, losses = all_costs[kept], all_losses[kept]
        parents.append((kept % count).astype(np.int32))
        picks.append((kept // count).astype(np.int8))
    return Frontier(problem, costs, losses, exact, tuple(parents), tuple(picks))


def _undominated(costs: Floats, losses: Floats) -> npt.NDArray[np.int64]:
    order = np.lexsort((losses, costs))
    ordered = losses[order]
    before = np.concatenate([[np.inf], np.minimum.accumulate(ordered)[:-1]])
    # Sums in another order differ in their last digits: such twins are one plan.
    margin = 1e-13 * max(float(np.max(np.abs(losses))), 1e-300)
    return np.asarray(order[ordered < before - margin])


def _thinned(kept: npt.NDArray[np.int64], costs: Floats, most: int) -> npt.NDArray[np.int64]:
    """The last, least lossy, of each step of cost, and the cheapest."""
    ordered = costs[kept]
    span = ordered[-1] - ordered[0]
    step = np.floor((ordered - ordered[0]) / span * most).astype(np.int64)
    last = np.append(step[1:] != step[:-1], [True])
    last[0] = True
    return np.asarray(kept[last])
