"""The last steps of reading: batch normalisations folded, what nothing uses left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from onnx.defs import OpSchema

from npubench.frontend.graph import Graph, Node
from npubench.frontend.infer import find_schema
from npubench.frontend.proto import Fact, value_of

__all__ = ["finish_graph"]

_FOLDED_INTO = {"Conv": 2, "ConvTranspose": 2, "Gemm": 2}  # operator: place of its bias


def finish_graph(
    name: str,
    nodes: Sequence[Node],
    facts: Mapping[str, Fact],
    inputs: Sequence[str],
    outputs: Sequence[str],
) -> tuple[Graph, tuple[str, ...]]:
    """The graph of some nodes in order, and the assumptions made on the way.

    Args:
        name: for messages.
        nodes: in topological order, constants folded.
        facts: every value by name, captured ones included.
        inputs: names that are fed.
        outputs: names given back.
    """
    known = dict(facts)
    kept, folded = _fold_batch_norms(list(nodes), known, frozenset(outputs))
    kept, dead = _drop_dead(kept, outputs)
    used = {n for node in kept for n in (*node.inputs, *node.outputs) if n}
    captured = {n for node in kept for n in _captured(node) if n in known}
    used.update(inputs, outputs, captured)
    used.update([known[n].origin for n in used if known[n].origin in known])
    made = {n for node in kept for n in node.outputs}
    direct = {n for node in kept for n in node.inputs}.union(outputs, captured)
    graph = Graph(
        name=name,
        nodes=tuple(kept),
        values={n: value_of(fact) for n, fact in known.items() if n in used},
        inputs=tuple(inputs),
        outputs=tuple(outputs),
        weights=tuple(
            n
            for n, fact in known.items()
            if fact.is_weight and n in direct and n not in made and n not in inputs
        ),
    )
    notes = []
    if folded:
        notes.append(f"BatchNormalization folded into the layer before it: {_some(folded)}")
    if dead:
        notes.append(f"left out, since nothing uses their results: {_some(dead)}")
    return graph, tuple(notes)


def _some(names: Sequence[str], shown: int = 3) -> str:
    listed = ", ".join(f"'{n}'" for n in names[:shown])
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return f"{len(names)} ({listed}{more})"


def _bodies(node: Node) -> list[Graph]:
    return [value for value in node.attributes.values() if isinstance(value, Graph)]


def _captured(node: Node) -> set[str]:
    """Values that a node's bodies take from outside or share with it by name."""
    names: set[str] = set()
    for body in _bodies(node):
        made = {n for inner in body.nodes for n in inner.outputs}
        names.update(n for n in body.values if n not in made)
        names.difference_update(body.inputs)
    return names


def _drop_dead(nodes: list[Node], outputs: Sequence[str]) -> tuple[list[Node], list[str]]:
    """Nodes that the outputs need, with unused optional results dropped."""
    live = set(outputs)
    kept: list[Node] = []
    dead: list[str] = []
    for node in reversed(nodes):
        if not live.intersection(n for n in node.outputs if n):
            dead.append(node.name)
            continue
        live.update(n for n in node.inputs if n)
        live.update(_captured(node))
        kept.append(_without_unused(node, live))
    return kept[::-1], dead[::-1]


def _without_unused(node: Node, live: set[str]) -> Node:
    schema = find_schema(node.op, node.version, node.domain)
    if schema is None or len(node.outputs) < 2:
        return node
    named = [
        n if n in live or not _is_optional(schema, i) else "" for i, n in enumerate(node.outputs)
    ]
    while named and not named[-1]:
        named.pop()
    return node if tuple(named) == node.outputs else replace(node, outputs=tuple(named))


def _is_optional(schema: OpSchema, place: int) -> bool:
    return (
        place < len(schema.outputs)
        and schema.outputs[place].option == OpSchema.FormalParameterOption.Optional
    )


def _fold_batch_norms(
    nodes: list[Node], facts: dict[str, Fact], outputs: frozenset[str]
) -> tuple[list[Node], list[str]]:
    """Fold each normalisation by constants into a convolution or Gemm that only it reads.

    y = s (conv(x, W) + b - mean) + beta, with s = gamma / sqrt(var + eps) per channel, is a
    convolution by s W with the bias s (b - mean) + beta. That holds for float weights; integers
    cannot take the scale, so behind them the normalisation stays.
    """
    uses: dict[str, int] = {}
    for node in nodes:
        for n in (*node.inputs, *_captured(node)):
            uses[n] = uses.get(n, 0) + 1
    producer = {n: i for i, node in enumerate(nodes) for n in node.outputs if n}
    folded: list[str] = []
    gone: set[int] = set()
    for index, node in enumerate(nodes):
        at = producer.get(node.input(0))
        if node.qualified_op != "BatchNormalization" or at is None or at in gone:
            continue
        layer = nodes[at]
        through = node.inputs[0]
        if (
            uses[through] == 1
            and through not in outputs
            and _takes(layer, node, facts)
            and uses[layer.inputs[1]] == 1
        ):
            nodes[at] = _with_bias(layer, node, facts)
            producer[node.outputs[0]] = at
            gone.add(index)
            folded.append(node.name)
    return [node for i, node in enumerate(nodes) if i not in gone], folded


def _takes(layer: Node, norm: Node, facts: Mapping[str, Fact]) -> bool:
    place = _FOLDED_INTO.get(layer.op)
    if place is None or layer.domain or len([o for o in norm.outputs if o]) != 1:
        return False
    weight, bias = facts[layer.input(1)], layer.input(place)
    channels = facts[norm.inputs[0]].shape[1]
    return (
        weight.is_weight
        and weight.storage.is_float
        and all(facts[n].is_weight for n in norm.inputs[1:])
        and norm.attributes.get("spatial", 1) == 1
        and (not bias or (facts[bias].is_weight and facts[bias].elements == channels))
    )


def _with_bias(layer: Node, norm: Node, facts: dict[str, Fact]) -> Node:
    place = _FOLDED_INTO[layer.op]
    inputs = [*layer.inputs, *[""] * (place + 1 - len(layer.inputs))]
    if not inputs[place]:
        shift = facts[norm.inputs[2]]
        name = f"{layer.name}.bias"
        while name in facts:
            name += "_"
        facts[name] = replace(shift, name=name, data=None, origin=name)
        inputs[place] = name
    return replace(layer, inputs=tuple(inputs), outputs=(norm.outputs[0],))
