"""Which burst mode a network takes: the most accurate of those that are faster than base."""

from __future__ import annotations

import pytest

from npubench.serving import (
    Length,
    NetworkLoad,
    Npu,
    Scenario,
    Service,
    ServiceTable,
    named_policy,
    simulate,
)
from tests.serving.toys import MS

TYPES = ("base", "static", "dynamic", "trained")
TIMES = {"base": MS, "static": MS // 2, "dynamic": MS * 3 // 5, "trained": MS // 2}
DROPS = {
    "conv": {"base": 0.0, "static": 0.4, "dynamic": 0.5, "trained": 0.4},
    "recurrent": {"base": 0.0, "static": 3.0, "dynamic": 0.1, "trained": None},
    "attention": {"base": 0.0, "static": None, "dynamic": None, "trained": 0.2},
}


def of_types(**slower: int) -> ServiceTable:
    services = tuple(
        Service(
            name, "npu", mode, (slower.get(f"{name}_{mode}", TIMES[mode]),), (), DROPS[name][mode]
        )
        for name in DROPS
        for mode in TYPES
    )
    return ServiceTable("typed", (Npu("npu", TYPES),), services, dict.fromkeys(DROPS, 80.0))


def modes_used(table: ServiceTable, policy: str, **settings: object) -> dict[str, set[str]]:
    """Modes by network at a load that base mode cannot carry."""
    networks = tuple(NetworkLoad(name, slo_isolated=4) for name in DROPS)
    scenario = Scenario("typed", networks, load=1.3, length=Length(3000))
    records = simulate(table, scenario, named_policy(policy, **settings), keep_records=True).records
    return {
        name: {TYPES[mode] for mode in records["mode"][records["network"] == index]}
        for index, name in enumerate(DROPS)
    }


@pytest.mark.parametrize("policy", ["stimpack", "threshold"])
def test_each_network_bursts_in_its_own_quantization_type(policy: str) -> None:
    assert modes_used(of_types(), policy) == {
        "conv": {"base", "static"},  # of equals the fastest, then the first listed
        "recurrent": {"base", "dynamic"},
        "attention": {"base", "trained"},  # an unknown drop comes last
    }


def test_a_type_that_is_no_faster_is_no_burst() -> None:
    used = modes_used(of_types(recurrent_dynamic=MS), "stimpack")
    assert used["recurrent"] == {"base", "static"}


def test_the_policy_may_narrow_the_types() -> None:
    used = modes_used(of_types(), "stimpack", accuracy_drop=0.3)
    assert used == {
        "conv": {"base"},
        "recurrent": {"base", "dynamic"},
        "attention": {"base", "trained"},
    }
