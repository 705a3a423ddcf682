"""Pictures of systems under load: latencies, load, who ran where, and who waited."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

import numpy as np

from npubench.errors import OptionError, Problem, did_you_mean
from npubench.report.charts.picture import new_figure, save_figure
from npubench.serving.timeline import waiting, window
from npubench.study.serve import Served, Serving
from npubench.units import engineering, scaled

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["SERVE_CHARTS", "check_chart", "serve_picture"]

SERVE_CHARTS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "cdf": "share of requests that took longer than a time, by system",
        "load": "p99 latency against the offered load, by system",
        "gantt": "requests by NPU and mode",
        "queue": "requests that wait, over time",
    }
)
_COLORS: Final = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_MARKERS: Final = "osD^v<>"
_LINES: Final = ("-", "--", "-.", ":")
_MOST_POINTS: Final = 4000
_GANTT_REQUESTS: Final = 60
_QUEUE_REQUESTS: Final = 1000


def check_chart(name: str, *, loads: int, closed: bool) -> None:
    """Refuse a chart that the run will not have.

    Raises:
        OptionError: no such chart, or one that needs other loads.
    """
    if name not in SERVE_CHARTS:
        hint = did_you_mean(name, SERVE_CHARTS)
        raise OptionError(Problem(f"--plot: no chart '{name}'", hint=hint))
    if name == "load" and (closed or loads < 2):
        raise OptionError(
            Problem(
                "--plot load: one load makes no line",
                hint="give several, such as --load 0.2:0.9:0.1",
            )
        )


def serve_picture(serving: Serving, chart: str, form: str) -> bytes:
    """One chart as the bytes of a ``png`` or ``svg`` file; same answer, same bytes.

    Gantt shows the system with the most NPUs and modes in use, the others every system.

    Args:
        serving: with records kept, but for ``load``.
        chart: a key of `SERVE_CHARTS`.
        form: ``png`` or ``svg``.

    Raises:
        OptionError: matplotlib is not installed.
    """
    figure, axes = new_figure(8.0, 4.5)
    _DRAWERS[chart](axes, serving)
    axes.set_title(
        f"{serving.prepared.scenario.name}: {SERVE_CHARTS[chart]}", loc="left", fontsize=9
    )
    return save_figure(figure, form)


def _label(one: Served, serving: Serving) -> str:
    text = one.system.name
    if (
        sum(len(system.policies) for system in serving.prepared.systems)
        > len(serving.prepared.systems)
        or len(serving.prepared.systems) == 1
    ):
        text = f"{text}, {one.policy.name}"
    return text


def _recorded(serving: Serving) -> list[Served]:
    """A result with records for each system and policy.

    All at one load, the highest that every one of them carries, or else the highest that the
    first does, or else the last; after a search each at its own.
    """
    kept = [
        one for one in serving.served if one.result is not None and one.result.records is not None
    ]
    if serving.prepared.find_load:
        return kept
    at: dict[float | None, list[Served]] = {}
    for one in kept:
        assert one.result is not None
        at.setdefault(one.result.load_rps, []).append(one)
    most = max((len(found) for found in at.values()), default=0)
    whole = [found for found in at.values() if len(found) == most]
    steady = [found for found in whole if not any(_saturated(one) for one in found)]
    first = [found for found in whole if not _saturated(found[0])]
    return next((group[-1] for group in (steady, first, whole) if group), [])


def _saturated(one: Served) -> bool:
    return one.result is not None and one.result.saturated


def _prefix(values: Sequence[float]) -> str:
    top = max((value for value in values if value > 0), default=0.0)
    return engineering(top, "s").partition(" ")[2].removesuffix("s") if top else ""


def _draw_cdf(axes: Axes, serving: Serving) -> None:
    """Share of requests above each latency, on a logarithmic axis, where a tail can be seen."""
    shown = _recorded(serving)
    latencies = [_latencies_s(one) for one in shown]
    prefix = _prefix([float(np.quantile(found, 0.99)) for found in latencies])
    for index, (one, found) in enumerate(zip(shown, latencies, strict=True)):
        above = 1 - np.arange(len(found)) / len(found)
        places = np.unique(
            np.concatenate(
                (
                    np.linspace(0, len(found) - 1, _MOST_POINTS).astype(int),
                    len(found) - np.unique(np.geomspace(1, len(found), 400).astype(int)),
                )
            )
        )
        load = (
            ""
            if one.result is None or one.result.load_rps is None
            else (f" at {one.result.load_rps:.4g}/s")
        )
        axes.step(
            [scaled(float(value), "s", prefix) for value in found[places]],
            above[places],
            where="post",
            label=f"{_label(one, serving)}{load}",
            color=_COLORS[index % len(_COLORS)],
            linestyle=_LINES[index % len(_LINES)],
        )
    axes.axhline(1 - serving.prepared.scenario.percentile, color="0.4", linewidth=0.7)
    axes.set_yscale("log")
    axes.set_ylim(top=1.15)
    axes.set_xlim(left=0)
    _show_bounds(axes, serving, prefix)
    axes.set_xlabel(f"Latency [{prefix}s]")
    axes.set_ylabel("Share of requests that took longer")
    axes.legend(fontsize=8, frameon=False)


def _show_bounds(axes: Axes, serving: Serving, prefix: str) -> None:
    bounds = {n.slo_s for n in serving.prepared.scenario.networks if n.slo_s is not None}
    if len(bounds) == 1:
        bound = scaled(bounds.pop(), "s", prefix)
        axes.axvline(bound, color="0.4", linewidth=0.7, linestyle=":")
        axes.annotate("SLO", (bound, 1.0), fontsize=8, ha="right", va="top", rotation=90)


def _latencies_s(one: Served) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    assert one.result is not None
    assert one.result.records is not None
    records = one.result.records
    return np.asarray(np.sort((records["finish_ps"] - records["arrival_ps"]) / 1e12))


def _draw_load(axes: Axes, serving: Serving) -> None:
    """One line a system and policy; saturated points are crosses on the upper edge."""
    series: dict[str, list[Served]] = {}
    for one in serving.served:
        series.setdefault(_label(one, serving), []).append(one)
    values = [r.latency_s.p99.value or 0.0 for r in serving.results]
    prefix = _prefix(values)
    top = max(values, default=1.0) * 1.6 or 1.0
    for index, (name, points) in enumerate(series.items()):
        color = _COLORS[index % len(_COLORS)]
        found = [
            (r.load_rps or 0.0, r.latency_s.p99)
            for one in points
            if (r := one.result) is not None and not r.saturated
        ]
        steady = [(rate, e.value, e.low, e.high) for rate, e in found if e.value is not None]
        axes.plot(
            [rate for rate, *_ in steady],
            [scaled(value, "s", prefix) for _, value, _, _ in steady],
            color=color,
            marker=_MARKERS[index % len(_MARKERS)],
            markersize=4,
            linestyle=_LINES[index % len(_LINES)],
            label=name,
        )
        bars = [(rate, low, high) for rate, _, low, high in steady if low and high]
        axes.vlines(
            [rate for rate, *_ in bars],
            [scaled(low, "s", prefix) for _, low, _ in bars],
            [scaled(high, "s", prefix) for _, _, high in bars],
            color=color,
            linewidth=1,
        )
        full = [
            r.load_rps or 0.0 for one in points if (r := one.result) is not None and r.saturated
        ]
        axes.plot(full, [scaled(top, "s", prefix)] * len(full), "x", color=color)
    _plain_log_scale(axes)
    axes.set_xlim(left=0)
    bounds = {n.slo_s for n in serving.prepared.scenario.networks if n.slo_s is not None}
    if len(bounds) == 1:
        bound = scaled(bounds.pop(), "s", prefix)
        axes.axhline(bound, color="0.4", linewidth=0.7, linestyle=":")
        axes.annotate("SLO", (0, bound), fontsize=8, va="bottom")
    axes.set_xlabel("Offered load [requests/s]   (x: saturated)")
    axes.set_ylabel(f"p99 latency [{prefix}s]")
    axes.legend(fontsize=8, frameon=False)


def _plain_log_scale(axes: Axes) -> None:
    """A logarithmic axis with plain numbers at 1, 2 and 5 of each decade."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())


