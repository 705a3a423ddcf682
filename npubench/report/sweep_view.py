"""What `npubench sweep` shows: one row a point, and why the failed ones failed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from npubench.report.accuracy_view import (
    ACCURACY_KEYS,
    accuracy_cells,
    accuracy_columns,
    accuracy_record,
)
from npubench.report.columns import TOTALS, figure_columns
from npubench.report.table import Cell, Column, Table, View, label
from npubench.report.text import plural
from npubench.study.result import Sweep, SweepPoint

__all__ = ["plan_view", "sweep_view"]


def sweep_view(sweep: Sweep) -> View:
    """A grid of points, in the order of its axes; an interrupted sweep has fewer than its grid."""
    axes = [name for name, _ in sweep.axes]
    failed = [point for point in sweep.points if point.totals is None]
    tables = [_points_table(axes, sweep.points)]
    if failed:
        tables.append(_failures_table(axes, failed))
    if not sweep.points:
        return View("sweep: no point finished", (), _record(axes, ()))
    pairs = list(dict.fromkeys((p.workload, p.hardware) for p in sweep.points))
    subject = " and ".join(f"{workload} on {hardware}" for workload, hardware in pairs[:2])
    more = f" and {len(pairs) - 2} more" if len(pairs) > 2 else ""
    return View(
        title=(
            f"sweep: {subject}{more}: {plural(len(sweep.points), 'point')}"
            f"{f', {len(failed)} failed' if failed else ''}"
        ),
        tables=tuple(tables),
        record=_record(axes, sweep.points),
        findings=_best(sweep.points),
        notes=(f"npubench {sweep.stamp.npubench}.",),
    )


def plan_view(workload: str, hardware: str, points: Sequence[Mapping[str, str]]) -> View:
    """The points that a sweep would run."""
    axes = list(points[0])
    table = Table(
        "",
        tuple(Column(axis, axis) for axis in axes),
        tuple(tuple(point[axis] for axis in axes) for point in points),
    )
    title = f"sweep: {workload} on {hardware}: {plural(len(points), 'point')}, none run"
    return View(title, (table,), table)


def _points_table(axes: list[str], points: tuple[SweepPoint, ...]) -> Table:
    figures = figure_columns([p.totals for p in points if p.totals is not None])
    accuracy = accuracy_columns([p.accuracy for p in points if p.accuracy is not None])
    several = len({(p.workload, p.hardware) for p in points}) > 1
    subject = (
        (label("workload", "Workload", "shorten"), label("hardware", "Accelerator", "shorten"))
        if several
        else ()
    )
    columns = (
        *subject,
        *(Column(axis, axis, overflow="shorten") for axis in axes),
        *figures,
        *accuracy,
        label("status", "Status"),
    )
    rows = tuple(
        (
            *((p.workload, p.hardware) if several else ()),
            *(p.axes[axis] for axis in axes),
            *(None if p.totals is None else getattr(p.totals, c.key) for c in figures),
            *accuracy_cells(p.accuracy, accuracy),
            p.status,
        )
        for p in points
    )
    return Table("", columns, rows)


def _failures_table(axes: list[str], failed: list[SweepPoint]) -> Table:
    columns = (
        *(Column(axis, axis, overflow="shorten") for axis in axes),
        label("error", "Failed because", "wrap"),
    )
    rows = tuple((*(p.axes[axis] for axis in axes), _one_line(p.error)) for p in failed)
    return Table("", columns, rows)


def _one_line(error: str | None) -> str:
    return "; ".join(line.strip() for line in (error or "no reason given").splitlines())


def _record(axes: list[str], points: tuple[SweepPoint, ...]) -> Table:
    keys = (*axes, "workload", "hardware", "status", *TOTALS, *ACCURACY_KEYS, "error")
    rows: list[tuple[Cell, ...]] = [
        (
            *(p.axes[axis] for axis in axes),
            *(p.workload, p.hardware, p.status),
            *(None if p.totals is None else getattr(p.totals, key) for key in TOTALS),
            *accuracy_record(p.accuracy),
            None if p.error is None else _one_line(p.error),
        )
        for p in points
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
