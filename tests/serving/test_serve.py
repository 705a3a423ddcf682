"""Systems side by side: the same requests and bounds for all, in values, JSON, files and words."""

# ruff: noqa: E501 (whole messages are compared, as long as they are)

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest

from npubench.errors import InputError, OptionError
from npubench.report.render import to_csv, to_markdown
from npubench.report.serve_view import serve_view
from npubench.serving import POLICIES
from npubench.serving.policy_text import parse_policy
from npubench.study.serialise import dumps
from npubench.study.serve_document import serving_to_json
from npubench.study.serve_records import records_file
from npubench.study.serve_request import Load, parse_loads
from tests.serving.serve_toys import SCENARIO, prepared, served, toy_request
from tests.study.schema_check import validate


def test_every_system_is_offered_the_same_requests(tmp_path: Path) -> None:
    answer = served(toy_request(tmp_path, policies=("fifo", "stimpack"), keep_records=True))
    assert [(one.system.name, one.policy.name) for one in answer.served] == [
        ("slow", "fifo"),
        ("slow", "stimpack"),
        ("fast", "fifo"),
        ("fast", "stimpack"),
    ]
    first, *others = [result.records for result in answer.results]
    for records in others:
        assert np.array_equal(records["arrival_ps"], first["arrival_ps"])
        assert np.array_equal(records["network"], first["network"])
    # Load 0.5 of the slow system's 1 / 1.5 ms is a quarter of the fast one's capacity.
    assert [result.load for result in answer.results] == pytest.approx([0.5, 0.5, 0.25, 0.25])
    assert {part.slo_s for result in answer.results for part in result.networks} == {0.01, 0.02}


def test_the_same_request_gives_the_same_bytes(tmp_path: Path) -> None:
    request = toy_request(tmp_path, repetitions=2, loads="0.3,0.9")
    first, second = (dumps(serving_to_json(served(request))) for _ in range(2))
    assert first == second
    other = dumps(
        serving_to_json(served(toy_request(tmp_path, repetitions=2, loads="0.3,0.9", seed=1)))
    )
    assert other != first


def test_the_document_follows_its_schema(tmp_path: Path) -> None:
    answer = served(toy_request(tmp_path, loads="0.5,2.5", requests=3000))
    document = serving_to_json(answer)
    validate(document)
    assert json.loads(dumps(document)) == document
    head, result = document, document["results"][0]["result"]
    assert head["system"] == "slow"
    assert head["latency_s"]["p99"] == result["latency_s"]["p99"]["value"]
    assert head["load_rps"] == pytest.approx(0.5 / 1.5e-3)
    assert head["accuracy"] == 1.0  # nothing burst: the base has lost nothing
    # Two and a half times the slow one's capacity is more than the fast one serves in base mode.
    (over,) = (r["result"] for r in document["results"][3:])
    assert over["saturated"] is True
    assert over["latency_s"]["p99"] == {"value": None, "low": None, "high": None}
    assert document["bounds"] == {"a": 0.01, "b": 0.02}


def test_a_search_is_answered_with_the_statistics_at_the_load_found(tmp_path: Path) -> None:
    answer = served(toy_request(tmp_path, find_load=True, requests=2000, repetitions=2))
    validate(serving_to_json(answer))
    slow, fast = answer.served
    assert slow.found.rate_rps.value < fast.found.rate_rps.value
    assert slow.result.load_rps == slow.found.rate_rps.value
    assert not slow.result.saturated
    table = serve_view(answer).tables[0]
    ratios = [row[-1] for row in table.rows]
    assert ratios == [1.0, fast.found.rate_rps.value / slow.found.rate_rps.value]


def test_a_bound_shorter_than_the_service_is_said_and_no_load_is_found(tmp_path: Path) -> None:
    answer = served(toy_request(tmp_path, slo=("0.1 ms",), requests=2000))
    assert {result.slo_attainment.value for result in answer.results} == {0.0}
    notes = " ".join(serve_view(answer).notes)
    assert (
        "a: SLO 0.1 ms is shorter than its fastest service, 0.5 ms: no request can meet it."
    ) in notes
    found = served(toy_request(tmp_path, slo=("0.1 ms",), requests=2000, find_load=True))
    assert [one.result for one in found.served] == [None, None]
    document = serving_to_json(found)
    validate(document)
    assert document["latency_s"] is None
    assert serve_view(found).findings[0] == (
        "slow, stimpack: the bounds fail already at 0.001 of the nominal capacity, where nobody "
        "waits."
    )


