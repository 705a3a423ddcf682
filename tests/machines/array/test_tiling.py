"""Tiling: traffic against an interpreter that walks every tile and looks at what changes."""

from __future__ import annotations

from itertools import permutations, product

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from npubench.ir import LoopNest
from npubench.machines.array.core import Geometry, Split, exact
from npubench.machines.array.extents import Extents, Shape
from npubench.machines.array.systolic import Dataflow, Drain, StationaryLoad, SystolicCore
from npubench.machines.array.tiling import (
    DoesNotFitError,
    OperandBits,
    Stage,
    Words,
    _Tiler,
    tile_layer,
)

BITS = OperandBits(input=8, weight=8, output=8, partial=32)


def core(nest: LoopNest, rows: int = 4, cols: int = 4) -> SystolicCore:
    return SystolicCore(
        Shape(nest),
        Geometry(rows, cols),
        Split(1, 1, 1),
        Dataflow.WEIGHT_STATIONARY,
        StationaryLoad.DOUBLE_BUFFERED,
        Drain.PIPELINED,
    )


def stage(capacity_bits: int, *operands: str, name: str = "buffer") -> Stage:
    return Stage(
        name=name,
        operands=frozenset(operands or ("input", "weight", "output")),
        capacity_bits=capacity_bits,
        double_buffered=True,
        bits=BITS,
        cycles_per_bit=1 / 64,
        feeds=frozenset(),
        feed_cycles_per_bit=0.0,
    )


def walk(nest: LoopNest, tile: Extents, order: str) -> Words:
    """Walk all tiles of one group, outermost loop first; fetch an operand when its tile changes.

    The input of a tile is the interval of rows and columns under its windows, clipped to what the
    input has; elements are counted from the sets themselves, not by a formula.
    """
    whole = Shape(nest).extents
    starts = {
        dim: range(0, extent, size) for dim, extent, size in zip("byxkc", whole, tile, strict=True)
    }
    loops = {"M": ["b", "y", "x"], "K": ["k"], "C": ["c"]}
    dims = [dim for group in order for dim in loops[group]]
    held: dict[str, object] = {}
    counts = {"input": 0, "weight": 0, "output": 0}
    for point in product(*(starts[dim] for dim in dims)):
        at = dict(zip(dims, point, strict=True))
        size = {
            dim: min(full, extent - at[dim])
            for dim, extent, full in zip("byxkc", whole, tile, strict=True)
        }
        spans = []
        for dim, axis, kernel in (("y", 1, nest.FY), ("x", 2, nest.FX)):
            touched = [
                out * nest.stride[axis] - nest.pad_begin[axis] + f * nest.dilation[axis]
                for out in range(at[dim], at[dim] + size[dim])
                for f in range(kernel)
            ]
            low, high = max(0, min(touched)), min(nest.input_extent[axis], max(touched) + 1)
            spans.append(max(0, high - low))
        now = {
            "input": (at["b"], at["y"], at["x"], at["c"]),
            "weight": (at["k"], at["c"]),
            "output": (at["b"], at["y"], at["x"], at["k"]),
        }
        elements = {
            "input": size["b"] * size["c"] * spans[0] * spans[1],
            "weight": size["k"] * size["c"] * nest.FY * nest.FX,
            "output": size["b"] * size["y"] * size["x"] * size["k"],
        }
        for operand, key in now.items():
            if held.get(operand) != key:
                held[operand] = key
                counts[operand] += elements[operand]
    return Words(**counts)


@st.composite
def convolutions(draw: st.DrawFn) -> LoopNest:
    stride, dilation, kernel = (
        draw(st.integers(1, 3)),
        draw(st.integers(1, 2)),
        draw(st.integers(1, 3)),
    )
    outputs = draw(st.integers(1, 7)), draw(st.integers(1, 5))
    pad = draw(st.integers(0, (kernel - 1) * dilation))
    extent = tuple(
        max(1, (out - 1) * stride + (kernel - 1) * dilation + 1 - pad - draw(st.integers(0, pad)))
        for out in outputs
    )
    return LoopNest(
        B=draw(st.integers(1, 3)),
        K=draw(st.integers(1, 6)),
        C=draw(st.integers(1, 6)),
        OY=outputs[0],
        OX=outputs[1],
        FY=kernel,
        FX=kernel,
        stride=(1, stride, stride),
        dilation=(1, dilation, dilation),
        pad_begin=(0, pad, pad),
        input_extent=(1, extent[0], extent[1]),
    )


@settings(max_examples=300, deadline=None)
@given(data=st.data(), nest=convolutions(), order=st.sampled_from(list(permutations("MKC"))))
def test_traffic_equals_a_walk_over_the_tiles(
    data: st.DataObject, nest: LoopNest, order: tuple[str, ...]
) -> None:
    whole = Shape(nest).extents
    rows = data.draw(
        st.sampled_from(
            [
                (data.draw(st.integers(1, whole.b)), whole.y, whole.x),
                (1, data.draw(st.integers(1, whole.y)), whole.x),
                (1, 1, data.draw(st.integers(1, whole.x))),
            ]
        )
    )
    tile = Extents(*rows, data.draw(st.integers(1, whole.k)), data.draw(st.integers(1, whole.c)))
    shape = Shape(nest)
    tiler = _Tiler(shape, core(nest), (stage(1),))
    table = tiler._traffic(whole, tuple(exact([size]) for size in tile), orders=(order,))
    counted = Words(**{operand: int(words[0, 0]) for operand, words in table.items()})
    assert counted == walk(nest, tile, "".join(order))


