"""What the views say, against records whose figures are known."""

from __future__ import annotations

import csv
import io
from dataclasses import replace

from npubench.machines.protocol import ConstantUse
from npubench.report.compare_view import compare_view
from npubench.report.render import Screen, to_csv, to_terminal
from npubench.report.run_view import constant_notes, coverage_warnings, run_view
from npubench.report.sweep_view import plan_view, sweep_view
from npubench.study.axes import Axis
from npubench.study.grid import SweepPlan
from npubench.study.result import Comparison, RunResult, Sweep
from npubench.study.run import RunRequest
from tests.report.report_records import MODELLED, PARTIAL

SCREEN = Screen(80)


def test_a_run_at_eighty_columns(run: RunResult) -> None:
    assert to_terminal(run_view(run), SCREEN) == (
        "resnet50 on tpuv4i (array, 7 nm): w8a8, batch 1, 4.09 GMAC\n"
        "\n"
        " Latency  Energy     EDP  Throughput  Efficiency  Utilization   Area\n"
        "    [ms]    [mJ]  [uJ*s]       [1/s]    [TOPS/W]          [%]  [mm2]\n"
        " ───────────────────────────────────────────────────────────────────\n"
        "    1.00    8.40    8.40        1000       0.974         34.2    400\n"
        "\n"
        "                     Latency  Share\n"
        " Latency by cause       [ms]    [%]\n"
        " ──────────────────────────────────────────────────────\n"
        " compute               0.750   75.0  ██████████████████\n"
        " stall dram weight     0.250   25.0  ██████\n"
        " drain              0.000100   <0.1\n"
        "\n"
        "                      Energy  Share\n"
        " Energy by component    [mJ]    [%]\n"
        " ────────────────────────────────────────────────\n"
        " mac                    4.20   50.0  ████████████\n"
        " dram                   2.10   25.0  ██████\n"
        " sram                   2.10   25.0  ██████\n"
        "\n"
        "Latency of one inference, host transfer excluded. EDP = energy x latency, lower\n"
        "  is better.\n"
        "Precision: w8a8. Clock 1.05 GHz.\n"
        "~ 51% of the energy rests on assumed or recalled constants: array.mac_energy 0.5\n"
        "  pJ (assumed, 50%); and 1 smaller one.\n"
        "Assumed: weights stay in DRAM between inferences.\n"
        "Model sha256 abababab, spec sha256 cdcdcdcd, npubench 0.1.0.\n"
    )


def test_the_setting_names_memories_and_knobs(run: RunResult) -> None:
    hbm = ConstantUse("memories.hbm.bandwidth", "614 GB/s", "secondary", "ISCA 2021")
    knobs = replace(run.hardware, knobs={"cmem": "128 MiB"})
    told = run_view(replace(run, hardware=knobs, constants=(hbm,))).notes[1]
    assert told == "Precision: w8a8. Clock 1.00 GHz, cmem 128 MiB, hbm 614 GB/s."


def test_a_widened_precision_says_both(run: RunResult) -> None:
    widened = replace(run, precision_summary=("w3a8", "w4a8"))
    assert "Precision: w3a8 requested, w4a8 executed." in run_view(widened).notes[1]


def test_a_batch_says_what_counts_for_what(run: RunResult) -> None:
    batched = replace(run, options=replace(run.options, batch=8))
    assert (
        run_view(batched)
        .notes[0]
        .startswith("Latency of a batch of 8, energy of one inference, host transfer excluded.")
    )


def test_the_ledger_appears_when_something_is_not_modelled(run: RunResult) -> None:
    assert "Operator" not in to_terminal(run_view(run), SCREEN)
    text = to_terminal(run_view(replace(run, coverage=PARTIAL)), SCREEN)
    assert (
        "                                      MACs  Bytes  Time\n"
        " Operator      Status        Layers    [%]    [%]   [%]  How\n"
    ) in text
    assert " com.acme.Foo  unknown            1      -    0.0   0.0  no such operator\n" in text
    assert " Erf           approximated       1    0.0   10.0  10.0  as one special op\n" in text


def test_unknown_operators_are_a_warning(run: RunResult) -> None:
    assert coverage_warnings(replace(run, coverage=MODELLED)) == ()
    assert coverage_warnings(replace(run, coverage=PARTIAL)) == (
        "resnet50 on tpuv4i: 1 layer of unknown operators (com.acme.Foo) with 0.0% of the bytes; "
        "see the ledger, or gate with --max-unknown",
    )


