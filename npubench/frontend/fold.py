"""Constant folding: shape arithmetic on small constants, in numpy.

Only results that can shape something are worth computing; the values of weights are never needed.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import onnx
from onnx import NodeProto, helper

__all__ = ["Array", "evaluate", "fold"]

Array = npt.NDArray[Any]
Attributes = Mapping[str, object]
_Evaluator = Callable[[Sequence[Array | None], Attributes, int], Array | Sequence[Array]]


def fold(
    op: str, version: int, inputs: Sequence[Array | None], attributes: Attributes
) -> list[Array] | None:
    """Results of an operator of ONNX's own domain on known values.

    Args:
        op: operator type.
        version: opset version.
        inputs: values by position, None where left out.
        attributes: as `proto.plain_attributes` gives them.

    Returns:
        One array per result, None if the operator is not in the table or its operands make no
        sense (shape inference words that mistake better).
    """
    evaluator = _TABLE.get(op)
    if evaluator is None:
        return None
    try:
        with np.errstate(all="ignore"):
            result = evaluator(inputs, attributes, version)
    except (ValueError, TypeError, IndexError, KeyError, OverflowError, ZeroDivisionError):
        return None
    results = list(result) if isinstance(result, list | tuple) else [cast(Array, result)]
    return [np.asarray(r) for r in results]


def evaluate(
    node: NodeProto, version: int, inputs: Mapping[str, Array | None], opset: int
) -> list[Array] | None:
    """Results by onnx's reference evaluator, for operators outside the table of `fold`.

    Args:
        node: the operator, without bodies or references to a function's attributes.
        version: the opset version of the node's domain.
        inputs: values by the names that the node uses.
        opset: ONNX's own opset version of the model.

    Returns:
        One array per result, None if the evaluator cannot run it.
    """
    from onnx.reference import ReferenceEvaluator  # slow to import and seldom needed

    feeds = {name: value for name, value in inputs.items() if name and value is not None}
    graph = helper.make_graph(
        [node],
        "constant",
        [helper.make_empty_tensor_value_info(name) for name in feeds],
        [helper.make_empty_tensor_value_info(name) for name in node.output if name],
    )
    imports = [helper.make_opsetid("", opset)]
    if node.domain:
        imports.append(helper.make_opsetid(node.domain, version))
    try:
        model = helper.make_model(graph, opset_imports=imports, ir_version=onnx.IR_VERSION)
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # overflow in a constant is the model's business
            results = ReferenceEvaluator(model).run(None, feeds)
    except Exception:  # the evaluator runs foreign input and raises whatever its kernels raise
        return None
    if not all(isinstance(r, np.ndarray | np.generic) for r in results):
        return None
    by_name = dict(zip((n for n in node.output if n), results, strict=True))
    return [np.asarray(by_name.get(name, ())) for name in node.output]


def _array(inputs: Sequence[Array | None], index: int) -> Array:
    value = inputs[index]
    if value is None:
        raise ValueError(index)
    return value


def _optional(inputs: Sequence[Array | None], index: int) -> Array | None:
    return inputs[index] if index < len(inputs) else None


def _binary(function: Callable[[Array, Array], Array]) -> _Evaluator:
    return lambda inputs, _attributes, _version: function(_array(inputs, 0), _array(inputs, 1))


def _unary(function: Callable[[Array], Array]) -> _Evaluator:
    return lambda inputs, _attributes, _version: function(_array(inputs, 0))


def _many(function: Callable[[Array, Array], Array]) -> _Evaluator:
    def run(inputs: Sequence[Array | None], _attributes: Attributes, _version: int) -> Array:
        total = _array(inputs, 0)
        for index in range(1, len(inputs)):
            total = function(total, _array(inputs, index))
        return total

    return run


def _divide(a: Array, b: Array) -> Array:
    """ONNX divides integers as C does: the quotient is cut towards zero."""
    if a.dtype.kind not in "iu":
        return np.divide(a, b)
    if not np.all(b):
        raise ZeroDivisionError
    quotient = np.floor_divide(np.abs(a), np.abs(b))
    return (np.sign(a) * np.sign(b) * quotient).astype(a.dtype)


def _modulo(inputs: Sequence[Array | None], attributes: Attributes, _version: int) -> Array:
    a, b = _array(inputs, 0), _array(inputs, 1)
    if a.dtype.kind in "iu" and not np.all(b):
        raise ZeroDivisionError
    return np.fmod(a, b) if attributes.get("fmod") else np.mod(a, b)


def _ints(value: object) -> tuple[int, ...]:
    if isinstance(value, tuple):
        return tuple(int(v) for v in value)
    return tuple(int(v) for v in np.ravel(cast(Array, value)))


def _axes(
    inputs: Sequence[Array | None], attributes: Attributes, index: int = 1
) -> tuple[int, ...] | None:
    """Axes from the attribute of old opsets or the operand of new ones."""
    if "axes" in attributes:
        return _ints(attributes["axes"])
    axes = _optional(inputs, index)
    return None if axes is None else _ints(axes)


def _squeeze(inputs: Sequence[Array | None], attributes: Attributes, _version: int) -> Array:
    return np.squeeze(_array(inputs, 0), axis=_axes(inputs, attributes))


def _unsqueeze(inputs: Sequence[Array | None], attributes: Attributes, _version: int) -> Array:
    axes = _axes(inputs, attributes)
    if axes is None:
        raise ValueError("axes")
    return np.expand_dims(_array(inputs, 0), axes)


def _concat(inputs: Sequence[Array | None], attributes: Attributes, _version: int) -> Array:
    parts = [_array(inputs, i) for i in range(len(inputs))]
    return np.concatenate(parts, axis=int(cast(int, attributes["axis"])))


def _gather(inputs: Sequence[Array | None], attributes: Attributes, _version: int) -> Array:
    axis = int(cast(int, attributes.get("axis", 0)))
    return np.take(_array(inputs, 0), _array(inputs, 1), axis=axis)


def _slice(inputs: Sequence[Array | None], attributes: Attributes, _version: int) -> Array:
    data = _array(inputs, 0)
    if "starts" in attributes:
        starts, ends = _ints(attributes["starts"]), _ints(attributes["ends"])
        axes = _ints(attributes["axes"]) if "axes" in attributes else None
        steps = None
    else:
        starts, ends = _ints(_array(inputs, 1)), _ints(_array(inputs, 2))
        given_axes, given_steps = _optional(inputs, 3), _optional(inputs, 4)
        axes = None if given_axes is None else _ints(given_axes)
        steps = None if given_steps is None else _ints(given_steps)
    axes = tuple(range(len(starts))) if axes is None else axes
    steps = (1,) * len(starts) if steps is None else steps
    index: list[slice] = [slice(None)] * data.ndim
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        extent = data.shape[axis]
        # An end at or below -extent - 1 of a backward slice means "down to the first".
        stop = None if step < 0 and end < -extent else end
        index[axis] = slice(start, stop, step)
    return data[tuple(index)]


def _reshape(inputs: Sequence[Array | None], attributes: Attributes, _version: int) -> Array:
    data = _array(inputs, 0)
    target = list(_ints(_array(inputs, 1)))
    if not attributes.get("allowzero", 0):
        target = [data.shape[i] if t == 0 else t for i, t in enumerate(target)]
    return data.reshape(target)


def _flatten(inputs: Sequence[Array | None], attributes: Attributes, _version: int) -> Array:
    data = _array(inputs, 0)
    axis = int(cast(int, attributes.get("axis", 1)))
    return data.reshape(math.prod(data.shape[:axis]), -1)


def _transpose(inputs: Sequence[Array | None], attributes: Attributes, _version: int) -> Array:
    perm = attributes.get("perm")
    return np.transpose(_array(inputs, 0), None if perm is None else _ints(perm))


def _cast(inputs: Sequence[Array | None], attributes: Attributes, _version: int) -> Array:
    return _array(inputs, 0).astype(helper.tensor_dtype_to_np_dtype(cast(int, attributes["to"])))


def _range(inputs: Sequence[Array | None], _attributes: Attributes, _version: int) -> Array:
    start, limit, delta = (_array(inputs, i).reshape(()) for i in range(3))
    # Through Any: numpy's stubs have no arange of zero-dimensional arrays.
    values: Array = cast(Any, np.arange)(start, limit, delta, dtype=start.dtype)
    return values


def _expand(inputs: Sequence[Array | None], _attributes: Attributes, _version: int) -> Array:
    data = _array(inputs, 0)
    return np.broadcast_to(data, np.broadcast_shapes(data.shape, _ints(_array(inputs, 1))))


def _tile(inputs: Sequence[Array | None], _attributes: Attributes, _version: int) -> Array:
    return np.tile(_array(inputs, 0), _ints(_array(inputs, 1)))


def _where(inputs: Sequence[Array | None], _attributes: Attributes, _version: int) -> Array:
    return np.where(_array(inputs, 0), _array(inputs, 1), _array(inputs, 2))


def _constant_of_shape(
    inputs: Sequence[Array | None], attributes: Attributes, _version: int
) -> Array:
    value = cast(Array, attributes.get("value", np.zeros(1, np.float32)))
    return np.full(_ints(_array(inputs, 0)), value.ravel()[0], dtype=value.dtype)


def _reduce(function: Callable[..., Array]) -> _Evaluator:
    def run(inputs: Sequence[Array | None], attributes: Attributes, _version: int) -> Array:
        data = _array(inputs, 0)
        axes = _axes(inputs, attributes)
        if not axes and attributes.get("noop_with_empty_axes", 0):
            return data
        keep = bool(attributes.get("keepdims", 1))
        return np.asarray(function(data, axis=axes or None, keepdims=keep)).astype(data.dtype)

    return run


def _split(inputs: Sequence[Array | None], attributes: Attributes, _version: int) -> list[Array]:
    data = _array(inputs, 0)
    axis = int(cast(int, attributes.get("axis", 0)))
    given = _optional(inputs, 1)
    if given is None and "split" not in attributes:
        raise ValueError("split")
    sizes = _ints(attributes["split"] if given is None else given)
    return np.split(data, np.cumsum(sizes)[:-1], axis=axis)


def _scatter_nd(inputs: Sequence[Array | None], attributes: Attributes, _version: int) -> Array:
    if attributes.get("reduction", "none") != "none":
        raise ValueError("reduction")
    result = _array(inputs, 0).copy()
    indices = _array(inputs, 1)
    result[tuple(np.moveaxis(indices, -1, 0))] = _array(inputs, 2)
    return result


_TABLE: dict[str, _Evaluator] = {
    "Abs": _unary(np.abs),
    "Add": _binary(np.add),
    "And": _binary(np.logical_and),
    "Cast": _cast,
    "Ceil": _unary(np.ceil),
    "Concat": _concat,
    "ConstantOfShape": _constant_of_shape,
    "Div": _binary(_divide),
    "Equal": _binary(np.equal),
    "Expand": _expand,
    "Flatten": _flatten,
    "Floor": _unary(np.floor),
    "Gather": _gather,
    "Greater": _binary(np.greater),
    "GreaterOrEqual": _binary(np.greater_equal),
    "Identity": _unary(np.asarray),
    "Less": _binary(np.less),
    "LessOrEqual": _binary(np.less_equal),
    "Max": _many(np.maximum),
    "Min": _many(np.minimum),
    "Mod": _modulo,
    "Mul": _binary(np.multiply),
    "Neg": _unary(np.negative),
    "Not": _unary(np.logical_not),
    "Or": _binary(np.logical_or),
    "Range": _range,
    "ReduceMax": _reduce(np.max),
    "ReduceMin": _reduce(np.min),
    "ReduceProd": _reduce(np.prod),
    "ReduceSum": _reduce(np.sum),
    "Reshape": _reshape,
    "Round": _unary(np.round),
    "ScatterND": _scatter_nd,
    "Slice": _slice,
    "Split": _split,
    "Sqrt": _unary(np.sqrt),
    "Squeeze": _squeeze,
    "Sub": _binary(np.subtract),
    "Sum": _many(np.add),
    "Tile": _tile,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
    "Where": _where,
    "Xor": _binary(np.logical_xor),
}
