from __future__ import annotations

from dataclasses import replace

import pytest

from npubench.errors import OptionError
from npubench.study.compare import compare
from npubench.study.gates import check_comparison, check_run, check_sweep, parse_gates
from npubench.study.result import RunResult, Sweep
from npubench.study.run import RunRequest, run
from npubench.study.session import Session
from npubench.study.sweep import Axis, sweep


@pytest.fixture
def result(session: Session) -> RunResult:
    return run(RunRequest("tiny", "toy"), session)  # 18 ns, 49 pJ, 32 MACs, 62.5 M/s


@pytest.mark.parametrize(
    ("text", "limit"),
    [
        ("latency_s > 5", 5.0),
        ("latency > 5 ms", 5e-3),
        ("latency>5ms", 5e-3),
        ("energy_j >= 2e-3", 2e-3),
        ("energy != 2 uJ", 2e-6),
        ("edp < 2e-6", 2e-6),
        ("edp <= 2 mJ*ms", 2e-6),
        ("edp_js == 2e3 nJ*us", 2e-12),
        ("throughput < 100", 100.0),
        ("utilization < 30%", 0.3),
        ("utilization < 0.3", 0.3),
        ("area > 4 cm2", 400.0),
        ("cycles > 1000 cycles", 1000.0),
        ("tops_per_watt < 1.5", 1.5),
    ],
)
def test_limits_in_base_units(text: str, limit: float) -> None:
    (condition,) = parse_gates([text]).conditions
    assert condition.limit == pytest.approx(limit, rel=1e-12)
    assert not condition.relative


def test_conditions_are_joined_by_or_and_by_repetition() -> None:
    gates = parse_gates(["edp > 1 or latency > 2 s", "macs == 3"])
    assert [(c.metric, c.comparison, c.limit) for c in gates.conditions] == [
        ("edp_js", ">", 1.0),
        ("latency_s", ">", 2.0),
        ("macs", "==", 3.0),
    ]


def test_a_multiple_of_the_baseline() -> None:
    (condition,) = parse_gates(["edp > 1.05x"], with_baseline=True).conditions
    assert (condition.metric, condition.limit, condition.relative) == ("edp_js", 1.05, True)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "latncy > 3",
            "--fail-if 'latncy > 3': unknown metric 'latncy'\n  did you mean 'latency'?",
        ),
        (
            "latency",
            "--fail-if 'latency': expected METRIC OP LIMIT\n"
            "  such as 'edp > 2e-6', 'latency >= 5 ms' or 'edp > 1.05x'",
        ),
        (
            "latency > 5 mJ",
            "--fail-if 'latency > 5 mJ': expected a time such as '3 ns', got '5 mJ' (an energy)",
        ),
        (
            "latency > 5%",
            "--fail-if 'latency > 5%': expected a time such as '3 ns', got '5%' (a plain number)",
        ),
        (
            "macs > 5 GHz",
            "--fail-if 'macs > 5 GHz': expected a plain number, got '5 GHz'",
        ),
        (
            "edp > 5 mJ",
            "--fail-if 'edp > 5 mJ': expected an energy-delay product "
            "such as '2 mJ*ms', got '5 mJ'",
        ),
        ("edp > 1.05x", "--fail-if 'edp > 1.05x': a multiple such as '1.05x' needs a baseline"),
    ],
)
def test_expressions_that_make_no_sense(text: str, message: str) -> None:
    with pytest.raises(OptionError) as caught:
        parse_gates([text])
    assert str(caught.value) == message


def test_only_ratios_have_multiples() -> None:
    with pytest.raises(OptionError) as caught:
        parse_gates(["area > 2x"], with_baseline=True)
    assert str(caught.value) == (
        "--fail-if 'area > 2x': no ratio of 'area_mm2'; "
        "ratios: latency_s, energy_j, edp_js, throughput_ips"
    )


def test_every_mistake_at_once() -> None:
    with pytest.raises(OptionError) as caught:
        parse_gates(["a > 1 or b > 1", "c"], max_unknown=1.5)
    assert len(caught.value.problems) == 4
    assert caught.value.problems[0].message == (
        "--max-unknown: expected a share from 0 to 1, got 1.5"
    )


