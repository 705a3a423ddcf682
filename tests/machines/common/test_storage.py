"""Widths of stored tensors, and what stays on chip, checked layer by layer."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from npubench.ir import MoveLayer, Network, PrecisionPlan, Role, parse_network, parse_precision
from npubench.machines.common.storage import keep_on_chip, storage_bits, view_roots
from tests.depth import examples
from tests.ir.random_networks import networks

NETWORK = parse_network(
    """
    network net
    input x fp32[8]
    input ids int64[8]
    weight w fp32[8]
    weight v fp32[8]
    mac a MatMul (x w) -> p fp32[8] : K8
    vector r Relu activation (p) -> q fp32[8] : alu=8
    move f Reshape (q) -> f1 fp32[2,4] : elements=0
    mac b MatMul (f1 v) -> s fp32[8] : K8
    vector g Gather elementwise (s ids) -> t fp32[8] : alu=8
    output t
    """
)


def test_a_tensor_is_stored_as_its_consumer_multiplies_it() -> None:
    plan = PrecisionPlan(parse_precision("w8a8"), {"b": parse_precision("w4a16")})
    bits = storage_bits(NETWORK, plan)
    assert (bits["x"], bits["w"]) == (8, 8)
    assert (bits["v"], bits["f1"], bits["q"], bits["p"]) == (4, 16, 16, 16)
    assert (bits["s"], bits["t"]) == (8, 8)
    assert bits["ids"] == 64


def test_a_tensor_of_two_consumers_takes_the_wider() -> None:
    text = """
    input x fp32[8]
    weight w fp32[8]
    mac a MatMul (x w) -> p fp32[8] : K8
    mac b MatMul (x w) -> q fp32[8] : K8
    output p
    output q
    """
    plan = PrecisionPlan(
        parse_precision("w2a2"), {"a": parse_precision("w4a8"), "b": parse_precision("w8a4")}
    )
    bits = storage_bits(parse_network(text), plan)
    assert (bits["x"], bits["w"]) == (8, 8)
    assert (bits["p"], bits["q"]) == (2, 2)


def test_views_share_their_root() -> None:
    assert view_roots(NETWORK) == {"f1": "q"}


def test_slices_of_a_sequence_take_the_room_of_the_whole() -> None:
    text = """
    input x fp32[2]
    vector a Relu activation (x) -> s fp32[8] : alu=8
    move slice LSTM (s) -> now fp32[2] : elements=0
    vector gates LSTM recurrent (now) -> part fp32[2] : trips=4 alu=2
    move sequence LSTM (part) -> y fp32[8] : elements=0
    vector b Relu activation (y) -> z fp32[1] : alu=8
    output z
    """
    network = parse_network(text)
    bits = dict.fromkeys(network.tensors, 8)
    kept = keep_on_chip(network, bits, 128)
    assert kept.resident == {"s", "part"}
    assert (kept.holds("now"), kept.holds("y")) == (True, True)
    assert kept.reserved_bits["gates"] == 128
    assert keep_on_chip(network, bits, 127).resident == {"s"}


def test_an_activation_stays_from_its_maker_to_its_last_reader() -> None:
    bits = dict.fromkeys(NETWORK.tensors, 8)
    kept = keep_on_chip(NETWORK, bits, 128)
    assert kept.resident == {"p", "q", "s"}
    assert [kept.holds(name) for name in ("p", "q", "f1", "s", "x", "t")] == [
        *(True, True, True, True),
        *(False, False),
    ]
    assert dict(kept.reserved_bits) == {"a": 64, "r": 128, "f": 64, "b": 128, "g": 64}


def test_room_for_one_keeps_the_first() -> None:
    bits = dict.fromkeys(NETWORK.tensors, 8)
    assert keep_on_chip(NETWORK, bits, 64).resident == {"p", "s"}
    assert keep_on_chip(NETWORK, bits, 63).resident == frozenset()
    assert keep_on_chip(NETWORK, bits, 128, skip=("q",)).resident == {"p", "s"}


@given(networks(most_layers=8), st.integers(0, 2000), st.sampled_from([1, 8, 32]))
@settings(max_examples=examples(300), deadline=None)
def test_the_room_is_never_exceeded(network: Network, room: int, width: int) -> None:
    bits = dict.fromkeys(network.tensors, width)
    kept = keep_on_chip(network, bits, room)
    roots = {name: name for name in network.tensors}
    for layer in network.layers:
        if isinstance(layer, MoveLayer) and layer.is_view:
            roots.update(dict.fromkeys(layer.outputs, roots[layer.inputs[0]]))
    leaving = {roots[name] for name in network.outputs}
    # A view may be of a part, or of more: what is stored is as large as the largest of them.
    stored = {
        root: max(network.tensors[name].elements for name in roots if roots[name] == root) * width
        for root in set(roots.values())
    }
    for index, layer in enumerate(network.layers):
        alive = {
            name
            for name in kept.resident
            if any(name in others.outputs for others in network.layers[: index + 1])
            and any(
                name in {roots[read] for read in others.inputs} for others in network.layers[index:]
            )
        }
        occupied = sum(stored[name] for name in alive)
        assert occupied == kept.reserved_bits[layer.name] <= room
    for name in kept.resident:
        assert network.tensors[name].role is Role.ACTIVATION
        assert roots[name] == name
        assert name not in leaving
    # What was left out would not fit, or must come and go through memory.
    for layer in network.layers:
        for name in layer.outputs:
            read = [
                i for i, at in enumerate(network.layers) if name in {roots[r] for r in at.inputs}
            ]
            if name in kept.resident or roots[name] != name or name in leaving or not read:
                continue
            made = network.layers.index(layer)
            span = network.layers[made : max(read) + 1]
            assert max(kept.reserved_bits[at.name] for at in span) + stored[name] > room
