"""The commands on what ships, end to end; figures are other tests' business."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli.in_process import on_a_terminal, quick
from tests.study.schema_check import validate

WORKLOAD, HW = "digits_cnn", "tpuv4i"


def answer(*arguments: str) -> dict[str, Any]:
    done = quick(*arguments, "--format", "json")
    assert (done.code, done.stderr) == (0, "")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize(
    ("arguments", "schema"),
    [
        (("run", WORKLOAD, "--hw", HW, "--precision", "w8a8"), "npubench.run/1"),
        (("compare", WORKLOAD, "alexnet", "--hw", HW, "--hw", "edge8"), "npubench.compare/1"),
        (("sweep", WORKLOAD, "--hw", HW, "--axis", "batch=1,2"), "npubench.sweep/1"),
    ],
)
def test_results_in_json_follow_their_schema(arguments: tuple[str, ...], schema: str) -> None:
    document = answer(*arguments)
    assert document["schema"] == schema
    validate(document)


def test_a_failure_in_json_follows_its_schema() -> None:
    done = quick("run", "digts_cnn", "--hw", HW, "--format", "json")
    assert (done.code, done.stderr) == (
        2,
        "unknown network 'digts_cnn'\n  did you mean 'digits_cnn'?\n",
    )
    validate(json.loads(done.stdout))


def test_forms_agree_on_the_figures() -> None:
    arguments = ("run", WORKLOAD, "--hw", HW)
    totals = answer(*arguments)["totals"]
    (row,) = csv.DictReader(io.StringIO(quick(*arguments, "--format", "csv").stdout))
    for key in ("macs", "cycles", "latency_s", "energy_j", "edp_js", "throughput_ips"):
        assert float(row[key]) == totals[key]


def test_layers_add_up_to_the_totals() -> None:
    arguments = ("run", WORKLOAD, "--hw", HW, "--batch", "4")
    totals = answer(*arguments)["totals"]
    table = quick(*arguments, "--layers", "--format", "csv").stdout
    rows = list(csv.DictReader(io.StringIO(table)))
    overlap = totals["latency_by_cause"].get("overlap", 0)
    assert sum(int(row["cycles"]) for row in rows) + overlap == totals["cycles"]


def test_options_reach_the_study_from_flags_and_from_the_environment() -> None:
    flags = answer("run", WORKLOAD, "--hw", HW, "--batch", "2", "--knob", "clock=0.7 GHz")
    assert flags["options"]["batch"] == 2
    assert flags["options"]["knobs"] == {"clock": "0.7 GHz"}
    done = quick(
        "run",
        WORKLOAD,
        NPUBENCH_HW=HW,
        NPUBENCH_BATCH="2",
        NPUBENCH_KNOB="clock=0.7 GHz",
        NPUBENCH_FORMAT="json",
    )
    assert json.loads(done.stdout) == flags


def test_a_terminal_shows_every_view_within_eighty_columns() -> None:
    for arguments in (
        ("run", "resnet50", "--hw", HW, "--layers", "-v"),
        ("compare", WORKLOAD, "alexnet", "--hw", HW, "--hw", "eyeriss:clock=200MHz"),
        ("sweep", WORKLOAD, "--hw", HW, "--axis", "batch=1,2", "--axis", "precision=int8,bf16"),
        ("list", "hw"),
        ("show", HW),
        ("show", "bert_base", "--layers"),
    ):
        code, shown = on_a_terminal(arguments, NO_COLOR="1")
        assert code == 0
        assert max(map(len, shown.splitlines())) <= 80


def test_compare_gates_on_multiples_of_the_baseline() -> None:
    same = ("compare", WORKLOAD, "--hw", HW, "--hw", f"{HW}:clock=0.7GHz")
    assert quick(*same, "--fail-if", "latency > 2x").code == 0
    slow = quick(*same, "--fail-if", "latency > 1.05x")
    assert slow.code == 1
    assert slow.stderr.startswith("gate failed: digits_cnn on tpuv4i:clock=0.7GHz: latency_s is 1.")
    assert slow.stdout.startswith("compare: 1 workload on 2 accelerators, batch 1\n")


def test_a_sweep_keeps_going_past_a_point_that_cannot_run() -> None:
    arguments = ("sweep", WORKLOAD, "--hw", "edge8", "--axis")
    some = quick(*arguments, "precision=w8a8,w32a32")
    assert (some.code, some.stderr) == (0, "warning: 1 of 2 points failed\n")
    none = quick(*arguments, "precision=w32a32,w31a31", "-q")
    assert (none.code, none.stderr) == (2, "")


def test_a_dry_run_prints_points_and_runs_none() -> None:
    document = answer(
        *("sweep", WORKLOAD, "--hw", HW, "--axis", "clock=0.7:0.9:0.1GHz"),
        *("--axis", "batch=1,2", "--dry-run"),
    )
    assert document == {
        "schema": "npubench.plan/1",
        "rows": [
            {"clock": f"{clock} GHz", "batch": batch}
            for clock in ("0.7", "0.8", "0.9")
            for batch in ("1", "2")
        ],
    }


def test_lists_name_what_ships() -> None:
    assert WORKLOAD in [row["name"] for row in answer("list", "workloads")["rows"]]
    assert HW in [row["name"] for row in answer("list", "hw")["rows"]]


def test_show_tells_every_constant_of_a_spec_with_its_origin() -> None:
    rows = {row["path"]: row for row in answer("show", HW)["rows"]}
    assert rows["clock"]["value"] == "1.05 GHz"
    assert all(row["confidence"] for row in rows.values())
    assert answer("show", f"{HW}:clock=0.7GHz")["rows"] != list(rows.values())


def test_show_tells_the_size_of_a_network() -> None:
    document = answer("show", "alexnet")
    assert (document["kind"], document["macs"]) == ("workload", 714_188_480)
    assert document["parameters"] == 61_100_840
    assert document["inputs"] == {"image": {"dtype": "fp32", "shape": [1, 3, 224, 224]}}
    assert sum(row["layers"] for row in document["rows"]) == document["layers"]


def test_show_takes_a_kind_where_the_name_does_not_say() -> None:
    assert quick("show", HW, "--workload").stderr.startswith(f"unknown network '{HW}'\n")
    assert quick("show", WORKLOAD, "--hw").stderr.startswith(f"unknown hardware '{WORKLOAD}'\n")


def test_check_reports_every_mistake_of_every_file(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("name: a\nfamily: array\nfamily: array\n")
    (tmp_path / "b.txt").write_text("")
    done = quick("check", "a.yaml", "b.txt", cwd=tmp_path)
    assert (done.code, done.stdout) == (2, "")
    assert done.stderr.splitlines()[0].startswith("a.yaml:3:1: ")
    assert "b.txt: neither a spec nor a network" in done.stderr


def test_check_says_what_sound_files_hold() -> None:
    root = Path(__file__).resolve().parents[2]
    done = quick("check", "workloads/digits_cnn.onnx", "hwspecs/tpuv4i_isca_2021.yaml", cwd=root)
    assert (done.code, done.stderr) == (0, "")
    assert done.stdout.startswith("check: 2 files, no mistakes\n")
