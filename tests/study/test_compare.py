from __future__ import annotations

import math

import pytest

from npubench.errors import InputError, OptionError
from npubench.study.compare import compare
from npubench.study.result import Options
from npubench.study.session import Session
from tests.study.study_fakes import TOY, Library

# Cycles and picojoules per execution, by hand (see study_fakes):
#         toy (rate 4)           fast (rate 16)
# tiny    8 + 2 + 4 + 6 - 2 = 18 2 + 2 + 4 + 6 - 2 = 12   32 + 8 + 4 + 6 - 1 = 49
# wide    32 + 2 - 2 = 32        8 + 2 - 2 = 8            128 + 8 - 1 = 135


def test_ratios_and_geometric_means(session: Session) -> None:
    comparison = compare(["tiny", "wide"], ["toy", "fast"], session=session)
    assert comparison.baseline == "toy"
    assert [(r.workload.name, r.hardware.name) for r in comparison.runs] == [
        ("tiny", "toy"),
        ("tiny", "fast"),
        ("wide", "toy"),
        ("wide", "fast"),
    ]
    rows = {(r.workload, r.hardware): r for r in comparison.ratios}
    assert list(rows) == [
        ("tiny", "toy"),
        ("tiny", "fast"),
        ("wide", "toy"),
        ("wide", "fast"),
        ("geomean", "toy"),
        ("geomean", "fast"),
    ]
    assert rows["tiny", "fast"].latency == pytest.approx(12 / 18, rel=1e-12)
    assert rows["wide", "fast"].latency == pytest.approx(8 / 32, rel=1e-12)
    assert rows["wide", "fast"].energy == pytest.approx(1.0, rel=1e-12)
    assert rows["wide", "fast"].edp == pytest.approx(8 / 32, rel=1e-12)
    # Executions follow each other 2 cycles sooner than they last.
    assert rows["wide", "fast"].throughput == pytest.approx(30 / 6, rel=1e-12)
    mean = rows["geomean", "fast"]
    assert mean.latency == pytest.approx(math.sqrt(12 / 18 * 8 / 32), rel=1e-12)
    assert mean.throughput == pytest.approx(math.sqrt(16 / 10 * 30 / 6), rel=1e-12)
    toy = rows["geomean", "toy"]
    assert (toy.latency, toy.energy, toy.edp, toy.throughput) == (1.0, 1.0, 1.0, 1.0)


def test_one_workload_has_no_mean(session: Session) -> None:
    comparison = compare(["tiny"], ["toy", "fast"], session=session)
    assert [r.workload for r in comparison.ratios] == ["tiny", "tiny"]


@pytest.mark.parametrize("baseline", ["fast", "FAST"])
def test_the_baseline_may_be_named(session: Session, baseline: str) -> None:
    comparison = compare(["wide"], ["toy", "fast"], baseline=baseline, session=session)
    assert comparison.baseline == "fast"
    assert [r.latency for r in comparison.ratios] == [4.0, 1.0]


def test_knobs_tell_machines_of_one_spec_apart(session: Session) -> None:
    hardware = ["toy", "toy:clock=2GHz", "toy:clock=0.5GHz"]
    comparison = compare(["wide"], hardware, baseline="toy:clock=2GHz", session=session)
    assert comparison.baseline == "toy:clock=2GHz"
    assert [r.hardware.name for r in comparison.runs] == hardware
    assert [r.hardware.knobs["clock"] for r in comparison.runs] == ["1 GHz", "2GHz", "0.5GHz"]
    assert [r.latency for r in comparison.ratios] == pytest.approx([2.0, 1.0, 4.0], rel=1e-12)


def test_two_files_of_one_name_are_numbered(library: Library) -> None:
    library.specs["other"] = TOY.replace("rate: 4", "rate: 8")
    comparison = compare(["wide"], ["toy", "other"], session=library.session())
    assert [r.hardware.name for r in comparison.runs] == ["toy", "toy#2"]
    assert [r.hardware for r in comparison.ratios] == ["toy", "toy#2"]


def test_two_networks_of_one_name_are_numbered_and_both_compared(library: Library) -> None:
    library.networks["mine"] = library.networks["wide"].replace("network wide", "network tiny")
    comparison = compare(["tiny", "mine"], ["toy", "fast"], session=library.session())
    rows = [(r.workload, r.hardware, r.latency) for r in comparison.ratios]
    assert rows[:4] == [
        ("tiny", "toy", 1.0),
        ("tiny", "fast", pytest.approx(12 / 18)),
        ("tiny#2", "toy", 1.0),
        ("tiny#2", "fast", pytest.approx(8 / 32)),
    ]


def test_each_network_is_lowered_once(library: Library) -> None:
    compare(["tiny", "wide"], ["toy", "fast"], session=library.session())
    assert sorted(library.opened) == ["fast", "tiny", "toy", "wide"]


def test_options_hold_for_every_run(session: Session) -> None:
    seen: list[tuple[int, int]] = []
    comparison = compare(
        ["tiny"],
        ["toy", "fast"],
        Options(batch=3, precision="w4a4", knobs={"clock": "2 GHz"}),
        seed=5,
        session=session,
        on_run=lambda done, total: seen.append((done, total)),
    )
    assert seen == [(1, 2), (2, 2)]
    for result in comparison.runs:
        assert result.options == Options(batch=3, precision="w4a4", knobs={"clock": "2 GHz"})
        assert (result.clock_hz, result.stamp.seed) == (2e9, 5)


def test_every_pair_that_cannot_run_is_named(session: Session) -> None:
    with pytest.raises(InputError) as caught:
        compare(["tiny"], ["toy", "fast"], Options(precision="w16a16"), session=session)
    assert str(caught.value) == (
        "toy: no format for 'fc' (w16a16)\nfast: no format for 'fc' (w16a16)"
    )
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("workloads", "hardware", "baseline", "message"),
    [
        ([], ["toy"], None, "compare: no workload given"),
        (["tiny"], [], None, "compare: no hardware given"),
        (["tiny", "tiny"], ["toy"], None, "compare: workload 'tiny' is given twice"),
        (["tiny"], ["toy", "toy"], None, "compare: hardware 'toy' is given twice"),
        (
            ["tiny"],
            ["toy", "fast"],
            "fasst",
            "--baseline 'fasst' is not among those compared\n  did you mean 'fast'?",
        ),
    ],
)
def test_comparisons_that_make_no_sense(
    session: Session,
    workloads: list[str],
    hardware: list[str],
    baseline: str | None,
    message: str,
) -> None:
    with pytest.raises(OptionError) as caught:
        compare(workloads, hardware, baseline=baseline, session=session)
    assert str(caught.value) == message


def test_unknown_hardware_is_named_before_anything_runs(library: Library) -> None:
    with pytest.raises(InputError) as caught:
        compare(["tiny"], ["toy", "nowhere", "neither"], session=library.session())
    assert str(caught.value) == "unknown hardware 'nowhere'\nunknown hardware 'neither'"
    assert "tiny" not in library.opened
