"""Charts to PNG and SVG files, by matplotlib (extra ``plot``)."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

from npubench.errors import OptionError, Problem
from npubench.report.charts.model import (
    Chart,
    Field,
    PointChart,
    RooflineChart,
    StackChart,
    Value,
)
from npubench.units import engineering, scaled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["PICTURE_SUFFIXES", "new_figure", "picture", "save_figure"]

PICTURE_SUFFIXES = (".png", ".svg")
# Okabe and Ito: told apart by people who do not tell red from green.
_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#F0E442", "#000000")
_HATCHES = ("", "//", "..", "xx", "\\\\")
_MARKERS = "osD^v<>P"
_DASHES = ("-", "--", ":")
_MOST_NAMED = 12
_NO_PREFIX = frozenset({"", "%", "1/s", "TOPS/W"})


def picture(chart: Chart, form: str) -> bytes:
    """A chart as the bytes of a ``png`` or ``svg`` file; the same chart gives the same bytes.

    Raises:
        OptionError: matplotlib is not installed.
    """
    height = 4.5
    if isinstance(chart, StackChart):
        height = max(3.0, 1.6 + 0.2 * len(chart.items))
    figure, axes = new_figure(8.0, height)
    if isinstance(chart, StackChart):
        _draw_stack(axes, chart)
    elif isinstance(chart, RooflineChart):
        _draw_roofline(axes, chart)
    else:
        _draw_points(axes, chart)
    axes.set_title(chart.title, loc="left", fontsize=10)
    return save_figure(figure, form)


def new_figure(width_in: float, height_in: float) -> tuple[Figure, Axes]:
    """An empty figure in the house style and its one pair of axes.

    Raises:
        OptionError: matplotlib is not installed.
    """
    try:
        from matplotlib import rcParams
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise OptionError(
            Problem(
                "pictures are drawn by matplotlib, which is not installed",
                hint="pip install 'npubench[plot]'",
            )
        ) from None
    # Ids of an SVG are made from this instead of at random: same chart, same bytes.
    rcParams["svg.hashsalt"] = "npubench"
    figure = Figure(figsize=(width_in, height_in), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_prop_cycle(color=_COLORS)
    axes.tick_params(labelsize=8)
    return figure, axes


def save_figure(figure: Figure, form: str) -> bytes:
    """The bytes of a figure as ``png`` or ``svg``, without dates."""
    out = io.BytesIO()
    metadata: dict[str, Any] = {"Date": None} if form == "svg" else {"Software": None}
    figure.savefig(out, format=form, dpi=150, metadata=metadata)
    return out.getvalue()


def _draw_stack(axes: Axes, chart: StackChart) -> None:
    sums = [sum(max(values[i], 0.0) for _, values in chart.parts) for i in range(len(chart.items))]
    prefix = _prefix(max(sums, default=0.0), chart.unit)
    places = range(len(chart.items))
    right, left = [0.0] * len(places), [0.0] * len(places)
    for index, (name, values) in enumerate(chart.parts):
        shown = [scaled(value, chart.unit, prefix) for value in values]
        starts = [right[i] if value >= 0 else left[i] for i, value in enumerate(shown)]
        color = _COLORS[index % len(_COLORS)]
        hatch = _HATCHES[index // len(_COLORS) % len(_HATCHES)]
        axes.barh(places, shown, left=starts, label=name, color=color, hatch=hatch, height=0.8)
        for i, value in enumerate(shown):
            if value >= 0:
                right[i] += value
            else:
                left[i] += value
    axes.set_yticks(places, [_short(name) for name in chart.items], fontsize=7)
    axes.set_ylim(len(places) - 0.5, -0.5)
    axes.set_xlabel(f"[{prefix}{chart.unit}]")
    axes.axvline(0.0, color="0.3", linewidth=0.6)
    _legend(axes)


def _legend(axes: Axes) -> None:
    """Below the axes, where it hides nothing."""
    figure = axes.get_figure(root=True)
    if figure is not None:
        figure.legend(fontsize=7, frameon=False, loc="outside lower left", ncols=5)


def _draw_roofline(axes: Axes, chart: RooflineChart) -> None:
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.plot(chart.intensity, chart.rate, "o", markersize=4, color=_COLORS[0], alpha=0.7)
    low, high = min(chart.intensity) / 2, max(chart.intensity) * 2
    for index, (name, peak) in enumerate(chart.peaks):
        color = _COLORS[(index + 1) % len(_COLORS)]
        ridge = low if chart.bandwidth is None else max(low, peak / chart.bandwidth)
        top = max(high, ridge * 2)
        axes.plot([ridge, top], [peak, peak], color=color, linewidth=1.5)
        label = f"{name}: {engineering(peak, 'MAC/s')}"
        axes.annotate(label, (top, peak), ha="right", va="bottom", fontsize=8, color=color)
    if chart.bandwidth is not None:
        end = max((peak for _, peak in chart.peaks), default=max(chart.rate)) / chart.bandwidth
        start = min(low, end / 2)
        axes.plot([start, end], [start * chart.bandwidth, end * chart.bandwidth], color="0.3")
        label = f"off chip: {engineering(chart.bandwidth, 'B/s')} "
        place = (start * end) ** 0.5
        axes.annotate(label, (place, place * chart.bandwidth), fontsize=8, va="bottom", ha="right")
    axes.set_xlabel("MACs for each byte off chip")
    if chart.inside:
        axes.set_xlabel(f"MACs for each byte off chip ({chart.inside} layers move none)")
    axes.set_ylabel("MAC/s")
    axes.grid(visible=True, which="major", linewidth=0.3)


def _draw_points(axes: Axes, chart: PointChart) -> None:
    x, y = chart.field(chart.x), chart.field(chart.y)
    xs, x_label = _scaled(x)
    ys, y_label = _scaled(y)
    for index, (name, members) in enumerate(_series(chart)):
        known = [i for i in members if xs[i] is not None and ys[i] is not None]
        # Colours come round again; with another marker and another dash.
        turn, place = divmod(index, len(_COLORS))
        for number, line in enumerate(chart.lines(known) if chart.joined else [known]):
            axes.plot(
                [xs[i] for i in line],
                [ys[i] for i in line],
                marker=_MARKERS[(index + turn) % len(_MARKERS)],
                markersize=4,
                linestyle=_DASHES[turn % len(_DASHES)] if chart.joined else "none",
                linewidth=1.2,
                color=_COLORS[place],
                label=name if number == 0 else None,
            )
    on_front = chart.front_points()
    if on_front:
        axes.plot(
            [xs[i] for i in on_front],
            [ys[i] for i in on_front],
            color="0.3",
            linewidth=0.8,
            linestyle="--",
            label=f"not dominated: {len(on_front)} of {len(x.values)}",
        )
    for field, set_scale in ((x, axes.set_xscale), (y, axes.set_yscale)):
        if _spans_decades(field):
            set_scale("log")
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    axes.grid(visible=True, linewidth=0.3)
    if axes.get_legend_handles_labels()[0] and (chart.color or on_front):
        _legend(axes)


def _series(chart: PointChart) -> list[tuple[str, list[int]]]:
    """Points by the value of the colour's field; a field of many values is one series."""
    count = len(chart.field(chart.x).values)
    if not chart.color:
        return [("points", list(range(count)))]
    field = chart.field(chart.color)
    groups: dict[str, list[int]] = {}
    for index, value in enumerate(field.values):
        groups.setdefault(_named(value, field.unit), []).append(index)
    if len(groups) > _MOST_NAMED:
        return [(f"{len(groups)} values of {field.title}", list(range(count)))]
    return [(f"{field.title} {name}", members) for name, members in groups.items()]


