"""Graphs that contradict themselves are refused in words, whatever the reader let through."""

from __future__ import annotations

import pytest

from npubench.errors import ModelError
from npubench.frontend.graph import Graph, Node, Value
from npubench.frontend.lower import lower_graph
from npubench.ir import FORMATS, VectorLayer

Shape = tuple[int, ...]


def make_graph(
    op: str,
    inputs: dict[str, Shape],
    result: Shape,
    held: tuple[str, ...] = (),
    domain: str = "",
    **attributes: object,
) -> Graph:
    shapes = {**inputs, "y": result}
    node = Node("n", op, domain, tuple(inputs), ("y",), attributes, 21)
    return Graph(
        "g",
        (node,),
        {name: Value(name, s, FORMATS["fp32"], name in held) for name, s in shapes.items()},
        tuple(name for name in inputs if name not in held),
        ("y",),
        held,
    )


X = (1, 4, 6)
SQUARE = {"x": (1, 4, 5, 5), "w": (4, 4, 3, 3)}
CASES = [
    (
        make_graph("Conv", SQUARE, (1, 4, 3, 3), ("w",), auto_pad="SAME"),
        "auto_pad is 'SAME', not NOTSET, VALID, SAME_UPPER or SAME_LOWER",
    ),
    (
        make_graph("Conv", {"x": X, "w": (4, 4, 3, 3)}, X, ("w",)),
        "data (1, 4, 6), weight (4, 4, 3, 3) and result (1, 4, 6) differ in their number of axes",
    ),
    (
        make_graph("ConvTranspose", {"x": X, "w": (4, 4, 3, 3)}, X, ("w",)),
        "data (1, 4, 6) and weight (4, 4, 3, 3) differ in their number of axes",
    ),
    (
        make_graph("ConvTranspose", {"x": X, "w": (4, 2, 3)}, X, ("w",), group=3),
        "4 input channels and a weight of shape (4, 2, 3) do not make 3 group(s)",
    ),
    (make_graph("MatMul", {"x": (), "w": (3, 4)}, (4,), ("w",)), "a matrix product of a scalar"),
    (
        make_graph("Gemm", {"x": X, "w": (6, 2)}, (4, 2), ("w",)),
        "operand 'x' of shape (1, 4, 6) is not a matrix",
    ),
    (
        make_graph("MatMul", {"a": (3, 4, 5), "b": (2, 5, 6)}, (3, 4, 6)),
        "operands of shapes (3, 4, 5) and (2, 5, 6) do not match",
    ),
    (
        make_graph("Einsum", {"a": (2, 3)}, (2,), equation="ij,jk->ik"),
        "equation 'ij,jk->ik' is not one for 1 operand(s)",
    ),
    (
        make_graph("Einsum", {"a": (2, 3)}, (2,), equation="ij->k"),
        "equation 'ij->k': the result 'k' cannot be made",
    ),
    (
        make_graph("LSTM", {"x": (5, 3), "w": (1, 16, 3), "r": (1, 16, 4)}, (5, 1, 1, 4)),
        "X (5, 3), W (1, 16, 3) and R (1, 16, 4) should have three axes each",
    ),
    (
        make_graph("GRU", {"x": (5, 1, 3), "w": (1, 16, 3), "r": (1, 16, 4)}, (5, 1, 1, 4)),
        "X (5, 1, 3), W (1, 16, 3) and R (1, 16, 4) do not fit 3 gate(s)",
    ),
    (
        make_graph("LSTM", {"x": (0, 1, 3), "w": (1, 16, 3), "r": (1, 16, 4)}, (0, 1, 1, 4)),
        "its sequence has no steps",
    ),
    (
        make_graph(
            "RNN",
            {"x": (5, 1, 3), "w": (1, 4, 3), "r": (1, 4, 4)},
            (5, 1, 1, 4),
            activations=("Tanh", "Relu"),
        ),
        "2 activations for 1 direction(s), expected 1",
    ),
    (
        make_graph(
            "Attention", {"q": (1, 3, 4, 8), "k": (1, 2, 4, 8), "v": (1, 2, 4, 8)}, (1, 3, 4, 8)
        ),
        "3 query heads do not share 2 key heads",
    ),
    (
        make_graph("Attention", {"q": (4, 8), "k": (4, 8), "v": (4, 8)}, (4, 8)),
        "Q of shape (4, 8) should have three or four axes",
    ),
    (
        make_graph(
            "Attention", {"x": (1, 4, 8), "w": (8, 24)}, X, ("w",), "com.microsoft", num_heads=5
        ),
        "8 channels do not divide into 5 heads",
    ),
    (
        make_graph("Attention", {"x": (1, 4, 7), "w": (8, 24)}, X, ("w",), "com.microsoft"),
        "an input of shape (1, 4, 7) does not fit weights of shape (8, 24)",
    ),
    (
        make_graph("Attention", {"x": (1, 4, 8), "w": (8, 25)}, X, ("w",), "com.microsoft"),
        "25 projected channels do not split into (8, 8, 8)",
    ),
    (
        make_graph("MatMulNBits", {"x": X, "w": (4, 2, 16)}, X, ("w",), "com.microsoft", N=4),
        "N 4, K 0 and bits 4 do not describe a weight",
    ),
    (make_graph("Softmax", {"x": X}, X, axis=3), "axis 3 is outside a tensor of 3 axes"),
    (
        make_graph("MaxPool", {"x": (2, 3)}, (2, 3), kernel_shape=(1,)),
        "a tensor of shape (2, 3) has no spatial axes to pool",
    ),
    (
        make_graph("Transpose", {"x": X}, X, perm=(0, 1, 1)),
        "perm (0, 1, 1) is no order of the axes of a tensor of shape (1, 4, 6)",
    ),
    (
        make_graph("Resize", {"x": X}, (4, 6), mode="linear"),
        "data (1, 4, 6) and result (4, 6) differ in their number of axes",
    ),
    (
        make_graph("Attention", {"q": (1, 3, 4, 8), "k": (3, 4, 8), "v": (3, 4, 8)}, X),
        "Q (1, 3, 4, 8), K (3, 4, 8) and V (3, 4, 8) differ in their number of axes",
    ),
    (make_graph("If", {"flag": ()}, X), "it has no graph 'then_branch'"),
    (
        make_graph("Conv", SQUARE, (1, 4, 3, 3), ("w",), strides=2),
        "attribute 'strides' should be of type tuple, it is int",
    ),
]


