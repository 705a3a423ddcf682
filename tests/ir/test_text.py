"""The text form of a network: there and back, and what it refuses."""

from __future__ import annotations

import pytest
from hypothesis import given, settings

from npubench.errors import ModelError
from npubench.ir import MacLayer, Network, Role, format_network, parse_network
from tests.depth import examples
from tests.ir.random_networks import networks

TINY = """\
network tiny
input x fp32[1,3,8,8]
weight w fp32[16,3,3,3]
weight b fp32[16]
mac conv Conv (x w b) -> y fp32[1,16,6,6] : K16 C3 OY6 OX6 FY3 FX3 in=1,8,8
vector relu Relu activation (y) -> z fp32[1,16,6,6] : alu=576
move flat Reshape (z) -> f fp32[1,576] : elements=0
unknown odd Foo (f) -> g fp32[1,4] : no such operator
output g
"""


def test_reading_what_the_documentation_shows() -> None:
    network = parse_network(TINY)
    conv = network.mac_layers[0]
    assert [layer.name for layer in network.layers] == ["conv", "relu", "flat", "odd"]
    assert (conv.data, conv.weight, conv.bias) == ("x", "w", "b")
    assert network.macs == 16 * 3 * 36 * 9
    assert network.parameters == 16 * 27 + 16
    assert (network.inputs, network.outputs) == (("x",), ("g",))
    assert format_network(network) == TINY


@given(networks())
@settings(max_examples=examples(150), deadline=None)
def test_there_and_back(network: Network) -> None:
    network.verify()
    text = format_network(network)
    back = parse_network(text)
    assert back.layers == network.layers
    # A bias or weight that nobody reads is listed all the same.
    assert dict(back.tensors) == dict(network.tensors)
    assert (back.inputs, back.outputs) == (network.inputs, network.outputs)
    assert format_network(back) == text


def test_comments_and_blank_lines() -> None:
    text = "\n# all of it\ninput x int8[2]  # fed\n\nstate s bf16[]\noutput x\n"
    network = parse_network(text)
    assert network.name == "unnamed"
    assert network.tensors["s"].role is Role.STATE
    assert network.tensors["s"].shape == ()


def test_options_of_a_product() -> None:
    line = (
        "mac m MatMul (x w) -> y fp32[4] : trips=3 K2 stride=1,2,2 dilation=1,1,3 pad=0,1,0 "
        "in=1,4,4 batched=1"
    )
    network = parse_network(f"input x fp32[64]\nweight w fp32[2]\n{line}\noutput y\n")
    layer = network.layers[0]
    assert isinstance(layer, MacLayer)
    assert (layer.trips, layer.weight_batched, layer.nest.K) == (3, True, 2)
    assert (layer.nest.stride, layer.nest.dilation) == ((1, 2, 2), (1, 1, 3))
    assert (layer.nest.pad_begin, layer.nest.input_extent) == ((0, 1, 0), (1, 4, 4))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("input x", "expected a tensor such as 'x fp32[1,3,8,8]', got 'x'"),
        ("input x fp32[-1]", "expected a tensor such as 'x fp32[1,3,8,8]', got 'x fp32[-1]'"),
        (
            "layer a B (x) -> y fp32[1] :",
            "expected 'mac|vector|move|unknown NAME OP (...) -> ...', "
            "got 'layer a B (x) -> y fp32[1] :'",
        ),
        ("mac m Conv (x) -> y fp32[1] : K2", "a mac line needs two operands: (data weight)"),
        (
            "mac m Conv (x x) -> y fp32[1] : Q2",
            "expected a loop such as K64 or an option such as trips=3, got 'Q2'",
        ),
        (
            "mac m Conv (x x) -> y fp32[1] : stride=1,2",
            "expected three numbers Z,Y,X, got '1,2'",
        ),
        ("mac m Conv (x x) -> y fp32[1] : strid=1,2,2", "unknown option 'strid'"),
        ("vector v Relu relu (x) -> y fp32[1] :", "'relu' is not a valid VectorKind"),
    ],
)
def test_a_line_that_does_not_parse(line: str, message: str) -> None:
    with pytest.raises(ModelError) as caught:
        parse_network(f"network n\ninput x fp32[4]\n{line}\noutput y\n")
    assert str(caught.value) == f"<text>:3: {message}"
