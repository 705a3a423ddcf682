"""Recurrent layers and attention against closed forms and onnxruntime's shapes."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from onnx import TensorProto, helper

from npubench.errors import ModelError
from npubench.ir import LoopNest, Role, VectorKind
from tests.frontend.lower_models import lower, mac_layer, make_model, moves, run, single, values
from tests.frontend.lower_models import vectors as vector_layers

GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
# Per hidden unit and step: operations of the cell's equations, with a sigmoid as one table look-up,
# one multiplication and one addition, and a tanh as one look-up.
LSTM_WORK = (4 + 3 + 1 + 3 * 2, 5)
GRU_WORK = (3 + 1 + 4 + 2 * 2, 3)
RNN_WORK = (1, 1)
WORK = {"LSTM": LSTM_WORK, "GRU": GRU_WORK, "RNN": RNN_WORK}


@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("layout", [0, 1])
@pytest.mark.parametrize("op", GATES)
def test_recurrent(op: str, direction: str, layout: int) -> None:
    steps, batch, inputs, hidden = 5, 2, 3, 4
    directions = 2 if direction == "bidirectional" else 1
    rows = GATES[op] * hidden
    x = values(*((batch, steps) if layout else (steps, batch)), inputs)
    operands = [
        ("x", x),
        ("w", values(directions, rows, inputs)),
        ("r", values(directions, rows, hidden)),
        ("b", values(directions, 2 * rows)),
        None,
        ("h", values(*((batch, directions) if layout else (directions, batch)), hidden)),
    ]
    results = ["y", "yh", "yc"] if op == "LSTM" else ["y", "yh"]
    model, fed = single(
        op,
        operands,
        held=["w", "r", "b"],
        outputs=results,
        hidden_size=hidden,
        direction=direction,
        layout=layout,
    )
    network = lower(model).network
    assert network.macs == batch * steps * rows * (inputs + hidden) * directions
    assert network.parameters == sum(o[1].size for o in operands[1:4] if o is not None)
    assert Counter(layer.trips for layer in network.mac_layers) == {
        1: directions,
        steps: directions,
    }
    (gates,) = vector_layers(network)
    assert (gates.kind, gates.trips) == (VectorKind.RECURRENT, steps)
    assert (gates.alu_ops, gates.special_ops) == tuple(
        n * batch * hidden * directions for n in WORK[op]
    )
    # Step by step the gates read all projections and write the whole sequence, once.
    touched = {
        kind: steps * sum(network.tensors[name].elements for name in names)
        for kind, names in (("read", gates.inputs[: 2 * directions]), ("written", gates.outputs))
    }
    states = steps * batch * hidden * directions * (len(results) - 1)
    assert touched["read"] == 2 * steps * batch * rows * directions
    assert touched["written"] == network.tensors["y"].elements + states
    if layout == 0:  # onnxruntime has no kernel for the other
        shapes = [array.shape for array in run(model, fed)]
        assert [network.tensors[name].shape for name in results] == shapes
    nest = mac_layer(network).nest
    assert nest == LoopNest(B=batch, OX=steps, K=rows, C=inputs, input_extent=(1, 1, steps))
    assert mac_layer(network, 1).nest == LoopNest(B=batch, K=rows, C=hidden)


def test_peepholes_clip_and_named_activations() -> None:
    hidden = 4
    operands = [
        ("x", values(5, 1, 3)),
        ("w", values(1, 4 * hidden, 3)),
        ("r", values(1, 4 * hidden, hidden)),
        *(None, None, None, None),
        ("p", values(1, 3 * hidden)),
    ]
    model, _ = single(
        "LSTM",
        operands,
        held=["w", "r", "p"],
        hidden_size=hidden,
        clip=3.0,
        activations=["HardSigmoid", "Relu", "Tanh"],
    )
    (gates,) = vector_layers(lower(model).network)
    # 3 hard sigmoids of 4 operations, a Relu of 1, a tanh of 1 look-up; 6 for the peepholes,
    # 2 comparisons for each of the 4 gates.
    assert (gates.alu_ops, gates.special_ops) == (hidden * (8 + 3 * 4 + 1 + 6 + 8), hidden)


def test_lstm_on_dynamically_quantised_data() -> None:
    """Weights are [directions, I, 4 H]; quantising costs 5 an input number, 3 a state number."""
    operands = [
        ("x", values(5, 2, 3)),
        ("w", values(1, 3, 16, dtype=np.int8)),
        ("r", values(1, 4, 16, dtype=np.int8)),
        *([None] * 5),
        ("ws", np.ones(1, np.float32)),
        ("wz", np.zeros(1, np.int8)),
        ("rs", np.ones(1, np.float32)),
        ("rz", np.zeros(1, np.int8)),
    ]
    held = [o[0] for o in operands[1:] if o is not None]
    model, fed = single(
        "DynamicQuantizeLSTM", operands, held, domain="com.microsoft", hidden_size=4
    )
    loaded = lower(model)
    network = loaded.network
    assert network.tensors["y"].shape == run(model, fed)[0].shape
    assert network.macs == 5 * 2 * 16 * (3 + 4)
    quantise, gates = vector_layers(network)
    assert quantise.alu_ops == 5 * 30
    assert gates.alu_ops == (LSTM_WORK[0] + 3) * 8
    assert loaded.plan is not None
    assert loaded.plan.describe() == "2 x w8a8"


def test_unknown_activation() -> None:
    model, _ = single(
        "RNN",
        [("x", values(5, 1, 3)), ("w", values(1, 4, 3)), ("r", values(1, 4, 4))],
        held=["w", "r"],
        hidden_size=4,
        activations=["Tahn"],
    )
    with pytest.raises(ModelError) as caught:
        lower(model)
    assert str(caught.value) == "unknown activation function 'Tahn'\n  did you mean 'Tanh'?"


def test_attention_of_grouped_heads_with_a_cache() -> None:
    """Scores and context for 6 query heads on 2 key heads, 5 new positions behind 7 old ones."""
    operands = [
        ("q", values(2, 6, 5, 8)),
        ("k", values(2, 2, 5, 8)),
        ("v", values(2, 2, 5, 4)),
        ("mask", values(5, 12)),
        ("past_k", values(2, 2, 7, 8)),
        ("past_v", values(2, 2, 7, 4)),
    ]
    model, _ = single(
        "Attention", operands, outputs=["y", "pk", "pv"], opset=23, q_num_heads=6, kv_num_heads=2
    )
    network = lower(model).network
    scores, context = network.mac_layers
    assert scores.nest == LoopNest(G=4, OX=15, K=12, C=8, input_extent=(1, 1, 15))
    assert context.nest == LoopNest(G=4, OX=15, K=4, C=12, input_extent=(1, 1, 15))
    assert network.macs == 2 * 6 * 5 * 12 * (8 + 4)
    assert network.tensors["y"].shape == (2, 6, 5, 4)
    assert network.tensors["past_k"].role is Role.STATE
    assert [move.elements for move in moves(network)] == [2 * 2 * 12 * 8, 2 * 2 * 12 * 4]
    (softmax,) = vector_layers(network)
    scored = 2 * 6 * 5 * 12
    # Softmax 4 and 1, one product for the scale, one sum for the mask; a reciprocal per row.
    assert (softmax.alu_ops, softmax.special_ops) == (6 * scored, scored + 2 * 6 * 5)
    assert network.with_batch(3).verify().macs == 3 * network.macs


def test_causal_attention_says_that_it_counts_the_square() -> None:
    operands = [(n, values(1, 4, 6, 8)) for n in "qkv"]
    model, _ = single("Attention", operands, opset=23, is_causal=1)
    network = lower(model).network
    assert network.macs == 2 * 4 * 6 * 6 * 8
    assert {layer.approximation for layer in network.mac_layers} == {
        "causal attention counted as the full square of positions"
    }


def test_packed_attention_projects_first() -> None:
    model, fed = single(
        "Attention",
        [("x", values(2, 5, 8)), ("w", values(8, 24)), ("b", values(24))],
        held=["w", "b"],
        domain="com.microsoft",
        num_heads=2,
    )
    network = lower(model).network
    assert network.macs == 2 * 5 * 8 * 24 + 2 * 2 * (2 * 5 * 5 * 4)
    assert network.tensors["y"].shape == run(model, fed)[0].shape
    assert mac_layer(network).nest == LoopNest(B=2, OX=5, K=24, C=8, input_extent=(1, 1, 5))


def test_multi_head_attention_over_another_sequence() -> None:
    model, fed = single(
        "MultiHeadAttention",
        [("q", values(2, 5, 8)), ("k", values(2, 7, 8)), ("v", values(2, 7, 8)), ("b", values(24))],
        held=["b"],
        domain="com.microsoft",
        num_heads=2,
    )
    network = lower(model).network
    assert network.macs == 2 * (2 * 2 * 5 * 7 * 4)
    assert network.tensors["y"].shape == run(model, fed)[0].shape
    bias = vector_layers(network)[0]
    assert bias.alu_ops == 2 * (5 + 7 + 7) * 8


def test_group_query_attention_decodes_one_token() -> None:
    """One new token behind seven, 4 query heads on 2 key heads, packed Q, K and V, rotated."""
    head, past = 16, 7
    operands = [
        ("q", values(1, 1, (4 + 2 * 2) * head)),
        *(None, None),
        ("past_k", values(1, 2, past, head)),
        ("past_v", values(1, 2, past, head)),
        ("lengths", np.array([past], np.int32)),
        ("total", np.array([past + 1], np.int32)),
        ("cos", values(16, head // 2)),
        ("sin", values(16, head // 2)),
    ]
    model, fed = single(
        "GroupQueryAttention",
        operands,
        held=["cos", "sin", "total"],
        outputs=["y", "pk", "pv"],
        domain="com.microsoft",
        num_heads=4,
        kv_num_heads=2,
        do_rotary=1,
    )
    network = lower(model).network
    shapes = [array.shape for array in run(model, fed)]
    assert [network.tensors[name].shape for name in ("y", "pk", "pv")] == shapes
    assert network.macs == 2 * 4 * (past + 1) * head
    assert vector_layers(network)[0].alu_ops == 3 * (4 + 2) * head


def test_attention_in_simple_operators_has_the_same_macs() -> None:
    """The exported form of attention and the fused one."""
    nodes = [
        helper.make_node("Transpose", ["k"], ["kt"], perm=[0, 1, 3, 2]),
        helper.make_node("MatMul", ["q", "kt"], ["s"]),
        helper.make_node("Softmax", ["s"], ["p"]),
        helper.make_node("MatMul", ["p", "v"], ["y"]),
    ]
    fed = {name: values(2, 3, 6, 8) for name in "qkv"}
    plain = lower(make_model(nodes, fed, {}, ["y"], output_type=TensorProto.FLOAT)).network
    model, _ = single("Attention", list(fed.items()), opset=23)
    fused = lower(model).network
    assert plain.macs == fused.macs
    assert [layer.nest for layer in plain.mac_layers] == [layer.nest for layer in fused.mac_layers]
