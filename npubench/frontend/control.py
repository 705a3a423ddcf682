"""Functions, branches and loops: inlined where settled, else bodies with their trip counts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from types import MappingProxyType

import numpy as np
from onnx import AttributeProto, FunctionProto, GraphProto, NodeProto, TensorProto

from npubench.errors import ModelError, Problem
from npubench.frontend.graph import Graph, Node
from npubench.frontend.infer import node_label
from npubench.frontend.proto import (
    Fact,
    array_fact,
    default_domain,
    element_format,
    plain_attributes,
    shape_text,
)
from npubench.frontend.scope import Builder, FunctionKey, Scope, Walk, deeper

__all__ = ["CONTROL_FLOW", "TRIPS", "inline_function", "loop_name", "run_control"]

CONTROL_FLOW = frozenset({"If", "Loop", "Scan"})
TRIPS = "npubench.trips"
# Loops of at most so many trips are written out if their shapes change from trip to trip.
_UNROLLED = 256

_WalkNodes = Callable[[Sequence[NodeProto], Scope, Sequence[str]], None]


def inline_function(
    function: FunctionProto,
    node: NodeProto,
    inputs: Sequence[Fact | None],
    scope: Scope,
    walk: _WalkNodes,
) -> None:
    """Walk a model-local function in place of the node that calls it.

    Raises:
        ModelError: the function calls itself, or gets more operands than it has.
    """
    key: FunctionKey = (default_domain(function.domain), function.name, function.overload)
    if key in scope.calls:
        raise ModelError(
            Problem(
                f"{node_label(node)}: function '{function.domain}.{function.name}' calls itself"
            )
        )
    if len(inputs) > len(function.input) or len(node.output) > len(function.output):
        raise ModelError(
            Problem(
                f"{node_label(node)}: function '{function.domain}.{function.name}' has "
                f"{len(function.input)} operands and {len(function.output)} results, the call has "
                f"{len(inputs)} and {len(node.output)}"
            )
        )
    imported = {default_domain(o.domain): o.version for o in function.opset_import}
    attributes = {a.name: a for a in function.attribute_proto}
    attributes.update((a.name, a) for a in node.attribute)
    inner = Scope(
        session=scope.session,
        builder=scope.builder,
        prefix=f"{scope.prefix}{loop_name(node)}/",
        opsets={**scope.session.opsets, **imported},
        attributes=attributes,
        calls=(*scope.calls, key),
        depth=deeper(scope.depth),
    )
    padded = [*inputs, *[None] * (len(function.input) - len(inputs))]
    inner.facts.update(zip(function.input, padded, strict=True))
    _alias(inner, function.output, node, scope)
    walk(function.node, inner, function.output)
    _take_results([inner.lookup(name) for name in function.output], node, scope)


def _alias(inner: Scope, outputs: Sequence[str], node: NodeProto, scope: Scope) -> None:
    """Let the results of what is inlined have the names that the caller's node gives them."""
    for name, outer in zip(outputs, node.output, strict=False):
        if outer and name not in inner.aliases and not inner.sees(name):
            inner.aliases[name] = scope.global_name(outer)


def _take_results(results: Sequence[Fact | None], node: NodeProto, scope: Scope) -> None:
    for outer, fact in zip(node.output, results, strict=False):
        if outer and fact is not None:
            scope.define(outer, fact)


def loop_name(node: NodeProto) -> str:
    """The node's name, or its first result's."""
    return node.name or next((o for o in node.output if o), node.op_type)


def run_control(node: NodeProto, inputs: Sequence[Fact | None], scope: Scope, walk: Walk) -> None:
    """Walk an If, Loop or Scan.

    Raises:
        ModelError: a trip count is not known, shapes change from trip to trip, or the node is
            malformed.
    """
    if node.op_type == "If":
        _run_if(node, inputs, scope, walk)
    elif node.op_type == "Loop":
        _run_loop(node, inputs, scope, walk)
    else:
        _run_scan(node, inputs, scope, walk)


def _body(node: NodeProto, name: str) -> GraphProto:
    for attribute in node.attribute:
        if attribute.name == name and attribute.type == AttributeProto.GRAPH:
            body: GraphProto = attribute.g
            return body
    raise ModelError(Problem(f"{node_label(node)} has no body '{name}'"))


def _single(fact: Fact | None) -> int | None:
    """The value of a known scalar."""
    if fact is None or fact.data is None or fact.data.size != 1:
        return None
    return int(fact.data.ravel()[0])


def _need(node: NodeProto, count: int, body: GraphProto) -> None:
    if len(body.output) < count:
        raise ModelError(
            Problem(
                f"{node_label(node)}: its body gives {len(body.output)} results, {count} are needed"
            )
        )


