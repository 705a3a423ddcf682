"""Operators that move or rename data.

A view moves nothing. Everything else moves each element of its result once; that holds for Concat,
Split and Slice too, although a machine with strided access could avoid some of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

from npubench.frontend.graph import Node
from npubench.frontend.lower.context import Lowering, Scope, fail, ints, number
from npubench.frontend.lower.costs import QONNX
from npubench.ir import VectorKind

__all__ = ["LOWERINGS"]

_VIEWS = ("Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "OptionalGetElement")

# Which operands are data; the rest (shapes, axes, pads, repeats) steer the movement.
_MOVES: Mapping[str, tuple[int, ...]] = {
    "Split": (0,),
    "Slice": (0,),
    "Pad": (0,),
    "Expand": (0,),
    "Tile": (0,),
    "DepthToSpace": (0,),
    "SpaceToDepth": (0,),
    "CenterCropPad": (0,),
    "Gather": (0, 1),
    "GatherElements": (0, 1),
    "GatherND": (0, 1),
    "Compress": (0, 1),
    "ReverseSequence": (0, 1),
    "Shape": (0,),
    "Size": (0,),
    "Im2Col": (0,),
    "ConstantOfShape": (0,),
    "ArrayFeatureExtractor": (0, 1),
}
_SCATTERS = ("Scatter", "ScatterElements", "ScatterND", "TensorScatter")


def _view(scope: Scope, node: Node) -> None:
    scope.move(node, scope.read_data(node, 0), scope.writes(node.outputs), 0)


def _move(scope: Scope, node: Node) -> None:
    outputs = [name for name in node.outputs if name]
    # Split, Slice, Pad, Expand, Tile and Concat that keep the shape do nothing.
    keeps = (
        node.op in ("Split", "Slice", "Pad", "Expand", "Tile")
        and scope.shape(node.input(0)) == scope.shape(outputs[0])
        and all(step > 0 for step in _steps(scope, node))
    )
    elements = 0 if keeps else sum(scope.size(name) for name in outputs)
    inputs = scope.read_data(node, *_MOVES[node.op])
    scope.move(node, inputs, scope.writes(node.outputs), elements)


def _steps(scope: Scope, node: Node) -> tuple[int, ...]:
    """Steps of a Slice, (1,) where they are left out; a backward slice moves even a whole axis."""
    steps = scope.data(node.input(4)) if node.op == "Slice" else None
    return (1,) if steps is None else tuple(int(step) for step in steps.reshape(-1))


def _concat(scope: Scope, node: Node) -> None:
    names = [name for name in node.inputs if name]
    elements = scope.size(node.outputs[0]) if len(names) > 1 else 0
    scope.move(node, scope.reads(names), scope.writes(node.outputs), elements)


def _transpose(scope: Scope, node: Node) -> None:
    """A view where the axes longer than 1 keep their order."""
    shape = scope.shape(node.input(0))
    order = ints(node, "perm", tuple(range(len(shape)))[::-1])
    if sorted(order) != list(range(len(shape))):
        raise fail(node, f"perm {order} is no order of the axes of a tensor of shape {shape}")
    long_axes = [axis for axis in order if shape[axis] > 1]
    moves = long_axes != sorted(long_axes)
    inputs = scope.reads(node.inputs[:1])
    scope.move(node, inputs, scope.writes(node.outputs), prod(shape) if moves else 0)


def _scatter(scope: Scope, node: Node) -> None:
    """Copy the data, then write the updates; with a reduction each update costs one operation."""
    inputs = scope.reads(node.inputs)
    copied = scope.size(node.outputs[0])
    updates = scope.size(node.input(1 if node.op == "TensorScatter" else 2))
    if node.attribute("reduction", "none") == "none":
        scope.move(node, inputs, scope.writes(node.outputs), copied + updates)
        return
    result = scope.value(node.outputs[0])
    copy = scope.temporary(node, "copy", result.shape, result.dtype)
    scope.move(node, inputs[:1], (copy,), copied, suffix="copy")
    scope.vector(
        node,
        VectorKind.ELEMENTWISE,
        inputs=(copy, *inputs[1:]),
        outputs=scope.writes(node.outputs),
        alu=updates,
    )


def _dropout(scope: Scope, node: Node) -> None:
    """A view in inference; in training mode a random number, a comparison and a product."""
    training = number(scope, node.input(2))
    if not training:
        _view(scope, node)
        return
    scope.vector(
        node,
        VectorKind.ELEMENTWISE,
        inputs=scope.reads(node.inputs[:1]),
        outputs=scope.writes(node.outputs),
        alu=4 * scope.size(node.input(0)),
        approximation="random numbers by a linear generator",
    )


def _col2im(scope: Scope, node: Node) -> None:
    """Every column element is added to its place in the image."""
    scope.vector(
        node,
        VectorKind.ELEMENTWISE,
        inputs=scope.reads(node.inputs[:1]),
        outputs=scope.writes(node.outputs),
        alu=scope.size(node.input(0)),
    )


LOWERINGS: Mapping[tuple[str, str], Lowering] = {
    **{("", op): _view for op in _VIEWS},
    **{("", op): _move for op in _MOVES if op not in ("ArrayFeatureExtractor", "Im2Col")},
    **{("", op): _scatter for op in _SCATTERS},
    ("ai.onnx.ml", "ArrayFeatureExtractor"): _move,
    ("", "Concat"): _concat,
    ("", "Transpose"): _transpose,
    ("", "Dropout"): _dropout,
    ("", "Col2Im"): _col2im,
    **{(domain, "Im2Col"): _move for domain in QONNX},
}
