"""Points of a grid that an optimiser asks for one after another, towards what a user wishes.

The optimiser is Optuna's tree-structured Parzen estimator over the index of every axis: whole
numbers in their order where all values of an axis rise or fall, a choice without order elsewhere.
What it asks for is always a point of the grid; one that was run already, or that fails a condition
of the grid, is refused and asked for again, and a random point that is left stands in when it keeps
asking for the same.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from npubench.errors import OptionError, Problem
from npubench.study.choose import Wish, broken, cost
from npubench.study.grid import SweepPlan
from npubench.study.result import SweepPoint
from npubench.study.serialise import point_from_json, point_to_json
from npubench.study.session import Session
from npubench.study.store import SweepStore
from npubench.study.sweep import point_key, run_point
from npubench.units import UnitError, parse_any

__all__ = ["check_guided", "guided_points"]

_PATIENCE: Final = 16
_BROKEN: Final = "broken"


def check_guided(wish: Wish) -> None:
    """Refuse a guided sweep that cannot run, before any work is done for it.

    Raises:
        OptionError: nothing to search for, or Optuna is not installed.
    """
    if wish.minimize is None and not wish.front:
        raise OptionError(
            Problem(
                "--sample guided: nothing to search for",
                hint="give --minimize FIGURE, or --pareto A,B for a front",
            )
        )
    _optuna()


def guided_points(
    plan: SweepPlan, session: Session, wish: Wish, store: SweepStore | None = None
) -> Iterator[SweepPoint]:
    """The points that the optimiser asks for, in its order, each once.

    With one figure wished the search is for its best; with a front, for that front (and for the
    figure, where both are wished). Constraints of the wish count. The same plan, wish and seed give
    the same points, whether they run or come from a store.

    Args:
        plan: checked; its sample is a guided one.
        session: what points have in common is worked out once.
        wish: what is searched for.
        store: points in it are taken from there, others are added to it.

    Raises:
        OptionError: see `check_guided`.
        InputError: the store cannot be written.
    """
    check_guided(wish)
    sample = plan.shape.sample
    if sample is None or sample.kind != "guided":
        raise ValueError("the plan has no guided sample")
    asker = _Asker(plan, wish, sample.count, sample.seed)
    for _ in range(min(sample.count, len(plan.points))):
        trial, axes = asker.ask()
        request = plan.request_of(axes)
        key = "" if store is None else point_key(request, session)
        found = None if store is None else store.find(key)
        if found is not None:
            point = replace(point_from_json(found), axes=axes)
        else:
            point = run_point(axes, request, session)
            if store is not None:
                store.add(key, point_to_json(point))
        asker.tell(trial, point)
        yield point


@dataclass(frozen=True, slots=True)
class _Direction:
    """Axes that vary together: what the optimiser calls them, and their values by its index."""

    name: str
    values: tuple[tuple[tuple[str, str], ...], ...]
    ordered: bool


class _Asker:
    """A study that gives points of a grid, none twice."""

    def __init__(self, plan: SweepPlan, wish: Wish, count: int, seed: int) -> None:
        import numpy as np

        optuna = _optuna()
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._names = [axis.name for axis in plan.axes]
        self._directions = [
            _Direction(",".join(name for name, _ in bundle[0]), bundle, _ordered(bundle))
            for bundle in plan.bundles()
        ]
        self._left = dict.fromkeys(plan.points)
        self._wish = wish
        self._figures = tuple(dict.fromkeys((*wish.front, *filter(None, [wish.minimize]))))
        self._failed = optuna.trial.TrialState.FAIL
        self._rng = np.random.default_rng(seed)
        with warnings.catch_warnings():
            # Experimental in version 4 and deprecated in 5, the one way to constrain both have.
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            warnings.simplefilter("ignore", FutureWarning)
            sampler = optuna.samplers.TPESampler(
                seed=seed,
                n_startup_trials=max(2, min(10, count // 4)),
                constraints_func=_constraints if wish.constraints else None,
            )
        self._study = optuna.create_study(
            directions=["minimize"] * len(self._figures), sampler=sampler
        )

    def ask(self) -> tuple[Any, dict[str, str]]:
        """A trial of the study, and the values by axis that it stands for."""
        for _ in range(_PATIENCE):
            trial, values = self._proposed()
            if values in self._left:
                break
            self._study.tell(trial, state=self._failed)
        else:
            left = list(self._left)
            self._study.enqueue_trial(self._parameters(left[int(self._rng.integers(len(left)))]))
            trial, values = self._proposed()
        del self._left[values]
        return trial, dict(zip(self._names, values, strict=True))

    def tell(self, trial: Any, point: SweepPoint) -> None:
        """What a point came to; one without a figure that is searched for teaches nothing."""
        costs = [cost(point, name) for name in self._figures]
        if any(value is None for value in costs):
            self._study.tell(trial, state=self._failed)
            return
        trial.set_user_attr(_BROKEN, broken(point, self._wish))
        self._study.tell(trial, costs)

    def _proposed(self) -> tuple[Any, tuple[str, ...]]:
        trial = self._study.ask()
        point: dict[str, str] = {}
        for one in self._directions:
            last = len(one.values) - 1
            index = (
                trial.suggest_int(one.name, 0, last)
                if one.ordered
                else trial.suggest_categorical(one.name, list(range(last + 1)))
            )
            point.update(one.values[index])
        return trial, tuple(point[name] for name in self._names)

    def _parameters(self, values: tuple[str, ...]) -> Mapping[str, int]:
        point = dict(zip(self._names, values, strict=True))
        return {
            one.name: next(
                index
                for index, pairs in enumerate(one.values)
                if all(point[name] == value for name, value in pairs)
            )
            for one in self._directions
        }


def _constraints(trial: Any) -> Sequence[float]:
    """For the optimiser: above zero where a constraint does not hold."""
    return (float(trial.user_attrs[_BROKEN]),)


def _ordered(bundle: Sequence[Sequence[tuple[str, str]]]) -> bool:
    """Whether the values of every axis of a bundle are numbers that rise, or that fall."""
    for column in zip(*bundle, strict=True):
        try:
            measures = [parse_any(text) for _, text in column]
        except UnitError:
            return False
        values = [measure.value for measure in measures]
        if len({measure.dimension for measure in measures}) > 1:
            return False
        if values not in (sorted(values), sorted(values, reverse=True)):
            return False
    return True


def _optuna() -> Any:
    try:
        import optuna
    except ImportError:
        raise OptionError(
            Problem(
                "--sample guided: Optuna is not installed", hint="pip install 'npubench[guided]'"
            )
        ) from None
    return optuna
