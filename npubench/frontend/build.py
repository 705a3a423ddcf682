"""The forward pass: nodes in order, each folded, inlined or kept with the shapes of its results."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import cast

import numpy as np
from onnx import AttributeProto, GraphProto, NodeProto, TensorProto
from onnx.defs import OpSchema

from npubench.errors import ModelError, Problem
from npubench.frontend.contrib import infer_contributed, is_contributed
from npubench.frontend.control import CONTROL_FLOW, inline_function, run_control
from npubench.frontend.fold import Array, evaluate, fold
from npubench.frontend.graph import Node
from npubench.frontend.infer import Inferred, find_schema, infer_standard, mistake, node_label
from npubench.frontend.order import bodies, sort_nodes, used_names
from npubench.frontend.proto import (
    DATA_LIMIT,
    FLOAT_DATA_LIMIT,
    Fact,
    array_fact,
    check_extents,
    default_domain,
    element_format,
    plain_attributes,
    sparse_fact,
    tensor_fact,
)
from npubench.frontend.scope import Scope
from npubench.frontend.standard import infer_instead, infer_silent
from npubench.frontend.storage import weight_storage
from npubench.frontend.unknown import hinted, unresolved

__all__ = ["run_graph", "walk_nodes"]

# Their results differ from call to call, so they are no constants even without operands.
_RANDOM = frozenset(
    {
        "Bernoulli",
        "Multinomial",
        "RandomNormal",
        "RandomNormalLike",
        "RandomUniform",
        "RandomUniformLike",
    }
)
# Slow on constants, in need of a library for images, or of weights, whose values nobody needs.
_NOT_EVALUATED = frozenset(
    {"DequantizeLinear", "ImageDecoder", "NonMaxSuppression", "QuantizeLinear"}
)
_EVALUATED_ELEMENTS = 4_096
# A float result of at most this many elements may become a size, a bound or a step.
_FEW = 64


def run_graph(graph: GraphProto, scope: Scope) -> list[Fact]:
    """Walk a graph whose inputs are entered in the scope already.

    Returns:
        What is known of each output, in order.

    Raises:
        ModelError: the graph is not well formed, or a shape cannot be worked out.
    """
    for tensor in graph.initializer:
        scope.define(tensor.name, _held(tensor, scope))
    for sparse in graph.sparse_initializer:
        name = sparse.values.name
        scope.define(name, _counted(sparse_fact(sparse, scope.global_name(name)), scope))
    for info in (*graph.value_info, *graph.output):
        scope.hints[info.name] = info
    walk_nodes(graph.node, scope, [info.name for info in graph.output])
    outputs = [scope.lookup(info.name) for info in graph.output]
    return [fact for fact in outputs if fact is not None]


def _held(tensor: TensorProto, scope: Scope) -> Fact:
    fact = tensor_fact(tensor, scope.global_name(tensor.name), scope.session.external)
    return _counted(fact, scope)


def _counted(constant: Fact, scope: Scope) -> Fact:
    """A constant of the file, told whether it counts as a parameter."""
    return constant if scope.session.constants_count else replace(constant, parameter=False)


def walk_nodes(nodes: Sequence[NodeProto], scope: Scope, outputs: Sequence[str]) -> None:
    """Walk the nodes of one graph or function."""
    ordered = sort_nodes(nodes, set(scope.facts))
    scope.wanted.update(outputs)
    for node in nodes:
        scope.wanted |= used_names(node)
    for node in ordered:
        _walk_node(node, scope)


def _walk_node(node: NodeProto, scope: Scope) -> None:
    scope.session.visit()
    if scope.attributes is not None:
        node = _bound(node, scope.attributes)
    inputs = [scope.lookup(name, node) if name else None for name in node.input]
    if any(name and fact is None for name, fact in zip(node.input, inputs, strict=True)):
        node = _without_absent(node, inputs)
    domain = default_domain(node.domain)
    function = scope.session.functions.get((domain, node.op_type, node.overload))
    if function is not None and _is_local(node, domain, scope):
        inline_function(function, node, inputs, scope, walk_nodes)
    elif not domain and node.op_type == "Constant":
        _constant(node, scope)
    elif not domain and node.op_type in CONTROL_FLOW:
        run_control(node, inputs, scope, run_graph)
    else:
        _operator(node, inputs, scope)


def _without_absent(node: NodeProto, inputs: Sequence[Fact | None]) -> NodeProto:
    """The node of a function with those operands blank that the call leaves out."""
    blank = NodeProto()
    blank.CopyFrom(node)
    for index, fact in enumerate(inputs):
        if fact is None:
            blank.input[index] = ""
    return blank


def _is_local(node: NodeProto, domain: str, scope: Scope) -> bool:
    """Whether to expand a function: not if the operator is known as a whole, which says more."""
    if is_contributed(node.op_type, domain):
        return False
    version = scope.opsets.get(domain, 0)
    return bool(domain) or not version or find_schema(node.op_type, version, domain) is None


def _bound(node: NodeProto, attributes: Mapping[str, AttributeProto]) -> NodeProto:
    """The node with references to the function's attributes replaced by those of the call."""
    if not any(a.ref_attr_name for a in node.attribute):
        return node
    bound = NodeProto()
    bound.CopyFrom(node)
    del bound.attribute[:]
    for attribute in node.attribute:
        if not attribute.ref_attr_name:
            bound.attribute.append(attribute)
        elif attribute.ref_attr_name in attributes:
            given = bound.attribute.add()
            given.CopyFrom(attributes[attribute.ref_attr_name])
            given.name = attribute.name
    return bound