def test_conditions_that_hold_fail(result: RunResult) -> None:
    gates = parse_gates(["latency > 17 ns or energy > 50 pJ", "edp>=0"])
    assert check_run(result, gates) == (
        "tiny on toy: latency_s is 1.8e-08 s, which fails 'latency > 17 ns'",
        "tiny on toy: edp_js is 8.82e-19 J*s, which fails 'edp>=0'",
    )


@pytest.mark.parametrize(
    ("text", "fails"),
    [
        ("cycles > 18", False),
        ("cycles >= 18", True),
        ("cycles < 18", False),
        ("cycles <= 18", True),
        ("cycles == 18", True),
        ("cycles != 18", False),
    ],
)
def test_operators(result: RunResult, text: str, *, fails: bool) -> None:
    assert bool(check_run(result, parse_gates([text]))) is fails


def test_a_figure_that_is_missing_cannot_pass(result: RunResult) -> None:
    assert check_run(result, parse_gates(["area > 5 mm2"])) == (
        "tiny on toy: no area_mm2 to check 'area > 5 mm2' against",
    )


# Of tiny's ledger, Foo has 0 of the MACs, 32 of 240 bytes and 6 of 20 cycles.
@pytest.mark.parametrize(("bound", "fails"), [(0.0, True), (0.29, True), (0.31, False), (1, False)])
def test_unknown_share_is_bounded(result: RunResult, bound: float, *, fails: bool) -> None:
    expected = (
        f"tiny on toy: unknown operators carry 0.3 of time, --max-unknown is {bound:g}: Foo",
    )
    assert check_run(result, parse_gates(max_unknown=bound)) == (expected if fails else ())


def test_zero_allows_no_unknown_operator_even_of_no_cost(result: RunResult) -> None:
    idle = replace(result.coverage.unknown, bytes_share=0.0, time_share=0.0, macs_share=0.0)
    free = replace(result, coverage=replace(result.coverage, unknown=idle))
    assert len(check_run(free, parse_gates(max_unknown=0.0))) == 1
    none = replace(result, coverage=replace(result.coverage, unknown=replace(idle, ops=0)))
    assert check_run(none, parse_gates(max_unknown=0.0)) == ()


def test_strict_names_the_operators(result: RunResult) -> None:
    rows = tuple(
        replace(row, status="approximated") if row.op == "Relu" else row
        for row in result.coverage.operators
    )
    rough = replace(result, coverage=replace(result.coverage, operators=(*rows, *rows)))
    assert check_run(rough, parse_gates(strict=True)) == (
        "tiny on toy: --strict: unknown operators: Foo x 2",
        "tiny on toy: --strict: approximated operators: Relu x 2",
    )


def test_multiples_are_checked_against_the_baseline(session: Session) -> None:
    # wide: 128 / 4 + 2 = 34 cycles on toy, 128 / 16 + 2 = 10 on fast, each less 2 of overlap.
    comparison = compare(["wide"], ["fast", "toy"], session=session)
    gates = parse_gates(["latency > 3x", "latency > 5x"], with_baseline=True)
    assert check_comparison(comparison, gates) == (
        "wide on toy: latency_s is 4x of fast, which fails 'latency > 3x'",
    )
    absolute = parse_gates(["cycles > 10"], with_baseline=True)
    assert check_comparison(comparison, absolute) == (
        "wide on toy: cycles is 32 cycles, which fails 'cycles > 10'",
    )


def test_sweep_points_are_checked_where_they_have_figures(session: Session) -> None:
    found = sweep(RunRequest("tiny", "toy"), [Axis("precision", ("w8a8", "w16a16"))], session)
    assert check_sweep(found, parse_gates(["cycles > 1"], strict=True)) == (
        "tiny on toy at precision=w8a8: --strict: unknown operators: Foo",
        "tiny on toy at precision=w8a8: cycles is 18 cycles, which fails 'cycles > 1'",
    )
    assert isinstance(found, Sweep)
