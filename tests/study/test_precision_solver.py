"""The exact solver and the frontier against exhaustive search, and HAWQ-V3's published bits."""

from __future__ import annotations

import csv
import itertools

import numpy as np
import pytest

from npubench.precision.published import published_plans
from npubench.specs.catalog import data_folder
from npubench.study.precision_solver import (
    EDP,
    LOSS,
    Choice,
    PrecisionProblem,
    Solution,
    find_frontier,
    solve,
)

METRICS = ("latency_s", "energy_j")


def random_problem(seed: int, groups: int = 6, widths: int = 4) -> PrecisionProblem:
    """Losses fall and costs mostly rise with the width, at the scale of real metrics."""
    random = np.random.default_rng(seed)
    made = []
    for _ in range(groups):
        losses = np.sort(random.exponential(1, widths))[::-1]
        costs = [np.sort(random.uniform(1, 3, widths)) for _ in METRICS]
        made.append(
            tuple(
                Choice(float(losses[i]), (float(costs[0][i]) * 1e-6, float(costs[1][i]) * 1e-9))
                for i in range(widths)
            )
        )
    return PrecisionProblem(METRICS, tuple(made), (1e-6, 2e-9))


def everything(problem: PrecisionProblem) -> list[Solution]:
    return [problem.total(p) for p in itertools.product(*(range(len(g)) for g in problem.groups))]


def brute(all_plans: list[Solution], objective: str, limits: dict[str, float]) -> float | None:
    fitting = [s for s in all_plans if all(s.value(n) <= b for n, b in limits.items())]
    return min((s.value(objective) for s in fitting), default=None)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(
    ("objective", "names"),
    [
        (LOSS, ("latency_s",)),
        (LOSS, ("latency_s", "energy_j")),
        (LOSS, (EDP,)),
        (LOSS, (EDP, "latency_s")),
        ("energy_j", (LOSS,)),
        ("latency_s", (LOSS, EDP)),
        (EDP, (LOSS,)),
        (EDP, (LOSS, "latency_s")),
        (EDP, ()),
    ],
)
def test_optimal_as_exhaustive_search(seed: int, objective: str, names: tuple[str, ...]) -> None:
    problem = random_problem(seed)
    plans = everything(problem)
    for share in (0.02, 0.3, 0.7):
        limits = {n: float(np.quantile([s.value(n) for s in plans], share)) for n in names}
        found, best = solve(problem, objective, limits), brute(plans, objective, limits)
        assert (found is None) == (best is None)
        if found is not None and best is not None:
            assert found.value(objective) == pytest.approx(best, rel=1e-9)
            assert all(found.value(n) <= bound * (1 + 1e-8) for n, bound in limits.items())


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("metric", METRICS)
def test_the_frontier_is_that_of_exhaustive_search(seed: int, metric: str) -> None:
    problem = random_problem(seed)
    best: list[tuple[float, float]] = []
    for one in sorted(everything(problem), key=lambda s: (s.value(metric), s.loss)):
        if not best or one.loss < best[-1][1] - 1e-12:
            best.append((one.value(metric), one.loss))
    found = find_frontier(problem, metric)
    assert found.exact
    assert np.allclose(np.stack([found.costs, found.losses], 1), best, rtol=1e-9)
    for index in range(len(found)):
        one = found.solution(index)
        assert (one.value(metric), one.loss) == pytest.approx(
            (found.costs[index], found.losses[index]), rel=1e-9
        )


def test_nothing_found_at_random_dominates_the_frontier() -> None:
    problem = random_problem(11, groups=54)
    found = find_frontier(problem, "latency_s", most=4000)
    random = np.random.default_rng(0)
    picks = random.integers(0, 4, (100_000, 54))
    costs = np.full(len(picks), problem.fixed[0])
    losses = np.zeros(len(picks))
    for group, column in zip(problem.groups, picks.T, strict=True):
        costs += np.array([c.costs[0] for c in group])[column]
        losses += np.array([c.loss for c in group])[column]
    at = np.searchsorted(found.costs, costs, side="right") - 1
    assert at.min() >= 0
    assert np.all(found.losses[at] <= losses)