def _constant(node: NodeProto, scope: Scope) -> None:
    if len(node.output) != 1 or len(node.attribute) != 1:
        raise ModelError(Problem(f"{node_label(node)}: a Constant has one value and one output"))
    name = scope.global_name(node.output[0])
    attribute = node.attribute[0]
    if attribute.name == "value":
        fact = tensor_fact(attribute.t, name, scope.session.external)
    elif attribute.name == "sparse_value":
        fact = sparse_fact(attribute.sparse_tensor, name)
    elif attribute.name in ("value_int", "value_ints"):
        values = attribute.i if attribute.name == "value_int" else list(attribute.ints)
        fact = array_fact(name, np.array(values, np.int64), TensorProto.INT64)
    elif attribute.name in ("value_float", "value_floats"):
        numbers = attribute.f if attribute.name == "value_float" else list(attribute.floats)
        fact = array_fact(name, np.array(numbers, np.float32), TensorProto.FLOAT)
    elif attribute.name in ("value_string", "value_strings"):
        texts = attribute.s if attribute.name == "value_string" else list(attribute.strings)
        fact = array_fact(name, np.array(texts, np.object_), TensorProto.STRING)
    else:
        raise ModelError(
            Problem(f"{node_label(node)}: a Constant has no attribute '{attribute.name}'")
        )
    scope.define(node.output[0], _counted(fact, scope))


def _operator(node: NodeProto, inputs: Sequence[Fact | None], scope: Scope) -> None:
    """An operator without bodies: fold it, or keep it with the shapes of its results."""
    domain = default_domain(node.domain)
    version = scope.opsets.get(domain, 1 if domain else 0)
    attributes = plain_attributes(node, scope.session.external)
    if any(True for _ in bodies(node)):
        raise ModelError(
            Problem(f"{node_label(node)} carries a graph that npubench does not know how to run")
        )
    if node.op_type == "BatchNormalization" and attributes.get("training_mode"):
        raise ModelError(
            Problem(
                f"{node_label(node)} is in training mode",
                hint="export the model for inference (in PyTorch, call model.eval() first)",
            )
        )
    results, known = _infer(node, inputs, attributes, version, scope)
    facts = [fact for fact in inputs if fact is not None]
    constant = (
        known is not None
        or (node.op_type == "ConstantOfShape" and not domain)
        or (
            bool(facts)
            and all(fact.is_weight for fact in facts)
            and (domain != "" or node.op_type not in _RANDOM)
        )
    )
    largest = max(facts, key=lambda f: (f.parameter, f.elements), default=None)
    names: list[str] = []
    for index, (name, (elem, shape)) in enumerate(zip(node.output, results, strict=True)):
        if not name or shape is None or not elem:
            names.append("")
            continue
        unique = scope.global_name(name)
        names.append(unique)
        what = f"result '{name}' of {node_label(node)}"
        check_extents(shape, what)
        fact = Fact(unique, shape, elem, element_format(elem, what))
        if constant:
            fact = Fact(
                unique,
                shape,
                elem,
                weight_storage(node, inputs, attributes, elem),
                is_weight=True,
                data=None if known is None else known[index],
                origin=unique
                if largest is None or node.op_type in ("Shape", "Size", "ConstantOfShape")
                else largest.origin or unique,
                missing=next((f.missing for f in facts if f.missing), ""),
                parameter=scope.session.constants_count
                or any(f.is_weight and f.parameter for f in facts),
            )
        scope.define(name, fact)
    if not constant:
        scope.builder.add(
            Node(
                name=scope.prefix
                + (node.name or next((o for o in node.output if o), node.op_type)),
                op=node.op_type,
                domain=domain,
                inputs=tuple("" if fact is None else fact.name for fact in inputs),
                outputs=tuple(names),
                attributes=attributes,
                version=version,
            )
        )


