"""Stimpack: what burst mode gives each network, and where the rest of the time goes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from npubench.errors import InputError, OptionError, Problem
from npubench.study.result import RunResult
from npubench.study.run import RunRequest
from npubench.study.run import run as run_once
from npubench.study.studies.record import (
    Cell,
    Claim,
    StudyColumn,
    StudyContext,
    StudySection,
)

__all__ = ["groups_of_causes", "run", "run_modes"]

PUBLISHED = 1.484
_SOURCE = "Kal et al., J. Systems Architecture 145, 2023, abstract: 48.4 % on average"
_HARDWARE = "stimpack"
# How weights reach the arrays in burst mode: the name of a column, and the knobs.
_WAYS: Mapping[str, Mapping[str, str]] = {
    "resident": {"weights": "kept", "quantize": "converted"},
    "streamed": {"weights": "fetched", "quantize": "converted"},
    "copies": {"weights": "fetched", "quantize": "fetched"},
}
_GROUPS = ("compute", "array_turns", "off_chip", "on_chip", "unit", "vector")


def groups_of_causes(causes: Mapping[str, int]) -> dict[str, int]:
    """Cycles by what keeps a run: the sum is that of the causes."""
    found = dict.fromkeys((*_GROUPS, "overlap"), 0)
    for cause, cycles in causes.items():
        if cause == "compute":
            group = "compute"
        elif cause in ("weight_load", "fill_drain"):
            group = "array_turns"
        elif cause in ("first_tile", "last_tile") or ":hbm." in cause:
            group = "off_chip"
        elif ":quantization_unit." in cause:
            group = "unit"
        elif cause == "overlap":
            group = "overlap"
        else:
            group = "on_chip" if ":" in cause else "vector"
        found[group] += cycles
    return found


def run_modes(context: StudyContext, name: str, batch: int) -> dict[tuple[str, str], RunResult]:
    """Results by (mode, way); base mode does not depend on copies."""
    found: dict[tuple[str, str], RunResult] = {}
    for way, knobs in _WAYS.items():
        for mode in ("base", "burst"):
            if (mode, way) == ("base", "copies"):
                found[mode, way] = found["base", "streamed"]
                continue
            request = RunRequest(
                workload=name, hardware=_HARDWARE, batch=batch, knobs={"mode": mode, **knobs}
            )
            found[mode, way] = run_once(request, context.session)
    return found


def run(context: StudyContext) -> Iterator[StudySection]:
    """Speed-ups of every network, then the causes of its burst time."""
    names, batch = context.listed("networks"), _batch(context)
    if not names:
        raise OptionError(Problem("--set networks: expected at least one network"))
    results: dict[str, dict[tuple[str, str], RunResult]] = {}
    for done, name in enumerate(names, start=1):
        results[name] = run_modes(context, name, batch)
        context.on_step(done, len(names))
    yield _speedups(results)
    yield _causes(results)


def _batch(context: StudyContext) -> int:
    text = context.settings["batch"]
    if not text.isdecimal() or int(text) < 1:
        raise InputError(Problem(f"--set batch={text}: expected a whole number from 1"))
    return int(text)


def _speedup(result: Mapping[tuple[str, str], RunResult], way: str) -> float:
    return result["base", way].totals.latency_s / result["burst", way].totals.latency_s


def _geomean(values: list[float]) -> float:
    return math.exp(math.fsum(map(math.log, values)) / len(values))


def _speedups(results: Mapping[str, Mapping[tuple[str, str], RunResult]]) -> StudySection:
    rows: list[tuple[Cell, ...]] = []
    for name, result in results.items():
        base, burst = (result[mode, "resident"].totals for mode in ("base", "burst"))
        speedups = [_speedup(result, way) for way in _WAYS]
        halved = 2 * (1 - 1 / speedups[0])  # Amdahl: 1 / (1 - f + f / 2) = speed-up
        energy = burst.energy_j / base.energy_j
        rows.append(
            (name, base.latency_s, burst.latency_s, speedups[0], halved, energy, *speedups[1:])
        )
    columns = list(zip(*rows, strict=True))
    means = [_geomean([float(value) for value in columns[i]]) for i in (3, 6, 7)]
    rows.append(("geomean", None, None, means[0], 2 * (1 - 1 / means[0]), None, *means[1:]))
    return StudySection(
        key="speedup",
        title="Stimpack: burst (INT8) over base (BF16), latency of one batch",
        columns=(
            StudyColumn("network", "Network"),
            StudyColumn("base_latency_s", "Base", "quantity", "s"),
            StudyColumn("burst_latency_s", "Burst", "quantity", "s"),
            StudyColumn("speedup", "Speed-up", "ratio"),
            StudyColumn("halved_share", "Halved", "share"),
            StudyColumn("energy_ratio", "Energy", "ratio"),
            StudyColumn("speedup_streamed", "Streamed", "ratio"),
            StudyColumn("speedup_copies", "Copies", "ratio"),
        ),
        rows=tuple(rows),
        claims=(
            Claim(
                what="burst speed-up, mean of seven networks",
                published=PUBLISHED,
                ours=means[0],
                unit="",
                source=_SOURCE,
                confidence="published",
                note="networks, batch and what is timed are not public",
            ),
            Claim(
                what="share of base time that burst mode halves",
                published=0.652,
                ours=2 * (1 - 1 / means[0]),
                unit="",
                source="Amdahl's law on the published mean",
                confidence="derived",
            ),
        ),
        notes=(
            "Speed-up: weights stay on chip as far as it pays and were converted at the mode "
            "switch; the others come as BF16 and are converted in every run.",
            "Streamed: all weights come from HBM as BF16 in both modes, and burst mode converts "
            "them. Copies: burst mode fetches INT8 copies from HBM instead.",
            "Halved: share of base time that would have to halve for this speed-up. Below 0: the "
            "unit's reads and writes of CMEM take longer than INT8 saves.",
        ),
    )


def _causes(results: Mapping[str, Mapping[tuple[str, str], RunResult]]) -> StudySection:
    rows: list[tuple[Cell, ...]] = []
    for name, result in results.items():
        for mode in ("base", "burst"):
            totals = result[mode, "resident"].totals
            groups = groups_of_causes(totals.latency_by_cause)
            rows.append((name, mode, *(cycles / totals.cycles for cycles in groups.values())))
    return StudySection(
        key="causes",
        title="Where the time goes, share of each mode's latency",
        columns=(
            StudyColumn("network", "Network"),
            StudyColumn("mode", "Mode"),
            StudyColumn("compute_share", "Compute", "share"),
            StudyColumn("array_turns_share", "Load, fill", "share"),
            StudyColumn("off_chip_share", "HBM", "share"),
            StudyColumn("on_chip_share", "On chip", "share"),
            StudyColumn("unit_share", "Unit", "share"),
            StudyColumn("vector_share", "Vector", "share"),
            StudyColumn("overlap_share", "Overlap", "share"),
        ),
        rows=tuple(rows),
        notes=(
            "Load, fill: loading stationary weights, filling and draining arrays. On chip: waiting "
            "for CMEM, VMEM or accumulators. Vector: element-wise work, of which Overlap runs "
            "beside layers.",
        ),
    )
