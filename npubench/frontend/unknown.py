"""Values that inference cannot settle: the file's own word on them, or the error to raise."""

from __future__ import annotations

from collections.abc import Sequence

from onnx import NodeProto, defs

from npubench.errors import ModelError, Problem, did_you_mean
from npubench.frontend.contrib import is_contributed
from npubench.frontend.dims import tensor_dims
from npubench.frontend.infer import find_schema, node_label
from npubench.frontend.proto import Fact, default_domain
from npubench.frontend.scope import Scope

__all__ = ["hinted", "unresolved"]


def hinted(
    name: str, elem: int, shape: tuple[int, ...] | None, scope: Scope
) -> tuple[int, tuple[int, ...] | None]:
    """The file's own word on a value that inference cannot settle: element type and shape."""
    hint = scope.hints.get(name)
    if hint is None or hint.type.WhichOneof("value") != "tensor_type":
        return elem, shape
    elem = elem or hint.type.tensor_type.elem_type
    if shape is not None or not hint.type.tensor_type.HasField("shape") or not elem:
        return elem, shape
    dims = scope.session.dims
    extents = [e if isinstance(e, int) else dims.value(e) for e in tensor_dims(hint.type)]
    known = tuple(e for e in extents if e is not None)
    return elem, known if len(known) == len(extents) else None


def unresolved(
    node: NodeProto, name: str, inputs: Sequence[Fact | None], known_op: bool, scope: Scope
) -> ModelError:
    """The error for a result whose shape nothing tells.

    Args:
        node: the operator.
        name: of the result.
        inputs: what is known of its operands.
        known_op: whether onnx describes the operator.
        scope: where the node stands.
    """
    label = node_label(node)
    domain = default_domain(node.domain)
    for operand, fact in zip(node.input, inputs, strict=True):
        if fact is not None and fact.missing:
            return ModelError(
                Problem(
                    f"{label}: the shape of '{name}' needs the values of '{operand}': "
                    f"{fact.missing}"
                )
            )
    if known_op or is_contributed(node.op_type, domain):
        computed = [
            f"'{operand}'"
            for operand, fact in zip(node.input, inputs, strict=True)
            if fact is not None and fact.data is None
        ]
        if not computed:
            return ModelError(Problem(f"{label}: the shape of '{name}' cannot be worked out"))
        return ModelError(
            Problem(
                f"{label}: the shape of '{name}' depends on values that are known only at run "
                f"time, of {' or '.join(computed)}",
                hint="export the model with fixed shapes, or cut it before this node",
            )
        )
    if domain == "com.microsoft.nchwc":
        return ModelError(
            Problem(
                f"{label}: the model was optimised by onnxruntime for the memory layout of one CPU",
                hint="give the model before optimisation, or save it at ORT_ENABLE_EXTENDED",
            )
        )
    version = scope.opsets.get(domain)
    latest = find_schema(node.op_type, defs.onnx_opset_version(), domain)
    if latest is not None and version is not None and not domain:
        hint = f"the file is of opset {version}; {node.op_type} came with {latest.since_version}"
    else:
        near = did_you_mean(node.op_type, _operators()) if not domain else None
        near = near if near and near.startswith("did") else None
        hint = near or (
            "run shape inference where the operator is known and save the model with the shapes: "
            "it is then kept as an unknown layer"
        )
    where = f"domain '{domain}'" if domain else "ONNX"
    return ModelError(
        Problem(
            f"{label}: no such operator is known in {where}, and the file gives '{name}' no shape",
            hint=hint,
        )
    )


def _operators() -> list[str]:
    return sorted({schema.name for schema in defs.get_all_schemas() if not schema.domain})
