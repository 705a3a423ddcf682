"""Pooling, unpooling, resampling: work per element written, from its window.

Per result: a maximum is window - 1 comparisons, a mean window additions and one multiplication,
an Lp norm two operations per element and one root.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

from npubench.frontend.graph import Node
from npubench.frontend.lower.context import Lowering, Scope, fail, ints
from npubench.frontend.lower.costs import MICROSOFT, REQUANTISE
from npubench.ir import VectorKind

__all__ = ["LOWERINGS"]


def _pool_work(op: str, window: int) -> tuple[int, int]:
    """(alu, special) per element written."""
    if op.endswith("MaxPool"):
        return window - 1, 0
    if op.endswith("LpPool"):
        return 2 * window, 1
    return window + 1, 0


def _pool(scope: Scope, node: Node) -> None:
    x = scope.shape(node.input(0))
    channels_last = bool(node.attribute("channels_last", 0))
    if len(x) < 3:
        raise fail(node, f"a tensor of shape {x} has no spatial axes to pool")
    if node.op.removeprefix("QLinear").startswith("Global"):
        window = prod(x[1:-1] if channels_last else x[2:])
    else:
        window = prod(ints(node, "kernel_shape", ()))
    alu, special = _pool_work(node.op, window)
    if node.op.startswith("QLinear"):
        alu += REQUANTISE
    outputs = scope.writes(node.outputs)
    elements = scope.size(node.outputs[0])
    if len(x) == 4 and not channels_last:
        scope.name_axes(outputs[0], ("B", "C", "Y", "X"))
    scope.vector(
        node,
        VectorKind.POOL,
        inputs=scope.reads(node.inputs),
        outputs=outputs,
        alu=alu * elements,
        special=special * elements,
        window=max(window, 1),
    )


def _max_unpool(scope: Scope, node: Node) -> None:
    # Writes every result once: the value where an index says so, zero elsewhere.
    inputs = scope.reads(node.inputs[:2])
    scope.move(node, inputs, scope.writes(node.outputs), scope.size(node.outputs[0]))


# Additions and multiplications per element written and interpolated axis.
_LINEAR = 3  # b + t*(a - b)
_CUBIC = 7  # four products, three sums


def _resize(scope: Scope, node: Node) -> None:
    """Nearest neighbours only move; linear and cubic interpolation work once per resized axis."""
    x, y = scope.shape(node.input(0)), scope.shape(node.outputs[0])
    outputs = scope.writes(node.outputs)
    mode = node.attribute("mode", "nearest")
    inputs = (scope.read(node.input(0)),)
    if mode == "nearest":
        scope.move(node, inputs, outputs, prod(y) if x != y else 0)
        return
    if len(x) != len(y):
        raise fail(node, f"data {x} and result {y} differ in their number of axes")
    per_axis = {"linear": _LINEAR, "bilinear": _LINEAR, "cubic": _CUBIC}.get(mode)
    if per_axis is None:
        raise fail(node, f"mode is '{mode}', not nearest, linear or cubic")
    axes = sum(a != b for a, b in zip(x, y, strict=True))
    taps = {_LINEAR: 2, _CUBIC: 4}[per_axis] ** axes
    scope.vector(
        node,
        VectorKind.RESIZE,
        inputs=inputs,
        outputs=outputs,
        alu=per_axis * axes * prod(y),
        window=taps,
    )


def _grid_sample(scope: Scope, node: Node) -> None:
    """Interpolation at given positions: unscale each coordinate (2), round it, blend the taps."""
    x = scope.shape(node.input(0))
    mode = node.attribute("mode", "linear")
    axes = len(x) - 2
    elements = scope.size(node.outputs[0])
    per_axis = {"nearest": 0, "cubic": _CUBIC, "bicubic": _CUBIC}.get(mode, _LINEAR)
    taps = {0: 1, _LINEAR: 2, _CUBIC: 4}[per_axis] ** axes
    # Each blend halves (quarters) the taps: the last axis blends once, the one before as often as
    # the last has taps.
    side = round(taps ** (1 / axes)) if axes else 1
    blends = sum(side**axis for axis in range(axes))
    positions = scope.size(node.input(1))
    scope.vector(
        node,
        VectorKind.RESIZE,
        inputs=scope.reads(node.inputs),
        outputs=scope.writes(node.outputs),
        alu=per_axis * blends * elements + 3 * positions,
        window=taps,
    )


def _roi(scope: Scope, node: Node) -> None:
    """RoiAlign: bilinear samples (3 blends of 3) averaged; MaxRoiPool: compares over its region."""
    elements = scope.size(node.outputs[0])
    x = scope.shape(node.input(0))
    if node.op == "RoiAlign":
        ratio = node.attribute("sampling_ratio", 0)
        note = "" if ratio else "adaptive sampling counted as 2 x 2 samples per result"
        samples = (ratio or 2) ** 2
        alu = (3 * _LINEAR + 1) * samples + 1
    else:
        pooled = max(prod(ints(node, "pooled_shape", (1, 1))), 1)
        samples = -(-prod(x[2:]) // pooled)
        note = "every region counted as the whole image, an upper bound"
        alu = samples
    scope.vector(
        node,
        VectorKind.POOL,
        inputs=scope.reads(node.inputs),
        outputs=scope.writes(node.outputs),
        alu=alu * elements,
        window=max(samples, 1),
        approximation=note,
    )


LOWERINGS: Mapping[tuple[str, str], Lowering] = {
    **{
        ("", op): _pool
        for op in (
            "MaxPool",
            "AveragePool",
            "LpPool",
            "GlobalMaxPool",
            "GlobalAveragePool",
            "GlobalLpPool",
        )
    },
    (MICROSOFT, "NhwcMaxPool"): _pool,
    (MICROSOFT, "QLinearAveragePool"): _pool,
    (MICROSOFT, "QLinearGlobalAveragePool"): _pool,
    ("", "MaxUnpool"): _max_unpool,
    ("", "Resize"): _resize,
    ("", "Upsample"): _resize,
    ("", "GridSample"): _grid_sample,
    (MICROSOFT, "GridSample"): _grid_sample,
    ("", "RoiAlign"): _roi,
    ("", "MaxRoiPool"): _roi,
}
