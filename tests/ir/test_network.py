"""Networks: each rule of `verify` with its message, edges, batches, liveness by brute force."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from npubench.errors import ModelError
from npubench.ir import (
    FORMATS,
    Edge,
    LoopNest,
    MacLayer,
    MoveLayer,
    Network,
    Role,
    Tensor,
    VectorKind,
    VectorLayer,
    parse_network,
)
from tests.depth import examples
from tests.ir.random_networks import networks

FP32 = FORMATS["fp32"]


def tensor(name: str, *shape: int, role: Role = Role.ACTIVATION) -> Tensor:
    return Tensor(name, shape, FP32, role)


def relu(name: str, source: str, target: str, alu_ops: int = 4, **more: object) -> VectorLayer:
    return VectorLayer(
        name=name,
        op="Relu",
        inputs=(source,),
        outputs=(target,),
        kind=VectorKind.ACTIVATION,
        alu_ops=alu_ops,
        **more,
    )


def product(nest: LoopNest, weight: str = "w", data: str = "x", trips: int = 1) -> MacLayer:
    return MacLayer(
        name="m",
        op="Conv",
        inputs=("x", "w"),
        outputs=("y",),
        nest=nest,
        data=data,
        weight=weight,
        trips=trips,
    )


def network(*layers: object, outputs: tuple[str, ...] = ("y",), **changes: Tensor) -> Network:
    tensors = {
        "x": tensor("x", 4, role=Role.INPUT),
        "w": tensor("w", 6, role=Role.WEIGHT),
        "y": tensor("y", 4),
        "z": tensor("z", 4),
    } | changes
    return Network("net", tensors, tuple(layers), ("x",), outputs)


@pytest.mark.parametrize(
    ("broken", "problems"),
    [
        (network(relu("a", "x", "y"), relu("a", "y", "z")), ["two layers are called 'a'"]),
        (
            network(relu("a", "x", "y"), z=tensor("zz", 4)),
            ["tensor 'z': the record says 'zz'"],
        ),
        (
            network(relu("a", "x", "y"), v=replace(tensor("v", 2), origin="gone")),
            ["tensor 'v': comes from unknown tensor 'gone'"],
        ),
        (
            network(relu("a", "x", "y"), z=tensor("z", 2, -3)),
            ["tensor 'z': negative extent in (2, -3)"],
        ),
        (network(relu("a", "q", "y")), ["layer 'a': reads unknown tensor 'q'"]),
        (network(relu("a", "x", "q"), outputs=()), ["layer 'a': writes unknown tensor 'q'"]),
        (
            network(relu("a", "z", "y"), relu("b", "x", "z")),
            ["layer 'a': reads 'z' before it is written"],
        ),
        (
            network(relu("a", "y", "y")),
            ["layer 'a': reads 'y' before it is written"],
        ),
        (
            network(relu("a", "x", "y"), relu("b", "x", "y")),
            ["layer 'b': writes 'y' a second time"],
        ),
        (network(relu("a", "x", "x"), outputs=()), ["layer 'a': writes 'x' a second time"]),
        (network(relu("a", "x", "w"), outputs=()), ["layer 'a': writes 'w' a second time"]),
        (network(outputs=("y",)), ["output 'y' is never written"]),
        (
            network(relu("a", "x", "y", trips=0)),
            ["layer 'a': trip count 0 is not positive"],
        ),
        (network(relu("a", "x", "y", -1)), ["layer 'a': negative work"]),
        (
            network(MoveLayer(name="a", op="M", inputs=("x",), outputs=("y",), elements=-1)),
            ["layer 'a': negative number of moved elements"],
        ),
        (
            network(product(LoopNest(K=0, OX=-1))),
            ["layer 'm': loop K is 0, not positive", "layer 'm': loop OX is -1, not positive"],
        ),
        (
            network(product(LoopNest(), weight="y")),
            ["layer 'm': weight operand 'y' is not among its inputs"],
        ),
        (
            network(product(LoopNest(), data="z")),
            ["layer 'm': data operand 'z' is not among its inputs"],
        ),
        (
            network(product(LoopNest(K=7, OX=2))),
            ["layer 'm': its loops K7 OX2 need 7 weight elements, 'w' has 6"],
        ),
        (
            network(relu("a", "q", "y"), relu("a", "x", "z"), outputs=("y", "u")),
            [
                "two layers are called 'a'",
                "layer 'a': reads unknown tensor 'q'",
                "output 'u' is never written",
            ],
        ),
    ],
)
def test_every_broken_rule_is_named(broken: Network, problems: list[str]) -> None:
    with pytest.raises(ModelError) as caught:
        broken.verify()
    assert str(caught.value) == "\n".join(f"network 'net': {text}" for text in problems)


def test_a_sound_network_is_returned() -> None:
    sound = network(product(LoopNest(K=2, C=3)))
    assert sound.verify() is sound


def test_edges_and_producers() -> None:
    text = """
    input x fp32[4]
    vector a Relu activation (x) -> y fp32[4] : alu=4
    vector b Add elementwise (y y) -> z fp32[4] : alu=4
    vector c Add elementwise (x z) -> u fp32[4] : alu=4
    output u
    """
    found = parse_network(text)
    assert found.edges == (Edge("a", "b", "y"), Edge("b", "c", "z"))
    assert {name: layer.name for name, layer in found.producers.items()} == {
        "y": "a",
        "z": "b",
        "u": "c",
    }


def test_parameters_are_counted_once_and_where_they_come_from() -> None:
    part = replace(tensor("part", 2, role=Role.WEIGHT), origin="w")
    unread = tensor("unread", 100, role=Role.WEIGHT)
    first = replace(relu("a", "x", "y"), inputs=("x", "w", "w"))
    second = replace(relu("b", "y", "z"), inputs=("y", "part"))
    found = network(first, second, part=part, unread=unread, outputs=("z",)).verify()
    assert found.parameters == 6
    only_part = network(second, part=part, y=tensor("y", 4, role=Role.INPUT))
    assert only_part.parameters == 6


def test_a_chain_of_views_shares_one_storage() -> None:
    text = """
    input x int8[4]
    vector a Relu activation (x) -> y int8[4] : alu=4
    move v Reshape (y) -> v1 int8[2,2] : elements=0
    move u Reshape (v1) -> v2 int8[4,1] : elements=0
    vector b Relu activation (v2) -> z int8[4] : alu=4
    output z
    """
    peak = parse_network(text).peak_activations
    assert (peak.bits, peak.layer) == (64, "a")


def test_a_view_of_a_part_and_a_whole_made_by_parts_are_as_large_as_the_whole() -> None:
    """Slices of a sequence: read from `s`, written into `y`; 8 + 8 numbers live at the gates."""
    text = """
    input x int8[2]
    vector a Relu activation (x) -> s int8[8] : alu=8
    move slice LSTM (s) -> now int8[2] : elements=0
    vector gates LSTM recurrent (now) -> part int8[2] : trips=4 alu=2
    move sequence LSTM (part) -> y int8[8] : elements=0
    vector b Relu activation (y) -> z int8[1] : alu=8
    output z
    """
    peak = parse_network(text).peak_activations
    assert (peak.bits, peak.layer) == (128, "gates")


@given(networks())
@settings(max_examples=examples(200), deadline=None)
def test_peak_activations_against_an_interpreter(network: Network) -> None:
    assert network.peak_activations.bits == brute_force_peak(network)


def brute_force_peak(network: Network) -> int:
    """Run the network on paper: allocate when written, free when nobody will read it again."""
    storage: dict[str, str] = {}
    for layer in network.layers:
        if isinstance(layer, MoveLayer) and layer.is_view:
            storage.update(
                {out: storage.get(layer.inputs[0], layer.inputs[0]) for out in layer.outputs}
            )
    root = {name: storage.get(name, name) for name in network.tensors}

    def needed_from(index: int) -> set[str]:
        rest = network.layers[index:]
        names = {name for layer in rest for name in (*layer.inputs, *layer.outputs)}
        return {root[name] for name in (*names, *network.outputs)}

    def size(names: set[str]) -> int:
        """A storage is as large as the largest tensor in it."""
        held = [name for name in names if network.tensors[name].role is not Role.WEIGHT]
        return sum(max(t.bits for n, t in network.tensors.items() if root[n] == h) for h in held)

    alive = {name for name in network.inputs if name in needed_from(0)}
    peak = size(alive)
    for index, layer in enumerate(network.layers):
        alive |= {root[name] for name in layer.outputs}
        peak = max(peak, size(alive))
        alive &= needed_from(index + 1)
    return peak


@given(networks(), st.integers(2, 4))
@settings(max_examples=examples(100), deadline=None)
def test_a_batch_is_so_many_times_the_work(network: Network, batch: int) -> None:
    grown = network.with_batch(batch).verify()
    assert grown.batch == batch
    assert grown.macs == batch * network.macs
    assert grown.parameters == network.parameters
    assert grown.peak_activations.bits == batch * network.peak_activations.bits
    for before, after in zip(network.layers, grown.layers, strict=True):
        assert (before.name, before.inputs, before.trips) == (after.name, after.inputs, after.trips)
        for field in ("alu_ops", "special_ops", "elements"):
            assert getattr(after, field, 0) == batch * getattr(before, field, 0)
    assert sizes(grown) == {
        name: n if network.tensors[name].role is Role.WEIGHT else batch * n
        for name, n in sizes(network).items()
    }


def sizes(network: Network) -> Mapping[str, int]:
    return {name: t.elements for name, t in network.tensors.items()}


@pytest.mark.parametrize(("batched", "grown"), [(True, {"G": 8}), (False, {"B": 8})])
def test_products_of_activations_become_more_others_longer(
    batched: bool, grown: dict[str, int]
) -> None:
    layer = replace(product(LoopNest(B=2, G=2, K=2)), weight_batched=batched)
    (after,) = network(layer).with_batch(4).mac_layers
    assert after.nest == replace(layer.nest, **grown)


def test_batch_one_changes_nothing_and_less_is_refused() -> None:
    net = network(relu("a", "x", "y"))
    assert net.with_batch(1) is net
    with pytest.raises(ModelError) as caught:
        net.with_batch(0)
    assert str(caught.value) == "batch must be at least 1, got 0"


class CountingLayers(tuple):  # type: ignore[type-arg]
    """Layers that count how often they are walked through."""

    walks = 0

    def __iter__(self):
        type(self).walks += 1
        return super().__iter__()


def test_analyses_walk_the_layers_a_fixed_number_of_times() -> None:
    def walks(length: int) -> list[int]:
        tensors = {"t0": tensor("t0", 4, role=Role.INPUT)}
        tensors |= {f"t{i}": tensor(f"t{i}", 4) for i in range(1, length + 1)}
        layers = CountingLayers(relu(f"l{i}", f"t{i}", f"t{i + 1}") for i in range(length))
        net = Network("net", tensors, layers, ("t0",), (f"t{length}",))
        found = []
        for analysis in ("verify", "edges", "peak_activations", "parameters", "macs"):
            CountingLayers.walks = 0
            answer = getattr(net, analysis)
            if analysis == "verify":
                answer()
            found.append(CountingLayers.walks)
        return found

    assert walks(3) == walks(300)