def _busiest(serving: Serving) -> tuple[Served, int]:
    """Of the recorded results the one that has most to show, and when its queue is longest, in ps.

    Most to show: requests in the most modes and places, then the longest queue.
    """
    best: tuple[tuple[int, int, int], int, Served] | None = None
    for one in _recorded(serving):
        assert one.result is not None
        assert one.result.records is not None
        times, counts = waiting(one.result.records)
        peak = int(np.argmax(counts))
        records = one.result.records
        places = np.unique(records[["npu", "mode"]])
        npus = one.system.table.npus
        modes = {npus[int(npu)].modes[int(mode)] for npu, mode in places}
        rank = (len(modes), len(places), int(counts[peak]))
        if best is None or rank > best[0]:
            best = (rank, int(times[peak]), one)
    if best is None:
        raise OptionError("--plot: no request was served, there is nothing to draw")
    return best[2], best[1]


def _draw_gantt(axes: Axes, serving: Serving) -> None:
    """A bar per request, a row per NPU, around the moment of the longest queue."""
    one, peak_ps = _busiest(serving)
    assert one.result is not None
    assert one.result.records is not None
    records = one.result.records
    order = np.argsort(records["start_ps"], kind="stable")
    middle = int(np.searchsorted(records["start_ps"][order], peak_ps))
    first = max(0, middle - _GANTT_REQUESTS // 2)
    chosen = order[first : first + _GANTT_REQUESTS]
    begin, end = int(records["start_ps"][chosen].min()), int(records["finish_ps"][chosen].max())
    shown = window(records, begin, end)
    prefix = _prefix([(end - begin) / 1e12])
    npus = one.system.table.npus
    modes = list(dict.fromkeys(mode for npu in npus for mode in npu.modes))
    names = [network.network for network in one.result.networks]
    seen: set[str] = set()
    for row in shown:
        npu = int(row["npu"])
        mode = npus[npu].modes[int(row["mode"])]
        start = max(int(row["start_ps"]), begin)
        left, width = (start - begin) / 1e12, (min(int(row["finish_ps"]), end) - start) / 1e12
        axes.barh(
            npu,
            scaled(width, "s", prefix),
            left=scaled(left, "s", prefix),
            height=0.7,
            color=_COLORS[modes.index(mode) % len(_COLORS)],
            edgecolor="black" if row["met_slo"] else "red",
            linewidth=0.5 if row["met_slo"] else 1.4,
            label=mode if mode not in seen else None,
        )
        seen.add(mode)
        if width * 35 > (end - begin) / 1e12 and len(names) > 1:
            centre = (scaled(left + width / 2, "s", prefix), npu)
            text = names[int(row["network"])]
            axes.annotate(
                text, centre, fontsize=6, ha="center", va="center", rotation=90, color="white"
            )
    axes.set_yticks(range(len(npus)), [npu.name for npu in npus], fontsize=8)
    axes.set_ylim(len(npus) - 0.5, -0.5)
    axes.set_xlabel(
        f"Time from {engineering(begin / 1e12, 's')} [{prefix}s], {_label(one, serving)} "
        "(red edge: beyond its bound)"
    )
    axes.legend(
        fontsize=8, frameon=False, ncols=len(modes), loc="lower right", bbox_to_anchor=(1, 1)
    )


def _draw_queue(axes: Axes, serving: Serving) -> None:
    """Every system over the same stretch, around the longest queue."""
    _, peak_ps = _busiest(serving)
    shown = _recorded(serving)
    arrivals = min(
        (
            one.result.records["arrival_ps"]
            for one in shown
            if one.result and one.result.records is not None
        ),
        key=len,
    )
    middle = int(np.searchsorted(arrivals, peak_ps))
    first = max(0, min(middle - _QUEUE_REQUESTS // 2, len(arrivals) - _QUEUE_REQUESTS))
    last = min(first + _QUEUE_REQUESTS, len(arrivals)) - 1
    begin, end = int(arrivals[first]), int(max(arrivals[last], peak_ps))
    prefix = _prefix([(end - begin) / 1e12])
    for index, one in enumerate(shown):
        assert one.result is not None
        assert one.result.records is not None
        times, counts = waiting(one.result.records)
        inside = (times >= begin) & (times <= end)
        axes.step(
            [scaled((int(time) - begin) / 1e12, "s", prefix) for time in times[inside]],
            counts[inside],
            where="post",
            color=_COLORS[index % len(_COLORS)],
            linestyle=_LINES[index % len(_LINES)],
            linewidth=0.9,
            label=_label(one, serving),
        )
    axes.set_ylim(bottom=0)
    axes.set_xlabel(f"Time from {engineering(begin / 1e12, 's')} [{prefix}s]")
    axes.set_ylabel("Requests that wait")
    axes.legend(fontsize=8, frameon=False)


_DRAWERS: Final[Mapping[str, Callable[[Axes, Serving], None]]] = MappingProxyType(
    {"cdf": _draw_cdf, "load": _draw_load, "gantt": _draw_gantt, "queue": _draw_queue}
)
