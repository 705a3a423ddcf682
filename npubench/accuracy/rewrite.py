"""The graph with quantisers in it: Div, Round, Clip and Mul before each layer's operands.

Scale and range of every integer quantiser are graph inputs, so one session runs every width.
Sums, residual connections and all work between the layers stay in float.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import (
    GraphProto,
    ModelProto,
    NodeProto,
    TensorProto,
    ValueInfoProto,
    helper,
    numpy_helper,
)

from npubench.accuracy.model import TrainedModel
from npubench.accuracy.quantise import is_exact
from npubench.accuracy.sites import Site
from npubench.errors import OptionError
from npubench.ir import FORMATS, Format

__all__ = ["Layout", "port", "rewrite"]

Array = npt.NDArray[np.float32]

# Formats that onnxruntime converts to and back; those of 8 bits are scaled to their full range.
_CASTS: Mapping[str, int] = {
    "fp16": TensorProto.FLOAT16,
    "bf16": TensorProto.BFLOAT16,
    "fp8e4m3": TensorProto.FLOAT8E4M3FN,
    "fp8e5m2": TensorProto.FLOAT8E5M2,
}


def port(site: Site, operand: int) -> str:
    """The name of a layer's operand; its quantiser's inputs begin with it."""
    return f"{site.layer}:{operand}"


@dataclass(frozen=True)
class Layout:
    """What is put into the graph.

    Attributes:
        activations: format by port; exact ones get no quantiser, integers of any width the same.
        weights: values by layer that replace the weight.
        biases: values by layer that replace the bias.
        fed: layers whose weight is a graph input, ``<layer>:weight``.
        added: by layer, what is added to its result, broadcast from its channels' axis.
        saturating: layers whose result is clipped between ``<layer>:least`` and ``<layer>:most``.
        faulty: whether integer codes are flipped by the masks ``<port>:mask``, counted from
            ``<port>:base``.
        outputs: names of further results.
    """

    activations: Mapping[str, Format]
    weights: Mapping[str, Array] = field(default_factory=dict)
    biases: Mapping[str, Array] = field(default_factory=dict)
    fed: Collection[str] = ()
    added: Mapping[str, Array] = field(default_factory=dict)
    saturating: Collection[str] = ()
    faulty: bool = False
    outputs: Collection[str] = ()


def rewrite(model: TrainedModel, layout: Layout) -> ModelProto:
    """A copy of the model with the quantisers of a layout.

    Raises:
        OptionError: activations in a float format that onnxruntime does not convert to.
    """
    proto = ModelProto()
    proto.CopyFrom(model.proto)
    graph = proto.graph
    sites = {index: site for site in model.sites for index in site.nodes}
    nodes: list[NodeProto] = []
    for index, node in enumerate(graph.node):
        site = sites.get(index)
        if site is None:
            nodes.append(node)
            continue
        # Nodes of one layer share its quantisers' ranges and its weight, not what comes of them.
        repeat = site.nodes.index(index)
        suffix = f"~{repeat}" if repeat else ""
        for operand in (site.data, site.held):
            number_format = layout.activations.get(port(site, operand))
            if number_format is not None and not is_exact(number_format):
                key = port(site, operand)
                source = node.input[operand]
                made = _quantiser(key, suffix, source, number_format, faulty=layout.faulty)
                nodes += made
                node.input[operand] = made[-1].output[0]
        if site.layer in layout.fed or site.layer in layout.weights:
            node.input[site.held] = f"{site.layer}:weight"
        if site.layer in layout.biases:
            node.input[2] = f"{site.layer}:bias"
        nodes += [node, *_result(site, suffix, node, layout)]
    for site in model.sites:
        _declare(site, layout, graph)
    del graph.node[:]
    graph.node.extend(nodes)
    graph.output.extend(_free(name) for name in layout.outputs)
    _drop_unread(proto)
    return proto


def _free(name: str, kind: int = TensorProto.FLOAT) -> ValueInfoProto:
    """A value of unstated shape."""
    return helper.make_tensor_value_info(name, kind, None)


def _declare(site: Site, layout: Layout, graph: GraphProto) -> None:
    """The inputs and constants that a layer's nodes read."""
    for operand in (site.data, site.held):
        number_format = layout.activations.get(port(site, operand))
        if number_format is not None and not is_exact(number_format):
            key = port(site, operand)
            graph.input.extend(_quantiser_inputs(key, number_format, faulty=layout.faulty))
    if site.layer in layout.fed:
        graph.input.append(_free(f"{site.layer}:weight"))
    if site.layer in layout.saturating:
        graph.input.extend(_free(f"{site.layer}:{end}") for end in ("least", "most"))
    parts = {"weight": layout.weights, "bias": layout.biases, "correction": layout.added}
    for part, arrays in parts.items():
        if site.layer in arrays and not (part == "weight" and site.layer in layout.fed):
            array = numpy_helper.from_array(arrays[site.layer], f"{site.layer}:{part}")
            graph.initializer.append(array)