def _run_if(node: NodeProto, inputs: Sequence[Fact | None], scope: Scope, walk: Walk) -> None:
    if len(inputs) != 1 or inputs[0] is None:
        raise ModelError(Problem(f"{node_label(node)}: an If has one operand, its condition"))
    branches = {name: _body(node, name) for name in ("then_branch", "else_branch")}
    for branch in branches.values():
        _need(node, len(node.output), branch)
    condition = _single(inputs[0])
    if condition is not None:
        taken = branches["then_branch" if condition else "else_branch"]
        inner = scope.inner(f"{loop_name(node)}/")
        _alias(inner, [info.name for info in taken.output], node, scope)
        _take_results(walk(taken, inner), node, scope)
        return
    graphs: dict[str, object] = {}
    results: list[list[Fact]] = []
    for name, branch in branches.items():
        graph, facts = _read_body(branch, f"{loop_name(node)}/{name}/", {}, scope, walk)
        graphs[name] = graph
        results.append(facts)
    outputs = []
    for index, name in enumerate(node.output):
        then, other = results[0][index], results[1][index]
        larger = then if then.elements >= other.elements else other
        if name and then.shape != other.shape:
            scope.session.assume(
                f"{node_label(node)}: '{name}' is {shape_text(then.shape)} or "
                f"{shape_text(other.shape)}, taken as {shape_text(larger.shape)}"
            )
        outputs.append((larger.elem, larger.shape))
    _emit(node, inputs, outputs, graphs, scope)


def _read_body(
    body: GraphProto, prefix: str, inputs: dict[str, Fact], scope: Scope, walk: Walk
) -> tuple[Graph, list[Fact]]:
    """A body as a graph of its own. `inputs` are by the body's names and without names yet."""
    builder = Builder(scope.session, scope.builder)
    inner = scope.inner(prefix, builder)
    fed = []
    for name, fact in inputs.items():
        known = fact.renamed(inner.global_name(name))
        inner.define(name, known)
        fed.append(known)
    outputs = walk(body, inner)
    return builder.finish(prefix.rstrip("/"), fed, outputs), outputs


def _fed(elem: int, shape: tuple[int, ...], node: NodeProto) -> Fact:
    return Fact("", shape, elem, element_format(elem, node_label(node)))


def _emit(
    node: NodeProto,
    inputs: Sequence[Fact | None],
    outputs: Sequence[tuple[int, tuple[int, ...]]],
    attributes: dict[str, object],
    scope: Scope,
) -> None:
    names = []
    for name, (elem, shape) in zip(node.output, outputs, strict=False):
        if not name:
            names.append("")
            continue
        unique = scope.global_name(name)
        names.append(unique)
        scope.define(name, replace(_fed(elem, shape, node), name=unique))
    scope.builder.add(
        Node(
            name=scope.prefix + loop_name(node),
            op=node.op_type,
            domain="",
            inputs=tuple("" if fact is None else fact.name for fact in inputs),
            outputs=tuple(names),
            attributes=MappingProxyType(attributes),
            version=scope.opsets.get("", 0),
        )
    )


def _run_loop(node: NodeProto, inputs: Sequence[Fact | None], scope: Scope, walk: Walk) -> None:
    body = _body(node, "body")
    limit, start, *carried = [*inputs, None, None][: max(len(inputs), 2)]
    states = [fact for fact in carried if fact is not None]
    if len(states) != len(carried) or len(body.input) != len(states) + 2:
        raise ModelError(
            Problem(
                f"{node_label(node)}: its body takes {len(body.input)} values, the loop carries "
                f"{len(carried)}"
            )
        )
    _need(node, max(len(states) + 1, len(node.output) + 1), body)
    fed = [
        _fed(TensorProto.INT64, (), node),
        _fed(TensorProto.BOOL, (), node),
        *(_fed(f.elem, f.shape, node) for f in states),
    ]
    runs = start is None or _single(start) == 1
    if runs:
        # Induction: the condition holds in the first trip; it holds in all of them if the body
        # gives true whenever it is given true.
        fed[1] = replace(fed[1], is_weight=True, data=np.ones((), np.bool_))
    named = {info.name: fact for info, fact in zip(body.input, fed, strict=True)}
    known = _single(limit)
    try:
        graph, results = _read_body(body, f"{loop_name(node)}/", named, scope, walk)
        _check_carried(node, body, states, results[1 : len(states) + 1])
    except ModelError:
        # Shapes that follow the trip's number or grow are settled trip by trip, if trips are few.
        few = runs and known is not None and 0 < known <= _UNROLLED
        if not few or known is None or len(body.output) != len(states) + 1:
            raise
        _unroll(node, body, states, known, scope, walk)
        return
    endless = runs and _single(results[0]) == 1
    if start is not None and _single(start) == 0:
        trips = 0
    elif endless and known is not None and known < 2**62:
        trips = max(known, 0)
    else:
        trips = _asked_trips(node, known, scope)
    if scope.session.trips.get(loop_name(node), trips) != trips:
        raise ModelError(
            Problem(
                f"{node_label(node)} runs {trips} times by the file, not "
                f"{scope.session.trips[loop_name(node)]}"
            )
        )
    outputs = [(f.elem, f.shape) for f in states]
    outputs += [(f.elem, (trips, *f.shape)) for f in results[len(states) + 1 :]]
    _emit(node, inputs, outputs, {"body": graph, TRIPS: trips}, scope)


