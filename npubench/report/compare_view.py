"""What `npubench compare` shows: figures side by side, ratios to the baseline, winners in words."""

from __future__ import annotations

from collections.abc import Iterable

from npubench.report.accuracy_view import (
    ACCURACY_KEYS,
    accuracy_cells,
    accuracy_columns,
    accuracy_record,
)
from npubench.report.columns import RATIOS, TOTALS, figure_columns
from npubench.report.placement_view import placements_note
from npubench.report.run_view import constant_notes
from npubench.report.table import Cell, Column, Table, View, label, number, quantity, ratio
from npubench.report.text import plural
from npubench.study.result import Comparison, Ratio, RunResult

__all__ = ["compare_view"]

_TIE = 0.0005
_NAMED = 2


def compare_view(comparison: Comparison) -> View:
    """Workloads by machines, in the order asked."""
    names = list(dict.fromkeys(run.workload.name for run in comparison.runs))
    batches = sorted({run.options.batch for run in comparison.runs})
    batch = "/".join(map(str, batches))
    machines = len({run.hardware.name for run in comparison.runs})
    return View(
        title=(
            f"compare: {plural(len(names), 'workload')} on {plural(machines, 'accelerator')}, "
            f"batch {batch}"
        ),
        tables=(
            _machines(comparison),
            _figures(comparison),
            _ratios(comparison),
            *_normalised(comparison),
        ),
        record=_record(comparison),
        findings=_winners(comparison, names),
        notes=_notes(comparison),
    )


def _once(values: Iterable[str]) -> list[str]:
    """Each value where it first appears in a run of equal ones, else an empty cell."""
    shown: list[str] = []
    last: str | None = None
    for value in values:
        shown.append("" if value == last else value)
        last = value
    return shown


def _machines(comparison: Comparison) -> Table:
    first = {run.hardware.name: run for run in reversed(comparison.runs)}
    runs = list(reversed(first.values()))
    columns = (
        label("hardware", "Accelerator", "shorten"),
        label("family", "Family"),
        number("node_nm", "Node", "nm"),
        quantity("area_mm2", "Area", "mm2", []),
        quantity("clock_hz", "Clock", "Hz", [run.clock_hz for run in runs]),
        label("knobs", "Knobs", "wrap"),
    )
    rows = tuple(
        (
            run.hardware.name,
            run.hardware.family,
            run.hardware.node_nm,
            run.totals.area_mm2,
            run.clock_hz,
            ", ".join(f"{name} {value}" for name, value in run.hardware.knobs.items()),
        )
        for run in runs
    )
    return Table("", columns, rows)


def _figures(comparison: Comparison) -> Table:
    runs = comparison.runs
    figures = figure_columns([run.totals for run in runs])
    accuracy = accuracy_columns([run.accuracy for run in runs])
    columns = (
        label("workload", "Workload", "shorten"),
        label("hardware", "Accelerator", "shorten"),
        label("precision", "Precision", "shorten"),
        *figures,
        *accuracy,
    )
    rows = tuple(
        (
            workload,
            run.hardware.name,
            run.precision_summary[1],
            *(getattr(run.totals, column.key) for column in figures),
            *accuracy_cells(run.accuracy, accuracy),
        )
        for workload, run in zip(_once(r.workload.name for r in runs), runs, strict=True)
    )
    return Table("", columns, rows)


def _ratios(comparison: Comparison) -> Table:
    columns = (
        label("workload", "Workload", "shorten"),
        label("hardware", f"Ratio to {comparison.baseline}", "shorten"),
        *(
            ratio(f"{name}_ratio", name.upper() if name == "edp" else name.capitalize())
            for name in RATIOS
        ),
    )
    rows = tuple(
        (workload, row.hardware, *(getattr(row, name) for name in RATIOS))
        for workload, row in zip(
            _once(r.workload for r in comparison.ratios), comparison.ratios, strict=True
        )
    )
    workloads = {run.workload.name for run in comparison.runs}
    means = frozenset(i for i, row in enumerate(comparison.ratios) if row.workload not in workloads)
    return Table("", columns, rows, emphasis=means)


