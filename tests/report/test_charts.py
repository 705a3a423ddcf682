"""Charts hold the figures of their results, and pictures are the same bytes each time."""

from __future__ import annotations

import itertools
import random
from dataclasses import replace

import pytest

from npubench.errors import OptionError
from npubench.report.charts.model import Field, PointChart, RooflineChart, StackChart, front
from npubench.report.charts.of_results import chart_of, charts_of, choose_fields
from npubench.report.charts.picture import picture
from npubench.study.choose import choose, parse_wish
from npubench.study.result import Comparison, RunResult, Sweep


def test_layers_add_up_to_the_run(run: RunResult) -> None:
    latency, energy = chart_of(run, "latency"), chart_of(run, "energy")
    assert isinstance(latency, StackChart)
    assert isinstance(energy, StackChart)
    seconds = sum(sum(values) for _, values in latency.parts)
    assert seconds == pytest.approx(sum(layer.cycles for layer in run.layers) / run.clock_hz)
    joules = sum(sum(values) for _, values in energy.parts)
    assert joules == pytest.approx(sum(layer.energy_j for layer in run.layers))
    assert latency.items == ("conv1", "relu1")


def test_a_sweep_leaves_out_what_failed(sweep: Sweep) -> None:
    chart = chart_of(sweep, "lines")
    assert isinstance(chart, PointChart)
    assert chart.field("clock") == Field("clock", "clock", "Hz", (5e8, 1e9))
    assert chart.field("edp_js").values == (1.68e-5, 8.4e-6)


def test_the_front_is_what_no_other_point_beats() -> None:
    pick = random.Random(7)
    for _ in range(200):
        count = pick.randrange(1, 12)
        xs = [pick.choice([None, 1.0, 2.0, 3.0, 4.0]) for _ in range(count)]
        ys = [pick.choice([None, 1.0, 2.0, 3.0, 4.0]) for _ in range(count)]
        signs = {"low": 1.0, "high": -1.0}
        for down_x, down_y in itertools.product(signs, repeat=2):
            found = front(
                Field("x", "x", "", tuple(xs), down_x), Field("y", "y", "", tuple(ys), down_y)
            )
            costs = {
                i: (signs[down_x] * x, signs[down_y] * y)
                for i, (x, y) in enumerate(zip(xs, ys, strict=True))
                if x is not None and y is not None
            }
            best = {
                cost
                for cost in costs.values()
                if not any(
                    other[0] <= cost[0] and other[1] <= cost[1] and other != cost
                    for other in costs.values()
                )
            }
            assert sorted(costs[i] for i in found) == sorted(best)


def test_fields_are_chosen_by_key_or_short_form(sweep: Sweep) -> None:
    chart = chart_of(sweep, "pareto")
    assert isinstance(chart, PointChart)
    chosen = choose_fields(chart, "clock", "edp", None)
    assert (chosen.x, chosen.y) == ("clock", "edp_js")
    with pytest.raises(OptionError) as caught:
        choose_fields(chart, None, "energi", None)
    assert str(caught.value) == (
        "--y 'energi': the points have no such field\n  did you mean 'energy_j'?"
    )


def test_a_result_without_a_chart_says_which_it_has(run: RunResult, sweep: Sweep) -> None:
    for result, kind, message in (
        (run, "pareto", "a run has no chart 'pareto': expected latency or energy or roofline"),
        (sweep, "energy", "a sweep has no chart 'energy': expected pareto or lines"),
        (run, "roofline", "no layer with MACs moves anything off chip: there is no roofline"),
    ):
        with pytest.raises(OptionError) as caught:
            chart_of(result, kind)
        assert str(caught.value) == message


def test_the_roofs_are_the_machine_s_peak_and_bandwidth() -> None:
    from npubench.study.run import RunRequest
    from npubench.study.run import run as run_one

    chart = chart_of(run_one(RunRequest("resnet18", "tpuv4i")), "roofline")
    assert isinstance(chart, RooflineChart)
    ((precision, peak),) = chart.peaks
    assert precision == "bf16"
    assert peak == pytest.approx(4 * 128 * 128 * 1.05e9, rel=1e-6)
    assert chart.bandwidth == pytest.approx(614e9)
    roof = [min(peak, x * (chart.bandwidth or 0.0)) for x in chart.intensity]
    assert all(rate <= limit * (1 + 1e-9) for rate, limit in zip(chart.rate, roof, strict=True))


@pytest.mark.parametrize("form", ["png", "svg"])
def test_pictures_are_the_same_bytes_each_time(
    form: str, run: RunResult, comparison: Comparison, sweep: Sweep
) -> None:
    magic = {"png": b"\x89PNG\r\n", "svg": b"<?xml"}[form]
    drawn = [chart for result in (run, comparison, sweep) for chart in charts_of(result)]
    assert len(drawn) == 7
    for chart in (drawn[0], drawn[-1]):
        data = picture(chart, form)
        assert data.startswith(magic)
        assert data == picture(chart, form)


def test_every_combination_of_the_other_axes_is_a_line_of_its_own(sweep: Sweep) -> None:
    done = next(point for point in sweep.points if point.totals is not None)
    axes = (("vdd", ("0.5", "0.6")), ("batch", ("1", "2")), ("precision", ("w8a8", "w4a4")))
    grid = [
        dict(zip(("vdd", "batch", "precision"), row, strict=True))
        for row in itertools.product(*(values for _, values in axes))
    ]
    points = tuple(replace(done, axes=row, workload=f"n{i % 4}") for i, row in enumerate(grid))
    chart = chart_of(Sweep(axes, points, sweep.stamp), "lines")
    assert isinstance(chart, PointChart)
    drawn = list(zip(chart.field(chart.color).values, chart.field(chart.x).values, strict=True))
    assert len(set(drawn)) == len(drawn) == 8
    assert " and 2 more: " in chart.title


def test_a_front_is_drawn_over_the_figures_it_was_asked_for(sweep: Sweep) -> None:
    choice = choose(sweep.points, parse_wish(None, (), "edp,latency"))
    asked = chart_of(replace(sweep, choice=choice), "pareto")
    plain = chart_of(sweep, "pareto")
    assert isinstance(asked, PointChart)
    assert isinstance(plain, PointChart)
    assert (plain.x, plain.y) == ("latency_s", "energy_j")
    assert (asked.x, asked.y) == ("edp_js", "latency_s")
