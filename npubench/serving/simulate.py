"""The one call: a service table, a scenario and a policy in, statistics out."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from npubench.serving.arrivals import CHUNK, Chunk, Generators, Marks, count_requests, open_loop
from npubench.serving.batching import BatchEngine
from npubench.serving.engine import Engine, jobs_of, run_closed
from npubench.serving.lindley import Lindley, applies
from npubench.serving.plant import Plant, build_plant
from npubench.serving.policy import Policy, named_policy
from npubench.serving.records import Block, Sink, to_records
from npubench.serving.result import ServeResult
from npubench.serving.retiming import RetimingEngine
from npubench.serving.scenario import Diurnal, Scenario, Trace
from npubench.serving.summary import Run, summarise
from npubench.serving.table import PS_PER_S, ServiceTable
from npubench.serving.tally import Tally

__all__ = ["offered_rate", "overload", "run_once", "simulate"]

# Queue growth that chance does not explain: requests left when arrivals end against the root of
# the number of requests, and mean latency of the second half of a run over that of the first.
_LEFT_PER_ROOT: Final = 3.0
_GROWTH: Final = 1.5


def simulate(
    table: ServiceTable,
    scenario: Scenario,
    policy: Policy | str,
    seed: int | None = None,
    *,
    keep_records: bool = False,
    general_loop: bool = False,
) -> ServeResult:
    """Run a scenario.

    Arrivals, networks and sizes depend on scenario and seed alone: every policy and every system
    sees the same requests. The same arguments give the same result, bit for bit.

    Args:
        table: the system.
        scenario: load, bounds and length.
        policy: or the name of a shipped one.
        seed: in place of the scenario's.
        keep_records: keep a row per request of the first repetition. Without it, memory does not
            grow with the number of requests, and percentiles of more than a million of them come
            from a histogram (error at most 0.05 %).
        general_loop: use the event loop where a recursion would do; for checks.

    Raises:
        InputError: the three do not fit together; every mistake at once.
    """
    chosen = named_policy(policy) if isinstance(policy, str) else policy
    plant = build_plant(table, scenario, chosen)
    seed = scenario.seed if seed is None else seed
    rate = offered_rate(plant, scenario)
    runs, records = [], None
    for repetition in range(scenario.repetitions):
        blocks: list[Block] | None = [] if keep_records and repetition == 0 else None
        runs.append(
            run_once(plant, scenario, rate, seed, repetition, blocks, general_loop=general_loop)
        )
        if blocks is not None:
            records = to_records(blocks, plant.slo_ps)
    return summarise(table, plant, scenario, seed, rate, runs, records)


def offered_rate(plant: Plant, scenario: Scenario) -> float | None:
    """Requests a second of an open loop; None for the others, which have none."""
    if scenario.kind != "server":
        return None
    if scenario.rate_rps is not None:
        return scenario.rate_rps
    if scenario.load is not None:
        return scenario.load * plant.capacity_rps
    assert isinstance(scenario.arrivals, Trace)  # the scenario checked that something sets the pace
    return scenario.arrivals.rate_rps


@dataclass(frozen=True, slots=True)
class _Collector:
    """Receives blocks: into the tally, and into the list of those to keep."""

    tally: Tally
    kept: list[Block] | None

    def __call__(self, block: Block) -> None:
        self.tally.add(block)
        if self.kept is not None:
            self.kept.append(block)


def run_once(
    plant: Plant,
    scenario: Scenario,
    rate: float | None,
    seed: int,
    repetition: int,
    kept: list[Block] | None = None,
    *,
    general_loop: bool = False,
) -> Run:
    """One repetition."""
    if scenario.closed:
        return _run_closed(plant, scenario, seed, repetition, kept)
    if rate is None:
        total = max(
            scenario.length.requests,
            math.ceil(scenario.length.duration_s * plant.capacity_rps),
        )
        chunks = _offline(scenario, seed, repetition, total)
    else:
        total = count_requests(scenario, rate, repetition, seed)
        chunks = open_loop(scenario, rate, repetition, seed, total)
    tally = Tally(plant, total, scenario.warmup if rate is not None else 0.0)
    batched = scenario.batching.kind != "none"
    sink = Sink(plant, _Collector(tally, kept), batched=batched)
    if applies(plant) and not batched and not general_loop:
        recursion = Lindley(plant, sink)
        recursion.run(chunks)
        ends = (recursion.busy_ps, [0], 0.0, 0, recursion.left_at_end, recursion.last_ps)
    else:
        engine = _engine(plant, scenario, sink)
        engine.run(jobs_of(chunks, sink))
        sink.flush()
        ends = _ends(engine)
    why = None if rate is None else _saturated(plant, scenario, rate, tally, ends[4], ends[5])
    return Run(tally, total, *ends, why)


def _engine(plant: Plant, scenario: Scenario, sink: Sink) -> Engine:
    if scenario.batching.kind != "none":
        return BatchEngine(plant, sink, scenario.batching)
    return RetimingEngine(plant, sink) if plant.policy.retimes else Engine(plant, sink)


def _ends(engine: Engine) -> tuple[list[int], list[int], float, int, int, int]:
    return (
        engine.busy_ps,
        engine.switches,
        engine.switch_energy_j,
        engine.preemptions,
        engine.left_at_end,
        engine.last_ps,
    )


def _offline(scenario: Scenario, seed: int, repetition: int, total: int) -> Iterator[Chunk]:
    """Everything at time 0."""
    marks = Marks(scenario.networks, Generators(seed, repetition))
    for first in range(0, total, CHUNK):
        count = min(CHUNK, total - first)
        networks = marks.networks(count)
        yield Chunk(first, np.zeros(count, dtype=np.int64), networks, marks.sizes(networks))


def _run_closed(
    plant: Plant, scenario: Scenario, seed: int, repetition: int, kept: list[Block] | None
) -> Run:
    blocks: list[Block] = [] if kept is None else kept
    batched = scenario.batching.kind != "none"
    sink = Sink(plant, blocks.append, batched=batched)
    engine = _engine(plant, scenario, sink)
    samples = scenario.samples_per_query
    marks = Marks(scenario.networks, Generators(seed, repetition))
    duration_ps = round(scenario.length.duration_s * PS_PER_S)
    queries = run_closed(engine, marks, samples, scenario.length.requests, duration_ps)
    total = queries * samples
    tally = Tally(plant, total, scenario.warmup, samples, exact=True)
    for block in blocks:
        tally.add(block)
    return Run(tally, total, *_ends(engine), None)


def _saturated(
    plant: Plant, scenario: Scenario, rate: float, tally: Tally, left: int, last_ps: int
) -> str | None:
    """Why the system cannot carry the load, or None.

    Certain where the fastest service that the policy allows already fills the NPUs, and random
    arrivals then grow a queue without bound. Otherwise read off the run: more requests left over
    than chance explains, and a second half slower than the first. A stretch of less than two days
    of a diurnal load proves nothing that way.
    """
    certain = overload(plant, scenario, rate)
    if certain is not None:
        return certain
    arrivals = scenario.arrivals
    if isinstance(arrivals, Diurnal) and last_ps < 2 * arrivals.period_s * PS_PER_S:
        return None
    means = tally.sample.batch_means()
    half = len(means) // 2
    if half and left > _LEFT_PER_ROOT * math.sqrt(tally.requests.sum()):
        growth = float(means[half:].mean() / means[:half].mean())
        if growth > _GROWTH:
            return (
                f"{left} requests were left when arrivals ended, and the second half of the run "
                f"took {growth:.3g} times as long as the first"
            )
    return None


def overload(plant: Plant, scenario: Scenario, rate: float) -> str | None:
    """Why no queue can be stable at a rate, known before any run; None where it may be."""
    if isinstance(scenario.arrivals, Trace):
        return None
    utilization = _least_utilization(plant, scenario, rate)
    if utilization > 1 + 1e-12 or (utilization > 1 - 1e-12 and scenario.random):
        return f"work arrives {utilization:.4g} times as fast as it can be served"
    return None


def _least_utilization(plant: Plant, scenario: Scenario, rate: float) -> float:
    """Share of the time that work at its fastest keeps the NPUs busy; the busiest one where the
    policy ties networks to NPUs.
    """
    size = scenario.batching.size if scenario.batching.kind != "none" else 1
    work = np.zeros(len(plant.npus))
    shared = 0.0
    fixed = plant.policy.modes == "fixed"
    for network, options in enumerate(plant.options):
        fastest = {
            npu: min(
                time_ps / batch
                for mode in ((chosen,) if fixed else plant.fast_modes[npu][network])
                if (service := plant.services[npu][mode][network]) is not None
                for batch, time_ps in enumerate(service.time_ps[:size], start=1)
            )
            for npu, chosen, _ in options
        }
        demand = rate / PS_PER_S * float(plant.shares[network])
        if len(fastest) == 1:
            ((npu, time_ps),) = fastest.items()
            work[npu] += demand * time_ps
        else:
            shared += demand * min(fastest.values())
    return max(float(work.max()), (float(work.sum()) + shared) / len(plant.npus))