def _normalised(comparison: Comparison) -> tuple[Table, ...]:
    """Energies and areas at the baseline's node beside those as built; none where nodes agree."""
    found = comparison.normalised
    if found is None:
        return ()
    pairs = list(zip(comparison.runs, found.runs, strict=True))
    energies = [value for run, at in pairs for value in (run.totals.energy_j, at.energy_j)]
    columns = (
        label("workload", "Workload", "shorten"),
        label("hardware", "Accelerator", "shorten"),
        number("node_nm", "Node", "nm"),
        quantity("energy_j", "Energy", "J", energies),
        quantity("normalised_energy_j", f"at {found.node_nm:g} nm", "J", energies),
        quantity("normalised_edp_js", "EDP there", "J*s", [at.edp_js for _, at in pairs]),
        quantity("area_mm2", "Area", "mm2", []),
        quantity("normalised_area_mm2", f"at {found.node_nm:g} nm", "mm2", []),
    )
    rows = tuple(
        (
            workload,
            run.hardware.name,
            run.hardware.node_nm,
            run.totals.energy_j,
            at.energy_j,
            at.edp_js,
            run.totals.area_mm2,
            at.area_mm2,
        )
        for workload, (run, at) in zip(
            _once(run.workload.name for run, _ in pairs), pairs, strict=True
        )
    )
    return (Table(f"As built, and at the {found.node_nm:g} nm of the baseline", columns, rows),)


def _record(comparison: Comparison) -> Table:
    ratios = {(r.workload, r.hardware): r for r in comparison.ratios}
    keys = (
        *("workload", "hardware", "precision", "batch", "node_nm"),
        *TOTALS,
        *ACCURACY_KEYS,
        *(f"{name}_ratio" for name in RATIOS),
    )
    rows: list[tuple[Cell, ...]] = []
    for run in comparison.runs:
        ratio = ratios.pop((run.workload.name, run.hardware.name), None)
        rows.append(
            (
                *(run.workload.name, run.hardware.name, run.precision_summary[1]),
                *(run.options.batch, run.hardware.node_nm),
                *(getattr(run.totals, key) for key in TOTALS),
                *accuracy_record(run.accuracy),
                *_ratio_cells(ratio),
            )
        )
    blank: tuple[Cell, ...] = (None,) * (3 + len(TOTALS) + len(ACCURACY_KEYS))
    rows += [(r.workload, r.hardware, *blank, *_ratio_cells(r)) for r in ratios.values()]
    return Table("", tuple(Column(key, key) for key in keys), tuple(rows))


def _ratio_cells(ratio: Ratio | None) -> tuple[Cell, ...]:
    return tuple(None if ratio is None else getattr(ratio, name) for name in RATIOS)


def _winners(comparison: Comparison, names: list[str]) -> tuple[str, ...]:
    by_name = {name: [r for r in comparison.runs if r.workload.name == name] for name in names}
    return tuple(_winner(name, runs) for name, runs in by_name.items() if len(runs) > 1)


def _winner(workload: str, runs: list[RunResult]) -> str:
    best, second, *_ = sorted(runs, key=lambda run: run.totals.edp_js)
    if best.totals.edp_js <= 0:
        return f"{workload}: no EDP to rank by."
    factor = second.totals.edp_js / best.totals.edp_js
    if factor - 1 < _TIE:
        return f"{workload}: {best.hardware.name} and {second.hardware.name} tie on EDP."
    fastest = _tied(runs, [run.totals.latency_s for run in runs])
    thriftiest = _tied(runs, [run.totals.energy_j for run in runs])
    also = (
        "fastest and lowest in energy too"
        if fastest == thriftiest == best.hardware.name
        else f"fastest {fastest}, lowest energy {thriftiest}"
    )
    return (
        f"{workload}: {best.hardware.name} has the lowest EDP, {factor:.3g} times below "
        f"{second.hardware.name}; {also}."
    )


def _tied(runs: list[RunResult], values: list[float]) -> str:
    """Names of the machines that share the lowest value."""
    bound = min(values) * (1 + _TIE)
    return " and ".join(
        run.hardware.name for run, value in zip(runs, values, strict=True) if value <= bound
    )


def _node_note(comparison: Comparison) -> str:
    found = comparison.normalised
    if found is None:
        return "Technology nodes differ: figures are as built, not normalised to one node."
    return (
        "Technology nodes differ: ratios are of figures as built. Energy on the die and area at "
        f"{found.node_nm:g} nm by {found.law}, uncertain by a factor of 4 over large steps; clocks "
        "and off-chip memory stay as built."
    )


def _notes(comparison: Comparison) -> tuple[str, ...]:
    runs = comparison.runs
    nodes = {run.hardware.node_nm for run in runs}
    first = {run.hardware.name: run for run in reversed(runs)}
    assumed = [
        f"{run.hardware.name}, {run.workload.name}: {note}"
        for run in reversed(first.values())
        for note in constant_notes(run.constants, run.totals.energy_j, named=_NAMED)
    ]
    return (
        "Latency, energy, EDP: lower is better. "
        f"Ratio: this accelerator over {comparison.baseline} on the same workload.",
        *placements_note(runs),
        *((_node_note(comparison),) if len(nodes) > 1 else ()),
        *assumed,
        f"npubench {runs[0].stamp.npubench}.",
    )
