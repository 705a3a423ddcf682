"""What a serving run answers; free of any output format.

Latency is finish minus scheduled arrival. Every estimate carries a 95 % interval where one can be
given: over repetitions when there are two or more, else within the run. Statistics leave out the
warm-up; utilization, switches, and the energy of switching and of static power cover the whole run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from npubench.serving.estimates import Estimate

__all__ = [
    "LatencyStats",
    "LoadResult",
    "NetworkResult",
    "NpuResult",
    "Probe",
    "ServeResult",
    "system_throughput",
]


@dataclass(frozen=True, slots=True)
class LatencyStats:
    """Seconds; no value at all when the system is saturated."""

    mean: Estimate
    p50: Estimate
    p90: Estimate
    p99: Estimate
    p999: Estimate


@dataclass(frozen=True, slots=True)
class NetworkResult:
    """One network of the mix.

    Attributes:
        network: its name.
        requests: measured.
        slo_s: bound in force.
        isolated_s: base-mode service time on the fastest NPU.
        latency_mean_s: None when saturated.
        slo_attainment: share of requests within the bound; None without requests, as all below.
        antt: mean of latency over isolated time; None when saturated.
        burst_share: share of requests that ran, in whole or part, outside the base mode.
        energy_j_per_request: of the services alone; None where the table has no energy.
        accuracy_drop: points lost against the network's base, mean over requests; None when the
            accuracy of a mode that served it is unknown.
        accuracy: relative to the base, 1 without loss; None as above or without a base.
    """

    network: str
    requests: int
    slo_s: float
    isolated_s: float
    latency_mean_s: float | None
    slo_attainment: float | None
    antt: float | None
    burst_share: float | None
    energy_j_per_request: float | None
    accuracy_drop: float | None
    accuracy: float | None


@dataclass(frozen=True, slots=True)
class NpuResult:
    """One NPU: measured requests, share of time busy (stalls included), changes of mode."""

    npu: str
    requests: int
    utilization: float
    switches: int


@dataclass(frozen=True, slots=True, eq=False)
class ServeResult:
    """A system under a scenario and a policy.

    Attributes:
        system, scenario, policy, kind, seed, repetitions: what was run.
        load_rps: offered requests a second; None for closed loops and offline.
        load: the same over the nominal capacity.
        capacity_rps: nominal: every NPU busy in base mode, batch 1.
        requests: measured, over all repetitions.
        latency_s: of requests; of queries (8 samples, the last one counts) for multi_stream.
        throughput_rps: requests finished a second.
        goodput_rps: those within their bound.
        slo_attainment: share of requests within their bound.
        early_stopping: whether MLPerf's early-stopping rule passes at the scenario's percentile.
        mlperf_estimate_s: MLPerf's early-stopping estimate of the latency percentile, for
            single_stream (p90) and multi_stream (p99); None for too few queries.
        burst_share: share of requests outside the base mode.
        energy_j_per_request: services, switching and static power; None where a service has none.
        accuracy_drop: points, mean over the requests whose accuracy is known.
        accuracy: relative to each network's own base, mean over the requests where it is known.
        accuracy_known: share of requests that ``accuracy`` covers.
        antt: average normalised turnaround time, mean of latency / isolated time.
        stp: isolated time of the work done per unit of time (accumulated progress); the jobs that
            the system carries at their full speed.
        fairness: least over greatest mean progress (isolated / latency, over the priority's share)
            of the networks; 1 is fair. None for a single network.
        preemptions, switch_energy_j: totals.
        networks, npus: in the order of the scenario and the table.
        saturated: the system cannot carry the load; latencies then grow with the run's length and
            are not given.
        saturated_because: in words.
        notes: what a reader should know.
        records: `npubench.serving.records.RECORD` rows of the first repetition by request number,
            warm-up included, if kept.
    """

    system: str
    scenario: str
    policy: str
    kind: str
    seed: int
    repetitions: int
    load_rps: float | None
    load: float | None
    capacity_rps: float
    requests: int
    latency_s: LatencyStats
    throughput_rps: Estimate
    goodput_rps: Estimate
    slo_attainment: Estimate
    early_stopping: bool
    mlperf_estimate_s: float | None
    burst_share: Estimate
    energy_j_per_request: Estimate
    accuracy_drop: Estimate
    accuracy: Estimate
    accuracy_known: float
    antt: Estimate
    stp: Estimate
    fairness: Estimate
    preemptions: int
    switch_energy_j: float
    networks: tuple[NetworkResult, ...]
    npus: tuple[NpuResult, ...]
    saturated: bool
    saturated_because: str | None
    notes: tuple[str, ...]
    records: NDArray[np.void] | None = None


@dataclass(frozen=True, slots=True)
class Probe:
    """One rate tried by a search: requests within and beyond their bounds, and the verdict.

    Both counts are 0 where the rate exceeds what the system can serve and nothing was run.
    """

    rate_rps: float
    on_time: int
    late: int
    saturated: bool
    passed: bool


@dataclass(frozen=True, slots=True)
class LoadResult:
    """The largest load within the bounds.

    Attributes:
        rate_rps: requests a second, with a 95 % interval over repetitions; value None when no load
            meets the bounds.
        load: the same over the nominal capacity.
        capacity_rps: nominal.
        percentile: of the latency that must be within the bound.
        brackets: by repetition, (largest rate that passed, least rate that failed).
        probes: by repetition, the rates tried, in order.
        reason: why there is no value.
        notes: what a reader should know.
    """

    system: str
    scenario: str
    policy: str
    rate_rps: Estimate
    load: Estimate
    capacity_rps: float
    percentile: float
    brackets: tuple[tuple[float, float], ...]
    probes: tuple[tuple[Probe, ...], ...]
    reason: str | None = None
    notes: tuple[str, ...] = ()


def system_throughput(isolated: Mapping[str, float], shared: Mapping[str, float]) -> float:
    """STP of a closed set of co-running jobs: sum of isolated over shared time, by job.

    Source: Eyerman and Eeckhout, IEEE Micro 28(3), 2008. At most the number of jobs.
    """
    return sum(isolated[job] / shared[job] for job in isolated)
