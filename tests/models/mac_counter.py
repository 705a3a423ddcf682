"""A second counter of multiply-accumulates: the model is run, and shapes are those of its tensors.

Nothing of npubench is used: onnxruntime executes the graph with every intermediate tensor as an
output, and each multiplying operator is counted by the shapes that came out.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod

import numpy as np
import onnx
import onnxruntime

Shapes = dict[str, tuple[int, ...]]

_ELEMENT_TYPES = {
    "tensor(float)": np.float32,
    "tensor(int8)": np.int8,
    "tensor(uint8)": np.uint8,
    "tensor(int64)": np.int64,
    "tensor(bool)": np.bool_,
}
_QUANTISERS = {"Quant", "BipolarQuant", "Trunc"}


def count_macs(model: onnx.ModelProto) -> int:
    """Multiply-accumulates of one inference; symbolic dimensions are 1."""
    model = _executable(model)
    shapes = _run(model)
    shapes |= {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    return sum(
        _COUNTERS[node.op_type](node, shapes)
        for node in model.graph.node
        if node.op_type in _COUNTERS
    )


def _executable(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy whose QONNX quantisers pass their input on: shapes stay, onnxruntime can run it."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for node in copy.graph.node:
        if node.op_type in _QUANTISERS and node.domain:
            del node.input[1:]
            del node.attribute[:]
            node.op_type, node.domain = "Identity", ""
    return copy


def _run(model: onnx.ModelProto) -> Shapes:
    """Shapes of every tensor that a node makes, and of the inputs."""
    del model.graph.value_info[:]
    known = {info.name for info in model.graph.output}
    made = [name for node in model.graph.node for name in node.output if name]
    model.graph.output.extend(onnx.ValueInfoProto(name=n) for n in made if n not in known)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    random = np.random.default_rng(0)
    feeds = {}
    for info in session.get_inputs():
        shape = [extent if isinstance(extent, int) else 1 for extent in info.shape]
        feeds[info.name] = random.integers(0, 2, shape).astype(_ELEMENT_TYPES[info.type])
    names = [info.name for info in session.get_outputs()]
    values = session.run(names, feeds)
    shapes = {name: value.shape for name, value in zip(names, values, strict=True)}
    return shapes | {name: value.shape for name, value in feeds.items()}


def _conv(node: onnx.NodeProto, shapes: Shapes) -> int:
    return prod(shapes[node.output[0]]) * prod(shapes[node.input[1]][1:])


def _conv_transpose(node: onnx.NodeProto, shapes: Shapes) -> int:
    return prod(shapes[node.input[0]]) * prod(shapes[node.input[1]][1:])


def _matmul(node: onnx.NodeProto, shapes: Shapes) -> int:
    return prod(shapes[node.output[0]]) * shapes[node.input[0]][-1]


def _gemm(node: onnx.NodeProto, shapes: Shapes) -> int:
    turned = any(a.name == "transA" and a.i for a in node.attribute)
    return prod(shapes[node.output[0]]) * shapes[node.input[0]][0 if turned else 1]


def _recurrent(node: onnx.NodeProto, shapes: Shapes) -> int:
    """Every step multiplies the input and the state by their matrices, all gates stacked."""
    steps, batch = shapes[node.input[0]][:2]
    return steps * batch * (prod(shapes[node.input[1]]) + prod(shapes[node.input[2]]))


_COUNTERS: dict[str, Callable[[onnx.NodeProto, Shapes], int]] = {
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "MatMul": _matmul,
    "Gemm": _gemm,
    "LSTM": _recurrent,
    "GRU": _recurrent,
    "RNN": _recurrent,
}
