"""`npubench serve`, end to end from ONNX and specs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from npubench.serving import list_scenarios, simulate
from npubench.study import serve as serve_module
from npubench.study.run import RunRequest, run
from tests.cli.in_process import in_process
from tests.frontend.onnx_text import model
from tests.study.schema_check import validate

SCENARIO = """\
name: digits
title: A small network
networks:
  - {name: digits_cnn, slo_isolated: 10}
arrivals: {process: poisson, load: 0.5}
length: {requests: 2000}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "digits.yaml").write_text(SCENARIO)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_every_form_and_file(folder: Path) -> None:
    arguments = [
        "serve",
        "digits.yaml",
        "--hw",
        "edge8",
        "--hw",
        "edge8:clock=0.7GHz",
        "--seed",
        "3",
    ]
    table = in_process(
        [*arguments, "-o", "a.json", "-o", "a.csv", "-o", "a.md", "--records", "r.csv"]
    )
    assert (table.code, table.stderr) == (0, "")
    assert table.stdout.startswith("serve: digits (server) on 2 systems\n")
    document = json.loads((folder / "a.json").read_text())
    validate(document)
    assert document["stamp"]["seed"] == 3
    assert [one["system"] for one in document["results"]] == ["edge8", "edge8:clock=0.7GHz"]
    fast, slow = (one["result"]["latency_s"]["mean"]["value"] for one in document["results"])
    assert fast < slow
    assert len((folder / "r.csv").read_text().splitlines()) == 1 + 2 * 2000
    again = in_process([*arguments, "--format", "json"])
    assert json.loads(again.stdout) == document


@pytest.mark.usefixtures("folder")
def test_a_burst_is_measured_where_the_network_ships_with_weights() -> None:
    arguments = ["serve", "digits.yaml", "--hw", "stimpack", "--load", "1.2", "--samples", "200"]
    done = in_process([*arguments, "--format", "json"])
    assert (done.code, done.stderr) == (0, "")
    document = json.loads(done.stdout)
    validate(document)
    assert document["saturated"] is False
    assert document["burst_share"] > 0
    (burst,) = [s for s in document["systems"][0]["services"] if s["mode"] == "burst"]
    drop = document["results"][0]["result"]["accuracy_drop"]["value"]
    assert drop == pytest.approx(document["burst_share"] * burst["accuracy_drop"])


def test_scenarios_are_listed() -> None:
    done = in_process(["list", "scenarios", "--format", "json"])
    assert (done.code, done.stderr) == (0, "")
    rows = json.loads(done.stdout)["rows"]
    assert [row["name"] for row in rows] == list(list_scenarios())
    assert {row["kind"] for row in rows} == {"server", "single_stream", "multi_stream", "offline"}
    assert in_process(["list", "scenarios"]).stdout.startswith(f"scenarios: {len(rows)}\n")


def test_pictures_beside_the_answer(folder: Path) -> None:
    pytest.importorskip("matplotlib")
    arguments = ["serve", "digits.yaml", "--hw", "edge8", "--load", "0.3,0.6", "--format", "csv"]
    done = in_process([*arguments, "--plot", "a.png", "--plot", "gantt=b.svg"])
    assert (done.code, done.stderr) == (0, "")
    assert (folder / "a.png").read_bytes().startswith(b"\x89PNG")
    assert "requests by NPU and mode" in (folder / "b.svg").read_text()
    again = in_process([*arguments, "--plot", "a.png"])
    assert again.code == 2
    assert again.stderr == "--plot a.png: the file exists\n  --force replaces it\n"


