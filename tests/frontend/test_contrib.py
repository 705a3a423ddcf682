"""Oracle: contributed operators have the shapes that onnxruntime gives them when it runs them."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper, numpy_helper

from tests.frontend.onnx_text import model, read, refusal

F, U8, I8, I32 = np.float32, np.uint8, np.int8, np.int32


def zeros(*shape: int, dtype: type = np.float32) -> np.ndarray:
    return np.zeros(shape, dtype)


ONE, ZERO = np.ones((), F), np.zeros((), U8)
HIDDEN = {"num_heads": 2}
# Case: operator, attributes, operands (None is left out), names of results, operands held.
CASES: dict[str, tuple[str, dict[str, Any], list[np.ndarray | None], int, set[int]]] = {
    "gelu": ("Gelu", {}, [zeros(2, 3)], 1, set()),
    "fast gelu": ("FastGelu", {}, [zeros(2, 3), zeros(3)], 1, set()),
    "bias gelu": ("BiasGelu", {}, [zeros(2, 3), zeros(3)], 1, set()),
    "quick gelu": ("QuickGelu", {}, [zeros(2, 3)], 1, set()),
    "fused matmul": ("FusedMatMul", {"transB": 1}, [zeros(2, 3, 4), zeros(2, 5, 4)], 1, set()),
    "fused matmul, both": (
        "FusedMatMul",
        {"transA": 1, "transB": 1},
        [zeros(2, 4, 3), zeros(2, 5, 4)],
        1,
        set(),
    ),
    "fused gemm": (
        "FusedGemm",
        {"activation": "Relu", "transB": 1},
        [zeros(3, 4), zeros(5, 4), zeros(5)],
        1,
        set(),
    ),
    "fused conv": (
        "FusedConv",
        {"activation": "Relu", "pads": [1, 1, 1, 1], "strides": [2, 2]},
        [zeros(1, 3, 9, 9), zeros(4, 3, 3, 3), zeros(4)],
        1,
        set(),
    ),
    "skip layer norm": (
        "SkipLayerNormalization",
        {},
        [zeros(2, 3, 8), zeros(2, 3, 8), zeros(8), zeros(8), zeros(8)],
        4,
        set(),
    ),
    "skip rms norm": (
        "SkipSimplifiedLayerNormalization",
        {},
        [zeros(2, 3, 8), zeros(2, 3, 8), zeros(8)],
        4,
        set(),
    ),
    "embedding": (
        "EmbedLayerNormalization",
        {},
        [
            zeros(2, 3, dtype=I32),
            zeros(2, 3, dtype=I32),
            zeros(10, 8),
            zeros(10, 8),
            zeros(2, 8),
            zeros(8),
            zeros(8),
        ],
        2,
        set(),
    ),
    "attention": (
        "Attention",
        HIDDEN,
        [zeros(2, 3, 8), zeros(8, 24), zeros(24), None, zeros(2, 2, 2, 5, 4)],
        2,
        set(),
    ),
    "attention, unequal": (
        "Attention",
        {**HIDDEN, "qkv_hidden_sizes": [8, 8, 4]},
        [zeros(2, 3, 8), zeros(8, 20), zeros(20)],
        1,
        set(),
    ),
    "multi-head": (
        "MultiHeadAttention",
        HIDDEN,
        [zeros(2, 3, 8), zeros(2, 5, 8), zeros(2, 5, 8)],
        1,
        set(),
    ),
    "multi-head with a past": (
        "MultiHeadAttention",
        HIDDEN,
        [
            zeros(2, 3, 8),
            zeros(2, 3, 8),
            zeros(2, 3, 8),
            None,
            None,
            None,
            zeros(2, 2, 7, 4),
            zeros(2, 2, 7, 4),
        ],
        3,
        set(),
    ),
    "grouped": (
        "GroupQueryAttention",
        {"num_heads": 4, "kv_num_heads": 2},
        [
            zeros(1, 3, 32),
            zeros(1, 3, 16),
            zeros(1, 3, 16),
            None,
            None,
            np.array([[2]], I32),
            np.array([3], I32),
        ],
        3,
        {5, 6},
    ),
    "grouped, packed, with a past": (
        "GroupQueryAttention",
        {"num_heads": 4, "kv_num_heads": 2},
        [
            zeros(1, 1, 64),
            None,
            None,
            zeros(1, 2, 6, 8),
            zeros(1, 2, 6, 8),
            np.array([[6]], I32),
            np.array([7], I32),
        ],
        3,
        {5, 6},
    ),
    "rotary": (
        "RotaryEmbedding",
        {},
        [zeros(2, 3, 16), np.zeros((1,), np.int64), zeros(8, 8), zeros(8, 8)],
        1,
        set(),
    ),
    "four-bit matmul": (
        "MatMulNBits",
        {"K": 32, "N": 6, "bits": 4, "block_size": 16},
        [zeros(2, 3, 32), zeros(6, 2, 8, dtype=U8), zeros(6, 2)],
        1,
        {1, 2},
    ),
    "dynamic quantised matmul": (
        "DynamicQuantizeMatMul",
        {},
        [zeros(2, 3, 4), zeros(4, 5, dtype=U8), ONE, ZERO],
        1,
        {1, 2, 3},
    ),
    "integers to float": (
        "MatMulIntegerToFloat",
        {},
        [zeros(3, 4, dtype=U8), zeros(4, 5, dtype=U8), ONE, ONE],
        1,
        set(),
    ),
    "quantised gemm": (
        "QGemm",
        {"transB": 1},
        [zeros(3, 4, dtype=U8), ONE, ZERO, zeros(5, 4, dtype=U8), ONE, ZERO, None, ONE, ZERO],
        1,
        {3, 4, 5, 7, 8},
    ),
    "quantised add": (
        "QLinearAdd",
        {},
        [zeros(2, 3, dtype=U8), ONE, ZERO, zeros(3, dtype=U8), ONE, ZERO, ONE, ZERO],
        1,
        {1, 2, 4, 5, 6, 7},
    ),
    "quantised pool": (
        "QLinearAveragePool",
        {"kernel_shape": [2, 2], "strides": [2, 2]},
        [zeros(1, 3, 8, 8, dtype=U8), ONE, ZERO, ONE, ZERO],
        1,
        {1, 2, 3, 4},
    ),
    "quantised pool, channels last": (
        "QLinearAveragePool",
        {"kernel_shape": [2, 2], "strides": [2, 2], "channels_last": 1},
        [zeros(1, 8, 8, 3, dtype=U8), ONE, ZERO, ONE, ZERO],
        1,
        {1, 2, 3, 4},
    ),
    "quantised global pool": (
        "QLinearGlobalAveragePool",
        {},
        [zeros(1, 3, 8, 8, dtype=U8), ONE, ZERO, ONE, ZERO],
        1,
        {1, 2, 3, 4},
    ),
    "quantised concat": (
        "QLinearConcat",
        {"axis": 1},
        [ONE, ZERO, zeros(1, 3, dtype=U8), ONE, ZERO, zeros(1, 4, dtype=U8), ONE, ZERO],
        1,
        {0, 1, 3, 4, 6, 7},
    ),
    "quantised sigmoid": (
        "QLinearSigmoid",
        {},
        [zeros(2, 3, dtype=U8), ONE, ZERO, ONE, ZERO],
        1,
        {1, 2, 3, 4},
    ),
    "quantise": ("QuantizeLinear", {}, [zeros(2, 3), ONE, np.zeros((), I8)], 1, {1, 2}),
    "dequantise": ("DequantizeLinear", {}, [zeros(2, 3, dtype=U8), ONE, ZERO], 1, {1, 2}),
    "quantised convolution, channels last": (
        "QLinearConv",
        {"channels_last": 1, "pads": [1, 1, 1, 1]},
        [
            zeros(1, 8, 8, 3, dtype=U8),
            ONE,
            ZERO,
            zeros(4, 3, 3, 3, dtype=U8),
            ONE,
            ZERO,
            ONE,
            ZERO,
        ],
        1,
        {1, 2, 3, 4, 5, 6, 7},
    ),
    "quantised attention": (
        "QAttention",
        HIDDEN,
        [
            zeros(1, 3, 8, dtype=U8),
            zeros(8, 24, dtype=U8),
            zeros(24),
            ONE,
            ONE,
            None,
            ZERO,
            ZERO,
        ],
        1,
        {1, 2, 3, 4, 6, 7},
    ),
    "quantised leaky relu": (
        "QLinearLeakyRelu",
        {},
        [zeros(2, 3, dtype=U8), ONE, ZERO, ONE, ZERO],
        1,
        {1, 2, 3, 4},
    ),
    "quantised softmax": (
        "QLinearSoftmax",
        {"opset": 13},
        [zeros(2, 3, dtype=U8), ONE, ZERO, ONE, ZERO],
        1,
        {1, 2, 3, 4},
    ),
    "quantised product": (
        "QLinearMul",
        {},
        [zeros(2, 1, dtype=U8), ONE, ZERO, zeros(3, dtype=U8), ONE, ZERO, ONE, ZERO],
        1,
        {1, 2, 4, 5, 6, 7},
    ),
    "pool, channels last": (
        "NhwcMaxPool",
        {"kernel_shape": [2, 2], "strides": [2, 2]},
        [zeros(1, 8, 6, 3, dtype=U8)],
        1,
        set(),
    ),
    "four-bit table": (
        "GatherBlockQuantized",
        {"block_size": 16, "bits": 4, "gather_axis": 0, "quantize_axis": 1},
        [zeros(10, 16, dtype=U8), np.zeros((2, 3), np.int64), zeros(10, 2)],
        1,
        {0, 2},
    ),
    "dynamic quantised lstm": (
        "DynamicQuantizeLSTM",
        {"hidden_size": 5},
        [
            zeros(7, 2, 4),
            zeros(1, 4, 20, dtype=U8),
            zeros(1, 5, 20, dtype=U8),
            None,
            None,
            None,
            None,
            None,
            np.ones((1,), F),
            np.zeros((1,), U8),
            np.ones((1,), F),
            np.zeros((1,), U8),
        ],
        3,
        {1, 2, 8, 9, 10, 11},
    ),
    "inverse": ("Inverse", {}, [np.eye(3, dtype=F)], 1, set()),
    "four-bit float matmul": (
        "MatMulBnb4",
        {"K": 32, "N": 6, "block_size": 16, "quant_type": 1},
        [zeros(2, 3, 32), zeros(96, dtype=U8), zeros(12)],
        1,
        {1, 2},
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_shapes_and_types_are_those_of_a_run(case):
    op, attributes, operands, results, held = CASES[case]
    names = ["" if a is None else f"i{i}" for i, a in enumerate(operands)]
    outputs = [f"o{i}" for i in range(results)]
    if op.startswith("Skip"):
        outputs = [outputs[0], "", "", outputs[3]]  # the CPU gives no statistics
    node = helper.make_node(op, names, outputs, domain="com.microsoft", **attributes)
    given = {n: a for n, a in zip(names, operands, strict=True) if n and a is not None}
    graph = helper.make_graph(
        [node],
        "g",
        [
            helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape)
            for n, a in given.items()
            if int(n[1:]) not in held
        ],
        [onnx.ValueInfoProto(name=o) for o in outputs if o],
        [numpy_helper.from_array(given[f"i{i}"], f"i{i}") for i in sorted(held)],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    proto = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(
        proto.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    expected = session.run(None, {i.name: given[i.name] for i in session.get_inputs()})
    got = read(proto, weight_inputs=[])
    assert [got.values[o].shape for o in got.outputs] == [r.shape for r in expected]
    formats = {"float32": "fp32"}
    assert [got.values[o].dtype.name for o in got.outputs] == [
        formats.get(r.dtype.name, r.dtype.name) for r in expected
    ]


MISFITS = {
    "heads": (
        "y = com.microsoft.Attention <num_heads = 3> (x, w)",
        "width 8 does not divide into 3 heads",
    ),
    "rows": ("y = com.microsoft.FusedMatMul (x, w, w)", "8 columns against 7 rows"),
    "missing attribute": (
        "y = com.microsoft.MatMulNBits <N = 4> (x, w)",
        "attribute 'K' is missing",
    ),
    "missing operand": ("y = com.microsoft.BiasGelu ()", "operand 0 is left out"),
    "rank": (
        "y = com.microsoft.EmbedLayerNormalization (x, w, w)",
        "operand 0 has 3 axes, not 2",
    ),
}


@pytest.mark.parametrize("case", MISFITS)
def test_operands_that_do_not_fit(case):
    step, reason = MISFITS[case]
    rows = 7 if case == "rows" else 8
    text = f"g (float[2, 3, 8] x) => (y) <float[{rows}, 24] w> {{ {step} }}"
    message = refusal(text, domains={"com.microsoft": 1})
    assert f": its operands do not fit: {reason}" in message


def test_a_layout_of_one_cpu_is_refused():
    text = "g (float[1, 8, 6, 6] x) => (y) { y = com.microsoft.nchwc.ReorderInput(x) }"
    assert refusal(text) == (
        "node 'y' (com.microsoft.nchwc.ReorderInput): the model was optimised by onnxruntime for "
        "the memory layout of one CPU\n"
        "  give the model before optimisation, or save it at ORT_ENABLE_EXTENDED"
    )


def test_optimised_models_leave_the_domain_out():
    graph = read(
        "g (float[2, 3, 8] x) => (y) <float[8] w> { y = SimplifiedLayerNormalization(x, w) }"
    )
    assert graph.values["y"].shape == (2, 3, 8)


def test_im2col_of_qonnx():
    """[N, H, W, C] to [N, rows, columns, kernel x C]: 2-wide pads, 3x3 windows, stride 2."""
    graph = read(
        """g (float[1, 8, 6, 3] x) => (y) {
             y = qonnx.custom_op.general.Im2Col <kernel_size = [3, 3], stride = [2, 2],
                                                 pad_amount = [1, 1, 1, 1]> (x)
           }"""
    )
    assert graph.values["y"].shape == (1, 4, 3, 27)


def test_a_function_that_is_known_as_an_operator_is_not_expanded():
    proto = model(
        "g (float[2, 3] x) => (y) { y = com.microsoft.Gelu(x) }", domains={"com.microsoft": 1}
    )
    proto.functions.append(
        helper.make_function(
            "com.microsoft",
            "Gelu",
            ["a"],
            ["b"],
            [helper.make_node("Erf", ["a"], ["b"])],
            [helper.make_opsetid("", 17)],
        )
    )
    assert [n.op for n in read(proto).nodes] == ["Gelu"]
