"""Shapes of ONNX's own operators where onnx's inference is silent, wrong or too strict."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import cast

import numpy as np
from onnx import NodeProto, TensorProto

from npubench.frontend.equation import label_extents, parse_equation
from npubench.frontend.fold import Array
from npubench.frontend.infer import Inferred
from npubench.frontend.proto import Fact, shape_text
from npubench.frontend.rules import Call, Rule, Shape, apply_rule, same

__all__ = ["infer_instead", "infer_silent"]


def infer_instead(
    node: NodeProto, inputs: Sequence[Fact | None], attributes: Mapping[str, object], opset: int
) -> list[Inferred | None] | None:
    """Types of the results of an operator that onnx would get wrong, None for all others."""
    rule = _INSTEAD.get(node.op_type)
    return None if rule is None else apply_rule(rule, Call(node, inputs, attributes, opset))


def infer_silent(
    node: NodeProto,
    inputs: Sequence[Fact | None],
    attributes: Mapping[str, object],
    opset: int,
    assume: Callable[[str], None],
) -> list[Inferred | None] | None:
    """Types of the results of an operator of which onnx says nothing, None if no rule helps.

    Args:
        node: the operator.
        inputs: what is known of its operands.
        attributes: as `proto.plain_attributes` gives them.
        opset: version of ONNX's own domain.
        assume: told of a result whose size depends on the data and is taken at its largest.
    """
    call = Call(node, inputs, attributes, opset)
    if node.op_type == "NonMaxSuppression":
        return apply_rule(lambda c: _most_boxes(c, assume), call)
    rule = _SILENT.get(node.op_type)
    return None if rule is None else apply_rule(rule, call)


def _number(call: Call, index: int) -> Array | None:
    """The value of a known operand of one element."""
    data = call.fact(index).data
    return data.ravel()[0] if data is not None and data.size == 1 else None


def _range(call: Call) -> list[Inferred | None]:
    """Exporters also give its bounds as vectors of one element, which onnx refuses."""
    numbers = [_number(call, i) for i in range(3)]
    if any(n is None for n in numbers):
        return [(call.elem(0), None)]
    start, limit, delta = (float(cast(float, n)) for n in numbers)
    count = (limit - start) / delta if delta else math.inf
    if not math.isfinite(count):
        raise call.wrong("its step or a bound is not a number that counts")
    return [(call.elem(0), (max(math.ceil(count), 0),))]


def _split(call: Call) -> list[Inferred | None]:
    """Parts as stated, or equal ones with the last one smaller; onnx aborts on a wrong count."""
    shape = call.shape(0)
    axis = call.integer("axis", 0)
    if not -len(shape) <= axis < len(shape):
        raise call.wrong(f"there is no axis {axis}")
    axis %= len(shape)
    count = len(call.node.output)
    stated = call.fact(1).data if call.has(1) else call.attributes.get("split")
    if call.has(1) and stated is None:
        return [(call.elem(0), None)] * count
    if stated is None:
        if call.integer("num_outputs", count) != count:
            raise call.wrong(f"it has {count} results and another number of parts")
        part = -(-shape[axis] // count)
        sizes = [min(part, max(shape[axis] - i * part, 0)) for i in range(count)]
    else:
        sizes = [int(size) for size in np.ravel(cast(Array, stated))]
    if len(sizes) != count or sum(sizes) != shape[axis]:
        raise call.wrong(f"{count} parts of {sizes} do not make up an axis of {shape[axis]}")
    return [(call.elem(0), (*shape[:axis], size, *shape[axis + 1 :])) for size in sizes]


def _stft(call: Call) -> list[Inferred | None]:
    """Frames x bins x (real, imaginary); one-sided is the default."""
    batch, length = call.shape(0)[:2]
    step = _number(call, 1)
    window = call.shape(2, 1)[0] if call.has(2) else None
    frame = _number(call, 3) if call.has(3) else window
    if step is None or frame is None:
        return [(call.elem(0), None)]
    size = int(cast(int, frame))
    if int(cast(int, step)) < 1 or not 0 < size <= length:
        raise call.wrong("its frames do not fit the signal")
    frames = (length - size) // int(cast(int, step)) + 1
    bins = size // 2 + 1 if call.integer("onesided", 1) else size
    return [(call.elem(0), (batch, frames, bins, 2))]


def _einsum(call: Call) -> list[Inferred | None]:
    """onnx takes a label's extent from one operand, also where that is 1 and is to be repeated."""
    shapes = [call.shape(index) for index in range(len(call.inputs))]
    try:
        equation = str(call.attributes.get("equation", ""))
        operands, result = parse_equation(equation, [len(shape) for shape in shapes])
        extents = label_extents(operands, shapes)
    except ValueError as error:
        raise call.wrong(str(error)) from error
    return [(call.elem(0), tuple(extents[label] for label in result))]


def _compress(call: Call) -> list[Inferred | None]:
    condition = call.fact(1).data
    if condition is None:
        return [(call.elem(0), None)]
    kept = int(np.count_nonzero(condition))
    shape = call.shape(0)
    if "axis" not in call.attributes:
        return [(call.elem(0), (kept,))]
    axis = call.integer("axis") % len(shape)  # onnx has checked its range
    return [(call.elem(0), (*shape[:axis], kept, *shape[axis + 1 :]))]


def _max_unpool(call: Call) -> list[Inferred | None]:
    target = call.fact(2).data if call.has(2) else None
    shape = None if target is None else tuple(int(e) for e in target.ravel())
    return [(call.elem(0), shape)]


def _most_boxes(call: Call, assume: Callable[[str], None]) -> list[Inferred | None]:
    """Rows of (batch, class, box): how many is data; the cost is bounded by the limit."""
    limit = _number(call, 2) if call.has(2) else None
    if limit is None:
        return [(TensorProto.INT64, None)]
    batches, classes, boxes = call.shape(1, 3)
    kept: Shape = (batches * classes * min(max(int(cast(int, limit)), 0), boxes), 3)
    name = call.node.output[0]
    assume(f"NonMaxSuppression '{name}' taken as keeping all it may: {shape_text(kept)}")
    return [(TensorProto.INT64, kept)]


_INSTEAD: dict[str, Rule] = {
    "Einsum": _einsum,
    "Range": _range,
    "STFT": _stft,
    "Split": _split,
}
_SILENT: dict[str, Rule] = {
    "Compress": _compress,
    "GroupNormalization": same,
    "MaxUnpool": _max_unpool,
    "MeanVarianceNormalization": same,
}
