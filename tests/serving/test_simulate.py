"""The one call: determinism, paths that agree, MLPerf's scenarios, overload, clear answers."""

from __future__ import annotations

import math
import tracemalloc
from dataclasses import fields, replace

import numpy as np
import pytest

from npubench.errors import InputError
from npubench.serving import (
    Bursty,
    Diurnal,
    Length,
    NetworkLoad,
    Npu,
    Poisson,
    Scenario,
    Service,
    ServiceTable,
    Size,
    Trace,
    named_policy,
    simulate,
)
from npubench.serving.result import system_throughput
from npubench.serving.timeline import window
from tests.serving.toys import S, load, networks_on_one, one_npu, twins


def text(result) -> str:
    """Everything in a result, for comparing runs byte by byte."""
    shown = {f.name: getattr(result, f.name) for f in fields(result) if f.name != "records"}
    return repr(shown)


@pytest.mark.parametrize("policy", ["fifo", "sjf", "stimpack", "threshold"])
def test_the_same_seed_gives_the_same_bytes(policy: str) -> None:
    scenario = load(0.8, 20_000, size="exponential", repetitions=2)
    table = one_npu(speedup=2)
    first, second = (simulate(table, scenario, policy, keep_records=True) for _ in range(2))
    assert text(first) == text(second)
    assert first.records.tobytes() == second.records.tobytes()
    other = simulate(table, scenario, policy, 1)
    assert other.latency_s != first.latency_s
    assert other.seed == 1


@pytest.mark.parametrize("size", ["constant", "exponential"])
@pytest.mark.parametrize("value", [0.5, 0.95, 1.3])
def test_the_recursion_equals_the_event_loop(size: str, value: float) -> None:
    scenario = load(value, 150_000, size=size)
    fast, general = (
        simulate(one_npu(), scenario, "fifo", keep_records=True, general_loop=general)
        for general in (False, True)
    )
    assert fast.records.tobytes() == general.records.tobytes()
    assert fast.latency_s == general.latency_s
    assert fast.slo_attainment == general.slo_attainment
    assert fast.saturated_because == general.saturated_because
    assert fast.npus == general.npus
    # Sums of ratios are taken in blocks of other sizes.
    assert fast.stp.value == pytest.approx(general.stp.value, rel=1e-12)


def test_repetitions_give_intervals_around_the_truth() -> None:
    result = simulate(one_npu(), load(0.6, 50_000, repetitions=8), "fifo")
    mean = result.latency_s.mean
    assert mean.low < 1.75e-3 < mean.high
    assert result.requests == 8 * 47_500
    assert result.repetitions == 8
    assert result.slo_attainment.low <= result.slo_attainment.value <= result.slo_attainment.high


def test_counts_add_up() -> None:
    table = networks_on_one({"a": S, "b": 2 * S})
    networks = (NetworkLoad("a", weight=3, slo_isolated=4), NetworkLoad("b", slo_isolated=2))
    scenario = Scenario("s", networks, load=0.8, length=Length(30_000), warmup=0.1)
    result = simulate(table, scenario, "fifo", keep_records=True)
    records = result.records[3_000:]
    assert result.requests == 27_000 == sum(row.requests for row in result.networks)
    assert sum(npu.requests for npu in result.npus) == 27_000
    late = ~records["met_slo"]
    assert result.slo_attainment.value == pytest.approx(1 - late.mean(), rel=1e-12)
    span = (result.records["finish_ps"].max() - records["arrival_ps"].min()) / 1e12
    assert result.throughput_rps.value == pytest.approx(27_000 / span, rel=1e-12)
    ratio = result.goodput_rps.value / result.throughput_rps.value
    assert ratio == pytest.approx(result.slo_attainment.value, rel=1e-12)
    latency = (records["finish_ps"] - records["arrival_ps"]) / 1e12
    assert result.latency_s.mean.value == pytest.approx(latency.mean(), rel=1e-12)
    for share, estimate in ((0.5, result.latency_s.p50), (0.99, result.latency_s.p99)):
        assert estimate.value == np.sort(latency)[math.ceil(share * 27_000) - 1]
    isolated = np.where(records["network"] == 0, 1e-3, 2e-3)
    assert result.antt.value == pytest.approx((latency / isolated).mean(), rel=1e-9)
    assert result.stp.value == pytest.approx(isolated.sum() / span, rel=1e-9)
    progress = isolated / latency
    means = [progress[records["network"] == n].mean() for n in (0, 1)]
    assert result.fairness.value == pytest.approx(min(means) / max(means), rel=1e-9)


