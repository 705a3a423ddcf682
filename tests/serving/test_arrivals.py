"""Arrival processes: their moments, their independence of chunks and of everything but the seed."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from npubench.serving import (
    Bursty,
    Diurnal,
    Length,
    NetworkLoad,
    Poisson,
    Scenario,
    Size,
    Trace,
    Uniform,
    arrivals,
)
from npubench.serving.arrivals import Generators, Marks, count_requests, open_loop

RATE = 1000.0


def scenario(process: object, requests: int = 100_000, **fields: object) -> Scenario:
    fields.setdefault("networks", (NetworkLoad("net"),))
    return Scenario("s", arrivals=process, rate_rps=RATE, length=Length(requests), **fields)


def times(process: object, requests: int = 100_000, rate: float = RATE, seed: int = 0):
    chunks = open_loop(scenario(process, requests), rate, 0, seed, requests)
    return np.concatenate([chunk.times_ps for chunk in chunks])


def test_poisson_gaps_and_counts() -> None:
    found = times(Poisson())
    gaps = np.diff(found) * 1e-12
    assert gaps.mean() * RATE == pytest.approx(1, abs=0.01)
    assert gaps.std() / gaps.mean() == pytest.approx(1, abs=0.01)
    counts = np.bincount((found * 1e-12 / 0.02).astype(int))[:-1]
    assert counts.mean() == pytest.approx(20, rel=0.02)
    assert counts.var() / counts.mean() == pytest.approx(1, abs=0.06)


def test_uniform_gaps_are_equal() -> None:
    found = times(Uniform(), 70_000)
    assert np.array_equal(found, np.arange(1, 70_001) * 10**9)


def test_bursty_keeps_the_mean_and_clusters() -> None:
    process = Bursty(peak=4.0, share=0.1, high_s=0.05)
    found = times(process, 400_000)
    assert len(found) / (found[-1] * 1e-12) == pytest.approx(RATE, rel=0.05)
    gaps = np.diff(found)
    assert gaps.std() / gaps.mean() > 1.1
    # Two-state process: index of dispersion for counts over long windows,
    # 1 + 2 share (1 - share) (high - low)^2 / (mean (1 / high_s + 1 / low_s)).
    low = (1 - 4.0 * 0.1) / 0.9
    low_s = 0.05 * 0.9 / 0.1
    dispersion = 1 + 2 * 0.09 * ((4.0 - low) * RATE) ** 2 / (RATE * (1 / 0.05 + 1 / low_s))
    counts = np.bincount((found * 1e-12 / 2.0).astype(int))[:-1]
    assert counts.var() / counts.mean() == pytest.approx(dispersion, rel=0.35)


def test_diurnal_follows_its_sine() -> None:
    process = Diurnal(amplitude=0.5, period_s=10.0)
    found = times(process, 300_000) * 1e-12
    phase = (found[found < 290.0] % 10.0) / 10.0
    counts = np.bincount((phase * 10).astype(int), minlength=10)
    edges = np.linspace(0, 1, 11)
    integral = edges - 0.5 / (2 * math.pi) * (np.cos(2 * math.pi * edges) - 1)
    assert counts / counts.sum() == pytest.approx(np.diff(integral), rel=0.02)


def test_diurnal_inverts_its_integral_to_rounding() -> None:
    # Where the unit-rate clock reads u, the integral of the rate must be u.
    for amplitude in (0.0, 0.5, 0.99):
        clock = arrivals._DiurnalClock(Diurnal(amplitude, 10.0), RATE)
        units = np.linspace(0.0, 3e4, 10_001)
        seconds = clock(units)
        turn = 2 * math.pi / 10.0
        back = RATE * (seconds + amplitude / turn * (1 - np.cos(turn * seconds)))
        assert back == pytest.approx(units, abs=1e-6)


@pytest.mark.parametrize("process", [Poisson(), Bursty(), Diurnal(0.9, 3.0), Uniform()])
def test_chunks_do_not_matter(process: object, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = times(process, 5_000)
    monkeypatch.setattr(arrivals, "CHUNK", 7)
    assert np.array_equal(times(process, 5_000), whole)


@pytest.mark.parametrize("process", [Poisson(), Bursty(), Diurnal(1.0, 3.0)])
def test_a_higher_rate_squeezes_the_same_draws(process: object) -> None:
    slow, fast = times(process, 2_000), times(process, 2_000, rate=2 * RATE)
    assert np.all(np.diff(slow) >= 0)
    assert np.all(fast <= slow)
    if isinstance(process, Poisson):
        assert np.abs(slow - 2 * fast).max() <= 2
    assert not np.array_equal(slow, times(process, 2_000, seed=1))


def test_networks_and_sizes() -> None:
    networks = (
        NetworkLoad("a", weight=3, size=Size("exponential")),
        NetworkLoad("b", weight=1),
        NetworkLoad("c", weight=4, size=Size("lognormal", 0.5)),
    )
    marks = Marks(networks, Generators(5, 0))
    drawn = marks.networks(200_000)
    assert np.bincount(drawn) / 200_000 == pytest.approx([3 / 8, 1 / 8, 4 / 8], rel=0.02)
    sizes = marks.sizes(drawn)
    means = [sizes[drawn == n].mean() for n in range(3)]
    deviations = [sizes[drawn == n].std() for n in range(3)]
    assert means == pytest.approx([1, 1, 1], rel=0.01)
    assert deviations == pytest.approx([1, 0, 0.5], rel=0.02)
    assert Marks((NetworkLoad("a"),), Generators(5, 0)).sizes(drawn) is None


def test_repetitions_differ() -> None:
    first, second = (
        next(iter(open_loop(scenario(Poisson()), RATE, repetition, 0, 100)))
        for repetition in range(2)
    )
    assert not np.array_equal(first.times_ps, second.times_ps)


def test_a_run_reaches_both_minima() -> None:
    base = {"networks": (NetworkLoad("net"),), "rate_rps": RATE, "name": "s"}
    long = Scenario(length=Length(10, 100.0), **base)
    count = count_requests(long, RATE, 0, 0)
    assert count == pytest.approx(100_000, rel=0.02)
    drawn = times(Poisson(), count + 1)
    assert drawn[count - 1] <= 100 * 10**12 < drawn[count]
    assert count_requests(Scenario(length=Length(500_000, 100.0), **base), RATE, 0, 0) == 500_000


def test_traces_stretch_to_a_rate() -> None:
    trace = Trace(np.array([0.0, 1.0, 4.0]), np.array([0, 1, 0]))
    networks = (NetworkLoad("a"), NetworkLoad("b"))
    made = Scenario("s", networks, arrivals=trace, rate_rps=7.5)
    (chunk,) = open_loop(made, 7.5, 0, 0, 3)
    assert chunk.times_ps.tolist() == [0, 10**11, 4 * 10**11]
    assert chunk.networks.tolist() == [0, 1, 0]


def test_numbers_do_not_depend_on_how_many_are_asked_for() -> None:
    few, many = times(Poisson(), 10), times(Poisson(), 100_000)
    assert np.array_equal(few, many[:10])
    assert all(a <= b for a, b in itertools.pairwise(many.tolist()))
