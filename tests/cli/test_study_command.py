"""`npubench study`, end to end."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from npubench.study.studies import registry
from npubench.study.studies.record import StudyColumn, StudyContext, StudySection
from tests.cli.in_process import in_process
from tests.study.schema_check import validate


def test_a_study_in_every_form_and_to_files(tmp_path: Path) -> None:
    arguments = ["study", "hawq-sizes", "--set", "networks=resnet18", "--seed", "5"]
    table = in_process([*arguments, "-o", str(tmp_path / "a.json"), "-o", str(tmp_path / "a.md")])
    assert (table.code, table.stderr) == (0, "")
    assert table.stdout.startswith("study hawq_sizes: HAWQ-V3's plans")
    document = json.loads((tmp_path / "a.json").read_text())
    validate(document)
    assert document["stamp"]["seed"] == 5
    assert document["study"]["settings"] == {"networks": "resnet18"}
    assert (tmp_path / "a.md").read_text().startswith("### study hawq\\_sizes")
    printed = in_process([*arguments, "--format", "json"])
    assert json.loads(printed.stdout) == document


def test_without_a_name_the_studies_are_listed() -> None:
    done = in_process(["study", "--format", "json"])
    assert done.code == 0
    listed = json.loads(done.stdout)
    assert listed["schema"] == "npubench.list/1"
    assert [row["name"] for row in listed["rows"]] == list(registry.STUDIES)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("hawq_size",), "unknown study 'hawq_size'\n  did you mean 'hawq_sizes'?\n"),
        (
            ("hawq_sizes", "--set", "nets=vgg"),
            "--set nets=vgg: study 'hawq_sizes' has no parameter 'nets'\n"
            "  did you mean 'networks'?\n",
        ),
        (
            ("--set", "a=b"),
            "--set: name the study whose parameters these are\n",
        ),
        (("hawq_sizes", "--set", "a"), "--set 'a': expected NAME=VALUE\n"),
    ],
)
def test_mistakes_are_answered(arguments: tuple[str, ...], message: str) -> None:
    done = in_process(["study", *arguments])
    assert (done.code, done.stdout, done.stderr) == (2, "", message)


def test_an_interrupt_keeps_finished_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    def cut_short(_: StudyContext) -> Iterator[StudySection]:
        yield StudySection("one", "one", (StudyColumn("a", "A"),), (("x",),))
        raise KeyboardInterrupt

    monkeypatch.setattr(registry.Study, "load", lambda _: cut_short)
    done = in_process(["study", "hawq_sizes", "--format", "json"])
    assert done.code == 130
    assert done.stderr == "interrupted: 1 finished tables of study 'hawq_sizes' are kept\n"
    document = json.loads(done.stdout)
    validate(document)
    assert [section["key"] for section in document["sections"]] == ["one"]
    assert document["study"]["complete"] is False
