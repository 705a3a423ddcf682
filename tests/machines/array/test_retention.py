"""Tiles that a memory keeps while the memory around it goes on to its next tile."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from npubench.ir import LoopNest, PrecisionPlan
from npubench.machines.array.extents import Extents, Shape
from npubench.machines.array.mapping import map_network
from npubench.machines.array.nests import Nest
from npubench.machines.array.parts import PartMaker
from npubench.machines.array.spec import ArraySpec
from npubench.machines.array.tiles import ORDERS, LayerTiles, one
from npubench.machines.array.walk import walk
from npubench.machines.array.work import measure
from npubench.machines.protocol import Objective
from npubench.specs.catalog import find_spec
from tests.depth import examples
from tests.machines.array.bills import check, costed, space
from tests.machines.array.test_search import (
    every_nest,
    machine_precision,
    network_of,
    three_memories,
    tiny_spec,
)


def apart(buffer: int, sums: int) -> ArraySpec:
    """A 2 x 2 array with inputs and weights in one memory and sums in another, side by side."""
    document = find_spec("gemmini")
    for path, value in {
        "array.rows": "2",
        "array.cols": "2",
        "memories.accumulators.capacity": f"{4 * sums} B",
        "memories.accumulators.port_width": "64 bit/cycle",
        "memories.scratchpad.capacity": f"{buffer} B",
        "memories.scratchpad.port_width": "24 bit/cycle",
        "memories.dram.bandwidth": "1 GB/s",
    }.items():
        document = document.override(path, value, f"--set {path}={value}")
    return document.validate(ArraySpec)


@pytest.mark.parametrize("spec", [tiny_spec(40, 16), apart(24, 16)], ids=["around", "beside"])
def test_sums_stay_while_slices_of_the_reduction_pass(spec: ArraySpec) -> None:
    # A vector of 16 by a matrix of 16 x 8: the buffer takes slices, the accumulators all 8 sums.
    nest = LoopNest(K=8, C=16)
    plan = PrecisionPlan(machine_precision(spec))
    for objective in Objective:
        mapped = map_network(spec, network_of(nest), plan, objective).layers["mac"]
        assert mapped.work.boundaries["accumulators"].output == 8  # each once, none comes back
        assert mapped.work.tiles[0].tile.c < 16
    layer = costed(spec, network_of(nest), Objective.ENERGY).layers[0]
    assert layer.off_chip_bytes == 16 + 128 + 8


def test_every_operand_is_retained_as_a_walk_finds_it() -> None:
    """By formula and by place, for tilings with ragged edges and each operand."""
    seen: Counter[str] = Counter()
    nests = [LoopNest(B=3, K=3, C=3), LoopNest(K=3, C=2, OY=5, FY=2, input_extent=(1, 6, 1))]
    for nest in nests:
        for spec in (three_memories(24, 30, 8), three_memories(18, 26, 8), apart(12, 8)):
            _, cores, levels = space(spec, nest)
            tiles = LayerTiles(Shape(nest))
            for number, found in enumerate(every_nest(tiles, cores, levels, tiles.shape.extents)):
                if number == 1500:
                    break
                retained = {part.retained for part in parts_of(found)} - {""}
                seen.update(retained)
                if not retained:
                    continue
                walked, work = (
                    walk(tiles.shape, levels, found),
                    measure(tiles, cores, levels, found),
                )
                for level in levels:
                    for operand in level.operands:
                        there = walked.words[level.name, operand]
                        assert there == work.boundaries[level.name].of(operand), (found, level.name)
    assert min(seen[operand] for operand in ("input", "weight", "output")) > 20, seen


def parts_of(nest: Nest) -> list[Nest]:
    return [nest, *(inner for _, part in nest.inside for inner in parts_of(part))]


def test_a_tile_that_is_cut_further_in_is_not_retained() -> None:
    # The walk knows places, not promises: sums in two pieces change with every slice.
    nest = LoopNest(K=4, C=4)
    spec = apart(64, 8)
    _, _, levels = space(spec, nest)
    scratchpad = next(level for level in levels if level.name == "scratchpad")
    accumulators = next(level for level in levels if level.name == "accumulators")
    slice_, half = Extents(1, 1, 1, 4, 2), Extents(1, 1, 1, 2, 2)
    for tile, words in ((slice_, 4), (half, 8)):
        inside = ((slice_.k // tile.k, Nest(tile, tile)),)
        inner = Nest(slice_, tile, "MKC", inside=inside)
        whole = Nest(Extents(1, 1, 1, 4, 4), slice_, "MKC", "output", inside=((2, inner),))
        walked = walk(Shape(nest), (scratchpad, accumulators), whole)
        assert walked.words["accumulators", "output"] == words


@pytest.mark.parametrize("operand", ["input", "weight", "output"])
def test_only_consecutive_tiles_share_an_operand(operand: str) -> None:
    tiles = LayerTiles(Shape(LoopNest(B=4, K=4, C=4)))
    other = {"input": "K", "weight": "M", "output": "C"}[operand]
    whole = tiles.shape.extents
    cut = tiles.retainable(whole, one(Extents(2, 1, 1, 3, 1)), ORDERS, operand)[:, 0]
    assert cut.tolist() == [order[-1] == other for order in ORDERS]
    assert not tiles.retainable(whole, one(whole), ORDERS, operand).any()


@settings(
    max_examples=examples(24),
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.generate],
    derandomize=True,
)
@given(
    nest=st.builds(LoopNest, B=st.integers(1, 3), K=st.integers(1, 4), C=st.integers(1, 6)),
    room=st.integers(6, 30),
    sums=st.sampled_from([2, 4, 12]),
)
def test_memories_side_by_side(nest: LoopNest, room: int, sums: int) -> None:
    check(apart(room, sums), nest, most=300)


@pytest.mark.parametrize(
    ("kept", "loops"), [("input", "byxc"), ("weight", "kc"), ("output", "byxk")]
)
def test_a_tile_that_is_retained_is_not_cut(kept: str, loops: str) -> None:
    nest = LoopNest(B=8, K=8, C=8)
    cost, cores, levels = space(three_memories(400, 170, 64), nest)
    maker = PartMaker(LayerTiles(Shape(nest)), cores, levels, cost.resources, cost)
    whole = Extents(8, 1, 1, 8, 8)
    plain, part = maker.part(1, whole), maker.part(1, whole, kept)
    assert 1 <= len(part.table[0]) < len(plain.table[0])
    for name, sizes, full in zip("byxkc", part.table, whole, strict=True):
        assert name not in loops or (sizes == full).all()
    # Where all that the memory holds fits, nothing is cut.
    assert len(maker.part(1, Extents(2, 1, 1, 2, 2), kept).table[0]) == 1
