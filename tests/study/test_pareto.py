"""The front of latency and energy of a network: its ends, sums by brute force, thinning."""

from __future__ import annotations

import itertools
import json
from random import Random

import numpy as np
import pytest

from npubench.errors import OptionError
from npubench.machines.protocol import LayerFront
from npubench.study import pareto as module
from npubench.study.pareto import _add_up, pareto
from npubench.study.run import RunRequest, run
from npubench.study.session import Session
from tests.cli.in_process import in_process
from tests.study.study_fakes import Library

ALEXNET = RunRequest("alexnet", "ws32x32_int8:buffer=64KiB")


def random_front(random: Random, name: str, most: int) -> LayerFront:
    size = random.randint(1, most)
    cycles = sorted(random.sample(range(1, 60), size))
    joules = sorted(random.sample(range(1, 60), size), reverse=True)
    return LayerFront(name, tuple(cycles), tuple(float(j) for j in joules))


def every_sum(layers: list[LayerFront]) -> list[tuple[int, float]]:
    """All choices of a point for each layer, those that another beats left out."""
    sums = {
        (sum(c for c, _ in chosen), sum(j for _, j in chosen))
        for chosen in itertools.product(
            *(list(zip(one.cycles, one.energy_j, strict=True)) for one in layers)
        )
    }
    return sorted(
        (c, j) for c, j in sums if not any(a <= c and b <= j and (a, b) != (c, j) for a, b in sums)
    )


@pytest.mark.parametrize("seed", range(20))
def test_sums_of_fronts_are_those_of_every_choice(seed: int) -> None:
    random = Random(seed)
    layers = [random_front(random, f"l{i}", 5) for i in range(random.randint(1, 5))]
    cycles, joules, slowed, slack = _add_up(layers, 0, 0.0)
    assert list(zip(cycles.tolist(), joules.tolist(), strict=True)) == every_sum(layers)
    assert slowed[0] == 0
    assert max(slowed) <= len(layers)
    assert slack == 0


def test_thinned_sums_are_no_further_off_than_they_say(monkeypatch: pytest.MonkeyPatch) -> None:
    random = Random(3)
    layers = [random_front(random, f"l{i}", 6) for i in range(6)]
    exact = every_sum(layers)
    monkeypatch.setattr(module, "MOST_POINTS", 12)
    cycles, joules, _, slack = _add_up(layers, 0, 0.0)
    assert len(cycles) <= 13 < len(exact)
    assert slack > 0
    assert (cycles[0], joules[-1]) == (exact[0][0], exact[-1][1])
    for wanted, energy in exact:
        assert any(c <= wanted + slack and j <= energy for c, j in zip(cycles, joules, strict=True))
    assert set(zip(cycles.tolist(), joules.tolist(), strict=True)) <= {
        (sum(c for c, _ in chosen), sum(j for _, j in chosen))
        for chosen in itertools.product(
            *(list(zip(one.cycles, one.energy_j, strict=True)) for one in layers)
        )
    }


def test_the_ends_are_what_the_objectives_find() -> None:
    session = Session()
    front = pareto(ALEXNET, 5, session)
    by = {
        name: run(RunRequest(ALEXNET.workload, ALEXNET.hardware, objective=name), session).totals
        for name in ("latency", "energy", "edp")
    }
    first, last = front.points[0], front.points[-1]
    assert first.latency_s == pytest.approx(by["latency"].latency_s, rel=1e-12)
    assert first.energy_j == pytest.approx(by["latency"].energy_j, rel=1e-9)
    assert last.energy_j == pytest.approx(by["energy"].energy_j, rel=1e-9)
    # Layer by layer the least products; over the whole network there may be a better choice.
    best = front.points[front.least_edp]
    assert best.edp_js <= by["edp"].edp_js * (1 + 1e-12)
    assert front.size > len(front.points) >= 5
    assert front.slack_s == 0
    assert front.search is not None
    assert front.search.proven == front.search.layers == len(front.layers) == 8
    latencies = np.array([p.latency_s for p in front.points])
    energies = np.array([p.energy_j for p in front.points])
    assert (np.diff(latencies) > 0).all()
    assert (np.diff(energies) < 0).all()


def test_a_machine_without_a_choice_is_refused(library: Library) -> None:
    with pytest.raises(OptionError) as caught:
        pareto(RunRequest("tiny", "toy"), session=library.session())
    assert str(caught.value) == (
        "'toy' (family fake) has no mapping that trades latency for energy"
    )
    with pytest.raises(OptionError, match="--points: expected a whole number from 3, got 2"):
        pareto(RunRequest("tiny", "toy"), 2)


def test_the_command() -> None:
    done = in_process(["pareto", "digits_cnn", "--hw", "edge8", "--format", "json"])
    assert done.code == 0
    document = json.loads(done.stdout)
    assert document["schema"] == "npubench.pareto/1"
    assert document["exact"] is True
    assert document["rows"][0]["latency_ratio"] == 1
    total = sum(one["cycles"][0] for one in document["layers"])
    assert 0 < total <= document["rows"][0]["latency_s"] * 1e9 + 0.5
    shown = in_process(["pareto", "digits_cnn", "--hw", "edge8", "--layers"])
    assert shown.code == 0
    assert "on the front of latency" in shown.stdout
    refused = in_process(["pareto", "digits_cnn", "--hw", "edge8", "--points", "1"])
    assert refused.code == 2
