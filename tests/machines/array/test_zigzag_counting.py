"""The search under ZigZag's rules of counting: its space by brute force, and each rule alone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st

from npubench.ir import LoopNest, PrecisionPlan
from npubench.machines.array.core import exact
from npubench.machines.array.extents import Extents
from npubench.machines.array.flows import Resources
from npubench.machines.array.mapping import map_network
from npubench.machines.array.nests import Nest
from npubench.machines.array.spec import ArraySpec
from npubench.machines.array.sums import with_sums
from npubench.machines.array.tiles import SumBits
from npubench.machines.array.work import measure
from npubench.machines.protocol import Objective
from npubench.specs.catalog import find_spec
from tests.depth import examples
from tests.machines.array.test_search import (
    BITS,
    compare_with,
    count_nests,
    every_nest,
    machine_precision,
    network_of,
    price,
    reported,
    space_of,
)


def spec_of(settings_: dict[str, str] | None = None) -> ArraySpec:
    document = find_spec("ws32x32_int8").override("counting", "zigzag", "--set")
    for path, value in (settings_ or {}).items():
        document = document.override(path, value, f"--set {path}={value}")
    return document.validate(ArraySpec)


def tiny_spec(room: int, sums: int) -> ArraySpec:
    """Two rows and two columns, with so many sums in each column."""
    return spec_of(
        {
            "layer_overlap": "prefetch",
            "array.rows": "2",
            "array.cols": "2",
            "memories.accumulator.capacity": f"{8 * sums} B",
            "memories.accumulator.port_width": "64 bit/cycle",
            "memories.buffer.capacity": f"{room} B",
            "memories.buffer.port_width": "24 bit/cycle",
        }
    )


@pytest.mark.parametrize("objective", list(Objective))
@settings(
    max_examples=examples(40),
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.generate],
    derandomize=True,
)
@given(
    nest=st.builds(LoopNest, B=st.integers(1, 4), K=st.integers(1, 6), C=st.integers(1, 4)),
    room=st.integers(8, 60),
    sums=st.sampled_from([1, 2, 4]),
)
def test_brute_force_finds_nothing_better(
    objective: Objective, nest: LoopNest, room: int, sums: int
) -> None:
    spec = tiny_spec(room, sums)
    bits = with_sums(spec, nest, BITS)
    tiles, cores, levels = space_of(spec, nest, bits)
    assume(count_nests(tiles, cores, levels, tiles.shape.extents) <= 3000)
    everything = [
        price(spec, cores, levels, tiles, candidate, bits)
        for candidate in every_nest(tiles, cores, levels, tiles.shape.extents)
    ]
    network, plan = network_of(nest), PrecisionPlan(machine_precision(spec))
    mapped = map_network(spec, network, plan, objective).layers["mac"]
    assert mapped.counts.proven
    found = reported(spec, network, plan, objective)
    compare_with(everything, found, objective)
    # The search's own columns say what the result says.
    assert float(Resources(spec).joules(mapped.row)) == pytest.approx(found[1], rel=1e-12)


@pytest.mark.parametrize(
    ("nest", "sums"),
    [
        # A reduction over time, by channels or by the kernel: whole sums, all of them read.
        (LoopNest(K=64, C=33, OY=7, OX=7), SumBits(32, 32, 8, 32, 32)),
        (
            LoopNest(K=64, C=3, FY=3, FX=3, OY=5, OX=5, input_extent=(1, 7, 7)),
            SumBits(32, 32, 8, 32, 32),
        ),
        # Everything is added across the array: finished outputs, none read before it leaves.
        (LoopNest(K=64, C=32, OY=7, OX=7), SumBits(8, 0, 8, 32, 32)),
        # Columns that hold no channel of the layer have no room for others.
        (LoopNest(K=16, C=32, OY=7, OX=7), SumBits(8, 0, 8, 16, 32)),
    ],
)
def test_sums_take_the_room_and_reads_that_zigzag_gives_them(nest: LoopNest, sums: SumBits) -> None:
    assert with_sums(spec_of(), nest, BITS).sums == sums
    own = find_spec("ws32x32_int8").validate(ArraySpec)
    assert with_sums(own, nest, BITS) is BITS


def test_columns_that_hold_rows_of_outputs_have_one_room() -> None:
    spec = spec_of({"array.unrolling.cols": "[OX]"})
    sums = with_sums(spec, LoopNest(K=16, C=32, OY=7, OX=7), BITS).sums
    assert sums == SumBits(8, 0, 8, 1, 1)


def test_a_column_has_room_of_its_own() -> None:
    sums = SumBits(8, 0, 8, 16, 32)
    assert sums.channels(exact([1, 16, 17, 48])).tolist() == [32, 32, 64, 96]


def test_weights_stay_in_the_array_from_tile_to_tile() -> None:
    """64 x 32 weights fill the array twice over; four tiles of rows need them once."""
    spec = spec_of()
    nest = LoopNest(K=64, C=32, OY=8, OX=8, input_extent=(1, 8, 8))
    tiles, cores, levels = space_of(spec, nest, with_sums(spec, nest, BITS))
    whole, quarter = Extents(1, 8, 8, 64, 32), Extents(1, 2, 8, 64, 32)

    def loaded(tile: Extents, order: str) -> tuple[int, int]:
        count = int(np.prod([a // b for a, b in zip(whole, tile, strict=True)]))
        inner = Nest(whole, tile, order, inside=((count, Nest(tile, tile)),))
        work = measure(tiles, cores, levels, Nest(whole, whole, "MKC", inside=((1, inner),)))
        return work.core.weight, work.held_writes

    assert loaded(quarter, "MKC") == (64 * 32, 64 * 32)
    # Half of the channels at a time: once again only where rows run outside of channels.
    half = Extents(1, 2, 8, 32, 32)
    assert loaded(half, "KMC") == (64 * 32, 64 * 32)
    assert loaded(half, "MKC") == (4 * 64 * 32, 4 * 64 * 32)
    # By our own rules every tile loads its own.
    own = find_spec("ws32x32_int8").validate(ArraySpec)
    tiles, cores, levels = space_of(own, nest)
    assert loaded(quarter, "MKC") == (4 * 64 * 32, 4 * 64 * 32)
