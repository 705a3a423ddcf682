"""Precisions that change from one inference to the next."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from npubench.study.run import RunRequest, run
from npubench.study.schedule import run_schedule
from npubench.study.session import Session
from tests.cli.in_process import in_process
from tests.study.schema_check import validate


def test_an_associative_processor_changes_precision_for_nothing() -> None:
    session = Session()
    request = RunRequest("digits_cnn", "bf_imna")
    schedule = ("w8a8", "w4a4", "w8a8", "w3a5", "w3a5")
    (section,) = run_schedule(request, schedule, session).sections
    assert section.column("switch_s") == (0.0,) * 5
    assert section.column("switch_j") == (0.0,) * 5
    alone = [
        run(RunRequest("digits_cnn", "bf_imna", precision=p), session).totals for p in schedule
    ]
    assert section.column("latency_s") == tuple(one.latency_s for one in alone)
    assert section.column("energy_j") == tuple(one.energy_j for one in alone)
    end = section.column("end_s")[-1]
    assert end == pytest.approx(sum(one.latency_s for one in alone), rel=1e-12)
    assert section.column("executed") == schedule


def test_what_a_machine_does_not_count_is_missing_and_not_zero() -> None:
    request = RunRequest("digits_cnn", "gemmini")
    (section,) = run_schedule(request, ("w8a8", "w8a8", "w4a4")).sections
    # w4a4 runs as w8a8 there: the widths executed do not change.
    assert section.column("switch_s") == (0.0, 0.0, 0.0)
    request = RunRequest("digits_cnn", "hda")
    (section,) = run_schedule(request, ("w8a8", "w7a7")).sections
    assert section.column("switch_s") == (0.0, None)
    assert "is not modelled" in section.notes[-1]


def test_an_array_runs_empty_before_other_widths() -> None:
    request = RunRequest("digits_cnn", "tpuv4i")
    (section,) = run_schedule(request, ("w8a8", "bf16")).sections
    # 128 rows and 128 columns at 1.05 GHz.
    assert section.column("switch_s") == (0.0, pytest.approx((128 + 128) / 1.05e9))


def test_on_the_command_line(tmp_path: Path) -> None:
    file = tmp_path / "schedule.json"
    asked = ["run", "digits_cnn", "--hw", "bf_imna", "--precision-schedule", "w8a8,w1a1"]
    done = in_process([*asked, "-o", str(file)])
    assert (done.code, done.stderr) == (0, "")
    assert done.stdout.startswith("study precision_schedule: consecutive inferences")
    document = json.loads(file.read_text())
    validate(document)
    cells = [row["cells"] for row in document["sections"][0]["rows"]]
    assert [cell["executed"] for cell in cells] == ["w8a8", "w1a1"]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (
            ["--precision-schedule", "w8a8,"],
            "--precision-schedule 'w8a8,': expected precisions separated by commas, as w8a8,w4a4\n",
        ),
        (
            ["--precision-schedule", "w8a8", "--precision", "w4a4"],
            "--precision-schedule does not go with --precision\n",
        ),
        (
            ["--precision-schedule", "w8a8", "--strict"],
            "--precision-schedule does not go with --fail-if, --max-unknown or --strict\n",
        ),
    ],
)
def test_mistakes_are_answered(more: list[str], message: str) -> None:
    done = in_process(["run", "digits_cnn", "--hw", "bf_imna", *more])
    assert (done.code, done.stdout, done.stderr) == (2, "", message)
