"""The validation study and the study of burst mode: bookkeeping, never agreement with a figure."""

from __future__ import annotations

import pytest

from npubench.errors import OptionError
from npubench.study.run import RunRequest
from npubench.study.run import run as run_once
from npubench.study.studies.registry import run_study
from npubench.study.studies.stimpack_burst import groups_of_causes
from npubench.study.studies.tables import read_table
from npubench.study.studies.validation import GROUPS, compare_rows
from npubench.study.studies.validation_figures import Figures
from npubench.study.studies.validation_matmul import r_squared, spread_evenly

PUBLISHED = read_table("workloads", "validation/published.csv")


def test_every_published_row_belongs_to_a_table_and_states_its_source() -> None:
    assert {row.text("group") for row in PUBLISHED} == set(GROUPS)
    names = [(row.text("group"), row.text("quantity")) for row in PUBLISHED]
    assert len(set(names)) == len(names) == 88
    assert all(row.text("source") and row.number("value") > 0 for row in PUBLISHED)


def test_a_row_without_a_value_says_why_and_a_value_without_a_row_is_an_error() -> None:
    rows = [row for row in PUBLISHED if row.text("group") == "cmem"]
    section = compare_rows("cmem", "", rows, Figures({"16 MiB": (41.0, "half")}, "no such level"))
    assert section.column("predicted") == (None, 41.0, None, None)
    assert section.column("ratio")[1] == 0.5
    assert section.column("error")[1] == -0.5
    assert section.column("note") == ("no such level", "half", "no such level", "no such level")
    with pytest.raises(KeyError, match="12 MiB"):
        compare_rows("cmem", "", rows, Figures({"12 MiB": (1.0, "")}, ""))


def test_the_layers_of_eyeriss_add_up_to_the_totals_printed_in_its_text() -> None:
    found = {
        r.text("quantity"): r.number("value") for r in PUBLISHED if r.text("group") == "eyeriss"
    }
    layers = [f"conv{i}" for i in range(1, 6)]
    assert sum(found[f"{name} DRAM"] for name in layers) == pytest.approx(15.4)
    assert sum(found[f"{name} global buffer"] for name in layers) == pytest.approx(208.6)
    times = [found[f"{name} total time"] for name in layers]
    assert 4e3 / sum(times) == pytest.approx(found["throughput"], rel=1e-3)
    watts = [found[f"{name} power"] for name in layers]
    mean = sum(p * t for p, t in zip(watts, times, strict=True)) / sum(times)
    assert mean == pytest.approx(found["power without DRAM"], rel=2e-3)


def test_r_squared_is_that_of_a_straight_line() -> None:
    assert r_squared([1.0, 2.0, 3.0], [5.0, 7.0, 9.0]) == pytest.approx(1.0)
    assert r_squared([1.0, 2.0, 1.0, 2.0], [1.0, 1.0, 2.0, 2.0]) == 0.0
    assert r_squared([1.0, 1.0], [1.0, 2.0]) == 0.0
    assert len(spread_evenly(list(PUBLISHED), 10)) == 10


def test_causes_fall_into_groups_that_add_up_to_the_run() -> None:
    for mode in ("base", "burst"):
        request = RunRequest(workload="digits_cnn", hardware="stimpack", knobs={"mode": mode})
        totals = run_once(request).totals
        assert sum(groups_of_causes(totals.latency_by_cause).values()) == totals.cycles


def test_burst_study_gives_a_row_a_network_and_a_mean_beside_the_published_one() -> None:
    result = run_study("stimpack_burst", {"networks": "digits_cnn"})
    speedups = result.section("speedup")
    assert speedups.column("network") == ("digits_cnn", "geomean")
    base, burst = (speedups.column(f"{mode}_latency_s")[0] for mode in ("base", "burst"))
    assert isinstance(base, float)
    assert isinstance(burst, float)
    assert speedups.column("speedup")[0] == pytest.approx(base / burst)
    assert speedups.claims[0].ours == pytest.approx(base / burst)
    assert speedups.claims[0].published == 1.484
    shares = result.section("causes").rows[0][2:]
    assert sum(float(share or 0) for share in shares) == pytest.approx(1.0)


def test_tables_that_do_not_exist_are_refused() -> None:
    with pytest.raises(OptionError, match="eyeris"):
        run_study("validation", {"parts": "eyeris"})
    with pytest.raises(OptionError, match="matmuls"):
        run_study("validation", {"parts": "matmul", "matmuls": "two"})
