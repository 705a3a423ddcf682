from __future__ import annotations

import math
from dataclasses import replace
from importlib.metadata import version
from typing import Any

import pytest

import npubench
from npubench.errors import MappingError, ModelError, NpubenchError, OptionError
from npubench.ir import LayerPrecision, Network, PrecisionPlan, integer
from npubench.machines.protocol import Cost
from npubench.specs.loader import SpecDocument
from npubench.study.run import RunRequest, run
from npubench.study.session import Session, parse_hardware
from tests.study.study_fakes import FakeMachine, Library, build_fake

W4A4 = LayerPrecision(integer(4), integer(4))
TWO_LAYERS = """\
network two
input x fp32[1,8]
weight w fp32[8,8]
mac one Gemm (x w) -> y fp32[1,8] : K8 C8
mac two Gemm (y w) -> z fp32[1,8] : K8 C8
output z
"""


def test_totals_of_one_inference_are_those_reckoned_by_hand(session: Session) -> None:
    # fc 32/4 + 2 = 10 cycles and 32 + 8 pJ, relu 4 and 4, odd 4 + 2 and 6; overlap -2 and -1.
    totals = run(RunRequest("tiny", "toy"), session).totals
    assert totals.macs == 32
    assert totals.cycles == 18
    assert totals.latency_s == pytest.approx(18e-9, rel=1e-12)
    assert totals.energy_j == pytest.approx(49e-12, rel=1e-12)
    assert totals.edp_js == pytest.approx(18e-9 * 49e-12, rel=1e-12)
    assert totals.throughput_ips == pytest.approx(1e9 / 16, rel=1e-12)
    assert totals.tops_per_watt == pytest.approx(2 * 32 / 49e-12 / 1e12, rel=1e-12)
    assert totals.utilization == pytest.approx(8 / 18, rel=1e-12)
    assert totals.area_mm2 is None
    assert totals.latency_by_cause == {
        "compute": 8,
        "stall:dram.weight": 2,
        "vector": 4,
        "unknown": 6,
        "overlap": -2,
    }
    assert list(totals.energy_by_component) == ["mac", "dram", "vector", "unknown", "overlap"]


def test_a_batch_shares_its_energy_and_keeps_its_latency(session: Session) -> None:
    # Two inferences: fc 64/4 + 2 = 18 cycles and 64 + 8 pJ, relu 8 and 8, odd 10 and 10.
    result = run(RunRequest("tiny", "toy", batch=2), session)
    totals = result.totals
    assert totals.macs == 32
    assert totals.cycles == 34
    assert totals.latency_s == pytest.approx(34e-9, rel=1e-12)
    assert totals.energy_j == pytest.approx(89e-12 / 2, rel=1e-12)
    assert totals.edp_js == pytest.approx(34e-9 * 44.5e-12, rel=1e-12)
    assert totals.throughput_ips == pytest.approx(2 * 1e9 / 32, rel=1e-12)
    assert totals.tops_per_watt == pytest.approx(2 * 32 / 44.5, rel=1e-12)
    fc, relu, view, odd = result.layers
    assert (fc.macs, fc.cycles, fc.off_chip_bytes) == (32, 18, 48)
    assert fc.energy_by_component == {
        "mac": pytest.approx(32e-12, rel=1e-12),
        "dram": pytest.approx(4e-12, rel=1e-12),
    }
    assert (relu.cycles, view.cycles, odd.cycles) == (8, 0, 10)
    assert result.constants[0].energy_j == pytest.approx(32e-12, rel=1e-12)
    assert result.workload.macs == 32


@pytest.mark.parametrize("batch", [1, 2, 3, 7])
def test_parts_add_up_to_the_totals(session: Session, batch: int) -> None:
    result = run(RunRequest("tiny", "toy", batch=batch), session)
    totals = result.totals
    assert sum(totals.latency_by_cause.values()) == totals.cycles
    parts = math.fsum(totals.energy_by_component.values())
    assert parts == pytest.approx(totals.energy_j, rel=1e-9)
    layers = math.fsum(layer.energy_j for layer in result.layers)
    overlap = totals.energy_by_component["overlap"]
    assert layers + overlap == pytest.approx(totals.energy_j, rel=1e-9)
    assert sum(layer.cycles for layer in result.layers) - 2 == totals.cycles


