"""One view in every form: nothing lost, nothing unsafe, nothing wider than the terminal."""

from __future__ import annotations

import csv
import io
from dataclasses import replace

import pytest

from npubench.report.compare_view import compare_view
from npubench.report.render import Screen, to_csv, to_markdown, to_terminal
from npubench.report.run_view import run_view
from npubench.report.sweep_view import sweep_view
from npubench.report.table import Column, Table, View, fixed, label, quantity
from npubench.study.result import RunResult
from tests.report.report_records import PARTIAL, make_comparison, make_run, make_sweep

LONG = "model/encoder/layer.11/attention/self/query/MatMul_quantized_by_someone_very_thorough"
EVIL = "\x1b[2J[bold]x[/bold]|`<script>\nname"


def renamed(run: RunResult, name: str) -> RunResult:
    return replace(run, layers=(replace(run.layers[0], name=name), *run.layers[1:]))


def views(name: str = LONG) -> list[View]:
    run = renamed(replace(make_run(), coverage=PARTIAL), name)
    return [
        run_view(run, layers=True, verbose=True),
        compare_view(make_comparison()),
        sweep_view(make_sweep()),
    ]


@pytest.mark.parametrize("view", views())
@pytest.mark.parametrize("width", [80, 100])
def test_no_line_is_wider_than_the_terminal(view: View, width: int) -> None:
    lines = to_terminal(view, Screen(width)).splitlines()
    assert max(map(len, lines)) <= width
    assert all(line == line.rstrip() for line in lines)


@pytest.mark.parametrize("width", [1, 10, 20, 39, 57, 79])
def test_a_small_terminal_gets_an_answer_too(width: int) -> None:
    for view in views():
        lines = to_terminal(view, Screen(width)).splitlines()
        assert max(map(len, lines)) <= max(width, 20)


def test_a_long_name_is_shortened_in_a_terminal_and_whole_elsewhere() -> None:
    view = views()[0]
    narrow = to_terminal(view, Screen(80))
    assert LONG not in narrow
    assert " model/…someone_very_thorough  Conv " in narrow
    for text in (to_terminal(view, Screen()), to_csv(view.record)):
        assert LONG in text
    assert LONG.replace("_", r"\_") in to_markdown(view)


def test_foreign_text_cannot_act_in_any_form() -> None:
    view = views(EVIL)[0]
    shown = r"\x1b[2J[bold]x[/bold]|`<script>\nname"
    assert shown in to_terminal(view, Screen())
    assert shown in to_csv(view.record)
    assert r"\\x1b\[2J\[bold\]x\[/bold\]\|\`\<script\>\\nname" in to_markdown(view)
    for text in (to_terminal(view, Screen(80)), to_csv(view.record), to_markdown(view)):
        assert "\x1b" not in text


def test_styles_only_where_asked() -> None:
    view = views()[0]
    assert "\x1b[1m" in to_terminal(view, Screen(80, styled=True))
    assert "\x1b" not in to_terminal(view, Screen(80, styled=False))


def test_an_ascii_terminal_gets_ascii() -> None:
    assert to_terminal(views()[0], Screen(80, unicode=False)).isascii()


def test_a_table_too_wide_for_any_cut_folds_and_keeps_every_digit() -> None:
    columns = tuple(Column(f"c{i}", f"c{i}") for i in range(12))
    numbers = tuple(f"{10**9 + i}" for i in range(12))
    text = to_terminal(
        View("wide", (Table("", columns, (numbers,)),), Table("", (), ())), Screen(60)
    )
    assert max(map(len, text.splitlines())) <= 60
    assert sum(text.count(digit) for digit in "0123456789") == 12 * 10 + 14


def test_a_table_too_wide_stands_in_pieces_that_name_their_rows() -> None:
    table = Table(
        "",
        (
            label("system", "System", "shorten"),
            Column("load", "Load"),
            *(Column(f"c{i}", f"c{i}") for i in range(4)),
        ),
        (
            ("stimpack", "0.5", *(f"{10**9 + i}" for i in range(4))),
            ("stimpack", "0.7", *(f"{10**9 + i}" for i in range(4, 8))),
        ),
        caption="Once.",
    )
    view = View("wide", (table,), table)
    assert to_terminal(view, Screen(40)) == (
        "wide\n"
        "\n"
        " System    Load          c0          c1\n"
        " ──────────────────────────────────────\n"
        " stimpack   0.5  1000000000  1000000001\n"
        " stimpack   0.7  1000000004  1000000005\n"
        "\n"
        " System    Load          c2          c3\n"
        " ──────────────────────────────────────\n"
        " stimpack   0.5  1000000002  1000000003\n"
        " stimpack   0.7  1000000006  1000000007\n"
        "Once.\n"
    )
    alone = View("wide", (replace(table, rows=table.rows[:1]),), table)
    assert to_terminal(alone, Screen(40)).count(" stimpack ") == 2


def test_the_look_of_a_table() -> None:
    table = Table(
        "",
        (
            label("hardware", "Accelerator"),
            quantity("latency_s", "Latency", "s", [3.21e-3]),
            fixed("edp_ratio", "EDP", 2),
        ),
        (("stimpack", 3.21e-3, 1.0), ("ap_bitserial", 19.6e-3, 2.094)),
        caption="One inference, host transfer excluded.",
    )
    view = View("compare: resnet50", (table,), table, ("EDP: lower is better.",))
    assert to_terminal(view, Screen(80)) == (
        "compare: resnet50\n"
        "\n"
        "               Latency\n"
        " Accelerator      [ms]   EDP\n"
        " ───────────────────────────\n"
        " stimpack         3.21  1.00\n"
        " ap_bitserial     19.6  2.09\n"
        "One inference, host transfer excluded.\n"
        "\n"
        "EDP: lower is better.\n"
    )
    assert to_markdown(view) == (
        "### compare: resnet50\n"
        "\n"
        "| Accelerator | Latency [ms] | EDP |\n"
        "|:---|---:|---:|\n"
        "| stimpack | 3.21 | 1.00 |\n"
        "| ap\\_bitserial | 19.6 | 2.09 |\n"
        "\n"
        "One inference, host transfer excluded.\n"
        "\n"
        "- EDP: lower is better.\n"
    )
    assert to_csv(view.record) == (
        "hardware,latency_s,edp_ratio\nstimpack,0.00321,1.0\nap_bitserial,0.0196,2.094\n"
    )


def test_csv_reads_back_to_the_same_numbers() -> None:
    run = make_run()
    (row,) = csv.DictReader(io.StringIO(to_csv(run_view(run).record)))
    assert float(row["latency_s"]) == run.totals.latency_s
    assert float(row["edp_js"]) == run.totals.edp_js
    assert int(row["cycles"]) == run.totals.cycles
    layers = list(csv.DictReader(io.StringIO(to_csv(run_view(run, layers=True).record))))
    assert sum(float(layer["energy_j"]) for layer in layers) == pytest.approx(0.0084, rel=1e-12)
    assert layers[1]["utilization"] == ""
