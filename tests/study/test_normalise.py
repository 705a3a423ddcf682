"""Designs of different nodes at one node: by the law, with off-chip memory left alone."""

from __future__ import annotations

from dataclasses import replace

import pytest

from npubench.machines.protocol import ConstantUse
from npubench.study.compare import compare_runs
from npubench.study.normalise import normalise
from npubench.study.result import RunResult
from npubench.study.serialise import dumps, loads, to_json
from tests.report.report_records import make_run
from tests.study.schema_check import validate


def at(node_nm: float | None, name: str) -> RunResult:
    """8.4 mJ, of which 2.1 mJ are off chip; 400 mm2."""
    run = make_run(hardware=name)
    rate = ConstantUse("memories.dram.bandwidth", "16 GB/s", "assumed", "", 0.0)
    hardware = replace(run.hardware, node_nm=node_nm)
    return replace(run, hardware=hardware, constants=(*run.constants, rate))


def test_the_die_scales_and_the_memory_outside_does_not() -> None:
    runs = [at(7.0, "base"), at(45.0, "old")]
    found = normalise(runs, "base")
    assert found is not None
    base, old = found.runs
    assert base.energy_j == pytest.approx(0.0084, rel=1e-12)
    assert base.area_mm2 == 400.0
    assert old.energy_j == pytest.approx(0.0021 + 0.0063 * 0.094, rel=1e-12)
    assert old.edp_js == pytest.approx((0.0021 + 0.0063 * 0.094) * 0.001, rel=1e-12)
    assert old.area_mm2 == pytest.approx(400 * 0.059)
    back = normalise(runs, "old")
    assert back is not None
    assert back.runs[0].energy_j == pytest.approx(0.0021 + 0.0063 / 0.094, rel=1e-12)


def test_a_node_that_the_law_lacks_has_no_figures() -> None:
    found = normalise([at(7.0, "base"), at(65.0, "older"), at(None, "none")], "base")
    assert found is not None
    assert [run.energy_j is None for run in found.runs] == [False, True, True]
    assert normalise([at(65.0, "base"), at(7.0, "new")], "base") is None
    assert normalise([at(7.0, "base"), at(7.0, "new")], "base") is None


def test_it_is_in_the_comparison_and_comes_back_from_json() -> None:
    comparison = compare_runs([at(7.0, "base"), at(16.0, "other")], ("base", "other"), "base")
    document = to_json(comparison)
    validate(document)
    assert document["normalised"]["node_nm"] == 7.0
    assert loads(dumps(document)) == comparison