def _infer(
    node: NodeProto,
    inputs: Sequence[Fact | None],
    attributes: Mapping[str, object],
    version: int,
    scope: Scope,
) -> tuple[list[Inferred], list[Array] | None]:
    """Element type and shape of every result that is used, and the values where known."""
    domain = default_domain(node.domain)
    schema = find_schema(node.op_type, version, domain) if version else None
    found: list[Inferred | None] = []
    if is_contributed(node.op_type, domain) and (schema is None or domain):
        found = infer_contributed(node, inputs, attributes, scope.opsets.get("", 0))
    elif schema is not None:
        found = _infer_by_schema(schema, node, inputs, attributes, scope)
        _check_channels(node, inputs, attributes)
    found = [*found, *[None] * len(node.output)][: len(node.output)]
    known = _values(node, inputs, attributes, version, found, scope)
    results: list[Inferred] = []
    for index, (name, result) in enumerate(zip(node.output, found, strict=True)):
        elem, shape = result or (TensorProto.UNDEFINED, None)
        if known is not None and shape is None:
            shape = known[index].shape
        if name and name in scope.wanted and (shape is None or not elem):
            elem, shape = hinted(name, elem, shape, scope)
            if shape is None:
                raise unresolved(node, name, inputs, schema is not None, scope)
        results.append((elem, shape))
    return results, known


def _infer_by_schema(
    schema: OpSchema,
    node: NodeProto,
    inputs: Sequence[Fact | None],
    attributes: Mapping[str, object],
    scope: Scope,
) -> list[Inferred | None]:
    opset = scope.opsets.get("", 0)
    found = None if schema.domain else infer_instead(node, inputs, attributes, opset)
    if found is not None:
        return found
    found = infer_standard(schema, node, inputs, scope.opsets)
    if not schema.domain and found and (found[0] is None or found[0][1] is None):
        found = infer_silent(node, inputs, attributes, opset, scope.session.assume) or found
    return found


def _check_channels(
    node: NodeProto, inputs: Sequence[Fact | None], attributes: Mapping[str, object]
) -> None:
    """What onnx's inference does not look at: that a convolution's channels fit its weight."""
    if node.op_type not in ("Conv", "ConvTranspose") or len(inputs) < 2:
        return
    data, weight = inputs[0], inputs[1]
    groups = attributes.get("group", 1)
    if data is None or weight is None or not isinstance(groups, int) or groups < 1:
        raise ModelError(Problem(f"{node_label(node)}: needs data, a weight and at least 1 group"))
    if len(data.shape) < 3 or len(weight.shape) != len(data.shape):
        raise mistake(node, inputs, "data and weight need a batch or kernels, channels and space")
    channels = weight.shape[1] * groups if node.op_type == "Conv" else weight.shape[0]
    if data.shape[1] != channels or weight.shape[0] % groups:
        reason = f"data of {data.shape[1]} channels, a weight for {channels} in {groups} group(s)"
        raise mistake(node, inputs, reason)


def _values(
    node: NodeProto,
    inputs: Sequence[Fact | None],
    attributes: Mapping[str, object],
    version: int,
    found: Sequence[Inferred | None],
    scope: Scope,
) -> list[Array] | None:
    """Values of the results, where they follow from shapes or from small constants."""
    domain = default_domain(node.domain)
    facts = [fact for fact in inputs if fact is not None]
    if domain or node.op_type in _RANDOM or not facts:
        return None
    if node.op_type == "Shape":
        start, end = (cast("int | None", attributes.get(k)) for k in ("start", "end"))
        shape = facts[0].shape[start:end]
        return [np.array(shape, np.int64)]
    if node.op_type == "Size":
        return [np.array(facts[0].elements, np.int64)]
    if any(fact.data is None for fact in facts):
        return None
    kinds = [
        element_format(r[0], node_label(node)).is_float if r and r[0] else False for r in found
    ]
    sizes = [math.prod(r[1]) if r and r[1] is not None else None for r in found]
    for is_float, size in zip(kinds, sizes, strict=True):
        if size is not None and size > (FLOAT_DATA_LIMIT if is_float else DATA_LIMIT):
            return None
    arrays = [None if fact is None else fact.data for fact in inputs]
    # Only what has a bounded size is computed.
    values = None if None in sizes else fold(node.op_type, version, arrays, attributes)
    # The evaluator is slow, and large float results are weights, whose values nobody needs.
    if (
        values is None
        and node.op_type not in _NOT_EVALUATED
        and sum(fact.elements for fact in facts) <= _EVALUATED_ELEMENTS
        and all(
            not is_float or size is None or size <= _FEW
            for is_float, size in zip(kinds, sizes, strict=True)
        )
    ):
        named = dict(zip(node.input, arrays, strict=True))
        values = evaluate(node, version, named, scope.opsets.get("", version))
    if values is None or len(values) != len(found):
        return None
    agree = all(
        r is None or r[1] is None or not name or value.shape == r[1]
        for name, r, value in zip(node.output, found, values, strict=True)
    )
    return values if agree else None
