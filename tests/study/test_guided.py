"""An optimiser over a grid: points of the grid, none twice, the same again, and the best found."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from npubench.errors import OptionError
from npubench.study.axes import parse_axis
from npubench.study.choose import broken, choose, parse_wish
from npubench.study.grid import Sample, Shape, SweepPlan, plan_sweep
from npubench.study.guided import check_guided, guided_points
from npubench.study.result import SweepPoint
from npubench.study.run import RunRequest
from npubench.study.session import Session
from npubench.study.store import SweepStore
from npubench.study.sweep import sweep_points
from tests.report.report_records import TOTALS

WISH = parse_wish("edp", (), None)
FRONT = parse_wish(None, (), "latency,energy")


def grid(sample: Sample | None) -> tuple[SweepPlan, Session]:
    session = Session()
    axes = [
        parse_axis("vdd=0.5:1.0:0.1"),
        parse_axis("precision=w2a2,w4a4,w8a8"),
        parse_axis("batch=1,4"),
    ]
    shape = Shape(where=("batch * vdd < 3.5",), sample=sample)
    return plan_sweep(RunRequest("digits_cnn", "bf_imna"), axes, session, shape), session


def values(points: list[SweepPoint]) -> list[tuple[str, ...]]:
    return [tuple(point.axes.values()) for point in points]


def test_points_of_the_grid_none_twice_and_the_same_again(tmp_path: Path) -> None:
    pytest.importorskip("optuna", reason="needs the extra 'guided'")
    whole, session = grid(None)
    plan, _ = grid(Sample("guided", 16, seed=5))
    found = list(guided_points(plan, session, WISH))
    assert len(set(values(found))) == len(found) == 16
    assert set(values(found)) <= set(whole.points)
    assert values(list(guided_points(plan, session, WISH))) == values(found)
    other, _ = grid(Sample("guided", 16, seed=6))
    assert values(list(guided_points(other, session, WISH))) != values(found)
    with SweepStore(tmp_path / "points.db") as store:
        assert list(guided_points(plan, session, WISH, store)) == found
    with SweepStore(tmp_path / "points.db") as store:
        assert len(store) == 16
        assert list(guided_points(plan, session, WISH, store)) == found


def test_it_comes_nearer_to_the_best_than_chance(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("optuna", reason="needs the extra 'guided'")

    def bowl(axes: dict[str, str], _request: RunRequest, _session: Session) -> SweepPoint:
        x, y = float(axes["vdd"]) - 0.673, int(axes["batch"]) - 31
        edp = 1.0 + (x / 0.2) ** 2 + (y / 20) ** 2 + (axes["precision"] != "w4a4")
        return SweepPoint(axes, "digits_cnn", "bf_imna", "ok", replace(TOTALS, edp_js=edp))

    monkeypatch.setattr("npubench.study.guided.run_point", bowl)
    session = Session()
    axes = [
        parse_axis("vdd=0.5:1.0:0.01"),
        parse_axis("precision=w2a2,w4a4,w6a6,w8a8"),
        parse_axis("batch=1:64:1"),
    ]

    def best(points: list[tuple[str, ...]]) -> float:
        rows = [dict(zip(("vdd", "precision", "batch"), row, strict=True)) for row in points]
        found = [bowl(row, plan.request, session).totals for row in rows]
        return min(totals.edp_js for totals in found if totals is not None)

    guided, drawn = [], []
    for seed in range(3):
        for kind, results in (("guided", guided), ("random", drawn)):
            shape = Shape(sample=Sample(kind, 60, seed))
            plan = plan_sweep(RunRequest("digits_cnn", "bf_imna"), axes, session, shape)
            if kind == "guided":
                results.append(best(values(list(guided_points(plan, session, WISH)))))
            else:
                results.append(best(list(plan.points)))
    assert sum(guided) - 3 < (sum(drawn) - 3) / 2


def test_a_sample_as_large_as_the_grid_is_the_grid_and_a_front_is_searched_for() -> None:
    pytest.importorskip("optuna", reason="needs the extra 'guided'")
    plan, session = grid(Sample("guided", 10_000))
    found = list(guided_points(plan, session, FRONT))
    assert sorted(values(found)) == sorted(plan.points)
    chosen = choose(found, FRONT)
    everything = list(sweep_points(grid(None)[0], session))
    expected = choose(everything, FRONT)
    assert chosen is not None
    assert expected is not None
    front = {tuple(found[i].axes.values()) for i in chosen.front}
    assert front == {tuple(everything[i].axes.values()) for i in expected.front}


def test_constraints_hold_where_the_search_ends() -> None:
    pytest.importorskip("optuna", reason="needs the extra 'guided'")
    whole, session = grid(None)
    latencies = sorted(
        point.totals.latency_s for point in sweep_points(whole, session) if point.totals is not None
    )
    # Fast points take more energy: without the constraint the search leaves for the slow ones.
    wish = parse_wish("energy", (f"latency < {latencies[len(latencies) // 3]!r}",), None)
    free = parse_wish("energy", (), None)
    plan, _ = grid(Sample("guided", 14, seed=1))
    bound = list(guided_points(plan, session, wish))
    unbound = list(guided_points(plan, session, free))
    met = sum(not broken(point, wish) for point in bound)
    assert met > sum(not broken(point, wish) for point in unbound)


def test_what_cannot_be_searched_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(OptionError, match="nothing to search for"):
        check_guided(parse_wish(None, (), None))
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(OptionError, match="Optuna is not installed") as error:
        check_guided(WISH)
    assert "pip install 'npubench[guided]'" in str(error.value)
    plan, session = grid(Sample("guided", 3))
    with pytest.raises(OptionError, match="guided"):
        next(sweep_points(plan, session))
