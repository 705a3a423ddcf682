from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from npubench.errors import OptionError
from npubench.ir import Network, PrecisionPlan
from npubench.machines.protocol import Cost
from npubench.specs.loader import SpecDocument
from npubench.study.axes import Axis, parse_axis
from npubench.study.run import RunRequest
from npubench.study.session import Session
from npubench.study.sweep import plan_sweep, sweep, sweep_points
from tests.study.study_fakes import TOY, FakeMachine, Library, build_fake

TINY_ON_TOY = RunRequest("tiny", "toy")


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("batch=1,2,4", ["1", "2", "4"]),
        ("batch=1:4:1", ["1", "2", "3", "4"]),
        ("vdd=0.5:0.8:0.1", ["0.5", "0.6", "0.7", "0.8"]),
        ("vdd=0.5:1:0.2", ["0.5", "0.7", "0.9"]),
        ("vdd=1:0.5:-0.25", ["1", "0.75", "0.5"]),
        ("clock=0.7GHz:0.9GHz:0.1GHz", ["0.7 GHz", "0.8 GHz", "0.9 GHz"]),
        ("clock=0.7:0.9:0.1 GHz", ["0.7 GHz", "0.8 GHz", "0.9 GHz"]),
        ("rows=1e1:3e1:1e1", ["10", "20", "30"]),
        ("rows=8,16:32:8", ["8", "16", "24", "32"]),
        ("leak=0:0:1", ["0"]),
        ("mode=burst, normal", ["burst", "normal"]),
        ("hw=toy:clock=2GHz,fast", ["toy:clock=2GHz", "fast"]),
        ("a.b=1:x", None),
    ],
)
def test_values_of_an_axis(text: str, values: list[str] | None) -> None:
    if values is None:
        with pytest.raises(OptionError):
            parse_axis(text)
    else:
        assert list(parse_axis(text).values) == values


def test_decimal_steps_are_exact() -> None:
    values = parse_axis("vdd=0.5:1.0:0.05").values
    assert values[0] == "0.5"
    assert values[-1] == "1"
    assert len(values) == 11
    assert values[3] == "0.65"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("clock", "--axis 'clock': expected NAME=VALUES such as clock=0.7:1.4:0.1GHz"),
        ("=1,2", "--axis '=1,2': expected NAME=VALUES such as clock=0.7:1.4:0.1GHz"),
        ("clock=", "--axis 'clock=': an empty value; the grid would have no points"),
        ("clock=1,,2", "--axis 'clock=1,,2': an empty value; the grid would have no points"),
        ("clock=1:2", "--axis 'clock=1:2': '1:2' is no range start:stop:step"),
        ("clock=1:2:x", "--axis 'clock=1:2:x': '1:2:x' is no range start:stop:step"),
        ("clock=1:2:0", "--axis 'clock=1:2:0': the step of '1:2:0' is zero"),
        (
            "clock=2:1:0.1",
            "--axis 'clock=2:1:0.1': '2:1:0.1' has no values, the step leads away from stop",
        ),
        (
            "clock=1GHz:2MHz:1",
            "--axis 'clock=1GHz:2MHz:1': '1GHz:2MHz:1' mixes the units GHz and MHz",
        ),
        (
            "clock=0:1:1e-9",
            "--axis 'clock=0:1:1e-9': '0:1:1e-9' has 1000000001 values, more than 100000",
        ),
        ("clock=1,1", "--axis 'clock=1,1': value '1' is given twice"),
    ],
)
def test_axes_that_make_no_sense(text: str, message: str) -> None:
    with pytest.raises(OptionError) as caught:
        parse_axis(text)
    assert str(caught.value) == message


def test_the_product_in_order_with_every_kind_of_axis(session: Session) -> None:
    axes = [
        parse_axis("clock=1,2"),
        parse_axis("array.rate=4,16"),
        parse_axis("workload=tiny,wide"),
    ]
    found = sweep(RunRequest("", "toy"), axes, session)
    assert found.axes == (
        ("clock", ("1", "2")),
        ("array.rate", ("4", "16")),
        ("workload", ("tiny", "wide")),
    )
    rows = [(*p.axes.values(), p.workload, p.totals.cycles) for p in found.points if p.totals]
    assert rows == [
        ("1", "4", "tiny", "tiny", 18),
        ("1", "4", "wide", "wide", 32),
        ("1", "16", "tiny", "tiny", 12),
        ("1", "16", "wide", "wide", 8),
        ("2", "4", "tiny", "tiny", 18),
        ("2", "4", "wide", "wide", 32),
        ("2", "16", "tiny", "tiny", 12),
        ("2", "16", "wide", "wide", 8),
    ]
    seconds = [p.totals.latency_s for p in found.points if p.totals]
    assert seconds[0] == pytest.approx(2 * seconds[4], rel=1e-12)
    assert all((p.status, p.hardware) == ("ok", "toy") for p in found.points)


