"""Looking into a store: filter, order and limit of the points that sweeps kept there."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from npubench.errors import OptionError, Problem, did_you_mean
from npubench.study.choose import FIGURES, figure
from npubench.study.gates import SHORT_FORMS
from npubench.study.result import Sweep, SweepPoint
from npubench.study.run import make_stamp
from npubench.study.serialise import point_from_json
from npubench.study.store import SweepStore
from npubench.study.where import parse_where
from npubench.units import UnitError, parse_any

__all__ = ["read_stored"]

_WORDS = ("workload", "hardware", "status")


def read_stored(
    path: Path,
    where: Sequence[str] = (),
    sort: str | None = None,
    limit: int | None = None,
    *,
    descending: bool = False,
) -> Sweep:
    """The points of a store.

    Points of several sweeps may be in one file: the axes are those of all, and a point without one
    of them has no value there.

    Args:
        path: the store; it must exist.
        where: conditions over axes, words and figures; a point without a figure does not meet them.
        sort: axis, word or figure to sort by; without it by content, which is no order of interest.
        limit: at most so many points.
        descending: highest first.

    Raises:
        InputError: no such file, or no store.
        OptionError: a condition or a name that does not exist.
    """
    with SweepStore(path, read_only=True) as store:
        points = [point_from_json(document) for document in store.points()]
    axes: dict[str, dict[str, None]] = {}
    for point in points:
        for name, value in point.axes.items():
            axes.setdefault(name, {})[value] = None
    names = [*axes, *_WORDS, *FIGURES, *SHORT_FORMS]
    conditions = [parse_where(text, names) for text in where]
    rows = [(point, _values(point)) for point in points]
    kept = [
        (point, values)
        for point, values in rows
        if all(set(c.names.values()) <= values.keys() and c.holds(values) for c in conditions)
    ]
    if sort is not None:
        if sort not in names:
            raise OptionError(
                Problem(f"--sort {sort}: no such name", hint=did_you_mean(sort, names))
            )
        kept = _sorted(kept, sort, descending=descending)
    found = tuple(point for point, _ in kept[:limit])
    return Sweep(
        tuple((name, tuple(values)) for name, values in axes.items()), found, make_stamp(0)
    )


def _values(point: SweepPoint) -> dict[str, str]:
    """Everything a condition may name, as text; figures exactly."""
    values = dict(point.axes)
    values |= {name: str(getattr(point, name)) for name in _WORDS}
    for name in FIGURES:
        value = figure(point, name)
        if value is not None:
            values[name] = repr(value)
    values |= {short: values[name] for short, name in SHORT_FORMS.items() if name in values}
    return values


def _sorted(
    rows: Sequence[tuple[SweepPoint, dict[str, str]]], name: str, *, descending: bool
) -> list[tuple[SweepPoint, dict[str, str]]]:
    """Numbers before words, points without a value last, whichever way."""
    having = [row for row in rows if name in row[1]]
    lacking = [row for row in rows if name not in row[1]]
    having.sort(key=lambda row: _order(row[1][name]), reverse=descending)
    return [*having, *lacking]


def _order(text: str) -> tuple[int, float, str]:
    try:
        return 0, parse_any(text).value, ""
    except UnitError:
        return 1, 0.0, text
