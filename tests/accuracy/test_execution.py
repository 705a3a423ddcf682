"""Executed plans against numpy, against onnxruntime without optimisation, and integer kernels."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from npubench.accuracy.calibrate import Calibration
from npubench.accuracy.evaluator import Evaluator
from npubench.accuracy.integer import integer_model
from npubench.accuracy.model import TrainedModel
from npubench.accuracy.plan import Prepared, prepare
from npubench.accuracy.quantise import activation_levels, quantise_weight
from npubench.accuracy.rewrite import rewrite
from npubench.accuracy.runtime import Network
from npubench.errors import OptionError
from npubench.ir import Scheme, integer
from tests.accuracy.models import MINMAX, evaluator, model, opened, plan

MLP = """
net (float[B, 6] x) => (float[B, 5] y) <float[6, 4] w1, float[5, 4] w2, float[5] b2> {
  h = MatMul(x, w1)
  r = Relu(h)
  y = Gemm<transB = 1>(r, w2, b2)
}
"""
ATTENTION = """
net (float[1, 4, 6] x) => (float[1, 4, 4] y) {
  t = Transpose<perm = [0, 2, 1]>(x)
  y = MatMul(x, t)
}
"""
WIDTHS = range(1, 17)


def _weights(random: np.random.Generator) -> dict[str, np.ndarray]:
    shapes = {"w1": (6, 4), "w2": (5, 4), "b2": (5,)}
    return {n: random.normal(size=s).astype(np.float32) for n, s in shapes.items()}


def _evaluator(tmp_path: Path, random: np.random.Generator, **more: object) -> Evaluator:
    proto = model(MLP, _weights(random))
    path = tmp_path / "net.onnx"
    path.write_bytes(proto.SerializeToString())
    data = random.normal(size=(64, 6)).astype(np.float32)
    np.savez(tmp_path / "data.npz", images=data, labels=random.integers(0, 5, 64))
    return evaluator(path, tmp_path / "data.npz", **more)


def _run(found: Evaluator, prepared: Prepared, *, optimise: bool = True) -> np.ndarray:
    runtime = Network(rewrite(found.model, prepared.layout), optimise=optimise)
    return found.outputs(runtime, prepared.feeds)


def _by_hand(found: Evaluator, bits: tuple[int, int], scheme: Scheme) -> np.ndarray:
    """The same network in numpy, with ranges at the extremes of the float activations."""
    weights = {t.name: numpy_helper.to_array(t) for t in found.model.proto.graph.initializer}
    x = found.dataset.read(found.indices).astype(np.float64)
    floats = [x, np.maximum(x @ weights["w1"], 0)]
    axes = (1, 0)
    value = x
    for layer, (name, axis) in enumerate(zip(("w1", "w2"), axes, strict=True)):
        levels = activation_levels(
            floats[layer].min(),
            floats[layer].max(),
            bits[1],
            symmetric=scheme.symmetric_activations,
        )
        weight = quantise_weight(weights[name], integer(bits[0]), scheme, axis)
        step = weight.scale.reshape(-1) * levels.scale
        matrix = weight.values.astype(np.float64)
        value = levels.apply(value) @ (matrix if axis == 1 else matrix.T)
        if layer == 0:
            value = np.maximum(value, 0)
    return np.asarray(value + np.rint(weights["b2"] / step) * step)


@pytest.mark.parametrize("bits", [(8, 8), (4, 6), (3, 2), (2, 16), (1, 1)])
@pytest.mark.parametrize(
    "scheme",
    [
        Scheme(),
        Scheme(per_channel=False),
        Scheme(per_channel=False, symmetric_weights=False, symmetric_activations=True),
    ],
    ids=["default", "per tensor", "asymmetric"],
)
def test_a_network_in_numpy(
    bits: tuple[int, int], scheme: Scheme, tmp_path: Path, random: np.random.Generator
) -> None:
    found = _evaluator(tmp_path, random, calibration=MINMAX)
    asked = replace(plan(f"w{bits[0]}a{bits[1]}"), scheme=scheme)
    assert np.allclose(
        _run(found, found.prepare(asked)), _by_hand(found, bits, scheme), rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize("bits", WIDTHS)
def test_optimised_equals_unoptimised_at_every_width(bits: int, digits: Evaluator) -> None:
    prepared = digits.prepare(plan(f"w{bits}a{bits}"))
    fast, plain = (_run(digits, prepared, optimise=on) for on in (True, False))
    assert np.array_equal(fast.argmax(1), plain.argmax(1))
    # What is left are sums in another order, which may move a value over a rounding step.
    differing = np.abs(fast - plain) > 1e-3 * np.abs(plain).max()
    assert differing.mean() < 0.01


@pytest.mark.parametrize("name", ["bf16", "fp16", "fp8e4m3", "fp8e5m2"])
def test_casts_survive_optimisation(name: str, digits: Evaluator) -> None:
    prepared = digits.prepare(plan(name))
    fast, plain = (_run(digits, prepared, optimise=on) for on in (True, False))
    assert np.allclose(fast, plain, rtol=1e-3, atol=0.05)
    assert not np.allclose(fast, digits.reference_outputs, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_fed_weights_equal_folded_ones(bits: int, digits: Evaluator) -> None:
    asked = plan(f"w{bits}a8")
    layers = [site.layer for site in digits.model.sites]
    folded, fed = digits.prepare(asked), digits.prepare(asked, fed=layers)
    assert sorted(n for n in fed.feeds if n.endswith(":weight")) == sorted(
        f"{layer}:weight" for layer in layers
    )
    assert np.allclose(_run(digits, folded), _run(digits, fed), rtol=1e-3, atol=2e-2)


def test_the_optimiser_that_requantises_float_weights_is_off(random: np.random.Generator) -> None:
    """3-bit weights between DequantizeLinear and QuantizeLinear stay what they are."""
    weight = quantise_weight(
        random.normal(size=(4, 3, 3, 3)).astype(np.float32), integer(3), Scheme(), 0
    ).values
    scale, zero = np.float32(0.05), np.uint8(128)
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"]),
        helper.make_node("Conv", ["d", "w"], ["c"]),
        helper.make_node("QuantizeLinear", ["c", "s", "z"], ["cq"]),
        helper.make_node("DequantizeLinear", ["cq", "s", "z"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [
            numpy_helper.from_array(np.array(scale), "s"),
            numpy_helper.from_array(np.array(zero), "z"),
            numpy_helper.from_array(weight * np.float32(0.37), "w"),
        ],
    )
    proto = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])
    feeds = {"x": random.normal(size=(1, 3, 8, 8)).astype(np.float32)}
    fast, plain = (Network(proto, optimise=on).run(["y"], feeds)[0] for on in (True, False))
    assert np.max(np.abs(fast - plain)) <= scale * 1.01  # a step where a sum was a tie
    assert np.mean(fast != plain) < 0.01


def test_a_product_of_two_activations(tmp_path: Path, random: np.random.Generator) -> None:
    found, _ = opened(tmp_path, model(ATTENTION, {}))
    site = found.sites[0]
    assert (site.weight, site.data, site.held) == (None, 0, 1)
    values = random.normal(size=(1, 4, 6)).astype(np.float32)

    from npubench.accuracy.observe import observe

    seen = observe(found, lambda: [{"x": values}], 1)
    prepared = prepare(found, plan("w4a6"), MINMAX, lambda: seen)
    out = Network(rewrite(found, prepared.layout)).run(["y"], {"x": values, **prepared.feeds})[0]
    left, right = (
        activation_levels(values.min(), values.max(), bits, symmetric=False).apply(values[0])
        for bits in (6, 4)
    )
    assert np.allclose(out[0], left @ right.T, atol=1e-4)


def test_accumulators_saturate(tmp_path: Path, random: np.random.Generator) -> None:
    found = _evaluator(tmp_path, random, calibration=MINMAX)
    wide, narrow = (
        _run(found, found.prepare(plan("w8a8", accumulator_bits=bits))) for bits in (40, 12)
    )
    assert np.allclose(wide, _run(found, found.prepare(plan("w8a8"))), atol=1e-4)
    assert np.abs(narrow).max() < np.abs(wide).max() / 2


def test_bias_correction_restores_the_mean(tmp_path: Path, random: np.random.Generator) -> None:
    def mean_error(*, correct: bool) -> float:
        calibration = Calibration("minmax", correct_bias=correct)
        found = _evaluator(tmp_path, np.random.default_rng(3), calibration=calibration)
        layer = found.model.sites[0].layer
        fp32 = plan("fp32").default
        asked = replace(plan("fp32"), layers={layer: replace(fp32, weight=integer(2))})
        prepared = found.prepare(asked)
        outputs = ["h"]
        feeds = {"x": found.dataset.read(found.indices)}
        rough = Network(rewrite(found.model, prepared.observed(outputs))).run(outputs, feeds)[0]
        clean = Network(rewrite(found.model, prepared.floating(outputs))).run(outputs, feeds)[0]
        return float(np.max(np.abs((rough - clean).mean(0))))

    del random
    assert mean_error(correct=False) > 0.01
    assert mean_error(correct=True) < 1e-5


def test_eight_bits_agree_with_integer_kernels(digits: Evaluator) -> None:
    asked = plan("w8a8")
    prepared = digits.prepare(asked)
    proto = integer_model(digits.model, asked, prepared)
    session = ort.InferenceSession(proto.SerializeToString())
    assert session.get_inputs()[0].type == "tensor(float)"
    whole = digits.outputs(Network(proto), {})
    fake = _run(digits, prepared)
    assert np.array_equal(whole.argmax(1), fake.argmax(1))
    assert np.allclose(whole, fake, atol=0.05 * np.abs(fake).max())


def test_integer_kernels_run_eight_bits_only(digits: Evaluator) -> None:
    asked = plan("w4a8")
    with pytest.raises(OptionError) as caught:
        integer_model(digits.model, asked, digits.prepare(asked))
    assert str(caught.value) == "layer 'conv1': integer kernels run w8a8, not w4a8"


def test_batch_normalisation_is_folded(tmp_path: Path, random: np.random.Generator) -> None:
    text = """
    net (float[B, 3, 6, 6] x) => (float[B, 4, 6, 6] y)
      <float[4, 3, 3, 3] w, float[4] g, float[4] b, float[4] m, float[4] v> {
      c = Conv<pads = [1, 1, 1, 1]>(x, w)
      y = BatchNormalization<epsilon = 0.001>(c, g, b, m, v)
    }
    """
    weights = {n: random.uniform(0.5, 2, 4).astype(np.float32) for n in "gbmv"}
    weights["w"] = random.normal(size=(4, 3, 3, 3)).astype(np.float32)
    proto = model(text, weights)
    found, _ = opened(tmp_path, proto)
    assert [node.op_type for node in found.proto.graph.node] == ["Conv"]
    x = random.normal(size=(2, 3, 6, 6)).astype(np.float32)
    before = ort.InferenceSession(proto.SerializeToString()).run(None, {"x": x})[0]
    assert np.allclose(Network(found.proto).run(["y"], {"x": x})[0], before, atol=1e-4)
    assert found.sites[0].bias is not None


def _layers(found: TrainedModel) -> list[tuple[str, int, int, int]]:
    return [(s.op, s.channels, s.data_channels, s.output_channels) for s in found.sites]


def test_where_operands_have_their_channels(tmp_path: Path, random: np.random.Generator) -> None:
    text = """
    net (float[B, 2, 4] x) => (float[B, 3, 5] y) <float[3, 2] l, float[4, 5] r> {
      a = MatMul(l, x)
      y = MatMul(a, r)
    }
    """
    weights = {"l": random.normal(size=(3, 2)), "r": random.normal(size=(4, 5))}
    proto = model(text, {n: w.astype(np.float32) for n, w in weights.items()})
    found, _ = opened(tmp_path, proto)
    assert _layers(found) == [("MatMul", 0, -2, -2), ("MatMul", 1, -1, -1)]
