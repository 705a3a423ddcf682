"""Accuracy and precision on the command line, from options to the answer."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from npubench.study.result import RunResult
from npubench.study.run import RunRequest, run
from npubench.study.serialise import from_json, to_json
from tests.cli.in_process import quick


def test_a_run_with_a_dataset_measures_what_is_executed() -> None:
    asked = ("run", "digits_cnn", "--hw", "edge8", "--dataset", "digits", "--format", "json")
    four = json.loads(quick(*asked, "--precision", "w4a4").stdout)
    eight = json.loads(quick(*asked, "--precision", "w8a8").stdout)
    assert four["precision"]["executed"]["default"] == "w8a8"
    assert four["accuracy"] == eight["accuracy"]
    assert eight["accuracy"]["kind"] == "measured"
    assert eight["accuracy"]["n"] == 450
    assert eight["accuracy"]["value"] == pytest.approx(97.78, abs=0.3)
    low, high = eight["accuracy"]["interval"]
    assert low < eight["accuracy"]["value"] < high
    assert four["options"]["dataset"] == "digits"
    assert four["options"]["faults"] is None
    assert sorted(eight["accuracy"]["sqnr_db"]) == ["conv1", "conv2", "fc"]


def test_the_terminal_shows_the_interval() -> None:
    done = quick(
        *("run", "digits_cnn", "--hw", "edge8", "--precision", "w8a8", "--dataset", "digits")
    )
    assert (done.code, done.stderr) == (0, "")
    assert "\n measured  97.78  95.96  98.79  97.78" in done.stdout
    assert (
        "95 % interval (Wilson): digits, calibration\n  mse on 128 samples set apart" in done.stdout
    )


def test_published_accuracy_is_labelled() -> None:
    found = run(RunRequest("resnet50", "edge8", precision="hawq_latency_0.5"))
    assert found.accuracy.kind == "published"
    assert found.precision_summary == ("34 x w8a8, 20 x w4a4", "w8a8")
    assert found.accuracy.value == 77.67  # of what is executed: w8a8 throughout
    assert run(RunRequest("vit_b16", "edge8")).accuracy.kind == "none"


def test_results_come_back() -> None:
    found = run(RunRequest("digits_cnn", "edge8", dataset="digits", samples=40, seed=3))
    assert found.accuracy.n == 40
    again = from_json(json.loads(json.dumps(to_json(found))))
    assert isinstance(again, RunResult)
    assert again.accuracy == found.accuracy


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--faults", "1e-3"), "--faults: there is nothing to measure without --dataset\n"),
        (
            ("--dataset", "digits", "--samples", "0"),
            "--samples: expected a whole number from 1, got 0\n",
        ),
        (
            ("--dataset", "digits", "--calibration", "min"),
            "--calibration 'min': unknown 'min'\n  did you mean 'minmax'?\n",
        ),
        (
            ("--dataset", "digit"),
            "unknown data set 'digit'\n  did you mean 'digits'?\n",
        ),
    ],
)
def test_refusals(arguments: tuple[str, ...], message: str) -> None:
    done = quick("run", "digits_cnn", "--hw", "edge8", *arguments)
    assert (done.code, done.stdout, done.stderr) == (2, "", message)


def test_precision_search_and_its_plan(tmp_path: Path) -> None:
    plan = tmp_path / "plan.yaml"
    done = quick(
        *("precision", "search", "digits_cnn", "--hw", "tpuv4i", "--widths", "w8a8,bf16"),
        *("--dataset", "digits", "--samples", "60", "--minimise", "energy", "--max", "size=12000"),
        *("--plan", str(plan), "--format", "json"),
    )
    assert (done.code, done.stderr) == (0, "")
    found = json.loads(done.stdout)
    assert found["schema"] == "npubench.precision/1"
    assert found["rows"][0]["name"] == "chosen"
    assert found["rows"][0]["weight_bytes"] <= 12000
    again = quick(
        *("precision", "show", "digits_cnn", "--precision", str(plan), "--format", "json")
    )
    shown = {row["name"]: row["precision"] for row in json.loads(again.stdout)["rows"]}
    assert shown == found["plans"][0]


def test_published_plans_of_a_network() -> None:
    rows = json.loads(quick("precision", "show", "resnet18", "--format", "json").stdout)["rows"]
    found = {row["name"]: (row["top1"], round(row["weight_mib"], 2)) for row in rows}
    assert found["hawq_latency_0.25"] == (68.56, 5.91)
    assert found["w4a4"] == (None, 5.57)
