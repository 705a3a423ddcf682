"""Quantised operators, and the precision plan that a model's annotations state."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from npubench.ir import LoopNest, MoveLayer, Role, VectorKind
from tests.frontend.lower_models import (
    lower,
    mac_layer,
    make_model,
    moves,
    run,
    single,
    unknowns,
    values,
    vectors,
)

SCALE = np.array(0.5, np.float32)
U8, I8 = np.array(0, np.uint8), np.array(0, np.int8)
QONNX = "qonnx.custom_op.general"


def _quantised_pair(name: str, zero: str = "u8") -> list[object]:
    """``name`` through a quantiser to ``name_q`` and back to ``name_dq``."""
    return [
        helper.make_node("QuantizeLinear", [name, "scale", zero], [f"{name}_q"]),
        helper.make_node("DequantizeLinear", [f"{name}_q", "scale", zero], [f"{name}_dq"]),
    ]


def _qdq_model(between: list[object], data: str, weight_dtype: type = np.int8) -> ModelProto:
    """x [2, 4] -> Q -> DQ -> ``between`` -> MatMul with a weight behind a DequantizeLinear."""
    zero = "i8" if weight_dtype is np.int8 else "u8"
    nodes = [
        *_quantised_pair("x"),
        helper.make_node("DequantizeLinear", ["w", "scale", zero], ["w_dq"]),
        *between,
        helper.make_node("MatMul", [data, "w_dq"], ["y"], name="product"),
    ]
    held = {"w": values(4, 3, dtype=weight_dtype), "scale": SCALE, "u8": U8, "i8": I8}
    return make_model(nodes, {"x": values(2, 4)}, held, ["y"])


@pytest.mark.parametrize(
    ("between", "data"),
    [
        ([], "x_dq"),
        ([helper.make_node("Relu", ["x_dq"], ["r"])], "r"),
        (
            [
                helper.make_node("Transpose", ["x_dq"], ["t"], perm=[1, 0]),
                helper.make_node("Transpose", ["t"], ["u"], perm=[1, 0]),
            ],
            "u",
        ),
        (
            [
                helper.make_node("Split", ["x_dq"], ["l", "r"], axis=1, num_outputs=2),
                helper.make_node("Concat", ["r", "l"], ["c"], axis=1),
            ],
            "c",
        ),
    ],
)
def test_formats_are_found_through_what_keeps_the_grid(between: list[object], data: str) -> None:
    loaded = lower(_qdq_model(between, data))
    assert loaded.plan is not None
    precision = loaded.plan.of("product")
    assert str(precision) == "w8a8"
    assert (precision.weight.name, precision.activation.name) == ("int8", "uint8")
    assert str(loaded.plan.default) == "fp32"
    # The weight is stored as eight bits.
    assert loaded.network.tensors[mac_layer(loaded.network).weight].dtype.bits == 8


def test_arithmetic_ends_a_quantised_grid() -> None:
    """Behind an Add the activation is float again, the weight is still of eight bits."""
    loaded = lower(_qdq_model([helper.make_node("Add", ["x_dq", "x_dq"], ["s"])], "s"))
    assert loaded.plan is not None
    assert str(loaded.plan.of("product")) == "w:int8 a:fp32"


def test_layers_without_annotation_keep_their_type() -> None:
    model = _qdq_model([], "x_dq")
    model.graph.node.append(helper.make_node("MatMul", ["y", "v"], ["z"], name="plain"))
    model.graph.initializer.append(numpy_helper.from_array(values(3, 5), "v"))
    model.graph.output[0].name = "z"
    plan = lower(model).plan
    assert plan is not None
    assert {name: str(precision) for name, precision in plan.layers.items()} == {
        "product": "w8a8",
        "plain": "fp32",
    }


def test_quantiser_work_and_the_view_behind_it() -> None:
    network = lower(_qdq_model([], "x_dq")).network
    (quantise,) = vectors(network)
    assert (quantise.kind, quantise.alu_ops) == (VectorKind.QUANTIZE, 3 * 8)
    (view,) = moves(network)
    assert isinstance(view, MoveLayer)
    assert view.is_view
    assert view.approximation == ""


def test_two_quantised_activations() -> None:
    """Attention products: both operands state their format."""
    nodes = [
        *_quantised_pair("q"),
        *_quantised_pair("k", "i8"),
        helper.make_node("MatMul", ["q_dq", "k_dq"], ["y"], name="scores"),
    ]
    fed = {"q": values(2, 5, 4), "k": values(2, 4, 5)}
    plan = lower(make_model(nodes, fed, {"scale": SCALE, "u8": U8, "i8": I8}, ["y"])).plan
    assert plan is not None
    assert plan.of("scores").activation.name == "uint8"
    assert plan.of("scores").weight.name == "int8"


def _qonnx_model(op: str, bits: float, **attributes: object) -> ModelProto:
    def quant(source: str, result: str) -> object:
        operands = {
            "Quant": [source, "scale", "zero", "bits"],
            "BipolarQuant": [source, "scale"],
            "Trunc": [source, "scale", "zero", "eight", "bits"],
        }[op]
        return helper.make_node(op, operands, [result], domain=QONNX, **attributes)

    nodes = [
        quant("x", "xq"),
        helper.make_node("Quant", ["w", "scale", "zero", "three"], ["wq"], domain=QONNX, signed=1),
        helper.make_node("MatMul", ["xq", "wq"], ["y"], name="product"),
    ]
    held = {
        "w": values(4, 3),
        "scale": SCALE,
        "zero": np.array(0, np.float32),
        "bits": np.array(bits, np.float32),
        "three": np.array(3, np.float32),
        "eight": np.array(8, np.float32),
    }
    return make_model(nodes, {"x": values(2, 4)}, held, ["y"])


@pytest.mark.parametrize(
    ("op", "bits", "attributes", "expected", "work"),
    [
        ("Quant", 4, {"signed": 0, "narrow": 0}, "uint4", 3),
        ("Quant", 5, {"signed": 1, "narrow": 1}, "int5", 3),
        ("BipolarQuant", 1, {}, "int1", 1),
        ("Trunc", 6, {}, "int6", 2),
    ],
)
def test_qonnx(op: str, bits: int, attributes: dict, expected: str, work: int) -> None:
    loaded = lower(_qonnx_model(op, bits, **attributes))
    assert loaded.plan is not None
    precision = loaded.plan.of("product")
    assert (precision.weight.name, precision.activation.name) == ("int3", expected)
    (quantise,) = vectors(loaded.network)
    assert (quantise.kind, quantise.alu_ops) == (VectorKind.QUANTIZE, work * 8)


def test_qonnx_width_that_is_no_whole_number() -> None:
    (layer,) = unknowns(lower(_qonnx_model("Quant", 2.5)).network)
    assert layer.reason == "its bit width is not a known whole number from 1 to 64"


def test_matmul_integer() -> None:
    operands = [("a", values(2, 5, 4, dtype=np.uint8)), ("b", values(4, 3, dtype=np.int8))]
    model, fed = single("MatMulInteger", operands, held=["b"], output_type=TensorProto.INT32)
    loaded = lower(model)
    assert loaded.network.tensors["y"].shape == run(model, fed)[0].shape
    assert loaded.network.macs == 2 * 5 * 4 * 3
    assert loaded.plan is not None
    assert str(loaded.plan.of("node")) == "w8a8"


def test_qlinear_matmul_requantises() -> None:
    operands = [
        *(("a", values(5, 4, dtype=np.uint8)), ("as", SCALE), ("az", U8)),
        *(("b", values(4, 3, dtype=np.uint8)), ("bs", SCALE), ("bz", U8)),
        *(("ys", SCALE), ("yz", U8)),
    ]
    held = [n for n, _ in operands if n != "a"]
    model, fed = single("QLinearMatMul", operands, held, output_type=TensorProto.UINT8)
    network = lower(model).network
    assert network.tensors["y"].shape == run(model, fed)[0].shape
    assert network.macs == 5 * 4 * 3
    (requantise,) = vectors(network)
    assert (requantise.name, requantise.alu_ops) == ("node.requantise", 3 * 15)


def test_dynamic_quantisation_of_a_product() -> None:
    """Range and quantisation of A: 5 per element; the sums are scaled and biased."""
    operands = [
        *(("a", values(5, 4)), ("b", values(4, 3, dtype=np.int8))),
        *(("bs", np.full(1, 0.5, np.float32)), ("bz", np.zeros(1, np.int8)), ("bias", values(3))),
    ]
    held = [n for n, _ in operands if n != "a"]
    model, fed = single("DynamicQuantizeMatMul", operands, held, domain="com.microsoft")
    loaded = lower(model)
    assert loaded.network.tensors["y"].shape == run(model, fed)[0].shape
    assert loaded.network.macs == 5 * 4 * 3
    assert [layer.alu_ops for layer in vectors(loaded.network)] == [5 * 20, 2 * 15]
    assert loaded.plan is not None
    assert loaded.plan.describe() == "1 x w8a8"


def test_four_bit_weights_appear_unpacked() -> None:
    """N 8, K 64, blocks of 32: packed as [8, 2, 16] bytes, multiplied as [8, 64] numbers."""
    operands = [
        ("a", values(2, 5, 64)),
        ("b", np.zeros((8, 2, 16), np.uint8)),
        ("s", values(16)),
    ]
    model, fed = single(
        "MatMulNBits",
        operands,
        held=["b", "s"],
        domain="com.microsoft",
        N=8,
        K=64,
        bits=4,
        block_size=32,
    )
    loaded = lower(model)
    network = loaded.network
    assert network.tensors["y"].shape == run(model, fed)[0].shape == (2, 5, 8)
    layer = mac_layer(network)
    assert layer.nest == LoopNest(B=2, OX=5, C=64, K=8, input_extent=(1, 1, 5))
    assert layer.inputs == ("a", "b.unpacked", "s")
    weight = network.tensors["b.unpacked"]
    assert (weight.shape, str(weight.dtype), weight.role) == ((8, 64), "int4", Role.WEIGHT)
    assert network.parameters == 8 * 64 + 16
    assert loaded.plan is not None
    assert str(loaded.plan.of("node")) == "w:int4 a:fp32"


def test_qlinear_concat_and_pool() -> None:
    x = values(1, 2, 4, 4, dtype=np.uint8)
    operands = [("ys", SCALE), ("yz", U8), ("x", x), ("xs", SCALE), ("xz", U8)]
    held = [n for n, _ in operands if n != "x"]
    model, _ = single(
        "QLinearConcat",
        operands,
        held,
        domain="com.microsoft",
        output_type=TensorProto.UINT8,
        axis=1,
    )
    assert vectors(lower(model).network)[0].alu_ops == 3 * 32
    pool = [("x", x), ("xs", SCALE), ("xz", U8), ("ys", SCALE), ("yz", U8)]
    model, _ = single(
        "QLinearGlobalAveragePool",
        pool,
        held,
        domain="com.microsoft",
        output_type=TensorProto.UINT8,
        channels_last=0,
    )
    (layer,) = vectors(lower(model).network)
    assert (layer.alu_ops, layer.window) == (2 * (16 + 1 + 3), 16)


def test_finn_thresholds_state_their_type() -> None:
    """Three thresholds a channel make two bits: three comparisons an element."""
    nodes = [
        helper.make_node("MultiThreshold", ["x", "t"], ["q"], domain=QONNX, out_dtype="UINT2"),
        helper.make_node("MatMul", ["q", "w"], ["y"], name="product"),
    ]
    held = {"t": values(4, 3), "w": values(4, 3)}
    loaded = lower(make_model(nodes, {"x": values(2, 4)}, held, ["y"]))
    assert vectors(loaded.network)[0].alu_ops == 3 * 8
    assert loaded.plan is not None
    assert str(loaded.plan.of("product")) == "w:fp32 a:uint2"
