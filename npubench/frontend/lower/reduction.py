"""Reductions, running sums, searches and transforms.

Work of a search depends on the data; it is counted as the comparisons of the worst case of a
sorting network or a full scan, and the layer says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

from npubench.frontend.graph import Node
from npubench.frontend.lower.context import Lowering, Scope, fail, normal_axis, number
from npubench.frontend.lower.costs import MICROSOFT, REDUCTIONS, REQUANTISE
from npubench.ir import VectorKind

__all__ = ["LOWERINGS"]

_UPPER_BOUND = "data-dependent work, counted at its upper bound"


def _reduce(scope: Scope, node: Node) -> None:
    """The extents removed are found from the sizes, which also serves axes given as operands."""
    read, written = scope.size(node.input(0)), scope.size(node.outputs[0])
    outputs = scope.writes(node.outputs)
    inputs = (scope.read(node.input(0)),)
    quantised = node.op.startswith("QLinear")
    if read == written and "noop_with_empty_axes" in node.attributes and not node.input(1):
        scope.move(node, inputs, outputs, 0)
        return
    element, result = REDUCTIONS[node.op.removeprefix("QLinear")]
    scope.vector(
        node,
        VectorKind.REDUCE,
        inputs=inputs,
        outputs=outputs,
        alu=element[0] * read + (result[0] + REQUANTISE * quantised) * written,
        special=element[1] * read + result[1] * written,
        window=max(read // written, 1) if written else 1,
    )


def _running(scope: Scope, node: Node) -> None:
    """CumSum and CumProd: one operation per element."""
    scope.vector(
        node,
        VectorKind.REDUCE,
        inputs=(scope.read(node.input(0)),),
        outputs=scope.writes(node.outputs),
        alu=scope.size(node.input(0)),
    )


def _levels(extent: int) -> int:
    """Comparisons per element of a balanced search over ``extent`` items."""
    return max((extent - 1).bit_length(), 1)


def _search(scope: Scope, node: Node, comparisons: int, data: tuple[int, ...] = (0,)) -> None:
    scope.vector(
        node,
        VectorKind.SEARCH,
        inputs=scope.read_data(node, *data),
        outputs=scope.writes(node.outputs),
        alu=comparisons,
        approximation=_UPPER_BOUND,
    )


def _top_k(scope: Scope, node: Node) -> None:
    """A heap of k kept while scanning: log2(k) + 1 comparisons per element at most."""
    x = scope.shape(node.input(0))
    axis = normal_axis(node, node.attribute("axis", -1), len(x))
    result = scope.shape(next(name for name in node.outputs if name))
    if len(result) != len(x):
        raise fail(node, f"data {x} and result {result} differ in their number of axes")
    _search(scope, node, prod(x) * (_levels(result[axis]) + 1))


# Intersection over union of two boxes: four limits, two sides, an area, a union, a threshold.
_BOX_OVERLAP = 12


def _non_max_suppression(scope: Scope, node: Node) -> None:
    """Sort each class's scores, then compare every box with every kept box."""
    scores = scope.shape(node.input(1))
    if len(scores) != 3:
        raise fail(node, f"scores of shape {scores} should have three axes")
    batch, classes, boxes = scores
    limit = number(scope, node.input(2))
    kept = min(boxes, int(limit)) if limit else boxes
    _search(scope, node, batch * classes * boxes * (_levels(boxes) + _BOX_OVERLAP * kept), (0, 1))


def _unique(scope: Scope, node: Node) -> None:
    size = scope.size(node.input(0))
    _search(scope, node, size * (_levels(size) + 1))


def _scan(scope: Scope, node: Node) -> None:
    """NonZero: one comparison per element; the result is as long as it can be."""
    _search(scope, node, scope.size(node.input(0)))


def _multinomial(scope: Scope, node: Node) -> None:
    """Running sums of the probabilities, then one binary search per sample."""
    x = scope.shape(node.input(0))
    samples = scope.size(node.outputs[0])
    _search(scope, node, prod(x) + samples * _levels(x[-1]))


def _dft(scope: Scope, node: Node) -> None:
    """A fast transform of radix 2: per line of n points n/2*log2(n) butterflies of 10 operations.

    A length that is no power of two is counted as if it were, and says so.
    """
    result = scope.shape(node.outputs[0])
    if node.op == "STFT":
        frame = scope.data(node.input(3))
        window = scope.shape(node.input(2)) if node.input(2) else ()
        points = int(frame.reshape(-1)[0].item()) if frame is not None else prod(window)
        lines = prod(result[:-2])
    else:
        axis_value = number(scope, node.input(2))
        axis = int(axis_value) if axis_value is not None else node.attribute("axis", -2)
        x = scope.shape(node.input(0))
        length = number(scope, node.input(1))
        points = int(length) if length else x[normal_axis(node, axis, len(x))]
        lines = prod(x[:-1]) // max(x[normal_axis(node, axis, len(x))], 1)
    whole = points & (points - 1) == 0
    work = lines * (points * _levels(points) // 2 * 10 + 2 * points * (node.op == "STFT"))
    scope.vector(
        node,
        VectorKind.REDUCE,
        inputs=scope.read_data(node, *((0, 2) if node.op == "STFT" else (0,))),
        outputs=scope.writes(node.outputs),
        alu=work,
        window=max(points, 1),
        approximation="Fourier transform by radix-2 butterflies"
        + ("" if whole else f", as if {points} points were a power of two"),
    )


LOWERINGS: Mapping[tuple[str, str], Lowering] = {
    **{("", op): _reduce for op in REDUCTIONS},
    (MICROSOFT, "QLinearReduceMean"): _reduce,
    ("", "CumSum"): _running,
    ("", "CumProd"): _running,
    ("", "TopK"): _top_k,
    ("", "NonMaxSuppression"): _non_max_suppression,
    ("", "Unique"): _unique,
    ("", "NonZero"): _scan,
    ("", "Multinomial"): _multinomial,
    ("", "DFT"): _dft,
    ("", "STFT"): _dft,
}
