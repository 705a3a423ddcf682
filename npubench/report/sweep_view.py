"""What `npubench sweep` shows: one row a point, and why the failed ones failed."""

from __future__ import annotations

from npubench.report.accuracy_view import (
    ACCURACY_KEYS,
    accuracy_cells,
    accuracy_columns,
    accuracy_record,
)
from npubench.report.columns import TOTALS, figure_columns
from npubench.report.table import Cell, Column, Table, View, label
from npubench.report.text import plural
from npubench.study.choose import figure
from npubench.study.grid import SweepPlan
from npubench.study.result import Sweep, SweepChoice, SweepPoint
from npubench.units import engineering

__all__ = ["MOST_SHOWN", "plan_view", "store_view", "sweep_view"]

MOST_SHOWN = 60


def sweep_view(sweep: Sweep, most_shown: int = MOST_SHOWN) -> View:
    """A grid of points, in the order of its axes; an interrupted sweep has fewer than its grid.

    Tables for people have ``most_shown`` points, those that were chosen among them.
    """
    axes = [name for name, _ in sweep.axes]
    if not sweep.points:
        return View("sweep: no point finished", (), _record(axes, sweep))
    failed = [point for point in sweep.points if point.totals is None]
    pairs = list(dict.fromkeys((p.workload, p.hardware) for p in sweep.points))
    subject = " and ".join(f"{workload} on {hardware}" for workload, hardware in pairs[:2])
    more = f" and {len(pairs) - 2} more" if len(pairs) > 2 else ""
    return View(
        title=(
            f"sweep: {subject}{more}: {plural(len(sweep.points), 'point')}"
            f"{f', {len(failed)} failed' if failed else ''}"
        ),
        tables=_tables(axes, sweep, failed, most_shown),
        record=_record(axes, sweep),
        findings=(*_best(sweep.points), *_chosen(sweep)),
        notes=(f"npubench {sweep.stamp.npubench}.",),
    )


def store_view(found: Sweep, name: str) -> View:
    """Points of a store, in the order asked for."""
    axes = [axis for axis, _ in found.axes]
    failed = [point for point in found.points if point.totals is None]
    return View(
        title=f"{name}: {plural(len(found.points), 'point')}",
        tables=_tables(axes, found, failed, MOST_SHOWN) if found.points else (),
        record=_record(axes, found),
    )


def plan_view(plan: SweepPlan, estimate_s: float) -> View:
    """The points that a sweep would run, and how long that would take."""
    columns = tuple(Column(axis.name, axis.name) for axis in plan.axes)
    record = Table("", columns, plan.points)
    left = len(plan.points) - MOST_SHOWN
    caption = f"The first {MOST_SHOWN} points; {left:,} more follow." if left > 0 else ""
    shown = Table("", columns, plan.points[:MOST_SHOWN], caption)
    subject = " on ".join(name for name in (plan.request.workload, plan.request.hardware) if name)
    title = f"sweep: {f'{subject}: ' if subject else ''}{plural(len(plan), 'point')}, none run"
    notes = (f"About {engineering(estimate_s, 's', 2)} in one process, by two of the points.",)
    return View(title, (shown,), record, notes=notes)


def _tables(
    axes: list[str], sweep: Sweep, failed: list[SweepPoint], most: int
) -> tuple[Table, ...]:
    points = _points_table(axes, sweep, most)
    return (points, _failures_table(axes, failed)) if failed else (points,)


def _marks(choice: SweepChoice | None, count: int) -> list[str]:
    """What was chosen of each point: the best, one of the front, both or neither."""
    marks = [""] * count
    if choice is not None:
        for index in choice.front:
            marks[index] = "front"
        if choice.best is not None:
            marks[choice.best] = "best" if not marks[choice.best] else "best, front"
    return marks


def _shown_first(sweep: Sweep, most: int) -> tuple[list[int], str]:
    """Which points a table for people has room for: what was chosen, then the first ones."""
    count = len(sweep.points)
    if count <= most:
        return list(range(count)), ""
    marks = _marks(sweep.choice, count)
    order = sorted(range(count), key=lambda i: (not marks[i], i))[:most]
    left = count - most
    return sorted(order), f"{left:,} more points are in JSON, CSV and --export."


def _chosen(sweep: Sweep) -> tuple[str, ...]:
    """The answer to what was asked, in words."""
    choice = sweep.choice
    if choice is None:
        return ()
    found = []
    under = f" subject to {' and '.join(choice.subject_to)}" if choice.subject_to else ""
    if choice.minimize is not None:
        if choice.best is None:
            found.append(f"No point with {choice.minimize}{under}.")
        else:
            point = sweep.points[choice.best]
            where = ", ".join(f"{name}={value}" for name, value in point.axes.items())
            value = figure(point, choice.minimize)
            found.append(f"Best {choice.minimize}{under}: {value:.4g} at {where}.")
    elif choice.subject_to:
        found.append(f"{plural(choice.allowed, 'point')}{under}.")
    if choice.pareto:
        names = ", ".join(choice.pareto)
        found.append(f"Front of {names}{under}: {plural(len(choice.front), 'point')}.")
    return tuple(found)