def test_stp_of_jobs_that_start_together() -> None:
    trace = Trace(np.zeros(4), np.zeros(4, dtype=np.int64))
    scenario = Scenario("s", (NetworkLoad("net"),), arrivals=trace, warmup=0.0)
    result = simulate(twins(1), scenario, "fifo", keep_records=True)
    shared = {str(n): int(ps) / S for n, ps in enumerate(result.records["finish_ps"])}
    isolated = dict.fromkeys(shared, 1.0)
    assert system_throughput(isolated, shared) == pytest.approx(1 + 1 / 2 + 1 / 3 + 1 / 4)
    assert system_throughput(isolated, shared) <= 4
    assert result.antt.value == pytest.approx(2.5)


def test_memory_is_flat_without_records_and_the_histogram_agrees() -> None:
    peaks = []
    for count in (1_200_000, 2_400_000):
        scenario = load(0.7, count)
        tracemalloc.start()
        simulate(one_npu(), scenario, "fifo")
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] * 1.02
    assert peaks[1] < 60e6
    scenario = load(0.7, 1_200_000)
    flat = simulate(one_npu(), scenario, "fifo")
    kept = simulate(one_npu(), scenario, "fifo", keep_records=True)
    latency = np.sort((kept.records["finish_ps"] - kept.records["arrival_ps"])[60_000:]) / 1e12
    for share, name in ((0.5, "p50"), (0.9, "p90"), (0.99, "p99"), (0.999, "p999")):
        exact = latency[math.ceil(share * len(latency) - 1e-9) - 1]
        assert getattr(flat.latency_s, name).value == pytest.approx(exact, rel=0.0005)
    assert flat.latency_s.mean.value == pytest.approx(latency.mean(), rel=1e-9)


def test_single_stream_is_the_reciprocal_of_its_latency() -> None:
    scenario = Scenario(
        "s",
        (NetworkLoad("net", size=Size("lognormal", 0.3)),),
        kind="single_stream",
        length=Length(2_000),
        warmup=0.0,
        percentile=0.9,
    )
    result = simulate(one_npu(), scenario, "fifo", keep_records=True)
    assert result.load_rps is None
    assert not result.saturated
    assert result.throughput_rps.value == pytest.approx(1 / result.latency_s.mean.value, rel=1e-9)
    records = result.records
    assert np.array_equal(records["arrival_ps"][1:], records["finish_ps"][:-1])
    # The early-stopping estimate is an upper bound of the sample's percentile.
    assert result.mlperf_estimate_s >= result.latency_s.p90.value
    offline = simulate(one_npu(), replace(scenario, kind="offline"), "fifo")
    assert offline.throughput_rps.value >= result.throughput_rps.value * (1 - 1e-9)
    short = simulate(one_npu(), replace(scenario, length=Length(63)), "fifo")
    assert short.mlperf_estimate_s is None
    assert simulate(one_npu(), replace(scenario, length=Length(64)), "fifo").mlperf_estimate_s


def test_single_stream_lasts_for_both_minima() -> None:
    scenario = Scenario(
        "s", (NetworkLoad("net"),), kind="single_stream", length=Length(10, 0.1), warmup=0.0
    )
    assert simulate(one_npu(), scenario, "fifo").requests == 100
    scenario = replace(scenario, length=Length(200, 0.1))
    assert simulate(one_npu(), scenario, "fifo").requests == 200


def test_multi_stream_waits_for_the_last_of_eight() -> None:
    scenario = Scenario(
        "s", (NetworkLoad("net"),), kind="multi_stream", length=Length(662), warmup=0.0
    )
    result = simulate(twins(4), scenario, "fifo", keep_records=True)
    assert result.requests == 8 * 662
    assert result.latency_s.p99.value == pytest.approx(2e-3)  # eight samples on four NPUs
    assert result.mlperf_estimate_s == pytest.approx(2e-3)
    assert result.throughput_rps.value == pytest.approx(4_000)
    queries = result.records["request"] // 8
    assert np.array_equal(result.records["arrival_ps"], queries * 2 * S)


