"""ONNX's Attention as the operators it is defined by: two products that can be quantised."""

from __future__ import annotations

from collections.abc import Iterator

from onnx import FunctionProto, ModelProto, NodeProto, TensorProto, TypeProto, defs, helper

from npubench.errors import ModelError, Problem
from npubench.ir import Network

__all__ = ["expand_attention"]

_OP = "Attention"
_PRODUCTS = ("scores", "context")
# A method of a schema that onnx's type stubs leave out.
_MAKE_BODY = "get_context_dependent_function_with_opset_version"


def expand_attention(model: ModelProto, network: Network) -> None:
    """Put the operator's own function body in the place of every Attention node.

    The products get the names of the network's layers.

    Args:
        model: changed in place.
        network: the same as the frontend lowered it; it knows shapes.

    Raises:
        ModelError: a body that is not two products.
    """
    graph = model.graph
    version = max((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), default=0)
    if not any(n.op_type == _OP and n.domain in ("", "ai.onnx") for n in graph.node):
        return
    nodes: list[NodeProto] = []
    for node in graph.node:
        if node.op_type == _OP and node.domain in ("", "ai.onnx"):
            nodes += _body(node, version, network)
        else:
            nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)


def _body(node: NodeProto, version: int, network: Network) -> Iterator[NodeProto]:
    schema = defs.get_schema(_OP, version, "")
    types = [_type(name, network).SerializeToString() for name in node.input]
    make = getattr(schema, _MAKE_BODY)
    body = FunctionProto.FromString(make(schema.since_version, node.SerializeToString(), types))
    base = node.name or node.output[0]
    products = [inner for inner in body.node if inner.op_type == "MatMul"]
    if len(products) != len(_PRODUCTS):
        raise ModelError(
            Problem(f"'{base}' ({_OP}) is defined by {len(products)} products, expected 2")
        )
    names = {"": ""} | dict(zip(body.input, node.input, strict=False))
    names |= dict.fromkeys(body.input[len(node.input) :], "")
    names |= {inner: outer for inner, outer in zip(body.output, node.output, strict=False) if outer}
    for index, inner in enumerate(body.node):
        made = NodeProto()
        made.CopyFrom(inner)
        made.name = f"{base}#{index}"
        del made.input[:], made.output[:]
        made.input.extend(names.get(name, f"{base}:{name}") for name in inner.input)
        made.output.extend(names.get(name, f"{base}:{name}") for name in inner.output)
        if inner in products:
            made.name = f"{base}.{_PRODUCTS[products.index(inner)]}"
        yield made


def _type(name: str, network: Network) -> TypeProto:
    found = network.tensors.get(name)
    if found is None:
        return TypeProto() if not name else helper.make_tensor_type_proto(TensorProto.FLOAT, None)
    kind = TensorProto.BOOL if found.dtype.bits == 1 else TensorProto.FLOAT
    return helper.make_tensor_type_proto(kind, list(found.shape))
