"""Unrolled recurrent layers: in float the operator's own answers, quantised those of numpy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from npubench.accuracy.evaluator import Evaluator
from npubench.accuracy.faults import Faults
from npubench.accuracy.integer import integer_model
from npubench.accuracy.observe import observe
from npubench.accuracy.plan import prepare
from npubench.accuracy.quantise import activation_levels, quantise_weight
from npubench.accuracy.rewrite import rewrite
from npubench.accuracy.runtime import Network
from npubench.errors import OptionError
from npubench.ir import Scheme, integer
from tests.accuracy.models import MINMAX, evaluator, opened, plan

STEPS, INPUTS, HIDDEN, BATCH = 5, 3, 4, 2
GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}


def recurrent(op: str, random: np.random.Generator, **attributes: object) -> ModelProto:
    """One recurrent node with a name, every optional operand but the lengths, random weights."""
    both = attributes.get("direction") == "bidirectional"
    sides, rows = (2 if both else 1), GATES[op] * HIDDEN
    shapes = {"w": (rows, INPUTS), "r": (rows, HIDDEN), "b": (2 * rows,)}
    inputs = ["x", "w", "r", "b", "", "h0"]
    outputs = ["y", "last"]
    if op == "LSTM":
        shapes["p"] = (3 * HIDDEN,)
        inputs += ["c0", "p"]
        outputs += ["memory"]
    states = {n: (sides, BATCH, HIDDEN) for n in ("h0", "c0") if n in inputs}
    arrays = {n: random.normal(0, 0.7, (sides, *shape)) for n, shape in shapes.items()}
    arrays |= {n: random.normal(0, 0.7, shape) for n, shape in states.items()}
    graph = helper.make_graph(
        [helper.make_node(op, inputs, outputs, name="rec", hidden_size=HIDDEN, **attributes)],
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [STEPS, BATCH, INPUTS])],
        [helper.make_tensor_value_info(o, TensorProto.FLOAT, None) for o in outputs],
        [numpy_helper.from_array(a.astype(np.float32), n) for n, a in arrays.items()],
    )
    return helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])


@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize(
    ("op", "more"),
    [
        ("LSTM", {}),
        ("LSTM", {"clip": 0.4}),
        ("LSTM", {"input_forget": 1}),
        ("LSTM", {"activations": ["Sigmoid", "Relu", "Tanh"]}),
        ("GRU", {}),
        ("GRU", {"linear_before_reset": 1}),
        ("GRU", {"clip": 0.4, "linear_before_reset": 1}),
        ("RNN", {}),
        ("RNN", {"activations": ["Relu"]}),
    ],
    ids=str,
)
def test_float_answers_are_those_of_the_operator(
    op: str,
    more: dict[str, object],
    direction: str,
    random: np.random.Generator,
    tmp_path: Path,
) -> None:
    if direction == "bidirectional" and "activations" in more:
        more = {"activations": [*more["activations"]] * 2}  # type: ignore[misc]
    proto = recurrent(op, random, direction=direction, **more)
    found, _ = opened(tmp_path, proto)
    sides = ("forward", "reverse") if direction == "bidirectional" else (direction,)
    assert [s.layer for s in found.sites] == [
        f"rec.{d}.{part}" for d in sides for part in ("input", "recurrence")
    ]
    assert not {"LSTM", "GRU", "RNN"} & {n.op_type for n in found.proto.graph.node}
    x = random.normal(size=(STEPS, BATCH, INPUTS)).astype(np.float32)
    names = [o.name for o in proto.graph.output]
    wanted = ort.InferenceSession(proto.SerializeToString()).run(names, {"x": x})
    for a, b in zip(Network(found.proto).run(names, {"x": x}), wanted, strict=True):
        assert a.shape == b.shape
        assert np.allclose(a, b, atol=2e-6)


def test_the_batch_may_stand_first(random: np.random.Generator, tmp_path: Path) -> None:
    """onnxruntime does not run this layout itself: the same weights with the sequence first do."""
    proto = recurrent("GRU", random)
    plain, _ = opened(tmp_path, proto)
    turned = ModelProto()
    turned.CopyFrom(proto)
    turned.graph.node[0].attribute.append(helper.make_attribute("layout", 1))
    shape = turned.graph.input[0].type.tensor_type.shape.dim
    shape[0].dim_value, shape[1].dim_value = BATCH, STEPS
    for tensor in turned.graph.initializer:
        if tensor.name == "h0":
            given = numpy_helper.to_array(tensor).transpose(1, 0, 2)
            tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(given), "h0"))
    found, _ = opened(tmp_path, turned, "turned")
    x = random.normal(size=(STEPS, BATCH, INPUTS)).astype(np.float32)
    y, last = Network(plain.proto).run(["y", "last"], {"x": x})
    other = Network(found.proto).run(["y", "last"], {"x": x.transpose(1, 0, 2)})
    assert np.allclose(other[0], y.transpose(2, 0, 1, 3), atol=1e-6)
    assert np.allclose(other[1], last.transpose(1, 0, 2), atol=1e-6)


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return np.asarray(1 / (1 + np.exp(-x)))


@pytest.mark.parametrize("bits", [(8, 8), (4, 6), (2, 3), (1, 4)])
def test_a_quantised_lstm_in_numpy(
    bits: tuple[int, int], random: np.random.Generator, tmp_path: Path
) -> None:
    proto = recurrent("LSTM", random)
    weights = {t.name: numpy_helper.to_array(t).astype(np.float64) for t in proto.graph.initializer}
    found, _ = opened(tmp_path, proto)
    x = random.normal(size=(STEPS, BATCH, INPUTS)).astype(np.float32)
    seen = observe(found, lambda: [{"x": x}], 1)
    weight_bits, bits_of_data = bits
    asked = plan(f"w{weight_bits}a{bits_of_data}")
    prepared = prepare(found, asked, MINMAX, lambda: seen)
    y = Network(rewrite(found, prepared.layout)).run(["y"], {"x": x, **prepared.feeds})[0]

    states = [weights["h0"][0]]
    states += list(ort.InferenceSession(proto.SerializeToString()).run(["y"], {"x": x})[0][:-1, 0])
    quantise = {
        name: activation_levels(
            float(np.min(values)), float(np.max(values)), bits_of_data, symmetric=False
        ).apply
        for name, values in {"x": x, "h": np.stack(states)}.items()
    }
    w, r = (
        quantise_weight(
            weights[n][0].astype(np.float32).T, integer(weight_bits), Scheme(), 1
        ).values
        for n in "wr"
    )
    h, c = weights["h0"][0], weights["c0"][0]
    bias = weights["b"][0].reshape(2, -1).sum(0)
    p_in, p_out, p_forget = weights["p"][0].reshape(3, HIDDEN)
    for step in range(STEPS):
        total = quantise["x"](x[step]) @ w + quantise["h"](h) @ r + bias
        i, o, f, g = np.split(total, 4, axis=1)
        i, f = _sigmoid(i + p_in * c), _sigmoid(f + p_forget * c)
        c = f * c + i * np.tanh(g)
        h = _sigmoid(o + p_out * c) * np.tanh(c)
        # A value on the border of two levels may fall to either side in single precision.
        assert np.allclose(y[step, 0], h, atol=1e-4), step


def classifier(folder: Path, random: np.random.Generator) -> Evaluator:
    """An LSTM over rows of numbers, its last state classified; labels are its own answers."""
    text = f"""
    <ir_version: 8, opset_import: ["" : 17]>
    net (float[B, {STEPS}, {INPUTS}] rows) => (float[B, 3] y) {{
      x = Transpose<perm = [1, 0, 2]>(rows)
      all, last = LSTM<hidden_size = {HIDDEN}>(x, w, r)
      axis = Constant<value_ints = [0]>()
      state = Squeeze(last, axis)
      y = MatMul(state, v)
    }}
    """
    proto = onnx.parser.parse_model(text)
    shapes = {"w": (1, 16, INPUTS), "r": (1, 16, HIDDEN), "v": (HIDDEN, 3)}
    for name, shape in shapes.items():
        array = random.normal(0, 1, shape).astype(np.float32)
        proto.graph.initializer.append(numpy_helper.from_array(array, name))
    onnx.save(proto, folder / "net.onnx")
    rows = random.normal(size=(200, STEPS, INPUTS)).astype(np.float32)
    session = ort.InferenceSession(proto.SerializeToString())
    labels = session.run(["y"], {"rows": rows})[0].argmax(1)
    np.savez(folder / "rows.npz", x=rows, y=labels)
    return evaluator(folder / "net.onnx", folder / "rows.npz")


def test_accuracy_noise_and_faults_of_an_lstm(random: np.random.Generator, tmp_path: Path) -> None:
    found = classifier(tmp_path, random)
    eight, two = (found.measure(plan(text), sqnr=True) for text in ("w8a8", "w2a2"))
    assert eight.reference == 100
    assert eight.value > 95 > two.value
    layers = {"all.forward.input", "all.forward.recurrence", "y"}
    assert set(eight.sqnr_db) == layers
    assert all(eight.sqnr_db[name] > two.sqnr_db[name] + 12 for name in layers)
    faulty = found.measure(plan("w8a8"), faults=Faults(0.05, 1))
    assert faulty.value < eight.value
    with pytest.raises(OptionError) as caught:
        integer_model(found.model, plan("w8a8"), found.prepare(plan("w8a8")))
    assert str(caught.value) == (
        "layer 'all.forward.recurrence': integer kernels run a product once, not step by step"
    )
