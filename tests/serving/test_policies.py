"""Orders of service and preemption, by hand; policy settings that contradict each other."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from npubench.errors import InputError
from npubench.serving import (
    POLICIES,
    Length,
    NetworkLoad,
    Npu,
    Policy,
    Scenario,
    Service,
    ServiceTable,
    Trace,
    named_policy,
    simulate,
)
from npubench.serving.queues import PremaQueue
from tests.serving.toys import S, load, networks_on_one, one_npu, twins


def run(table, networks, arrivals, policy, **fields):
    """Arrivals as (milliseconds, network index); finishes in milliseconds by request."""
    times, drawn = zip(*arrivals, strict=True)
    trace = Trace(np.array(times) * 1e-3, np.array(drawn, dtype=np.int64))
    scenario = Scenario("s", networks, arrivals=trace, warmup=0.0, **fields)
    return simulate(table, scenario, policy, keep_records=True)


def finishes(result) -> list[float]:
    return (result.records["finish_ps"] / S).tolist()


AB = {"a": 4 * S, "b": S}
ARRIVALS = [(0, 0), (1, 0), (2, 1), (3, 1)]


def bounds(first: float, second: float) -> tuple[NetworkLoad, ...]:
    return (NetworkLoad("a", slo_s=first), NetworkLoad("b", slo_s=second))


@pytest.mark.parametrize(
    ("policy", "slo", "expected"),
    [
        ("fifo", (1, 1), [4, 8, 9, 10]),
        ("sjf", (1, 1), [4, 10, 5, 6]),
        ("edf", (0.008, 0.001), [4, 10, 5, 6]),
        ("edf", (0.008, 0.0066), [4, 9, 5, 10]),
        ("edf", (0.001, 0.008), [4, 8, 9, 10]),
    ],
)
def test_orders(policy: str, slo: tuple[float, float], expected: list[float]) -> None:
    # Second EDF case: deadlines 8, 9, 8.6 and 9.6 ms.
    assert finishes(run(networks_on_one(AB), bounds(*slo), ARRIVALS, policy)) == expected


def test_preemption_waits_for_the_end_of_a_layer_and_costs() -> None:
    table = networks_on_one(AB, layers=4, preemption_ps=S // 4)
    shortest = named_policy("sjf", preempt=True)
    result = run(table, bounds(1, 1), [(0, 0), (1.5, 1)], shortest)
    # Set aside at 2 ms, 0.25 ms to save, b until 3.25, then the other half of a.
    assert finishes(result) == [5.25, 3.25]
    assert result.records["start_ps"].tolist() == [0, 2 * S]
    assert result.preemptions == 1
    assert result.npus[0].utilization == pytest.approx(1)
    # The rest of a job counts: at 3 ms one is left of a, no more than b needs.
    result = run(table, bounds(1, 1), [(0, 0), (2.5, 1)], shortest)
    assert finishes(result) == [4, 5]
    assert result.preemptions == 0


def test_preemptive_edf() -> None:
    table = networks_on_one(AB, layers=4)
    urgent = named_policy("edf", preempt=True)
    assert finishes(run(table, bounds(9e-3, 2e-3), [(0, 0), (0, 1)], urgent)) == [5, 2]
    assert finishes(run(table, bounds(9e-3, 12e-3), [(0, 0), (0, 1)], urgent)) == [4, 5]


def test_prema_tokens() -> None:
    # Isolated times 4 and 1 ms, priorities 1 and 9. At the layer end after b's arrival its token is
    # at least 9, so the threshold is 9 and only b is a candidate.
    table = networks_on_one(AB, layers=4)
    low_high = (NetworkLoad("a", slo_s=1.0), NetworkLoad("b", slo_s=1.0, priority=9))
    assert finishes(run(table, low_high, [(0, 0), (0.5, 1)], "prema")) == [5, 2]
    # Equal priorities: all tokens between 1 and 3, so the least time left runs.
    equal = (NetworkLoad("a", slo_s=1.0), NetworkLoad("b", slo_s=1.0))
    assert finishes(run(table, equal, [(0, 0), (0.5, 1)], "prema")) == [5, 2]
    assert finishes(run(table, equal, [(0, 0), (3.5, 1)], "prema")) == [4, 5]
    # a waits behind a stream of b until its token 1 + 8/4 = 3 reaches the next level at 8 ms, where
    # those of b (each waits 0.1 ms) do not.
    stream = [(0, 1), (0, 0), *[(t + 0.9, 1) for t in range(12)]]
    result = run(table, equal, stream, "prema")
    waited = result.records["start_ps"][result.records["network"] == 0]
    assert waited.tolist() == [8 * S]


def test_prema_beats_arrival_order_for_the_urgent() -> None:
    table = networks_on_one({"a": 8 * S, "b": S}, layers=8)
    networks = (
        NetworkLoad("a", slo_isolated=20, weight=1),
        NetworkLoad("b", slo_isolated=5, weight=4, priority=9),
    )
    base = load(0.8, 20_000)
    scenario = replace(base, networks=networks)
    fifo, prema = (simulate(table, scenario, policy) for policy in ("fifo", "prema"))
    assert prema.antt.value < fifo.antt.value
    assert prema.slo_attainment.value > fifo.slo_attainment.value
    assert prema.preemptions > 0
    assert prema.npus[0].utilization == pytest.approx(fifo.npus[0].utilization, rel=1e-3)


def test_a_shared_queue_may_resume_elsewhere() -> None:
    npus = (Npu("fast", ("base",)), Npu("slow", ("base",)))
    services = tuple(
        Service(name, npu.name, "base", (ps * k,), boundaries_ps=(ps * k // 2, ps * k))
        for k, npu in enumerate(npus, start=1)
        for name, ps in (("a", 4 * S), ("b", S))
    )
    table = ServiceTable("two", npus, services)
    result = run(
        table,
        bounds(1, 1),
        [(0, 0), (0, 0), (0.5, 1)],
        named_policy("sjf", preempt=True),
    )
    # b interrupts the fast NPU at 2 ms; the slow one is busy with its a until 8 ms, so the fast
    # NPU resumes at 3 ms.
    assert finishes(result) == [5, 8, 3]


def test_placement_of_a_central_queue_prefers_the_faster_npu() -> None:
    npus = (Npu("slow", ("base",)), Npu("fast", ("base",)))
    services = tuple(
        Service("net", npu.name, "base", (ps,)) for npu, ps in zip(npus, (3 * S, S), strict=True)
    )
    table = ServiceTable("two", npus, services)
    arrivals = [(0, 0), (0, 0), (0.5, 0)]
    result = run(table, (NetworkLoad("net"),), arrivals, "fifo")
    assert result.records["npu"].tolist() == [1, 0, 1]
    assert finishes(result) == [1, 3, 2]


def test_completion_comes_before_arrival_at_one_instant() -> None:
    result = run(twins(1), (NetworkLoad("net"),), [(0, 0), (1, 0), (1, 0)], "fifo")
    assert result.records["start_ps"].tolist() == [0, S, 2 * S]


def test_every_shipped_policy_conserves_requests() -> None:
    modes = ("w8a8", "w6a6")
    npus = (Npu("one", modes), Npu("two", modes))
    services = tuple(
        Service(
            name,
            npu.name,
            mode,
            (ps,),
            (1e-3,),
            drop,
            tuple(ps * (k + 1) // 5 for k in range(5)),
        )
        for npu in npus
        for name, base in (("a", S), ("b", 2 * S))
        for mode, ps, drop in (("w8a8", base, 0.0), ("w6a6", base * 3 // 4, 0.3))
    )
    table = ServiceTable("t", npus, services, {"a": 70.0, "b": 80.0})
    networks = (NetworkLoad("a", slo_isolated=6), NetworkLoad("b", slo_isolated=6))
    scenario = Scenario("s", networks, load=0.7, length=Length(4_000), warmup=0.0)
    seen = []
    for name in POLICIES:
        policy = POLICIES[name]
        if name == "threshold":
            policy = named_policy(name, switch_at="layer")
        records = simulate(table, scenario, policy, keep_records=True).records
        assert records["request"].tolist() == list(range(4_000)), name
        assert np.all(records["start_ps"] >= records["arrival_ps"]), name
        assert np.all(records["finish_ps"] > records["start_ps"]), name
        seen.append((records["arrival_ps"].tobytes(), records["network"].tobytes()))
        if not policy.preempt:
            for npu in (0, 1):
                mine = np.sort(records[records["npu"] == npu], order="start_ps")
                assert np.all(mine["start_ps"][1:] >= mine["finish_ps"][:-1]), name
    assert len(set(seen)) == 1  # every policy sees the same requests


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: named_policy("stimpak"),
            "unknown policy 'stimpak'\n  did you mean 'stimpack'?",
        ),
        (
            lambda: Policy("x", order="edf", modes="stimpack", preempt=True, margin=-1),
            "policy x: modes 'stimpack' predict in arrival order: order must be fifo\n"
            "policy x: margin must be at least 0, got -1",
        ),
        (
            lambda: Policy("x", preempt=True, switch_at="layer", threshold=-1, accuracy_drop=-1),
            "policy x: switch_at needs a policy that changes modes\n"
            "policy x: fifo never preempts\n"
            "policy x: threshold must be at least 0, got -1\n"
            "policy x: accuracy_drop must be at least 0 points, got -1",
        ),
        (
            lambda: Policy("x", placement="static", modes="per_request", mode="a"),
            "policy x: mode needs modes: fixed\n"
            "policy x: placement static and an assignment go together",
        ),
        (
            lambda: named_policy("per_request", switch_at="instant"),
            "policy per_request: per_request chooses when a request starts: "
            "switch_at must be request",
        ),
    ],
)
def test_contradictions(make, message: str) -> None:
    with pytest.raises(InputError) as caught:
        make()
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        (
            named_policy("sjf", preempt=True),
            "net on npu, base: policy sjf preempts between layers, no layer ends are known\n"
            "net on npu, burst: policy sjf preempts between layers, no layer ends are known",
        ),
        (
            named_policy("static", assignment={"net": "npx", "nett": "npu"}),
            "policy static: toy has no NPU 'npx'\n  did you mean 'npu'?\n"
            "policy static: toy has no network 'nett'\n  did you mean 'net'?",
        ),
        (
            named_policy("fifo", mode="brust"),
            "policy fifo: toy has no mode 'brust'\n  did you mean 'burst'?",
        ),
    ],
)
def test_policies_that_the_system_cannot_follow(policy: Policy, message: str) -> None:
    with pytest.raises(InputError) as caught:
        simulate(one_npu(speedup=2), load(0.5, 1_000), policy)
    assert str(caught.value) == message


def test_two_modes_are_needed_to_burst() -> None:
    with pytest.raises(InputError) as caught:
        simulate(one_npu(), load(0.5, 1_000), "stimpack")
    assert str(caught.value) == "policy stimpack needs two modes on npu, it has base"


@pytest.mark.parametrize("size", ["constant", "exponential"])
def test_preemption_that_never_happens_changes_nothing(size: str) -> None:
    # Equal bounds: no later arrival has an earlier deadline.
    table, scenario = one_npu(layers=7), load(0.8, 20_000, size=size)
    plain = simulate(table, scenario, "edf", keep_records=True)
    ready = simulate(table, scenario, named_policy("edf", preempt=True), keep_records=True)
    assert ready.preemptions == 0
    assert ready.records.tobytes() == plain.records.tobytes()
    assert ready.npus == plain.npus


@pytest.mark.parametrize("policy", ["stimpack", "threshold"])
def test_switching_at_the_end_of_a_single_layer_is_switching_between_requests(policy: str) -> None:
    table, scenario = one_npu(speedup=2, layers=1), load(0.9, 20_000, size="exponential", slo=4)
    at_layer, at_request = (
        simulate(table, scenario, named_policy(policy, switch_at=switch_at), keep_records=True)
        for switch_at in ("layer", "request")
    )
    assert at_layer.records.tobytes() == at_request.records.tobytes()
    assert at_layer.npus == at_request.npus


def test_finer_layers_approach_switching_at_once() -> None:
    scenario = load(0.9, 20_000, size="exponential")
    instant = simulate(one_npu(speedup=2, layers=1), scenario, "threshold")
    means = [
        simulate(
            one_npu(speedup=2, layers=layers),
            scenario,
            named_policy("threshold", switch_at="layer"),
        ).latency_s.mean.value
        for layers in (1, 4, 200)
    ]
    assert means[0] > means[1] > means[2]
    assert means[2] == pytest.approx(instant.latency_s.mean.value, rel=2e-3)


def test_shortest_remaining_time_is_the_best_for_the_mean() -> None:
    table = networks_on_one({"a": 4 * S, "b": S}, layers=20)
    networks = (NetworkLoad("a", slo_s=1.0), NetworkLoad("b", slo_s=1.0))
    scenario = replace(load(0.8, 50_000), networks=networks)
    means = {
        name: simulate(table, scenario, policy).latency_s.mean.value
        for name, policy in (
            ("srpt", named_policy("sjf", preempt=True)),
            ("sjf", named_policy("sjf")),
            ("fifo", named_policy("fifo")),
        )
    }
    assert means["srpt"] < means["sjf"] < means["fifo"]


def test_prema_looks_at_everyone_whatever_way_it_keeps_them() -> None:
    # A size of 1 + 2^-52 makes a request one of the others, looked at one by one.
    rng = np.random.default_rng(1)
    queues = [PremaQueue([1.0, 3.0, 9.0], [S, 3 * S, 9 * S], [S, 2 * S, 8 * S], {}) for _ in "ab"]
    sizes, now, number, orders = (1.0, 1.0 + 2**-52), 0, 0, ([], [])
    for _ in range(3_000):
        now += int(rng.integers(1, 2 * S))
        if rng.random() < 0.52 or not len(queues[0]):
            network = int(rng.integers(0, 3))
            for queue, size in zip(queues, sizes, strict=True):
                queue.push((number, now, network, size), now)
            number += 1
        else:
            for queue, order in zip(queues, orders, strict=True):
                order.append(queue.take(now)[0])
                queue.forget(order[-1])
    assert orders[0] == orders[1]
    assert orders[0] != sorted(orders[0])