def test_guesses_above_one_percent_are_named_largest_first() -> None:
    def use(path: str, confidence: str, energy_j: float) -> ConstantUse:
        return ConstantUse(path, "1 pJ", confidence, "", energy_j)

    constants = [
        use("a", "recalled", 0.2),
        use("b", "assumed", 0.3),
        use("c", "published", 0.4),
        use("d", "assumed", 0.005),
        use("e", "assumed", 0.0),
    ]
    assert constant_notes(constants, 1.0) == (
        "~ 50% of the energy rests on assumed or recalled constants: b 1 pJ (assumed, 30%); "
        "a 1 pJ (recalled, 20%); and 1 smaller one.",
    )
    assert constant_notes([use("c", "published", 1.0)], 1.0) == ()
    assert constant_notes([use("d", "assumed", 0.005)], 1.0) == (
        "Assumed or recalled constants carry 0.5% of the energy, none of them more than 1 %.",
    )


def test_a_comparison_names_baseline_winner_and_nodes(comparison: Comparison) -> None:
    text = to_terminal(compare_view(comparison), SCREEN)
    assert " Workload   Ratio to tpuv4i  Latency  Energy   EDP  Throughput\n" in text
    assert " geomean    tpuv4i              1.00    1.00  1.00        1.00\n" in text
    assert "            edge8               0.50    1.00  0.50        2.00\n" in text
    assert (
        "resnet50: edge8 has the lowest EDP, 2 times below tpuv4i; fastest edge8, lowest\n"
        "  energy tpuv4i and edge8.\n"
    ) in text
    assert "Technology nodes differ: figures are as built, not normalised to one node.\n" in text


def test_a_comparison_in_csv_has_one_header_and_the_means(comparison: Comparison) -> None:
    rows = list(csv.DictReader(io.StringIO(to_csv(compare_view(comparison).record))))
    assert [(r["workload"], r["hardware"], r["edp_ratio"]) for r in rows] == [
        ("resnet50", "tpuv4i", "1.0"),
        ("resnet50", "edge8", "0.5"),
        ("bert_base", "tpuv4i", "1.0"),
        ("bert_base", "edge8", "0.5"),
        ("geomean", "tpuv4i", "1.0"),
        ("geomean", "edge8", "0.5"),
    ]
    assert rows[4]["latency_s"] == ""


def test_a_tie_is_called_one(comparison: Comparison) -> None:
    first = comparison.runs[0]
    twin = replace(first, hardware=replace(first.hardware, name="twin"))
    same = Comparison("tpuv4i", (first, twin), comparison.ratios[:2])
    assert compare_view(same).findings[0] == "resnet50: tpuv4i and twin tie on EDP."


def test_a_sweep_shows_failed_points_with_their_reason(sweep: Sweep) -> None:
    text = to_terminal(sweep_view(sweep), SCREEN)
    assert text == (
        "sweep: resnet50 on tpuv4i: 3 points, 1 failed\n"
        "\n"
        "          Latency  Energy     EDP  Throughput\n"
        "   clock     [ms]    [mJ]  [uJ*s]       [1/s]  Status\n"
        " ────────────────────────────────────────────────────\n"
        " 500 MHz     2.00    8.40    16.8         500  ok\n"
        "   1 GHz     1.00    8.40    8.40        1000  ok\n"
        "   9 GHz        -       -       -           -  failed\n"
        "\n"
        " clock  Failed because\n"
        " ───────────────────────────────\n"
        " 9 GHz  clock: above 2 GHz; hint\n"
        "\n"
        "Lowest latency at clock=1 GHz; lowest EDP at clock=1 GHz.\n"
        "\n"
        "npubench 0.1.0.\n"
    )
    rows = list(csv.DictReader(io.StringIO(to_csv(sweep_view(sweep).record))))
    assert [(r["status"], r["latency_s"], r["error"]) for r in rows] == [
        ("ok", "0.002", ""),
        ("ok", "0.001", ""),
        ("failed", "", "clock: above 2 GHz; hint"),
    ]


def test_a_sweep_cut_short_before_its_first_point(sweep: Sweep) -> None:
    empty = sweep_view(replace(sweep, points=()))
    assert empty.title == "sweep: no point finished"


def test_a_plan_lists_its_points() -> None:
    request = RunRequest("resnet50", "tpuv4i")
    plan = SweepPlan(request, (Axis("batch", ("1", "4")),), {"tpuv4i": frozenset()})
    view = plan_view(plan, 0.25)
    assert view.notes == ("About 250 ms in one process, by two of the points.",)
    assert view.title == "sweep: resnet50 on tpuv4i: 2 points, none run"
    assert to_csv(view.record) == "batch\n1\n4\n"
