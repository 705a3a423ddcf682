"""Tiles of one memory: traffic against an interpreter that walks every tile."""

from __future__ import annotations

from itertools import permutations, product

from hypothesis import given, settings
from hypothesis import strategies as st

from npubench.ir import LoopNest
from npubench.machines.array.extents import Extents, Shape
from npubench.machines.array.tiles import (
    EVERY_SIZE_UP_TO,
    LayerTiles,
    OperandBits,
    Words,
    one,
    tile_sizes,
)
from tests.depth import examples

BITS = OperandBits(input=8, weight=4, output=16, partial=32)
ALL = frozenset({"input", "weight", "output"})


def walk(nest: LoopNest, tile: Extents, order: str) -> Words:
    """Walk all tiles of one group, outermost loop first; fetch an operand when its tile changes.

    The input of a tile is the union of its windows, clipped to what the input has; elements are
    counted from the sets themselves, not by a formula.
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
            touched: set[int] = set()
            for out in range(at[dim], at[dim] + size[dim]):
                start = out * nest.stride[axis] - nest.pad_begin[axis]
                touched |= set(range(start, start + (kernel - 1) * nest.dilation[axis] + 1))
            spans.append(len(touched & set(range(nest.input_extent[axis]))))
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


@settings(max_examples=examples(300), deadline=None)
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
    counted = LayerTiles(Shape(nest)).crossing(whole, tile, "".join(order), ALL)
    assert counted == walk(nest, tile, "".join(order))


def test_a_whole_layer_moves_everything_once() -> None:
    nest = LoopNest(K=8, C=4, OY=6, OX=6, FY=3, FX=3, input_extent=(1, 8, 8))
    tiles, whole = LayerTiles(Shape(nest)), Shape(nest).extents
    assert tiles.crossing(whole, whole, "MKC", ALL) == Words(4 * 8 * 8, 8 * 4 * 9, 8 * 36)


def test_operands_that_a_memory_does_not_hold_do_not_cross_it() -> None:
    nest = LoopNest(B=6, K=4, C=4)
    tiles, whole = LayerTiles(Shape(nest)), Shape(nest).extents
    tile = Extents(2, 1, 1, 2, 4)
    assert tiles.crossing(whole, tile, "MKC", frozenset({"output"})) == Words(0, 0, 24)


def test_footprint_is_the_tile_in_bits() -> None:
    nest = LoopNest(K=8, C=4, OY=6, OX=6, FY=3, FX=3, stride=(1, 1, 1), input_extent=(1, 8, 8))
    table = one(Extents(1, 2, 6, 3, 4))
    bits = LayerTiles(Shape(nest)).footprint(table, ALL, BITS, 2)
    # Two lines of outputs read four input lines of eight; two groups at once.
    assert int(bits[0]) == 2 * (4 * 8 * 4 * 8 + 3 * 4 * 9 * 4 + 2 * 6 * 3 * 16)


def test_windows_further_apart_than_they_are_wide_skip_what_lies_between() -> None:
    # A 1 x 1 kernel of stride 2 over 8 x 8 reads 4 x 4 of the inputs, however it is tiled.
    nest = LoopNest(OY=4, OX=4, stride=(1, 2, 2), input_extent=(1, 8, 8))
    shape = Shape(nest)
    assert [shape.swept(1, 4, size) for size in (1, 2, 3, 4)] == [4, 4, 4, 4]
    assert shape.reach(1, 4) == 4


def test_intervals_of_a_strided_padded_loop_are_clipped() -> None:
    # 7 outputs, stride 2, kernel 3, one zero in front, 13 inputs; tiles of 3, 3 and 1 outputs
    # read inputs [0, 6), [5, 12) and [11, 13).
    nest = LoopNest(OY=7, FY=3, stride=(1, 2, 1), pad_begin=(0, 1, 0), input_extent=(1, 13, 1))
    assert Shape(nest).swept(1, 7, 3) == 6 + 7 + 2


@given(extent=st.integers(1, 5000), step=st.integers(1, 600))
def test_tile_sizes_hold_what_the_space_says(extent: int, step: int) -> None:
    sizes = tile_sizes(extent, step)
    assert list(sizes) == sorted(set(sizes))
    assert sizes[0] == 1
    assert sizes[-1] == extent
    if extent <= EVERY_SIZE_UP_TO:
        assert list(sizes) == list(range(1, extent + 1))
        return
    fillings = -(-extent // step)
    for count in range(1, fillings + 1):
        balanced = step * -(-fillings // count)
        assert min(extent, balanced) in sizes
