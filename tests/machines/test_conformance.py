"""Every machine of every family obeys the same rules, on the same networks."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from npubench.errors import MappingError
from npubench.frontend import load_network
from npubench.ir import (
    Network,
    PrecisionPlan,
    UnknownLayer,
    integer,
    parse_network,
    parse_precision,
)
from npubench.machines.hosting import System
from npubench.machines.protocol import Cost, Machine, evaluate
from npubench.machines.registry import build_machine
from npubench.specs.catalog import find_spec, list_specs
from npubench.specs.header import apply_knobs, knob_corners

WORKLOADS = Path(__file__).resolve().parents[2] / "workloads"
SPECS = sorted(entry.names[0] for entry in list_specs())

EVERY_KIND = """
network every_kind
input x fp32[2,8,16,16]
input q fp32[2,4,10,8]
input kt fp32[2,4,8,10]
input s fp32[2,6,12]
weight w fp32[16,8,3,3]
weight b fp32[16]
weight d fp32[16,1,3,3]
weight r fp32[12,48]
mac conv Conv (x w b) -> c fp32[2,16,16,16] : B2 K16 C8 OY16 OX16 FY3 FX3 pad=0,1,1 in=1,16,16
vector relu Relu activation (c) -> a fp32[2,16,16,16] : alu=8192
mac dw Conv (a d) -> e fp32[2,16,8,8] : B2 G16 OY8 OX8 FY3 FX3 stride=1,2,2 pad=0,1,1 in=1,16,16
vector pool MaxPool pool (e) -> p fp32[2,16,4,4] : alu=1536 window=4
move flat Flatten (p) -> f fp32[2,256] : elements=0
move turn Transpose (f) -> t fp32[256,2] : elements=512
mac scores MatMul (q kt) -> z fp32[2,4,10,10] : G8 K10 C8 OX10 in=1,1,10 batched=1
vector soft Softmax softmax (z) -> y fp32[2,4,10,10] : alu=3200 special=880 window=10
mac step LSTM (s r) -> h fp32[2,6,48] : trips=6 B2 K48 C12
unknown odd Mystery (t) -> g fp32[256,2] : operator Mystery is not modelled
output y
output h
output g
"""


@pytest.fixture(scope="module", params=SPECS)
def machine(request: pytest.FixtureRequest) -> Machine[Any]:
    return build_machine(apply_knobs(find_spec(request.param), {}))


@dataclass(frozen=True)
class Costed:
    """A network and what it costs at the machine's own default precision."""

    network: Network
    cost: Cost


@pytest.fixture(scope="module")
def costed(machine: Machine[Any], networks: list[Network]) -> list[Costed]:
    return [
        Costed(network, evaluate(machine, network, machine.legalise(network, None).executed))
        for network in networks
    ]


QUICK, LARGE = ("digits_cnn", "gpt2_decode"), ("mobilenet_v2", "rnnt_encoder")


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(QUICK, id="quick"),
        pytest.param(LARGE, id="large", marks=pytest.mark.slow),
    ],
)
def networks(request: pytest.FixtureRequest) -> list[Network]:
    real = [load_network(WORKLOADS / f"{name}.onnx").network for name in request.param]
    return [parse_network(EVERY_KIND), *real] if request.param is QUICK else real


def test_every_layer_is_costed_once_in_order(costed: list[Costed]) -> None:
    for one in costed:
        network, cost = one.network, one.cost
        assert [layer.name for layer in cost.layers] == [layer.name for layer in network.layers]


def test_macs_are_those_of_the_graph(costed: list[Costed]) -> None:
    for one in costed:
        network, cost = one.network, one.cost
        assert [layer.macs for layer in cost.layers] == [layer.macs for layer in network.layers]
        assert sum(layer.macs for layer in cost.layers) == network.macs


def test_parts_add_up_to_totals(costed: list[Costed]) -> None:
    for cost in (one.cost for one in costed):
        assert sum(cost.latency_by_cause.values()) == cost.cycles
        layers = sum(layer.cycles for layer in cost.layers)
        assert layers + cost.overlap_cycles == cost.cycles
        assert cost.overlap_cycles <= 0
        joules = math.fsum(cost.energy_by_component.values())
        assert joules == pytest.approx(cost.energy_j, rel=1e-9)
        assert 0 < cost.interval_cycles <= cost.cycles
        for layer in cost.layers:
            assert all(cycles > 0 for cycles in layer.latency_by_cause.values())
            assert all(joules > 0 for joules in layer.energy_by_component.values())


