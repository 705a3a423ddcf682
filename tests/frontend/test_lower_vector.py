"""Element work: operations of small cases counted by hand, shapes by onnxruntime."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper

from npubench.errors import ModelError
from npubench.ir import VectorKind, VectorLayer
from tests.frontend.lower_models import lower, make_model, run, single, unknowns, values, vectors

X = values(2, 3, 8, 6)
POOL = {"kernel_shape": [2, 3], "strides": [2, 3]}

# op, operands, attributes, kind, alu, special, window. The input has 288 elements, each pool
# writes 2 x 3 x 4 x 2 = 48 elements of 6 each.
CASES = [
    ("Relu", [X], {}, VectorKind.ACTIVATION, 288, 0, 1),
    ("Sigmoid", [X], {}, VectorKind.ACTIVATION, 2 * 288, 288, 1),
    ("Tanh", [X], {}, VectorKind.ACTIVATION, 0, 288, 1),
    ("LeakyRelu", [X], {"alpha": 0.1}, VectorKind.ACTIVATION, 2 * 288, 0, 1),
    ("Add", [X, values(6)], {}, VectorKind.ELEMENTWISE, 288, 0, 1),
    ("Mul", [values(8, 1), values(1, 6)], {}, VectorKind.ELEMENTWISE, 48, 0, 1),
    ("Div", [X, X + 9], {}, VectorKind.ELEMENTWISE, 0, 288, 1),
    ("Sum", [X, X, X], {}, VectorKind.ELEMENTWISE, 2 * 288, 0, 1),
    ("Mean", [X, X, X], {}, VectorKind.ELEMENTWISE, 3 * 288, 0, 1),
    ("Exp", [X], {}, VectorKind.ELEMENTWISE, 0, 288, 1),
    ("MaxPool", [X], POOL, VectorKind.POOL, 48 * 5, 0, 6),
    ("AveragePool", [X], POOL, VectorKind.POOL, 48 * 7, 0, 6),
    ("LpPool", [X], POOL, VectorKind.POOL, 48 * 12, 48, 6),
    ("GlobalAveragePool", [X], {}, VectorKind.POOL, 6 * 49, 0, 48),
    ("GlobalMaxPool", [X], {}, VectorKind.POOL, 6 * 47, 0, 48),
    # per element 4 and 1, a reciprocal for each of 48 rows of 6
    ("Softmax", [X], {}, VectorKind.SOFTMAX, 4 * 288, 288 + 48, 6),
    ("LogSoftmax", [X], {"axis": 1}, VectorKind.SOFTMAX, 4 * 288, 288 + 96, 3),
    ("Hardmax", [X], {}, VectorKind.SOFTMAX, 2 * 288, 0, 6),
    # 7 per element; 3 and a root for each of 48 rows
    ("LayerNormalization", [X, values(6)], {}, VectorKind.NORMALIZATION, 7 * 288 + 144, 48, 6),
    # statistics over the 48 pixels of each of 6 channels
    (
        "InstanceNormalization",
        [X, values(3), values(3)],
        {},
        VectorKind.NORMALIZATION,
        7 * 288 + 18,
        6,
        48,
    ),
    (
        "BatchNormalization",
        [X, values(3), values(3), values(3), values(3) ** 2 + 1],
        {},
        VectorKind.NORMALIZATION,
        2 * 288,
        0,
        1,
    ),
    ("LRN", [X], {"size": 3}, VectorKind.NORMALIZATION, 7 * 288, 288, 3),
    ("LpNormalization", [X], {"axis": 1}, VectorKind.NORMALIZATION, 3 * 288, 2 * 96, 3),
    ("ReduceSum", [X, np.array([2, 3])], {}, VectorKind.REDUCE, 288, 0, 48),
    ("ReduceMean", [X, np.array([2, 3])], {}, VectorKind.REDUCE, 288 + 6, 0, 48),
    ("ReduceL2", [X], {}, VectorKind.REDUCE, 2 * 288, 1, 288),
    ("ReduceLogSumExp", [X, np.array([-1])], {}, VectorKind.REDUCE, 3 * 288 + 48, 288 + 48, 6),
    ("ArgMax", [X], {"axis": 1}, VectorKind.REDUCE, 2 * 288, 0, 3),
    ("CumSum", [X, np.array(1)], {}, VectorKind.REDUCE, 288, 0, 1),
    # a heap of 4: 2 levels and the first comparison
    ("TopK", [X, np.array([4])], {}, VectorKind.SEARCH, 3 * 288, 0, 1),
]


@pytest.mark.parametrize("case", CASES, ids=[case[0] for case in CASES])
def test_work(case: tuple) -> None:
    op, arrays, attributes, kind, alu, special, window = case
    operands = [(f"x{i}", array) for i, array in enumerate(arrays)]
    # Parameters and axes are held; elementwise operands change.
    held = [] if op in ("Add", "Mul", "Div", "Sum", "Mean") else [n for n, _ in operands[1:]]
    outputs = ["y", "indices"] if op == "TopK" else ["y"]
    output_type = TensorProto.INT64 if op == "ArgMax" else TensorProto.FLOAT
    model, fed = single(op, operands, held, outputs, output_type=output_type, **attributes)
    if op == "TopK":
        model.graph.output[1].type.tensor_type.elem_type = TensorProto.INT64
    network = lower(model).network
    (layer,) = network.layers
    assert isinstance(layer, VectorLayer)
    found = (layer.kind, layer.alu_ops, layer.special_ops, layer.window)
    assert found == (kind, alu, special, window)
    assert network.macs == 0
    assert network.tensors["y"].shape == run(model, fed)[0].shape
    assert (layer.approximation != "") is (kind is VectorKind.SEARCH)


def test_division_and_power_by_constants_are_products() -> None:
    for op, constant, alu, special in (
        ("Div", 4.0, 1, 0),
        ("Pow", 2.0, 1, 0),
        ("Pow", 3.0, 2, 0),
        ("Pow", 0.5, 0, 1),
    ):
        scalar = np.array(constant, np.float32)
        model, _ = single(op, [("x", X), ("c", scalar)], held=["c"])
        (layer,) = vectors(lower(model).network)
        assert (layer.alu_ops, layer.special_ops) == (alu * 288, special * 288), (op, constant)


@pytest.mark.parametrize(
    ("limits", "per_element"), [(["low", "high"], 2), (["low"], 1), (["", "high"], 1)]
)
def test_clip_compares_once_per_limit(limits: list[str], per_element: int) -> None:
    operands = [("x", X), *((n, np.array(1, np.float32)) if n else None for n in limits)]
    model, _ = single("Clip", operands, held=["low", "high"])
    (layer,) = vectors(lower(model).network)
    assert layer.alu_ops == per_element * 288


def test_softmax_before_opset_13_takes_all_later_axes() -> None:
    model, _ = single("Softmax", [("x", X)], opset=11)
    (layer,) = vectors(lower(model).network)
    assert (layer.window, layer.special_ops) == (3 * 8 * 6, 288 + 2)


def test_skip_layer_normalization() -> None:
    x = values(2, 5, 8)
    operands = [("x", x), ("s", x), *((n, values(8)) for n in ("g", "b", "bias"))]
    model, _ = single(
        "SkipLayerNormalization", operands, held=["g", "b", "bias"], domain="com.microsoft"
    )
    (layer,) = vectors(lower(model).network)
    # 7 of the normalisation, two sums; 3 and a root for each of 10 rows.
    assert (layer.alu_ops, layer.special_ops) == (9 * 80 + 30, 10)


@pytest.mark.parametrize(
    ("mode", "alu", "window"),
    [("nearest", None, None), ("linear", 2 * 3, 4), ("cubic", 2 * 7, 16)],
)
def test_resize_by_mode(mode: str, alu: int | None, window: int | None) -> None:
    scales = np.array([1, 1, 2, 2], np.float32)
    model, fed = single("Resize", [("x", X), None, ("scales", scales)], held=["scales"], mode=mode)
    network = lower(model).network
    (layer,) = network.layers
    result = run(model, fed)[0]
    assert network.tensors["y"].shape == result.shape
    if alu is None:
        assert layer.elements == result.size
    else:
        assert (layer.alu_ops, layer.window) == (alu * result.size, window)


def test_cast_between_types_and_to_the_same() -> None:
    for to, type_, work in (
        (TensorProto.FLOAT16, TensorProto.FLOAT16, 288),
        (TensorProto.FLOAT, TensorProto.FLOAT, 0),
    ):
        model, _ = single("Cast", [("x", X)], output_type=type_, to=to)
        (layer,) = lower(model).network.layers
        assert getattr(layer, "alu_ops", 0) == work


def test_non_max_suppression_is_an_upper_bound() -> None:
    """10 boxes of 2 classes, 3 kept: sort by 4 levels, 12 operations per pair with a kept box."""
    operands = [
        ("boxes", values(1, 10, 4)),
        ("scores", values(1, 2, 10)),
        ("limit", np.array([3])),
    ]
    model, _ = single(
        "NonMaxSuppression",
        operands,
        held=["limit"],
        outputs=["y"],
        output_type=TensorProto.INT64,
    )
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info("y", TensorProto.INT64, [6, 3]))
    (layer,) = vectors(lower(model).network)
    assert layer.alu_ops == 2 * 10 * (4 + 12 * 3)
    assert layer.approximation == "data-dependent work, counted at its upper bound"


def test_fourier_transform_counts_butterflies() -> None:
    """16 points: 4 levels of 8 butterflies of 10 operations; 2 lines."""
    model, _ = single(
        "DFT", [("x", values(2, 16, 2)), None, ("axis", np.array(1))], held=["axis"], opset=20
    )
    (layer,) = vectors(lower(model).network)
    assert layer.alu_ops == 2 * 4 * 8 * 10
    assert layer.approximation == "Fourier transform by radix-2 butterflies"


def test_an_operator_nobody_knows_stays_as_unknown() -> None:
    node = helper.make_node("Frobnicate", ["x"], ["y"], name="odd", domain="odd.domain")
    tail = helper.make_node("Relu", ["y"], ["z"])
    model = make_model([node, tail], {"x": X}, {}, ["z"])
    model.graph.value_info.append(helper.make_tensor_value_info("y", TensorProto.FLOAT, X.shape))
    network = lower(model).network
    (layer,) = unknowns(network)
    assert (layer.name, layer.op) == ("odd", "odd.domain.Frobnicate")
    assert layer.reason == "operator Frobnicate of domain odd.domain is not modelled"
    assert (layer.inputs, layer.outputs) == (("x",), ("y",))


def test_wrong_mode_is_refused() -> None:
    scales = np.array([1, 1, 2, 2], np.float32)
    model, _ = single(
        "Resize", [("x", X), None, ("scales", scales)], held=["scales"], mode="spline"
    )
    with pytest.raises(ModelError) as caught:
        lower(model)
    assert str(caught.value) == (
        "node 'node' (Resize): mode is 'spline', not nearest, linear or cubic"
    )
