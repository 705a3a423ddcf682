"""What `npubench serve` shows: systems under load, side by side."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from npubench.report.table import (
    Cell,
    Column,
    Table,
    View,
    fixed,
    label,
    quantity,
    ratio,
    share,
)
from npubench.report.text import plural
from npubench.serving import Estimate, ServeResult
from npubench.study.serve import Served, Serving

__all__ = ["serve_view"]

_LATENCIES = ("mean", "p50", "p90", "p99", "p999")
_SATURATED = "saturated"
_MOST_DETAILED = 4


def serve_view(serving: Serving) -> View:
    """A row for every system, policy and load, then what each network got, then the NPUs."""
    served = [one for one in serving.served if one.result is not None]
    results = [one.result for one in served if one.result is not None]
    prepared = serving.prepared
    scenario = prepared.scenario
    tables: list[Table] = []
    if prepared.find_load:
        tables.append(_found(serving))
    if results:
        tables += [_latencies(served, results), _merits(served, results)]
        if len(results) <= _MOST_DETAILED:
            tables += [_networks(served, results), _npus(served, results)]
    systems = plural(len(prepared.systems), "system")
    return View(
        title=f"serve: {scenario.name} ({scenario.kind}) on {systems}",
        tables=tuple(tables),
        record=_record(serving.served),
        findings=tuple(_findings(serving)),
        notes=tuple(_notes(serving, results)),
    )


def _names() -> tuple[Column, ...]:
    return (
        label("system", "System", "shorten"),
        label("policy", "Policy", "shorten"),
        fixed("load_rps", "Load", 1, "1/s"),
    )


def _head(one: Served, result: ServeResult) -> tuple[Cell, ...]:
    return (one.system.name, one.policy.name, result.load_rps)


def _found(serving: Serving) -> Table:
    """The largest loads, and their ratio to that of the first row."""
    columns = (
        label("system", "System", "shorten"),
        label("policy", "Policy", "shorten"),
        fixed("found_rps", "Largest load", 1, "1/s"),
        fixed("found_low_rps", "95 % from", 1, "1/s"),
        fixed("found_high_rps", "to", 1, "1/s"),
        share("found_load", "Of capacity"),
        ratio("found_ratio", "Ratio to first"),
    )
    first = serving.served[0].found if serving.served else None
    base = None if first is None else first.rate_rps.value
    rows = []
    for one in serving.served:
        if one.found is None:
            continue
        rate = one.found.rate_rps
        over = None if rate.value is None or not base else rate.value / base
        rows.append((*_pair(one), rate.value, rate.low, rate.high, one.found.load.value, over))
    return Table("largest load within the bounds", columns, tuple(rows))


def _pair(one: Served) -> tuple[Cell, ...]:
    return (one.system.name, one.policy.name)


def _latencies(served: Sequence[Served], results: Sequence[ServeResult]) -> Table:
    shown = [getattr(r.latency_s, name).value for r in results for name in ("p50", "p99")]
    names = {"mean": "Mean", "p50": "p50", "p90": "p90", "p99": "p99", "p999": "p99.9"}
    columns = (
        *_names(),
        *(quantity(f"{key}_s", title, "s", shown) for key, title in names.items()),
        quantity("p99_low_s", "p99 from", "s", shown),
        quantity("p99_high_s", "to", "s", shown),
        share("slo_attainment", "In SLO"),
        fixed("goodput_rps", "Goodput", 1, "1/s"),
        label("state", "State"),
    )
    rows = tuple(
        (
            *_head(one, result),
            *(getattr(result.latency_s, name).value for name in _LATENCIES),
            result.latency_s.p99.low,
            result.latency_s.p99.high,
            result.slo_attainment.value,
            result.goodput_rps.value,
            _SATURATED if result.saturated else "steady",
        )
        for one, result in zip(served, results, strict=True)
    )
    return Table("latency, arrival to completion", columns, rows)


def _merits(served: Sequence[Served], results: Sequence[ServeResult]) -> Table:
    energies = [result.energy_j_per_request.value for result in results]
    columns = (
        *_names(),
        quantity("energy_j_per_request", "Energy/request", "J", energies),
        share("burst_share", "Burst"),
        fixed("accuracy_drop", "Drop", 2, "points"),
        share("accuracy", "Accuracy"),
        share("accuracy_known", "Known for"),
        ratio("antt", "ANTT"),
        ratio("stp", "STP"),
        ratio("fairness", "Fairness"),
    )
    rows = tuple(
        (
            *_head(one, result),
            result.energy_j_per_request.value,
            result.burst_share.value,
            result.accuracy_drop.value,
            result.accuracy.value,
            result.accuracy_known,
            result.antt.value,
            result.stp.value,
            result.fairness.value,
        )
        for one, result in zip(served, results, strict=True)
    )
    caption = (
        "Energy: services, mode switches and static power. Burst: requests outside the base mode. "
        "Drop and accuracy: against each network's own base on the same system (first mode of the "
        "first NPU), mean over the requests it is known for."
    )
    return Table("energy, accuracy, sharing", columns, rows, caption=caption)


def _networks(served: Sequence[Served], results: Sequence[ServeResult]) -> Table:
    parts = [network for result in results for network in result.networks]
    columns = (
        *_names(),
        label("network", "Network", "shorten"),
        quantity("slo_s", "SLO", "s", [part.slo_s for part in parts]),
        quantity("isolated_s", "Isolated", "s", [part.isolated_s for part in parts]),
        quantity("latency_mean_s", "Mean", "s", [part.latency_mean_s for part in parts]),
        share("slo_attainment", "In SLO"),
        share("burst_share", "Burst"),
        quantity("energy_j", "Energy", "J", [part.energy_j_per_request for part in parts]),
        fixed("accuracy_drop", "Drop", 2, "points"),
    )
    rows = tuple(
        (
            *_head(one, result),
            part.network,
            part.slo_s,
            part.isolated_s,
            part.latency_mean_s,
            part.slo_attainment,
            part.burst_share,
            part.energy_j_per_request,
            part.accuracy_drop,
        )
        for one, result in zip(served, results, strict=True)
        for part in result.networks
    )
    return Table("by network", columns, rows)


def _npus(served: Sequence[Served], results: Sequence[ServeResult]) -> Table:
    columns = (
        *_names(),
        label("npu", "NPU", "shorten"),
        fixed("requests", "Requests", 0),
        share("utilization", "Busy"),
        fixed("switches", "Switches", 0),
    )
    rows = tuple(
        (*_head(one, result), part.npu, part.requests, part.utilization, part.switches)
        for one, result in zip(served, results, strict=True)
        for part in result.npus
    )
    return Table("by NPU", columns, rows)


def _findings(serving: Serving) -> Iterable[str]:
    for one in serving.served:
        if one.found is not None and one.found.reason is not None:
            yield f"{one.system.name}, {one.policy.name}: {one.found.reason}."
        result = one.result
        if result is not None and result.saturated:
            load = "" if result.load_rps is None else f" at {result.load_rps:.4g} requests a second"
            yield (
                f"{one.system.name}, {one.policy.name}: saturated{load}: "
                f"{result.saturated_because}."
            )


def _notes(serving: Serving, results: Sequence[ServeResult]) -> Iterable[str]:
    prepared = serving.prepared
    scenario = prepared.scenario
    reference = prepared.systems[0].name
    yield (
        f"Bounds on the {scenario.percentile * 100:g}th percentile, the same for all: "
        f"{'; '.join(prepared.bounds)}."
    )
    if scenario.kind == "server":
        yield (
            f"Loads are shares of {prepared.capacity_rps:.4g} requests a second, the nominal "
            f"capacity of {reference}; every system is offered the same requests."
        )
    if results:
        yield (
            f"{results[0].requests} requests measured a row, "
            f"{plural(scenario.repetitions, 'repetition')}, "
            f"warm-up {scenario.warmup * 100:g} %, seed {scenario.seed}; intervals are 95 %."
        )
        estimates = [
            f"{result.system} {result.mlperf_estimate_s * 1e3:.4g} ms"
            for result in results
            if result.mlperf_estimate_s is not None
        ]
        if estimates:
            yield (
                "MLPerf early-stopping estimate of the "
                f"{scenario.percentile * 100:g}th percentile: "
                f"{', '.join(estimates)}."
            )
        if scenario.kind == "server":
            passed = [r for r in results if r.early_stopping]
            yield f"MLPerf's early-stopping rule passes in {len(passed)} of {len(results)} rows."
    if len(results) > _MOST_DETAILED:
        yield "Figures by network and by NPU are in --format json."
    noted = dict.fromkeys(n for r in results for n in r.notes if "(" not in n or ":" not in n)
    yield from (f"{note}." for note in noted)
    for system in prepared.systems:
        yield from (f"{system.name}: {note}" for note in system.notes)
    yield f"npubench {serving.stamp.npubench}."


_ESTIMATES = (
    "throughput_rps",
    "goodput_rps",
    "slo_attainment",
    "burst_share",
    "energy_j_per_request",
    "accuracy",
    "accuracy_drop",
    "antt",
    "stp",
    "fairness",
)
_PLAIN = ("load_rps", "load", "requests", "accuracy_known", "preemptions", "switch_energy_j")


def _record(served: Sequence[Served]) -> Table:
    """One row a result; every estimate with the ends of its interval."""
    keys = (
        *("system", "policy"),
        *_PLAIN,
        *(f"{name}_s{end}" for name in _LATENCIES for end in ("", "_low", "_high")),
        *(f"{name}{end}" for name in _ESTIMATES for end in ("", "_low", "_high")),
        *("saturated", "early_stopping", "mlperf_estimate_s"),
        *("found_rps", "found_rps_low", "found_rps_high", "found_load"),
    )
    rows = tuple(_record_row(one, len(keys)) for one in served)
    return Table("", tuple(Column(key, key) for key in keys), rows)


def _ends(estimate: Estimate) -> tuple[Cell, ...]:
    return (estimate.value, estimate.low, estimate.high)


def _record_row(one: Served, width: int) -> tuple[Cell, ...]:
    found: tuple[Cell, ...] = (None,) * 4
    if one.found is not None:
        found = (*_ends(one.found.rate_rps), one.found.load.value)
    result = one.result
    if result is None:
        return (*_pair(one), *((None,) * (width - 2 - len(found))), *found)
    latencies = [cell for name in _LATENCIES for cell in _ends(getattr(result.latency_s, name))]
    estimates = [cell for name in _ESTIMATES for cell in _ends(getattr(result, name))]
    return (
        *_pair(one),
        *(getattr(result, name) for name in _PLAIN),
        *latencies,
        *estimates,
        *(str(result.saturated).lower(), str(result.early_stopping).lower()),
        result.mlperf_estimate_s,
        *found,
    )
