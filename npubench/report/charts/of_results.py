"""Which charts a result has, and the values in them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from npubench.errors import OptionError, Problem, did_you_mean
from npubench.machines.protocol import OVERLAP, LayerCost
from npubench.report.charts.model import (
    Chart,
    Field,
    PointChart,
    RooflineChart,
    StackChart,
    Value,
)
from npubench.report.run_view import part_name
from npubench.study.result import Accuracy, Comparison, RunResult, Sweep, Totals
from npubench.units import DIMENSIONS, UnitError, parse, parse_any

__all__ = ["KINDS", "Result", "chart_of", "charts_of", "choose_fields"]

Result = RunResult | Comparison | Sweep

KINDS: Mapping[str, str] = {
    "latency": "latency of each layer or run, by cause",
    "energy": "energy of each layer or run, by component",
    "roofline": "layers of a run under the roofs of its machine",
    "pareto": "points of a sweep or comparison, those that no other beats marked",
    "lines": "one figure of a sweep over one axis, a line for each value of another",
}
_MOST_BARS = 60

_FIGURES: tuple[tuple[str, str, str, str], ...] = (
    ("latency_s", "Latency", "s", "low"),
    ("energy_j", "Energy", "J", "low"),
    ("edp_js", "EDP", "J*s", "low"),
    ("throughput_ips", "Throughput", "1/s", "high"),
    ("tops_per_watt", "Efficiency", "TOPS/W", "high"),
    ("utilization", "Utilization", "", "high"),
    ("area_mm2", "Area", "mm2", "low"),
)


def charts_of(result: Result) -> tuple[Chart, ...]:
    """Every chart that says something of a result."""
    found: list[Chart] = []
    for kind in _kinds_of(result):
        try:
            found.append(chart_of(result, kind))
        except OptionError:
            continue  # a result without this chart: nothing off chip, no energies, one point
    return tuple(found)


def chart_of(result: Result, kind: str) -> Chart:
    """One chart of a result; ``kind`` is one of `KINDS`.

    Raises:
        OptionError: no such kind, or a result that has none of it.
    """
    kinds = _kinds_of(result)
    if kind not in KINDS:
        raise OptionError(Problem(f"no chart '{kind}'", hint=did_you_mean(kind, KINDS)))
    if kind not in kinds:
        raise OptionError(f"a {_noun(result)} has no chart '{kind}': expected {' or '.join(kinds)}")
    if isinstance(result, RunResult):
        return _roofline(result) if kind == "roofline" else _layers(result, kind)
    if isinstance(result, Comparison):
        return _runs_front(result) if kind == "pareto" else _runs(result, kind)
    return _points(result, joined=kind == "lines")


def choose_fields(chart: PointChart, x: str | None, y: str | None, color: str | None) -> PointChart:
    """The same points over other fields, each given by its key, or by ``edp`` for ``edp_js``.

    Raises:
        OptionError: a field that the points do not have.
    """
    chosen = {
        what: _find_field(chart, f"--{what}", name)
        for what, name in (("x", x), ("y", y), ("color", color))
        if name is not None
    }
    return replace(
        chart,
        x=chosen.get("x", chart.x),
        y=chosen.get("y", chart.y),
        color=chosen.get("color", chart.color),
    )


def _find_field(chart: PointChart, option: str, name: str) -> str:
    keys = [field.key for field in chart.fields]
    for key in keys:
        if name == key or key.rpartition("_")[0] == name:
            return key
    hint = did_you_mean(name, keys)
    raise OptionError(Problem(f"{option} '{name}': the points have no such field", hint=hint))


def _kinds_of(result: Result) -> tuple[str, ...]:
    if isinstance(result, RunResult):
        return ("latency", "energy", "roofline")
    if isinstance(result, Comparison):
        return ("latency", "energy", "pareto")
    return ("pareto", "lines")


def _noun(result: Result) -> str:
    if isinstance(result, RunResult):
        return "run"
    return "comparison" if isinstance(result, Comparison) else "sweep"


def _layers(result: RunResult, kind: str) -> StackChart:
    """A bar a layer; beyond `_MOST_BARS` the smallest are one bar, which says how many."""
    of_layer = _seconds if kind == "latency" else _joules
    bars = [(layer.name, of_layer(layer, result.clock_hz)) for layer in result.layers]
    bars = [(name, parts) for name, parts in bars if any(parts.values())]
    title = f"{result.workload.name} on {result.hardware.name}: {kind} of each layer"
    return _stack(title, kind, _few(bars))


def _few(bars: list[tuple[str, Mapping[str, float]]]) -> list[tuple[str, Mapping[str, float]]]:
    if len(bars) <= _MOST_BARS:
        return bars
    by_size = sorted(range(len(bars)), key=lambda i: -sum(bars[i][1].values()))
    largest = frozenset(by_size[: _MOST_BARS - 1])
    kept = [bar for i, bar in enumerate(bars) if i in largest]
    rest = [parts for i, (_, parts) in enumerate(bars) if i not in largest]
    together: dict[str, float] = {}
    for parts in rest:
        for name, value in parts.items():
            together[name] = together.get(name, 0.0) + value
    return [*kept, (f"{len(rest)} smaller layers", together)]


def _runs(result: Comparison, kind: str) -> StackChart:
    several = len({run.workload.name for run in result.runs}) > 1
    bars = []
    for run in result.runs:
        name = f"{run.workload.name}, {run.hardware.name}" if several else run.hardware.name
        causes = {c: n / run.clock_hz for c, n in run.totals.latency_by_cause.items()}
        bars.append((name, causes if kind == "latency" else run.totals.energy_by_component))
    return _stack(f"{kind} by {'cause' if kind == 'latency' else 'component'}", kind, bars)


def _stack(title: str, kind: str, bars: Sequence[tuple[str, Mapping[str, float]]]) -> StackChart:
    names = dict.fromkeys(name for _, parts in bars for name in parts)
    if not names:
        raise OptionError(f"no {kind} to draw: the spec states none")
    sums = {name: sum(parts.get(name, 0.0) for _, parts in bars) for name in names}
    order = sorted(names, key=lambda name: (name == OVERLAP, -sums[name], name))
    return StackChart(
        title=title,
        unit="s" if kind == "latency" else "J",
        items=tuple(name for name, _ in bars),
        parts=tuple(
            (part_name(name), tuple(parts.get(name, 0.0) for _, parts in bars)) for name in order
        ),
    )


def _seconds(layer: LayerCost, clock_hz: float) -> Mapping[str, float]:
    return {cause: cycles / clock_hz for cause, cycles in layer.latency_by_cause.items()}


def _joules(layer: LayerCost, _clock_hz: float) -> Mapping[str, float]:
    return layer.energy_by_component


def _roofline(result: RunResult) -> RooflineChart:
    batch, clock = result.options.batch, result.clock_hz
    busy = [layer for layer in result.layers if layer.macs and layer.cycles]
    seen = [layer for layer in busy if layer.off_chip_bytes]
    peaks: dict[str, float] = {}
    for layer in busy:
        if layer.utilization:
            peak = layer.macs * batch / (layer.utilization * layer.cycles) * clock
            name = str(layer.precision)
            peaks[name] = max(peak, peaks.get(name, 0.0))
    if not seen:
        raise OptionError("no layer with MACs moves anything off chip: there is no roofline")
    return RooflineChart(
        title=f"{result.workload.name} on {result.hardware.name}: roofline",
        peaks=tuple(sorted(peaks.items(), key=lambda item: item[1])),
        bandwidth=_off_chip_bandwidth(result),
        names=tuple(layer.name for layer in seen),
        intensity=tuple(layer.macs * batch / layer.off_chip_bytes for layer in seen),
        rate=tuple(layer.macs * batch / layer.cycles * clock for layer in seen),
        inside=len(busy) - len(seen),
    )


def _off_chip_bandwidth(result: RunResult) -> float | None:
    """Bytes a second of the outermost memory; constants list memories inside to outside."""
    found = [c.text for c in result.constants if c.path.endswith(".bandwidth")]
    try:
        return parse(found[-1], "bandwidth") / 8 if found else None
    except UnitError:
        return None


def _runs_front(result: Comparison) -> PointChart:
    if len(result.runs) < 2:
        raise OptionError("one run is no front")
    names: list[tuple[str, Sequence[Value]]] = [
        ("workload", [run.workload.name for run in result.runs]),
        ("hardware", [run.hardware.name for run in result.runs]),
    ]
    words = tuple(Field(key, key.capitalize(), "", tuple(values)) for key, values in names)
    figures = _figures([run.totals for run in result.runs], [r.accuracy for r in result.runs])
    color = "workload" if words[0].varies else "hardware"
    return PointChart("latency and energy", (*words, *figures), "latency_s", "energy_j", color)


def _points(result: Sweep, *, joined: bool) -> PointChart:
    done = [(p, p.totals) for p in result.points if p.totals is not None]
    if len(done) < 2:
        raise OptionError("fewer than two points have finished: nothing to draw")
    axes = [_axis(name, [point.axes[name] for point, _ in done]) for name, _ in result.axes]
    figures = _figures([totals for _, totals in done], [point.accuracy for point, _ in done])
    moving = [axis for axis in axes if axis.varies]
    numbers = [axis for axis in moving if axis.numeric]
    subject = _subject(result)
    if joined and not numbers:
        raise OptionError("no axis of numbers varies: there is no line to draw")
    fields = (*axes, *figures)
    if joined:
        across = numbers[0].key
        others = [axis for axis in moving if axis.key != across]
        if len(others) > 1:
            # One line for each combination: one that joined several would run to and fro.
            texts = [" ".join(point.axes[axis.key] for axis in others) for point, _ in done]
            others = [Field("series", ", ".join(axis.key for axis in others), "", tuple(texts))]
            fields = (*fields, *others)
        color = others[0].key if others else ""
        return PointChart(
            title=f"{subject}: EDP",
            fields=fields,
            x=across,
            y="edp_js",
            color=color,
            joined=True,
            axes=tuple(axis.key for axis in moving),
            along=across,
        )
    color = (
        min(moving, key=lambda axis: (axis.numeric, len(set(axis.values)))).key if moving else ""
    )
    x, y = _front_fields(result, fields)
    return PointChart(f"{subject}: {len(done)} points", fields, x, y, color, front=True)


def _subject(result: Sweep) -> str:
    """What ran on what: the first two of many."""
    pairs = list(dict.fromkeys(f"{p.workload} on {p.hardware}" for p in result.points if p.totals))
    more = f" and {len(pairs) - 2} more" if len(pairs) > 2 else ""
    return f"{' and '.join(pairs[:2])}{more}"


def _front_fields(result: Sweep, fields: Sequence[Field]) -> tuple[str, str]:
    """The first two figures of the front that was asked for, or latency and energy."""
    keys = {field.key for field in fields if field.better}
    asked = () if result.choice is None else result.choice.pareto
    known = [name for name in asked if name in keys]
    return (known[0], known[1]) if len(known) > 1 else ("latency_s", "energy_j")


def _axis(name: str, texts: Sequence[str]) -> Field:
    """An axis: numbers where every value is one, all of one dimension; else words."""
    try:
        measures = [parse_any(text) for text in texts]
    except UnitError:
        return Field(name, name, "", tuple(texts))
    dimensions = {measure.dimension for measure in measures}
    if len(dimensions) != 1:
        return Field(name, name, "", tuple(texts))
    unit = DIMENSIONS[dimensions.pop()].base
    return Field(name, name, unit, tuple(measure.value for measure in measures))


def _figures(totals: Sequence[Totals], accuracies: Sequence[Accuracy | None]) -> Iterator[Field]:
    for key, title, unit, better in _FIGURES:
        values: tuple[Value, ...] = tuple(getattr(one, key) for one in totals)
        if any(value is not None for value in values):
            yield Field(key, title, unit, values, better)
    metrics = {one.metric for one in accuracies if one is not None and one.value is not None}
    for metric in sorted(str(metric) for metric in metrics):
        values = tuple(
            one.value if one is not None and one.metric == metric else None for one in accuracies
        )
        better = "low" if metric == "perplexity" else "high"
        yield Field(metric, metric.capitalize(), "%" if better == "high" else "", values, better)
