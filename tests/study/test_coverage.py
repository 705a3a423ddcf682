from __future__ import annotations

from dataclasses import replace

import pytest

from npubench.ir import parse_network
from npubench.machines.protocol import Cost, LayerCost
from npubench.study.coverage import layer_bytes, measure_coverage
from npubench.study.run import RunRequest, run
from tests.study.study_fakes import Library

NETWORK = """\
network ledger
input x fp32[1,8]
weight w int4[4,8]
mac fc Gemm (x w) -> y fp32[1,4] : K4 C8
vector gelu Gelu activation (y) -> a fp32[1,4] : alu=4
vector twice Add elementwise (a a) -> b fp32[1,4] : alu=4
move view Reshape (b) -> v fp32[4,1] : elements=0
move swap Transpose (v) -> t fp32[1,4] : elements=4
unknown odd Foo (t) -> g bool[9] : no such operator
unknown odder Foo (t) -> h bool[1] : no such operator
output g
output h
"""


def _cost(cycles: dict[str, int]) -> Cost:
    layers = tuple(LayerCost(name, "", 0, {"compute": n}, {}) for name, n in cycles.items())
    return Cost(layers, clock_hz=10.0, interval_cycles=1)


def test_the_ledger_by_hand() -> None:
    network = parse_network(NETWORK)
    layers = tuple(
        replace(layer, approximation="as tanh") if layer.op == "Gelu" else layer
        for layer in network.layers
    )
    names = ("fc", "gelu", "twice", "view", "swap", "odd", "odder")
    cost = _cost(dict(zip(names, (10, 20, 5, 0, 5, 40, 20), strict=True)))
    coverage = measure_coverage(replace(network, layers=layers), cost)

    # fc 32 + 16 (int4) + 16, twice 16 + 16, view nothing, swap 16 + 16.
    modelled = coverage.modelled
    assert (modelled.ops, modelled.macs, modelled.bytes) == (4, 32, 64 + 32 + 32)
    assert modelled.latency_s == pytest.approx(2.0)
    # gelu 16 + 16.
    approximated = coverage.approximated
    assert (approximated.ops, approximated.macs, approximated.bytes) == (1, 0, 32)
    assert approximated.latency_s == pytest.approx(2.0)
    # odd 16 + 2 (nine bits), odder 16 + 1.
    unknown = coverage.unknown
    assert (unknown.ops, unknown.macs, unknown.bytes) == (2, 0, 35)
    assert unknown.latency_s == pytest.approx(6.0)

    assert (modelled.macs_share, approximated.macs_share, unknown.macs_share) == (1.0, 0.0, 0.0)
    assert modelled.bytes_share == pytest.approx(128 / 195)
    assert unknown.bytes_share == pytest.approx(35 / 195)
    assert (modelled.time_share, approximated.time_share) == pytest.approx((0.2, 0.2))
    assert unknown.time_share == pytest.approx(0.6)

    rows = [(row.op, row.status, row.layers, row.how) for row in coverage.operators]
    assert rows == [
        ("Gemm", "modelled", 1, ""),
        ("Gelu", "approximated", 1, "as tanh"),
        ("Add", "modelled", 1, ""),
        ("Reshape", "modelled", 1, ""),
        ("Transpose", "modelled", 1, ""),
        ("Foo", "unknown", 2, "no such operator"),
    ]
    assert sum(row.bytes for row in coverage.operators) == 195


def test_a_tensor_read_twice_counts_once() -> None:
    network = parse_network(NETWORK)
    twice = next(layer for layer in network.layers if layer.name == "twice")
    assert layer_bytes(network, twice) == 32


def test_bytes_and_macs_are_of_one_inference_and_time_of_the_batch(library: Library) -> None:
    session = library.session()
    one = run(RunRequest("tiny", "toy"), session).coverage
    five = run(RunRequest("tiny", "toy", batch=5), session).coverage
    assert one.modelled.macs == five.modelled.macs == 32
    assert one.unknown.bytes == five.unknown.bytes == 32
    assert one.unknown.latency_s == pytest.approx(6e-9)
    assert five.unknown.latency_s == pytest.approx(22e-9)


def test_a_network_without_work_has_no_shares() -> None:
    network = parse_network(
        "network idle\ninput x fp32[8]\n"
        "move flat Reshape (x) -> y fp32[8,1] : elements=0\noutput y\n"
    )
    coverage = measure_coverage(network, _cost({"flat": 0}))
    assert coverage.modelled.ops == 1
    assert coverage.modelled.time_share == coverage.modelled.bytes_share == 0.0
