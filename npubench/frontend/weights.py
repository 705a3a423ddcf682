"""Which graph inputs are weights: skeletons keep their weights as inputs, without values."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from onnx import GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto

from npubench.errors import ModelError, Problem, did_you_mean
from npubench.frontend.order import bodies

__all__ = ["METADATA_KEY", "WeightInputs", "find_weight_inputs"]

METADATA_KEY = "npubench.weight_inputs"

# Operator: places whose operand is a weight in every network worth the name.
_PLACES: dict[str, frozenset[int]] = {
    "BatchNormalization": frozenset({1, 2, 3, 4}),
    "Conv": frozenset({1, 2}),
    "ConvInteger": frozenset({1}),
    "ConvTranspose": frozenset({1, 2}),
    "DeformConv": frozenset({1, 3}),
    "GRU": frozenset({1, 2, 3}),
    "Gemm": frozenset({1, 2}),
    "GroupNormalization": frozenset({1, 2}),
    "InstanceNormalization": frozenset({1, 2}),
    "LSTM": frozenset({1, 2, 3, 7}),
    "LayerNormalization": frozenset({1, 2}),
    "PRelu": frozenset({1}),
    "QLinearConv": frozenset({1, 2, 3, 4, 5, 6, 7, 8}),
    "RMSNormalization": frozenset({1}),
    "RNN": frozenset({1, 2, 3}),
    "SimplifiedLayerNormalization": frozenset({1}),
    "MatMulNBits": frozenset({1, 2, 3, 5}),
}
_MATRIX = {"MatMul", "MatMulInteger", "QLinearMatMul"}  # place 1, if it has two axes
_ELEMENTWISE = {"Add", "Mul", "Sub", "Div"}  # if it has one axis
# A weight stays one behind these.
_PASS = {
    "Cast",
    "DequantizeLinear",
    "Identity",
    "QuantizeLinear",
    "Quant",
    "Reshape",
    "Squeeze",
    "Transpose",
    "Unsqueeze",
}
_MEMBERS = {"Add", "Concat", "Expand", "Gather", "Mul", "Where"}
_TYPES = frozenset(
    {
        TensorProto.FLOAT,
        TensorProto.FLOAT16,
        TensorProto.BFLOAT16,
        TensorProto.DOUBLE,
        TensorProto.INT8,
        TensorProto.UINT8,
        TensorProto.INT32,
    }
)


@dataclass(frozen=True, slots=True)
class WeightInputs:
    """Inputs that are weights.

    Attributes:
        names: of the inputs.
        stated: whether the caller or the file lists them, so that nothing else is a parameter.
        assumptions: what was guessed instead.
    """

    names: frozenset[str] = frozenset()
    stated: bool = False
    assumptions: tuple[str, ...] = ()


def find_weight_inputs(
    model: ModelProto, inputs: Sequence[ValueInfoProto], stated: Collection[str] | None
) -> WeightInputs:
    """The inputs that are weights, as stated or else as they are used.

    Args:
        model: the whole model; its metadata may list them under `METADATA_KEY`.
        inputs: its inputs without initialisers.
        stated: the caller's word, which holds against everything.

    Raises:
        ModelError: a stated name is no input, or the metadata is not a list of names.
    """
    names = [info.name for info in inputs]
    if stated is None:
        stated = _from_metadata(model)
    if stated is not None:
        for name in stated:
            if name not in names:
                hint = did_you_mean(name, names)
                raise ModelError(Problem(f"weight input '{name}' is no input", hint=hint))
        # An empty list says that no input is a weight; the weights are inside the file then.
        return WeightInputs(frozenset(stated), stated=bool(stated))
    found = _guess(model.graph, inputs)
    if not found:
        return WeightInputs()
    listed = ", ".join(f"'{n}'" for n in names if n in found)
    if len(found) > 3:
        first = [n for n in names if n in found][:3]
        listed = ", ".join(f"'{n}'" for n in first) + f" and {len(found) - 3} more"
    note = f"{len(found)} inputs are used as weights only and taken as such: {listed}"
    return WeightInputs(found, assumptions=(note,))


def _from_metadata(model: ModelProto) -> list[str] | None:
    for entry in model.metadata_props:
        if entry.key == METADATA_KEY:
            try:
                names = json.loads(entry.value)
            except (ValueError, RecursionError):
                names = None
            if not isinstance(names, list) or not all(isinstance(n, str) for n in names):
                raise ModelError(
                    Problem(f"metadata '{METADATA_KEY}' is not a JSON list of input names")
                )
            return names
    return None


def _guess(graph: GraphProto, inputs: Sequence[ValueInfoProto]) -> frozenset[str]:
    """Inputs whose every use is a weight's place; then what shares a module path with them."""
    candidates = {
        info.name: len(info.type.tensor_type.shape.dim) for info in inputs if _is_static(info)
    }
    consumers: dict[str, list[tuple[NodeProto, int]]] = {}
    for node in graph.node:
        for place, name in enumerate(node.input):
            consumers.setdefault(name, []).append((node, place))
        for body in bodies(node):
            for inner in _all_nodes(body):
                for name in inner.input:
                    consumers.setdefault(name, []).append((inner, -1))
    outputs = {info.name for info in graph.output}

    def uses(name: str) -> Iterator[tuple[NodeProto, int]]:
        pending = [name]
        seen = {name}
        while pending:
            for node, place in consumers.get(pending.pop(), ()):
                if node.op_type in _PASS and place == 0:
                    fresh = [o for o in node.output if o not in seen]
                    seen.update(fresh)
                    pending.extend(fresh)
                else:
                    yield node, place

    def fits(name: str, rank: int) -> bool:
        found = list(uses(name))
        return (
            bool(found)
            and name not in outputs
            and all(_is_weight_use(node, place, rank) for node, place in found)
        )

    weights = {name for name, rank in candidates.items() if fits(name, rank)}
    roots = {name.split(".", 1)[0] for name in weights if "." in name}
    for name in candidates:
        # Position tables and class tokens are added or joined as activations are, but an exporter
        # names them by their place in the module tree, as it names all weights.
        if name not in weights and "." in name and name.split(".", 1)[0] in roots:
            found = list(uses(name))
            if found and name not in outputs and all(n.op_type in _MEMBERS for n, _ in found):
                weights.add(name)
    return frozenset(weights) if len(weights) < len(inputs) else frozenset()


def _is_static(info: ValueInfoProto) -> bool:
    kind = info.type.tensor_type
    return (
        info.type.WhichOneof("value") == "tensor_type"
        and kind.elem_type in _TYPES
        and kind.HasField("shape")
        and all(dim.WhichOneof("value") == "dim_value" for dim in kind.shape.dim)
    )


def _is_weight_use(node: NodeProto, place: int, rank: int) -> bool:
    op = node.op_type
    if place in _PLACES.get(op, ()):
        return True
    if op in _MATRIX:
        return place >= 1 and rank <= 2
    if op == "Gather":
        return place == 0 and rank == 2
    return op in _ELEMENTWISE and rank == 1 and place >= 0


def _all_nodes(graph: GraphProto) -> Iterator[NodeProto]:
    for node in graph.node:
        yield node
        for body in bodies(node):
            yield from _all_nodes(body)