def test_the_result_says_what_ran(session: Session) -> None:
    request = RunRequest(
        "tiny", "toy", batch=1, knobs={"clock": "2 GHz"}, overrides={"array.rate": "8"}, seed=7
    )
    result = run(request, session)
    assert result.clock_hz == 2e9
    assert result.totals.latency_by_cause["compute"] == 4
    assert result.stamp.npubench == npubench.__version__
    assert result.stamp.onnx == version("onnx")
    assert result.stamp.onnxruntime == version("onnxruntime")
    assert result.stamp.seed == 7
    assert result.workload.sha256 == "ab" * 32
    assert (result.workload.name, result.workload.layers) == ("tiny", 4)
    assert result.workload.parameters == 32
    # x and y live together at fc: 32 + 16 bytes.
    assert result.workload.peak_activation_bytes == 48
    assert (result.hardware.name, result.hardware.family) == ("toy", "fake")
    assert result.hardware.knobs == {"clock": "2 GHz"}
    assert result.options.overrides == {"array.rate": "8"}
    assert result.assumptions == ("made up", "toys never wait")
    assert result.accuracy.kind == "none"


def test_requested_and_executed_precision_are_kept_apart(session: Session) -> None:
    result = run(RunRequest("tiny", "toy", precision="w4a4"), session)
    assert result.requested == {"fc": "w4a4"}
    assert result.executed == {"fc": "w8a8"}
    assert result.precision_summary == ("w4a4", "w8a8")


def test_a_mixed_plan_is_summed_up_by_layers(library: Library) -> None:
    library.networks["two"] = TWO_LAYERS
    w8 = LayerPrecision(integer(8), integer(8))
    library.plan = PrecisionPlan(w8, {"two": W4A4}, source="model")
    result = run(RunRequest("two", "toy"), library.session())
    assert result.requested == {"one": "w8a8", "two": "w4a4"}
    assert result.precision_summary == ("1 x w4a4, 1 x w8a8", "w8a8")


@pytest.mark.parametrize(
    ("precision", "requested"), [(None, "w4a4"), ("model", "w4a4"), ("w2a2", "w2a2")]
)
def test_the_user_goes_before_the_model(
    library: Library, precision: str | None, requested: str
) -> None:
    library.plan = PrecisionPlan(W4A4, source="model")
    result = run(RunRequest("tiny", "toy", precision=precision), library.session())
    assert result.precision_summary == (requested, "w8a8")


def test_a_model_without_a_plan_cannot_lend_one(session: Session) -> None:
    with pytest.raises(OptionError) as caught:
        run(RunRequest("tiny", "toy", precision="model"), session)
    assert str(caught.value) == "--precision model: the model 'tiny' states no precision"


def test_a_format_the_machine_lacks_is_its_own_answer(session: Session) -> None:
    with pytest.raises(MappingError) as caught:
        run(RunRequest("tiny", "toy", precision="w16a16"), session)
    assert str(caught.value) == "toy: no format for 'fc' (w16a16)"


def test_batch_starts_at_one(session: Session) -> None:
    with pytest.raises(OptionError) as caught:
        run(RunRequest("tiny", "toy", batch=0), session)
    assert str(caught.value) == "--batch: expected a whole number from 1, got 0"


def test_a_network_without_macs_has_no_efficiency(library: Library) -> None:
    library.networks["add"] = (
        "network add\ninput x fp32[1,8]\n"
        "vector relu Relu activation (x) -> y fp32[1,8] : alu=8\noutput y\n"
    )
    result = run(RunRequest("add", "toy"), library.session())
    assert result.totals.macs == 0
    assert result.totals.tops_per_watt is None
    assert result.totals.utilization is None
    assert result.totals.cycles == 6
    assert (result.requested, result.precision_summary) == ({}, ("w8a8", "w8a8"))


def test_a_network_of_views_has_nothing_to_time(library: Library) -> None:
    library.networks["idle"] = (
        "network idle\ninput x fp32[1,8]\n"
        "move flat Reshape (x) -> y fp32[8,1] : elements=0\noutput y\n"
    )
    with pytest.raises(ModelError) as caught:
        run(RunRequest("idle", "toy"), library.session())
    assert str(caught.value) == "network 'idle' does no work: nothing to time"


