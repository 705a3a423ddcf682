"""Integer kernels add whole products on every processor, also where 16 bits would saturate."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from npubench.accuracy.runtime import Network

DEPTH, WIDTH = 64, 8
SCALE = np.float32(2.0**-9)


def _constants(random: np.random.Generator) -> dict[str, np.ndarray]:
    """Large bytes: a pair of products reaches 2 x 255 x 127, twice what 16 bits hold."""
    shape = (DEPTH, WIDTH)
    return {
        "w": (random.integers(100, 128, shape) * random.choice([-1, 1], shape)).astype(np.int8),
        "one": np.array(1, np.float32),
        "z": np.array(128, np.uint8),
        "x0": np.array(0, np.uint8),
        "w0": np.array(0, np.int8),
    }


def _model(nodes: list[object], constants: dict[str, np.ndarray], kind: int) -> ModelProto:
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.UINT8, None)],
        [helper.make_tensor_value_info(n, kind, None) for n in ("y", "again")],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    return helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])


def _quantised(sums: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(sums * np.float64(SCALE)) + 128, 0, 255)


@pytest.mark.parametrize("op", ["QLinearMatMul", "MatMulInteger", "DequantizeLinear"])
def test_products_of_large_bytes(op: str, random: np.random.Generator) -> None:
    constants = _constants(random)
    x = random.integers(200, 256, (16, DEPTH)).astype(np.uint8)
    exact = x.astype(np.int64) @ constants["w"].astype(np.int64)
    nodes, kind = [], TensorProto.UINT8
    for out in ("y", "again"):  # two readers of the weight and of its zero point
        if op == "QLinearMatMul":
            inputs = ["x", "one", "x0", "w", "one", "w0", "s_out", "z"]
            nodes.append(helper.make_node(op, inputs, [out]))
        elif op == "MatMulInteger":
            nodes.append(helper.make_node(op, ["x", "w", "x0", "w0"], [out]))
            kind = TensorProto.INT32
        else:
            real = [f"{out}:{part}" for part in ("x", "w", "product")]
            nodes += [
                helper.make_node(op, ["x", "one", "x0"], real[:1]),
                helper.make_node(op, ["w", "one", "w0"], real[1:2]),
                helper.make_node("MatMul", real[:2], real[2:]),
                helper.make_node("QuantizeLinear", [real[2], "s_out", "z"], [out]),
            ]
    constants["s_out"] = np.array(1 / SCALE, np.float32)
    for found in Network(_model(nodes, constants, kind)).run(["y", "again"], {"x": x}):
        wanted = exact if op == "MatMulInteger" else _quantised(exact)
        assert np.array_equal(found, wanted)


@pytest.mark.parametrize("op", ["QLinearConv", "ConvInteger"])
def test_convolutions_of_large_bytes(op: str, random: np.random.Generator) -> None:
    constants = _constants(random)
    x = random.integers(200, 256, (2, DEPTH, 3, 3)).astype(np.uint8)
    weight = constants["w"]
    exact = np.einsum("nkyx,kc->ncyx", x.astype(np.int64), weight.astype(np.int64))
    constants["w"] = np.ascontiguousarray(weight.T)[:, :, None, None]
    constants["s_out"] = np.array(1 / SCALE, np.float32)
    inputs = (
        ["x", "one", "x0", "w", "one", "w0", "s_out", "z"]
        if op == "QLinearConv"
        else ["x", "w", "x0", "w0"]
    )
    kind = TensorProto.UINT8 if op == "QLinearConv" else TensorProto.INT32
    nodes = [helper.make_node(op, inputs, [out]) for out in ("y", "again")]
    for found in Network(_model(nodes, constants, kind)).run(["y", "again"], {"x": x}):
        assert np.array_equal(found, exact if op == "ConvInteger" else _quantised(exact))