def test_batch_and_hardware_axes(session: Session) -> None:
    axes = [parse_axis("hw=toy,fast"), parse_axis("batch=1,2")]
    found = sweep(RunRequest("wide", ""), axes, session)
    rows = [(p.hardware, p.totals.cycles) for p in found.points if p.totals]
    # 128 and 256 MACs at 4 and at 16 a cycle; the stall and the overlap cancel out.
    assert rows == [("toy", 32), ("toy", 64), ("fast", 8), ("fast", 16)]


def test_objectives_are_an_axis(session: Session) -> None:
    plan = plan_sweep(TINY_ON_TOY, [parse_axis("objective=latency,edp")], session)
    assert [request.objective for _, request in plan.requests()] == ["latency", "edp"]
    with pytest.raises(OptionError) as caught:
        plan_sweep(TINY_ON_TOY, [parse_axis("objective=latency,power")], session)
    assert str(caught.value).startswith(
        "--axis objective: expected latency, energy or edp, got 'power'"
    )


def test_dims_reach_the_frontend(library: Library) -> None:
    asked: list[dict[str, int]] = []

    def network(workload: str, dims: Any) -> Any:
        asked.append(dict(dims))
        return library._network(workload, dims)

    session = Session(network, library._spec, build_fake)
    request = RunRequest("tiny", "toy", dims={"height": 3})
    sweep(request, [parse_axis("dim.seq=64,128")], session)
    assert asked == [{"height": 3, "seq": 64}, {"height": 3, "seq": 128}]


def test_a_point_that_cannot_run_says_why_and_the_next_follows(session: Session) -> None:
    found = sweep(TINY_ON_TOY, [parse_axis("precision=w16a16,w8a8")], session)
    failed, ok = found.points
    assert (failed.status, failed.totals) == ("failed", None)
    assert (failed.workload, failed.hardware) == ("tiny", "toy")
    assert failed.error == "toy: no format for 'fc' (w16a16)"
    assert (ok.status, ok.error) == ("ok", None)


def test_a_failed_point_shows_no_path(library: Library, tmp_path: Path) -> None:
    path = str(tmp_path / "mine.onnx")
    library.networks[path] = library.networks["tiny"]
    found = sweep(RunRequest(path, "toy"), [parse_axis("precision=w16a16")], library.session())
    assert found.points[0].workload == "mine"


def test_a_bug_is_not_a_failed_point(library: Library) -> None:
    class Broken(FakeMachine):
        def cost(self, network: Network, plan: PrecisionPlan, mapping: None) -> Cost:
            del network, plan, mapping
            raise ZeroDivisionError

    def build(document: SpecDocument) -> Any:
        machine = build_fake(document)
        return Broken(machine.info, machine.rate)

    session = Session(library._network, library._spec, build)
    with pytest.raises(ZeroDivisionError):
        sweep(TINY_ON_TOY, [parse_axis("batch=1")], session)


def test_points_come_one_by_one(session: Session) -> None:
    plan = plan_sweep(TINY_ON_TOY, [parse_axis("batch=1:1000:1")], session)
    assert len(plan) == 1000
    points = sweep_points(plan, session)
    assert [next(points).axes, next(points).axes] == [{"batch": "1"}, {"batch": "2"}]


def test_progress_is_told(session: Session) -> None:
    seen: list[tuple[str, int]] = []
    sweep(
        TINY_ON_TOY,
        [parse_axis("batch=1,2")],
        session,
        lambda point, total: seen.append((point.axes["batch"], total)),
    )
    assert seen == [("1", 2), ("2", 2)]