def _quantiser_inputs(key: str, number_format: Format, *, faulty: bool) -> Iterable[ValueInfoProto]:
    if number_format.is_float and number_format.bits > 8:
        return
    parts = ("scale",) if number_format.is_float else ("scale", "low", "high")
    for part in (*parts, *(("base",) if faulty and not number_format.is_float else ())):
        yield helper.make_tensor_value_info(f"{key}:{part}", TensorProto.FLOAT, [])
    if faulty and not number_format.is_float:
        yield _free(f"{key}:mask", TensorProto.INT32)


def _quantiser(
    key: str, suffix: str, source: str, number_format: Format, *, faulty: bool
) -> list[NodeProto]:
    """Nodes whose last one gives the quantised value; feeds go by the key, results end so too."""
    if number_format.is_float:
        return _float_quantiser(key, suffix, source, number_format)
    at = f"{key}{suffix}"
    steps: list[tuple[str, list[str], str, dict[str, Any]]] = [
        ("Div", [source, f"{key}:scale"], "divided", {}),
        ("Round", [f"{at}:divided"], "rounded", {}),
        ("Clip", [f"{at}:rounded", f"{key}:low", f"{key}:high"], "steps", {}),
    ]
    last = "steps"
    if faulty:
        # Codes count from the lowest one up, which flips the same values as two's complement.
        steps += [
            ("Sub", [f"{at}:steps", f"{key}:base"], "codes", {}),
            ("Cast", [f"{at}:codes"], "bits", {"to": TensorProto.INT32}),
            ("BitwiseXor", [f"{at}:bits", f"{key}:mask"], "flipped", {}),
            ("Cast", [f"{at}:flipped"], "recoded", {"to": TensorProto.FLOAT}),
            ("Add", [f"{at}:recoded", f"{key}:base"], "faulty", {}),
        ]
        last = "faulty"
    steps.append(("Mul", [f"{at}:{last}", f"{key}:scale"], "quantised", {}))
    return [helper.make_node(op, ins, [f"{at}:{out}"], **more) for op, ins, out, more in steps]


def _float_quantiser(key: str, suffix: str, source: str, number_format: Format) -> list[NodeProto]:
    kind = _CASTS.get(number_format.name)
    if kind is None:
        known = ", ".join(name for name in FORMATS if name in _CASTS)
        raise OptionError(
            f"the accuracy of activations in {number_format} cannot be measured: onnxruntime "
            f"converts to {known} only"
        )
    at = f"{key}{suffix}"
    if number_format.bits > 8:
        return [
            helper.make_node("Cast", [source], [f"{at}:cast"], to=kind),
            helper.make_node("Cast", [f"{at}:cast"], [f"{at}:quantised"], to=TensorProto.FLOAT),
        ]
    return [
        helper.make_node("Div", [source, f"{key}:scale"], [f"{at}:divided"]),
        helper.make_node("Cast", [f"{at}:divided"], [f"{at}:cast"], to=kind),
        helper.make_node("Cast", [f"{at}:cast"], [f"{at}:back"], to=TensorProto.FLOAT),
        helper.make_node("Mul", [f"{at}:back", f"{key}:scale"], [f"{at}:quantised"]),
    ]


def _result(site: Site, suffix: str, node: NodeProto, layout: Layout) -> list[NodeProto]:
    """What follows a layer's node: saturation of its sums, then the bias correction."""
    steps: list[tuple[str, list[str]]] = []
    if site.layer in layout.saturating:
        steps += [("Max", [f"{site.layer}:least"]), ("Min", [f"{site.layer}:most"])]
    if site.layer in layout.added:
        steps.append(("Add", [f"{site.layer}:correction"]))
    if not steps:
        return []
    final = node.output[0]
    current = f"{site.layer}{suffix}:result0"
    node.output[0] = current
    made: list[NodeProto] = []
    for number, (op, operands) in enumerate(steps, start=1):
        following = final if number == len(steps) else f"{site.layer}{suffix}:result{number}"
        made.append(helper.make_node(op, [current, *operands], [following]))
        current = following
    return made


def _drop_unread(proto: ModelProto) -> None:
    """Leave out constants that nothing reads any more: weights that were replaced."""
    graph = proto.graph
    read = {name for node in graph.node for name in node.input} | {o.name for o in graph.output}
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):  # a body may read any outer value
                return
    kept = [tensor for tensor in graph.initializer if tensor.name in read]
    del graph.initializer[:]
    graph.initializer.extend(kept)