def test_overload_says_saturated_in_every_form(tmp_path: Path) -> None:
    view = serve_view(served(toy_request(tmp_path, loads="9", requests=2000)))
    assert view.findings == (
        "slow, stimpack: saturated at 6000 requests a second: work arrives 4.5 times as fast as it "
        "can be served.",
        "fast, fifo: saturated at 6000 requests a second: work arrives 4.5 times as fast as it can "
        "be served.",
    )
    rows = list(csv.DictReader(io.StringIO(to_csv(view.record))))
    assert [row["saturated"] for row in rows] == ["true", "true"]
    assert [row["p99_s"] for row in rows] == ["", ""]
    assert "saturated" in to_markdown(view)


def test_records_in_both_forms_hold_every_request(tmp_path: Path) -> None:
    answer = served(toy_request(tmp_path, keep_records=True, loads="1.2", requests=500))
    text = records_file(answer.served, ".csv").decode()
    rows = list(csv.DictReader(io.StringIO(text)))
    assert len(rows) == 1000
    assert {row["system"] for row in rows} == {"slow", "fast"}
    kept = answer.results[0].records
    assert [int(row["finish_ps"]) for row in rows[:500]] == kept["finish_ps"].tolist()
    assert [row["mode"] for row in rows[:500]] == [("base", "burst")[m] for m in kept["mode"]]
    assert {row["met_slo"] for row in rows} <= {"true", "false"}
    pq = pytest.importorskip("pyarrow.parquet")
    table = pq.read_table(io.BytesIO(records_file(answer.served, ".parquet"))).to_pylist()
    assert [row["request"] for row in table] == [int(row["request"]) for row in rows]
    assert [row["energy_j"] for row in table] == [float(row["energy_j"]) for row in rows]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0.7", [Load(share=0.7)]),
        ("70%", [Load(share=0.7)]),
        ("200 rps", [Load(rate_rps=200.0)]),
        ("0.2:0.6:0.2", [Load(share=0.2), Load(share=0.4), Load(share=0.6)]),
        (
            "100:300:100 rps,0.5",
            [Load(None, 100.0), Load(None, 200.0), Load(None, 300.0), Load(0.5)],
        ),
    ],
)
def test_loads(text: str, expected: list[Load]) -> None:
    assert list(parse_loads(text)) == expected


def test_policies_from_text() -> None:
    for name in POLICIES:
        assert parse_policy(name) == POLICIES[name]
    policy = parse_policy("stimpack:switch_at=Layer,margin=20%")
    assert (policy.name, policy.switch_at, policy.margin) == (
        "stimpack:switch_at=Layer,margin=20%",
        "layer",
        0.2,
    )
    assert parse_policy("static:a=npu").assignment == {"a": "npu"}
    assert parse_policy("hda_q:allowed_modes=w8a8+w6a6").allowed_modes == ("w8a8", "w6a6")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"loads": "0"},
            "--load '0': expected a share of the capacity above 0 such as 0.7, or a rate such as '200 rps', got '0'",
        ),
        (
            {"loads": "-5 rps"},
            "--load '-5 rps': expected a share of the capacity above 0 such as 0.7, or a rate such as '200 rps', got '-5 rps'",
        ),
        ({"loads": "0.1:0.5:0"}, "--load '0.1:0.5:0': the step of '0.1:0.5:0' is zero"),
        ({"slo": ("c=1 ms",)}, "--slo 'c=1 ms': the scenario has no network 'c'\n  known: a, b"),
        (
            {"slo": ("-1 ms",)},
            "--slo '-1 ms': expected a time above 0 such as '15 ms', or a multiple of the isolated latency such as '10x', got '-1 ms'",
        ),
        ({"slo": ("a=1 ms", "a=10x")}, "--slo 'a=10x': this bound is given twice"),
        ({"hardware": ()}, "serve: no hardware given; name a system with --hw"),
        ({"hardware": ("slow", "slow")}, "--hw slow: given twice"),
        ({"policies": ("fifo", "fifo")}, "--policy 'fifo': given twice"),
        (
            {"policies": ("stimpak",)},
            "--policy 'stimpak': unknown policy 'stimpak'\n  did you mean 'stimpack'?",
        ),
        (
            {"policies": ("stimpack:switchat=layer",)},
            "--policy 'stimpack:switchat=layer': a policy has no 'switchat'\n  did you mean 'switch_at'?",
        ),
        (
            {"policies": ("stimpack:switch_at=layr",)},
            "--policy 'stimpack:switch_at=layr': switch_at: expected one of instant, layer, request, got 'layr'\n  did you mean 'layer'?",
        ),
        (
            {"policies": ("fifo:margin=much,x",)},
            "--policy 'fifo:margin=much,x': margin: expected a share of the bound such as 0.1 or 10%, got 'much'\n--policy 'fifo:margin=much,x': expected FIELD=VALUE, got 'x'",
        ),
        (
            {"modes": ("fsat=w8a8",)},
            "--modes 'fsat=w8a8': expected HW=PRECISION,... with a HW of --hw\n  known: slow, fast",
        ),
        ({"requests": 0}, "scenario two: needs at least 1 request, got 0"),
        ({"warmup": 1.0}, "scenario two: warm-up is a share of at least 0, below 1, got 1"),
        ({"repetitions": 0}, "scenario two: needs at least 1 repetition, got 0"),
        ({"seed": -1}, "scenario two: seed must be at least 0, got -1"),
        (
            {"policies": ("fast=prema",)},
            "\n".join(
                f"{net} on npu, {mode}: policy prema preempts between layers, no layer ends are known"
                for mode in ("base", "burst")
                for net in "ab"
            ),
        ),
    ],
)
def test_mistakes_before_any_request(
    tmp_path: Path, fields: dict[str, object], message: str
) -> None:
    with pytest.raises(InputError) as caught:
        prepared(toy_request(tmp_path, **fields))
    assert str(caught.value) == message


