"""The registry of studies and what they give back; figures of a study have a test of their own."""

from __future__ import annotations

import csv
import inspect
import json

import pytest

from npubench.errors import InputError, OptionError
from npubench.specs.quantity import CONFIDENCES
from npubench.study.run import make_stamp
from npubench.study.serialise import dumps
from npubench.study.studies.document import study_to_json
from npubench.study.studies.record import Claim, StudyColumn, StudyResult, StudySection
from npubench.study.studies.registry import STUDIES, Study, find_study, run_study, study_sections
from npubench.study.studies.tables import read_table
from tests.conftest import ROOT
from tests.study.schema_check import validate

TEXT, ENERGY = StudyColumn("name", "Name"), StudyColumn("energy_j", "Energy", "quantity", "J")


@pytest.mark.parametrize("study", STUDIES.values(), ids=lambda study: study.name)
def test_every_entry_leads_to_a_generator_of_sections(study: Study) -> None:
    assert inspect.isgeneratorfunction(study.load())
    assert study.title
    assert study.description.endswith(".")
    assert len({parameter.name for parameter in study.parameters}) == len(study.parameters)
    assert all(parameter.help for parameter in study.parameters)


def test_names_are_matched_as_everywhere_and_mistakes_are_answered() -> None:
    assert find_study(" HAWQ-Sizes ").name == "hawq_sizes"
    with pytest.raises(OptionError) as caught:
        find_study("hawq_size")
    assert str(caught.value) == "unknown study 'hawq_size'\n  did you mean 'hawq_sizes'?"
    with pytest.raises(OptionError) as caught:
        run_study("hawq_sizes", {"network": "resnet18"})
    assert str(caught.value) == (
        "--set network=resnet18: study 'hawq_sizes' has no parameter 'network'\n"
        "  did you mean 'networks'?"
    )
    with pytest.raises(OptionError) as caught:
        run_study("hawq_sizes", {"networks": "resnet50"})
    assert str(caught.value) == (
        "--set networks: no published plans of 'resnet50'\n  did you mean 'resnet50_v1'?"
    )


def test_sections_come_as_they_are_finished() -> None:
    steps: list[tuple[int, int]] = []
    sections = study_sections(
        find_study("hawq_sizes"), {}, on_step=lambda done, total: steps.append((done, total))
    )
    assert next(sections).key == "resnet18"
    assert steps == []
    assert [section.key for section in sections] == ["resnet50_v1"]
    assert steps == [(1, 2), (2, 2)]


def test_a_section_refuses_rows_and_columns_that_do_not_belong() -> None:
    with pytest.raises(ValueError, match="2 columns, but a row"):
        StudySection("a", "A", (TEXT, ENERGY), (("x",),))
    with pytest.raises(ValueError, match="share a key"):
        StudySection("a", "A", (TEXT, TEXT), ())
    with pytest.raises(ValueError, match="not there"):
        StudySection("a", "A", (TEXT,), (("x",),), published_rows=frozenset({1}))


def test_a_key_has_one_unit_in_a_study() -> None:
    other = StudyColumn("energy_j", "Energy", "quantity", "mJ")
    sections = (StudySection("a", "A", (ENERGY,), ()), StudySection("b", "B", (other,), ()))
    with pytest.raises(ValueError, match="energy_j has two units"):
        StudyResult("s", "S", {}, sections, make_stamp(0))


def test_the_document_follows_its_schema_and_keeps_everything() -> None:
    claim = Claim("ratio", 1.02, None, "", "a paper", "recalled", "why")
    section = StudySection(
        "a",
        "A",
        (TEXT, ENERGY),
        (("ours", 1.5e-3), ("theirs", None)),
        claims=(claim,),
        notes=("a note",),
        published_rows=frozenset({1}),
    )
    result = StudyResult("s", "S", {"networks": "x"}, (section,), make_stamp(3), ("all",))
    document = study_to_json(result, complete=False)
    validate(document)
    assert json.loads(dumps(document)) == document
    assert document["study"]["complete"] is False
    assert document["stamp"]["seed"] == 3
    assert document["sections"][0]["rows"] == [
        {"published": False, "cells": {"name": "ours", "energy_j": 1.5e-3}},
        {"published": True, "cells": {"name": "theirs", "energy_j": None}},
    ]
    assert document["sections"][0]["claims"][0]["ours"] is None
    assert claim.confidence in CONFIDENCES


def test_the_same_study_gives_the_same_bytes() -> None:
    settings = {"networks": "resnet18"}
    first, second = (dumps(study_to_json(run_study("hawq_sizes", settings))) for _ in range(2))
    assert first == second


def test_a_broken_table_names_its_place() -> None:
    (row, *_) = read_table("workloads", "precision/hawq_v3_published.csv")
    with pytest.raises(InputError) as caught:
        row.number("setting")
    assert str(caught.value) == (
        "workloads/precision/hawq_v3_published.csv:2: setting: expected a number, got 'fp32'"
    )
    with pytest.raises(InputError, match="no column 'colour'"):
        row.text("colour")
    with pytest.raises(InputError, match=r"nothing\.csv: cannot be read"):
        read_table("workloads", "nothing.csv")


def test_hawq_sizes_are_the_oracle_s() -> None:
    """Ours equal the independent recount exactly; the published cells are the publication's."""
    with (ROOT / "tests" / "oracles" / "hawq_v3" / "published.csv").open() as file:
        oracle = [row for row in csv.DictReader(file) if row["computed_bops_g"]]
    result = run_study("hawq_sizes")
    found = [
        (
            section.key.removesuffix("_v1"),
            row[0],
            f"{row[2]:.2f}",
            float(row[3]),
            f"{row[5] / 1e9:.1f}",
            row[6] / 1e9,
            row[8],
            row[9],
        )
        for section in result.sections
        for row in section.rows
    ]
    assert found == [
        (
            row["net"],
            row["setting"],
            row["computed_weight_mib"],
            float(row["size_mb"]),
            row["computed_bops_g"],
            float(row["bops_g"]),
            float(row["top1"]),
            float(row["speedup_vs_fp32"]),
        )
        for row in oracle
    ]
    assert len(found) == 22
