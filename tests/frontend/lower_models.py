"""Small models for the lowering tests, made with onnx and executed by onnxruntime as an oracle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import onnxruntime
from onnx import GraphProto, ModelProto, TensorProto, helper, numpy_helper

from npubench.frontend import LoadedNetwork
from npubench.frontend.load import read_graph_proto
from npubench.frontend.lower import lower_graph
from npubench.ir import MacLayer, MoveLayer, Network, UnknownLayer, VectorLayer

Array = npt.NDArray[np.generic]
OPSET = 21
_TYPES = {
    np.dtype(np.float32): TensorProto.FLOAT,
    np.dtype(np.int8): TensorProto.INT8,
    np.dtype(np.uint8): TensorProto.UINT8,
    np.dtype(np.int32): TensorProto.INT32,
    np.dtype(np.int64): TensorProto.INT64,
    np.dtype(np.bool_): TensorProto.BOOL,
    np.dtype(np.float16): TensorProto.FLOAT16,
}


def values(*shape: int, seed: int = 0, dtype: type = np.float32) -> Array:
    """Small whole numbers of any type, so that sums in another order are still exact."""
    numbers = np.random.default_rng(seed).integers(-3, 4, size=shape)
    return (np.abs(numbers) if np.dtype(dtype).kind == "u" else numbers).astype(dtype)


def make_model(
    nodes: Sequence[object],
    fed: Mapping[str, Array],
    held: Mapping[str, Array],
    outputs: Sequence[str],
    opset: int = OPSET,
    output_type: int = TensorProto.FLOAT,
) -> ModelProto:
    """A model with fed inputs and held initialisers."""
    graph = helper.make_graph(
        list(nodes),
        "test",
        [helper.make_tensor_value_info(n, _TYPES[a.dtype], a.shape) for n, a in fed.items()],
        [helper.make_tensor_value_info(n, output_type, None) for n in outputs],
        [numpy_helper.from_array(a, n) for n, a in held.items()],
    )
    imports = [
        helper.make_opsetid("", opset),
        helper.make_opsetid("com.microsoft", 1),
        helper.make_opsetid("qonnx.custom_op.general", 1),
        helper.make_opsetid("odd.domain", 1),
    ]
    return helper.make_model(graph, opset_imports=imports, ir_version=10)


def lower(model: ModelProto) -> LoadedNetwork:
    """Lower with every input fed: the reader would take a matrix in a weight's place for one."""
    return lower_graph(read_graph_proto(model, weight_inputs=()))


def run(model: ModelProto, fed: Mapping[str, Array]) -> list[Array]:
    """What onnxruntime gives."""
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return list(session.run(None, dict(fed)))


def single(
    op: str,
    operands: Sequence[tuple[str, Array] | None],
    held: Sequence[str] = (),
    outputs: Sequence[str] = ("y",),
    domain: str = "",
    opset: int = OPSET,
    output_type: int = TensorProto.FLOAT,
    **attributes: object,
) -> tuple[ModelProto, dict[str, Array]]:
    """A model of one node called ``node``, and what to feed it; None leaves an operand out."""
    given = dict(o for o in operands if o is not None)
    fed = {n: a for n, a in given.items() if n not in held}
    node = helper.make_node(
        op,
        ["" if o is None else o[0] for o in operands],
        list(outputs),
        name="node",
        domain=domain,
        **attributes,
    )
    model = make_model(
        [node],
        fed,
        {n: a for n, a in given.items() if n in held},
        [n for n in outputs if n],
        opset,
        output_type,
    )
    return model, fed


def body(
    nodes: Sequence[object],
    inputs: Sequence[tuple[str, int, Sequence[int]]],
    outputs: Sequence[tuple[str, int]],
    held: Mapping[str, Array] | None = None,
) -> GraphProto:
    """A body of a control-flow operator."""
    return helper.make_graph(
        list(nodes),
        "body",
        [helper.make_tensor_value_info(n, t, s) for n, t, s in inputs],
        [helper.make_tensor_value_info(n, t, None) for n, t in outputs],
        [numpy_helper.from_array(a, n) for n, a in (held or {}).items()],
    )


def mac_layer(network: Network, index: int = 0) -> MacLayer:
    return network.mac_layers[index]


def vectors(network: Network) -> list[VectorLayer]:
    return [layer for layer in network.layers if isinstance(layer, VectorLayer)]


def moves(network: Network) -> list[MoveLayer]:
    return [layer for layer in network.layers if isinstance(layer, MoveLayer)]


def unknowns(network: Network) -> list[UnknownLayer]:
    return [layer for layer in network.layers if isinstance(layer, UnknownLayer)]
