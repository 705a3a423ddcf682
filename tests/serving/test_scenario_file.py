"""Scenario files and traces: what ships, and every mistake at its line, as a whole message."""

from __future__ import annotations

from pathlib import Path

import pytest

from npubench.errors import InputError, SpecError
from npubench.serving import (
    Batching,
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
    list_scenarios,
    load_scenario,
    read_trace,
    simulate,
    to_ps,
)
from npubench.serving.scenario_file import parse_scenario
from npubench.specs.catalog import list_workloads
from npubench.specs.loader import SpecDocument


def parse(text: str, folder: Path = Path()) -> Scenario:
    return parse_scenario(SpecDocument.from_text(text, "my.yaml"), folder)


def refused(text: str, folder: Path = Path()) -> str:
    with pytest.raises(InputError) as caught:
        parse(text, folder)
    return str(caught.value)


@pytest.mark.parametrize("name", list_scenarios())
def test_shipped_scenarios(name: str) -> None:
    scenario = load_scenario(name)
    assert scenario.name == name
    assert load_scenario(str(list_scenarios()[name])).networks == scenario.networks
    known = {workload for entry in list_workloads() for workload in entry.names}
    assert {network.name for network in scenario.networks} <= known


def test_a_shipped_scenario_runs_end_to_end() -> None:
    modes = ("bf16", "int8")
    scenario = load_scenario("bursty_vision")
    services = tuple(
        Service(network.name, "npu", mode, (to_ps(seconds),))
        for network in scenario.networks
        for mode, seconds in zip(modes, (1e-3, 0.6e-3), strict=True)
    )
    table = ServiceTable("toy", (Npu("npu", modes),), services)
    result = simulate(table, scenario, "stimpack")
    assert result.repetitions == 3
    assert result.requests == 3 * 190_000
    assert result.load == 0.5
    assert 0 < result.burst_share.value < 1


def test_every_field() -> None:
    scenario = parse(
        """\
name: all
title: Everything
networks:
  - {name: a, weight: 3, slo: 15 ms, priority: 9, size: {distribution: lognormal, cv: 0.5}}
  - {name: b, slo_isolated: 10}
arrivals: {process: bursty, rate: 2 kHz, peak: 5, share: 10 %, high: 20 ms}
batching: {kind: dynamic, size: 8, timeout: 2 ms}
length: {requests: 1000, duration: 60 s}
warmup: 10 %
repetitions: 4
percentile: 0.95
seed: 7
"""
    )
    assert scenario == Scenario(
        "all",
        (
            NetworkLoad("a", 3.0, 0.015, None, 9.0, Size("lognormal", 0.5)),
            NetworkLoad("b", slo_isolated=10.0),
        ),
        arrivals=Bursty(5.0, 0.1, 0.02),
        rate_rps=2000.0,
        batching=Batching("dynamic", 8, 0.002),
        length=Length(1000, 60.0),
        warmup=0.1,
        repetitions=4,
        percentile=0.95,
        seed=7,
    )


def test_defaults() -> None:
    text = "name: d\ntitle: t\nnetworks: [{name: a}]\n"
    scenario = parse(text + "arrivals: {process: poisson, load: 0.5}\n")
    assert scenario == Scenario("d", (NetworkLoad("a"),), arrivals=Poisson(), load=0.5)
    assert scenario.percentile == 0.99
    assert parse(text + "kind: single_stream\n").percentile == 0.90
    assert parse(text + "kind: multi_stream\n").percentile == 0.99
    assert parse(text + "kind: offline\n").load is None


