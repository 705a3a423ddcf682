"""The parts of one run, each on its own, under pytest-benchmark."""

from __future__ import annotations

from typing import Any

import pytest

from npubench.frontend import load_network
from npubench.machines.protocol import Machine
from npubench.machines.registry import build_machine
from npubench.specs.catalog import find_spec, find_workload
from npubench.specs.header import apply_knobs

NETWORKS = ("resnet50", "bert_base")
MACHINES = ("tpuv4i", "eyeriss")


def machine_of(name: str) -> Machine[Any]:
    return build_machine(apply_knobs(find_spec(name), {}))


@pytest.mark.parametrize("network", NETWORKS)
def test_load(benchmark: Any, network: str) -> None:
    path = find_workload(network).path
    loaded = benchmark(lambda: load_network(path))
    assert loaded.network.macs > 0


@pytest.mark.parametrize("name", MACHINES)
def test_build(benchmark: Any, name: str) -> None:
    assert benchmark(lambda: machine_of(name)).info.name == name


@pytest.mark.parametrize("name", MACHINES)
@pytest.mark.parametrize("network", NETWORKS)
def test_map(benchmark: Any, network: str, name: str) -> None:
    loaded, machine = load_network(find_workload(network).path).network, machine_of(name)
    plan = machine.legalise(loaded, None).executed
    benchmark(lambda: machine.map(loaded, plan))


@pytest.mark.parametrize("name", MACHINES)
@pytest.mark.parametrize("network", NETWORKS)
def test_cost(benchmark: Any, network: str, name: str) -> None:
    loaded, machine = load_network(find_workload(network).path).network, machine_of(name)
    plan = machine.legalise(loaded, None).executed
    mapping = machine.map(loaded, plan)
    cost = benchmark(lambda: machine.cost(loaded, plan, mapping))
    assert cost.cycles > 0
