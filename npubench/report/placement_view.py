"""Where a system of several NPUs ran a network, and the places it could have taken."""

from __future__ import annotations

from collections.abc import Sequence

from npubench.machines.hosting import Member
from npubench.report.table import Column, Table, fixed, label, quantity
from npubench.study.result import Placement, RunResult

__all__ = ["members_table", "placement_note", "placement_table", "placements_note"]


def members_table(members: Sequence[Member]) -> Table:
    """The NPUs of a system."""
    columns = (
        label("npu", "NPU"),
        label("spec", "Spec"),
        label("modes", "Modes", "wrap"),
        fixed("area_mm2", "Area", 2, "mm2"),
        quantity("clock_hz", "Clock", "Hz", [m.modes[0].machine.info.clock_hz for m in members]),
    )
    rows = tuple(
        (
            member.name,
            member.spec,
            ", ".join(mode.name for mode in member.modes),
            member.modes[0].machine.info.area_mm2,
            member.modes[0].machine.info.clock_hz,
        )
        for member in members
    )
    return Table("", columns, rows)


def placement_table(placement: Placement | None) -> Table | None:
    """Every place the scheduler looked at; None where the precision asked for chose."""
    if placement is None or not placement.options:
        return None
    options = placement.options
    columns = (
        label("npu", "NPU"),
        label("mode", "Mode"),
        label("precision", "Precision", "shorten"),
        quantity("latency_s", "Latency", "s", [option.latency_s for option in options]),
        quantity("energy_j", "Dynamic", "J", [option.energy_j for option in options]),
        fixed("accuracy_drop", "Lost", 2, "points"),
        Column("verdict", "", align="left"),
    )
    rows = tuple(
        (
            option.npu,
            option.mode,
            option.precision,
            option.latency_s,
            option.energy_j,
            option.accuracy_drop,
            _verdict(placement, option.npu, option.mode, admissible=option.admissible),
        )
        for option in options
    )
    return Table("", columns, rows)


def _verdict(placement: Placement, npu: str, mode: str, *, admissible: bool) -> str:
    if (npu, mode) == (placement.npu, placement.mode):
        return "chosen"
    return "" if admissible else "not admissible"


def placement_note(placement: Placement | None) -> tuple[str, ...]:
    """Who chose the NPU, and by what."""
    if placement is None:
        return ()
    where = f"NPU '{placement.npu}' ({placement.spec}), mode {placement.mode}"
    if placement.policy is None:
        return (f"Ran on {where}: it widens the precision asked for least.",)
    limit = ""
    if placement.most_drop is not None:
        limit = (
            f", at most {placement.most_drop:g} points lost against the first NPU's base mode "
            "(unknown losses are not admitted)"
        )
    return (
        f"Ran on {where}, chosen by policy {placement.policy}{limit}. Latencies of the places "
        "are those while all NPUs work.",
    )


def placements_note(runs: Sequence[RunResult]) -> tuple[str, ...]:
    """For tables of several runs: the NPU of each that a system ran."""
    found = [
        f"{run.hardware.name} ran {run.workload.name} on NPU '{place.npu}' ({place.spec}, "
        f"{run.precision_summary[1]})"
        for run in runs
        if (place := run.placement) is not None
    ]
    return (f"Placed: {'; '.join(found)}.",) if found else ()