def fits(nest: LoopNest, capacity_bits: int) -> bool:
    """Whether one output's window, weights and output fit half of a memory."""
    window = ((nest.FY - 1) * nest.dilation[1] + 1) * ((nest.FX - 1) * nest.dilation[2] + 1)
    return capacity_bits // 2 >= 8 * (window + nest.FY * nest.FX + 1)


def distinct_inputs(nest: LoopNest, axis: int) -> int:
    """Input rows (1) or columns (2) that some window touches."""
    outputs, kernel = ((nest.OY, nest.FY), (nest.OX, nest.FX))[axis - 1]
    touched = {
        out * nest.stride[axis] - nest.pad_begin[axis] + f * nest.dilation[axis]
        for out in range(outputs)
        for f in range(kernel)
    }
    return len(touched & set(range(nest.input_extent[axis])))


@settings(max_examples=60, deadline=None)
@given(nest=convolutions(), kib=st.integers(1, 4))
def test_tiles_cover_the_layer_once(nest: LoopNest, kib: int) -> None:
    """Whatever the tiles, compute covers all MACs and no operand moves less than once."""
    capacity = kib * 512
    assume(fits(nest, capacity))
    work = tile_layer(Shape(nest), core(nest), (stage(capacity),))
    words = work.boundaries["buffer"]
    touched = nest.B * nest.C * distinct_inputs(nest, 1) * distinct_inputs(nest, 2)
    assert work.compute * 16 >= nest.macs
    assert words.input >= touched
    assert words.weight >= nest.weight_elements
    assert words.output >= nest.output_elements


def test_a_layer_that_fits_moves_everything_once() -> None:
    nest = LoopNest(K=8, C=4, OY=6, OX=6, FY=3, FX=3, input_extent=(1, 8, 8))
    work = tile_layer(Shape(nest), core(nest), (stage(1 << 20),))
    assert work.boundaries["buffer"] == Words(4 * 8 * 8, 8 * 4 * 9, 8 * 36)
    assert work.tiles[0].tile == Extents(1, 6, 6, 8, 4)


def test_less_room_never_moves_less() -> None:
    nest = LoopNest(
        K=64, C=32, OY=28, OX=28, FY=3, FX=3, pad_begin=(0, 1, 1), input_extent=(1, 28, 28)
    )
    shape = Shape(nest)
    moved = []
    for kib in (512, 128, 64, 32, 16, 8, 4):
        words = tile_layer(shape, core(nest, 16, 16), (stage(kib * 8192),)).boundaries["buffer"]
        moved.append(words.input + words.weight + 2 * words.output)
    assert moved == sorted(moved)
    assert moved[0] < moved[-1]


def test_what_does_not_fit_says_where_and_by_how_much() -> None:
    nest = LoopNest(K=1, C=1, OX=1, FY=9, FX=9, OY=1, input_extent=(1, 9, 9))
    with pytest.raises(DoesNotFitError) as caught:
        tile_layer(Shape(nest), core(nest), (stage(1000),))
    # 81 inputs, 81 weights and one output of 8 bits against half of 1000 bits.
    assert (caught.value.stage, caught.value.needed_bits, caught.value.room_bits) == (
        "buffer",
        8 * 163,
        500,
    )


def test_an_inner_memory_sees_the_tiles_of_the_outer_one() -> None:
    """Two memories: the inner one fetches all operands once for every tile of the outer one."""
    nest = LoopNest(B=8, K=16, C=16)
    outer, inner = stage(8 * 200, name="outer"), stage(8 * 100, name="inner")
    shape = Shape(nest)
    work = tile_layer(shape, core(nest), (outer, inner))
    alone = {}
    total = {"input": 0, "weight": 0, "output": 0}
    tile = work.tiles[0].tile
    for b, k, c in product(*(range(0, n, t) for n, t in ((8, tile.b), (16, tile.k), (16, tile.c)))):
        piece = Extents(min(tile.b, 8 - b), 1, 1, min(tile.k, 16 - k), min(tile.c, 16 - c))
        part = LoopNest(B=piece.b, K=piece.k, C=piece.c)
        if piece not in alone:
            alone[piece] = tile_layer(Shape(part), core(part), (inner,)).boundaries["inner"]
        total["input"] += alone[piece].input
        total["weight"] += alone[piece].weight
        total["output"] += alone[piece].output
    assert work.boundaries["inner"] == Words(**total)


def test_intervals_of_a_strided_padded_loop_are_clipped() -> None:
    # 7 outputs, stride 2, kernel 3, one zero in front, 13 inputs; tiles of 3, 3 and 1 outputs
    # read inputs [0, 6), [5, 12) and [11, 13).
    nest = LoopNest(OY=7, FY=3, stride=(1, 2, 1), pad_begin=(0, 1, 0), input_extent=(1, 13, 1))
    assert Shape(nest).swept(1, 7, 3) == 6 + 7 + 2


def test_table_of_candidates_and_single_tile_agree() -> None:
    nest = LoopNest(B=2, K=10, C=7, OY=9, OX=5, FY=3, FX=3, input_extent=(1, 11, 7))
    one = core(nest, 8, 4)
    sizes = [(1, 3, 5, 4, 7), (2, 9, 5, 10, 7), (1, 1, 2, 3, 2)]
    table = one.work(*(np.array(column) for column in zip(*sizes, strict=True)))
    for index, size in enumerate(sizes):
        single = one.work(*(exact(extent) for extent in size))
        assert int(table.cycles[index]) == int(single.cycles)
        assert int(table.input_words[index]) == int(single.input_words)
        assert int(table.output_words[index]) == int(single.output_words)
