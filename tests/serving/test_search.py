"""The largest load within the bounds."""

from __future__ import annotations

from dataclasses import replace

import pytest

from npubench.errors import InputError
from npubench.serving import Length, NetworkLoad, find_load
from npubench.serving.estimates import early_stopping_total
from tests.serving.toys import load, one_npu, twins

# Largest rho with p99 within a multiple of the isolated latency, M/D/1 (Crommelin's series).
RHO_MAX = {2: 0.135, 3: 0.320, 5: 0.561, 10: 0.773, 20: 0.886}


@pytest.mark.parametrize("slo", RHO_MAX)
def test_found_load_of_m_d_1(slo: float) -> None:
    result = find_load(one_npu(), load(0.5, 200_000, slo=slo), "fifo")
    # Early stopping asks for 99 % confidence, so that it finds a little less.
    assert RHO_MAX[slo] * 0.93 < result.load.value < RHO_MAX[slo] * 1.01
    assert result.rate_rps.value == pytest.approx(result.load.value * 1_000)


def test_found_load_rises_with_the_bound_and_stays_below_capacity() -> None:
    loads = [
        find_load(one_npu(), load(0.5, 40_000, slo=slo), "fifo").load.value
        for slo in (1.5, 2, 4, 8, 16, 32, 1000)
    ]
    assert loads == sorted(loads)
    assert loads[-1] < 1


def test_the_bracket_is_tight_and_every_probe_tells() -> None:
    scenario = load(0.5, 30_000, repetitions=3)
    result = find_load(twins(2), scenario, "fifo", tolerance=0.005)
    assert len(result.brackets) == len(result.probes) == 3
    for (low, high), probes in zip(result.brackets, result.probes, strict=True):
        assert 1 < high / low <= 1.005
        verdicts = {probe.rate_rps: probe.passed for probe in probes}
        assert verdicts[low]
        assert not verdicts[high]
        for probe in probes:
            if probe.saturated and probe.rate_rps >= 2_000:
                assert (probe.on_time, probe.late) == (0, 0)
                continue
            assert probe.on_time + probe.late == 28_500
            enough = early_stopping_total(probe.late, 0.99) <= 28_500
            assert probe.passed == (enough and not probe.saturated)
    assert result.rate_rps.low < result.rate_rps.value < result.rate_rps.high
    again = find_load(twins(2), scenario, "fifo", tolerance=0.005)
    assert again == result


def test_a_bound_that_never_holds() -> None:
    scenario = replace(load(0.5, 20_000), networks=(NetworkLoad("net", slo_s=0.9e-3),))
    result = find_load(one_npu(), scenario, "fifo")
    assert result.rate_rps.value is None
    assert result.load.value is None
    assert result.reason == (
        "the bounds fail already at 0.001 of the nominal capacity, where nobody waits"
    )
    assert result.notes == (
        "net: SLO 0.9 ms is shorter than its fastest service, 1 ms: no request can meet it",
    )


def test_what_cannot_be_searched() -> None:
    closed = replace(load(0.5), kind="single_stream", load=None)
    with pytest.raises(InputError) as caught:
        find_load(one_npu(), closed, "fifo")
    assert str(caught.value) == "scenario test: only kind server has a load, not single_stream"
    with pytest.raises(InputError) as caught:
        find_load(one_npu(), replace(load(0.5), length=Length(480)), "fifo")
    assert str(caught.value) == (
        "scenario test: a 0.99 percentile needs at least 459 measured requests to pass, "
        "this run has 456"
    )
    with pytest.raises(InputError) as caught:
        find_load(one_npu(), load(0.5), "fifo", tolerance=0)
    assert str(caught.value) == "tolerance must be above 0 and below 1, got 0"