def _unroll(
    node: NodeProto,
    body: GraphProto,
    states: Sequence[Fact],
    trips: int,
    scope: Scope,
    walk: Walk,
) -> None:
    for trip in range(trips):
        inner = scope.inner(f"{loop_name(node)}/{trip}/")
        counters = (np.array(trip, np.int64), np.ones((), np.bool_))
        for info, data, elem in zip(
            body.input, counters, (TensorProto.INT64, TensorProto.BOOL), strict=False
        ):
            inner.define(info.name, array_fact(inner.global_name(info.name), data, elem))
        for info, state in zip(body.input[2:], states, strict=True):
            inner.facts[info.name] = state
        condition, *states = walk(body, inner)
        goes_on = _single(condition)
        if goes_on == 0 or (goes_on is None and trip + 1 >= _asked_trips(node, trips, scope)):
            break
    scope.session.assume(f"{node_label(node)} unrolled, since shapes change from trip to trip")
    _take_results(states, node, scope)


def _asked_trips(node: NodeProto, limit: int | None, scope: Scope) -> int:
    name = loop_name(node)
    given = scope.session.trips.get(name)
    if given is not None and (limit is None or given <= limit):
        return given
    if given is not None:
        raise ModelError(Problem(f"{node_label(node)} runs {limit} times at most, not {given}"))
    most = f", {limit} at most" if limit is not None and limit < 2**31 else ""
    raise ModelError(
        Problem(
            f"{node_label(node)}: how often it runs is decided at run time{most}: "
            f"give --dim {name}.trips=N"
        )
    )


def _check_carried(
    node: NodeProto, body: GraphProto, before: Sequence[Fact], after: Sequence[Fact]
) -> None:
    offset = len(body.input) - len(before)
    for index, (old, new) in enumerate(zip(before, after, strict=True)):
        if old.shape != new.shape:
            raise ModelError(
                Problem(
                    f"{node_label(node)}: '{body.input[offset + index].name}' is "
                    f"{shape_text(old.shape)} before the first trip and {shape_text(new.shape)} "
                    "after it; a shape that changes from trip to trip has no single cost",
                    hint="export the model with the loop unrolled or with a buffer of fixed size",
                )
            )


def _run_scan(node: NodeProto, inputs: Sequence[Fact | None], scope: Scope, walk: Walk) -> None:
    if scope.opsets.get("", 0) < 9:
        raise ModelError(
            Problem(
                f"{node_label(node)}: the Scan of opset 8 is not read",
                hint="convert the model to opset 9 or newer with onnx.version_converter",
            )
        )
    body = _body(node, "body")
    settings = plain_attributes(node, scope.session.external)
    (scans,) = _integers(node, settings.get("num_scan_inputs", 0), 1)
    facts = [fact for fact in inputs if fact is not None]
    if not 0 < scans <= len(facts) or len(body.input) != len(facts) or len(facts) != len(inputs):
        raise ModelError(
            Problem(
                f"{node_label(node)}: its body takes {len(body.input)} values, the node has "
                f"{len(inputs)}, {scans} of them scanned"
            )
        )
    states, scanned = facts[: len(facts) - scans], facts[len(facts) - scans :]
    _need(node, max(len(states), len(node.output)), body)
    axes = _integers(node, settings.get("scan_input_axes", (0,) * scans), scans)
    lengths = set()
    fed = [_fed(f.elem, f.shape, node) for f in states]
    for axis, fact in zip(axes, scanned, strict=True):
        if not -len(fact.shape) <= axis < len(fact.shape):
            raise ModelError(Problem(f"{node_label(node)}: '{fact.name}' has no axis {axis}"))
        lengths.add(fact.shape[axis])
        axis %= len(fact.shape)
        fed.append(_fed(fact.elem, (*fact.shape[:axis], *fact.shape[axis + 1 :]), node))
    if len(lengths) != 1:
        raise ModelError(
            Problem(f"{node_label(node)}: it scans over unequal lengths {sorted(lengths)}")
        )
    trips = lengths.pop()
    named = {info.name: fact for info, fact in zip(body.input, fed, strict=True)}
    graph, results = _read_body(body, f"{loop_name(node)}/", named, scope, walk)
    _check_carried(node, body, states, results[: len(states)])
    rows = results[len(states) :]
    out_axes = _integers(node, settings.get("scan_output_axes", (0,) * len(rows)), len(rows))
    outputs = [(f.elem, f.shape) for f in states]
    for axis, fact in zip(out_axes, rows, strict=True):
        place = axis % (len(fact.shape) + 1)
        outputs.append((fact.elem, (*fact.shape[:place], trips, *fact.shape[place:])))
    _emit(node, inputs, outputs, {**settings, "body": graph, TRIPS: trips}, scope)


def _integers(node: NodeProto, value: object, count: int) -> tuple[int, ...]:
    """An attribute that is to be so many integers."""
    values = value if isinstance(value, tuple) else (value,)
    integers = tuple(v for v in values if isinstance(v, int))
    if len(integers) != len(values) or len(values) != count:
        raise ModelError(
            Problem(f"{node_label(node)}: an attribute should be {count} integer(s): {value!r:.60}")
        )
    return integers