@pytest.mark.usefixtures("folder")
def test_an_interrupt_keeps_finished_results(monkeypatch: pytest.MonkeyPatch) -> None:
    left = iter(range(1))

    def once(*arguments: object, **options: object) -> object:
        if next(left, None) is None:
            raise KeyboardInterrupt
        return simulate(*arguments, **options)

    monkeypatch.setattr(serve_module, "simulate", once)
    done = in_process(
        ["serve", "digits.yaml", "--hw", "edge8", "--load", "0.3,0.6", "--format", "json"]
    )
    assert (done.code, done.stderr) == (130, "interrupted: 1 of 2 results are finished\n")
    document = json.loads(done.stdout)
    validate(document)
    assert document["complete"] is False
    assert len(document["results"]) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["serve", "digit.yaml", "--hw", "edge8"],
            "digit.yaml: no such file\n  did you mean 'digits.yaml'?\n",
        ),
        (
            ["serve", "stimpack_sevn", "--hw", "stimpack"],
            "unknown scenario 'stimpack_sevn'\n  did you mean 'stimpack_seven'?\n",
        ),
        (
            ["serve", "digits.yaml", "--hw", "edge88"],
            "unknown hardware 'edge88'\n  did you mean 'edge8'?\n",
        ),
        (
            ["serve", "digits.yaml", "--hw", "edge8", "--requests", "0"],
            "scenario digits: needs at least 1 request, got 0\n",
        ),
        (
            ["serve", "digits.yaml", "--hw", "edge8", "--find-load", "--load", "0.5"],
            "--find-load: the load is searched; leave out --load\n",
        ),
        (
            ["serve", "digits.yaml", "--hw", "edge8", "--find-load", "--requests", "100"],
            "scenario digits: a 0.99 percentile needs at least 459 measured requests to pass, this "
            "run has 95\n",
        ),
        (
            ["serve", "digits.yaml", "--hw", "edge8", "--plot", "a.gif"],
            "--plot a.gif: the suffix decides the format\n  known: .png, .svg\n",
        ),
        (
            ["serve", "digits.yaml", "--hw", "edge8", "--records", "a.xlsx"],
            "--records a.xlsx: the suffix decides the format\n  known: .csv, .parquet\n",
        ),
        (
            ["serve", "digits.yaml", "--hw", "edge8", "--policy", "stimpack"],
            "policy stimpack needs two modes on edge8, it has w8a8\n",
        ),
    ],
)
@pytest.mark.usefixtures("folder")
def test_mistakes_are_answered(arguments: list[str], message: str) -> None:
    done = in_process(arguments)
    assert (done.code, done.stdout, done.stderr) == (2, "", message)


GATED = ("serve", "digits.yaml", "--hw", "edge8", "--requests", "500", "--quiet")


@pytest.mark.usefixtures("folder")
def test_gates_on_served_figures() -> None:
    kept = in_process((*GATED, "--fail-if", "p99 > 1 s or slo_attainment < 50%"))
    assert (kept.code, kept.stderr) == (0, "")
    broken = in_process((*GATED, "--fail-if", "p99 > 1 ns", "--fail-if", "energy > 1 uJ"))
    assert broken.code == 1
    assert broken.stdout.startswith("serve: digits (server) on 1 system")
    assert "edge8, fifo, load 0.5: p99 is " in broken.stderr
    assert " s, which fails 'p99 > 1 ns'" in broken.stderr
    # No latency is no pass.
    drowned = in_process((*GATED, "--load", "1.5", "--fail-if", "p99 > 1 s"))
    assert drowned.code == 1
    assert "no p99 to check 'p99 > 1 s' against (saturated)" in drowned.stderr


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("gate", "message"),
    [
        ("p98 > 1 ms", "--fail-if 'p98 > 1 ms': unknown metric 'p98'"),
        ("p99 > 1 mJ", "--fail-if 'p99 > 1 mJ': expected a time"),
        ("p99 > 2x", "--fail-if 'p99 > 2x': a multiple such as '2x' needs a baseline"),
    ],
)
def test_gates_that_make_no_sense(gate: str, message: str) -> None:
    done = in_process((*GATED, "--fail-if", gate))
    assert (done.code, done.stdout) == (2, "")
    assert done.stderr.startswith(message)


TWO = """\
name: two
title: A network of any length, and one of a fixed size
networks:
  - {name: any.onnx, slo_isolated: 10}
  - {name: digits_cnn, slo_isolated: 10}
arrivals: {process: poisson, load: 0.5}
length: {requests: 1000}
"""


@pytest.fixture
def of_any_length(folder: Path) -> Path:
    body = "any (float[seq, 64] x) => (float[seq, 64] y) <float[64, 64] w> { y = MatMul(x, w) }"
    (folder / "any.onnx").write_bytes(model(body).SerializeToString())
    (folder / "two.yaml").write_text(TWO)
    (folder / "any.yaml").write_text(TWO.replace("  - {name: digits_cnn, slo_isolated: 10}\n", ""))
    return folder


