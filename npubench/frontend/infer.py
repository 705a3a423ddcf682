"""Shapes of one operator's results: by onnx's own inference, or by the contributed operators'."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache

from onnx import NodeProto, TypeProto, checker, defs, helper, numpy_helper, shape_inference

from npubench.errors import ModelError, Problem
from npubench.frontend.dims import tensor_dims
from npubench.frontend.proto import Fact, default_domain, shape_text

__all__ = ["Inferred", "find_schema", "infer_standard", "mistake", "node_label"]

# Element type and shape of one result; the shape is None while unknown.
Inferred = tuple[int, tuple[int, ...] | None]

# Inference looks at values of shapes, axes and scales, never at many of them.
_FLOAT_VALUES = 16
# onnx keeps versions in 32 bits; a file states them in 64.
_NEWEST = 2**31 - 1
# Operators that move a window over operand 0, and the place of the weight whose last axes are its
# extents; None for those that state it in an attribute.
_WINDOWED: Mapping[str, int | None] = {
    "AveragePool": None,
    "Conv": 1,
    "ConvInteger": 1,
    "DeformConv": 1,
    "LpPool": None,
    "MaxPool": None,
    "QLinearConv": 3,
}


def node_label(node: NodeProto) -> str:
    """How messages name a node: ``node 'conv1' (Conv)``."""
    name = node.name or next((o for o in node.output if o), "")
    domain = default_domain(node.domain)
    return f"node '{name}' ({domain + '.' if domain else ''}{node.op_type})"


@lru_cache(maxsize=1024)
def find_schema(op: str, version: int, domain: str) -> defs.OpSchema | None:
    """onnx's description of an operator, None if it has none at that version."""
    try:
        return defs.get_schema(op, min(max(version, 0), _NEWEST), domain)
    except defs.SchemaError:
        return None


@lru_cache(maxsize=4096)
def _tensor_type(elem: int, shape: tuple[int, ...]) -> TypeProto:
    return helper.make_tensor_type_proto(elem, shape)


def infer_standard(
    schema: defs.OpSchema,
    node: NodeProto,
    inputs: Sequence[Fact | None],
    opsets: Mapping[str, int],
) -> list[Inferred | None]:
    """Types of an operator's results by onnx's inference for its schema.

    Args:
        schema: of the operator at the version in force.
        node: the operator without references to a function's attributes.
        inputs: what is known of its operands, by position; None where left out.
        opsets: versions by domain, for operators that onnx defines by a function.

    Returns:
        One entry per result; None where onnx says nothing.

    Raises:
        ModelError: the operands do not fit together, or a result is no tensor.
    """
    if schema.name in _WINDOWED and not schema.domain:
        _check_window(node, inputs, _WINDOWED[schema.name])
    types: dict[str, TypeProto] = {}
    data = {}
    for name, fact in zip(node.input, inputs, strict=True):
        if fact is None:
            continue
        types[name] = _tensor_type(fact.elem, fact.shape)
        values = fact.data
        if values is not None and (values.dtype.kind in "iub" or values.size <= _FLOAT_VALUES):
            data[name] = numpy_helper.from_array(values)
    try:
        found = shape_inference.infer_node_outputs(
            schema,
            node,
            types,
            data,
            opset_imports=[helper.make_opsetid(d, v) for d, v in opsets.items()],
        )
    except (
        shape_inference.InferenceError,
        checker.ValidationError,
        defs.SchemaError,
        RuntimeError,
        ValueError,
        IndexError,
        OverflowError,
        MemoryError,
    ) as error:
        raise mistake(node, inputs, _reason(error)) from error
    results: list[Inferred | None] = []
    for name in node.output:
        kind = found.get(name)
        if not name or kind is None:
            results.append(None)
            continue
        if kind.WhichOneof("value") not in ("tensor_type", None):
            raise ModelError(
                Problem(
                    f"{node_label(node)} gives a sequence or an optional value, npubench reads "
                    "tensors only"
                )
            )
        results.append(_inferred(kind))
    return results


def _inferred(kind: TypeProto) -> Inferred:
    elem = kind.tensor_type.elem_type
    if not kind.tensor_type.HasField("shape"):
        return elem, None
    extents = tensor_dims(kind)
    shape = tuple(e for e in extents if isinstance(e, int))
    return elem, shape if len(shape) == len(extents) else None


def _check_window(node: NodeProto, inputs: Sequence[Fact | None], weight: int | None) -> None:
    """That a window fits its padded input, where onnx gives an empty result without a word.

    Attributes that do not fit each other are left to onnx.
    """
    given = {attribute.name: attribute for attribute in node.attribute}
    spaces = [fact.shape[2:] if fact is not None else () for fact in inputs]
    if len(spaces) <= (weight or 0):
        return
    extent, space = spaces[0], len(spaces[0])

    def listed(name: str, default: int, count: int = space) -> tuple[int, ...]:
        return tuple(given[name].ints) if name in given else (default,) * count

    kernel = listed("kernel_shape", 0) if weight is None else spaces[weight]
    strides, dilations = listed("strides", 1), listed("dilations", 1)
    auto_pad = given["auto_pad"].s if "auto_pad" in given else b"NOTSET"
    pads = (0,) * (2 * space) if auto_pad == b"VALID" else listed("pads", 0, 2 * space)
    fitting = len(kernel) == len(strides) == len(dilations) == space and len(pads) == 2 * space
    if auto_pad.startswith(b"SAME") or not fitting or min(strides, default=0) < 1:
        return
    padded = tuple(e + a + b for e, a, b in zip(extent, pads[:space], pads[space:], strict=True))
    reach = tuple((k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True))
    # With ceil_mode the last window may hang over the end, by less than one step.
    hangs = "ceil_mode" in given and given["ceil_mode"].i != 0
    slack = [step - 1 if hangs else 0 for step in strides]
    if all(r <= p + s for r, p, s in zip(reach, padded, slack, strict=True)):
        return
    spread = f", dilated to {shape_text(reach)}," if reach != kernel else ""
    raise mistake(
        node,
        inputs,
        f"a kernel of {shape_text(kernel)}{spread} is larger than its padded input of "
        f"{shape_text(padded)}",
    )


def mistake(node: NodeProto, inputs: Sequence[Fact | None], reason: str) -> ModelError:
    """Operands that do not fit together, with their shapes."""
    shapes = ", ".join(
        f"'{name}' {shape_text(fact.shape)}"
        for name, fact in zip(node.input, inputs, strict=True)
        if fact is not None
    )
    return ModelError(
        Problem(
            f"{node_label(node)}: its operands do not fit: {reason}",
            hint=f"operands: {shapes}" if shapes else None,
        )
    )


def _reason(error: Exception) -> str:
    """onnx's finding without its own prefixes, on one line."""
    text = re.sub(r"\[\w*Error\]\s*|\(op_type:[^)]*\):?\s*", "", str(error))
    return " ".join(text.split())[:300] or type(error).__name__
