"""Normalisations and softmax: work per element, and per group of elements normalised together."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

from npubench.frontend.graph import Node
from npubench.frontend.lower.context import Lowering, Scope, ints, normal_axis
from npubench.frontend.lower.costs import MICROSOFT, NORMALIZATIONS, REQUANTISE, Work
from npubench.ir import VectorKind

__all__ = ["LOWERINGS"]

# Opset 13 made softmax work on one axis; before, on all axes from `axis` (1 by default) on.
_SOFTMAX_ONE_AXIS = 13


def _normalise(
    scope: Scope,
    node: Node,
    extent: int,
    extra: Work = (0, 0),
    kind: VectorKind = VectorKind.NORMALIZATION,
) -> None:
    """Add a normalisation over groups of ``extent`` elements of the first result."""
    element, group = NORMALIZATIONS[node.op.removeprefix("QLinear")]
    elements = scope.size(node.outputs[0])
    groups = elements // extent if extent else 0
    scope.vector(
        node,
        kind,
        inputs=scope.reads(node.inputs),
        outputs=scope.writes(node.outputs),
        alu=(element[0] + extra[0]) * elements + group[0] * groups,
        special=(element[1] + extra[1]) * elements + group[1] * groups,
        window=max(extent, 1),
    )


def _batch(scope: Scope, node: Node) -> None:
    _normalise(scope, node, 1)


def _layer(scope: Scope, node: Node) -> None:
    x = scope.shape(node.input(0))
    axis = normal_axis(node, node.attribute("axis", -1), len(x))
    _normalise(scope, node, prod(x[axis:]))


def _skip_layer(scope: Scope, node: Node) -> None:
    """input, skip, gamma, beta, bias; the simplified form has no beta."""
    bias = node.input(3 if "Simplified" in node.op else 4)
    _normalise(scope, node, scope.shape(node.input(0))[-1], extra=(int(bool(bias)), 0))


def _embed_layer(scope: Scope, node: Node) -> None:
    """Rows of three tables summed and normalised; a mask may be a second result."""
    _normalise(scope, node, scope.shape(node.outputs[0])[-1])


def _instance(scope: Scope, node: Node) -> None:
    _normalise(scope, node, prod(scope.shape(node.input(0))[2:]))


def _group(scope: Scope, node: Node) -> None:
    x = scope.shape(node.input(0))
    groups = node.attribute("num_groups", node.attribute("groups", 1)) * x[0]
    activation = 4 if node.attribute("activation", 0) else 0  # GroupNorm's optional SiLU
    _normalise(scope, node, prod(x) // max(groups, 1), extra=(activation, int(activation > 0)))


def _mean_variance(scope: Scope, node: Node) -> None:
    x = scope.shape(node.input(0))
    axes = ints(node, "axes", (0, 2, 3))
    _normalise(scope, node, prod(x[normal_axis(node, a, len(x))] for a in axes))


def _lp(scope: Scope, node: Node) -> None:
    x = scope.shape(node.input(0))
    _normalise(scope, node, x[normal_axis(node, node.attribute("axis", -1), len(x))])


def _softmax(scope: Scope, node: Node) -> None:
    x = scope.shape(node.input(0))
    by_axis = node.version >= _SOFTMAX_ONE_AXIS or node.domain == MICROSOFT
    axis = normal_axis(node, node.attribute("axis", -1 if by_axis else 1), len(x))
    extent = x[axis] if by_axis else prod(x[axis:])
    if node.op == "BiasSoftmax":
        extent = prod(x[axis:])
    quantised = (REQUANTISE, 0) if node.op.startswith("QLinear") else (0, 0)
    _normalise(scope, node, extent, extra=quantised, kind=VectorKind.SOFTMAX)


def _local_response(scope: Scope, node: Node) -> None:
    """x / (bias + alpha/size * sum of squares)^beta over ``size`` neighbouring channels.

    Per element: a square, size additions, one multiplication and addition, a power, a product.
    """
    size = node.attribute("size", 1)
    elements = scope.size(node.input(0))
    scope.vector(
        node,
        VectorKind.NORMALIZATION,
        inputs=scope.reads(node.inputs),
        outputs=scope.writes(node.outputs),
        alu=(size + 4) * elements,
        special=elements,
        window=size,
    )


LOWERINGS: Mapping[tuple[str, str], Lowering] = {
    ("", "BatchNormalization"): _batch,
    ("", "LayerNormalization"): _layer,
    ("", "RMSNormalization"): _layer,
    ("", "SimplifiedLayerNormalization"): _layer,
    (MICROSOFT, "SimplifiedLayerNormalization"): _layer,
    (MICROSOFT, "LayerNormalization"): _layer,
    (MICROSOFT, "SkipLayerNormalization"): _skip_layer,
    (MICROSOFT, "SkipSimplifiedLayerNormalization"): _skip_layer,
    (MICROSOFT, "EmbedLayerNormalization"): _embed_layer,
    ("", "InstanceNormalization"): _instance,
    ("", "GroupNormalization"): _group,
    (MICROSOFT, "GroupNorm"): _group,
    ("", "MeanVarianceNormalization"): _mean_variance,
    ("", "LpNormalization"): _lp,
    ("ai.onnx.ml", "Normalizer"): _lp,
    ("", "LRN"): _local_response,
    ("", "Softmax"): _softmax,
    ("", "LogSoftmax"): _softmax,
    ("", "Hardmax"): _softmax,
    (MICROSOFT, "BiasSoftmax"): _softmax,
    (MICROSOFT, "QLinearSoftmax"): _softmax,
}
