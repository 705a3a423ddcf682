"""Networks sent to NPUs of several widths: the rule of HDA-Q and its variants."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest

from npubench.errors import InputError
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
from tests.serving.toys import S, load, twins

# Top-1 points lost against 32 bit at 8, 7 and 6 bit (Balaskas et al., ESL 16(4), 2024, code).
DROPS = {
    "ResNet18": (0.15, 0.20, 0.77),
    "ResNet34": (0.21, 0.50, 1.11),
    "VGG11": (0.19, 0.34, 1.30),
    "VGG13": (0.24, 0.45, 1.15),
    "VGG19": (0.28, 0.14, 1.33),
    "VGG16": (0.09, 0.74, 2.82),
    "ResNet50": (0.15, 0.53, 3.31),
    "MobileNetV2": (0.57, 1.47, 7.73),
    "MobileNet": (0.86, 2.29, 11.7),
    "GoogLeNet": (0.88, 4.97, 35.3),
    "Inception-v3": (0.99, 5.10, 39.7),
    "WideResNet101-2": (0.41, 2.14, 37.8),
}
ADMITTED_AT_7 = {"ResNet18", "ResNet34", "VGG11", "VGG13", "VGG19", "ResNet50"}
ENERGY = {8: 1.0, 7: 0.81, 6: 0.60}


def hda(widths: tuple[int, ...], faster: float = 1.1) -> ServiceTable:
    """One NPU per width; narrower ones are a little faster and leaner; drops against 8 bit."""
    npus = tuple(Npu(f"{bits}bit_{k}", (f"w{bits}a{bits}",)) for k, bits in enumerate(widths))
    services = []
    for k, (name, drops) in enumerate(DROPS.items()):
        for npu, bits in zip(npus, widths, strict=True):
            ps = round((k + 4) * S / 8 / faster ** (8 - bits))
            drop = round(drops[8 - bits] - drops[0], 6)
            mode, joules = npu.modes[0], ENERGY[bits] * 1e-3 * (k + 4)
            services.append(Service(name, npu.name, mode, (ps,), (joules,), drop))
    return ServiceTable(f"hda{widths}", npus, tuple(services), dict.fromkeys(DROPS, 90.0))


def mix(requests: int = 20_000, value: float = 0.7) -> Scenario:
    networks = tuple(NetworkLoad(name, slo_isolated=20) for name in DROPS)
    return Scenario("mix", networks, load=value, length=Length(requests))


def users_of(result, npu: int) -> set[str]:
    """Networks that ran on an NPU."""
    records = result.records
    used = set(records["network"][records["npu"] == npu].tolist())
    return {result.networks[index].network for index in used}


def test_two_equal_npus_are_the_homogeneous_twin() -> None:
    mixed = simulate(hda((8, 8)), mix(), "hda_q", keep_records=True)
    twin = simulate(hda((8, 8)), mix(), "least_response", keep_records=True)
    for field in fields(mixed):
        if field.name not in ("policy", "records"):
            assert getattr(mixed, field.name) == getattr(twin, field.name), field.name
    assert mixed.records.tobytes() == twin.records.tobytes()


def test_half_a_point_admits_seven_bit_for_six_networks_and_six_bit_for_none() -> None:
    result = simulate(hda((8, 7, 6)), mix(value=0.3), "hda_q", keep_records=True)
    assert users_of(result, 0) >= set(DROPS) - ADMITTED_AT_7
    assert users_of(result, 1) == ADMITTED_AT_7
    assert users_of(result, 2) == set()


def test_threshold_zero_keeps_whatever_loses_anything() -> None:
    policy = named_policy("hda_q", accuracy_drop=0.0)
    result = simulate(hda((8, 7)), mix(), policy, keep_records=True)
    assert users_of(result, 1) == {"VGG19"}
    assert result.accuracy_drop.value <= 0
    base_only = simulate(hda((8, 7)), mix(), "base_only", keep_records=True)
    assert base_only.records.tobytes() == result.records.tobytes()


def test_a_large_threshold_looks_at_response_time_only() -> None:
    table = hda((8, 7, 6))
    wide = simulate(table, mix(), named_policy("hda_q", accuracy_drop=99.0), keep_records=True)
    free = simulate(table, mix(), "least_response", keep_records=True)
    assert wide.records.tobytes() == free.records.tobytes()


def test_the_rule_request_by_request() -> None:
    table = hda((8, 7))
    result = simulate(table, mix(3_000, 0.9), "hda_q", keep_records=True)
    times = {(s.network, s.npu): s.time_ps[0] for s in table.services}
    admissible = {name: [0, 1] if name in ADMITTED_AT_7 else [0] for name in DROPS}
    free = [0, 0]
    for row in result.records:
        name = result.networks[row["network"]].network
        ends = {
            npu: max(free[npu], int(row["arrival_ps"])) + times[name, table.npus[npu].name]
            for npu in admissible[name]
        }
        chosen = min(ends, key=ends.__getitem__)
        assert row["npu"] == chosen
        assert row["finish_ps"] == ends[chosen]
        free[chosen] = ends[chosen]


def test_saving_identity() -> None:
    # Saving = share of the energy moved x (1 - relative energy), when nothing else is counted.
    result = simulate(hda((8, 7)), mix(), "hda_q", keep_records=True)
    records = result.records
    before = (records["network"] + 4) * 1e-3
    moved = before[records["npu"] == 1].sum() / before.sum()
    saving = 1 - records["energy_j"].sum() / before.sum()
    assert moved > 0.1
    assert saving == pytest.approx(moved * (1 - 0.81), rel=1e-12)


def test_variants() -> None:
    table = hda((8, 7, 6))
    free = {"accuracy_drop": 99.0}
    fastest = simulate(table, mix(value=0.2), named_policy("fastest", **free), keep_records=True)
    assert set(fastest.records["npu"].tolist()) == {2}
    slow = hda((8, 7, 6), faster=0.8)
    lean = simulate(slow, mix(value=0.2), named_policy("least_energy", **free), keep_records=True)
    assert set(lean.records["npu"].tolist()) == {2}
    only = simulate(table, mix(value=0.2), "eight_bit", keep_records=True)
    assert set(only.records["npu"].tolist()) == {0}
    assert only.accuracy.value == 1
    assignment = {name: "7bit_1" if k % 2 else "8bit_0" for k, name in enumerate(DROPS)}
    static = named_policy("static", assignment=assignment)
    records = simulate(table, mix(value=0.2), static, keep_records=True).records
    assert (records["npu"] == records["network"] % 2).all()


def test_energy_of_static_power() -> None:
    base = twins(2)
    npus = tuple(replace(npu, static_w=0.5) for npu in base.npus)
    table = replace(base, npus=npus)
    scenario = load(0.5, 5_000)
    plain, leaky = (simulate(t, scenario, "fifo", keep_records=True) for t in (base, table))
    span_s = leaky.records["finish_ps"].max() / 1e12
    extra = leaky.energy_j_per_request.value - plain.energy_j_per_request.value
    assert extra == pytest.approx(2 * 0.5 * span_s / 5_000)


def test_without_interference_turnaround_is_one() -> None:
    result = simulate(hda((8, 8)), mix(2_000, 0.001), "hda_q")
    assert result.antt.value == pytest.approx(1, rel=1e-3)
    assert result.antt.value >= 1
    assert result.fairness.value == pytest.approx(1, rel=1e-2)
    assert result.stp.value <= 2


def test_no_admissible_npu_is_said_with_the_drops() -> None:
    policy = named_policy("hda_q", accuracy_drop=0.5, allowed_modes=("w7a7",))
    with pytest.raises(InputError) as caught:
        simulate(hda((8, 7)), mix(), policy)
    lines = str(caught.value).splitlines()
    assert lines[:2] == [
        "VGG16: no NPU and mode is admissible under policy hda_q",
        "  accuracy drops in points: 8bit_0 w8a8 0.0, 7bit_1 w7a7 0.65",
    ]
    assert len(lines) == 2 * (len(DROPS) - len(ADMITTED_AT_7))


def test_unknown_accuracy_is_not_admissible_and_is_not_averaged_away() -> None:
    table = hda((8, 7))
    services = tuple(
        replace(s, accuracy_drop=None) if s.network == "VGG19" and s.npu == "7bit_1" else s
        for s in table.services
    )
    table = replace(table, services=services, base_accuracy={"ResNet18": 94.0})
    result = simulate(table, mix(), "hda_q", keep_records=True)
    assert "VGG19" not in users_of(result, 1)
    rows = {row.network: row for row in result.networks}
    assert rows["ResNet18"].accuracy is not None
    assert rows["ResNet34"].accuracy is None
    assert rows["ResNet34"].accuracy_drop is not None
    assert result.accuracy_known == pytest.approx(1 / 12, rel=0.1)
    free = simulate(table, mix(), "least_response", keep_records=True)
    rows = {row.network: row for row in free.networks}
    assert rows["VGG19"].accuracy_drop is None