def test_a_thinned_frontier_says_so_and_stays_close() -> None:
    problem = random_problem(3, groups=20)
    whole, thin = find_frontier(problem, "energy_j"), find_frontier(problem, "energy_j", most=60)
    assert whole.exact
    assert not thin.exact
    assert len(thin) < len(whole)
    at = np.searchsorted(whole.costs, thin.costs, side="right") - 1
    assert np.max(thin.losses - whole.losses[at]) < 0.05 * np.ptp(whole.losses)


def test_no_plan_within_the_budget() -> None:
    problem = random_problem(0)
    assert solve(problem, LOSS, {"latency_s": 1e-9}) is None
    assert solve(problem, EDP, {LOSS: -1.0}) is None


def _hawq(network: str) -> tuple[PrecisionProblem, list[list[str]]]:
    """HAWQ-V3's own programme: its sensitivities, parameters, MACs and T4 latencies."""
    path = data_folder("workloads") / "precision" / f"hawq_v3_{network}_sensitivity.csv"
    with path.open() as file:
        rows = list(csv.DictReader(file))
    groups: list[list[dict[str, str]]] = []
    for row in rows:
        block, _, what = row["name"].partition(".downsample")
        first = [g for g in groups if what and g[0]["name"] == f"{block}.conv1"]
        if not first:
            groups.append([])
        (first or groups[-1:])[0].append(row)
    choices = [
        tuple(
            Choice(
                sum(
                    float(r["hessian_trace_per_param"]) * float(r[f"weight_sq_error_int{bits}"])
                    for r in group
                ),
                (
                    float(sum(int(r["params"]) * bits for r in group)),
                    float(sum(int(r["macs"]) * bits * bits for r in group)),
                    sum(float(r[f"t4_latency_int{bits}"]) for r in group),
                ),
            )
            for bits in (8, 4)
        )
        for group in groups
    ]
    names = [[r["name"] for r in group] for group in groups]
    return PrecisionProblem(("modelsize", "bops", "latency"), tuple(choices), (0, 0, 0)), names


def test_hawq_v3s_published_bits() -> None:
    """Its repository's ILP, solved exactly, gives its published bits in 17 of 18 settings."""
    differing: dict[str, list[str]] = {}
    for network in ("resnet18", "resnet50"):
        problem, names = _hawq(network)
        file = next(f for f in published_plans() if f.name == f"hawq_v3_{network}")
        wide, narrow = (problem.total([i] * len(names)) for i in (0, 1))
        for metric, share in itertools.product(problem.metrics, (0.75, 0.5, 0.25)):
            bound = narrow.costs[metric] + share * (wide.costs[metric] - narrow.costs[metric])
            found = solve(problem, LOSS, {metric: bound})
            assert found is not None
            chosen = {
                name: (8, 4)[pick]
                for group, pick in zip(names, found.picks, strict=True)
                for name in group
            }
            bits = file.settings[f"{metric}_{share}"]
            published = {x.name: b for x, b in zip(file.layers, bits, strict=True)}
            wrong = [name for name, width in chosen.items() if published[name] != width]
            if wrong:
                differing[f"{network} {metric}_{share}"] = wrong
    assert differing == {"resnet50 modelsize_0.25": ["layer3.5.conv1"]}


def test_fifty_layers_at_four_widths_keep_their_budget() -> None:
    problem = random_problem(5, groups=54)
    wide = problem.total([3] * 54).value("latency_s")
    narrow = problem.total([0] * 54).value("latency_s")
    budget_s = (wide + narrow) / 2
    chosen = solve(problem, LOSS, {"latency_s": budget_s})
    assert chosen is not None
    assert problem.total(list(chosen.picks)).value("latency_s") <= budget_s * (1 + 1e-9)
