"""Many operating points from one search, against a machine built and mapped for each of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from npubench.ir import LoopNest, PrecisionPlan
from npubench.machines.array.flows import AFTER, SERIAL, Resources
from npubench.machines.array.goals import ManyGoal
from npubench.machines.array.machine import ArrayMachine, build
from npubench.machines.array.nests import nondominated
from npubench.machines.array.operating import prepare
from npubench.machines.protocol import Cost, Objective, evaluate
from npubench.machines.registry import build_machine
from npubench.machines.tuning import CostTable
from npubench.specs.catalog import find_spec
from npubench.specs.header import apply_knobs
from npubench.study.session import Session
from tests.machines.array.test_search import (
    machine_precision,
    network_of,
    three_memories,
    tiny_spec,
)

NEST = st.builds(
    LoopNest,
    OY=st.integers(1, 9),
    OX=st.integers(1, 5),
    K=st.integers(1, 12),
    C=st.integers(1, 12),
    FY=st.sampled_from([1, 3]),
)


def machine(name: str, settings: Mapping[str, str]) -> ArrayMachine:
    built = build_machine(apply_knobs(find_spec(name), settings))
    assert isinstance(built, ArrayMachine)
    return built


def check(cost: Cost, table: CostTable, at: int) -> None:
    """One point of a table against the cost of a machine of its own."""
    assert table.clock_hz[at] == cost.clock_hz
    assert table.cycles[at] == cost.cycles
    assert table.layer_cycles[:, at].tolist() == [layer.cycles for layer in cost.layers]
    causes = {cause: int(n[at]) for cause, n in table.latency_by_cause.items() if n[at]}
    assert causes == cost.latency_by_cause
    energies = {part: float(j[at]) for part, j in table.energy_by_component.items() if j[at]}
    assert energies == pytest.approx(dict(cost.energy_by_component), rel=1e-12)
    assert sum(energies.values()) == pytest.approx(cost.energy_j, rel=1e-12)


# Each machine for one objective, and for the others with ``-m slow``.
OPERATED = (
    ("stimpack", "resnet18", {"mode": "base"}, Objective.EDP),
    ("stimpack", "mobilenetv2", {"mode": "burst", "quantize": "converted"}, Objective.LATENCY),
    ("edge8", "mobilenetv2", {}, Objective.ENERGY),
    ("edge5", "resnet18", {}, Objective.EDP),
)


@pytest.mark.parametrize(
    ("name", "model", "knobs", "objective"),
    [
        pytest.param(*case, objective, marks=() if objective is first else pytest.mark.slow)
        for *case, first in OPERATED
        for objective in Objective
    ],
)
def test_every_point_is_that_of_a_machine_of_its_own(
    name: str, model: str, knobs: dict[str, str], objective: Objective
) -> None:
    session = Session()
    network = session.network(model, {}).network.with_batch(2)
    low, high = ("0.56", "0.89") if name == "stimpack" else ("0.56", "0.98")
    clocks = ("0.5GHz", "1.2GHz") if name == "stimpack" else ("0.5GHz", "0.8GHz")
    built = machine(name, knobs)
    plan = built.legalise(network, None).executed
    wanted = [
        machine(name, {**knobs, "vdd": vdd, "clock": clock})
        for vdd in (low, high)
        for clock in clocks
    ]
    assert all(one.untuned == built.untuned for one in wanted)
    found = built.anywhere(network, plan, objective)
    assert found is not None
    table = found.costs([one.operating_point(one.settings) for one in wanted])
    for at, one in enumerate(wanted):
        check(evaluate(one, network, plan, objective), table, at)


POINTS = settings(
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.generate],
    derandomize=True,
)
DRAWN = given(
    nest=NEST,
    rooms=st.tuples(st.integers(60, 500), st.integers(40, 60), st.integers(2, 40)),
    deep=st.booleans(),
    overlap=st.sampled_from(["prefetch", "none"]),
    objective=st.sampled_from(list(Objective)),
    rate=st.floats(0.02, 8),
    energy=st.floats(0.2, 3),
    leakage=st.floats(0.05, 20),
)


@settings(POINTS, max_examples=8)
@DRAWN
def test_points_of_random_layers_are_the_best_of_searches_of_their_own(**drawn: Any) -> None:
    check_points(**drawn)


@pytest.mark.slow
@settings(POINTS, max_examples=60)
@DRAWN
def test_points_of_many_random_layers(**drawn: Any) -> None:
    check_points(**drawn)


def check_points(
    nest: LoopNest,
    rooms: tuple[int, int, int],
    deep: bool,
    overlap: str,
    objective: Objective,
    rate: float,
    energy: float,
    leakage: float,
) -> None:
    outer, inner, sums = rooms
    spec = three_memories(outer, inner, sums) if deep else tiny_spec(outer, sums)
    spec = spec.model_copy(update={"layer_overlap": overlap})
    network, plan = network_of(nest), PrecisionPlan(machine_precision(spec))
    found = prepare(spec, network, plan, objective)
    if found is None:  # a search gave up: points are then run one by one
        return
    there = spec.model_copy(
        update={
            "clock": replace(spec.clock, value=spec.clock.value * rate),
            "static_power": replace(spec.static_power, value=spec.static_power.value * leakage),
        }
    )
    assert spec.voltage is not None
    point = ArrayMachine(there, "", (), spec).operating_point(
        {"clock": there.clock.value, "voltage.supply": spec.voltage.nominal.value}
    )
    point = replace(point, leakage=leakage)
    check(evaluate(ArrayMachine(there, ""), network, plan, objective), found.costs([point]), 0)
    # Another supply changes the die's energies alone, so joules are what the factor makes of them.
    moved = found.costs([replace(point, energy=energy)])
    if objective is not Objective.LATENCY:
        best = _objective(moved, objective, overlap)
        for mapping in found.mappings:
            one = replace(found, mappings=(mapping,)).costs([replace(point, energy=energy)])
            assert best <= _objective(one, objective, overlap) * (1 + 1e-9)


def _objective(table: CostTable, objective: Objective, overlap: str) -> float:
    """The objective as it is searched for: with prefetch a layer's first tile is another's time."""
    joules = float(sum(j[0] for j in table.energy_by_component.values()))
    cycles = int(table.cycles[0])
    if overlap == "prefetch":
        first = int(table.latency_by_cause["first_tile"][0])
        joules -= float(table.energy_by_component["static"][0]) * first / cycles
        cycles -= first
    return joules * (cycles if objective is Objective.EDP else 1)


def test_figures_of_a_point_do_not_hang_on_the_others() -> None:
    built = machine("edge8", {})
    network = Session().network("resnet18", {}).network
    plan = built.legalise(network, None).executed
    found = built.anywhere(network, plan, Objective.LATENCY)
    assert found is not None
    points = [
        built.operating_point({"clock": clock, "voltage.supply": supply})
        for clock in (4e8, 6e8, 8e8)
        for supply in (0.6, 0.7, 0.85, 1.0)
    ]
    together = found.costs(points)
    for at, point in enumerate(points):
        alone = found.costs([point])
        assert alone.cycles[0] == together.cycles[at]
        for part, joules in alone.energy_by_component.items():
            assert joules[0] == together.energy_by_component[part][at]


def test_cycles_at_the_spec_s_own_clock_are_the_cycles() -> None:
    spec = build(find_spec("stimpack")).spec
    resources = Resources(spec, split=True)
    rows = np.random.default_rng(0).integers(0, 5000, (200, resources.count)) / 100
    rows[:, [AFTER, SERIAL]] = rows[:, [AFTER, SERIAL]] // 1 * [1, 0]
    there = resources.cycles_at(rows, np.array([1.0, 2.0]))
    assert there[:, 0].tolist() == resources.cycles(rows).tolist()
    assert (there[:, 1] >= there[:, 0]).all()


@given(st.lists(st.tuples(*[st.integers(0, 4)] * 3), min_size=1, max_size=40))
def test_many_goal_keeps_what_nothing_beats(rows: list[tuple[int, int, int]]) -> None:
    figures = np.array(rows, dtype=float)
    goal = ManyGoal(lambda row: row)
    for part in np.array_split(figures, 3):
        goal.offer(part)
    wanted = figures[nondominated(figures)]
    assert sorted(map(tuple, goal.found.tolist())) == sorted(map(tuple, wanted.tolist()))
    assert not goal.useful(figures).any()


@pytest.mark.parametrize("case", ["kept weights", "serial transfers"])
def test_where_points_choose_from_something_else_nothing_is_shared(case: str) -> None:
    document = find_spec("stimpack")
    if case == "kept weights":
        document = apply_knobs(document, {"weights": "kept"})
    else:
        for key, value in {"transfers": "serial", "double_buffered": "false"}.items():
            document = document.override(f"memories.vmem.{key}", value, "--set")
    built = build(document)
    network = Session().network("resnet18", {}).network
    plan = built.legalise(network, None).executed
    assert built.anywhere(network, plan, Objective.LATENCY) is None


def test_a_kept_clock_that_the_supply_does_not_allow_is_refused() -> None:
    document = find_spec("edge8")
    for path, value in {"voltage.clock": "kept", "voltage.highest_clock": "1.2 GHz"}.items():
        document = document.override(path, value, "--set")
    built = build(document)
    assert built.operating_point(built.settings).clock_hz == built.spec.clock.value
    low = {**built.settings, "voltage.supply": 0.6}
    with pytest.raises(Exception, match=r"a clock of .* needs more than 600 mV"):
        built.operating_point(low)