def test_offline_serves_everything_from_time_zero() -> None:
    scenario = Scenario("s", (NetworkLoad("net"),), kind="offline", length=Length(24_576))
    result = simulate(twins(3), scenario, "fifo")
    assert result.requests == 24_576
    assert result.throughput_rps.value == pytest.approx(3_000)
    assert [npu.utilization for npu in result.npus] == [1.0] * 3


@pytest.mark.parametrize("value", [1.0, 1.05, 3.0])
@pytest.mark.parametrize("process", [Poisson(), Bursty(high_s=0.1), Diurnal(0.5, 10.0)])
def test_overload_is_saturated_and_has_no_percentiles(value: float, process: object) -> None:
    scenario = replace(load(value, 30_000), arrivals=process)
    result = simulate(one_npu(), scenario, "fifo")
    assert result.saturated
    assert result.saturated_because == (
        f"work arrives {value:.4g} times as fast as it can be served"
    )
    assert result.latency_s.mean.value is None
    assert result.latency_s.p99.value is None
    assert result.antt.value is None
    assert result.networks[0].latency_mean_s is None
    assert not result.early_stopping
    assert result.throughput_rps.value == pytest.approx(1_000, rel=0.1)


def test_stable_systems_are_not_called_saturated() -> None:
    for value in (0.5, 0.9, 0.97):
        for seed in range(5):
            assert not simulate(one_npu(), load(value, 30_000), "fifo", seed).saturated


def test_saturation_that_no_formula_sees() -> None:
    # All requests go to the faster of two NPUs, which 1.2 times its capacity reach.
    npus = (Npu("fast", ("base",)), Npu("slow", ("base",)))
    services = (Service("a", "fast", "base", (S,)), Service("a", "slow", "base", (9 * S,)))
    table = ServiceTable("two", npus, services)
    networks = (NetworkLoad("a", slo_s=1.0),)
    scenario = Scenario("s", networks, rate_rps=1_200.0, length=Length(30_000))
    fastest = simulate(table, scenario, named_policy("fastest", accuracy_drop=None))
    assert fastest.saturated_because == "work arrives 1.2 times as fast as it can be served"
    queue = simulate(table, scenario, "fifo")
    assert queue.saturated
    assert queue.saturated_because.endswith("times as long as the first")
    # A burst that ends: the trace is finite, its queue is what it is.
    trace = Trace(np.zeros(100), np.zeros(100, dtype=np.int64))
    once = Scenario("s", networks, arrivals=trace, warmup=0.0)
    assert not simulate(table, once, "fifo").saturated


def test_burst_mode_saves_what_would_saturate() -> None:
    table, scenario = one_npu(speedup=2), load(1.5, 50_000)
    assert simulate(table, scenario, "fifo").saturated
    assert not simulate(table, scenario, "stimpack").saturated
    assert simulate(table, load(2.1, 50_000), "stimpack").saturated


def test_a_deadline_shorter_than_the_service_is_said() -> None:
    scenario = replace(load(0.5, 2_000), networks=(NetworkLoad("net", slo_s=0.4e-3),))
    result = simulate(one_npu(speedup=2), scenario, "stimpack")
    assert result.slo_attainment.value == 0
    assert result.goodput_rps.value == 0
    assert result.notes[0] == (
        "net: SLO 0.4 ms is shorter than its fastest service, 0.5 ms: no request can meet it"
    )


def test_few_requests_say_so() -> None:
    result = simulate(one_npu(), load(0.5, 600, warmup=0.0), "fifo")
    assert result.notes == (
        "p99 rests on 600 requests, fewer than 10 of them beyond it",
        "p99.9 rests on 600 requests, fewer than 10 of them beyond it",
    )
    result = simulate(one_npu(), load(0.5, 100, warmup=0.0), "fifo")
    assert result.notes[-1] == "no intervals: 100 requests in one repetition are too few"
    assert result.latency_s.mean.low is None
    assert simulate(one_npu(), load(0.5, 10_000, warmup=0.0), "fifo").notes == ()


