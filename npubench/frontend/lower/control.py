"""If, Loop and Scan: bodies lowered in line.

Every layer of a loop body runs as often as the body (`trips`). The first trip's operands stand
for all trips: a carried value inside the body is its initial value.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from npubench.frontend.graph import Graph, Node
from npubench.frontend.lower.context import Lowering, Scope, fail
from npubench.ir import Role, VectorLayer

__all__ = ["LOWERINGS"]

_TRIPS = "npubench.trips"


def _body(node: Node, name: str) -> Graph:
    body = node.attributes.get(name)
    if not isinstance(body, Graph):
        raise fail(node, f"it has no graph '{name}'")
    return body


def _trips(node: Node) -> int:
    trips = node.attributes.get(_TRIPS)
    if not isinstance(trips, int) or trips < 0:
        raise fail(node, "its number of trips is not known")
    return trips


def _counted(trips: int) -> str:
    return f"body counted {trips} time{'' if trips == 1 else 's'}"


def _give(scope: Scope, node: Node, source: str, result: str, label: str) -> None:
    """Rename a tensor to a result of the node, if that result is asked for."""
    if result:
        written = scope.write(result)
        scope.move(node, (source,), (written,), 0, suffix=label)
        scope.annotate(written, scope.annotation(source))


def _macs(scope: Scope) -> int:
    return sum(layer.macs for layer in scope.layers)


def _vector_work(scope: Scope) -> int:
    return sum(
        (layer.alu_ops + layer.special_ops) * layer.trips
        for layer in scope.layers
        if isinstance(layer, VectorLayer)
    )


def _if(scope: Scope, node: Node) -> None:
    """The branch with more multiply-accumulates, then more vector work, stands for both."""
    bodies = {}
    for branch in ("then_branch", "else_branch"):
        graph = _body(node, branch)
        bodies[branch] = scope.body(node, graph, {})
        scope.lower_nodes(bodies[branch])
    branch = max(bodies, key=lambda name: (_macs(bodies[name]), _vector_work(bodies[name])))
    body = bodies[branch]
    results = [body.read(name) for name in body.graph.outputs]
    scope.absorb(body, note=f"'{branch}' of '{node.name}' counted, the one with more work")
    for index, (source, result) in enumerate(zip(results, node.outputs, strict=False)):
        _give(scope, node, source, result, f"result{index}")


def _carry(scope: Scope, node: Node, names: Sequence[str]) -> list[str]:
    """Tensors that carry values from trip to trip; a held initial value is copied first."""
    carried = []
    for index, name in enumerate(names):
        tensor = scope.read(name)
        if scope.tensor(tensor).role is Role.WEIGHT:
            value = scope.value(name)
            copy = scope.temporary(node, f"carried{index}", value.shape, value.dtype)
            scope.move(node, (tensor,), (copy,), scope.size(name), suffix=f"start{index}")
            tensor = copy
        carried.append(tensor)
    return carried


def _finish(scope: Scope, node: Node, body: Scope, states: int, results: Sequence[str]) -> None:
    """Results of a loop: final states renamed, results of all trips laid side by side."""
    tensors = [body.read(name) for name in results]
    scope.absorb(body)
    for index, (source, result) in enumerate(zip(tensors, node.outputs, strict=False)):
        if index < states:
            _give(scope, node, source, result, f"result{index}")
        elif result:
            written = scope.write(result)
            scope.move(node, (source,), (written,), scope.size(result), suffix=f"result{index}")
            scope.annotate(written, scope.annotation(source))


def _loop(scope: Scope, node: Node) -> None:
    graph, trips = _body(node, "body"), _trips(node)
    names = node.inputs[2:]
    carried = _carry(scope, node, names)
    if len(graph.inputs) != len(names) + 2:
        raise fail(node, f"it carries {len(names)} values, its body takes {len(graph.inputs)}")
    if not trips:
        _no_trips(scope, node, carried)
        return
    counter, condition = (graph.values[name] for name in graph.inputs[:2])
    made = [
        scope.temporary(node, label, value.shape, value.dtype)
        for label, value in (("trip", counter), ("condition", condition))
    ]
    computed = [name for name in node.inputs[:2] if name and not scope.is_weight(name)]
    scope.move(node, scope.reads(computed), tuple(made), 0, suffix="counter")
    aliases = dict(zip(graph.inputs, (*made, *carried), strict=True))
    body = scope.body(node, graph, aliases, trips, _counted(trips))
    scope.lower_nodes(body)
    _finish(scope, node, body, len(names), graph.outputs[1:])


def _no_trips(scope: Scope, node: Node, carried: Sequence[str]) -> None:
    """A loop that never runs gives its initial values, and empty results of all trips."""
    for index, result in enumerate(node.outputs):
        if index < len(carried):
            _give(scope, node, carried[index], result, f"result{index}")
        elif result:
            scope.move(node, (), (scope.write(result),), 0, suffix=f"result{index}")


def _scan(scope: Scope, node: Node) -> None:
    graph, trips = _body(node, "body"), _trips(node)
    scanned = node.attribute("num_scan_inputs", 0)
    states = len(node.inputs) - scanned
    if not 0 < scanned <= len(node.inputs) or len(graph.inputs) != len(node.inputs):
        raise fail(node, f"it has {len(node.inputs)} operands, its body takes {len(graph.inputs)}")
    carried = _carry(scope, node, node.inputs[:states])
    if not trips:
        _no_trips(scope, node, carried)
        return
    slices = []
    for index, name in enumerate(node.inputs[states:]):
        row = graph.values[graph.inputs[states + index]]
        # A view: every trip reads its slice in place.
        part = scope.temporary(node, f"slice{index}", row.shape, row.dtype)
        whole = scope.read(name)
        scope.move(node, (whole,), (part,), 0, suffix=f"slice{index}")
        scope.annotate(part, scope.annotation(whole))
        slices.append(part)
    aliases = dict(zip(graph.inputs, (*carried, *slices), strict=True))
    body = scope.body(node, graph, aliases, trips, _counted(trips))
    scope.lower_nodes(body)
    _finish(scope, node, body, states, graph.outputs)


LOWERINGS: Mapping[tuple[str, str], Lowering] = {
    ("", "If"): _if,
    ("", "Loop"): _loop,
    ("", "Scan"): _scan,
}
