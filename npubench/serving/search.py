"""The largest load within the bounds, as MLPerf's Server scenario searches for it."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Final

from npubench.errors import InputError
from npubench.serving.arrivals import count_requests
from npubench.serving.estimates import (
    Estimate,
    early_stopping_total,
    from_repetitions,
    passes_early_stopping,
)
from npubench.serving.plant import Plant, build_plant
from npubench.serving.policy import Policy, named_policy
from npubench.serving.result import LoadResult, Probe
from npubench.serving.scenario import Scenario
from npubench.serving.simulate import overload, run_once
from npubench.serving.table import ServiceTable

__all__ = ["find_load"]

# Below this share of the nominal capacity nobody waits, and a bound that fails there never holds.
_IDLE: Final = 1e-3
# Longest run in seconds that picoseconds can count, with some to spare.
_LONGEST_S: Final = 4e6
_MOST_DOUBLINGS: Final = 24


def find_load(
    table: ServiceTable,
    scenario: Scenario,
    policy: Policy | str,
    seed: int | None = None,
    *,
    tolerance: float = 0.01,
) -> LoadResult:
    """Search for the largest rate at which the bounds hold.

    A rate passes when the system is not saturated and the measured requests, all networks
    together, pass MLPerf's early-stopping rule at the scenario's percentile: with 99 % confidence
    no more than 1 - percentile of them are late. Each repetition is searched on its own seed by
    doubling and then bisection in the logarithm of the rate; every rate sees the same random draws,
    only closer together. The interval is over repetitions; with one of them the bracket is all
    that is known.

    Args:
        table, policy, seed: as in `npubench.serving.simulate.simulate`.
        scenario: of kind server; its rate or load does not matter.
        tolerance: relative width of the bracket at which bisection ends.

    Raises:
        InputError: the three do not fit together, or fewer requests than early stopping needs.
    """
    if scenario.kind != "server":
        raise InputError(
            f"scenario {scenario.name}: only kind server has a load, not {scenario.kind}"
        )
    if not 0 < tolerance < 1:
        raise InputError(f"tolerance must be above 0 and below 1, got {tolerance:g}")
    chosen = named_policy(policy) if isinstance(policy, str) else policy
    plant = build_plant(table, scenario, chosen)
    seed = scenario.seed if seed is None else seed
    _check_length(scenario, plant, seed)
    found = [
        _search(plant, scenario, seed, repetition, tolerance)
        for repetition in range(scenario.repetitions)
    ]
    brackets = tuple(bracket for bracket, _ in found)
    rates = [low for low, _ in brackets]
    reason = None
    rate = from_repetitions(rates)
    if min(rates) == 0:
        rate = Estimate(None)
        reason = f"the bounds fail already at {_IDLE:g} of the nominal capacity, where nobody waits"
    return LoadResult(
        table.system,
        scenario.name,
        chosen.name,
        rate,
        rate if rate.value is None else rate.scaled(1 / plant.capacity_rps),
        plant.capacity_rps,
        scenario.percentile,
        brackets,
        tuple(probes for _, probes in found),
        reason,
        plant.notes,
    )


def _check_length(scenario: Scenario, plant: Plant, seed: int) -> None:
    needed = early_stopping_total(0, scenario.percentile)
    count = count_requests(scenario, plant.capacity_rps, 0, seed)
    measured = count - int(count * scenario.warmup)
    if measured < needed:
        raise InputError(
            f"scenario {scenario.name}: a {scenario.percentile:.4g} percentile needs at least "
            f"{needed} measured requests to pass, this run has {measured}"
        )


def _search(
    plant: Plant, scenario: Scenario, seed: int, repetition: int, tolerance: float
) -> tuple[tuple[float, float], tuple[Probe, ...]]:
    """Bracket of one repetition, and the rates tried."""
    probes: list[Probe] = []

    def passes(rate: float) -> bool:
        probe = _probe(plant, replace(scenario, load=None, rate_rps=rate), rate, seed, repetition)
        probes.append(probe)
        return probe.passed

    low, high = 0.0, 0.5 * plant.capacity_rps
    for _ in range(_MOST_DOUBLINGS):
        if not passes(high):
            break
        low, high = high, 2 * high
    if not low:
        low = max(_IDLE * plant.capacity_rps, scenario.length.requests / _LONGEST_S)
        if not passes(low):
            return (0.0, low), tuple(probes)
    while high / low > 1 + tolerance:
        middle = math.sqrt(low * high)
        if passes(middle):
            low = middle
        else:
            high = middle
    return (low, high), tuple(probes)


def _probe(plant: Plant, scenario: Scenario, rate: float, seed: int, repetition: int) -> Probe:
    if overload(plant, scenario, rate) is not None:
        return Probe(rate, 0, 0, saturated=True, passed=False)
    run = run_once(plant, scenario, rate, seed, repetition)
    late = run.count - run.on_time
    passed = run.saturated is None and passes_early_stopping(run.on_time, late, scenario.percentile)
    return Probe(rate, run.on_time, late, run.saturated is not None, passed)
