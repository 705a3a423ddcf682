"""The emulated array against numpy, and the timing formulas against the emulated array."""

from __future__ import annotations

from itertools import product as every
from random import Random
from typing import NamedTuple

import numpy as np
import pytest

from npubench.ir import LoopNest
from npubench.machines.array.core import Geometry, Split, exact
from npubench.machines.array.emulate import Emulation, emulate
from npubench.machines.array.extents import Shape
from npubench.machines.array.systolic import Dataflow, Drain, StationaryLoad, SystolicCore

DATAFLOWS = (
    Dataflow.WEIGHT_STATIONARY,
    Dataflow.OUTPUT_STATIONARY,
    Dataflow.INPUT_STATIONARY,
)
SCALESIM = (StationaryLoad.EXPOSED, Drain.PER_FOLD)
TPU = (StationaryLoad.DOUBLE_BUFFERED, Drain.PIPELINED)
MODES = tuple(every(StationaryLoad, Drain))
PACKINGS = ((1, 1), (2, 1), (1, 2))


class Case(NamedTuple):
    groups: int
    m: int
    n: int
    k: int
    geometry: Geometry
    dataflow: Dataflow
    load: StationaryLoad
    drain: Drain
    count_output_drain: bool = True

    @property
    def core(self) -> SystolicCore:
        nest = LoopNest(G=self.groups, B=self.m, K=self.n, C=self.k)
        return SystolicCore(
            Shape(nest),
            self.geometry,
            Split(1, 1, 1),
            self.dataflow,
            self.load,
            self.drain,
            self.count_output_drain,
        )


def run(case: Case, seed: int = 0) -> tuple[Emulation, np.ndarray]:
    """The emulation and the product it should have found; operands are never 0."""
    random = np.random.default_rng(seed)
    x = random.integers(1, 100, (case.groups, case.m, case.k))
    w = random.integers(1, 100, (case.groups, case.k, case.n))
    done = emulate(
        x,
        w,
        case.geometry,
        case.dataflow,
        case.load,
        case.drain,
        packed_groups=case.core.packed_groups,
        count_output_drain=case.count_output_drain,
    )
    return done, x @ w


def check(case: Case, seed: int = 0) -> None:
    done, expected = run(case, seed)
    extents = (case.m, 1, 1, case.n, case.k)
    work = case.core.work(*(exact(extent) for extent in extents))
    formula = int(work.cycles) + sum(case.core.once(*extents))
    assert np.array_equal(done.product, expected), case
    assert done.cycles == formula, case
    assert done.macs == case.groups * case.m * case.n * case.k, case
    words = (done.input_words, done.weight_words, done.output_words)
    assert words == (
        int(work.input_words),
        int(work.weight_words),
        int(work.output_words),
    ), case
    assert done.held_writes == int(work.held_writes), case
    assert int(work.held_least) <= int(work.held_writes), case


def dense_cases(
    seed: int, count: int, load: StationaryLoad, drain: Drain, packing: tuple[int, int]
) -> list[Case]:
    """Random products and arrays, the dataflows in turn; every third array is a single line."""
    random = Random(seed)
    cases = []
    for index in range(count):
        sides = [random.randint(1, 7), random.randint(1, 7)]
        if index % 3 == 2:
            sides[random.randint(0, 1)] = 1
        cases.append(
            Case(
                groups=random.choice((1, 1, 1, 2)),
                m=random.randint(1, 18),
                n=random.randint(1, 18),
                k=random.randint(1, 18),
                geometry=Geometry(*sides, *packing),
                dataflow=DATAFLOWS[index % 3],
                load=load,
                drain=drain,
            )
        )
    return cases


@pytest.mark.parametrize("count", [12, pytest.param(36, marks=pytest.mark.slow)])
@pytest.mark.parametrize("packing", PACKINGS)
@pytest.mark.parametrize(("load", "drain"), MODES)
def test_products_and_cycles_of_random_shapes(
    load: StationaryLoad, drain: Drain, packing: tuple[int, int], count: int
) -> None:
    seed = 100 * MODES.index((load, drain)) + PACKINGS.index(packing)
    for index, case in enumerate(dense_cases(seed, count, load, drain, packing)):
        check(case, index)


def packed_cases(seed: int, count: int) -> list[Case]:
    """Depthwise and other small groups, several of which lie on the array side by side."""
    random = Random(seed)
    cases: list[Case] = []
    while len(cases) < count:
        load, drain = random.choice((SCALESIM, TPU))
        case = Case(
            groups=random.randint(2, 9),
            m=random.randint(1, 5),
            n=random.randint(1, 3),
            k=random.randint(1, 5),
            geometry=Geometry(
                random.randint(4, 12), random.randint(4, 12), *random.choice(PACKINGS)
            ),
            dataflow=DATAFLOWS[len(cases) % 3],
            load=load,
            drain=drain,
        )
        if case.core.packed_groups > 1:
            cases.append(case)
    return cases


