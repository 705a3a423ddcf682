"""What a chart holds: columns of values and how they are laid out, whoever draws them.

Values are in SI base units; a drawer chooses prefixes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

__all__ = ["Chart", "Field", "PointChart", "RooflineChart", "StackChart", "Value", "front"]

Value = str | float | None


@dataclass(frozen=True, slots=True)
class Field:
    """One column of values, a value for each point.

    Attributes:
        key: name, as in results: ``edp_js``.
        title: what people call it.
        unit: SI base unit, empty for none.
        values: numbers throughout, or words throughout; None where there is none.
        better: ``low`` or ``high``; empty where neither is better.
    """

    key: str
    title: str
    unit: str
    values: tuple[Value, ...]
    better: str = ""

    @property
    def numeric(self) -> bool:
        """Whether the values are numbers."""
        return not any(isinstance(value, str) for value in self.values)

    @property
    def varies(self) -> bool:
        """Whether there are two different values."""
        return len({value for value in self.values if value is not None}) > 1


@dataclass(frozen=True, slots=True)
class PointChart:
    """Points in a plane of two fields, coloured by a third.

    Attributes:
        title: what it shows.
        fields: all there is to choose from; the same number of values each.
        x, y: keys of the fields across and upwards.
        color: key of the field that tells series apart; empty for one series.
        joined: whether the points of a series are joined in the order of ``x``.
        front: whether the points that no other beats in both fields are marked.
        axes: keys of the fields that were varied, which tell points apart.
        along: the axis that lines follow where ``x`` is none.
    """

    title: str
    fields: tuple[Field, ...]
    x: str
    y: str
    color: str = ""
    joined: bool = False
    front: bool = False
    axes: tuple[str, ...] = ()
    along: str = ""

    def lines(self, members: Sequence[int]) -> list[list[int]]:
        """Points to be joined, in order: those of one line differ along one axis alone."""
        along = self.field(self.x if self.x in self.axes or not self.along else self.along)
        others = [self.field(key) for key in self.axes if key != along.key]
        found: dict[tuple[Value, ...], list[int]] = {}
        for index in members:
            found.setdefault(tuple(field.values[index] for field in others), []).append(index)
        if along.numeric:
            for line in found.values():
                line.sort(key=lambda index: _number(along.values[index]))
        return list(found.values())

    def field(self, key: str) -> Field:
        """The field of a key."""
        return next(field for field in self.fields if field.key == key)

    def front_points(self) -> tuple[int, ...]:
        """Indices of the points that are not dominated, by rising x; empty unless ``front``."""
        if not self.front:
            return ()
        return front(self.field(self.x), self.field(self.y))


@dataclass(frozen=True, slots=True)
class StackChart:
    """A bar for each item, made of parts.

    Attributes:
        title: what it shows.
        unit: of the values.
        items: names of the bars, in order.
        parts: name of a part and its value in each bar; negative ones are savings.
    """

    title: str
    unit: str
    items: tuple[str, ...]
    parts: tuple[tuple[str, tuple[float, ...]], ...]


@dataclass(frozen=True, slots=True)
class RooflineChart:
    """Layers under the two roofs of a machine.

    Attributes:
        title: what it shows.
        peaks: name of a precision and multiply-accumulates a second that the array can do at it.
        bandwidth: bytes a second of the off-chip memory; None where the spec states none.
        names: of the layers.
        intensity: multiply-accumulates for each byte over the off-chip port.
        rate: multiply-accumulates a second reached.
        inside: layers that move nothing off chip, and so stand nowhere on the chart.
    """

    title: str
    peaks: tuple[tuple[str, float], ...]
    bandwidth: float | None
    names: tuple[str, ...]
    intensity: tuple[float, ...]
    rate: tuple[float, ...]
    inside: int = 0


Chart = PointChart | StackChart | RooflineChart


def front(x: Field, y: Field) -> tuple[int, ...]:
    """Indices of the points that no other point beats in both fields, by rising x.

    Of points equal in both the first stands for all. Points without one of the two values, and
    fields in which neither direction is better, have no front.
    """
    if not (x.better and y.better and x.numeric and y.numeric):
        return ()
    found: list[int] = []
    best = math.inf
    for cost_x, cost_y, index in sorted(_costs(x, y)):
        del cost_x
        if cost_y < best:
            found.append(index)
            best = cost_y
    return tuple(sorted(found, key=lambda i: _number(x.values[i])))


def _costs(x: Field, y: Field) -> Iterable[tuple[float, float, int]]:
    sign_x, sign_y = _sign(x.better), _sign(y.better)
    for index, pair in enumerate(zip(x.values, y.values, strict=True)):
        if not _known(pair):
            continue
        yield sign_x * _number(pair[0]), sign_y * _number(pair[1]), index


def _known(values: Sequence[Value]) -> bool:
    return all(isinstance(value, (int, float)) and math.isfinite(value) for value in values)


def _sign(better: str) -> int:
    return 1 if better == "low" else -1


def _number(value: Value) -> float:
    return float(value) if isinstance(value, (int, float)) else math.nan
