"""Graphs with one thing wrong: lowering gives a sound network or a ModelError, nothing else."""

from __future__ import annotations

import random
import warnings
from dataclasses import replace

import pytest
from onnx.backend.test.case.node import collect_testcases

from npubench.errors import ModelError
from npubench.frontend.graph import Graph, Node
from npubench.frontend.load import read_graph_proto
from npubench.frontend.lower import lower_graph


@pytest.fixture(scope="module")
def graphs() -> list[Graph]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # onnx overflows on purpose in its cases
        collected = collect_testcases(None)
    found = []
    for case in collected:
        try:
            found.append(read_graph_proto(case.model))
        except ModelError:
            continue
    return found


def _damaged_node(node: Node, rng: random.Random) -> Node:
    """An attribute gone or absurd, or an operand left out."""
    kind = rng.randrange(3)
    if kind == 0 and node.attributes:
        attributes = dict(node.attributes)
        name = rng.choice(sorted(attributes))
        absurd = rng.choice([None, 0, -1, 7, "x", 1.5, (1, 2), (), 10**6])
        if absurd is None:
            del attributes[name]
        else:
            attributes[name] = absurd
        return replace(node, attributes=attributes)
    if kind == 1 and node.inputs:
        gone = rng.randrange(len(node.inputs))
        kept = tuple("" if i == gone else name for i, name in enumerate(node.inputs))
        return replace(node, inputs=kept)
    return replace(node, inputs=node.inputs[:-1])


def _damaged(graph: Graph, rng: random.Random) -> Graph:
    if graph.nodes and rng.random() < 0.5:
        nodes = list(graph.nodes)
        index = rng.randrange(len(nodes))
        nodes[index] = _damaged_node(nodes[index], rng)
        return replace(graph, nodes=tuple(nodes))
    name = rng.choice(sorted(graph.values))
    shape = list(graph.values[name].shape)
    kind = rng.randrange(3)
    if kind == 0 or not shape:
        shape.insert(rng.randrange(len(shape) + 1), rng.choice([0, 1, 2, 5]))
    elif kind == 1:
        shape.pop(rng.randrange(len(shape)))
    else:
        shape[rng.randrange(len(shape))] = rng.choice([0, 1, 3, 1000])
    value = replace(graph.values[name], shape=tuple(shape))
    return replace(graph, values={**graph.values, name: value})


def test_damaged_graphs_never_crash(graphs: list[Graph]) -> None:
    rng = random.Random(20)
    refused = 0
    for graph in graphs:
        for _ in range(4):
            try:
                lower_graph(_damaged(graph, rng)).network.verify()
            except ModelError:
                refused += 1
    assert refused > len(graphs) // 4
