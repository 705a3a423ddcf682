"""Gemm, MatMul and Einsum: counted from onnxruntime's result and the length of each sum."""

from __future__ import annotations

import itertools
from math import prod

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper

from npubench.errors import ModelError
from npubench.frontend.graph import Graph, Node, Value
from npubench.frontend.lower import lower_graph
from npubench.ir import FORMATS, LoopNest
from tests.depth import examples
from tests.frontend.lower_models import (
    lower,
    mac_layer,
    make_model,
    run,
    single,
    unknowns,
    values,
    vectors,
)

extents = st.integers(1, 4)


@st.composite
def matmul_shapes(draw: st.DrawFn) -> tuple[tuple[int, ...], tuple[int, ...]]:
    depth = draw(extents)
    batch = draw(st.lists(extents, max_size=3))
    left = [draw(st.sampled_from([n, 1])) for n in batch]
    right = [draw(st.sampled_from([n, 1])) for n in batch]
    left = left[draw(st.integers(0, len(left))) :]
    right = right[draw(st.integers(0, len(right))) :]
    a = (*left, draw(extents), depth) if left or draw(st.booleans()) else (depth,)
    b = (*right, depth, draw(extents)) if right or draw(st.booleans()) else (depth,)
    return a, b


@settings(max_examples=examples(120), deadline=None)
@given(matmul_shapes(), st.sampled_from(["", "a", "b"]))
def test_matmul_of_any_ranks(shapes: tuple[tuple[int, ...], tuple[int, ...]], held: str) -> None:
    a, b = values(*shapes[0]), values(*shapes[1], seed=1)
    model, fed = single("MatMul", [("a", a), ("b", b)], held=[held] if held else [])
    (expected,) = run(model, fed)
    network = lower(model).network
    layer = mac_layer(network)
    nest = layer.nest
    assert network.tensors["y"].shape == expected.shape
    assert network.macs == expected.size * a.shape[-1]
    assert nest.output_elements == expected.size
    # Each operand is touched whole and not twice, whichever of them is held.
    assert nest.weight_elements == (a if held == "a" else b).size
    assert nest.input_elements == (b if held == "a" else a).size
    assert layer.weight == (held or "b")
    assert layer.weight_batched is (not held)
    assert network.with_batch(3).verify().macs == 3 * network.macs


@pytest.mark.parametrize(
    ("left", "right", "nest"),
    [
        # rows of a batch stream past a weight
        ((2, 5, 3), (3, 4), LoopNest(B=2, OX=5, C=3, K=4, input_extent=(1, 1, 5))),
        ((2, 6, 5, 3), (3, 4), LoopNest(B=2, OX=30, C=3, K=4, input_extent=(1, 1, 30))),
        ((7, 3), (3, 4), LoopNest(B=7, C=3, K=4)),
        ((3,), (3, 4), LoopNest(C=3, K=4)),
        # a weight for each of six heads
        ((6, 5, 3), (6, 3, 4), LoopNest(G=6, OX=5, C=3, K=4, input_extent=(1, 1, 5))),
        # one sequence, two weights: twice the output channels
        ((1, 5, 3), (2, 3, 4), LoopNest(OX=5, C=3, K=8, input_extent=(1, 1, 5))),
    ],
)
def test_nest_of_a_product_with_a_weight(
    left: tuple[int, ...], right: tuple[int, ...], nest: LoopNest
) -> None:
    model, _ = single("MatMul", [("a", values(*left)), ("b", values(*right))], held=["b"])
    assert mac_layer(lower(model).network).nest == nest


@pytest.mark.parametrize(
    ("left", "right", "nest"),
    [
        ((2, 6, 5, 3), (2, 6, 3, 4), LoopNest(G=12, OX=5, C=3, K=4, input_extent=(1, 1, 5))),
        # two groups of three query heads each share one key
        ((2, 3, 5, 7), (2, 1, 7, 4), LoopNest(G=2, OX=15, C=7, K=4, input_extent=(1, 1, 15))),
        ((5, 3), (3, 4), LoopNest(OX=5, C=3, K=4, input_extent=(1, 1, 5))),
    ],
)
def test_nest_of_a_product_of_activations(
    left: tuple[int, ...], right: tuple[int, ...], nest: LoopNest
) -> None:
    model, _ = single("MatMul", [("a", values(*left)), ("b", values(*right))])
    layer = mac_layer(lower(model).network)
    assert layer.nest == nest
    assert layer.weight_batched