@pytest.mark.parametrize(
    ("axes", "message"),
    [
        ([], "sweep: no axis given; name one with --axis, such as batch=1,2,4"),
        (["clock=1", "clock=2"], "--axis clock is given twice"),
        (["hw=toy", "hardware=fast"], "--axis hw is given twice"),
        (
            ["batch=0,x"],
            "--axis batch: expected whole numbers from 1, got '0'\n"
            "--axis batch: expected whole numbers from 1, got 'x'",
        ),
        (["dim.seq=0.5"], "--axis dim.seq: expected whole numbers from 1, got '0.5'"),
        (
            ["precision=w8"],
            "unknown precision 'w8': expected w<bits>a<bits> such as w8a8, or a format such as "
            "int8, fp64, fp32, tf32, fp16, bf16, fp8e4m3, fp8e5m2, fp6e2m3, fp6e3m2, fp4e2m1",
        ),
        (["clok=1,2"], "--axis clok: 'toy' has no such knob or field\n  did you mean 'clock'?"),
        (
            ["array.rte=1,2"],
            "--axis array.rte: 'toy' has no such knob or field\n  did you mean 'array.rate'?",
        ),
        (
            ["clock.rate=1"],
            "--axis clock.rate: 'toy' has no such knob or field",
        ),
        (
            ["clock=1,3 GHz"],
            "--axis clock=3 GHz: outside the valid range 0.5..2 GHz",
        ),
    ],
)
def test_grids_that_make_no_sense(library: Library, axes: list[str], message: str) -> None:
    with pytest.raises(OptionError) as caught:
        sweep(TINY_ON_TOY, [parse_axis(text) for text in axes], library.session())
    assert str(caught.value) == message
    assert library.opened == []


def test_an_axis_must_fit_every_spec(library: Library) -> None:
    library.specs["plain"] = TOY.replace("knobs:\n  clock: {path: clock, range: 0.5..2 GHz}\n", "")
    library.specs["plain"] = library.specs["plain"].replace("array: {rate: 4}", "array: {pace: 4}")
    axes = [parse_axis("hw=toy,plain"), parse_axis("array.rate=4,8")]
    with pytest.raises(OptionError) as caught:
        sweep(TINY_ON_TOY, axes, library.session())
    assert str(caught.value) == (
        "--axis array.rate: 'plain' has no such knob or field\n  did you mean 'array.pace'?"
    )


def test_a_knob_of_one_spec_may_be_a_plain_field_of_another(library: Library) -> None:
    library.specs["plain"] = TOY.replace("knobs:\n  clock: {path: clock, range: 0.5..2 GHz}\n", "")
    axes = [parse_axis("hw=toy,plain"), parse_axis("clock=1 GHz,2 GHz")]
    found = sweep(TINY_ON_TOY, axes, library.session())
    assert [p.totals.latency_s for p in found.points if p.totals] == pytest.approx(
        [18e-9, 9e-9, 18e-9, 9e-9], rel=1e-12
    )


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (
            RunRequest("tiny", "toy", batch=0),
            "--batch: expected a whole number from 1, got 0",
        ),
        (
            RunRequest("tiny", "toy", precision="w0a8"),
            "precision 'w0a8': widths go from 1 to 32 bits",
        ),
    ],
)
def test_what_is_wrong_for_every_point_is_no_grid_of_failures(
    session: Session, request_: RunRequest, message: str
) -> None:
    with pytest.raises(OptionError) as caught:
        sweep(request_, [parse_axis("clock=1,2")], session)
    assert str(caught.value) == message


def test_a_machine_that_sets_the_knob_itself_cannot_be_swept_over_it(session: Session) -> None:
    with pytest.raises(OptionError) as caught:
        sweep(RunRequest("tiny", "toy:clock=1GHz"), [parse_axis("clock=1,2")], session)
    assert str(caught.value) == "--axis clock: 'toy:clock=1GHz' sets that knob itself"


def test_an_unknown_workload_stops_the_grid(session: Session) -> None:
    with pytest.raises(Exception, match="unknown network 'tny'"):
        sweep(TINY_ON_TOY, [parse_axis("workload=tiny,tny")], session)


def test_a_grid_of_a_thousand_points_is_quick_to_plan(session: Session) -> None:
    axes = [Axis("batch", tuple(map(str, range(1, 1001)))), Axis("array.rate", ("1", "2"))]
    assert len(plan_sweep(TINY_ON_TOY, axes, session)) == 2000