def test_energy_rests_on_the_constants_listed(costed: list[Costed]) -> None:
    for cost in (one.cost for one in costed):
        rests = math.fsum(constant.energy_j for constant in cost.constants)
        assert rests == pytest.approx(cost.energy_j, rel=1e-9)
        paths = [constant.path for constant in cost.constants]
        assert len(paths) == len(set(paths))


def test_multiply_layers_keep_within_the_peak(costed: list[Costed]) -> None:
    for cost in (one.cost for one in costed):
        for layer in cost.layers:
            if layer.macs:
                assert layer.utilization is not None
                assert 0 < layer.utilization <= 1
                assert layer.precision is not None
                assert layer.cycles > 0
            else:
                assert layer.utilization is None


def test_nothing_that_moves_data_is_free(costed: list[Costed]) -> None:
    for one in costed:
        network, cost = one.network, one.cost
        for layer, costed in zip(network.layers, cost.layers, strict=True):
            moves = getattr(layer, "elements", 0) > 0 or isinstance(layer, UnknownLayer)
            works = getattr(layer, "alu_ops", 0) > 0 or layer.macs > 0
            if moves or works:
                assert costed.cycles > 0, layer.name
                assert costed.energy_j > 0, layer.name


def test_more_bits_are_never_cheaper(machine: Machine[Any], networks: list[Network]) -> None:
    for network in networks:
        energies: list[float] = []
        cycles: dict[str, list[int]] = {}
        for plan in executable_plans(machine, network):
            cost = evaluate(machine, network, plan)
            energies.append(cost.energy_j)
            # Narrower PEs come in larger arrays, which take longer to fill: the NPUs of a system
            # are machines of their own where time is concerned.
            host = machine.host_of(network, plan)[0] if isinstance(machine, System) else ""
            cycles.setdefault(host, []).append(cost.cycles)
        assert energies == sorted(energies)
        assert all(found == sorted(found) for found in cycles.values())


def executable_plans(machine: Machine[Any], network: Network) -> Iterator[PrecisionPlan]:
    """Uniform plans of every integer width the machine takes, narrow to wide, each once."""
    last = None
    for bits in range(1, 17):
        wanted = PrecisionPlan(parse_precision(f"w{bits}a{bits}"))
        try:
            plan = machine.legalise(network, wanted).executed
        except MappingError:
            return
        if dict(plan.layers) != last:
            last = dict(plan.layers)
            yield plan


def test_plans_are_only_ever_widened(machine: Machine[Any], networks: list[Network]) -> None:
    # Odd widths that few machines have; a machine of 4 bits is not asked for 5.
    bits = min(5, max(fmt.significand_bits for fmt in machine.info.formats))
    for network in networks:
        wanted = PrecisionPlan(parse_precision(f"w3a{bits}"))
        legal = machine.legalise(network, wanted)
        for layer in network.mac_layers:
            executed = legal.executed.of(layer.name)
            assert executed.weight.holds(integer(3))
            assert executed.activation.holds(integer(bits))
            assert executed.weight in machine.info.formats
            assert executed.activation in machine.info.formats
        again = machine.legalise(network, legal.executed)
        assert dict(again.executed.layers) == dict(legal.executed.layers)
        assert again.widened == ()


def test_a_precision_nobody_has_is_refused(machine: Machine[Any]) -> None:
    network = parse_network(EVERY_KIND)
    with pytest.raises(MappingError, match="has no format that holds fp64"):
        machine.legalise(network, PrecisionPlan(parse_precision("fp64")))


def test_assumptions_are_listed(machine: Machine[Any]) -> None:
    network = parse_network(EVERY_KIND)
    cost = evaluate(machine, network, machine.legalise(network, None).executed)
    assert cost.assumptions
    assert all(text.strip() for text in cost.assumptions)


def test_two_runs_are_equal(machine: Machine[Any]) -> None:
    network = parse_network(EVERY_KIND)
    plan = machine.legalise(network, None).executed
    assert evaluate(machine, network, plan) == evaluate(machine, network, plan)


def test_a_batch_is_more_work_than_one_sample(machine: Machine[Any], costed: list[Costed]) -> None:
    for each in costed:
        network, one = each.network, each.cost
        plan = machine.legalise(network, None).executed
        four = evaluate(machine, network.with_batch(4), plan)
        assert sum(layer.macs for layer in four.layers) == 4 * network.macs
        assert one.cycles < four.cycles
        assert one.energy_j < four.energy_j


@pytest.mark.parametrize("name", SPECS)
def test_every_end_of_every_knob_builds_and_runs(name: str) -> None:
    network = parse_network(EVERY_KIND)
    document = find_spec(name)
    for settings in knob_corners(document):
        machine = build_machine(apply_knobs(document, settings))
        plan = machine.legalise(network, None).executed
        assert evaluate(machine, network, plan).cycles > 0
