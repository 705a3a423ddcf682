"""Which points of a sweep a user wants: the best under constraints, the front of several figures.

Figures are those of `Totals` with their short forms, and accuracies: ``top1``, ``top5``,
``perplexity``. Points that lack a figure that is asked for are neither best nor on a front.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from npubench.errors import OptionError, Problem, did_you_mean
from npubench.study.gates import METRICS, SHORT_FORMS, Condition, parse_condition
from npubench.study.result import SweepChoice, SweepPoint

__all__ = ["FIGURES", "Wish", "broken", "choose", "cost", "figure", "parse_wish"]

_ACCURACIES = ("top1", "top5", "perplexity")
_HIGHER_IS_BETTER = frozenset(
    {"throughput_ips", "tops_per_watt", "utilization", "top1", "top5", "macs"}
)
FIGURES: Mapping[str, str] = MappingProxyType(
    {**METRICS, **dict.fromkeys(_ACCURACIES, "dimensionless")}
)
"""Figures by name, with their dimension."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What a user asks of the points.

    Attributes:
        minimize: the figure to be best in; where higher is better, the highest is.
        constraints: that a point must meet to be chosen.
        front: figures, at least two, of the Pareto front; empty for none.
    """

    minimize: str | None = None
    constraints: tuple[Condition, ...] = ()
    front: tuple[str, ...] = ()

    @property
    def asks(self) -> bool:
        """Whether anything is asked."""
        return self.minimize is not None or bool(self.constraints) or bool(self.front)


def parse_wish(minimize: str | None, subject_to: Sequence[str], pareto: str | None) -> Wish:
    """A wish from option texts.

    Raises:
        OptionError: a figure that does not exist, or a condition that does not parse; all at once.
    """
    problems: list[Problem] = []
    best = None if minimize is None else _figure(minimize, "--minimize", problems)
    names = [] if pareto is None else [part.strip() for part in pareto.split(",") if part.strip()]
    front = tuple(dict.fromkeys(_figure(name, "--pareto", problems) for name in names))
    if pareto is not None and len(front) < 2:
        problems.append(Problem(f"--pareto {pareto}: a front needs at least two figures"))
    constraints: list[Condition] = []
    for text in subject_to:
        try:
            constraints.append(parse_condition(text, "--subject-to", FIGURES))
        except OptionError as error:
            problems += error.problems
    if problems:
        raise OptionError(*dict.fromkeys(problems))
    return Wish(best, tuple(constraints), front)


def _figure(name: str, option: str, problems: list[Problem]) -> str:
    found = SHORT_FORMS.get(name, name)
    if found not in FIGURES:
        hint = did_you_mean(name, (*FIGURES, *SHORT_FORMS))
        problems.append(Problem(f"{option}: no figure '{name}'", hint=hint))
    return found


def choose(points: Sequence[SweepPoint], wish: Wish) -> SweepChoice | None:
    """The points that a wish chooses among those that ran; None where nothing was wished."""
    if not wish.asks:
        return None
    allowed = [
        index
        for index, point in enumerate(points)
        if point.totals is not None and all(_meets(point, c) for c in wish.constraints)
    ]
    best = None
    if wish.minimize is not None:
        sign = _sign(wish.minimize)
        values = {index: figure(points[index], wish.minimize) for index in allowed}
        known = {index: sign * value for index, value in values.items() if value is not None}
        best = min(known, key=lambda index: known[index], default=None)
    return SweepChoice(
        minimize=wish.minimize,
        subject_to=tuple(condition.text for condition in wish.constraints),
        pareto=wish.front,
        allowed=len(allowed),
        best=best,
        front=_front(points, allowed, wish.front),
    )


def figure(point: SweepPoint, name: str) -> float | None:
    """One figure of a point, None where it has none."""
    if name in _ACCURACIES:
        accuracy = point.accuracy
        if accuracy is None:
            return None
        if name == "top5":
            return accuracy.top5
        return accuracy.value if accuracy.metric == name else None
    value = None if point.totals is None else getattr(point.totals, name)
    return None if value is None else float(value)


def cost(point: SweepPoint, name: str) -> float | None:
    """One figure of a point so that lower is better: its negative where higher is."""
    value = figure(point, name)
    return None if value is None else _sign(name) * value


def broken(point: SweepPoint, wish: Wish) -> int:
    """How many constraints of a wish a point does not meet."""
    return sum(not _meets(point, condition) for condition in wish.constraints)


def _meets(point: SweepPoint, condition: Condition) -> bool:
    value = figure(point, condition.metric)
    return value is not None and condition.holds(value)


def _sign(name: str) -> float:
    return -1.0 if name in _HIGHER_IS_BETTER else 1.0


def _front(
    points: Sequence[SweepPoint], allowed: Sequence[int], names: Sequence[str]
) -> tuple[int, ...]:
    """Points that no other is at least as good as in every figure and better in one.

    One pass in rising order of the first figure, each point against the front so far: a point that
    comes later can dominate none before it but equal ones.
    """
    if not names:
        return ()
    rows: list[tuple[float, ...]] = []
    where: list[int] = []
    for index in allowed:
        values = [figure(points[index], name) for name in names]
        if all(value is not None for value in values):
            rows.append(
                tuple(
                    _sign(name) * float(value or 0.0)
                    for name, value in zip(names, values, strict=True)
                )
            )
            where.append(index)
    if not rows:
        return ()
    costs = np.array(rows)
    order = np.lexsort(costs.T[::-1])
    kept: list[int] = []
    for place in order:
        if kept:
            others = costs[kept]
            below = (others <= costs[place]).all(axis=1) & (others < costs[place]).any(axis=1)
            if below.any():
                continue
        kept.append(int(place))
    return tuple(sorted(where[place] for place in kept))
