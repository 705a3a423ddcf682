"""Turn an ONNX model into a weight-less skeleton: the graph without the numbers.

Every weight becomes a graph input and is listed in the metadata entry ``npubench.weight_inputs``
(a JSON list of names), so that a reader can tell weights from data. Small constants that fix
shapes (Reshape targets, axes, scalars) stay in the file; stack traces, doc strings and stale
shapes go.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

IR_VERSION = 10
OPSET = 20
WEIGHT_INPUTS_KEY = "npubench.weight_inputs"
LARGEST_CONSTANT = 4096
"""Elements. A larger constant that is no parameter is a mistake of the export (a folded mask)."""

_SCOPES_KEY = "pkg.torch.onnx.name_scopes"


def strip_weights(
    model: ModelProto, parameters: Mapping[str, np.ndarray], prefixes: Sequence[str] = ()
) -> tuple[ModelProto, dict[str, np.ndarray]]:
    """Return the skeleton of an exported model, and the weights it lost by name.

    Args:
        model: output of the torch exporter, with all initialisers inside.
        parameters: the module's own parameters by name. An initialiser is a weight if it carries
            such a name, if it equals such a parameter or its transpose (the exporter transposes
            linear weights and then forgets their name), or if it is the bias that folding a
            batch normalisation made.
        prefixes: of module names, removed from them one after the other.

    Raises:
        ValueError: a large initialiser is none of these, or two weights got one name.
    """
    names = {_digest(value): name for name, value in parameters.items()}
    names |= {_digest(value.T): name for name, value in parameters.items() if value.ndim == 2}
    weights: dict[str, TensorProto] = {}
    renamed: dict[str, str] = {}
    constants: list[TensorProto] = []
    for initializer in model.graph.initializer:
        name = _weight_name(initializer, parameters, names)
        if name is None:
            if np.prod(initializer.dims) > LARGEST_CONSTANT:
                raise ValueError(f"constant {initializer.name} {list(initializer.dims)} is large")
            constants.append(initializer)
            continue
        name = _shorten(name, prefixes)
        if name in weights:
            raise ValueError(f"two initialisers for the weight {name}")
        weights[name] = initializer
        renamed[initializer.name] = name

    for node in model.graph.node:
        node.input[:] = [renamed.get(name, name) for name in node.input]
    _name_nodes(model, set(weights), prefixes)
    inputs = list(model.graph.input)
    inputs += [
        helper.make_tensor_value_info(name, tensor.data_type, list(tensor.dims))
        for name, tensor in weights.items()
    ]
    graph = helper.make_graph(
        list(model.graph.node),
        model.graph.name,
        inputs,
        list(model.graph.output),
        constants,
    )
    lost = {name: numpy_helper.to_array(tensor) for name, tensor in weights.items()}
    return finish(graph, list(weights)), lost


def finish(graph: onnx.GraphProto, weight_inputs: list[str]) -> ModelProto:
    """Wrap a graph whose weights are inputs already, without anything a reader does not need."""
    for node in graph.node:
        node.ClearField("doc_string")
        node.ClearField("metadata_props")
    for value in (*graph.input, *graph.output, *graph.initializer):
        value.ClearField("doc_string")
        value.ClearField("metadata_props")
    model = helper.make_model(
        graph,
        ir_version=IR_VERSION,
        opset_imports=[helper.make_opsetid("", OPSET)],
        producer_name="npubench workloads/make",
    )
    if weight_inputs:
        entry = json.dumps(weight_inputs, separators=(",", ":"))
        helper.set_model_props(model, {WEIGHT_INPUTS_KEY: entry})
    onnx.checker.check_model(model, full_check=True)
    return model


def weight_inputs(model: ModelProto) -> set[str]:
    """Names of the graph inputs that are weights."""
    entries = {entry.key: entry.value for entry in model.metadata_props}
    return set(json.loads(entries.get(WEIGHT_INPUTS_KEY, "[]")))


def weight_elements(model: ModelProto) -> int:
    """Elements of all weights of a skeleton."""
    names = weight_inputs(model)
    return sum(
        int(np.prod([dim.dim_value for dim in value.type.tensor_type.shape.dim]))
        for value in model.graph.input
        if value.name in names
    )


def _digest(value: np.ndarray) -> bytes:
    return np.ascontiguousarray(value).tobytes()


def _weight_name(
    initializer: TensorProto,
    parameters: Mapping[str, np.ndarray],
    names: Mapping[bytes, str],
) -> str | None:
    if initializer.name in parameters:
        return initializer.name
    stem = initializer.name.removesuffix("_bias")
    if stem != initializer.name and stem in parameters:
        return stem.removesuffix("weight") + "bias"
    if initializer.data_type != TensorProto.FLOAT or not initializer.dims:
        return None
    return names.get(_digest(numpy_helper.to_array(initializer)))


def _name_nodes(model: ModelProto, weights: set[str], prefixes: Sequence[str]) -> None:
    """Name a node after its module: `layer1.0.conv1` if it holds the weight, else with its op."""
    taken: dict[str, int] = {}
    for node in model.graph.node:
        name = _node_name(node, weights, prefixes)
        count = taken.get(name, 0)
        taken[name] = count + 1
        node.name = f"{name}_{count}" if count else name


def _node_name(node: NodeProto, weights: set[str], prefixes: Sequence[str]) -> str:
    for source in node.input:
        if source in weights and source.endswith(".weight"):
            return source.removesuffix(".weight")
    kind = node.op_type.lower()
    scopes = {entry.key: entry.value for entry in node.metadata_props}.get(_SCOPES_KEY)
    # The exporter writes a Python list; its last item is the traced value, the one before the
    # module. Nodes that the optimiser made have no scope.
    modules = [item.strip(" '") for item in scopes.strip("[]").split(",")][:-1] if scopes else []
    module = _shorten(f"{modules[-1]}.", prefixes).removesuffix(".") if modules else ""
    if not module:
        return kind
    return module if module.rsplit(".", 1)[-1] == kind else f"{module}.{kind}"


def _shorten(name: str, prefixes: Sequence[str]) -> str:
    for prefix in prefixes:
        name = name.removeprefix(prefix)
    return name