def services(*arguments: str) -> dict[tuple[str, str], tuple[float, float]]:
    """Time and energy of a request by network and mode, on the first system."""
    done = in_process(["serve", *arguments, "--format", "json"])
    assert (done.code, done.stderr) == (0, "")
    document = json.loads(done.stdout)
    validate(document)
    return {
        (one["network"], one["mode"]): (one["time_s"][0], one["energy_j"][0])
        for one in document["systems"][0]["services"]
    }


@pytest.mark.usefixtures("of_any_length")
def test_dimensions_and_a_precision_are_those_of_runs() -> None:
    for dim, length in (("seq=16", 16), ("any.onnx=seq=64", 64)):
        served = services("any.yaml", "--hw", "tpuv4i", "--precision", "w8a8", "--dim", dim)
        ran = run(RunRequest("any.onnx", "tpuv4i", dims={"seq": length}, precision="w8a8"))
        ((key, (time_s, _)),) = served.items()
        assert key == ("any.onnx", "w8a8")
        assert time_s == pytest.approx(ran.totals.latency_s, abs=1e-12)
    own = ("any.onnx=seq=16", "seq=64")  # a network's own goes before that of all
    chosen = [part for dim in own for part in ("--dim", dim)]
    assert services("any.yaml", "--hw", "tpuv4i", *chosen) == services(
        "any.yaml", "--hw", "tpuv4i", "--dim", "seq=16"
    )
    modes = ("--modes", "bf_imna=w6a6,w4a4", "--precision", "w8a8")
    found = services("two.yaml", "--hw", "bf_imna", *modes, "--dim", "any.onnx=seq=16")
    assert {mode for _, mode in found} == {"w6a6", "w4a4"}


@pytest.mark.usefixtures("of_any_length")
def test_a_precision_that_is_widened_is_told() -> None:
    asked = ["serve", "any.yaml", "--hw", "edge8", "--dim", "seq=16", "--format", "json"]
    notes = [
        json.loads(in_process([*asked, "--precision", one]).stdout)["systems"][0]["notes"]
        for one in ("w4a4", "w8a8")
    ]
    assert notes[0] == ["any.onnx: seq=16", "any.onnx at w4a4 is executed at w8a8", *notes[1][1:]]


@pytest.mark.usefixtures("of_any_length")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("any.yaml --hw edge8", "any.onnx: input 'x' is [seq, 64]: give --dim seq=N\n"),
        (
            "any.yaml --hw edge8 --dim sq=3",
            "any.onnx: --dim sq: no dimension of that name\n  did you mean 'seq'?\n",
        ),
        (
            "any.yaml --hw edge8 --dim seq=0 --dim any.onnx=seq=x --dim seq",
            "--dim 'seq': expected NAME=VALUE\n"
            "--dim 'any.onnx=seq=x': expected a whole number from 1\n",
        ),
        (
            "any.yaml --hw edge8 --dim ny.onnx=seq=3",
            "--dim 'ny.onnx=seq=3': the scenario has no network 'ny.onnx'\n"
            "  did you mean 'any.onnx'?\n",
        ),
        (
            "two.yaml --hw edge8 --dim seq=3",
            "workloads/digits_cnn.onnx: --dim seq: no dimension of that name\n",
        ),
        (
            "digits.yaml --hw edge8 --precision fp32",
            "'edge8' has no format that holds fp32 (layer 'conv1' and 2 more)\n"
            "  it executes w8a8: ask for one of these, or for less\n",
        ),
        ("digits.yaml --hw edge8 --precision w8a", "unknown precision 'w8a': expected"),
        (
            "digits.yaml --hw hda --precision w8a8",
            "'hda' is a system: the modes of its NPUs are those of their specs\n"
            "  serve it without --modes and --precision\n",
        ),
    ],
)
def test_dimensions_and_precisions_that_make_no_sense(arguments: str, message: str) -> None:
    done = in_process(["serve", *arguments.split()])
    assert (done.code, done.stdout) == (2, "")
    assert message in done.stderr