def test_groups_packed_side_by_side() -> None:
    for index, case in enumerate(packed_cases(7, 120)):
        check(case, index)


def test_output_stationary_without_its_drain() -> None:
    random = Random(3)
    for index in range(60):
        load, drain = MODES[index % len(MODES)]
        check(
            Case(
                groups=1,
                m=random.randint(1, 14),
                n=random.randint(1, 14),
                k=random.randint(1, 14),
                geometry=Geometry(
                    random.randint(1, 6), random.randint(1, 6), *random.choice(PACKINGS)
                ),
                dataflow=Dataflow.OUTPUT_STATIONARY,
                load=load,
                drain=drain,
                count_output_drain=False,
            ),
            index,
        )


@pytest.mark.parametrize("dataflow", DATAFLOWS)
@pytest.mark.parametrize(("load", "drain"), MODES)
def test_streams_shorter_than_the_array_is_high(
    load: StationaryLoad, drain: Drain, dataflow: Dataflow
) -> None:
    # T = 1 on 8 rows: the case in which a double-buffered load cannot hide.
    time = {"m": 1, "n": 20, "k": 20}
    if dataflow is Dataflow.OUTPUT_STATIONARY:
        time = {"m": 20, "n": 20, "k": 1}
    if dataflow is Dataflow.INPUT_STATIONARY:
        time = {"m": 20, "n": 1, "k": 20}
    check(
        Case(1, geometry=Geometry(8, 3), dataflow=dataflow, load=load, drain=drain, **time),
    )


@pytest.mark.parametrize("count", [8, pytest.param(20, marks=pytest.mark.slow)])
@pytest.mark.parametrize("dataflow", DATAFLOWS)
@pytest.mark.parametrize(("load", "drain"), MODES)
def test_tiles_that_follow_one_another(
    load: StationaryLoad, drain: Drain, dataflow: Dataflow, count: int
) -> None:
    """Cycles of tiles add up, with what is paid once taken from the last tile, not the first."""
    random = Random(17)
    for seed in range(count):
        m, n, k = (random.randint(2, 16) for _ in range(3))
        height = random.randint(1, m)
        geometry = Geometry(random.randint(1, 7), random.randint(1, 7), random.randint(1, 2))
        case = Case(1, m, n, k, geometry, dataflow, load, drain)
        random_operands = np.random.default_rng(seed)
        x, w = (random_operands.integers(1, 100, shape) for shape in ((1, m, k), (1, k, n)))
        done = emulate(x, w, geometry, dataflow, load, drain, tile_rows=height)
        tiles = [min(height, m - first) for first in range(0, m, height)]
        work = [case.core.work(*(exact(e) for e in (tile, 1, 1, n, k))) for tile in tiles]
        once = case.core.once(tiles[-1], 1, 1, n, k)
        assert np.array_equal(done.product, x @ w)
        assert done.cycles == sum(int(each.cycles) for each in work) + sum(once)
        assert done.weight_words == sum(int(each.weight_words) for each in work)
        assert done.input_words == sum(int(each.input_words) for each in work)
        assert done.output_words == sum(int(each.output_words) for each in work)


def test_the_last_tile_decides_what_is_paid_once() -> None:
    # 9 rows in tiles of 8 and 1 on 4 x 4 PEs: the last fold hides no load behind its one step.
    case = Case(1, 9, 4, 4, Geometry(4, 4), DATAFLOWS[0], *TPU)
    done = emulate(
        np.ones((1, 9, 4)), np.ones((1, 4, 4)), case.geometry, DATAFLOWS[0], *TPU, tile_rows=8
    )
    # Load 4, eight steps, one step, skew 6.
    assert done.cycles == 4 + 8 + 1 + 6
    work = [case.core.work(*(exact(e) for e in (tile, 1, 1, 4, 4))) for tile in (8, 1)]
    streamed = sum(int(each.cycles) for each in work)
    assert streamed + sum(case.core.once(1, 1, 1, 4, 4)) == done.cycles
    assert streamed + sum(case.core.once(8, 1, 1, 4, 4)) == done.cycles + 3


def test_a_product_followed_by_hand() -> None:
    # 2 x 2 by 2 x 2 on 2 x 2 PEs, weight stationary, exposed: 2 cycles to load, then operands
    # enter in cycles 2 and 3; the last sum leaves two hops later, after 2 + (2 + 2 + 2 - 2).
    done = emulate(
        [[[1, 2], [3, 4]]],
        [[[5, 6], [7, 8]]],
        Geometry(2, 2),
        Dataflow.WEIGHT_STATIONARY,
        *SCALESIM,
    )
    assert done.product.tolist() == [[[19, 22], [43, 50]]]
    assert done.cycles == 6
    assert (done.macs, done.folds) == (8, 1)
    assert (done.input_words, done.weight_words, done.output_words) == (4, 4, 4)
    # Inputs pass both columns, sums both rows; of the weights two stop in row 0, two go on.
    assert (done.operand_writes, done.sum_writes, done.held_writes) == (8, 8, 2 + 2 * 2)


