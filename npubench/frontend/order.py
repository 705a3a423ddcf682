"""The order of nodes: files should be sorted, not all are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from onnx import AttributeProto, GraphProto, NodeProto

from npubench.errors import ModelError, Problem
from npubench.frontend.infer import node_label

__all__ = ["bodies", "free_names", "sort_nodes", "used_names"]


def bodies(node: NodeProto) -> Iterator[GraphProto]:
    """Graphs among a node's attributes."""
    for attribute in node.attribute:
        if attribute.type == AttributeProto.GRAPH:
            yield attribute.g
        elif attribute.type == AttributeProto.GRAPHS:
            yield from attribute.graphs


def free_names(graph: GraphProto) -> set[str]:
    """Names that a body uses and does not define, so takes from outside."""
    defined = {info.name for info in graph.input}
    defined.update(tensor.name for tensor in graph.initializer)
    defined.update(sparse.values.name for sparse in graph.sparse_initializer)
    used = {info.name for info in graph.output}
    for node in graph.node:
        used.update(used_names(node))
        defined.update(node.output)
    return used - defined


def used_names(node: NodeProto) -> set[str]:
    """Names a node needs, those its bodies take from outside among them."""
    names = {name for name in node.input if name}
    for body in bodies(node):
        names |= free_names(body)
    return names


def sort_nodes(nodes: Sequence[NodeProto], taken: set[str]) -> list[NodeProto]:
    """The nodes in an order in which each follows what it needs; the file's if that serves.

    Args:
        nodes: of one graph.
        taken: names that are inputs or initialisers of it.

    Raises:
        ModelError: a value made twice, or nodes in a circle.
    """
    maker: dict[str, int] = {}
    for index, node in enumerate(nodes):
        for name in node.output:
            if not name:
                continue
            if name in maker:
                raise ModelError(
                    Problem(
                        f"value '{name}' is made twice: by {node_label(nodes[maker[name]])} and "
                        f"by {node_label(node)}"
                    )
                )
            if name in taken:
                raise ModelError(
                    Problem(
                        f"value '{name}' is made twice: by {node_label(node)}, and it is an input "
                        "or initialiser of the same graph"
                    )
                )
            maker[name] = index
    needs = [sorted({maker[n] for n in used_names(node) if n in maker}) for node in nodes]
    if all(not before or before[-1] < index for index, before in enumerate(needs)):
        return list(nodes)
    return [nodes[index] for index in _sorted(nodes, needs)]


def _sorted(nodes: Sequence[NodeProto], needs: Sequence[Sequence[int]]) -> list[int]:
    """Depth first from the file's order, without recursion."""
    order: list[int] = []
    state = bytearray(len(nodes))  # 0 untouched, 1 on the path, 2 done
    for start in range(len(nodes)):
        path = [(start, iter(needs[start]))] if not state[start] else []
        if path:
            state[start] = 1
        while path:
            index, remaining = path[-1]
            following = next(remaining, None)
            if following is None:
                state[index] = 2
                order.append(index)
                path.pop()
            elif state[following] == 1:
                circle = [i for i, _ in path]
                circle = [*circle[circle.index(following) :], following]
                names = " -> ".join(node_label(nodes[i]) for i in reversed(circle[-6:]))
                raise ModelError(Problem(f"the graph has a circle: {names}"))
            elif not state[following]:
                state[following] = 1
                path.append((following, iter(needs[following])))
    return order
