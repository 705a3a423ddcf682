"""Explicit loop orders: against ZigZag's published counts and against a walk over every step."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import pytest
from hypothesis import given, reject, settings
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
from tests.depth import examples

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
    # The table of single layers has tests of its own, `test_zigzag_layers`.
    there = {path.name for path in ORACLE.glob("*.csv")} - {"search_layers.csv"}
    assert sorted(TABLES) == sorted(there)


def totals(name: str) -> float:
    return sum(
        evaluate(nest, parse_order(row["loops_inner_to_outer"]), MACHINE, "zigzag").energy_j
        for row, nest in rows_of(name)
    )


@pytest.mark.parametrize(
    ("table", "microjoules", "floor"),
    [
        ("pinned_order_resnet18.csv", "3685.7", "3227.9"),
        ("pinned_order_alexnet.csv", "11057.0", "10863.2"),
    ],
)
def test_totals_to_the_printed_digit(table: str, microjoules: str, floor: str) -> None:
    assert f"{totals(table) * 1e6:.1f}" == microjoules
    # MACs, and every input, weight and output byte once through DRAM and once in and out of the
    # buffer; of the input only what the windows touch (a 1 x 1 window of stride 2: a quarter).
    least = 0.0
    for _, nest in rows_of(table):
        touched = nest.C
        for axis, (out, kernel) in ((1, (nest.OY, nest.FY)), (2, (nest.OX, nest.FX))):
            ends = {o * nest.stride[axis] + f for o in range(out) for f in range(kernel)}
            inside = range(nest.pad_begin[axis], nest.pad_begin[axis] + nest.input_extent[axis])
            touched *= len(ends & set(inside))
        volume = touched + nest.weight_elements + nest.output_elements
        least += nest.macs * MAC_J + volume * (DRAM_J / 16 + 2 * BUFFER_J / 32)
    assert f"{least * 1e6:.1f}" == floor


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("counting", ["zigzag", "own"])
def test_nothing_is_below_the_floor(table: str, counting: str) -> None:
    floor = 3227.9e-6 if "resnet18" in table else 10863.2e-6
    total = 0.0
    for row, nest in rows_of(table):
        order = parse_order(row["loops_inner_to_outer"])
        mode = "own" if counting == "own" else "zigzag"
        total += evaluate(nest, order, MACHINE, mode).energy_j
    assert total > floor


def test_worked_example_count_by_count() -> None:
    """layer1.0.conv1 of ResNet-18, as ZigZag reports it."""
    nest = network_nests("resnet18")[1]
    result = evaluate(nest, parse_order("OX56 OY14 FX3 FY3 C2 OY4 K2"), MACHINE, "zigzag")
    got = {(c.level, c.operand, c.kind, c.outside): int(c.accesses) for c in result.counts}
    assert got == {
        ("buffer", "input", "read", False): 112896,
        ("buffer", "input", "write", True): 6272,
        ("dram", "input", "read", False): 12544,
        ("weight_reg", "weight", "read", False): 147456,
        ("weight_reg", "weight", "write", True): 147456,
        ("buffer", "weight", "read", False): 4608,
        ("buffer", "weight", "write", True): 1152,
        ("dram", "weight", "read", False): 2304,
        ("accumulator", "output", "read", False): 3612672,
        ("accumulator", "output", "write", False): 3612672,
        ("accumulator", "output", "read", True): 50176,
        ("buffer", "output", "write", False): 6272,
        ("buffer", "output", "read", True): 6272,
        ("dram", "output", "write", False): 12544,
    }
    reads, bits = result.total("accumulator", "output", "read")
    assert (reads, bits) == (3612672 + 50176, 3612672 * 32 + 200704 * 8)
    assert result.total("dram", "input", "read") == (12544, 200704 * 8)


def test_own_counting_differs_in_three_places() -> None:
    nest = network_nests("resnet18")[1]
    order = parse_order("OX56 OY14 FX3 FY3 C2 OY4 K2")
    own, zigzag = (evaluate(nest, order, MACHINE, mode) for mode in ("own", "zigzag"))
    theirs = {(c.level, c.operand, c.kind, c.outside): c.accesses for c in zigzag.counts}
    ours = {(c.level, c.operand, c.kind, c.outside): c.accesses for c in own.counts}
    assert {key: ours[key] for key in ours if ours[key] != theirs[key]} == {
        ("weight_reg", "weight", "read", False): nest.macs,
        ("accumulator", "output", "read", False): 3612672 - nest.output_elements,
        ("accumulator", "output", "read", True): nest.output_elements,
    }
    assert ours.keys() == theirs.keys()


def test_the_shipped_spec_is_this_machine() -> None:
    got = from_spec(find_spec("ws32x32_int8").validate(ArraySpec))
    assert (got.unroll, got.bits, got.mac_j) == (MACHINE.unroll, BITS, pytest.approx(MAC_J))
    for mine, level in zip(MACHINE.levels, got.levels, strict=True):
        assert (level.name, set(level.operands)) == (mine.name, set(mine.operands))
        assert (level.capacity_bits, level.serves) == (mine.capacity_bits, mine.serves)
        assert (level.access_bits, level.grain_bits) == (mine.access_bits, mine.grain_bits)
        assert (level.read_j, level.write_j) == pytest.approx((mine.read_j, mine.write_j))


def test_specs_of_other_arrays_are_refused() -> None:
    with pytest.raises(SpecError) as caught:
        from_spec(find_spec("edge8").validate(ArraySpec))
    name = find_spec("edge8").validate(ArraySpec).name
    assert str(caught.value) == f"{name}: a loop order needs an unrolled array with weights in PEs"


# The walk.


def elements(nest: LoopNest, operand: Operand, at: dict[str, int]) -> Iterator[tuple[int, ...]]:
    """What the whole array touches in one step: PEs along K and C from ``at`` on."""
    ks = range(at["K"], at["K"] + at["k_lanes"])
    cs = range(at["C"], at["C"] + at["c_lanes"])
    iy = at["OY"] * nest.stride[1] + at["FY"] * nest.dilation[1]
    ix = at["OX"] * nest.stride[2] + at["FX"] * nest.dilation[2]
    if operand == "input":
        yield from ((at["B"], c, iy, ix) for c in cs)
    elif operand == "weight":
        yield from ((k, c, at["FY"], at["FX"]) for k in ks for c in cs)
    else:
        yield from ((at["B"], k, at["OY"], at["OX"]) for k in ks)


def walk(
    nest: LoopNest, order: tuple[Loop, ...], lanes: dict[str, int], operand: Operand, cut: int
) -> tuple[int, int]:
    """Run the nest and watch what lies inside ``cut`` (0: at the MACs).

    The tile inside changes when a loop outside ``cut`` that the operand depends on moves; then all
    elements that were touched since the last change have crossed once.

    Returns:
        (elements that crossed, those of them that had crossed before).
    """
    depends = {
        "input": {"B", "C", "OY", "OX", "FY", "FX"},
        "weight": {"K", "C", "FY", "FX"},
        "output": {"B", "K", "OY", "OX"},
    }[operand]
    crossed = again = 0
    key: object = None
    held: set[tuple[int, ...]] = set()
    seen: set[tuple[int, ...]] = set()

    def leave() -> None:
        nonlocal crossed, again
        crossed += len(held)
        again += len(held & seen)
        seen.update(held)
        held.clear()

    for step in product(*(range(loop.size) for loop in reversed(order))):
        index = step[::-1]
        at = dict.fromkeys(("B", "K", "C", "OY", "OX", "FY", "FX"), 0)
        stride = {"K": lanes["K"], "C": lanes["C"]}
        for loop, position in zip(order, index, strict=True):
            at[loop.dim] += position * stride.get(loop.dim, 1)
            stride[loop.dim] = stride.get(loop.dim, 1) * loop.size
        now = tuple(
            position
            for i, (loop, position) in enumerate(zip(order, index, strict=True))
            if i >= cut and loop.dim in depends
        )
        if now != key or (operand == "output" and cut == 0):
            leave()
            key = now
        held.update(elements(nest, operand, at | {"k_lanes": lanes["K"], "c_lanes": lanes["C"]}))
    leave()
    return crossed, again


@st.composite
def small_orders(draw: st.DrawFn) -> tuple[LoopNest, tuple[Loop, ...], ArrayLevels]:
    dims = st.sampled_from(["B", "K", "C", "OY", "OX", "FY", "FX"])
    loops = draw(st.lists(st.builds(Loop, dims, st.integers(1, 3)), min_size=1, max_size=6))
    lanes = {"K": draw(st.integers(1, 3)), "C": draw(st.integers(1, 3))}
    bound = {
        dim: lanes.get(dim, 1) * math.prod(loop.size for loop in loops if loop.dim == dim)
        for dim in ("B", "K", "C", "OY", "OX", "FY", "FX")
    }
    stride, dilation = draw(st.integers(1, 3)), draw(st.integers(1, 2))
    span = [
        (bound[out] - 1) * stride + (bound[kernel] - 1) * dilation + 1
        for out, kernel in (("OY", "FY"), ("OX", "FX"))
    ]
    nest = LoopNest(
        **bound,
        stride=(1, stride, stride),
        dilation=(1, dilation, dilation),
        input_extent=(1, span[0], span[1]),
    )
    machine = machine_of(
        rows=lanes["C"],
        cols=lanes["K"],
        register=8 * draw(st.integers(1, 4)),
        sums=32 * draw(st.integers(1, 12)),
        buffer=8 * draw(st.sampled_from([60, 100, 200, 10000])),
    )
    return nest, tuple(loops), machine


@given(small_orders())
@settings(max_examples=examples(150), deadline=None, derandomize=True)
def test_counts_equal_a_walk_over_every_step(
    case: tuple[LoopNest, tuple[Loop, ...], ArrayLevels],
) -> None:
    nest, order, machine = case
    try:
        cuts = allocate(nest, order, machine)
    except MappingError:
        reject()  # this order needs more than the drawn memories hold
    own, zigzag = evaluate(nest, order, machine, "own"), evaluate(nest, order, machine, "zigzag")
    for operand in OPERANDS:
        for index, level in enumerate(machine.chain(operand)):
            cut = cuts[operand][index - 1] if index else 0
            crossed, again = walk(nest, order, dict(machine.unroll), operand, cut)
            sides = [(level.name, False)]
            if index:
                sides.append((machine.chain(operand)[index - 1].name, True))
            for name, outside in sides:
                inward, outward = ("write", "read") if outside else ("read", "write")
                moved = {
                    mode: {
                        c.kind: c.bits
                        for c in result.counts
                        if (c.level, c.operand, c.outside) == (name, operand, outside)
                    }
                    for mode, result in (("own", own), ("zigzag", zigzag))
                }
                if operand != "output":
                    assert moved["zigzag"] == {inward: crossed * 8}
                    at_mac = operand == "weight" and index == 0
                    assert moved["own"] == {inward: (nest.macs if at_mac else crossed) * 8}
                else:
                    width = 32 if again else 8
                    back = {inward: again * width} if again else {}
                    assert moved["own"] == {outward: crossed * width} | back
                    assert moved["zigzag"].get(inward, 0) == (crossed * width if again else 0)


def test_orders_that_make_no_sense() -> None:
    with pytest.raises(OptionError) as caught:
        parse_order("OX56 Q3 K0")
    hint = "  expected a loop and its size, such as OX56; loops: B, G, K, C, OZ, OY, OX, FZ, FY, FX"
    assert str(caught.value) == (
        f"loop order: 'Q3' is not a loop\n{hint}\nloop order: 'K0' is not a loop\n{hint}"
    )
    nest = LoopNest(K=100, C=64, OX=7, input_extent=(1, 1, 7))
    with pytest.raises(MappingError) as uncovered:
        evaluate(nest, parse_order("OX8 K4"), MACHINE)
    assert str(uncovered.value) == (
        "loop order: C runs 1 times, but 64 on 32 PEs takes 2\n"
        "loop order: OX runs 8 times, but 7 takes 7"
    )
    with pytest.raises(MappingError) as small:
        evaluate(nest, parse_order("OX7 K4 C2"), machine_of(buffer=80))
    assert str(small.value) == "loop order: 'buffer' cannot hold what the PEs use at once"
    with pytest.raises(SpecError) as unbounded:
        ArrayLevels({"K": 32}, MACHINE.levels[:-1], BITS, MAC_J)
    assert str(unbounded.value) == "loop order: input needs an outermost memory without bound"