def _points_table(axes: list[str], sweep: Sweep, most: int) -> Table:
    indices, caption = _shown_first(sweep, most)
    points = [sweep.points[index] for index in indices]
    figures = figure_columns([p.totals for p in points if p.totals is not None])
    accuracy = accuracy_columns([p.accuracy for p in points if p.accuracy is not None])
    several = len({(p.workload, p.hardware) for p in sweep.points}) > 1
    # Values of one accelerator with other settings would look the same by its name.
    asked = {p.axes.get("hw", p.axes.get("hardware", "")) for p in sweep.points}
    settings = len(asked) > len({p.hardware for p in sweep.points})
    # An axis that names what the two columns name is not shown twice.
    shown_axes = [axis for axis in axes if not (several and axis in ("workload", "hw", "hardware"))]
    subject = (
        (label("workload", "Workload", "shorten"), label("hardware", "Accelerator", "shorten"))
        if several
        else ()
    )
    marks = _marks(sweep.choice, len(sweep.points))
    chosen = (label("chosen", "Chosen"),) if any(marks) else ()
    columns = (
        *subject,
        *(Column(axis, axis, overflow="shorten") for axis in shown_axes),
        *figures,
        *accuracy,
        *chosen,
        label("status", "Status"),
    )
    rows = tuple(
        (
            *((p.workload, _accelerator(p, settings=settings)) if several else ()),
            *(p.axes.get(axis) for axis in shown_axes),
            *(None if p.totals is None else getattr(p.totals, c.key) for c in figures),
            *accuracy_cells(p.accuracy, accuracy),
            *((marks[index],) if chosen else ()),
            p.status,
        )
        for index, p in zip(indices, points, strict=True)
    )
    return Table("", columns, rows, caption)


def _accelerator(point: SweepPoint, *, settings: bool) -> str:
    asked = point.axes.get("hw", point.axes.get("hardware"))
    return asked if settings and asked is not None else point.hardware


def _failures_table(axes: list[str], failed: list[SweepPoint]) -> Table:
    columns = (
        *(Column(axis, axis, overflow="shorten") for axis in axes),
        label("error", "Failed because", "wrap"),
    )
    rows = tuple(
        (*(p.axes.get(axis) for axis in axes), _one_line(p.error)) for p in failed[:MOST_SHOWN]
    )
    return Table("", columns, rows)


def _one_line(error: str | None) -> str:
    return "; ".join(line.strip() for line in (error or "no reason given").splitlines())


def _record(axes: list[str], sweep: Sweep) -> Table:
    chosen = ("chosen",) if sweep.choice is not None else ()
    own = ("workload", "hardware")
    keys = (
        *(axis for axis in axes if axis not in own),
        *own,
        "status",
        *TOTALS,
        *ACCURACY_KEYS,
        *chosen,
        "error",
    )
    marks = _marks(sweep.choice, len(sweep.points))
    rows: list[tuple[Cell, ...]] = [
        (
            *(p.axes.get(axis) for axis in axes if axis not in own),
            *(p.workload, p.hardware, p.status),
            *(None if p.totals is None else getattr(p.totals, key) for key in TOTALS),
            *accuracy_record(p.accuracy),
            *((mark or None,) if chosen else ()),
            None if p.error is None else _one_line(p.error),
        )
        for p, mark in zip(sweep.points, marks, strict=True)
    ]
    return Table("", tuple(Column(key, key) for key in keys), tuple(rows))


def _best(points: tuple[SweepPoint, ...]) -> tuple[str, ...]:
    """The points of lowest latency, energy and EDP, when there is something to choose from."""
    done = [(p, p.totals) for p in points if p.totals is not None]
    if len(done) < 2:
        return ()
    found = []
    for title, key in (("latency", "latency_s"), ("energy", "energy_j"), ("EDP", "edp_js")):
        lowest = min(getattr(totals, key) for _, totals in done)
        best = [point for point, totals in done if getattr(totals, key) == lowest]
        if len(best) < len(done):
            where = ", ".join(f"{name}={value}" for name, value in best[0].axes.items())
            ties = f" and {plural(len(best) - 1, 'more point')}" if len(best) > 1 else ""
            found.append(f"{title} at {where}{ties}")
    return (f"Lowest {'; lowest '.join(found)}.",) if found else ()
