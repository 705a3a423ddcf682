"""A chart of points as lines of text: a quick picture for a terminal."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from npubench.report.charts.model import Field, PointChart
from npubench.report.text import clean
from npubench.units import engineering, significant

__all__ = ["text_picture"]

_HEIGHT: Final = 16
_WIDTH: Final = 100
_NARROWEST: Final = 24
_SIGNS: Final = "ox+*#@%&"
_MANY: Final = "."
_DECADE: Final = 10.0


def text_picture(chart: PointChart, width: int | None = None) -> tuple[str, ...]:
    """The points of a chart, a sign for each series, in lines of at most ``width`` columns.

    All of it is ASCII. An axis is logarithmic where its values are positive and span more than a
    factor of ten. Points of the front are capital ``F``; where two points fall together, the front
    is seen, then the later series. Points without one of the two numbers are left out and counted.

    Args:
        chart: numbers across and upwards.
        width: of the terminal; None for one of 100 columns.
    """
    x, y = chart.field(chart.x), chart.field(chart.y)
    shown = [i for i in range(len(x.values)) if _finite(x, i) and _finite(y, i)]
    if not shown:
        return (f"No point has both {x.title} and {y.title}: there is nothing to draw.",)
    names = [_name(chart, i) for i in range(len(x.values))]
    series = list(dict.fromkeys(names[i] for i in shown))
    signs = {
        name: _SIGNS[n] if len(series) <= len(_SIGNS) else _MANY for n, name in enumerate(series)
    }
    low, high = _ends(y, shown)
    margin = max(len(low), len(high)) + 1
    columns = max(_NARROWEST, min(width or _WIDTH, _WIDTH) - margin - 1)
    across, upwards = _places(x, shown, columns), _places(y, shown, _HEIGHT)
    rows = [[" "] * columns for _ in range(_HEIGHT)]
    front = set(chart.front_points())
    order = sorted(
        range(len(shown)), key=lambda n: (shown[n] in front, series.index(names[shown[n]]))
    )
    for n in order:
        sign = "F" if shown[n] in front else signs[names[shown[n]]]
        rows[_HEIGHT - 1 - upwards[n]][across[n]] = sign
    edge = [high.rjust(margin - 1), *[" " * (margin - 1)] * (_HEIGHT - 2), low.rjust(margin - 1)]
    lines = [_cut(f"{_title(y, shown)} against {_title(x, shown)}", margin + columns + 1)]
    lines += [f"{e} |{''.join(row)}".rstrip() for e, row in zip(edge, rows, strict=True)]
    first, last = _ends(x, shown)
    lines.append(" " * margin + "+" + "-" * columns)
    lines.append(" " * (margin + 1) + first + last.rjust(columns - len(first)))
    legend = [f"{signs[name]} {name}" for name in series] if len(series) <= len(_SIGNS) else []
    if len(series) == 1:
        legend = []
    legend += ["F front"] if front else []
    lines += [_cut(f"  {text}", margin + columns + 1) for text in legend]
    left = len(x.values) - len(shown)
    if left:
        lines.append(f"  {left} without both figures left out")
    return tuple(line.rstrip() for line in lines)


def _finite(field: Field, index: int) -> bool:
    value = field.values[index]
    return isinstance(value, (int, float)) and math.isfinite(value)


def _numbers(field: Field, shown: Sequence[int]) -> list[float]:
    values = [field.values[i] for i in shown]
    return [float(value) for value in values if isinstance(value, (int, float))]


def _logarithmic(values: Sequence[float]) -> bool:
    return min(values) > 0.0 and max(values) > _DECADE * min(values)


def _places(field: Field, shown: Sequence[int], cells: int) -> list[int]:
    """The cell of each point along one axis."""
    values = _numbers(field, shown)
    if _logarithmic(values):
        values = [math.log(value) for value in values]
    low, high = min(values), max(values)
    if high == low:
        return [cells // 2] * len(values)
    return [round((value - low) / (high - low) * (cells - 1)) for value in values]


def _ends(field: Field, shown: Sequence[int]) -> tuple[str, str]:
    """The lowest and the highest value, as text."""
    values = _numbers(field, shown)
    return _shown(min(values), field.unit), _shown(max(values), field.unit)


def _shown(value: float, unit: str) -> str:
    if unit in ("", "%", "mm2", "TOPS/W"):
        return f"{significant(value)} {unit}".rstrip()
    return engineering(value, unit)


def _title(field: Field, shown: Sequence[int]) -> str:
    scale = ", logarithmic" if _logarithmic(_numbers(field, shown)) else ""
    return f"{field.title}{scale}"


def _name(chart: PointChart, index: int) -> str:
    if not chart.color:
        return "points"
    field = chart.field(chart.color)
    value = field.values[index]
    if value is None:
        return "none"
    if isinstance(value, str):
        return clean(value).encode("ascii", "replace").decode()
    return _shown(value, field.unit)


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 3]}..."
