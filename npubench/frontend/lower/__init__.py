"""Lowering: a resolved graph becomes a `Network` of layers, operator by operator.

Each module gives a table from (domain, operator) to a function that adds that operator's layers
to a scope; an operator in no table becomes an `UnknownLayer`, never nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from npubench.frontend import LoadedNetwork
from npubench.frontend.graph import Graph, Node
from npubench.frontend.lower import (
    attention,
    control,
    convolution,
    einsum,
    elementwise,
    matmul,
    movement,
    normalization,
    pooling,
    quantized,
    recurrent,
    reduction,
)
from npubench.frontend.lower.context import Lowering, Scope
from npubench.frontend.lower.costs import MICROSOFT, QONNX
from npubench.ir import FORMATS, LayerPrecision, Network, PrecisionPlan, Role

__all__ = ["LOWERINGS", "find_lowering", "lower_graph"]

LOWERINGS: Mapping[tuple[str, str], Lowering] = MappingProxyType(
    {
        **attention.LOWERINGS,
        **control.LOWERINGS,
        **convolution.LOWERINGS,
        **einsum.LOWERINGS,
        **elementwise.LOWERINGS,
        **matmul.LOWERINGS,
        **movement.LOWERINGS,
        **normalization.LOWERINGS,
        **pooling.LOWERINGS,
        **quantized.LOWERINGS,
        **recurrent.LOWERINGS,
        **reduction.LOWERINGS,
    }
)

# Operators that keep the quantised grid of their data, so that a format stated before them holds
# behind them: integer machines run them on the integers themselves.
_TRANSPARENT = frozenset(
    {
        *("Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Dropout"),
        *("Slice", "Split", "Concat", "Pad", "Gather", "Expand", "Tile"),
        *("DepthToSpace", "SpaceToDepth", "Resize", "Upsample"),
        *("Relu", "Clip", "MaxPool", "AveragePool", "GlobalMaxPool", "GlobalAveragePool"),
    }
)


def find_lowering(domain: str, op: str) -> Lowering | None:
    """The lowering of an operator.

    Optimised models write some contributed operators without a domain, and QONNX's live under
    several names; such an operator is known by its own name.
    """
    found = LOWERINGS.get((domain, op))
    if found is None and domain == "":
        found = LOWERINGS.get((MICROSOFT, op)) or LOWERINGS.get((QONNX[0], op))
    return found


def lower_graph(graph: Graph) -> LoadedNetwork:
    """Lower a resolved graph to a verified network, and the precision plan it states.

    Raises:
        ModelError: a node contradicts itself, or the network does not hold together.
    """
    scope = Scope(graph, _lower_nodes)
    fed = [scope.feed(name, _fed_role(graph, name)) for name in graph.inputs]
    _lower_nodes(scope)
    outputs = tuple(scope.read(name) for name in graph.outputs)
    network = Network(
        name=graph.name,
        tensors=MappingProxyType(scope.tensors),
        layers=tuple(scope.layers),
        inputs=tuple(fed),
        outputs=outputs,
        sha256=graph.sha256,
        assumptions=graph.assumptions,
    )
    return LoadedNetwork(network.verify(), _plan(scope))


def _fed_role(graph: Graph, name: str) -> Role:
    """Caches by their usual name (``past_key_values.0.key``) are state, any other input is data."""
    is_cache = name.startswith("past") and len(graph.values[name].shape) > 2
    return Role.STATE if is_cache else Role.INPUT


def _plan(scope: Scope) -> PrecisionPlan | None:
    if not scope.annotated:
        return None
    fp32 = LayerPrecision(FORMATS["fp32"], FORMATS["fp32"])
    return PrecisionPlan(
        fp32, MappingProxyType(scope.precisions), source="annotations of the model"
    )


def _lower_nodes(scope: Scope) -> None:
    for node in scope.graph.nodes:
        asked = [name for name in node.outputs if name]
        if asked and all(scope.value(name).is_weight for name in asked):
            continue  # made of weights alone: computed once, before any inference
        lowering = find_lowering(node.domain, node.op)
        if lowering is None:
            domain = node.domain or "ai.onnx"
            scope.unknown(node, f"operator {node.op} of domain {domain} is not modelled")
        else:
            lowering(scope, node)
        if node.op in _TRANSPARENT:
            _pass_format(scope, node)


def _pass_format(scope: Scope, node: Node) -> None:
    """State for the results what is stated for the data; of several parts, the widest."""
    operands = node.inputs if node.op == "Concat" else node.inputs[:1]
    stated = [scope.annotation(scope.read(name)) for name in operands if name]
    formats = [f for f in stated if f is not None]
    if formats and len(formats) == len(stated):
        widest = max(formats, key=lambda f: f.bits)
        for name in node.outputs:
            if name:
                scope.annotate(scope.read(name), widest)
