"""Systolic timing against every row of SCALE-Sim's results, and its closed forms."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from npubench.ir import LoopNest
from npubench.machines.array.core import Geometry, Split
from npubench.machines.array.extents import Shape
from npubench.machines.array.systolic import Dataflow, Drain, StationaryLoad, SystolicCore

ORACLE = Path(__file__).parents[2] / "oracles" / "scalesim"
DATAFLOWS = {
    "ws": Dataflow.WEIGHT_STATIONARY,
    "os": Dataflow.OUTPUT_STATIONARY,
    "is": Dataflow.INPUT_STATIONARY,
}


@dataclass(frozen=True)
class Cycles:
    compute: int
    load: int
    fill_drain: int

    @property
    def total(self) -> int:
        return self.compute + self.load + self.fill_drain


def array_cycles(
    m: int,
    n: int,
    k: int,
    *,
    rows: int,
    cols: int,
    dataflow: Dataflow,
    load: StationaryLoad,
    drain: Drain,
    count_output_drain: bool = False,
) -> Cycles:
    """A single product on a single array, as the machine counts it."""
    core = SystolicCore(
        Shape(LoopNest(B=m, K=n, C=k)),
        Geometry(rows, cols),
        Split(1, 1, 1),
        dataflow,
        load,
        drain,
        count_output_drain,
    )
    extents = (m, 1, 1, n, k)
    work = core.work(*(np.array(extent) for extent in extents))
    first_load, fill_drain = core.once(*extents)
    return Cycles(int(work.compute), int(work.load) + first_load, int(work.skew) + fill_drain)


def scalesim_rows() -> list[tuple[dict[str, str], tuple[int, int, int]]]:
    """Each result row with its layer as the product (M, N, K), after the table's own rules."""
    with (ORACLE / "topologies.csv").open() as file:
        shapes = {(row["net"], row["layer"]): row for row in csv.DictReader(file)}
    rows = []
    with (ORACLE / "results.csv").open() as file:
        for row in csv.DictReader(file):
            t = {
                key: int(value)
                for key, value in shapes[row["net"], row["layer"]].items()
                if key not in ("net", "layer")
            }
            # Strides that do not divide round up there: one more output than the usual floor.
            out_h = -(-(t["ifmap_h"] - t["filt_h"] + t["stride"]) // t["stride"])
            out_w = -(-(t["ifmap_w"] - t["filt_w"] + t["stride"]) // t["stride"])
            gemm = (out_h * out_w, t["cout"], t["filt_h"] * t["filt_w"] * t["cin"])
            rows.append((row, gemm))
    return rows


def test_every_scalesim_row_has_equal_cycles() -> None:
    rows = scalesim_rows()
    matched = [
        array_cycles(
            *gemm,
            rows=int(row["rows"]),
            cols=int(row["cols"]),
            dataflow=DATAFLOWS[row["dataflow"]],
            load=StationaryLoad.EXPOSED,
            drain=Drain.PER_FOLD,
        ).total
        == int(row["compute_cycles"])
        for row, gemm in rows
    ]
    assert len(rows) == 414
    assert matched == [True] * 414


def test_utilisation_of_every_scalesim_row() -> None:
    for row, (m, n, k) in scalesim_rows():
        cycles = array_cycles(
            m,
            n,
            k,
            rows=int(row["rows"]),
            cols=int(row["cols"]),
            dataflow=DATAFLOWS[row["dataflow"]],
            load=StationaryLoad.EXPOSED,
            drain=Drain.PER_FOLD,
        ).total
        utilisation = m * n * k / (cycles * int(row["rows"]) * int(row["cols"]))
        assert utilisation == pytest.approx(float(row["utilisation"]), abs=1e-9)


def test_output_stationary_with_its_drain_is_the_published_form() -> None:
    # 2R + C + T - 2 a fold, 2 x 2 folds, R = 4, C = 8, T = 10.
    cycles = array_cycles(
        8,
        16,
        10,
        rows=4,
        cols=8,
        dataflow=Dataflow.OUTPUT_STATIONARY,
        load=StationaryLoad.EXPOSED,
        drain=Drain.PER_FOLD,
        count_output_drain=True,
    )
    assert cycles.total == 4 * (2 * 4 + 8 + 10 - 2)


def test_double_buffered_weights_cost_a_tile_the_longer_of_batch_and_shift() -> None:
    # ISCA 2017: a tile shifts in over 256 cycles, a batch of B takes B cycles. 2000 x 2000
    # weights are 8 x 8 tiles; with B = 200 each tile is 256 apart, the last one runs its 200.
    cycles = array_cycles(
        200,
        2000,
        2000,
        rows=256,
        cols=256,
        dataflow=Dataflow.WEIGHT_STATIONARY,
        load=StationaryLoad.DOUBLE_BUFFERED,
        drain=Drain.PIPELINED,
    )
    assert cycles.compute == 64 * 200
    assert cycles.load == 256 + 63 * 56
    assert cycles.fill_drain == 510
    assert cycles.total == 64 * 256 + 200 + 510


EXTENT = st.integers(1, 300)


@given(
    m=EXTENT,
    n=EXTENT,
    k=EXTENT,
    rows=st.integers(1, 40),
    cols=st.integers(1, 40),
    dataflow=st.sampled_from(sorted(DATAFLOWS.values())),
)
def test_overlap_never_costs_and_never_beats_the_array(
    m: int, n: int, k: int, rows: int, cols: int, dataflow: Dataflow
) -> None:
    def total(load: StationaryLoad, drain: Drain) -> int:
        return array_cycles(
            m, n, k, rows=rows, cols=cols, dataflow=dataflow, load=load, drain=drain
        ).total

    slowest = total(StationaryLoad.EXPOSED, Drain.PER_FOLD)
    fastest = total(StationaryLoad.DOUBLE_BUFFERED, Drain.PIPELINED)
    middle = [
        total(StationaryLoad.DOUBLE_BUFFERED, Drain.PER_FOLD),
        total(StationaryLoad.EXPOSED, Drain.PIPELINED),
    ]
    assert all(fastest <= cycles <= slowest for cycles in middle)
    assert fastest * rows * cols >= m * n * k
