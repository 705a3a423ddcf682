"""Sweeps over clock and supply against runs of their own, point by point."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from npubench.study.axes import Axis
from npubench.study.operating import run_tuned, tuning_key
from npubench.study.result import SweepPoint
from npubench.study.run import RunRequest
from npubench.study.session import Session
from npubench.study.sweep import plan_sweep, run_point, run_points


def tasks(request: RunRequest, axes: Sequence[Axis]) -> list[tuple[dict[str, str], RunRequest]]:
    return list(plan_sweep(request, axes, Session()).requests())


def same(found: SweepPoint, wanted: SweepPoint) -> None:
    assert (found.axes, found.workload, found.hardware, found.status, found.error) == (
        wanted.axes,
        wanted.workload,
        wanted.hardware,
        wanted.status,
        wanted.error,
    )
    if wanted.totals is None:
        assert found.totals is None
        return
    assert found.totals is not None
    assert found.totals.latency_by_cause == wanted.totals.latency_by_cause
    for name in ("macs", "cycles", "area_mm2"):
        assert getattr(found.totals, name) == getattr(wanted.totals, name)
    for name in (
        "latency_s",
        "energy_j",
        "edp_js",
        "throughput_ips",
        "tops_per_watt",
        "utilization",
        "energy_by_component",
    ):
        assert getattr(found.totals, name) == pytest.approx(getattr(wanted.totals, name), rel=1e-12)
    assert found.coverage is not None
    assert wanted.coverage is not None
    for row, other in zip(found.coverage.operators, wanted.coverage.operators, strict=True):
        assert (row.op, row.status, row.layers, row.how) == (
            other.op,
            other.status,
            other.layers,
            other.how,
        )
        assert (row.macs, row.bytes) == (other.macs, other.bytes)
        assert row.latency_s == pytest.approx(other.latency_s, rel=1e-12)
    for status in ("modelled", "approximated", "unknown"):
        one, two = getattr(found.coverage, status), getattr(wanted.coverage, status)
        assert one.time_share == pytest.approx(two.time_share, rel=1e-12)
        assert one.latency_s == pytest.approx(two.latency_s, rel=1e-12)
        assert (one.ops, one.macs, one.macs_share) == (two.ops, two.macs, two.macs_share)


@pytest.mark.parametrize(
    ("hardware", "axes"),
    [
        (
            "stimpack",
            [
                Axis("mode", ("base", "burst")),
                Axis("vdd", ("0.6", "0.75V", "0.9")),
                Axis("clock", ("0.9", "1.05GHz")),
            ],
        ),
        ("edge8", [Axis("clock", ("0.3GHz", "1GHz")), Axis("objective", ("energy", "edp"))]),
        # A dotted path is a setting as well as the knob that leads there.
        ("edge8", [Axis("voltage.supply", ("0.6V", "0.8V")), Axis("batch", ("1", "4"))]),
        # Two settings of one field: the path is set after the knob.
        ("edge8", [Axis("clock", ("0.3GHz",)), Axis("vdd", ("0.6",))]),
        ("gemmini", [Axis("clock", ("0.5GHz", "1GHz"))]),
        ("nvdla_small", [Axis("clock", ("0.5GHz",)), Axis("batch", ("1", "2"))]),
    ],
)
def test_points_are_those_of_runs_of_their_own(hardware: str, axes: list[Axis]) -> None:
    wanted = tasks(RunRequest("digits_cnn", hardware), axes)
    found = list(run_points(wanted, Session()))
    assert len(found) == len(wanted)
    for point, (values, request) in zip(found, wanted, strict=True):
        same(point, run_point(values, request, Session()))


def test_a_field_set_twice_takes_its_last_value() -> None:
    twice = RunRequest(
        "digits_cnn", "edge8", knobs={"clock": "0.3GHz"}, overrides={"clock": "1 GHz"}
    )
    session = Session()
    assert tuning_key(twice, session) is not None
    assert run_tuned([twice], session) == [None]
    (point,) = run_points([({}, twice)], session)
    same(point, run_point({}, twice, Session()))
    assert point.totals is not None
    alone = run_point({}, RunRequest("digits_cnn", "edge8"), Session())
    assert alone.totals is not None
    assert point.totals.latency_s == alone.totals.latency_s


def test_points_that_cannot_run_fail_alone_with_the_same_reason() -> None:
    overrides = {"voltage.clock": "kept", "voltage.highest_clock": "1.2 GHz"}
    request = RunRequest("digits_cnn", "edge8", overrides=overrides)
    axes = [Axis("vdd", ("0.6", "0.8")), Axis("clock", ("0.5GHz", "1GHz"))]
    wanted = tasks(request, axes)
    found = list(run_points(wanted, Session()))
    assert [point.status for point in found] == ["ok", "failed", "ok", "ok"]
    for point, (values, one) in zip(found, wanted, strict=True):
        same(point, run_point(values, one, Session()))


def test_a_point_has_the_same_figures_in_any_company() -> None:
    axes = [Axis("vdd", tuple(f"0.{n}" for n in range(60, 90, 3))), Axis("clock", ("0.9", "1.1"))]
    many = tasks(RunRequest("digits_cnn", "stimpack"), axes)
    together = list(run_points(many, Session()))
    assert together == [next(run_points([task], Session())) for task in many]
    assert list(run_points(many[::-1], Session())) == together[::-1]


def test_requests_that_share_a_mapping_have_one_key() -> None:
    session = Session()
    base = RunRequest("digits_cnn", "stimpack", knobs={"vdd": "0.7"})
    same_key = RunRequest("digits_cnn", "stimpack", knobs={"clock": "0.9GHz"})
    assert tuning_key(base, session) == tuning_key(same_key, session)
    assert tuning_key(RunRequest("digits_cnn", "stimpack"), session) is None
    other = RunRequest("digits_cnn", "stimpack", knobs={"vdd": "0.7", "mode": "burst"})
    assert tuning_key(other, session) != tuning_key(base, session)
    for changed in (
        RunRequest("digits_cnn", "stimpack", batch=2, knobs={"vdd": "0.7"}),
        RunRequest("digits_cnn", "stimpack", objective="edp", knobs={"vdd": "0.7"}),
        RunRequest("digits_cnn", "stimpack", precision="int8", knobs={"vdd": "0.7"}),
    ):
        assert tuning_key(changed, session) != tuning_key(base, session)
