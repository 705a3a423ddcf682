"""Stimpack's scheduler against a literal reading of its rule, by hand and by brute force."""

from __future__ import annotations

from collections import deque

import numpy as np
import pytest

from npubench.serving import (
    Length,
    NetworkLoad,
    Npu,
    Scenario,
    Service,
    ServiceTable,
    Trace,
    find_load,
    named_policy,
    simulate,
)
from tests.serving.toys import MS, S, load, one_npu


def literal(times, networks, base, burst, slo, margin, back_ps, to_ps):
    """Predict every request, base mode, in order; burst while any deadline fails.

    O(n^2), request boundaries, one NPU. Returns (start, finish, mode) of each request.
    """
    queue, done = deque(), []
    free, index, bursting, mode = 0, 0, False, 0
    while index < len(times) or queue:
        if not queue:
            free = max(free, times[index])
        while index < len(times) and times[index] <= free:
            queue.append(index)
            index += 1
        reached, violated, calm = free, False, True
        for request in queue:
            reached += base[networks[request]]
            deadline = times[request] + slo[networks[request]]
            violated |= reached > deadline
            reserve = round(margin * slo[networks[request]])
            calm &= reached + back_ps + reserve <= deadline
        bursting = not calm if bursting else violated
        head = queue.popleft()
        wanted = 1 if bursting else 0
        stall = 0 if wanted == mode else (to_ps if wanted else back_ps)
        mode = wanted
        finish = free + stall + (burst if wanted else base)[networks[head]]
        done.append((free, finish, wanted))
        free = finish
    return done


