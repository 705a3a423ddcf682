"""The NPU of a system that a network is sent to, by policy and accuracy."""

from __future__ import annotations

from pathlib import Path

import pytest

from npubench.errors import InputError
from npubench.report.compare_view import compare_view
from npubench.report.run_view import run_view
from npubench.specs.catalog import data_folder
from npubench.study.compare import compare
from npubench.study.result import Placement
from npubench.study.run import RunRequest, run
from npubench.study.serialise import from_json, to_json
from npubench.study.session import Session
from tests.study.schema_check import validate


@pytest.fixture(scope="module")
def session() -> Session:
    return Session()


def placed(session: Session, workload: str, hardware: str, **overrides: str) -> Placement:
    paths = {path.replace("__", "."): text for path, text in overrides.items()}
    result = run(RunRequest(workload, hardware, overrides=paths), session)
    assert result.placement is not None
    chosen = result.placement
    assert f"runs on NPU '{chosen.npu}' ({chosen.spec})" in " ".join(result.assumptions)
    option = next(o for o in chosen.options if (o.npu, o.mode) == (chosen.npu, chosen.mode))
    assert option.precision == result.precision_summary[1]
    return chosen


@pytest.mark.parametrize(
    ("drop", "npu"),
    [
        pytest.param("0", "big", marks=pytest.mark.slow),
        ("0.5", "big"),
        pytest.param("4.08", "big", marks=pytest.mark.slow),
        ("4.1", "little"),
    ],
)
def test_the_threshold_admits_or_not(session: Session, drop: str, npu: str) -> None:
    """GoogLeNet loses 4.09 points from 8 to 7 bits and runs faster on more, narrower PEs."""
    chosen = placed(session, "googlenet", f"hda:accuracy_drop={drop}")
    assert (chosen.npu, chosen.policy, chosen.most_drop) == (npu, "hda_q", float(drop))
    assert [o.accuracy_drop for o in chosen.options] == [0.0, pytest.approx(4.09)]
    assert [o.admissible for o in chosen.options] == [True, npu == "little"]


def test_an_unknown_loss_is_not_admitted(session: Session) -> None:
    """Nobody published ResNet-18 at 7 bits: whatever the threshold, it stays at 8."""
    chosen = placed(session, "resnet18", "hda:accuracy_drop=100")
    assert chosen.npu == "big"
    assert [o.accuracy_drop for o in chosen.options] == [0.0, None]


def test_a_measured_loss_counts(session: Session) -> None:
    """digits_cnn ships with weights and data; at 7 bits it loses nothing."""
    chosen = placed(session, "digits_cnn", "hda")
    by_npu = {o.npu: o for o in chosen.options}
    assert by_npu["little"].accuracy_drop is not None
    assert by_npu["little"].admissible
    fastest = min(chosen.options, key=lambda o: o.latency_s)
    assert chosen.npu == fastest.npu


def test_least_energy_goes_to_the_narrow_npu(session: Session) -> None:
    chosen = placed(session, "digits_cnn", "hda", scheduler__policy="least_energy")
    assert chosen.npu == "little"
    leanest = min(chosen.options, key=lambda o: o.energy_j or 0.0)
    assert leanest.npu == "little"


def test_eight_bits_only(session: Session) -> None:
    drop = "hda:accuracy_drop=5"
    chosen = placed(session, "googlenet", drop, scheduler__policy="eight_bit")
    assert chosen.npu == "big"
    assert [o.admissible for o in chosen.options] == [True, False]


def own_system(tmp_path: Path, scheduler: str) -> str:
    text = (data_folder("hwspecs") / "hda_tetc_2023.yaml").read_text(encoding="utf-8")
    head, _, _ = text.partition("scheduler:")
    head = head.replace(
        "path: scheduler.accuracy_drop\n    range: 0..100", "path: idle\n    values: [leaking]"
    )
    path = tmp_path / "own.yaml"
    path.write_text(head + scheduler, encoding="utf-8")
    return str(path)


def test_static_assignment(session: Session, tmp_path: Path) -> None:
    spec = own_system(tmp_path, "scheduler:\n  policy: static\n  assignment: {googlenet: little}\n")
    assert placed(session, "googlenet", spec).npu == "little"
    with pytest.raises(InputError) as caught:
        run(RunRequest("digits_cnn", spec), session)
    assert caught.value.problems[0].message == (
        "scheduler.assignment: 'digits_cnn' is sent to no NPU"
    )


def test_without_a_scheduler_response_time_decides(session: Session, tmp_path: Path) -> None:
    chosen = placed(session, "googlenet", own_system(tmp_path, ""))
    assert (chosen.npu, chosen.policy, chosen.most_drop) == ("little", "least_response", None)


def test_a_machine_of_one_npu_has_no_placement(session: Session) -> None:
    assert run(RunRequest("digits_cnn", "edge8"), session).placement is None


def test_a_placement_survives_json(session: Session) -> None:
    result = run(RunRequest("digits_cnn", "hda"), session)
    document = to_json(result)
    validate(document)
    assert from_json(document) == result


def test_views_say_where_it_ran(session: Session) -> None:
    result = run(RunRequest("googlenet", "hda"), session)
    view = run_view(result)
    assert any(
        "Ran on NPU 'big' (edge8), mode w8a8, chosen by policy hda_q, at most 0.5 points" in note
        for note in view.notes
    )
    asked = run(RunRequest("digits_cnn", "hda", precision="w7a7"), session)
    note = "Ran on NPU 'little' (edge7), mode w7a7: it widens the precision asked for least."
    assert note in run_view(asked).notes
    both = compare(("digits_cnn",), ("edge8", "hda"), session=session)
    assert any(
        note.startswith("Placed: hda ran digits_cnn on") for note in compare_view(both).notes
    )
