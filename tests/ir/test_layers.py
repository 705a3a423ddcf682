"""Counts of a loop nest, against loops that are walked one by one; tensors."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from npubench.ir import FORMATS, LOOP_DIMS, LoopNest, MacLayer, MoveLayer, Tensor, VectorLayer
from npubench.ir.layer import VectorKind
from tests.depth import examples

BOUNDS = st.fixed_dictionaries({dim: st.integers(1, 2) for dim in LOOP_DIMS})


@given(BOUNDS)
@settings(max_examples=examples(30), deadline=None)
def test_counts_are_those_of_a_walk(bounds: dict[str, int]) -> None:
    nest = LoopNest(**bounds)
    products, weights, outputs = 0, set(), set()
    for at in product(*(range(bounds[dim]) for dim in LOOP_DIMS)):
        i = dict(zip(LOOP_DIMS, at, strict=True))
        products += 1
        weights.add(tuple(i[d] for d in ("G", "K", "C", "FZ", "FY", "FX")))
        outputs.add(tuple(i[d] for d in ("B", "G", "K", "OZ", "OY", "OX")))
    assert nest.macs == products
    assert nest.weight_elements == len(weights)
    assert nest.output_elements == len(outputs)
    rows, columns, depth = nest.gemm
    assert rows * columns * depth * nest.G == products
    assert nest.bounds == bounds


def test_inputs_are_those_of_the_unpadded_tensor() -> None:
    nest = LoopNest(B=2, G=3, C=4, OY=7, OX=7, FY=3, FX=3, pad_begin=(0, 1, 1))
    assert replace(nest, input_extent=(1, 7, 7)).input_elements == 2 * 3 * 4 * 49


def test_trips_multiply_work() -> None:
    same = {"op": "Op", "inputs": ("x", "w"), "outputs": ("y",), "trips": 5}
    nest = LoopNest(K=4, C=3)
    assert MacLayer(name="m", nest=nest, data="x", weight="w", **same).macs == 60
    assert VectorLayer(name="v", kind=VectorKind.POOL, alu_ops=7, **same).macs == 0


@pytest.mark.parametrize(("elements", "view"), [(0, True), (1, False)])
def test_a_view_moves_nothing(elements: int, view: bool) -> None:
    layer = MoveLayer(name="r", op="Reshape", inputs=("x",), outputs=("y",), elements=elements)
    assert layer.is_view is view


@pytest.mark.parametrize(
    ("shape", "elements"), [((), 1), ((3,), 3), ((2, 3, 4), 24), ((2, 0, 4), 0)]
)
def test_elements_of_a_tensor(shape: tuple[int, ...], elements: int) -> None:
    tensor = Tensor("t", shape, FORMATS["int4"])
    assert tensor.elements == elements
    assert tensor.bits == 4 * elements
