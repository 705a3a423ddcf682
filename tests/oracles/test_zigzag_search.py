"""Our search under ZigZag's counting against the best rows of ZigZag's own, layer by layer.

Nothing is kept on chip between layers: each layer is a network of its own. Where K is no multiple
of the array (1000 = 31.25 x 32), ZigZag's average fill leaves outputs out of its counts of buffer
and DRAM (992 are left, as its energies of outputs show) and cycles with them; ours are counted
all, so these rows are compared after adding what is missing.
"""

from __future__ import annotations

import pytest

from npubench.ir import LayerPrecision, LoopNest, PrecisionPlan
from npubench.machines.array.cost import cost_network
from npubench.machines.array.mapping import map_network
from npubench.machines.array.spec import ArraySpec
from npubench.machines.protocol import Cost, Objective
from npubench.specs.catalog import find_spec
from tests.machines.array.test_loop_order import TABLES, rows_of
from tests.machines.array.test_search import network_of


def spec_of(buffer: str | None = None) -> ArraySpec:
    document = find_spec("ws32x32_int8").override("counting", "zigzag", "--set counting=zigzag")
    if buffer is not None:
        document = document.override("memories.buffer.capacity", buffer, "--set")
    return document.validate(ArraySpec)


def mapped(spec: ArraySpec, nest: LoopNest, objective: Objective) -> Cost:
    fmt = spec.array.formats["int8"]
    plan = PrecisionPlan(LayerPrecision(fmt.weight_format, fmt.activation_format))
    network = network_of(nest)
    cost = cost_network(spec, network, plan, map_network(spec, network, plan, objective))
    assert cost.search is not None
    assert cost.search.proven == 1
    return cost


def best_rows(network: str) -> dict[str, tuple[LoopNest, float, float]]:
    """By layer: its loops, ZigZag's least energy in joules and least cycles over all its tables."""
    best: dict[str, tuple[LoopNest, float, float]] = {}
    for table in TABLES:
        if not table.endswith(f"_{network}.csv"):
            continue
        for row, nest in rows_of(table):
            _, joules, cycles = best.get(row["name"], (nest, float("inf"), float("inf")))
            best[row["name"]] = (
                nest,
                min(joules, float(row["energy_pj"]) * 1e-12),
                min(cycles, float(row["latency_cycles"])),
            )
    return best


def left_out(nest: LoopNest) -> tuple[float, float]:
    """(joules, cycles) of the outputs that ZigZag's average fill drops."""
    kept = nest.K // 32 * 32
    if nest.K % 32 == 0 or nest.macs != nest.K * nest.C:
        return 0.0, 0.0
    lost, steps = nest.K - kept, -(-nest.C // 32)
    # A byte out of the accumulators through the buffer to DRAM, and its sums: 0.6 pJ an access of
    # 32 bits for each slice of the reduction and a quarter on leaving.
    joules = lost * (2 * 6.25 + 160 + 1.2 * steps + 0.15) * 1e-12
    # Their weights, one byte each, and themselves over the DRAM's 16 bytes a cycle.
    return joules, lost * (nest.C + 1) / 16


@pytest.mark.parametrize(
    ("network", "microjoules", "cycles", "floor"),
    [
        # ZigZag's totals: of lpf_limit 7 for ResNet-18, of lpf_limit 6 for AlexNet.
        ("resnet18", 3650.8, 3_492_978, 3227.9),
        ("alexnet", 11041.8, 5_082_246, 10863.2),
    ],
)
def test_no_layer_is_worse_than_zigzags_best(
    network: str, microjoules: float, cycles: int, floor: float
) -> None:
    spec = spec_of()
    known: dict[LoopNest, tuple[float, int]] = {}
    total_j, total_cycles = 0.0, 0
    for name, (nest, joules, least_cycles) in best_rows(network).items():
        if nest not in known:
            known[nest] = (
                mapped(spec, nest, Objective.ENERGY).energy_j,
                mapped(spec, nest, Objective.LATENCY).cycles,
            )
        our_j, our_cycles = known[nest]
        more_j, more_cycles = left_out(nest)
        assert our_j <= (joules + more_j) * (1 + 1e-9), name
        assert our_cycles <= least_cycles + more_cycles, name
        total_j += our_j
        total_cycles += our_cycles
    assert floor < total_j * 1e6 < microjoules
    assert total_cycles < cycles


def test_a_smaller_buffer_makes_no_layer_faster() -> None:
    nests = {nest for nest, _, _ in best_rows("resnet18").values()}
    assert len(nests) == 12
    for nest in nests:
        cycles = [
            mapped(spec_of(size), nest, Objective.LATENCY).cycles
            for size in ("1 MiB", "128 KiB", "32 KiB")
        ]
        assert cycles == sorted(cycles), nest