def test_weight_on_the_left_is_the_transposed_problem() -> None:
    model, _ = single("MatMul", [("w", values(6, 3)), ("x", values(2, 3, 5))], held=["w"])
    layer = mac_layer(lower(model).network)
    assert (layer.data, layer.weight) == ("x", "w")
    assert layer.nest == LoopNest(B=2, OX=5, C=3, K=6, input_extent=(1, 1, 5))


@pytest.mark.parametrize(("trans_a", "trans_b"), list(itertools.product([0, 1], repeat=2)))
@pytest.mark.parametrize("held", ["a", "b", ""])
def test_gemm(trans_a: int, trans_b: int, held: str) -> None:
    a = values(*((3, 5) if trans_a else (5, 3)))
    b = values(*((4, 3) if trans_b else (3, 4)), seed=1)
    bias = values(4)
    model, fed = single(
        "Gemm",
        [("a", a), ("b", b), ("c", bias)],
        held=["c", *([held] if held else [])],
        transA=trans_a,
        transB=trans_b,
    )
    network = lower(model).network
    layer = mac_layer(network)
    assert network.tensors["y"].shape == run(model, fed)[0].shape
    assert network.macs == 5 * 4 * 3
    assert layer.weight == (held or "b")
    assert (layer.bias == "c") is (held == "b")
    assert sum(v.alu_ops for v in vectors(network)) == (0 if held == "b" else 20)


def test_gemm_factors_and_a_full_addend() -> None:
    """alpha and beta are one multiplication per result each, the addend one addition."""
    model, _ = single(
        "Gemm",
        [("a", values(5, 3)), ("b", values(3, 4)), ("c", values(5, 4))],
        held=["b"],
        alpha=0.5,
        beta=2.0,
    )
    network = lower(model).network
    (after,) = vectors(network)
    assert after.alu_ops == 3 * 20
    assert after.inputs[1] == "c"
    assert network.outputs == ("y",)


EQUATIONS = [
    ("bij,bjk->bik", [(2, 3, 4), (2, 4, 5)]),
    ("bhqd,bhkd->bhqk", [(2, 3, 4, 5), (2, 3, 6, 5)]),
    ("btc,cohd->btohd", [(2, 3, 4), (4, 2, 3, 2)]),
    ("ij,kj->ik", [(3, 4), (5, 4)]),
    ("i,j->ij", [(3,), (4,)]),
    ("ij,ij->ij", [(3, 4), (3, 4)]),
    ("ij,ij->", [(3, 4), (3, 4)]),
    ("...ij,...jk->...ik", [(2, 3, 4), (2, 4, 5)]),
    ("ij,jk", [(3, 4), (4, 5)]),
]


@pytest.mark.parametrize(("equation", "shapes"), EQUATIONS)
@pytest.mark.parametrize("held", [True, False])
def test_einsum_of_two(equation: str, shapes: list[tuple[int, ...]], held: bool) -> None:
    """The multiplications of the definition: one for each combination of all indices."""
    arrays = [values(*shape, seed=i) for i, shape in enumerate(shapes)]
    model, fed = single(
        "Einsum",
        [("a", arrays[0]), ("b", arrays[1])],
        held=["b"] if held else [],
        equation=equation,
    )
    (expected,) = run(model, fed)
    network = lower(model).network
    terms = equation.partition("->")[0].replace("...", "Z").split(",")
    extent: dict[str, int] = {}
    for term, shape in zip(terms, shapes, strict=True):
        for letter, size in zip(term, shape, strict=True):
            extent[letter] = max(extent.get(letter, 1), size)
    assert network.macs == prod(extent.values())
    assert network.tensors["y"].shape == expected.shape
    assert mac_layer(network).nest.output_elements == expected.size
    assert mac_layer(network).nest.weight_elements == arrays[1].size


def test_einsum_sums_an_axis_of_one_operand_first() -> None:
    model, _ = single(
        "Einsum", [("a", values(3, 4, 5)), ("b", values(4, 6))], equation="isj,sk->ik"
    )
    network = lower(model).network
    (summed,) = vectors(network)
    assert (summed.alu_ops, summed.window) == (60, 5)
    assert network.macs == 3 * 4 * 6


