"""Names in a file are text: protobuf hands over bytes where they are not, which nothing expects."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from onnx import GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto

from npubench.errors import ModelError, Problem
from npubench.frontend.order import bodies

__all__ = ["check_names"]


def check_names(model: ModelProto) -> None:
    """See that every name that reading looks at is text.

    Raises:
        ModelError: a name is not UTF-8, so the file is damaged.
    """
    try:
        damaged = next((n for n in _model_names(model) if not isinstance(n, str)), None)
    except UnicodeDecodeError as error:  # some releases of protobuf raise instead
        raise ModelError(Problem("the model is damaged: a name in it is not UTF-8")) from error
    if damaged is not None:
        raise ModelError(Problem(f"the model is damaged: the name {damaged!r:.60} is not UTF-8"))


def _model_names(model: ModelProto) -> Iterator[object]:
    for imported in model.opset_import:
        yield imported.domain
    for entry in model.metadata_props:
        yield from (entry.key, entry.value)
    for function in model.functions:
        yield from (function.domain, function.name, function.overload)
        yield from (*function.input, *function.output, *function.attribute)
        yield from (attribute.name for attribute in function.attribute_proto)
        yield from (imported.domain for imported in function.opset_import)
        yield from _node_names(function.node)
    yield from _graph_names(model.graph)


def _graph_names(graph: GraphProto) -> Iterator[object]:
    yield graph.name
    for info in (*graph.input, *graph.output, *graph.value_info):
        yield from _info_names(info)
    for tensor in graph.initializer:
        yield from _tensor_names(tensor)
    for sparse in graph.sparse_initializer:
        yield sparse.values.name
    yield from _node_names(graph.node)


def _info_names(info: ValueInfoProto) -> Iterator[object]:
    yield info.name
    yield from (dim.dim_param for dim in info.type.tensor_type.shape.dim)


def _tensor_names(tensor: TensorProto) -> Iterator[object]:
    yield tensor.name
    for entry in tensor.external_data:
        yield from (entry.key, entry.value)


def _node_names(nodes: Iterable[NodeProto]) -> Iterator[object]:
    for node in nodes:
        yield from (node.op_type, node.domain, node.name, node.overload)
        yield from node.input
        yield from node.output
        for attribute in node.attribute:
            yield from (attribute.name, attribute.ref_attr_name)
            if attribute.HasField("t"):
                yield from _tensor_names(attribute.t)
        for body in bodies(node):
            yield from _graph_names(body)
