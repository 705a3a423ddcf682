"""Studies as people and spreadsheets see them: published figures never pass for ours."""

from __future__ import annotations

import csv
import io

from npubench.report.render import Screen, to_csv, to_markdown, to_terminal
from npubench.report.study_view import studies_view, study_view
from npubench.study.result import Stamp
from npubench.study.studies.record import Claim, StudyColumn, StudyResult, StudySection
from npubench.study.studies.registry import STUDIES

COLUMNS = (
    StudyColumn("design", "Design"),
    StudyColumn("energy_j", "Energy", "quantity", "J"),
    StudyColumn("top1", "Top-1", "fixed", "%", published=True),
    StudyColumn("share", "Share", "share"),
    StudyColumn("over", "Ratio", "ratio"),
    StudyColumn("macs", "MACs", "count"),
    StudyColumn("node_nm", "Node", "number", "nm"),
)
RESULT = StudyResult(
    "toy",
    "a toy",
    {"networks": "one"},
    (
        StudySection(
            "peers",
            "peers at 8 bit",
            COLUMNS,
            (
                ("ours", 1.5e-3, 71.5, 0.25, 1.0, 4_000_000, 16),
                ("theirs", None, None, None, 2.0, None, 7),
            ),
            claims=(
                Claim("ours over theirs", 1.02, 0.51, "", "a paper, abstract", "recalled", "why"),
                Claim("peak", 10.0, None, "GOPS", "a paper, table 1", "published"),
            ),
            notes=("One note.", "Shared note."),
            published_rows=frozenset({1}),
        ),
        StudySection("more", "more", COLUMNS[:1], (("x",),), notes=("Shared note.",)),
    ),
    Stamp("1.0", "1", "1", "1", 7),
)


def test_the_terminal_form() -> None:
    assert to_terminal(study_view(RESULT, "What this is."), Screen()) == (
        "study toy: a toy\n"
        "\n"
        "peers at 8 bit\n"
        "           Energy  Top-1 *  Share         MACs  Node\n"
        " Design      [mJ]      [%]    [%]  Ratio   [M]  [nm]\n"
        " ───────────────────────────────────────────────────\n"
        " ours        1.50    71.50   25.0   1.00  4.00    16\n"
        " theirs *       -        -      -   2.00     -     7\n"
        "* published, not computed here. One note.\n"
        "\n"
        "published claims beside ours\n"
        " Claim             Published *  Ours  Ours/publ.  Unit  Source             Confidence\n"
        " ────────────────────────────────────────────────────────────────────────────────────\n"
        " ours over theirs         1.02  0.51        0.50  -     a paper, abstract  recalled\n"
        " peak                       10     -           -  GOPS  a paper, table 1   published\n"
        "ours over theirs: why.\n"
        "\n"
        "more\n"
        " Design\n"
        " ──────\n"
        " x\n"
        "\n"
        "What this is.\n"
        "Shared note.\n"
        "npubench 1.0, seed 7, networks=one.\n"
    )


def test_the_csv_form_has_every_cell_and_says_whose_it_is() -> None:
    rows = list(csv.DictReader(io.StringIO(to_csv(study_view(RESULT, "").record))))
    assert [(row["section"], row["origin"]) for row in rows] == [
        ("peers", "npubench"),
        ("peers", "published"),
        ("peers", "claim"),
        ("peers", "claim"),
        ("more", "npubench"),
    ]
    assert rows[0]["energy_j"] == "0.0015"
    assert rows[1]["energy_j"] == ""
    assert rows[2]["ours_over_published"] == "0.5"
    assert (rows[3]["published"], rows[3]["ours"]) == ("10.0", "")


def test_markdown_has_every_table() -> None:
    text = to_markdown(study_view(RESULT, "What this is."))
    assert "| theirs \\* | - | - | - | 2.00 | - | 7 |" in text
    assert text.count("\n|:---") == 3


def test_the_listing_names_every_study_and_its_parameters() -> None:
    view = studies_view(STUDIES.values())
    assert [row[0] for row in view.record.rows] == list(STUDIES)
    shown = {row[0]: row[2] for row in view.record.rows}
    assert shown["hawq_sizes"] == "networks=resnet18,resnet50_v1"