def _named(value: Value, unit: str) -> str:
    if value is None:
        return "not stated"
    if isinstance(value, str):
        return value
    return engineering(value, unit) if unit else f"{value:g}"


def _scaled(field: Field) -> tuple[list[Any], str]:
    """The values under one SI prefix, and the axis' label."""
    if not field.numeric or field.unit in _NO_PREFIX:
        unit = f" [{field.unit}]" if field.unit else ""
        return list(field.values), f"{field.title}{unit}"
    numbers = [value for value in field.values if isinstance(value, (int, float))]
    prefix = _prefix(max(numbers, key=abs, default=0.0), field.unit)
    shown = [
        scaled(value, field.unit, prefix) if isinstance(value, (int, float)) else None
        for value in field.values
    ]
    return shown, f"{field.title} [{prefix}{field.unit}]"


def _prefix(value: float, unit: str) -> str:
    return engineering(value, unit).partition(" ")[2].removesuffix(unit)


def _spans_decades(field: Field) -> bool:
    if not field.numeric:
        return False
    numbers = [value for value in field.values if isinstance(value, (int, float))]
    return bool(numbers) and min(numbers) > 0 and max(numbers) / min(numbers) > 30


def _short(name: str, most: int = 42) -> str:
    return name if len(name) <= most else f"...{name[-most + 3 :]}"
