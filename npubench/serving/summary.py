"""Counts of one or more repetitions to the result of a scenario."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from npubench.serving.estimates import (
    BATCHES,
    Estimate,
    from_repetitions,
    mean_estimate,
    passes_early_stopping,
    quantile_estimate,
    single_stream_estimate,
    student_t,
)
from npubench.serving.plant import Plant
from npubench.serving.result import LatencyStats, NetworkResult, NpuResult, ServeResult
from npubench.serving.scenario import Scenario
from npubench.serving.table import PS_PER_S, ServiceTable
from npubench.serving.tally import Tally

__all__ = ["Run", "summarise"]

_NONE = Estimate(None)
_PERCENTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p99.9": 0.999}
_FEWEST_BEYOND = 10


@dataclass(frozen=True, slots=True)
class Run:
    """One repetition as it ended; see `npubench.serving.engine.Engine` for the attributes.

    Attributes:
        tally: its measured requests.
        total: requests, warm-up included.
        saturated: why it is, or None.
    """

    tally: Tally
    total: int
    busy_ps: list[int]
    switches: list[int]
    switch_energy_j: float
    preemptions: int
    left_at_end: int
    last_ps: int
    saturated: str | None

    @property
    def count(self) -> int:
        """Measured requests."""
        return int(self.tally.requests.sum())

    @property
    def span_s(self) -> float:
        """From the first measured arrival to the last finish."""
        return (self.last_ps - self.tally.first_arrival_ps) / PS_PER_S

    @property
    def on_time(self) -> int:
        """Measured requests within their bound."""
        return int(self.tally.met.sum())


def summarise(
    table: ServiceTable,
    plant: Plant,
    scenario: Scenario,
    seed: int,
    rate: float | None,
    runs: list[Run],
    records: NDArray[np.void] | None,
) -> ServeResult:
    """The result of all repetitions."""
    saturated = next((run.saturated for run in runs if run.saturated), None)
    count = sum(run.count for run in runs)
    on_time = sum(run.on_time for run in runs)

    def over_runs(metric: Callable[[Run], float]) -> Estimate:
        return _finite(from_repetitions([metric(run) for run in runs]))

    static_w = math.fsum(npu.static_w for npu in plant.npus)
    known, accuracy, drop = _accuracy(table, plant, runs)
    steady = saturated is None
    attainment = over_runs(lambda run: run.on_time / run.count)
    if len(runs) == 1:
        attainment = _attainment(runs[0])
    return ServeResult(
        system=table.system,
        scenario=scenario.name,
        policy=plant.policy.name,
        kind=scenario.kind,
        seed=seed,
        repetitions=len(runs),
        load_rps=rate,
        load=None if rate is None else rate / plant.capacity_rps,
        capacity_rps=plant.capacity_rps,
        requests=count,
        latency_s=_latency(runs) if steady else LatencyStats(*([_NONE] * 5)),
        throughput_rps=over_runs(lambda run: run.count / run.span_s),
        goodput_rps=over_runs(lambda run: run.on_time / run.span_s),
        slo_attainment=attainment,
        early_stopping=steady
        and passes_early_stopping(on_time, count - on_time, scenario.percentile),
        mlperf_estimate_s=_mlperf_estimate(scenario, runs[0]),
        burst_share=over_runs(lambda run: float(run.tally.burst.sum()) / run.count),
        energy_j_per_request=over_runs(
            lambda run: (
                float(run.tally.energy_j.sum()) / run.count
                + (run.switch_energy_j + static_w * run.last_ps / PS_PER_S) / run.total
            )
        ),
        accuracy_drop=drop,
        accuracy=accuracy,
        accuracy_known=known,
        antt=over_runs(lambda run: float(run.tally.turnaround.sum()) / run.count)
        if steady
        else _NONE,
        stp=over_runs(lambda run: float(run.tally.isolated_ps.sum()) / PS_PER_S / run.span_s),
        fairness=over_runs(lambda run: _fairness(plant, run.tally)) if steady else _NONE,
        preemptions=sum(run.preemptions for run in runs),
        switch_energy_j=math.fsum(run.switch_energy_j for run in runs),
        networks=tuple(_network(table, plant, runs, n, steady) for n in range(len(plant.networks))),
        npus=_npus(plant, runs),
        saturated=not steady,
        saturated_because=saturated,
        notes=(*plant.notes, *_notes(runs)),
        records=records,
    )


def _finite(estimate: Estimate) -> Estimate:
    """Nothing at all in place of a value that rests on something unknown."""
    return estimate if estimate.value is not None and math.isfinite(estimate.value) else _NONE


def _latency(runs: list[Run]) -> LatencyStats:
    samples = [run.tally.sample for run in runs]
    if len(samples) == 1:
        sample = samples[0]
        found = [mean_estimate(sample)]
        found += [quantile_estimate(sample, share) for share in _PERCENTILES.values()]
    else:
        found = [from_repetitions([s.mean for s in samples])]
        found += [
            from_repetitions([s.quantile(share) for s in samples])
            for share in _PERCENTILES.values()
        ]
    return LatencyStats(*(estimate.scaled(1 / PS_PER_S) for estimate in found))


def _attainment(run: Run) -> Estimate:
    """SLO attainment of one run, with a t interval over batches.

    It is at least as wide as three requests: a run without a late one only says that lateness is
    below 3 / n with 95 % confidence.
    """
    share = run.on_time / run.count
    late = run.tally.late_by_batch
    if len(late) < 2:
        return Estimate(share)
    spread = float(np.std(late * len(late) / run.count, ddof=1))
    half = max(student_t(len(late) - 1) * spread / math.sqrt(len(late)), 3 / run.count)
    return Estimate(share, max(0.0, share - half), min(1.0, share + half))


def _mlperf_estimate(scenario: Scenario, run: Run) -> float | None:
    if not scenario.closed:
        return None
    found = single_stream_estimate(run.tally.query_latencies(), scenario.percentile)
    return None if found is None else found / PS_PER_S


def _accuracy(
    table: ServiceTable, plant: Plant, runs: list[Run]
) -> tuple[float, Estimate, Estimate]:
    """Share of requests with a known accuracy, relative accuracy, drop in points."""
    bases = np.array([table.base_accuracy.get(name) or np.nan for name in plant.networks])
    counts = np.array([run.tally.requests for run in runs])
    drops = np.array([run.tally.drop for run in runs])
    with np.errstate(invalid="ignore"):
        relative = 1 - drops / np.where(counts, counts, 1) / bases
    known = np.isfinite(relative) & (counts > 0)
    known_drop = np.isfinite(drops) & (counts > 0)
    share = float(counts[known].sum() / counts.sum())
    accuracy = drop = _NONE
    if known.any(axis=1).all():
        values = np.where(known, relative * counts, 0.0).sum(axis=1)
        accuracy = from_repetitions((values / np.where(known, counts, 0).sum(axis=1)).tolist())
    if known_drop.any(axis=1).all():
        values = np.where(known_drop, drops, 0.0).sum(axis=1)
        drop = from_repetitions((values / np.where(known_drop, counts, 0).sum(axis=1)).tolist())
    return share, accuracy, drop


def _fairness(plant: Plant, tally: Tally) -> float:
    served = tally.requests > 0
    if served.sum() < 2:
        return math.nan
    priorities = np.array(plant.priorities)
    progress = tally.progress[served] / tally.requests[served] / priorities[served]
    return float(progress.min() / progress.max())


def _network(
    table: ServiceTable, plant: Plant, runs: list[Run], network: int, steady: bool
) -> NetworkResult:
    def total(metric: Callable[[Tally], NDArray[np.generic]]) -> float:
        return float(sum(metric(run.tally)[network] for run in runs))

    count = int(total(lambda tally: tally.requests))
    name = plant.networks[network]
    each = 1 / count if count else math.nan
    drop = _known(total(lambda tally: tally.drop) * each)
    base = table.base_accuracy.get(name)
    return NetworkResult(
        network=name,
        requests=count,
        slo_s=plant.slo_ps[network] / PS_PER_S,
        isolated_s=plant.isolated_ps[network] / PS_PER_S,
        latency_mean_s=_known(total(lambda t: t.latency_ps) * each / PS_PER_S) if steady else None,
        slo_attainment=_known(total(lambda tally: tally.met) * each),
        antt=_known(total(lambda tally: tally.turnaround) * each) if steady else None,
        burst_share=_known(total(lambda tally: tally.burst) * each),
        energy_j_per_request=_known(total(lambda tally: tally.energy_j) * each),
        accuracy_drop=drop,
        accuracy=None if drop is None or not base else 1 - drop / base,
    )


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _npus(plant: Plant, runs: list[Run]) -> tuple[NpuResult, ...]:
    span = sum(run.last_ps for run in runs)
    return tuple(
        NpuResult(
            npu.name,
            int(sum(run.tally.by_npu[index] for run in runs)),
            sum(run.busy_ps[index] for run in runs) / span,
            sum(run.switches[index] for run in runs),
        )
        for index, npu in enumerate(plant.npus)
    )


def _notes(runs: list[Run]) -> list[str]:
    """What small samples mean for the reader."""
    count = min(run.tally.sample.count for run in runs)
    notes = [
        f"{name} rests on {count} requests, fewer than {_FEWEST_BEYOND} of them beyond it"
        for name, share in _PERCENTILES.items()
        if count * (1 - share) < _FEWEST_BEYOND - 1e-9
    ]
    if len(runs) == 1 and count < 10 * BATCHES:
        notes.append(f"no intervals: {count} requests in one repetition are too few")
    return notes