def test_register_writes_are_words_times_the_registers_they_pass() -> None:
    for index, case in enumerate(dense_cases(11, 45, *TPU, (1, 1))):
        done, _ = run(case, index)
        rows, cols = case.geometry.rows, case.geometry.cols
        if case.dataflow is Dataflow.OUTPUT_STATIONARY:
            assert done.operand_writes == done.input_words * cols + done.weight_words * rows
            assert done.held_writes == 0
        else:
            streamed, held = done.input_words, done.weight_words
            if case.dataflow is Dataflow.INPUT_STATIONARY:
                streamed, held = held, streamed
            assert done.operand_writes == streamed * cols
            assert done.sum_writes == done.output_words * rows
            assert held <= done.held_writes <= held * rows


@pytest.mark.parametrize("dataflow", [DATAFLOWS[0], DATAFLOWS[2]])
def test_a_held_word_is_written_in_every_row_down_to_its_own(dataflow: Dataflow) -> None:
    # A full column of R words takes R (R + 1) / 2 writes, (R + 1) / 2 a word; 5 more words in a
    # second filling go down 1 to 5 rows.
    case = Case(1, 3, 3, 13, Geometry(8, 4), dataflow, *TPU)
    done, _ = run(case)
    assert done.held_writes == 3 * (36 + 15)


def test_a_convolution_with_depthwise_groups() -> None:
    # Depthwise 3 x 3 over 8 channels of 6 x 6, padding 1, on 16 x 16 PEs of two MACs along the
    # reduction: three groups of 9 rows fit 32, so three passes.
    nest = LoopNest(G=8, OY=6, OX=6, FY=3, FX=3, pad_begin=(0, 1, 1), input_extent=(1, 6, 6))
    core = SystolicCore(
        Shape(nest), Geometry(16, 16, 2, 1), Split(1, 1, 1), Dataflow.WEIGHT_STATIONARY, *TPU
    )
    random = np.random.default_rng(5)
    image, kernel = random.integers(-9, 9, (8, 6, 6)), random.integers(-9, 9, (8, 3, 3))
    padded = np.pad(image, ((0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))
    done = emulate(
        windows.reshape(8, 36, 9),
        kernel.reshape(8, 9, 1),
        core.geometry,
        core.dataflow,
        *TPU,
        packed_groups=core.packed_groups,
    )
    direct = np.einsum("gyxij,gij->gyx", windows, kernel)
    assert np.array_equal(done.product.reshape(8, 6, 6), direct)
    extents = Shape(nest).extents
    work = core.work(*(exact(extent) for extent in extents))
    assert core.packed_groups == 3
    assert done.folds == 3
    assert done.cycles == int(work.cycles) + sum(core.once(*extents))


def test_packing_doubles_the_array() -> None:
    # 16 x 16 weights fill 4 x 4 PEs 16 times, with two MACs a PE 8 times.
    plain = emulate(
        np.ones((1, 5, 16)), np.ones((1, 16, 16)), Geometry(4, 4), DATAFLOWS[0], *SCALESIM
    )
    assert plain.folds == 16
    for packing in ((2, 1), (1, 2)):
        packed = emulate(
            np.ones((1, 5, 16)),
            np.ones((1, 16, 16)),
            Geometry(4, 4, *packing),
            DATAFLOWS[0],
            *SCALESIM,
        )
        assert packed.folds == 8
        assert 2 * packed.cycles == plain.cycles


@pytest.mark.parametrize(
    ("x", "w", "geometry", "dataflow", "packed", "message"),
    [
        ((1, 2, 3), (1, 4, 2), (2, 2), 0, 1, "no products of inputs (1, 2, 3) and weights"),
        ((1, 0, 3), (1, 3, 2), (2, 2), 0, 1, "one array and products that are not empty"),
        ((1, 2, 3), (1, 3, 2), (2, 2, 1, 1, 4), 0, 1, "the emulator takes one array"),
        ((2, 2, 3), (2, 3, 2), (5, 9), 0, 2, "2 groups do not fit 5 x 9 PEs side by side"),
        ((2, 2, 3), (2, 3, 2), (3, 3), 1, 2, "2 groups do not fit 3 x 3 PEs side by side"),
    ],
)
def test_what_it_does_not_take(
    x: tuple[int, ...],
    w: tuple[int, ...],
    geometry: tuple[int, ...],
    dataflow: int,
    packed: int,
    message: str,
) -> None:
    with pytest.raises(ValueError, match=message.replace("(", r"\(").replace(")", r"\)")):
        emulate(
            np.ones(x),
            np.ones(w),
            Geometry(*geometry),
            DATAFLOWS[dataflow],
            *TPU,
            packed_groups=packed,
        )


def test_an_unrolled_array_is_refused() -> None:
    with pytest.raises(ValueError, match="an unrolled array is not systolic"):
        emulate([[[1]]], [[[1]]], Geometry(1, 1), Dataflow.UNROLLED, *TPU)