class Forgetful(FakeMachine):
    def cost(self, network: Network, plan: PrecisionPlan, mapping: None) -> Cost:
        cost = super().cost(network, plan, mapping)
        return replace(cost, layers=cost.layers[:-1])


class Eager(FakeMachine):
    def cost(self, network: Network, plan: PrecisionPlan, mapping: None) -> Cost:
        return replace(super().cost(network, plan, mapping), interval_cycles=19)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (
            Forgetful,
            "toy gave no cost, two, or other MACs for layers of tiny: "
            "expected [('odd', 0)], got []",
        ),
        (Eager, "toy: interval of 19 cycles between executions of 18"),
    ],
)
def test_a_machine_that_breaks_its_word_is_a_bug(
    library: Library, kind: type[FakeMachine], message: str
) -> None:
    def build(document: SpecDocument) -> Any:
        machine = build_fake(document)
        return kind(machine.info, machine.rate)

    session = Session(library._network, library._spec, build)
    with pytest.raises(NpubenchError) as caught:
        run(RunRequest("tiny", "toy"), session)
    assert caught.value.exit_code == 3
    assert str(caught.value) == message


def test_the_mapping_is_searched_for_what_is_asked() -> None:
    session = Session()
    runs = {
        name: run(RunRequest("alexnet", "ws32x32_int8:buffer=64KiB", objective=name), session)
        for name in ("latency", "energy", "edp")
    }
    for name, result in runs.items():
        assert result.options.objective == name
        assert result.search is not None
        assert result.search.objective == name
        assert result.search.layers == 8
        assert result.search.considered > result.search.searched > 0
    figures = {n: (r.totals.cycles, r.totals.energy_j) for n, r in runs.items()}
    assert figures["latency"][0] < figures["energy"][0]
    assert figures["energy"][1] < figures["latency"][1]
    products = {name: cycles * joules for name, (cycles, joules) in figures.items()}
    assert products["edp"] < min(products["latency"], products["energy"])


def test_an_unknown_objective_is_refused_before_anything_opens(library: Library) -> None:
    with pytest.raises(OptionError) as caught:
        run(RunRequest("tiny", "toy", objective="enery"), library.session())
    assert str(caught.value).splitlines() == [
        "--objective: expected latency, energy or edp, got 'enery'",
        "  did you mean 'energy'?",
    ]
    assert library.opened == []


def test_a_session_opens_everything_once(library: Library) -> None:
    session = library.session()
    for batch in (1, 2):
        run(RunRequest("tiny", "toy", batch=batch), session)
    assert library.opened == ["toy", "tiny"]
    run(RunRequest("tiny", "toy:clock=2GHz"), session)
    assert library.opened == ["toy", "tiny", "toy"]


def test_knobs_in_the_name_win(session: Session) -> None:
    result = run(RunRequest("tiny", "toy:clock=2GHz", knobs={"clock": "0.5 GHz"}), session)
    assert result.clock_hz == 2e9


@pytest.mark.parametrize(
    ("text", "name", "knobs"),
    [
        ("tpuv4i", "tpuv4i", {}),
        ("tpuv4i:clock=0.7GHz", "tpuv4i", {"clock": "0.7GHz"}),
        ("bf_imna:tech=reram,vdd=0.6 V", "bf_imna", {"tech": "reram", "vdd": "0.6 V"}),
        ("C:/specs/a.yaml", "C:/specs/a.yaml", {}),
        ("C:/specs/a.yaml:mode=burst", "C:/specs/a.yaml", {"mode": "burst"}),
        ("odd:name=1/a.yaml", "odd:name=1/a.yaml", {}),
    ],
)
def test_hardware_with_knobs(text: str, name: str, knobs: dict[str, str]) -> None:
    assert parse_hardware(text) == (name, knobs)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("toy:clock", "hardware 'toy:clock': expected NAME or NAME:knob=value,knob=value"),
        ("toy:", "hardware 'toy:': expected NAME or NAME:knob=value,knob=value"),
        ("toy:a=1,a=2", "hardware 'toy:a=1,a=2': knob 'a' is set twice"),
    ],
)
def test_hardware_that_is_no_such_thing(text: str, message: str) -> None:
    with pytest.raises(OptionError) as caught:
        parse_hardware(text)
    assert str(caught.value) == message
