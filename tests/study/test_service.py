"""Service tables agree with the runs they are made of, and say what they rest on."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import pytest

from npubench.errors import InputError, MappingError, OptionError, SpecError
from npubench.ir import Network, PrecisionPlan, parse_precision
from npubench.serving import POLICIES, to_ps
from npubench.specs.catalog import list_workloads
from npubench.study.result import Accuracy
from npubench.study.run import RunRequest, run
from npubench.study.service import ServiceRequest, Services, build_services
from npubench.study.service_accuracy import Delivered, Executed, compare_accuracy
from npubench.study.session import Session

STATIC_W = 55.0  # of the shipped stimpack and tpuv4i specs


@pytest.fixture(scope="module")
def session() -> Session:
    return Session()


@pytest.fixture(scope="module")
def stimpack(session: Session) -> Services:
    return build_services(ServiceRequest(("digits_cnn", "resnet18"), "stimpack", 2), session)


def test_times_and_energies_are_those_of_runs(stimpack: Services, session: Session) -> None:
    for service in stimpack.table.services:
        precision = {"base": "bf16", "burst": "int8"}[service.mode]
        for batch in (1, 2):
            alone = run(
                RunRequest(service.network, "stimpack", batch=batch, precision=precision), session
            ).totals
            assert service.time_ps[batch - 1] == to_ps(alone.latency_s)
            whole = service.energy_j[batch - 1] + STATIC_W * alone.latency_s
            assert whole == pytest.approx(alone.energy_j * batch, rel=1e-9)


def test_what_flows_all_the_time_is_not_in_the_services(stimpack: Services) -> None:
    (npu,) = stimpack.table.npus
    assert npu.static_w == pytest.approx(STATIC_W, rel=1e-9)
    for service in stimpack.table.services:
        parts = stimpack.runs[service.network, service.npu, service.mode].totals.energy_by_component
        dynamic = math.fsum(j for name, j in parts.items() if name not in ("static", "overlap"))
        assert service.energy_j[0] == pytest.approx(dynamic, rel=1e-6)


def test_layers_end_in_order_and_with_the_service(stimpack: Services, session: Session) -> None:
    for service in stimpack.table.services:
        layers = session.network(service.network, {}).network.layers
        assert len(service.boundaries_ps) == len(layers)
        assert all(a <= b for a, b in itertools.pairwise(service.boundaries_ps))
        assert service.boundaries_ps[-1] == service.time_ps[0]


def test_modes_policy_and_switches_come_from_the_spec(stimpack: Services) -> None:
    (npu,) = stimpack.table.npus
    assert npu.modes == ("base", "burst")
    assert npu.switch_ps[0][0] == npu.switch_ps[1][1] == 0
    # At least the arrays drain: 128 + 128 cycles at 1.05 GHz.
    assert min(npu.switch_ps[0][1], npu.switch_ps[1][0]) >= 243_800
    assert stimpack.policy == POLICIES["stimpack"]
    assert any(note.startswith("mode switches of stimpack: ") for note in stimpack.notes)


def test_burst_is_faster_and_the_base_loses_nothing(stimpack: Services) -> None:
    for network in ("digits_cnn", "resnet18"):
        base, burst = stimpack.table.find(network)
        assert 1.0 < base.time_ps[0] / burst.time_ps[0] <= 2.0
        assert base.accuracy_drop == 0.0


def test_accuracy_is_measured_where_weights_ship_else_published(stimpack: Services) -> None:
    drops = {key[0]: found for key, found in stimpack.accuracies.items() if key[2] == "burst"}
    assert drops["digits_cnn"].origin == "measured"
    # ZeroQ's row: 71.47 in 32 bit, 71.43 in 8 bit.
    assert drops["resnet18"].origin.startswith("ImageNet-1k; ZeroQ")
    assert drops["resnet18"].drop == pytest.approx(0.04)
    assert stimpack.table.base_accuracy["resnet18"] == 71.47


def test_knobs_of_the_user_hold_in_every_mode(session: Session) -> None:
    slow = build_services(ServiceRequest(("digits_cnn",), "stimpack:clock=0.7GHz"), session)
    for (_, _, mode), result in slow.runs.items():
        assert result.hardware.knobs["clock"].replace(" ", "") == "0.7GHz"
        assert result.hardware.knobs["mode"] == mode


def test_settings_of_the_user_hold_in_every_mode(session: Session) -> None:
    request = ServiceRequest(("digits_cnn",), "stimpack", overrides={"static_power": "5 W"})
    table = build_services(request, session).table
    assert table.npus[0].static_w == pytest.approx(5.0)


def test_a_spec_without_modes_runs_its_default(session: Session) -> None:
    services = build_services(ServiceRequest(("digits_cnn",), "edge8"), session)
    assert services.table.npus[0].modes == ("w8a8",)
    assert services.table.npus[0].switch_ps == ()
    assert services.policy == POLICIES["fifo"]


def test_modes_can_be_given(session: Session) -> None:
    request = ServiceRequest(("digits_cnn",), "tpuv4i", modes={"full": "bf16", "low": "int8"})
    services = build_services(request, session)
    base, low = services.table.find("digits_cnn")
    assert (base.mode, low.mode) == ("full", "low")
    # The family counts what its spec does not state: arrays of 128 x 128 run empty.
    drain_ps = round(256 / 1.05e9 * 1e12)
    assert services.table.npus[0].switch_ps == ((0, drain_ps), (drain_ps, 0))
    assert "mode switches of tpuv4i: counted for the network that takes longest" in services.notes


def test_a_preemption_writes_activations_out_and_reads_them_back(session: Session) -> None:
    services = build_services(ServiceRequest(("digits_cnn",), "tpuv4i"), session)
    (result,) = services.runs.values()
    seconds = 2 * result.workload.peak_activation_bytes / 614e9
    assert services.table.npus[0].preemption_ps == to_ps(seconds)


def test_the_same_request_gives_the_same_table(session: Session) -> None:
    request = ServiceRequest(("digits_cnn",), "stimpack")
    assert build_services(request, session).table == build_services(request).table


def test_a_network_that_runs_nowhere_is_refused_with_the_reason(session: Session) -> None:
    request = ServiceRequest(("digits_cnn",), "tpuv4i", modes={"wide": "fp64"})
    with pytest.raises(MappingError) as caught:
        build_services(request, session)
    assert str(caught.value).startswith("'tpuv4i' has no format that holds fp64")


def test_a_batch_below_one_is_refused() -> None:
    with pytest.raises(OptionError) as caught:
        build_services(ServiceRequest(("digits_cnn",), "tpuv4i", 0))
    assert str(caught.value) == "largest batch: expected a whole number from 1, got 0"


SPEC = Path(__file__).resolve().parents[2] / "hwspecs" / "stimpack_jsa_2023.yaml"


def changed(tmp_path: Path, old: str, new: str) -> str:
    text = SPEC.read_text(encoding="utf-8")
    assert old in text
    path = tmp_path / "npu.yaml"
    path.write_text(text.replace(old, new), encoding="utf-8")
    return str(path)


def test_an_unknown_policy_of_a_spec_is_refused(tmp_path: Path) -> None:
    path = changed(tmp_path, "policy: stimpack", "policy: stimpac")
    with pytest.raises(InputError) as caught:
        build_services(ServiceRequest(("digits_cnn",), path))
    assert caught.value.problems[0].message == "unknown policy 'stimpac'"
    assert caught.value.problems[0].hint == "did you mean 'stimpack'?"


def test_a_mode_that_sets_an_unknown_knob_is_refused_at_its_line(tmp_path: Path) -> None:
    path = changed(tmp_path, "knobs: {mode: burst}}", "knobs: {moode: burst}}")
    with pytest.raises(SpecError) as caught:
        build_services(ServiceRequest(("digits_cnn",), path))
    (problem,) = caught.value.problems
    assert problem.message == "modes.burst.knobs.moode: the spec has no knob 'moode'"
    assert problem.hint == "did you mean 'mode'?"
    line = Path(path).read_text(encoding="utf-8").splitlines()[(problem.line or 0) - 1]
    assert "moode" in line


def test_a_mode_that_sets_a_knob_beyond_its_values_is_refused(tmp_path: Path) -> None:
    path = changed(tmp_path, "knobs: {mode: burst}}", "knobs: {mode: bursts}}")
    with pytest.raises(OptionError) as caught:
        build_services(ServiceRequest(("digits_cnn",), path))
    (problem,) = caught.value.problems
    assert problem.message == "mode burst: mode=bursts: expected one of base, burst"


def executed(network: Network, precision: str, accuracy: Accuracy | None = None) -> Executed:
    return Executed(network, PrecisionPlan(parse_precision(precision)), accuracy or Accuracy())


def test_published_drops_compare_within_one_source(session: Session) -> None:
    inception = session.network("inception_v3", {}).network
    found = compare_accuracy(executed(inception, "w8a8"), executed(inception, "w7a7"))
    # 5.10 - 0.99 points against 32 bit; other sources have better 8-bit figures and no 7-bit one.
    assert found.drop == pytest.approx(4.11)
    assert found.base == 76.33
    assert "hetero-accel" in found.origin


def test_seven_bits_are_admitted_for_six_networks_and_six_bits_for_none(session: Session) -> None:
    """Half a point against 8 bits, on the published table and the shipped files."""
    names = [entry.name for entry in list_workloads() if "_cifar" in entry.name]
    assert len(names) == 9
    admitted: dict[str, set[str]] = {"w7a7": set(), "w6a6": set()}
    for name in [*names, "googlenet", "inception_v3"]:
        network = session.network(name, {}).network
        for precision, good in admitted.items():
            found = compare_accuracy(executed(network, "w8a8"), executed(network, precision))
            assert found.drop is not None
            if found.drop <= 0.5:
                good.add(name)
    assert admitted["w6a6"] == set()
    assert admitted["w7a7"] == {
        "resnet18_cifar10",
        "resnet34_cifar10",
        "vgg11_cifar10",
        "vgg13_cifar10",
        "vgg19_cifar10",
        "resnet50_cifar100",
    }


def test_what_nobody_published_is_unknown(session: Session) -> None:
    vgg16 = session.network("vgg16", {}).network
    found = compare_accuracy(executed(vgg16, "w8a8"), executed(vgg16, "w5a5"))
    assert found.drop is None


def test_the_same_plan_loses_nothing_even_unmeasured(session: Session) -> None:
    bert = session.network("bert_base", {}).network
    found = compare_accuracy(executed(bert, "w8a8"), executed(bert, "w8a8"))
    assert found == Delivered(None, 0.0)


def test_measured_drops_compare_measurements(session: Session) -> None:
    digits = session.network("digits_cnn", {}).network
    base = executed(digits, "w8a8", Accuracy("measured", "top1", 98.0))
    other = executed(digits, "w4a4", Accuracy("measured", "top1", 97.25))
    assert compare_accuracy(base, other) == Delivered(98.0, 0.75, "measured")
    # A perplexity is lost when it rises.
    base = executed(digits, "w8a8", Accuracy("measured", "perplexity", 20.0))
    other = executed(digits, "w4a4", Accuracy("measured", "perplexity", 21.0))
    assert compare_accuracy(base, other) == Delivered(20.0, 1.0, "measured")