def test_every_mistake_at_its_line() -> None:
    text = """\
name: wrong
title: Mistakes
kind: sever
networks:
  - {name: a, weight: 0, slo: 15}
  - {name: b, slo_isolatd: 10}
arrivals: {process: poisson, rate: -5 Hz}
batching: {kind: static, size: 0}
length: {requests: 0, duration: -1 s}
warmup: 150 %
repetitions: 1.5
seeds: 3
"""
    allowed = (
        "arrivals, batching, kind, length, name, networks, percentile, repetitions, seed, source, "
        "title, warmup"
    )
    assert refused(text) == (
        "my.yaml:3:7: kind: expected 'server', 'single_stream', 'multi_stream' or 'offline', "
        "got 'sever'\n"
        "  did you mean 'server'?\n"
        "my.yaml:5:23: networks.a.weight: must be above 0, got '0'\n"
        "my.yaml:5:31: networks.a.slo: expected a time such as '3 ns', got '15' (no unit)\n"
        "my.yaml:6:15: networks.b: unknown key 'slo_isolatd'\n"
        "  did you mean 'slo_isolated'?   "
        "allowed: name, priority, size, slo, slo_isolated, weight\n"
        "my.yaml:7:36: arrivals.rate: must be above 0, got '-5 Hz'\n"
        "my.yaml:8:32: batching.size: expected a positive whole number such as '128', got '0'\n"
        "my.yaml:9:20: length.requests: expected a positive whole number such as '128', got '0'\n"
        "my.yaml:9:33: length.duration: must be at least 0, got '-1 s'\n"
        "my.yaml:10:9: warmup: must be at most 1, got '150 %'\n"
        "my.yaml:11:14: repetitions: expected a positive whole number such as '128', got '1.5'\n"
        "my.yaml:12:1: unknown key 'seeds'\n"
        f"  did you mean 'seed'?   allowed: {allowed}"
    )


def test_contradictions_at_their_lines() -> None:
    text = """\
name: wrong
title: Contradictions
networks:
  - {name: a, slo: 15 ms, slo_isolated: 10}
  - {name: b, slo: 0 s}
  - {name: b}
arrivals: {process: bursty, rate: 5 Hz, load: 0.5, peak: 20, share: 10 %, high: 1 s}
batching: {kind: static, size: 4, timeout: 3 ms}
warmup: 100 %
percentile: 1
seed: -1
"""
    assert refused(text) == (
        "my.yaml:4:5: a: give either slo or slo_isolated\n"
        "my.yaml:5:5: network 'b' is listed twice; give it one weight\n"
        "my.yaml:5:20: b: slo must be above 0, got 0\n"
        "my.yaml:7:11: give either rate or load\n"
        "my.yaml:7:11: bursty needs peak above 1, share above 0, peak x share at most 1\n"
        "my.yaml:8:44: only dynamic batching has a timeout, not static\n"
        "my.yaml:9:9: warm-up is a share of at least 0, below 1, got 1\n"
        "my.yaml:10:13: percentile lies between 0 and 1, got 1\n"
        "my.yaml:11:7: seed must be at least 0, got -1"
    )


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("", "my.yaml:1:1: server needs a rate or a load"),
        (
            "arrivals: {process: poison, load: 1}\n",
            "my.yaml:4:21: arrivals.process: expected 'poisson', 'uniform', 'bursty', 'diurnal', "
            "'trace', got 'poison'\n  did you mean 'poisson'?",
        ),
        ("arrivals: {load: 1}\n", "my.yaml:4:1: arrivals: missing key 'process'"),
        (
            "kind: offline\narrivals: {process: poisson, load: 1}\n",
            "my.yaml:5:11: offline has no rate: the system sets the pace",
        ),
        (
            "arrivals: {process: diurnal, load: 1, amplitude: 50 %, period: 0 s}\n",
            "my.yaml:4:64: period must be above 0 s, got 0",
        ),
        (
            "arrivals: {process: trace, file: missing.csv}\n",
            "missing.csv: cannot be read: No such file or directory",
        ),
    ],
)
def test_arrivals_that_make_no_sense(lines: str, message: str) -> None:
    assert refused("name: w\ntitle: t\nnetworks: [{name: a}]\n" + lines) == message


def test_unknown_scenario() -> None:
    with pytest.raises(SpecError) as caught:
        load_scenario("stimpack-sevn")
    assert str(caught.value) == (
        "unknown scenario 'stimpack-sevn'\n  did you mean 'stimpack_seven'?"
    )
    assert load_scenario("Stimpack-Seven").name == "stimpack_seven"


def test_trace(tmp_path: Path) -> None:
    file = tmp_path / "t.csv"
    file.write_text("arrival_s, network\n0,a\n0.5, b\n\n0.5,a\n2e0,b\n")
    trace = read_trace(file, ["a", "b"])
    assert trace.times_s.tolist() == [0, 0.5, 0.5, 2.0]
    assert trace.networks.tolist() == [0, 1, 0, 1]
    assert trace.rate_rps == 2.0
    text = "name: t\ntitle: t\nnetworks: [{name: a}, {name: b}]\n"
    scenario = parse(text + "arrivals: {process: trace, file: t.csv}\n", tmp_path)
    assert isinstance(scenario.arrivals, Trace)
    assert (scenario.rate_rps, scenario.load) == (None, None)


