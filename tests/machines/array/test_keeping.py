"""Weights that stay on chip: never to the network's harm, whatever room they take from others."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path

import onnx
import pytest

from npubench.errors import MappingError
from npubench.frontend import load_network
from npubench.ir import (
    LoopNest,
    MacLayer,
    Network,
    PrecisionPlan,
    Role,
    Tensor,
    parse_format,
    parse_precision,
)
from npubench.machines.array.cost import cost_network
from npubench.machines.array.keeping import QUARTERS, map_kept
from npubench.machines.array.machine import ArrayMachine
from npubench.machines.array.mapping import map_network
from npubench.machines.array.spec import ArraySpec
from npubench.machines.array.switching import mode_switch
from npubench.machines.array.weights import held_weights
from npubench.machines.protocol import Cost, Objective
from npubench.machines.registry import build_machine
from npubench.specs.catalog import WorkloadEntry, find_spec, find_workload
from npubench.specs.header import apply_knobs
from tests.frontend.onnx_text import model

SEVEN = (
    *("resnet50", "mobilenet_v2", "vgg16", "inception_v3", "yolov3", "bert_base"),
    "rnnt_encoder",
)
WIDTHS = (64, 100, 128, 256, 512, 1000, 1024, 2048)


@cache
def machine(
    *overrides: tuple[str, str], mode: str = "base", quantize: str = "fetched"
) -> ArrayMachine:
    knobs = {"mode": mode, "quantize": quantize, "weights": "kept"}
    document = apply_knobs(find_spec("stimpack"), knobs)
    for path, value in overrides:
        document = document.override(path, value, f"--set {path}={value}")
    built = build_machine(document)
    assert isinstance(built, ArrayMachine)
    return built


def small(cmem: int, vmem: int, bandwidth: int, mode: str) -> ArrayMachine:
    """Memories of so many MiB, off-chip memory of so many GB/s."""
    return machine(
        ("memories.vmem.capacity", f"{vmem} MiB"),
        ("memories.cmem.capacity", f"{cmem} MiB"),
        ("memories.hbm.bandwidth", f"{bandwidth} GB/s"),
        mode=mode,
        quantize="converted",
    )


def chain(widths: list[int], rows: int, shared: Mapping[int, int] | None = None) -> Network:
    """Products one after another: ``rows`` x widths[i] times widths[i] x widths[i + 1].

    Args:
        shared: layers, by number, that multiply another one's weights.
    """
    fp32 = parse_format("fp32")
    tensors = {"t0": Tensor("t0", (1, rows, widths[0]), fp32, Role.INPUT)}
    layers = []
    for i, (c, k) in enumerate(itertools.pairwise(widths)):
        weight = f"w{(shared or {}).get(i, i)}"
        tensors.setdefault(weight, Tensor(weight, (c, k), fp32, Role.WEIGHT))
        tensors[f"t{i + 1}"] = Tensor(f"t{i + 1}", (1, rows, k), fp32)
        layers.append(
            MacLayer(
                name=f"l{i}",
                op="MatMul",
                inputs=(f"t{i}", weight),
                outputs=(f"t{i + 1}",),
                nest=LoopNest(OX=rows, K=k, C=c, input_extent=(1, 1, rows)),
                data=f"t{i}",
                weight=weight,
            )
        )
    last = f"t{len(layers)}"
    return Network("chain", tensors, tuple(layers), ("t0",), (last,)).verify()


def figures(cost: Cost, objective: Objective) -> tuple[float, float]:
    if objective is Objective.LATENCY:
        return cost.cycles, cost.energy_j
    if objective is Objective.ENERGY:
        return cost.energy_j, cost.cycles
    return cost.cycles * cost.energy_j, cost.cycles


def of_set(
    spec: ArraySpec,
    network: Network,
    plan: PrecisionPlan,
    objective: Objective,
    kept: tuple[str, ...],
) -> tuple[float, float]:
    mapping = map_network(spec, network, plan, objective, kept)
    return figures(cost_network(spec, network, plan, mapping), objective)


def check(built: ArrayMachine, network: Network, objective: Objective) -> tuple[float, float]:
    """Map it; compare with keeping nothing; return the figures."""
    plan = built.legalise(network, None).executed
    mapping = map_kept(built.spec, network, plan, objective)
    found = figures(cost_network(built.spec, network, plan, mapping), objective)
    assert found <= of_set(built.spec, network, plan, objective, ())
    held = held_weights(built.spec, network, plan)
    capacity = built.spec.chain("weight")[-2].capacity
    assert capacity is not None
    for one in held:  # weights that layers share stay for all of them or for none
        assert len(mapping.kept_weights.intersection(one.layers)) in (0, len(one.layers))
    taken = sum(one.bits for one in held if one.layers[0] in mapping.kept_weights)
    assert taken <= QUARTERS[0] * capacity.value / 4
    # What is kept is really used: the same set mapped by itself is the same mapping.
    assert found == of_set(
        built.spec, network, plan, objective, tuple(sorted(mapping.kept_weights))
    )
    return found


def draw(rng: random.Random, rows: tuple[int, ...]) -> tuple[ArrayMachine, Network, Objective]:
    built = small(
        rng.choice([4, 16]),
        rng.choice([1, 4]),
        rng.choice([20, 614]),
        rng.choice(["base", "burst"]),
    )
    widths = [rng.choice(WIDTHS) for _ in range(rng.randint(2, 6))]
    network = chain(widths, rng.choice(rows)).with_batch(rng.choice([1, 8]))
    return built, network, rng.choice(list(Objective))


def gap(built: ArrayMachine, network: Network, objective: Objective) -> float:
    """Relative distance from the best of all sets of layers, after the checks of `check`."""
    plan = built.legalise(network, None).executed
    found = check(built, network, objective)
    best = (math.inf, 0.0)
    for kept in subsets(tuple(one.layers[0] for one in held_weights(built.spec, network, plan))):
        with suppress(MappingError):
            best = min(best, of_set(built.spec, network, plan, objective, kept))
    assert best <= found
    return found[0] / best[0] - 1


def test_on_random_chains_no_other_set_of_layers_is_better() -> None:
    rng = random.Random(5)
    gaps = [gap(*draw(rng, (1, 8))) for _ in range(4)]
    assert sum(each < 1e-9 for each in gaps) >= 3, gaps


@pytest.mark.slow
@pytest.mark.parametrize("seed", [6, 7, 8])
def test_on_more_random_chains_few_other_sets_are_better(seed: int) -> None:
    """The rule is no proof of an optimum; a better set exists for few chains."""
    rng = random.Random(seed)
    gaps = [gap(*draw(rng, (1, 64, 256))) for _ in range(8)]
    assert sum(each < 1e-9 for each in gaps) >= 7, gaps


def shipped(name: str, batch: int) -> Network:
    entry = find_workload(name)
    assert isinstance(entry, WorkloadEntry)
    return load_network(entry.path, {}, entry.name, entry.shown).network.with_batch(batch)


def test_a_shipped_network_is_never_worse() -> None:
    built = machine(mode="burst", quantize="converted")
    check(built, shipped("mobilenet_v2", 1), Objective.LATENCY)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("batch", "mode", "objective"),
    [
        (1, "base", Objective.LATENCY),
        (8, "base", Objective.LATENCY),
        (8, "burst", Objective.ENERGY),
    ],
)
@pytest.mark.parametrize("name", SEVEN)
def test_seven_networks_are_never_worse(
    name: str, batch: int, mode: str, objective: Objective
) -> None:
    check(machine(mode=mode, quantize="converted"), shipped(name, batch), objective)


@pytest.mark.slow
def test_weights_make_way_for_what_a_running_layer_wants() -> None:
    """All weights fit, but at batch 8 each MiB of them drives activations out of CMEM."""
    built, network = machine(), shipped("bert_base", 8)
    plan = built.legalise(network, None).executed
    assert map_kept(built.spec, network, plan).kept_weights == frozenset()
    alone = shipped("bert_base", 1)
    assert len(map_kept(built.spec, alone, plan).kept_weights) > 40


def test_a_layer_that_gains_nothing_keeps_nothing() -> None:
    """Weights that a layer cannot keep for want of room, and a spec that keeps none."""
    built = small(4, 1, 614, "base")
    network = chain([64, 64], 8)
    plan = built.legalise(network, None).executed
    assert map_kept(built.spec, network, plan).kept_weights == {"l0"}
    huge = chain([2048, 2048], 8)  # 8 MiB in BF16
    assert map_kept(built.spec, huge, plan).kept_weights == frozenset()
    fetched = built.spec.model_copy(update={"weights": "fetched"})
    assert map_kept(fetched, network, plan).kept_weights == frozenset()


def subsets(names: tuple[str, ...]) -> list[tuple[str, ...]]:
    return [s for n in range(len(names) + 1) for s in itertools.combinations(names, n)]


def test_weights_that_two_layers_share_take_their_room_once() -> None:
    """2 MiB in BF16, of 3 MiB that weights may take: those of one layer, or of two that share."""
    built = small(4, 1, 614, "base")
    for objective in Objective:
        kept = []
        for shared in ({}, {1: 0}):
            network = chain([1024, 1024, 1024], 8, shared)
            plan = built.legalise(network, None).executed
            check(built, network, objective)
            kept.append(map_kept(built.spec, network, plan, objective).kept_weights)
        apart, together = kept
        assert len(apart) == 1
        assert together == {"l0", "l1"}


def test_shared_weights_stay_for_all_of_their_layers() -> None:
    built = small(16, 4, 614, "base")
    network = chain([512, 512, 256, 512, 512], 8, {3: 0})
    plan = built.legalise(network, None).executed
    (ends, *_) = held = held_weights(built.spec, network, plan)
    assert [one.layers for one in held] == [("l0", "l3"), ("l1",), ("l2",)]
    assert ends.bits == 512 * 512 * 16
    one, both = (
        map_network(built.spec, network, plan, kept=names) for names in (["l3"], ["l0", "l3"])
    )
    assert one.kept_weights == both.kept_weights == {"l0", "l3"}
    assert cost_network(built.spec, network, plan, one) == cost_network(
        built.spec, network, plan, both
    )


def test_weights_multiplied_in_two_formats_are_there_twice() -> None:
    built = machine(mode="burst", quantize="converted")
    network = chain([64, 64, 64], 8, {1: 0})
    mixed = PrecisionPlan(parse_precision("bf16"), {"l1": parse_precision("w8a8")})
    held = held_weights(built.spec, network, built.legalise(network, mixed).executed)
    assert [(one.layers, one.bits) for one in held] == [
        (("l0",), 64 * 64 * 16),
        (("l1",), 64 * 64 * 8),
    ]


def test_a_tied_embedding_is_kept_once(tmp_path: Path) -> None:
    """A table that words are gathered from, and that both ends of a network multiply."""
    path = tmp_path / "tied.onnx"
    onnx.save(
        model(
            "tied (int64[8] ids) => (float[8, 1000] z) <float[1000, 64] e> { x = Gather(e, ids)"
            " t = Transpose<perm=[1, 0]>(e) y = MatMul(x, t) s = Softmax(y) u = MatMul(s, e)"
            " z = MatMul(u, t) }"
        ),
        path,
    )
    network = load_network(path).network
    assert network.parameters == 64_000
    built = small(4, 1, 614, "base")
    plan = built.legalise(network, None).executed
    (held,) = held_weights(built.spec, network, plan)
    assert len(held.layers) == 3
    assert held.bits == 64_000 * 16
    assert map_kept(built.spec, network, plan).kept_weights == set(held.layers)


def test_a_switch_brings_shared_weights_once() -> None:
    """Fetched for the first layer that multiplies them; the second one finds them there."""
    built = machine(quantize="fetched")
    eight = PrecisionPlan(parse_precision("w8a8"))
    fetched = []
    for shared in ({}, {1: 0}):
        network = chain([64, 64, 64], 8, shared)
        plan = built.legalise(network, None).executed
        fetched.append(mode_switch(built.spec, network, plan, eight).fetched)
    assert fetched == [2 * 64 * 64, 64 * 64]
