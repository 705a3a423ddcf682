"""QONNX's quantisers as ordinary ONNX operators, which onnxruntime can run.

Source: the operator definitions of QONNX (Pappalardo et al., arXiv:2206.07527).
"""

from __future__ import annotations

import numpy as np
from onnx import GraphProto, ModelProto, NodeProto, helper, numpy_helper

from npubench.errors import ModelError, Problem

__all__ = ["expand_quantisers"]

_DOMAINS = ("qonnx.custom_op.general", "finn.custom_op.general", "onnx.brevitas")
_ROUNDINGS = {"ROUND": "Round", "FLOOR": "Floor", "CEIL": "Ceil"}
_CLIP_BY_INPUT = 11


def expand_quantisers(model: ModelProto) -> None:
    """Replace Quant and BipolarQuant nodes in place, and drop their domains.

    Raises:
        ModelError: another operator of these domains, a width or a rounding that is not constant
            or unknown.
    """
    graph = model.graph
    version = {o.domain: o.version for o in model.opset_import}
    if not any(node.domain in _DOMAINS for node in graph.node):
        return
    if version.get("", 0) < _CLIP_BY_INPUT:
        # Round came with 11; what these models use besides has not changed since 9.
        for entry in model.opset_import:
            if entry.domain == "":
                entry.version = _CLIP_BY_INPUT
    constants = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            constants[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
    nodes: list[NodeProto] = []
    for node in graph.node:
        if node.domain not in _DOMAINS:
            nodes.append(node)
        elif node.op_type in ("Quant", "IntQuant"):
            nodes.extend(_quant(node, graph, constants))
        elif node.op_type == "BipolarQuant":
            nodes.extend(_bipolar(node, graph))
        else:
            raise ModelError(
                Problem(f"operator {node.op_type} of domain {node.domain} cannot be executed")
            )
    del graph.node[:]
    graph.node.extend(nodes)
    kept = [entry for entry in model.opset_import if entry.domain not in _DOMAINS]
    del model.opset_import[:]
    model.opset_import.extend(kept)


def _scalar(graph: GraphProto, name: str, value: float) -> str:
    graph.initializer.append(numpy_helper.from_array(np.array(value, np.float32), name))
    return name


def _quant(node: NodeProto, graph: GraphProto, constants: dict[str, np.ndarray]) -> list[NodeProto]:
    """(clip(round(x / scale + zero), low, high) - zero) x scale."""
    x, scale, zero, bits = node.input
    width = constants.get(bits)
    attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    rounding = _ROUNDINGS.get(attributes.get("rounding_mode", b"ROUND").decode().upper())
    if width is None or width.size != 1 or rounding is None:
        raise ModelError(
            Problem(f"quantiser '{node.name or node.output[0]}': its width or rounding is unknown")
        )
    signed, narrow = attributes.get("signed", 1), attributes.get("narrow", 0)
    levels = 2.0 ** float(width.reshape(()))
    low = -levels / 2 + narrow if signed else 0.0
    high = levels / 2 - 1 if signed else levels - 1 - narrow
    out = node.output[0]
    step = {name: f"{out}.{name}" for name in ("divided", "shifted", "rounded", "clipped", "back")}
    bounds = [_scalar(graph, f"{out}.low", low), _scalar(graph, f"{out}.high", high)]
    return [
        helper.make_node("Div", [x, scale], [step["divided"]]),
        helper.make_node("Add", [step["divided"], zero], [step["shifted"]]),
        helper.make_node(rounding, [step["shifted"]], [step["rounded"]]),
        helper.make_node("Clip", [step["rounded"], *bounds], [step["clipped"]]),
        helper.make_node("Sub", [step["clipped"], zero], [step["back"]]),
        helper.make_node("Mul", [step["back"], scale], [out]),
    ]


def _bipolar(node: NodeProto, graph: GraphProto) -> list[NodeProto]:
    """+scale where x >= 0, else -scale."""
    x, scale = node.input
    out = node.output[0]
    zero = _scalar(graph, f"{out}.zero", 0.0)
    return [
        helper.make_node("Less", [x, zero], [f"{out}.negative"]),
        helper.make_node("Neg", [scale], [f"{out}.minus"]),
        helper.make_node("Where", [f"{out}.negative", f"{out}.minus", scale], [out]),
    ]