def test_einsum_of_three_goes_from_left_to_right() -> None:
    model, fed = single(
        "Einsum",
        [("a", values(2, 3)), ("b", values(3, 4)), ("c", values(4, 5))],
        equation="ij,jk,kl->il",
    )
    network = lower(model).network
    assert network.macs == 2 * 3 * 4 + 2 * 4 * 5
    assert network.tensors["y"].shape == run(model, fed)[0].shape
    assert {layer.approximation for layer in network.mac_layers} == {
        "operands multiplied in pairs from left to right"
    }


@pytest.mark.parametrize(
    ("equation", "kind", "work"),
    [
        ("ij->ji", "move", 12),
        ("ij->i", "vector", 12),
        ("ij->", "vector", 12),
        ("ij->ij", "move", 0),
    ],
)
def test_einsum_of_one(equation: str, kind: str, work: int) -> None:
    model, fed = single("Einsum", [("a", values(3, 4))], equation=equation)
    network = lower(model).network
    (layer,) = network.layers
    assert network.tensors["y"].shape == run(model, fed)[0].shape
    assert (layer.elements if kind == "move" else layer.alu_ops) == work


def test_einsum_diagonal_is_unknown() -> None:
    model, _ = single("Einsum", [("a", values(3, 3))], equation="ii->i")
    (layer,) = unknowns(lower(model).network)
    assert layer.reason == "equation 'ii->i' takes a diagonal, which is not modelled"


def _graph(node: Node, **shapes: tuple[int, ...]) -> Graph:
    return Graph(
        "g",
        (node,),
        {n: Value(n, s, FORMATS["fp32"]) for n, s in shapes.items()},
        tuple(n for n in shapes if n != "y"),
        ("y",),
    )


def test_operands_that_do_not_match() -> None:
    node = Node("mm", "MatMul", "", ("a", "b"), ("y",))
    with pytest.raises(ModelError) as caught:
        lower_graph(_graph(node, a=(2, 3), b=(4, 5), y=(2, 5)))
    assert str(caught.value) == (
        "node 'mm' (MatMul): operands of shapes (2, 3) and (4, 5) do not match"
    )


def test_equation_that_does_not_fit() -> None:
    node = Node("sum", "Einsum", "", ("a",), ("y",), {"equation": "ijk->i"})
    with pytest.raises(ModelError) as caught:
        lower_graph(_graph(node, a=(2, 3), y=(2,)))
    assert str(caught.value) == (
        "node 'sum' (Einsum): equation 'ijk->i': 'ijk' is not a tensor of 2 axes"
    )


def test_fused_matmul_transposes() -> None:
    a, b = values(2, 3, 5), values(2, 4, 3, seed=1)
    model, fed = single(
        "FusedMatMul",
        [("a", a), ("b", b)],
        domain="com.microsoft",
        transA=1,
        transB=1,
        alpha=0.5,
    )
    network = lower(model).network
    (expected,) = run(model, fed)
    assert network.tensors["y"].shape == expected.shape == (2, 5, 4)
    assert network.macs == 2 * 5 * 4 * 3
    assert vectors(network)[0].alu_ops == expected.size


def test_a_transposed_weight_is_one_weight() -> None:
    """A table used as it is and transposed (tied embeddings) is stored once."""
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["rows"]),
        helper.make_node("Transpose", ["table"], ["turned"], perm=[1, 0]),
        helper.make_node("MatMul", ["rows", "turned"], ["y"]),
    ]
    fed = {"ids": values(3, dtype=np.int64) * 0}
    network = lower(make_model(nodes, fed, {"table": values(50, 8)}, ["y"])).network
    assert network.parameters == 400
    assert network.macs == 3 * 50 * 8


def test_a_slice_of_a_weight_counts_the_whole() -> None:
    nodes = [
        helper.make_node("Slice", ["table", "zero", "four"], ["part"]),
        helper.make_node("MatMul", ["x", "part"], ["y"]),
    ]
    held = {"table": values(10, 6), "zero": np.array([0]), "four": np.array([4])}
    network = lower(make_model(nodes, {"x": values(2, 4)}, held, ["y"])).network
    assert network.parameters == 60
    assert network.tensors["part"].shape == (4, 6)
    assert network.tensors["part"].origin == "table"