@pytest.mark.parametrize("seed", range(12))
def test_decisions_equal_the_literal_rule(seed: int) -> None:
    rng = np.random.default_rng(seed)
    base = [S, 3 * S, S // 2]
    burst = [int(b / rng.uniform(1.2, 2.0)) for b in base]
    bounds = [float(rng.uniform(2, 12)) for _ in base]
    margin = float(rng.choice([0.0, 0.1, 0.5]))
    to_burst, back = (int(x) for x in rng.integers(0, S, 2))
    names = [f"n{k}" for k in range(3)]
    switch = ((0, to_burst), (back, 0))
    services = [
        Service(name, "npu", mode, (ps[k],))
        for k, name in enumerate(names)
        for mode, ps in (("base", base), ("burst", burst))
    ]
    table = ServiceTable("t", (Npu("npu", ("base", "burst"), switch),), tuple(services))
    gaps = rng.exponential(1.4e-3 * rng.uniform(0.7, 1.3), 3000)
    drawn = rng.integers(0, 3, 3000)
    trace = Trace(np.cumsum(gaps), drawn)
    networks = tuple(
        NetworkLoad(name, slo_isolated=bound) for name, bound in zip(names, bounds, strict=True)
    )
    scenario = Scenario("s", networks, arrivals=trace, warmup=0.0)
    policy = named_policy("stimpack", margin=margin)
    result = simulate(table, scenario, policy, keep_records=True)
    records = result.records
    slo = [round(row.slo_s * 1e12) for row in result.networks]
    expected = literal(
        records["arrival_ps"].tolist(), drawn.tolist(), base, burst, slo, margin, back, to_burst
    )
    found = zip(
        records["start_ps"].tolist(),
        records["finish_ps"].tolist(),
        records["mode"].tolist(),
        strict=True,
    )
    assert list(found) == expected
    assert 0 < result.burst_share.value < 1


def everything_at_once(count: int, slo: float, speedup: float = 2.0):
    trace = Trace(np.zeros(count), np.zeros(count, dtype=np.int64))
    scenario = Scenario("s", (NetworkLoad("net", slo_isolated=slo),), arrivals=trace, warmup=0.0)
    policy = named_policy("stimpack", margin=0.0)
    return simulate(one_npu(speedup=speedup), scenario, policy, keep_records=True).records


@pytest.mark.parametrize(("count", "slo"), [(10, 7), (10, 8.5), (10, 9.5), (10, 10), (20, 5)])
def test_the_fewest_from_the_head_burst(count: int, slo: float) -> None:
    modes = everything_at_once(count, slo)["mode"].tolist()
    # The first request starts in base mode, alone; then by brute force over how many burst.
    waiting = count - 1
    fewest = waiting
    for burst in range(waiting + 1):
        ends = 1 + np.cumsum([0.5] * burst + [1.0] * (waiting - burst))
        if np.all(ends <= slo):
            fewest = burst
            break
    assert modes == [0] + [1] * fewest + [0] * (waiting - fewest)


def test_no_load_no_burst() -> None:
    result = simulate(one_npu(speedup=2), load(0.01, 20_000, slo=3), "stimpack")
    assert result.burst_share.value == 0
    assert result.accuracy.value == 1
    assert result.accuracy_drop.value == 0
    assert result.npus[0].switches == 0


def test_a_burst_that_loses_too_much_accuracy_never_happens() -> None:
    table = one_npu(speedup=2, drop=0.8)
    scenario = load(0.9, 20_000, slo=5)
    bound = named_policy("stimpack", accuracy_drop=0.5)
    assert simulate(table, scenario, bound).burst_share.value == 0
    assert simulate(table, scenario, "stimpack").burst_share.value > 0.1


@pytest.mark.parametrize("switch_at", ["instant", "layer", "request"])
def test_switching_on_the_way(switch_at: str) -> None:
    # Ten requests at once, bound 8 ms, twice as fast in burst mode, ten layers.
    trace = Trace(np.array([0.0, 0.00025, *[0.00031] * 8]), np.zeros(10, dtype=np.int64))
    scenario = Scenario("s", (NetworkLoad("net", slo_s=0.006),), arrivals=trace, warmup=0.0)
    policy = named_policy("stimpack", margin=0.0, switch_at=switch_at)
    records = simulate(one_npu(speedup=2, layers=10), scenario, policy, keep_records=True).records
    first = records[0]
    # The sixth arrival at 0.31 ms makes the seventh miss: 0.31 + 0.69 + 6 > 0.31 + 6.
    expected = {
        "instant": (310 * MS // 1000 + 345 * MS // 1000, 1),
        "layer": (400 * MS // 1000 + 300 * MS // 1000, 1),
        "request": (MS, 0),
    }
    assert (int(first["finish_ps"]), int(first["mode"])) == expected[switch_at]
    shares = {"instant": 0.31, "layer": 0.4, "request": 1.0}
    joules = 2e-3 * shares[switch_at] + 1e-3 * (1 - shares[switch_at])
    assert first["energy_j"] == pytest.approx(joules, rel=1e-9)


def test_switches_cost_time_and_energy() -> None:
    base = one_npu(speedup=2)
    switch = ((0, S // 4), (S // 2, 0))
    joules = ((0.0, 3e-3), (5e-3, 0.0))
    npu = Npu("npu", ("base", "burst"), switch, joules)
    table = ServiceTable("t", (npu,), base.services)
    trace = Trace(np.array([0.0, 0.0, 0.0, 1.0]), np.zeros(4, dtype=np.int64))
    scenario = Scenario("s", (NetworkLoad("net", slo_s=2e-3),), arrivals=trace, warmup=0.0)
    result = simulate(table, scenario, "stimpack", keep_records=True)
    # Base; switch and burst twice (the third would end at 3 ms); a second later back to base.
    ends = [1.0, 1.75, 2.25, 1001.5]
    assert (result.records["finish_ps"] / MS).tolist() == ends
    assert result.npus[0].switches == 2
    assert result.switch_energy_j == pytest.approx(8e-3)
    each = (2e-3 + 1e-3 + 1e-3 + 2e-3 + 8e-3) / 4
    assert result.energy_j_per_request.value == pytest.approx(each)
    assert result.npus[0].utilization == pytest.approx((2.25 + 1.5) / 1001.5)


# Bound as a multiple of the isolated latency: load gain of a server 1.484 times faster, M/D/1.
LOAD_GAIN = {3: 1.38, 5: 0.85, 10: 0.62, 20: 0.55}


@pytest.mark.parametrize(
    "slo", [pytest.param(s, marks=() if s in (3, 10) else pytest.mark.slow) for s in LOAD_GAIN]
)
def test_load_gain_of_a_faster_server(slo: float) -> None:
    table = one_npu(speedup=1.484)
    scenario = load(0.5, 120_000, slo=slo)
    base = find_load(table, scenario, "fifo").rate_rps.value
    always = find_load(table, scenario, named_policy("fifo", mode="burst")).rate_rps.value
    assert always / base - 1 == pytest.approx(LOAD_GAIN[slo], abs=0.05)
    assert always / base - 1 >= 0.484
    # Bursting only in danger carries more than never, and at most as much as always.
    stimpack = find_load(table, scenario, "stimpack").rate_rps.value
    assert 1.2 * base < stimpack <= always * 1.02


def test_precision_per_request_has_no_switch_cost_and_takes_the_fastest_when_late() -> None:
    npu = Npu("ap", ("w8", "w6", "w4"))
    times = {"w8": 8 * S, "w6": 5 * S, "w4": 2 * S}
    services = tuple(
        Service("net", "ap", m, (t,), (), d)
        for (m, t), d in zip(times.items(), (0.0, 0.4, 3.0), strict=True)
    )
    table = ServiceTable("ap", (npu,), services)
    trace = Trace(np.array([0.0, 0.001, 0.001, 0.001]), np.zeros(4, dtype=np.int64))
    scenario = Scenario("s", (NetworkLoad("net", slo_s=0.014),), arrivals=trace, warmup=0.0)
    records = simulate(table, scenario, "per_request", keep_records=True).records
    # 8 ms; at 8 ms 7 ms are left: w6; at 13 ms 2 ms are left: w4, ends at 15; then late: w4.
    assert records["mode"].tolist() == [0, 1, 2, 2]
    assert (records["finish_ps"] // S).tolist() == [8, 13, 15, 17]
    bound = named_policy("per_request", accuracy_drop=0.5)
    records = simulate(table, scenario, bound, keep_records=True).records
    assert records["mode"].tolist() == [0, 1, 1, 1]


def test_several_npus_each_have_their_own_scheduler() -> None:
    modes = ("base", "burst")
    npus = tuple(Npu(f"npu{k}", modes) for k in range(3))
    services = tuple(
        Service("net", npu.name, mode, (ps,))
        for npu in npus
        for mode, ps in zip(modes, (S, S // 2), strict=True)
    )
    table = ServiceTable("three", npus, services)
    scenario = Scenario("s", (NetworkLoad("net", slo_isolated=3),), load=1.1, length=Length(30_000))
    result = simulate(table, scenario, "stimpack")
    assert not result.saturated
    assert 0.05 < result.burst_share.value < 0.9
    assert simulate(table, scenario, "least_response").saturated
