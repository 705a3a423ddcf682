"""Zipped, filtered and sampled grids, and the best of their points."""

from __future__ import annotations

import itertools
import random
from dataclasses import replace

import pytest

from npubench.errors import OptionError
from npubench.study.axes import Axis, parse_axis
from npubench.study.choose import Wish, choose, parse_wish
from npubench.study.grid import Sample, Shape, SweepPlan, parse_sample, plan_sweep
from npubench.study.result import SweepPoint
from npubench.study.run import RunRequest
from npubench.study.session import Session
from tests.report.report_records import TOTALS

REQUEST = RunRequest("digits_cnn", "tpuv4i")


def plan(shape: Shape, *axes: Axis) -> SweepPlan:
    return SweepPlan(REQUEST, axes, {"tpuv4i": frozenset()}, shape)


A, B, C = Axis("a", ("1", "2", "3")), Axis("b", ("x", "y", "z")), Axis("c", ("7", "8"))


def test_zipped_axes_advance_together() -> None:
    points = plan(Shape(zipped=(("a", "b"),)), A, C, B).points
    assert points == tuple(
        (a, c, b) for (a, b), c in itertools.product(zip("123", "xyz", strict=True), "78")
    )


def test_a_step_that_multiplies() -> None:
    assert parse_axis("rows=16:128:*2").values == ("16", "32", "64", "128")
    assert parse_axis("size=64:300:*2 KiB").values == ("64 KiB", "128 KiB", "256 KiB")
    for text in ("rows=16:128:*1", "rows=0:128:*2", "rows=16:*2", "rows=8:4:*2"):
        with pytest.raises(OptionError):
            parse_axis(text)


def test_random_points_are_some_of_the_grid_in_its_order_and_the_same_again() -> None:
    whole = plan(Shape(), A, B, C).points
    some = plan(Shape(sample=Sample("random", 7, seed=3)), A, B, C).points
    assert len(some) == 7
    assert list(some) == [point for point in whole if point in set(some)]
    assert some == plan(Shape(sample=Sample("random", 7, seed=3)), A, B, C).points
    assert some != plan(Shape(sample=Sample("random", 7, seed=4)), A, B, C).points
    assert plan(Shape(sample=Sample("random", 99)), A, B, C).points == whole


def test_a_latin_hypercube_has_every_value_of_every_axis_once() -> None:
    axes = [Axis(name, tuple(map(str, range(20)))) for name in "abc"]
    points = plan(Shape(sample=Sample("lhs", 20, seed=1)), *axes).points
    assert len(points) == 20
    for column in zip(*points, strict=True):
        assert sorted(column, key=int) == list(map(str, range(20)))


def test_mistakes_of_a_shape_are_told_before_anything_runs() -> None:
    axes = [parse_axis("batch=1,2"), parse_axis("vdd=0.6,0.7,0.8")]
    for shape, message in (
        (
            Shape(zipped=(("batch", "vdd"),)),
            "--zip batch,vdd: needs as many values of each; batch has 2, vdd has 3",
        ),
        (
            Shape(zipped=(("batch", "vd"),)),
            "--zip batch,vd: 'vd' is no axis\n  did you mean 'vdd'?",
        ),
        (Shape(where=("batch > 5",)), "sweep: no point meets every --where; the grid is empty"),
    ):
        with pytest.raises(OptionError) as caught:
            plan_sweep(REQUEST, axes, Session(), shape)
        assert str(caught.value) == message
    for text in ("random", "lhs:0", "grid:5", "random:x"):
        with pytest.raises(OptionError, match="expected random:COUNT, lhs:COUNT or guided:COUNT"):
            parse_sample(text, 0)


def point(latency: float, energy: float, area: float | None = None) -> SweepPoint:
    totals = replace(TOTALS, latency_s=latency, energy_j=energy, area_mm2=area)
    return SweepPoint({}, "n", "h", "ok", totals)


def test_the_front_equals_a_comparison_of_every_pair() -> None:
    pick = random.Random(11)
    names = ("latency_s", "energy_j", "area_mm2")
    for _ in range(60):
        points = [
            point(*(float(pick.randrange(1, 5)) for _ in range(3)))
            for _ in range(pick.randrange(1, 14))
        ]
        costs = [tuple(getattr(p.totals, name) for name in names) for p in points]
        slow = [
            i
            for i, mine in enumerate(costs)
            if not any(
                all(a <= b for a, b in zip(other, mine, strict=True)) and other != mine
                for other in costs
            )
        ]
        found = choose(points, Wish(front=names))
        assert found is not None
        assert list(found.front) == slow


def test_the_best_is_the_lowest_that_meets_every_condition() -> None:
    points = [
        point(3.0, 1.0),
        point(2.0, 9.0),
        point(1.0, 20.0),
        SweepPoint({}, "n", "h", "failed"),
    ]
    found = choose(points, parse_wish("latency", ["energy < 10 J"], None))
    assert found is not None
    assert (found.best, found.allowed) == (1, 2)
    none = choose(points, parse_wish("latency", ["energy < 0.5 J"], None))
    assert none is not None
    assert none.best is None
    assert choose(points, Wish()) is None
    lacking = choose(points, parse_wish("area", [], "area,latency"))
    assert lacking is not None
    assert (lacking.best, lacking.front) == (None, ())


def test_wishes_that_make_no_sense_are_told_together() -> None:
    with pytest.raises(OptionError) as caught:
        parse_wish("edpp", ["top2 >= 70"], "edp")
    lines = [line for line in str(caught.value).splitlines() if not line.startswith("  ")]
    assert lines == [
        "--minimize: no figure 'edpp'",
        "--pareto edp: a front needs at least two figures",
        "--subject-to 'top2 >= 70': unknown metric 'top2'",
    ]
