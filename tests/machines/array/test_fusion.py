"""Which vector layers run as tails of a product: hand-made chains, and rules on random networks."""

from __future__ import annotations

import pytest
from hypothesis import given, settings

from npubench.ir import MacLayer, MoveLayer, Network, VectorKind, VectorLayer, parse_network
from npubench.machines.array.fusion import Tails, find_tails
from tests.depth import examples
from tests.ir.random_networks import networks

HEAD = "input x fp32[4]\nweight w fp32[16]\nmac m MatMul (x w) -> p fp32[4] : K4 C4\n"


def tails(lines: str) -> Tails:
    return find_tails(parse_network(HEAD + lines), enabled=True)


def test_a_chain_joins_up_to_its_last_layer() -> None:
    found = tails(
        "vector a Add elementwise (p x) -> q fp32[4] : alu=4\n"
        "move v Reshape (q) -> r fp32[2,2] : elements=0\n"
        "vector b Relu activation (r) -> s fp32[2,2] : alu=4\n"
        "vector c QuantizeLinear quantize (s) -> t int8[2,2] : alu=4\n"
        "vector d MaxPool pool (t) -> u int8[1,1] : alu=3 window=4\n"
        "output u\n"
    )
    assert dict(found.head) == {"a": "m", "b": "m", "c": "m"}
    assert dict(found.result) == {"m": "t"}
    assert found.hidden == {"p", "q", "r", "s"}


def test_a_residual_sum_joins_the_later_product_only() -> None:
    found = tails(
        "weight v fp32[16]\n"
        "mac n MatMul (x v) -> q fp32[4] : K4 C4\n"
        "vector a Add elementwise (p q) -> r fp32[4] : alu=4\n"
        "output r\n"
    )
    assert dict(found.head) == {"a": "m"}
    assert dict(found.result) == {"m": "r", "n": "q"}
    assert found.hidden == {"p"}


@pytest.mark.parametrize(
    "lines",
    [
        # read by a second layer
        "vector a Relu activation (p) -> q fp32[4] : alu=4\n"
        "vector b Relu activation (p) -> r fp32[4] : alu=4\noutput q\noutput r\n",
        # leaves the network
        "vector a Relu activation (p) -> q fp32[4] : alu=4\noutput p\noutput q\n",
        # another number of elements
        "vector a Expand elementwise (p) -> q fp32[2,4] : alu=8\noutput q\n",
        # another number of trips
        "vector a Relu activation (p) -> q fp32[4] : trips=2 alu=4\noutput q\n",
        # needs more than one element at a time
        "vector a Softmax softmax (p) -> q fp32[4] : alu=4\noutput q\n",
        # a real movement
        "move a Transpose (p) -> q fp32[4] : elements=4\noutput q\n",
        # two results
        "vector a Split elementwise (p) -> q fp32[4], r fp32[4] : alu=4\noutput q\noutput r\n",
    ],
)
def test_what_does_not_join(lines: str) -> None:
    found = tails(lines)
    assert dict(found.head) == {}
    assert dict(found.result) == {"m": "p"}
    assert found.hidden == frozenset()


def test_a_machine_without_fused_tails() -> None:
    network = parse_network(HEAD + "vector a Relu activation (p) -> q fp32[4] : alu=4\noutput q\n")
    assert find_tails(network, enabled=False) == Tails({}, {}, frozenset())


@given(networks(most_layers=8))
@settings(max_examples=examples(200), deadline=None)
def test_nothing_hidden_is_needed_elsewhere(network: Network) -> None:
    found = find_tails(network, enabled=True)
    layers = {layer.name: layer for layer in network.layers}
    for name in found.hidden:
        readers = [layer for layer in network.layers if name in layer.inputs]
        assert len(readers) == 1
        assert name not in network.outputs
        tail = readers[0]
        if isinstance(tail, MoveLayer):
            assert tail.is_view
        else:
            assert isinstance(tail, VectorLayer)
            assert tail.kind in (VectorKind.ACTIVATION, VectorKind.ELEMENTWISE, VectorKind.QUANTIZE)
            assert tail.name in found.head
        (out,) = tail.outputs
        assert network.tensors[out].elements == network.tensors[name].elements
    for tail_name, head in found.head.items():
        assert isinstance(layers[head], MacLayer)
        assert layers[tail_name].trips == layers[head].trips
        assert set(layers[tail_name].inputs) & found.hidden
    assert set(found.result) == {layer.name for layer in network.mac_layers}
    assert not set(found.result.values()) & found.hidden
