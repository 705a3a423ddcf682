"""Nests walked tile by tile against the counts of formulas, on what the search really chose."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from npubench.ir import LoopNest
from npubench.machines.array.extents import Extents, Shape
from npubench.machines.array.flows import FloatArray, Resources
from npubench.machines.array.goals import BestGoal, FrontGoal
from npubench.machines.array.nests import Level, Nest
from npubench.machines.array.search import LayerSearch
from npubench.machines.array.space import ArrayCost, feeding_flow
from npubench.machines.array.spec import ArraySpec
from npubench.machines.array.walk import walk
from npubench.machines.array.work import measure
from tests.machines.array.test_search import BITS, space_of, three_memories, tiny_spec


def nests_of(spec: ArraySpec, nest: LoopNest, *, best: bool) -> tuple[LayerSearch, list[Nest]]:
    """The nest of least cycles, or every one on the front of cycles and joules."""
    tiles, cores, levels = space_of(spec, nest)
    resources = Resources(spec)
    flow = feeding_flow(spec, resources, BITS)
    cost = ArrayCost(spec, spec.array.formats["int8"], BITS, resources, flow, frozenset())

    def score(rows: FloatArray) -> FloatArray:
        return np.stack([np.ceil(resources.latency(rows)), rows[:, resources.energy]], axis=1)

    goal = BestGoal(score) if best else FrontGoal(score)
    search = LayerSearch(tiles, cores, levels, resources, cost, goal, np.zeros(resources.count))
    return search, list(search.run(tiles.shape.extents).nests)


def compare(spec: ArraySpec, nest: LoopNest, *, best: bool) -> None:
    search, found = nests_of(spec, nest, best=best)
    padded = any(nest.pad_begin)
    for one in found[-4:]:
        work, walked = (
            measure(search.tiles, search.cores, search.levels, one),
            walk(Shape(nest), search.levels, one),
        )
        for level in search.levels:
            words = work.boundaries[level.name]
            for operand in level.operands:
                there = walked.words[level.name, operand]
                if operand == "input" and padded and level is not search.levels[0]:
                    # Inside a tile of another memory every window is taken as inner.
                    assert there <= words.of(operand)
                else:
                    assert there == words.of(operand), (one, level.name, operand)
        assert set(walked.products.values()) == {1}
        assert len(walked.products) == nest.B * nest.OY * nest.OX * nest.K * nest.C
        core = search.cores[work.variant]
        array = [
            (often, core.work(*(np.array([n]) for n in piece)))
            for piece, often in walked.pieces.items()
        ]
        assert sum(often * int(done.cycles[0]) for often, done in array) == work.array_cycles
        assert sum(often * int(done.weight_words[0]) for often, done in array) == work.core.weight
        assert sum(often * int(done.held_writes[0]) for often, done in array) == work.held_writes


@st.composite
def convolutions(draw: st.DrawFn) -> LoopNest:
    kernel, stride, pad = (draw(st.integers(1, 3)) for _ in range(3))
    pad = min(pad - 1, kernel - 1)
    side = draw(st.integers(max(kernel - pad, 2), 6))
    out = (side + 2 * pad - kernel) // stride + 1
    return LoopNest(
        G=draw(st.sampled_from([1, 1, 2])),
        B=draw(st.integers(1, 2)),
        K=draw(st.integers(1, 5)),
        C=draw(st.integers(1, 4)),
        OY=out,
        OX=out,
        FY=kernel,
        FX=kernel,
        stride=(1, stride, stride),
        pad_begin=(0, pad, pad),
        input_extent=(1, side, side),
    )


WALKS = settings(
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.generate],
    derandomize=True,
)
TWO = given(
    nest=convolutions(), room=st.integers(120, 400), best=st.booleans(), uneven=st.booleans()
)


@settings(WALKS, max_examples=20)
@TWO
def test_words_of_two_memories(nest: LoopNest, room: int, *, best: bool, uneven: bool) -> None:
    compare(tiny_spec(room, 8, uneven=uneven), nest, best=best)


@pytest.mark.slow
@settings(WALKS, max_examples=60)
@TWO
def test_words_of_two_memories_at_length(
    nest: LoopNest, room: int, *, best: bool, uneven: bool
) -> None:
    compare(tiny_spec(room, 8, uneven=uneven), nest, best=best)


@settings(WALKS, max_examples=30)
@given(
    nest=convolutions(),
    outer=st.integers(160, 500),
    inner=st.integers(120, 200),
    uneven=st.booleans(),
)
def test_words_of_three_memories(nest: LoopNest, outer: int, inner: int, *, uneven: bool) -> None:
    compare(three_memories(outer, inner, 8, uneven=uneven), nest, best=True)


def test_a_walk_followed_by_hand() -> None:
    # 4 rows x 2 channels x 2 inputs in tiles of 2 rows, 1 channel: rows outside, channels inside.
    spec = tiny_spec(64, 8)
    _, _, levels = space_of(spec, LoopNest(B=4, K=2, C=2))
    level = next(one for one in levels if one.name == "buffer")
    piece = Extents(2, 1, 1, 1, 2)
    inner = Nest(piece, piece)
    nest = Nest(Extents(4, 1, 1, 2, 2), piece, "MKC", inside=((4, inner),))
    done = walk(Shape(LoopNest(B=4, K=2, C=2)), (level,), nest)
    # Each row's inputs once; both channels' weights for each of two tiles of rows; outputs once.
    assert dict(done.words) == {
        ("buffer", "input"): 8,
        ("buffer", "weight"): 8,
        ("buffer", "output"): 8,
    }
    assert done.pieces == {piece: 4}
    swapped = Nest(nest.extents, piece, "KMC", inside=((4, inner),))
    again = walk(Shape(LoopNest(B=4, K=2, C=2)), (level,), swapped)
    assert again.words["buffer", "input"] == 16
    assert again.words["buffer", "weight"] == 4


def test_a_tile_that_is_left_out_is_seen() -> None:
    nest = LoopNest(B=2, K=2)
    piece = Extents(1, 1, 1, 2, 1)
    whole = Nest(Extents(2, 1, 1, 2, 1), piece, "MKC", inside=((1, Nest(piece, piece)),))
    spec = tiny_spec(64, 8)
    level = Level(
        name="buffer",
        operands=frozenset({"input"}),
        room_bits=64,
        double_buffered=False,
        bits=BITS,
        flow=feeding_flow(spec, Resources(spec), BITS),
    )
    assert len(walk(Shape(nest), (level,), whole).products) == 4
    with pytest.raises(KeyError):
        walk(Shape(nest), (level,), Nest(whole.extents, piece, "MKC", inside=()))
