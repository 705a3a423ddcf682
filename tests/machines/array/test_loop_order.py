"""Explicit loop orders: against ZigZag's published counts and against a walk over every step."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from npubench.errors import MappingError, OptionError, SpecError
from npubench.frontend import load_network
from npubench.ir import LoopNest
from npubench.machines.array.loop_order import (
    OPERANDS,
    ArrayLevels,
    Level,
    Loop,
    Operand,
    allocate,
    evaluate,
    from_spec,
    parse_order,
)
from npubench.machines.array.spec import ArraySpec
from npubench.machines.array.tiles import OperandBits
from npubench.specs.catalog import find_spec, find_workload

ORACLE = Path(__file__).parents[2] / "oracles" / "zigzag"
BITS = OperandBits(input=8, weight=8, output=8, partial=32)
MAC_J, REGISTER_J, SUM_J, BUFFER_J, DRAM_J = 0.25e-12, 0.03e-12, 0.6e-12, 200e-12, 2560e-12


def machine_of(
    rows: int = 32,
    cols: int = 32,
    register: int = 16,
    sums: int = 1024 * 32,
    buffer: int | None = 2**23,
) -> ArrayLevels:
    """The compared machine, its sizes in bits."""
    both = frozenset("KC")
    every: tuple[Operand, ...] = ("input", "weight", "output")
    return ArrayLevels(
        unroll={"C": rows, "K": cols},
        levels=(
            Level("weight_reg", ("weight",), register, 8, 8, REGISTER_J, REGISTER_J, frozenset()),
            Level("accumulator", ("output",), sums, 32, 32, SUM_J, SUM_J, frozenset("C")),
            Level("buffer", every, buffer, 256, 8, BUFFER_J, BUFFER_J, both),
            Level("dram", every, None, 128, 8, DRAM_J, DRAM_J, both),
        ),
        bits=BITS,
        mac_j=MAC_J,
    )


MACHINE = machine_of()


def network_nests(network: str) -> list[LoopNest]:
    return [layer.nest for layer in load_network(find_workload(network).path).network.mac_layers]


def rows_of(name: str) -> list[tuple[dict[str, str], LoopNest]]:
    """Each row of a table with the layer it stands for."""
    with (ORACLE / name).open(newline="") as file:
        table = list(csv.DictReader(file))
    nests = network_nests(name.removesuffix(".csv").rsplit("_", 1)[-1])
    rows = list(zip(table, nests, strict=True))
    for row, nest in rows:
        for dim in ("B", "G", "K", "C", "OY", "OX", "FY", "FX"):
            assert int(row[dim] or 1) == getattr(nest, dim), (row["name"], dim)
    return rows


TABLES = {
    "pinned_order_resnet18.csv": 21,
    "pinned_order_alexnet.csv": 8,
    "search_lpf6_resnet18.csv": 21,
    "search_lpf6_alexnet.csv": 8,
    "search_lpf7_resnet18.csv": 21,
}


@pytest.mark.parametrize("name", TABLES)
def test_every_row_equals_zigzag(name: str) -> None:
    rows = rows_of(name)
    assert len(rows) == TABLES[name]
    for row, nest in rows:
        result = evaluate(nest, parse_order(row["loops_inner_to_outer"]), MACHINE, "zigzag")
        got = {
            f"pj:{level.name}.{operand[0].upper()}": result.energy_of(level.name, operand) * 1e12
            for level in MACHINE.levels
            for operand in level.operands
        }
        want = {key: float(value) for key, value in row.items() if key.startswith("pj:")}
        assert got == pytest.approx(want, rel=1e-9), row["name"]
        assert result.mac_j * 1e12 == pytest.approx(float(row["mac_energy_pj"]), rel=1e-12)
        assert result.energy_j * 1e12 == pytest.approx(float(row["energy_pj"]), rel=1e-9)
        assert result.cycles == float(row["compute_cycles"])


def test_all_rows_are_there() -> None:
    assert sum(TABLES.values()) == 79
    assert sorted(TABLES) == sorted(path.name for path in ORACLE.glob("*.csv"))
