"""The whole line over what ships: every spec, real networks, and rules that bind the figures."""

from __future__ import annotations

import math

import pytest

from npubench.specs.catalog import data_folder, list_specs
from npubench.study.axes import parse_axis
from npubench.study.catalogue import ShownHardware, check_files, open_named
from npubench.study.compare import compare
from npubench.study.result import RunResult
from npubench.study.run import RunRequest, run
from npubench.study.serialise import dumps, loads, to_json
from npubench.study.session import Session
from npubench.study.sweep import sweep
from tests.study.schema_check import validate

SPECS = [entry.header.name for entry in list_specs()]
# 714 188 480 MACs and 61 100 840 parameters: torchvision's AlexNet, see workloads/catalog.yaml.
ALEXNET_MACS = 714_188_480
ALEXNET_PARAMETERS = 61_100_840


@pytest.fixture(scope="module")
def shipped() -> Session:
    return Session()


def alexnet(session: Session, hardware: str, batch: int) -> RunResult:
    """One run for the tests that look at the same."""
    request = RunRequest("alexnet", hardware, batch=batch)
    return session.keep(("alexnet", hardware, batch), lambda: run(request, session))


@pytest.mark.parametrize("hardware", SPECS)
@pytest.mark.parametrize("batch", [1, 3])
def test_totals_are_the_sum_of_their_parts(shipped: Session, hardware: str, batch: int) -> None:
    result = alexnet(shipped, hardware, batch)
    totals = result.totals
    assert totals.macs == result.workload.macs == ALEXNET_MACS
    assert sum(layer.macs for layer in result.layers) == ALEXNET_MACS
    assert result.workload.parameters == ALEXNET_PARAMETERS
    assert sum(totals.latency_by_cause.values()) == totals.cycles
    overlap = totals.latency_by_cause.get("overlap", 0)
    assert sum(layer.cycles for layer in result.layers) + overlap == totals.cycles
    assert totals.latency_s == pytest.approx(totals.cycles / result.clock_hz, rel=1e-12)
    components = math.fsum(totals.energy_by_component.values())
    assert components == pytest.approx(totals.energy_j, rel=1e-9)
    layers = math.fsum(layer.energy_j for layer in result.layers)
    saved = totals.energy_by_component.get("overlap", 0.0)
    assert layers + saved == pytest.approx(totals.energy_j, rel=1e-9)
    assert totals.edp_js == pytest.approx(totals.energy_j * totals.latency_s, rel=1e-12)
    # Executions may overlap, so the steady state is no slower than one after another.
    assert totals.throughput_ips >= batch / totals.latency_s * (1 - 1e-12)
    classes = (result.coverage.modelled, result.coverage.approximated, result.coverage.unknown)
    assert sum(c.ops for c in classes) == result.workload.layers
    assert sum(c.macs for c in classes) == ALEXNET_MACS


@pytest.mark.parametrize("hardware", SPECS)
def test_utilization_is_that_of_the_stated_peak(shipped: Session, hardware: str) -> None:
    # At the default precision: MACs over those that the peak rate allows in the same time.
    info = shipped.machine(hardware, {}, {}).info
    request = RunRequest("alexnet", hardware, batch=2, precision=str(info.default_precision))
    result = run(request, shipped)
    totals = result.totals
    if result.placement is not None:  # of several NPUs the one that ran counts
        info = shipped.machine(result.placement.spec, {}, {}).info
    ideal_s = 2 * ALEXNET_MACS / info.peak_macs_per_s
    assert totals.utilization == pytest.approx(ideal_s / totals.latency_s, rel=1e-9)


@pytest.mark.parametrize("workload", ["alexnet", pytest.param("resnet50", marks=pytest.mark.slow)])
@pytest.mark.parametrize("hardware", SPECS)
def test_results_keep_their_schema_and_come_back(
    shipped: Session, hardware: str, workload: str
) -> None:
    if workload == "alexnet":
        result = alexnet(shipped, hardware, 1)
    else:
        result = run(RunRequest(workload, hardware), shipped)
    document = to_json(result)
    validate(document)
    assert loads(dumps(document)) == result


def test_the_same_run_in_a_new_session_gives_the_same_bytes() -> None:
    texts = {dumps(to_json(run(RunRequest("resnet50", SPECS[0]), Session()))) for _ in range(2)}
    assert len(texts) == 1


def test_every_spec_is_sound_at_the_ends_of_its_knobs() -> None:
    files = [data_folder("hwspecs") / entry.document.path.split("/")[-1] for entry in list_specs()]
    checked = check_files(map(str, files))
    assert [one.holds.split(",")[0] for one in checked] == SPECS


@pytest.mark.parametrize("hardware", SPECS)
def test_every_spec_can_be_shown(shipped: Session, hardware: str) -> None:
    shown = open_named(hardware, session=shipped)
    assert isinstance(shown, ShownHardware)
    assert shown.info.name == shown.header.name == hardware


@pytest.mark.parametrize("other", ["digits_cnn", pytest.param("resnet50", marks=pytest.mark.slow)])
def test_a_comparison_over_all_of_them(shipped: Session, other: str) -> None:
    comparison = compare(["alexnet", other], SPECS, session=shipped)
    validate(to_json(comparison))
    assert len(comparison.runs) == 2 * len(SPECS)
    for label in SPECS:
        rows = [row for row in comparison.ratios if row.hardware == label]
        first, second, mean = rows
        assert mean.workload == "geomean"
        assert mean.latency == pytest.approx(math.sqrt(first.latency * second.latency), rel=1e-12)


def test_a_slower_clock_takes_longer_in_no_more_cycles(shipped: Session) -> None:
    # Off-chip memory keeps its rate, so a slow array waits for it in fewer of its own cycles.
    spec = next(entry for entry in list_specs() if "clock" in entry.header.knobs)
    valid = spec.header.knobs["clock"].range
    assert valid is not None
    axis = parse_axis(f"clock={valid.replace('..', ',')}")
    found = sweep(RunRequest("alexnet", spec.header.name), [axis], shipped)
    validate(to_json(found))
    slow, fast = (point.totals for point in found.points)
    assert slow is not None
    assert fast is not None
    assert slow.latency_s > fast.latency_s
    assert slow.cycles <= fast.cycles
