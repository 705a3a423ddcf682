"""Unrolled arrays: no assignment of factors is faster, and cycles are those of a walk."""

from __future__ import annotations

from itertools import product
from math import prod

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from npubench.ir import LOOP_DIMS, LoopNest
from npubench.machines.array.extents import Shape
from npubench.machines.array.unrolled import Kept, UnrolledCore, Unrolling, fastest_unrollings
from tests.depth import examples

DIMS = st.lists(st.sampled_from(LOOP_DIMS), max_size=3, unique=True).map(tuple)
BOUNDS = st.fixed_dictionaries({dim: st.integers(1, 5) for dim in LOOP_DIMS})


def cycles_of(bounds: dict[str, int], factors: dict[str, int]) -> int:
    return prod(-(-bounds[dim] // factors.get(dim, 1)) for dim in LOOP_DIMS)


def sides(limit: int, dims: tuple[str, ...]) -> list[dict[str, int]]:
    every = product(range(1, limit + 1), repeat=len(dims))
    return [dict(zip(dims, f, strict=True)) for f in every if prod(f) <= limit]


@given(BOUNDS, st.integers(1, 5), st.integers(1, 5), DIMS, DIMS)
@settings(max_examples=examples(80), deadline=None)
def test_nothing_is_faster(
    bounds: dict[str, int],
    rows: int,
    cols: int,
    row_dims: tuple[str, ...],
    col_dims: tuple[str, ...],
) -> None:
    found = fastest_unrollings(bounds, rows, cols, row_dims, col_dims)
    assert found
    best = min(
        cycles_of(bounds, {d: r.get(d, 1) * c.get(d, 1) for d in LOOP_DIMS})
        for r, c in product(sides(rows, row_dims), sides(cols, col_dims))
    )
    taken = [cycles_of(bounds, {d: u.of(d) for d in LOOP_DIMS}) for u in found]
    assert taken[0] == best
    assert taken == sorted(taken)
    used = [prod(u.of(d) for d in LOOP_DIMS) for u in found]
    for before, after in zip(
        zip(taken, used, strict=True), list(zip(taken, used, strict=True))[1:], strict=False
    ):
        assert before <= after
    for unrolling in found:
        assert set(unrolling.rows) <= set(row_dims)
        assert set(unrolling.cols) <= set(col_dims)
        assert prod(unrolling.rows.values()) <= rows
        assert prod(unrolling.cols.values()) <= cols


def test_how_many_are_kept() -> None:
    bounds = dict.fromkeys(LOOP_DIMS, 4)
    assert len(fastest_unrollings(bounds, 4, 4, ("K", "C"), ("OY", "OX"), keep=3)) == 3


def test_ties_go_to_fewer_processing_elements() -> None:
    bounds = dict.fromkeys(LOOP_DIMS, 1) | {"K": 5}
    (best, *_) = fastest_unrollings(bounds, 4, 1, ("K",), ())
    # Two steps either way: three rows do it, the fourth would idle in the second.
    assert (dict(best.rows), best.of("K")) == ({"K": 3}, 3)
    assert str(best) == "K3 | 1"


@given(BOUNDS, st.fixed_dictionaries({dim: st.integers(1, 3) for dim in LOOP_DIMS}))
@settings(max_examples=examples(60), deadline=None)
def test_cycles_are_those_of_a_walk(bounds: dict[str, int], factors: dict[str, int]) -> None:
    bounds = {
        dim: min(n, 4) if dim in ("OY", "OX", "K", "C") else min(n, 2) for dim, n in bounds.items()
    }
    rows = {dim: factors[dim] for dim in LOOP_DIMS[::2]}
    cols = {dim: factors[dim] for dim in LOOP_DIMS[1::2]}
    nest = LoopNest(**bounds, input_extent=(4, 8, 8))
    core = UnrolledCore(Shape(nest), Unrolling(rows, cols), Kept(1, 1))
    whole = (nest.B, nest.OY, nest.OX, nest.K, nest.C)
    work = core.work(*(np.array([extent]) for extent in whole))
    steps = product(*(range(0, bounds[dim], factors[dim]) for dim in LOOP_DIMS))
    done, walked = set(), 0
    for start in steps:
        walked += 1
        inside = (
            range(first, min(first + factors[dim], bounds[dim]))
            for dim, first in zip(LOOP_DIMS, start, strict=True)
        )
        for point in product(*inside):
            assert point not in done
            done.add(point)
    assert len(done) == nest.macs
    assert work.compute.tolist() == [walked]
    assert work.load.tolist() == work.skew.tolist() == [0]
    assert work.cycles.tolist() == [walked]


def test_words_cross_the_edge_of_the_array_as_often_as_loops_return_to_them() -> None:
    nest = LoopNest(K=8, C=4, OY=6, OX=6, FY=3, FX=3, input_extent=(1, 8, 8))
    core = UnrolledCore(Shape(nest), Unrolling({"FY": 3}, {"OY": 6}), Kept(2, 2))
    work = core.work(*(np.array([n]) for n in (1, 6, 6, 8, 4)))
    assert work.compute.tolist() == [8 * 4 * 6 * 3]
    assert work.weight_words.tolist() == [8 * 4 * 9]
    # Two of eight output channels stay: the whole input passes four times.
    assert work.input_words.tolist() == [4 * 8 * 8 * 4]
    # Two of four input channels stay, and FY lies across the rows: sums return twice.
    assert work.output_words.tolist() == [8 * 36 * 2]