@pytest.mark.parametrize(("graph", "message"), CASES, ids=[case[1][:40] for case in CASES])
def test_contradictions(graph: Graph, message: str) -> None:
    with pytest.raises(ModelError) as caught:
        lower_graph(graph)
    node = graph.nodes[0]
    assert str(caught.value) == f"node 'n' ({node.qualified_op}): {message}"


def test_a_value_nobody_writes() -> None:
    graph = make_graph("Relu", {"x": X}, X)
    broken = Graph("g", graph.nodes, graph.values, (), ("y",))
    with pytest.raises(ModelError) as caught:
        lower_graph(broken)
    assert str(caught.value) == "graph 'g': 'x' is read before it is written"


def test_a_value_nobody_knows() -> None:
    graph = make_graph("Relu", {"x": X}, X)
    broken = Graph("g", graph.nodes, {}, (), ("y",))
    with pytest.raises(ModelError) as caught:
        lower_graph(broken)
    assert str(caught.value) == "graph 'g': nothing is known about value 'y'"


def test_an_empty_product_has_no_work_and_says_so() -> None:
    network = lower_graph(make_graph("MatMul", {"x": (0, 4), "w": (4, 3)}, (0, 3), ("w",))).network
    (layer,) = network.layers
    assert isinstance(layer, VectorLayer)
    assert layer.alu_ops == 0
    assert layer.approximation == "a product over an empty tensor: no work"


def test_layers_of_one_name_are_told_apart() -> None:
    values = {n: Value(n, X, FORMATS["fp32"]) for n in "xyz"}
    nodes = (Node("same", "Relu", "", ("x",), ("y",)), Node("same", "Relu", "", ("y",), ("z",)))
    network = lower_graph(Graph("g", nodes, values, ("x",), ("z",))).network
    assert [layer.name for layer in network.layers] == ["same", "same~2"]


def test_weights_made_by_a_node_cost_nothing() -> None:
    values = {
        "w": Value("w", (3, 4), FORMATS["fp32"], is_weight=True),
        "t": Value("t", (4, 3), FORMATS["fp32"], is_weight=True, origin="w"),
        "x": Value("x", (2, 4), FORMATS["fp32"]),
        "y": Value("y", (2, 3), FORMATS["fp32"]),
    }
    nodes = (
        Node("turn", "Transpose", "", ("w",), ("t",)),
        Node("mm", "MatMul", "", ("x", "t"), ("y",)),
    )
    network = lower_graph(Graph("g", nodes, values, ("x",), ("y",), ("w",))).network
    assert [layer.name for layer in network.layers] == ["mm"]
    assert network.parameters == 12
