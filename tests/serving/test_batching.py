"""Static and dynamic batches, by hand and in their limits."""

from __future__ import annotations

import numpy as np
import pytest

from npubench.errors import InputError
from npubench.serving import (
    Batching,
    Length,
    NetworkLoad,
    Npu,
    Scenario,
    Service,
    ServiceTable,
    Trace,
    simulate,
)
from tests.serving.toys import S

SIZES = (S, 3 * S // 2, 2 * S, 5 * S // 2)
NETWORKS = (NetworkLoad("a", slo_s=1.0), NetworkLoad("b", slo_s=1.0))


def table(npus: int = 1) -> ServiceTable:
    machines = tuple(Npu(f"npu{k}", ("base",)) for k in range(npus))
    energy = tuple(1e-3 * (2 + k) for k in range(4))
    services = tuple(
        Service(name, npu.name, "base", SIZES, energy, 0.0) for npu in machines for name in "ab"
    )
    return ServiceTable("batches", machines, services)


def finishes(batching: Batching, arrivals: list[tuple[float, int]], npus: int = 1):
    times, drawn = zip(*arrivals, strict=True)
    trace = Trace(np.array(times) * 1e-3, np.array(drawn, dtype=np.int64))
    scenario = Scenario("s", NETWORKS, arrivals=trace, warmup=0.0, batching=batching)
    result = simulate(table(npus), scenario, "fifo", keep_records=True)
    return (result.records["finish_ps"] / S).tolist(), result


def test_static_waits_for_the_full_size_and_the_rest_goes_at_the_end() -> None:
    ends, result = finishes(Batching("static", 2), [(0, 0), (3, 0), (4, 0), (5, 1), (6, 1)])
    # Two a's at 3 ms; at 6 ms arrivals end: the last a, which is older than the two b's, then they.
    assert ends == [4.5, 4.5, 7, 8.5, 8.5]
    # Two joules for one request alone, three for a pair.
    assert result.records["energy_j"].tolist() == [1.5e-3, 1.5e-3, 2e-3, 1.5e-3, 1.5e-3]
    assert result.npus[0].utilization == pytest.approx(4 / 8.5)


def test_dynamic_waits_for_size_or_timeout() -> None:
    batching = Batching("dynamic", 3, 2e-3)
    ends, _ = finishes(batching, [(0, 0), (1, 0), (5, 0), (5.5, 0), (6, 0), (6.2, 0)])
    # Timeout of the first at 2 ms: a pair; a full three at 6; the last from 8.2 ms, alone.
    assert ends == [3.5, 3.5, 8, 8, 8, 9.2]


def test_what_waits_at_a_finish_goes_together() -> None:
    batching = Batching("dynamic", 4)
    ends, _ = finishes(batching, [(0, 0), (0.1, 0), (0.2, 1), (0.3, 0), (0.4, 0)])
    # At 1 ms three a's go, as their oldest is older than b.
    assert ends == [1, 3, 4, 3, 3]


def test_requests_of_one_instant_share_a_batch() -> None:
    ends, _ = finishes(Batching("dynamic", 4), [(0, 0)] * 4)
    assert ends == [2.5] * 4


def test_a_shared_queue_feeds_every_npu() -> None:
    ends, result = finishes(Batching("static", 2), [(0, 0), (0, 0), (0.5, 0), (0.5, 0)], npus=2)
    assert ends == [1.5, 1.5, 2, 2]
    assert result.records["npu"].tolist() == [0, 0, 1, 1]


def test_a_batch_of_one_is_no_batch() -> None:
    common = {"name": "s", "networks": NETWORKS, "load": 0.7, "length": Length(20_000)}
    plain = simulate(table(), Scenario(**common), "fifo", keep_records=True)
    ones = simulate(
        table(), Scenario(batching=Batching("dynamic", 1), **common), "fifo", keep_records=True
    )
    assert plain.records.tobytes() == ones.records.tobytes()
    assert plain.npus == ones.npus


def test_batches_carry_loads_that_single_requests_cannot() -> None:
    common = {"name": "s", "networks": NETWORKS, "load": 1.3, "length": Length(40_000)}
    assert simulate(table(), Scenario(**common), "fifo").saturated
    batched = simulate(table(), Scenario(batching=Batching("dynamic", 4), **common), "fifo")
    assert not batched.saturated
    assert batched.load == pytest.approx(1.3)


def test_larger_batches_than_the_table_knows() -> None:
    scenario = Scenario("s", NETWORKS[:1], load=0.5, batching=Batching("static", 8))
    with pytest.raises(InputError) as caught:
        simulate(table(), scenario, "fifo")
    assert str(caught.value) == "a on npu0, base: batches of 8 wanted, the table knows at most 4"
    scenario = Scenario("s", NETWORKS[:1], load=0.5, batching=Batching("static", 4))
    with pytest.raises(InputError) as caught:
        simulate(table(), scenario, "edf")
    message = "policy edf: batches form in arrival order: order must be fifo"
    assert str(caught.value) == message