def test_mistakes_of_the_scenario_at_their_lines(tmp_path: Path) -> None:
    text = SCENARIO.replace("name: b", "name: c").replace("load: 0.5", "rate: -3 Hz")
    with pytest.raises(InputError) as caught:
        prepared(toy_request(tmp_path, text))
    file = tmp_path / "two.yaml"
    assert str(caught.value) == (f"{file}:6:36: arrivals.rate: must be above 0, got '-3 Hz'")
    text = SCENARIO.replace("name: b", "name: c")
    with pytest.raises(InputError) as caught:
        prepared(toy_request(tmp_path, text))
    assert str(caught.value) == "slow has no network 'c'\n  known: a, b"
    (tmp_path / "trace.csv").write_text("arrival_s,network\n0.2,a\n0.1,b\n")
    text = SCENARIO.replace("process: poisson, load: 0.5", "process: trace, file: trace.csv")
    with pytest.raises(InputError) as caught:
        prepared(toy_request(tmp_path, text))
    assert str(caught.value) == (
        f"{tmp_path}/trace.csv:3: arrival 0.1 s is before the line above it, 0.2 s\n"
        "  sort the trace by arrival_s"
    )


def test_closed_loops_take_no_load(tmp_path: Path) -> None:
    text = SCENARIO.replace("networks:", "kind: single_stream\nnetworks:", 1).replace(
        "arrivals: {process: poisson, load: 0.5}\n", ""
    )
    with pytest.raises(InputError) as caught:
        prepared(toy_request(tmp_path, text, loads="0.5"))
    assert str(caught.value) == "scenario two: single_stream has no rate: the system sets the pace"
    answer = served(toy_request(tmp_path, text, policies=("fifo",)))
    validate(serving_to_json(answer))
    assert [result.load_rps for result in answer.results] == [None, None]
    assert answer.results[0].throughput_rps.value == pytest.approx(
        1 / answer.results[0].latency_s.mean.value, rel=2e-3
    )


def test_one_load_makes_no_line() -> None:
    from npubench.report.charts.serving import check_chart

    with pytest.raises(OptionError) as caught:
        check_chart("load", loads=1, closed=False)
    assert str(caught.value) == (
        "--plot load: one load makes no line\n  give several, such as --load 0.2:0.9:0.1"
    )
    with pytest.raises(OptionError) as caught:
        check_chart("gant", loads=1, closed=False)
    assert str(caught.value) == "--plot: no chart 'gant'\n  did you mean 'gantt'?"


@pytest.mark.parametrize("chart", ["cdf", "load", "gantt", "queue"])
def test_pictures_are_drawn_and_the_same_each_time(tmp_path: Path, chart: str) -> None:
    pytest.importorskip("matplotlib")
    from npubench.report.charts.serving import serve_picture

    answer = served(toy_request(tmp_path, keep_records=True, loads="0.5,1.1,9", requests=400))
    first, second = (serve_picture(answer, chart, "svg") for _ in range(2))
    assert first == second
    assert first.startswith(b"<?xml")
    assert serve_picture(answer, chart, "png").startswith(b"\x89PNG")
