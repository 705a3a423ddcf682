"""Speed of the bit-exact emulator and the cost model; ``pytest benchmarks --benchmark-only``."""

from __future__ import annotations

from typing import Any

import numpy as np

from npubench.ir import PrecisionPlan, parse_precision
from npubench.machines.associative.emulator import Cam, measured_activity
from npubench.machines.associative.machine import AssociativeMachine
from npubench.machines.associative.operations.arithmetic import multiply
from npubench.machines.associative.points import supply_points
from npubench.machines.associative.reduction import scalar_product
from npubench.machines.protocol import evaluate
from npubench.study.session import Session

ROWS, COLUMNS = 4800, 64


def test_multiplications_per_second_of_one_array(benchmark: Any) -> None:
    """8 x 8 bits in all 4800 rows of a 64-column array."""
    random = np.random.default_rng(0)
    program = multiply(8, 8)
    a, b = random.integers(0, 256, size=(2, ROWS))

    def loaded() -> tuple[tuple[Cam], dict[str, Any]]:
        cam = Cam(COLUMNS, ROWS)
        cam.load(program.input("a"), a)
        cam.load(program.input("b"), b)
        return (cam,), {}

    benchmark.pedantic(lambda cam: cam.run(program), setup=loaded, rounds=50)
    benchmark.extra_info["multiplications_per_second"] = round(ROWS / benchmark.stats["mean"])


def test_building_and_counting_a_sixteen_bit_scalar_product(benchmark: Any) -> None:
    """What the first layer of a new shape costs; later ones come from the cache."""
    cycles = benchmark(lambda: scalar_product.__wrapped__(4608, 16, 16).counts.cycles)
    assert cycles > 8 * 16 * 16


def test_cached_counts(benchmark: Any) -> None:
    """What every further layer of the same shape costs."""
    assert benchmark(lambda: scalar_product(4608, 8, 8).counts.cycles) > 512


def test_cached_activity(benchmark: Any) -> None:
    """A lookup once measured."""
    assert benchmark(lambda: measured_activity(multiply(8, 8)).flipped_cells) > 0


def test_cost_of_resnet50(benchmark: Any) -> None:
    """Mapping and cost of a network that was costed before: what a sweep pays a point."""
    machine, network = _machine(), Session().network("resnet50", {}).network
    plan = machine.legalise(network, PrecisionPlan(parse_precision("w8a8"))).executed
    evaluate(machine, network, plan)
    assert benchmark(lambda: evaluate(machine, network, plan).cycles) > 0


def test_ten_thousand_points_of_resnet18(benchmark: Any) -> None:
    """16 precisions x 625 supplies in one process, programs counted anew."""
    machine, network = _machine(), Session().network("resnet18", {}).network
    precisions = [parse_precision(f"w{bits}a{bits}") for bits in range(1, 17)]
    supplies = np.linspace(0.5, 1.0, 625).tolist()
    points = benchmark.pedantic(
        lambda: supply_points(machine, network, precisions, supplies), rounds=1
    )
    assert points.energy_j.size == 10_000


def _machine() -> AssociativeMachine:
    machine = Session().machine("bf_imna", {}, {})
    assert isinstance(machine, AssociativeMachine)
    return machine
