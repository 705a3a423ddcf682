"""The simulator against closed forms: M/M/1, M/D/1, M/G/1, M/M/c, M/D/c, priorities, two speeds.

Limits are those that a million arrivals hold: mean 2 %, p99 5 %, loads up to 80 % (90 % for means).
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from npubench.serving import Length, NetworkLoad, Scenario, Uniform, named_policy, simulate
from npubench.serving.timeline import in_system, waiting
from tests.serving.toys import S, load, networks_on_one, one_npu, twins

# rho: mean wait, p99 of the latency, in units of the service time (M/D/1, Crommelin's series).
M_D_1 = {0.1: (0.0556, 1.953), 0.3: (0.2143, 2.891), 0.5: (0.5, 4.336), 0.6: (0.75, 5.530)}
M_D_1 |= {0.7: (1.1667, 7.485), 0.8: (2.0, 11.356)}


def milliseconds(estimate) -> float:
    return estimate.value * 1e3


@pytest.mark.parametrize("rho", M_D_1)
def test_m_d_1(rho: float) -> None:
    wait, p99 = M_D_1[rho]
    result = simulate(one_npu(), load(rho, 1_000_000), "fifo")
    assert milliseconds(result.latency_s.mean) == pytest.approx(1 + wait, rel=0.02)
    assert milliseconds(result.latency_s.p99) == pytest.approx(p99, rel=0.05)
    assert result.npus[0].utilization == pytest.approx(rho, rel=0.01)


@pytest.mark.parametrize("rho", [0.3, 0.5, 0.8])
def test_m_m_1(rho: float) -> None:
    scenario = load(rho, 400_000, size="exponential", repetitions=5)
    result = simulate(one_npu(), scenario, "fifo")
    mean, p99 = 1 / (1 - rho), math.log(100) / (1 - rho)
    assert milliseconds(result.latency_s.mean) == pytest.approx(mean, rel=0.02)
    assert milliseconds(result.latency_s.p99) == pytest.approx(p99, rel=0.05)
    p50 = milliseconds(result.latency_s.p50)
    assert p50 == pytest.approx(math.log(2) / (1 - rho), rel=0.03)


def test_m_g_1_by_pollaczek_and_khinchine() -> None:
    cv, rho = 0.5, 0.7
    scenario = load(rho, 1_000_000, size="lognormal", cv=cv)
    result = simulate(one_npu(), scenario, "fifo")
    wait = rho * (1 + cv**2) / (2 * (1 - rho))
    assert milliseconds(result.latency_s.mean) == pytest.approx(1 + wait, rel=0.02)


def test_intervals_cover_the_truth() -> None:
    # 40 independent runs, each with its own 95 % interval of the mean: 33 or fewer hits would have
    # a chance below 1 % if the intervals kept their promise.
    hits = 0
    for seed in range(40):
        result = simulate(one_npu(), load(0.5, 40_000), "fifo", seed)
        mean = result.latency_s.mean
        hits += mean.low <= 1.5e-3 <= mean.high
    assert hits >= 34


def erlang_c(servers: int, offered: float) -> float:
    below = sum(offered**k / math.factorial(k) for k in range(servers))
    full = offered**servers / math.factorial(servers) * servers / (servers - offered)
    return full / (below + full)


@pytest.mark.parametrize(("servers", "rho"), [(2, 0.8), (4, 0.7)])
def test_m_m_c(servers: int, rho: float) -> None:
    scenario = load(rho, 500_000, size="exponential")
    result = simulate(twins(servers), scenario, "fifo")
    offered = servers * rho
    wait = erlang_c(servers, offered) / (servers - offered)
    assert milliseconds(result.latency_s.mean) == pytest.approx(1 + wait, rel=0.02)


@pytest.mark.parametrize(
    ("servers", "rho", "cosmetatos"),
    [(2, 0.8, 0.901), (4, 0.7, 0.189), pytest.param(4, 0.9, 1.000, marks=pytest.mark.slow)],
)
def test_m_d_c(servers: int, rho: float, cosmetatos: float) -> None:
    result = simulate(twins(servers), load(rho, 1_000_000), "fifo")
    assert milliseconds(result.latency_s.mean) == pytest.approx(1 + cosmetatos, rel=0.02)


def test_d_d_1_never_waits() -> None:
    for rho in (0.5, 1.0):
        scenario = replace(load(rho, 10_000), arrivals=Uniform())
        result = simulate(one_npu(), scenario, "fifo")
        assert not result.saturated
        assert result.latency_s.mean.value == pytest.approx(1e-3, rel=1e-12)
        assert result.latency_s.p999.value == pytest.approx(1e-3, rel=1e-12)


def two_classes(policy: str):
    table = networks_on_one({"short": S, "long": 3 * S})
    networks = (NetworkLoad("short", slo_isolated=10), NetworkLoad("long", slo_isolated=10))
    scenario = Scenario("two", networks, rate_rps=400.0, length=Length(1_000_000))
    return simulate(table, scenario, policy)


def test_short_first_as_cobham_has_it() -> None:
    fifo, short_first = two_classes("fifo"), two_classes("sjf")
    waits = {}
    for result in (fifo, short_first):
        short, long = result.networks
        waits[result.policy] = (short.latency_mean_s * 1e3 - 1, long.latency_mean_s * 1e3 - 3)
    assert waits["fifo"] == pytest.approx((5.0, 5.0), rel=0.03)
    assert waits["sjf"] == pytest.approx((1.25, 6.25), rel=0.03)
    # Conservation: the sum of rho_k W_k does not depend on the order.
    sums = {name: 0.2 * short + 0.6 * long for name, (short, long) in waits.items()}
    assert sums["sjf"] == pytest.approx(sums["fifo"], rel=0.02)


# (rho, speed-up, threshold): share finished in burst, mean latency x mu (birth and death process).
TWO_SPEED = {
    (0.7, 2, 3): (0.1942, 1.8646),
    (0.9, 2, 3): (0.3285, 2.0873),
    (1.2, 2, 3): (0.5427, 2.4623),
    (0.9, 1.484, 3): (0.4060, 2.6624),
    (1.2, 2, 8): (0.3945, 5.3556),
}


# Half a million requests each: two cases by default, which differ in load and threshold.
ALWAYS = ((0.9, 2, 3), (1.2, 2, 8))


@pytest.mark.parametrize(
    "case", [pytest.param(c, marks=() if c in ALWAYS else pytest.mark.slow) for c in TWO_SPEED]
)
def test_two_speed_server(case: tuple[float, float, int]) -> None:
    rho, speedup, threshold = case
    share, latency = TWO_SPEED[case]
    policy = named_policy("threshold", threshold=threshold)
    scenario = load(rho, 400_000, size="exponential")
    result = simulate(one_npu(speedup=speedup), scenario, policy)
    assert not result.saturated
    assert milliseconds(result.latency_s.mean) == pytest.approx(latency, rel=0.02)
    assert result.burst_share.value == pytest.approx(share, rel=0.02)
    # Expected accuracy = base - burst share x drop; the base is 80 %, the drop 0.5 points.
    assert result.accuracy_drop.value == pytest.approx(0.5 * result.burst_share.value)
    assert result.accuracy.value == pytest.approx(1 - 0.5 * result.burst_share.value / 80)


def test_a_threshold_of_zero_is_the_fast_server_and_a_large_one_the_slow() -> None:
    scenario = load(0.6, 50_000, size="exponential")
    table = one_npu(speedup=2)
    always = simulate(table, scenario, named_policy("threshold", threshold=0))
    never = simulate(table, scenario, named_policy("threshold", threshold=10**6))
    fast = simulate(table, scenario, named_policy("fifo", mode="burst"))
    slow = simulate(table, scenario, "fifo")
    assert always.latency_s.mean.value == pytest.approx(fast.latency_s.mean.value, rel=1e-9)
    assert always.burst_share.value == 1
    assert never.latency_s == slow.latency_s
    assert never.burst_share.value == 0


def test_little_and_the_busy_fraction_hold_on_the_trace_itself() -> None:
    result = simulate(one_npu(), load(0.8, 20_000, warmup=0.0), "fifo", keep_records=True)
    records = result.records
    end = int(records["finish_ps"].max())
    for (times, counts), waits in (
        (in_system(records), records["finish_ps"] - records["arrival_ps"]),
        (waiting(records), records["start_ps"] - records["arrival_ps"]),
    ):
        area = sum(
            int(count) * (int(until) - int(since))
            for since, until, count in zip(times, [*times[1:], end], counts, strict=True)
        )
        assert area == int(waits.sum())
        assert counts.min() >= 0
        assert counts[-1] == 0
    busy = int((records["finish_ps"] - records["start_ps"]).sum())
    assert result.npus[0].utilization == pytest.approx(busy / end, rel=1e-12)
    assert busy == 20_000 * S
    assert np.all(np.diff(records["start_ps"]) >= S)
