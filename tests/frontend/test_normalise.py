"""Batch normalisation after a layer becomes part of it; anywhere else it stays."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper

from tests.frontend.onnx_text import model, read

NET = """g (float[1, 4, 8, 8] x) => ({outputs}) <
    float[6, 4, 3, 3] w, float[4, 6, 3, 3] wt, float[6] b, float[6] g, float[6] s, float[6] m,
    float[6] v, int8[6, 4, 3, 3] q, float one = {{1.0}}
> {{ {steps} }}"""
NORM = "y = BatchNormalization(c, g, s, m, v)"


def net(steps: str, outputs: str = "y") -> str:
    return NET.format(steps=steps, outputs=outputs)


@pytest.mark.parametrize("layer", ["Conv(x, w)", "ConvTranspose(x, wt)"])
def test_a_bias_appears_where_there_was_none(layer):
    graph = read(net(f"[conv] c = {layer} [bn] {NORM}"))
    assert [(n.name, n.outputs) for n in graph.nodes] == [("conv", ("y",))]
    assert graph.nodes[0].inputs[2] == "conv.bias"
    bias = graph.values["conv.bias"]
    assert (bias.shape, bias.is_weight, bias.dtype.name) == ((6,), True, "fp32")
    assert set(graph.weights) == {graph.nodes[0].inputs[1], "conv.bias"}
    assert graph.assumptions == ("BatchNormalization folded into the layer before it: 1 ('bn')",)


def test_a_bias_that_is_there_takes_the_shift():
    graph = read(net(f"c = Conv(x, w, b) {NORM}"))
    assert graph.nodes[0].inputs == ("x", "w", "b")
    assert graph.weights == ("w", "b")


def test_gemm_takes_it_too():
    graph = read(
        """g (float[1, 4] x) => (y) <float[4, 6] w, float[6] b, float[6] p> {
             c = Gemm(x, w, b)
             y = BatchNormalization(c, p, p, p, p)
           }"""
    )
    assert [n.op for n in graph.nodes] == ["Gemm"]


def test_an_activation_may_follow():
    graph = read(net("c = Conv(x, w) n = BatchNormalization(c, g, s, m, v) y = Relu(n)"))
    assert [(n.op, n.inputs[0]) for n in graph.nodes] == [("Conv", "x"), ("Relu", "n")]


@pytest.mark.parametrize(
    ("steps", "outputs"),
    [
        (f"c = Conv(x, w) {NORM}", "y, c"),  # the result before it is given back
        (f"c = Conv(x, w) {NORM} z = Relu(c)", "y, z"),  # somebody else reads it
        (f"d = Conv(x, w) c = Relu(d) {NORM}", "y"),  # not directly behind
        (f"f = DequantizeLinear(q, one) c = Conv(x, f) {NORM}", "y"),  # integers take no scale
        (f"c = Conv(x, w) d = Conv(x, w) {NORM} z = Relu(d)", "y, z"),  # the weight is shared
    ],
)
def test_it_stays_where_it_cannot_be_folded(steps, outputs):
    graph = read(net(steps, outputs))
    assert "BatchNormalization" in [n.op for n in graph.nodes]
    assert graph.assumptions == ()


def test_it_stays_where_its_scale_is_computed():
    text = net(f"k = ReduceSum <keepdims = 0> (x) t = Mul(k, g) c = Conv(x, w) {NORM}")
    graph = read(text.replace("(c, g,", "(c, t,"))
    assert graph.nodes[-1].op == "BatchNormalization"


FLOAT_NET = """g (float[1, 4, 8, 8] x) => (float[1, 6, 6, 6] y) <float[6, 4, 3, 3] w, float[6] b,
    float[6] g, float[6] s, float[6] m, float[6] v> { steps }"""


def filled(steps: str, values: dict[str, np.ndarray]) -> onnx.ModelProto:
    proto = model(FLOAT_NET.replace("steps", steps))
    for tensor in proto.graph.initializer:
        array = values[tensor.name].astype(np.float32)
        tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    return proto


def test_the_equation_holds():
    """What the folded graph stands for gives the same numbers in onnxruntime."""
    rng = np.random.default_rng(0)
    values = {n: rng.uniform(0.5, 1.0, 6) for n in "bgsmv"}
    values["w"] = rng.normal(size=(6, 4, 3, 3))
    before = filled(f"c = Conv(x, w, b) {NORM}", values)
    scale = values["g"] / np.sqrt(values["v"] + 1e-5)
    values["w"] = values["w"] * scale[:, None, None, None]
    values["b"] = scale * (values["b"] - values["m"]) + values["s"]
    after = filled("y = Conv(x, w, b)", values)
    x = rng.normal(size=(1, 4, 8, 8)).astype(np.float32)
    np.testing.assert_allclose(run(after, x), run(before, x), rtol=1e-4, atol=1e-4)
    assert [(n.op, n.inputs) for n in read(before).nodes] == [
        (n.op, n.inputs) for n in read(after).nodes
    ]


def run(proto: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(
        proto.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    (result,) = session.run(None, {"x": x})
    return np.asarray(result)