def test_every_mistake_of_a_trace(tmp_path: Path) -> None:
    file = tmp_path / "t.csv"
    file.write_text("arrival_s,network\n0,a\n2,a\n1,a\n-1,a\nnan,a\nx,a\n3,c\n3\n4,ab\n")
    with pytest.raises(InputError) as caught:
        read_trace(file, ["ab", "b", "a"], "t.csv")
    assert str(caught.value) == (
        "t.csv:4: arrival 1 s is before the line above it, 2 s\n  sort the trace by arrival_s\n"
        "t.csv:5: expected seconds of at least 0, got '-1'\n"
        "t.csv:6: expected seconds of at least 0, got 'nan'\n"
        "t.csv:7: expected seconds of at least 0, got 'x'\n"
        "t.csv:8: unknown network 'c'\n  known: a, ab, b\n"
        "t.csv:9: expected 2 values, got 1"
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "t.csv:1: expected the header 'arrival_s,network', got 'nothing'"),
        ("time,net\n", "t.csv:1: expected the header 'arrival_s,network', got 'time,net'"),
        ("arrival_s,network\n", "t.csv: the trace has no requests"),
    ],
)
def test_traces_without_requests(tmp_path: Path, content: str, message: str) -> None:
    file = tmp_path / "t.csv"
    file.write_text(content)
    with pytest.raises(InputError) as caught:
        read_trace(file, ["a"], "t.csv")
    assert str(caught.value) == message


def test_long_lists_of_mistakes_are_cut(tmp_path: Path) -> None:
    file = tmp_path / "t.csv"
    file.write_text("arrival_s,network\n" + "x,a\n" * 30)
    with pytest.raises(InputError) as caught:
        read_trace(file, ["a"], "t.csv")
    lines = str(caught.value).splitlines()
    assert len(lines) == 21
    assert lines[-1] == "t.csv: and 10 more mistakes"


def test_a_scenario_in_code_refuses_what_a_file_may_not_say() -> None:
    with pytest.raises(InputError) as caught:
        Scenario(
            "s",
            (NetworkLoad("a", weight=-1),),
            rate_rps=-5.0,
            length=Length(0, -1.0),
            arrivals=Diurnal(2.0),
            repetitions=0,
            batching=Batching("dynamic", 0, -1.0),
        )
    assert str(caught.value) == (
        "scenario s: a: weight must be above 0, got -1\n"
        "scenario s: rate must be above 0, got -5\n"
        "scenario s: amplitude must be 0 to 1, got 2\n"
        "scenario s: a batch has at least 1 request, got 0\n"
        "scenario s: timeout must be at least 0 s, got -1\n"
        "scenario s: needs at least 1 request, got 0\n"
        "scenario s: duration must be at least 0 s, got -1\n"
        "scenario s: needs at least 1 repetition, got 0"
    )


def test_a_service_table_refuses_contradictions() -> None:
    with pytest.raises(InputError) as caught:
        ServiceTable(
            "t",
            (
                Npu("x", ("a", "b"), ((0, 1),), static_w=-1.0),
                Npu("x", ("a", "a")),
                Npu("y", ("a",), ((-1,),)),
            ),
            (
                Service("n", "y", "a", (0,)),
                Service("n", "y", "a", (5,), (1.0, 2.0)),
                Service("n", "y", "c", (5,), (-1.0,)),
                Service("n", "z", "a", (5, 9), (), None, (3, 2, 5)),
            ),
        )
    assert str(caught.value) == (
        "service table of t: NPU x: switch_ps of switching needs 2 rows of 2 values\n"
        "service table of t: NPU x: cost of preemption and static power are at least 0\n"
        "service table of t: two NPUs are called 'x'\n"
        "service table of t: NPU x: needs at least one mode, each named once\n"
        "service table of t: NPU y: switch_ps of switching is at least 0\n"
        "service table of t: n y a: a service takes at least 1 ps\n"
        "service table of t: n y a: given twice\n"
        "service table of t: n y a: one energy per batch size, or none\n"
        "service table of t: n y c: no such NPU or mode\n"
        "service table of t: n y c: energy is finite and at least 0\n"
        "service table of t: n z a: no such NPU or mode\n"
        "service table of t: n z a: layer ends must rise to the service time"
    )
    with pytest.raises(InputError) as caught:
        ServiceTable("t", (), ())
    assert str(caught.value) == (
        "service table of t: needs at least one NPU\nservice table of t: needs at least one service"
    )
