"""Speed of the bit-exact emulator; run with ``pytest benchmarks --benchmark-only``."""

from __future__ import annotations

from typing import Any

import numpy as np

from npubench.machines.associative.emulator import Cam, measured_activity
from npubench.machines.associative.operations.arithmetic import multiply
from npubench.machines.associative.reduction import scalar_product

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
