"""Points of a sweep that differ in clock and supply alone, costed together.

Where a machine says that such settings change prices but not what there is to choose from
(`Tunable`), a network is mapped once for all of them. A point's figures do not hang on which
others are costed beside it, and equal those of a run of its own to rounding.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from npubench.errors import InputError, OptionError
from npubench.machines.protocol import Machine, Objective
from npubench.machines.tuning import Anywhere, CostTable, OperatingPoint, Tunable
from npubench.specs.header import read_header
from npubench.study.coverage import at_other_times, operator_rows
from npubench.study.result import RunResult, Totals
from npubench.study.run import RunRequest, choose_plan, run_on
from npubench.study.session import Session

__all__ = ["run_tuned", "tuning_key"]

_Key = tuple[object, ...]


@dataclass(frozen=True)
class _Tuned:
    """What points that differ in operating settings have in common.

    Attributes:
        request: without those settings.
        machine: of that request.
        base: its result; a point's figures replace its own.
        anywhere: the network, ready to be costed at any operating point.
        rows: layers behind each operator of the result's coverage.
        names: of settings, with the fields they set.
        known: operating values of settings looked at, by kind, name and text.
    """

    request: RunRequest
    machine: Tunable
    base: RunResult
    anywhere: Anywhere
    rows: list[list[int]]
    names: Mapping[str, frozenset[str]]
    known: dict[tuple[str, str, str], dict[str, object] | None] = field(default_factory=dict)


def tuning_key(request: RunRequest, session: Session) -> _Key | None:
    """Equal for requests that differ in operating settings only; None where there are none."""
    names = _names(request, session)
    if request.faults is not None or names.keys().isdisjoint({*request.knobs, *request.overrides}):
        return None
    return (
        request.hardware,
        tuple(sorted((n, t) for n, t in request.knobs.items() if n not in names)),
        tuple((n, t) for n, t in request.overrides.items() if n not in names),
        *request.work,
    )


def run_tuned(requests: Sequence[RunRequest], session: Session) -> list[RunResult | None]:
    """Results of requests of one `tuning_key`, their layers left as they are in another.

    None where a request needs a run of its own, which then says what is wrong if anything is.
    """
    key = ("tuned", tuning_key(requests[0], session))
    tuned = session.keep(key, lambda: _prepare(requests[0], session))
    if tuned is None:
        return [None] * len(requests)
    points = [_point(tuned, request, session) for request in requests]
    at = [i for i, point in enumerate(points) if point is not None]
    results: list[RunResult | None] = [None] * len(requests)
    if at:
        table = tuned.anywhere.costs([point for point in points if point is not None])
        for i, result in zip(at, _results(tuned, table), strict=True):
            results[i] = result
    return results


def _names(request: RunRequest, session: Session) -> dict[str, frozenset[str]]:
    """Knobs and paths that set operating values of the hardware, with the fields they set."""
    return session.keep(("tunable", request.hardware), partial(_find_names, request, session))


def _find_names(request: RunRequest, session: Session) -> dict[str, frozenset[str]]:
    try:
        machine = session.machine(request.hardware, {}, {})
        knobs = read_header(session.document(request.hardware, {}, {})).knobs
    except InputError:
        return {}
    paths = frozenset(machine.settings if isinstance(machine, Tunable) else ())
    turned = {name: frozenset(knob.path) for name, knob in knobs.items() if knob.path}
    return {path: frozenset([path]) for path in paths} | {
        name: fields for name, fields in turned.items() if fields <= paths
    }


def _prepare(request: RunRequest, session: Session) -> _Tuned | None:
    names = _names(request, session)
    bare = replace(
        request,
        knobs={n: t for n, t in request.knobs.items() if n not in names},
        overrides={n: t for n, t in request.overrides.items() if n not in names},
    )
    try:
        machine: Machine[Any] = session.machine(bare.hardware, bare.knobs, bare.overrides)
        if not isinstance(machine, Tunable):
            return None
        loaded = session.network(bare.workload, bare.dims)
        network = loaded.network.with_batch(bare.batch)
        plan = machine.legalise(network, choose_plan(bare.precision, loaded)).executed
        anywhere = machine.anywhere(network, plan, Objective(bare.objective))
        if anywhere is None:
            return None
        base = run_on(machine, bare, session)
    except InputError:
        return None
    return _Tuned(bare, machine, base, anywhere, operator_rows(network), names)


def _point(tuned: _Tuned, request: RunRequest, session: Session) -> OperatingPoint | None:
    """Where a request runs; None where its settings are refused, or change anything else."""
    settings, taken = dict(tuned.machine.settings), set[str]()
    for which in ("knobs", "overrides"):
        bare: Mapping[str, str] = getattr(tuned.request, which)
        for name, text in getattr(request, which).items():
            if name in bare:
                continue
            # Of two settings of one field the order decides, which a run of its own knows.
            if tuned.names[name] & taken:
                return None
            taken |= tuned.names[name]
            key = (which, name, text)
            if key not in tuned.known:
                setting: dict[str, Any] = {which: {**bare, name: text}}
                alone = replace(tuned.request, **setting)
                tuned.known[key] = _values(tuned, alone, tuned.names[name], session)
            values = tuned.known[key]
            if values is None:
                return None
            settings |= values
    try:
        return tuned.machine.operating_point(settings)
    except OptionError:
        return None


def _values(
    tuned: _Tuned, request: RunRequest, fields: frozenset[str], session: Session
) -> dict[str, object] | None:
    """Operating values that one setting leads to; None where that is not all it changes."""
    try:
        machine = session.machine(request.hardware, request.knobs, request.overrides)
    except InputError:
        return None
    if not isinstance(machine, Tunable) or machine.untuned != tuned.machine.untuned:
        return None
    return {field: machine.settings[field] for field in fields}


def _results(tuned: _Tuned, table: CostTable) -> list[RunResult | None]:
    """One result a point, each with Python's own numbers."""
    base, batch = tuned.base, tuned.request.batch
    clocks, cycles = table.clock_hz.tolist(), table.cycles.tolist()
    latencies = (table.cycles / table.clock_hz).tolist()
    causes = _columns({name: n.tolist() for name, n in table.latency_by_cause.items()})
    energies = _columns({n: (j / batch).tolist() for n, j in table.energy_by_component.items()})
    busy = (table.busy_cycles / table.cycles).tolist()
    by_row = [table.layer_cycles[rows].sum(axis=0) / table.clock_hz for rows in tuned.rows]
    seconds = list(zip(*(row.tolist() for row in by_row), strict=True))
    results: list[RunResult | None] = []
    for i, clock_hz in enumerate(clocks):
        joules = math.fsum(energies[i].values())
        macs = base.totals.macs
        totals = Totals(
            macs=macs,
            cycles=cycles[i],
            latency_s=latencies[i],
            energy_j=joules,
            edp_js=joules * latencies[i],
            throughput_ips=batch * clock_hz / cycles[i],
            tops_per_watt=2 * macs / joules / 1e12 if macs and joules else None,
            utilization=None if base.totals.utilization is None else busy[i],
            area_mm2=base.totals.area_mm2,
            latency_by_cause=causes[i],
            energy_by_component=energies[i],
        )
        coverage = at_other_times(base.coverage, seconds[i])
        result = replace(base, totals=totals, coverage=coverage, clock_hz=clock_hz)
        results.append(result if math.isfinite(totals.edp_js) else None)
    return results


def _columns(table: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """One dict a point of what is not zero there."""
    names = list(table)
    return [
        {name: value for name, value in zip(names, column, strict=True) if value}
        for column in zip(*table.values(), strict=True)
    ]
