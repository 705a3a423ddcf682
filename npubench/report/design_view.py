"""What `npubench system design` shows: the NPUs that fit, the mixes that are best, and the rest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from npubench.report.table import Cell, Column, Table, View, fixed, label, quantity, ratio, share
from npubench.report.text import plural
from npubench.study.equal_area import EqualArea
from npubench.study.system_design import Mix, SystemDesign
from npubench.units import engineering

__all__ = ["design_view", "equal_area_facts", "equal_area_view"]

_RECORD = (
    "mix",
    "on_front",
    "energy_j",
    "response_s",
    "p99_s",
    "accuracy_drop",
    "narrow_share",
    "problem",
)


def design_view(design: SystemDesign, *, every: bool = False) -> View:
    """The answer.

    Args:
        design: what `npubench.study.system_design` gave.
        every: all mixes, not only the homogeneous one and the front.
    """
    request = design.request
    shown = [m for m in design.mixes if every or m.on_front or m is design.baseline]
    names = ", ".join(request.workloads)
    return View(
        title=(
            f"system design: {plural(request.npus or 0, 'NPU')} on {request.area_mm2:.4g} mm2 "
            f"for {names}"
        ),
        tables=(_npus(design), _mixes(shown, design)),
        record=_record(design.mixes),
        findings=_findings(design),
        notes=_notes(design),
    )


def _npus(design: SystemDesign) -> Table:
    columns = (
        label("spec", "NPU"),
        fixed("bits", "Width", 0, "bits"),
        fixed("rows", "Rows", 0),
        fixed("cols", "Columns", 0),
        fixed("area_mm2", "Area", 3, "mm2"),
        share("unused", "Unused"),
    )
    rows = tuple(
        (d.spec, d.bits, d.rows, d.cols, d.area_mm2, 1 - d.area_mm2 / d.share_mm2)
        for d in design.designs
    )
    return Table("NPUs at their share of the area", columns, rows)


def _mixes(shown: Sequence[Mix], design: SystemDesign) -> Table:
    base = design.baseline
    columns = (
        label("mix", "Mix"),
        label("on_front", "Front"),
        quantity("energy_j", "Energy", "J", [m.energy_j for m in shown]),
        ratio("energy_ratio", "ratio"),
        quantity("response_s", "Response", "s", [m.response_s for m in shown]),
        ratio("response_ratio", "ratio"),
        quantity("p99_s", "p99", "s", [m.p99_s for m in shown]),
        fixed("accuracy_drop", "Lost", 2, "points"),
        share("narrow_share", "Narrow"),
        Column("problem", "", align="left", overflow="wrap"),
    )
    rows = tuple(
        (
            mix.name,
            "yes" if mix.on_front else "",
            mix.energy_j,
            _over(mix.energy_j, base.energy_j),
            mix.response_s,
            _over(mix.response_s, base.response_s),
            mix.p99_s,
            mix.accuracy_drop,
            mix.narrow_share,
            mix.problem,
        )
        for mix in shown
    )
    table = Table("Mixes per request", columns, rows)
    return table if any(mix.problem for mix in shown) else table.without("problem")


def _over(mine: float | None, base: float | None) -> float | None:
    return None if mine is None or not base else mine / base


def _record(mixes: Sequence[Mix]) -> Table:
    rows: list[tuple[Cell, ...]] = [
        (
            mix.name,
            "yes" if mix.on_front else "no",
            mix.energy_j,
            mix.response_s,
            mix.p99_s,
            mix.accuracy_drop,
            mix.narrow_share,
            mix.problem or None,
        )
        for mix in mixes
    ]
    return Table("", tuple(Column(key, key) for key in _RECORD), tuple(rows))


def _findings(design: SystemDesign) -> tuple[str, ...]:
    front = [mix for mix in design.mixes if mix.on_front]
    base = design.baseline
    if not front:
        return ("No mix serves all networks at this load.",)
    found = [f"{len(front)} of {plural(len(design.mixes), 'mix', 'mixes')} are on the front."]
    leanest = min(front, key=lambda mix: mix.energy_j or 0.0)
    energy = _over(leanest.energy_j, base.energy_j)
    response = _over(leanest.response_s, base.response_s)
    if leanest is not base and energy is not None and response is not None:
        found.append(
            f"Least energy: {leanest.name}, {energy - 1:+.1%} energy and {response - 1:+.1%} "
            f"response time against {base.name}, {leanest.accuracy_drop:.2f} points lost."
        )
    return tuple(found)


def _notes(design: SystemDesign) -> tuple[str, ...]:
    request = design.request
    unable = sum(bool(mix.problem) for mix in design.mixes)
    memory = "every NPU has the memory of its template to itself"
    if request.dram_bits_per_s is not None:
        total = engineering(request.dram_bits_per_s / 8, "B/s")
        memory = f"{total} of memory shared max-min fair with all NPUs busy"
    return (
        f"Each NPU takes an equal part of the area: buffers of the template, the rest PEs. Ratio: "
        f"over {design.baseline.name}. Energy, response time, points lost: lower is better; the "
        "front is of these three.",
        f"{request.requests:,} requests, Poisson, {design.rate_rps:.4g} a second (load "
        f"{request.load:g} of {design.baseline.name}) to every mix, networks equally often, seed "
        f"{request.seed}; policy {request.policy}, at most {request.accuracy_drop:g} points lost "
        f"against {max(request.widths)} bits; {memory}.",
        "Energy is dynamic energy plus static power over the whole run. Narrow: share of requests "
        f"below {max(request.widths)} bits.",
        *((f"{plural(unable, 'mix', 'mixes')} cannot serve; --all says why.",) if unable else ()),
        *(f"{note[0].upper()}{note[1:]}." for note in design.notes),
    )


def equal_area_view(found: EqualArea) -> View:
    """An array sized to the area of another design, and how to run it."""
    design = found.design
    columns = (
        label("spec", "NPU"),
        fixed("rows", "Rows", 0),
        fixed("cols", "Columns", 0),
        quantity("peak_macs_per_s", "Peak", "MAC/s", [found.peak_macs_per_s]),
        fixed("area_mm2", "Area", 3, "mm2"),
        fixed("target_mm2", "To fit", 3, "mm2"),
        share("unused", "Unused"),
        fixed("own_area_mm2", "As specified", 3, "mm2"),
    )
    unused = 1 - design.area_mm2 / design.share_mm2
    row = (
        *(design.spec, design.rows, design.cols, found.peak_macs_per_s),
        *(design.area_mm2, design.share_mm2, unused, found.own_area_mm2),
    )
    table = Table("", columns, (row,))
    return View(
        title=f"{design.spec} on the area of {found.other}",
        tables=(table,),
        record=table,
        notes=(
            "The largest square of PEs that fits: memories stay, ports of accumulators follow the "
            "columns; areas are sums of parts, without routing.",
            f"npubench run NETWORK --hw {design.spec} {_set_options(found)}",
        ),
    )


def equal_area_facts(found: EqualArea) -> dict[str, Any]:
    """The same for machines, the table apart."""
    return {"kind": "equal_area", "other": found.other, "settings": dict(found.design.settings)}


def _set_options(found: EqualArea) -> str:
    return " ".join(
        f"--set '{path}={value}'" if " " in value else f"--set {path}={value}"
        for path, value in found.design.settings.items()
    )