def test_default_bounds_are_named() -> None:
    table = networks_on_one({"resnet50": S, "other": S})
    networks = (NetworkLoad("resnet50"), NetworkLoad("other"))
    scenario = Scenario("s", networks, load=0.5, length=Length(20_000))
    result = simulate(table, scenario, "fifo")
    assert [row.slo_s for row in result.networks] == [0.015, 0.01]
    assert result.notes[:2] == (
        "resnet50: SLO 15 ms (MLPerf Server bound)",
        "other: SLO 10 ms (10 x isolated latency)",
    )


def test_unknown_networks_come_all_at_once() -> None:
    networks = (NetworkLoad("nat"), NetworkLoad("vgg"))
    scenario = Scenario("s", networks, load=0.5, length=Length(100))
    with pytest.raises(InputError) as caught:
        simulate(one_npu(), scenario, "fifo")
    assert str(caught.value) == (
        "toy has no network 'nat'\n  did you mean 'net'?\ntoy has no network 'vgg'\n  known: net"
    )


def test_a_central_queue_needs_every_npu() -> None:
    npus = (Npu("x", ("base",)), Npu("y", ("base",)))
    services = (
        Service("net", "x", "base", (S,)),
        Service("other", "x", "base", (S,)),
        Service("net", "y", "base", (S,)),
    )
    table = ServiceTable("two", npus, services)
    networks = (NetworkLoad("net"), NetworkLoad("other"))
    scenario = Scenario("s", networks, load=0.5, length=Length(1_000))
    with pytest.raises(InputError) as caught:
        simulate(table, scenario, "fifo")
    assert str(caught.value) == (
        "other: not served by y, and a central queue feeds all NPUs\n"
        "  use a policy that places requests, such as least_response"
    )
    placed = simulate(table, scenario, "least_response", keep_records=True).records
    assert set(placed["npu"][placed["network"] == 1].tolist()) == {0}


def test_times_beyond_what_picoseconds_hold() -> None:
    scenario = Scenario("s", (NetworkLoad("net"),), rate_rps=1e-3, length=Length(10_000))
    with pytest.raises(InputError) as caught:
        simulate(one_npu(), scenario, "fifo")
    message = str(caught.value)
    assert message.startswith("arrivals reach ")
    assert message.endswith(
        "the simulation counts picoseconds and ends at 4.61e+06 s: "
        "raise the rate or ask for fewer requests"
    )


def test_attainment_intervals_cover_the_truth_at_high_load() -> None:
    # M/M/1 at 80 %: P(T <= 10 S) = 1 - exp(-2); waits are correlated over hundreds of requests.
    scenario = replace(
        load(0.8, 100_000, size="exponential"),
        networks=(NetworkLoad("net", slo_s=10e-3, size=Size("exponential")),),
    )
    truth, hits = 1 - math.exp(-2), 0
    for seed in range(20):
        estimate = simulate(one_npu(), scenario, "fifo", seed).slo_attainment
        hits += estimate.low <= truth <= estimate.high
    assert hits >= 16
    sure = simulate(one_npu(), load(0.05, 20_000), "fifo").slo_attainment
    assert (sure.value, sure.high) == (1.0, 1.0)
    assert sure.low == pytest.approx(1 - 3 / 19_000)


def test_a_stretch_of_a_day_is_not_called_saturated() -> None:
    scenario = replace(load(0.8, 30_000), arrivals=Diurnal(0.5, 120.0))
    assert not simulate(one_npu(), scenario, "fifo").saturated


def test_a_window_of_the_timeline() -> None:
    records = simulate(twins(2), load(0.7, 500), "fifo", keep_records=True).records
    begin, end = 20 * S, 40 * S
    rows = window(records, begin, end)
    inside = [r for r in records if r["start_ps"] < end and r["finish_ps"] > begin]
    assert len(rows) == len(inside)
    assert [(r["npu"], r["start_ps"]) for r in rows] == sorted(
        (r["npu"], r["start_ps"]) for r in inside
    )
