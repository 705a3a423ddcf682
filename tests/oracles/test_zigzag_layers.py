"""Layer by layer against ZigZag, each layer in a file of its own (`search_layers.csv`).

Three things are held: our counting gives ZigZag's energy for ZigZag's best mapping; our best
mapping is at or below it; and the energy that our search says of its mapping is the one that
ZigZag's rules give to that order of loops.
"""

from __future__ import annotations

import csv
from collections import Counter
from functools import cache
from typing import NamedTuple

import pytest

from npubench.frontend import load_network
from npubench.ir import LayerPrecision, LoopNest, PrecisionPlan
from npubench.machines.array import mapping
from npubench.machines.array.core import Core
from npubench.machines.array.cost import cost_network
from npubench.machines.array.loop_order import Loop, evaluate, parse_order
from npubench.machines.array.nests import Level, Nest
from npubench.machines.array.spec import ArraySpec
from npubench.machines.array.tiles import LayerTiles
from npubench.machines.array.unrolled import UnrolledCore
from npubench.machines.array.work import NestWork, measure
from npubench.machines.protocol import Objective
from npubench.specs.catalog import find_workload
from tests.machines.array.test_loop_order import MACHINE, ORACLE
from tests.machines.array.test_search import network_of
from tests.oracles.test_zigzag_search import left_out, spec_of

ROWS = {"resnet18": 12, "alexnet": 8, "bert_base": 6, "mobilenet_v2": 31, "resnet50": 24}

# What ZigZag leaves out of these layers by cutting off its counts of accesses, in pJ: it reads the
# buffer a fraction of an access less for each of the two.
CUT_OFF = {("mobilenet_v2", "G144 OY28 OX28 FY3 FX3 /2"): 200.0}


class Row(NamedTuple):
    """A layer as ZigZag mapped it."""

    network: str
    layer: str
    nest: LoopNest
    pj: float
    least_cycles: float
    order: str


class Found(NamedTuple):
    """A layer as the search mapped it."""

    pj: float
    core: Core
    nest: Nest


def shown(nest: LoopNest) -> str:
    """A layer as the table names it: its loops longer than 1, and its stride."""
    loops = " ".join(f"{dim}{n}" for dim, n in nest.bounds.items() if n > 1)
    return loops if max(nest.stride) == 1 else f"{loops} /{max(nest.stride)}"


@cache
def rows() -> tuple[Row, ...]:
    found = []
    nests = {
        network: {
            shown(layer.nest): layer.nest
            for layer in load_network(find_workload(network).path).network.mac_layers
        }
        for network in ROWS
    }
    with (ORACLE / "search_layers.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            assert row["zigzag"] == "3.9.1"
            nest = nests[row["network"]][row["layer"]]
            figures = float(row["energy_pj"]), float(row["least_cycles"])
            order = row["loops_inner_to_outer"]
            found.append(Row(row["network"], row["layer"], nest, *figures, order))
    return tuple(found)


def test_every_network_is_there() -> None:
    assert Counter(row.network for row in rows()) == ROWS
    assert len({(row.network, row.layer) for row in rows()}) == len(rows())


def test_zigzags_best_mapping_costs_here_what_it_says() -> None:
    for row in rows():
        ours = evaluate(row.nest, parse_order(row.order), MACHINE, "zigzag").energy_j * 1e12
        assert ours == pytest.approx(row.pj, rel=1e-9), row


@pytest.mark.parametrize(
    "network",
    [pytest.param(n, marks=pytest.mark.slow) if n == "resnet50" else n for n in ROWS],
)
def test_no_layer_is_above_zigzags_best(network: str, monkeypatch: pytest.MonkeyPatch) -> None:
    exact = 0
    for row in (row for row in rows() if row.network == network):
        found = best(row.nest, monkeypatch)
        more_j, more_cycles = left_out(row.nest)
        allowed = row.pj + more_j * 1e12 + CUT_OFF.get((network, row.layer), 0.0)
        assert found.pj <= allowed * (1 + 1e-9), row
        if (network, row.layer) in CUT_OFF:
            assert found.pj == pytest.approx(allowed, rel=1e-9)
        assert cycles(row.nest) <= row.least_cycles + more_cycles, row
        order = order_of(row.nest, found)
        if order is not None and not more_j:
            theirs = evaluate(row.nest, order, MACHINE, "zigzag").energy_j * 1e12
            # ZigZag rounds fills, tiles and accesses to whole numbers.
            assert found.pj == pytest.approx(theirs, rel=2.1e-4), row
            exact += found.pj == pytest.approx(theirs, rel=1e-9)
    least = {"resnet18": 11, "alexnet": 2, "bert_base": 5, "mobilenet_v2": 13, "resnet50": 21}
    assert exact >= least[network]


def best(nest: LoopNest, monkeypatch: pytest.MonkeyPatch) -> Found:
    """The mapping of least energy, as a result reports it."""
    seen: list[tuple[Core, Nest]] = []

    def watched(
        tiles: LayerTiles, cores: tuple[Core, ...], levels: tuple[Level, ...], chosen: Nest
    ) -> NestWork:
        work = measure(tiles, cores, levels, chosen)
        seen.append((cores[work.variant], chosen))
        return work

    monkeypatch.setattr(mapping, "measure", watched)
    (spec, plan), network = machine(), network_of(nest)
    result = mapping.map_network(spec, network, plan, Objective.ENERGY)
    cost = cost_network(spec, network, plan, result)
    assert cost.search is not None
    assert cost.search.proven == 1
    return Found(cost.energy_j * 1e12, *seen[-1])


def cycles(nest: LoopNest) -> int:
    """The least cycles of a layer."""
    (spec, plan), network = machine(), network_of(nest)
    result = mapping.map_network(spec, network, plan, Objective.LATENCY)
    return cost_network(spec, network, plan, result).cycles


@cache
def machine() -> tuple[ArraySpec, PrecisionPlan]:
    spec = spec_of()
    fmt = spec.array.formats["int8"]
    return spec, PrecisionPlan(LayerPrecision(fmt.weight_format, fmt.activation_format))


def order_of(nest: LoopNest, found: Found) -> list[Loop] | None:
    """The mapping as an order of whole loops, innermost first; None where a loop is cut ragged."""
    outside: list[Loop] = []
    at = found.nest
    while at.inside:
        if len(at.inside) > 1:
            return None
        whole, tile = at.extents, at.tile
        rounds = {
            "B": whole.b // tile.b,
            "OY": whole.y // tile.y,
            "OX": whole.x // tile.x,
            "K": -(-whole.k // 32) // -(-tile.k // 32),
            "C": -(-whole.c // 32) // -(-tile.c // 32),
        }
        for kind in at.order or "MKC":
            dims = ("B", "OY", "OX") if kind == "M" else (kind,)
            outside += [Loop(dim, rounds[dim]) for dim in dims]
        ((_, at),) = at.inside
    # In the array: channels whose weights a PE keeps, rows, kernel, then the other channels.
    k_steps, c_steps = -(-at.extents.k // 32), -(-at.extents.c // 32)
    assert isinstance(found.core, UnrolledCore)
    kept = min(found.core.kept.outputs, k_steps)
    if k_steps % kept:
        return None
    inside = [
        Loop("K", kept),
        Loop("OX", at.extents.x),
        Loop("OY", at.extents.y),
        Loop("B", at.extents.b),
        Loop("FX", nest.FX),
        Loop("FY", nest.FY),
        Loop("C", c_steps),
        Loop("K", k_steps // kept),
    ]
    every = [*inside, *reversed(outside), Loop("G", nest.G)]
    return [loop for loop in every if loop.size > 1]
