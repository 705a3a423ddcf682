"""The HTML page of results: the views that the terminal shows, charts, and where numbers come from.

The page holds its style, its script and its data, and loads nothing. Same results, same bytes.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

import jinja2
from markupsafe import Markup

import npubench
from npubench.report.charts.model import Chart, Field, PointChart, RooflineChart, StackChart
from npubench.report.charts.of_results import Result, charts_of
from npubench.report.compare_view import compare_view
from npubench.report.run_view import run_view
from npubench.report.sweep_view import sweep_view
from npubench.report.table import Cell, Column, Table, View
from npubench.report.text import clean, plural
from npubench.study.result import Comparison, RunResult

__all__ = ["MOST_POINTS", "MOST_ROWS", "to_page"]

MOST_POINTS = 4000
MOST_ROWS = 400
_FOLD_BEYOND = 30
_DIGITS = 6


@dataclass(frozen=True, slots=True)
class _HtmlCell:
    text: str
    align: str
    sort: str | None


@dataclass(frozen=True, slots=True)
class _HtmlRow:
    cells: tuple[_HtmlCell, ...]
    strong: bool


@dataclass(frozen=True, slots=True)
class _HtmlTable:
    title: str
    columns: tuple[Column, ...]
    rows: tuple[_HtmlRow, ...]
    caption: str
    folded: bool


@dataclass(frozen=True, slots=True)
class _Placed:
    index: int
    title: str


@dataclass(frozen=True, slots=True)
class _Section:
    title: str
    findings: tuple[str, ...]
    charts: tuple[_Placed, ...]
    tables: tuple[_HtmlTable, ...]
    notes: tuple[str, ...]


def to_page(results: Sequence[Result], title: str | None = None) -> str:
    """The page of one result or several, in the order given.

    At most `MOST_POINTS` points of a chart and `MOST_ROWS` rows of a table are on it; what is left
    out is said.

    Args:
        results: at least one.
        title: heading; by default what the first result is of.
    """
    drawn: list[dict[str, Any]] = []
    sections = []
    for result in results:
        charts = [_thinned(chart) for chart in charts_of(result)]
        first = len(drawn)
        drawn += [_chart_data(chart) for chart, _ in charts]
        placed = tuple(_Placed(first + i, said) for i, (_, said) in enumerate(charts))
        sections.append(_section(_view(result), placed))
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True
    )
    template = environment.from_string(_asset("page.html.j2"))
    return template.render(
        title=clean(title or sections[0].title),
        summary=f"{plural(len(results), 'result')}. Latency and energy are modelled, not measured, "
        "unless a table says so; what they rest on stands under each result.",
        version=npubench.__version__,
        sections=sections,
        # These four are ours; the data has names from files, hence no '<' in it.
        style=Markup(_asset("page.css")),
        script=Markup(_asset("page.js")),
        library=Markup(_asset("plot.bundle.js")),
        data=Markup(json.dumps(drawn, separators=(",", ":")).replace("<", "\\u003c")),
    )


def _asset(name: str) -> str:
    return resources.files("npubench.report.page").joinpath(name).read_text(encoding="utf-8")


def _view(result: Result) -> View:
    if isinstance(result, RunResult):
        return run_view(result, layers=True, verbose=True)
    return compare_view(result) if isinstance(result, Comparison) else sweep_view(result, MOST_ROWS)


def _section(view: View, charts: tuple[_Placed, ...]) -> _Section:
    return _Section(
        title=clean(view.title),
        findings=tuple(clean(text) for text in view.findings),
        charts=charts,
        tables=tuple(_html_table(table) for table in view.tables),
        notes=tuple(clean(text) for text in view.notes),
    )


def _html_table(table: Table) -> _HtmlTable:
    kept = [i for i, column in enumerate(table.columns) if not column.terminal_only]
    columns = tuple(table.columns[i] for i in kept)
    rows = tuple(
        _HtmlRow(
            tuple(_cell(column, row[i]) for i, column in zip(kept, columns, strict=True)),
            index in table.emphasis,
        )
        for index, row in enumerate(table.rows[:MOST_ROWS])
    )
    caption = clean(table.caption)
    if len(table.rows) > MOST_ROWS:
        left = len(table.rows) - MOST_ROWS
        caption = f"The first {MOST_ROWS} rows; {left:,} more are in the result file. {caption}"
    title = clean(table.title)
    folded = len(rows) > _FOLD_BEYOND
    if folded and not title:
        title = f"{len(table.rows):,} rows"
    return _HtmlTable(title, columns, rows, caption, folded)


def _cell(column: Column, value: Cell) -> _HtmlCell:
    number = isinstance(value, (int, float)) and math.isfinite(value)
    return _HtmlCell(clean(column.format(value)), column.align, repr(value) if number else None)


def _thinned(chart: Chart) -> tuple[Chart, str]:
    """The chart with at most `MOST_POINTS` points, all of its front among them; and its caption."""
    title = clean(chart.title)
    if not isinstance(chart, PointChart):
        return chart, title
    count = len(chart.fields[0].values)
    if count <= MOST_POINTS:
        return chart, title
    on_front = chart.front_points()[:MOST_POINTS]
    step = -(-count // max(1, MOST_POINTS - len(on_front)))
    kept = sorted({*on_front, *range(0, count, step)})
    fields = tuple(
        dataclasses.replace(field, values=tuple(field.values[i] for i in kept))
        for field in chart.fields
    )
    front = f"all {len(on_front)} of the front and " if on_front else ""
    said = f"{title} (shown: {front}one in {step} of the others, {len(kept):,} in all)"
    return dataclasses.replace(chart, fields=fields), said


def _chart_data(chart: Chart) -> dict[str, Any]:
    if isinstance(chart, StackChart):
        return {
            "kind": "stack",
            "title": clean(chart.title),
            "unit": chart.unit,
            "items": [clean(item) for item in chart.items],
            "parts": [
                {"name": clean(name), "values": [_short(value) for value in values]}
                for name, values in chart.parts
            ],
        }
    if isinstance(chart, RooflineChart):
        return {
            "kind": "roofline",
            "title": clean(chart.title),
            "peaks": [[name, _short(peak)] for name, peak in chart.peaks],
            "bandwidth": chart.bandwidth,
            "names": [clean(name) for name in chart.names],
            "intensity": [_short(value) for value in chart.intensity],
            "rate": [_short(value) for value in chart.rate],
            "inside": chart.inside,
        }
    return {
        "kind": "points",
        "title": clean(chart.title),
        "x": chart.x,
        "y": chart.y,
        "color": chart.color,
        "joined": chart.joined,
        "front": chart.front,
        "axes": list(chart.axes),
        "along": chart.along,
        "fields": [_field_data(field) for field in chart.fields],
    }


def _field_data(field: Field) -> dict[str, Any]:
    return {
        "key": field.key,
        "title": clean(field.title),
        "unit": field.unit,
        "better": field.better,
        "numeric": field.numeric,
        "values": [clean(v) if isinstance(v, str) else _short(v) for v in field.values],
    }


def _short(value: float | None) -> float | None:
    """A number to the digits that a chart can show; None where it is none."""
    if value is None or not math.isfinite(value):
        return None
    return float(f"{value:.{_DIGITS}g}")
