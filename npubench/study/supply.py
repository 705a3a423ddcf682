"""Points that differ in their supply alone, from one run at the nominal supply.

Where a machine says that its supply changes no cycle and scales every dynamic energy as one
(`Supplied`), time, energies and shares at any supply are those at the nominal one times its
factors. The run behind them is always that at the nominal supply, so that a point's figures do not
hang on which point came first; they equal those of a run of their own to rounding.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from npubench.machines.protocol import STATIC, AtSupply, Machine, Supplied
from npubench.study.result import Coverage, CoverageClass, OperatorCoverage, RunResult, Totals
from npubench.study.run import RunRequest, run_on
from npubench.study.session import Session

__all__ = ["run_at_supply"]


def run_at_supply(request: RunRequest, session: Session) -> RunResult | None:
    """The result of a request, its layers left as they are at the nominal supply.

    None where a run of its own is needed: another family, or an accuracy that hangs on the supply.

    Raises:
        InputError: as `npubench.study.run.run`.
    """
    if request.faults is not None:
        return None
    machine = session.machine(request.hardware, request.knobs, request.overrides)
    # The session keeps its machines, so an id is that of one machine.
    supplied = session.keep(("at_supply", id(machine)), lambda: _supplied(machine))
    if supplied is None:
        return None
    key = (
        "nominal",
        supplied.key,
        *request.work,
    )
    base = session.keep(key, lambda: run_on(supplied.nominal, request, session))
    clock_hz = base.clock_hz * supplied.frequency
    return replace(
        base,
        totals=_scaled(base.totals, supplied, clock_hz),
        coverage=_slowed(base.coverage, supplied.frequency),
        clock_hz=clock_hz,
    )


def _scaled(totals: Totals, supplied: AtSupply, clock_hz: float) -> Totals:
    """Cycles and shares stay; static energy follows leakage and time."""
    static = supplied.leakage / supplied.frequency
    energies = {
        name: joules * (static if name == STATIC else supplied.energy)
        for name, joules in totals.energy_by_component.items()
    }
    latency_s = totals.cycles / clock_hz
    energy_j = sum(energies.values())
    return replace(
        totals,
        latency_s=latency_s,
        energy_j=energy_j,
        edp_js=energy_j * latency_s,
        throughput_ips=totals.throughput_ips * supplied.frequency,
        tops_per_watt=2 * totals.macs / energy_j / 1e12 if totals.macs and energy_j else None,
        energy_by_component=energies,
    )


def _slowed(coverage: Coverage, frequency: float) -> Coverage:
    """Times at another clock; written out, as `replace` would take most of a point's time."""

    def class_at(one: CoverageClass) -> CoverageClass:
        return CoverageClass(
            one.ops,
            one.macs,
            one.bytes,
            one.latency_s / frequency,
            one.macs_share,
            one.bytes_share,
            one.time_share,
        )

    return Coverage(
        class_at(coverage.modelled),
        class_at(coverage.approximated),
        class_at(coverage.unknown),
        tuple(
            OperatorCoverage(
                row.op,
                row.status,
                row.layers,
                row.how,
                row.macs,
                row.bytes,
                row.latency_s / frequency,
            )
            for row in coverage.operators
        ),
    )


def _supplied(machine: Machine[Any]) -> AtSupply | None:
    return machine.at_supply if isinstance(machine, Supplied) else None
