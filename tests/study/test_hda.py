"""HDA's rule on its own system, from ONNX files to requests served."""

from __future__ import annotations

from dataclasses import replace

import pytest

from npubench.serving import Length, NetworkLoad, Scenario, ServeResult, named_policy, simulate
from npubench.study.service import ServiceRequest, Services, build_services

NETWORKS = ("vgg11_cifar10", "vgg19_cifar10", "resnet18_cifar10", "mobilenet_v1_cifar100")
BIG, LITTLE = 0, 1


@pytest.fixture(scope="module")
def hda() -> Services:
    return build_services(ServiceRequest(NETWORKS, "hda"))


def serve(hda: Services, policy: str, **settings: object) -> ServeResult:
    scenario = Scenario(
        "mix",
        tuple(NetworkLoad(name, slo_isolated=10) for name in NETWORKS),
        load=0.4,
        length=Length(2000),
    )
    return simulate(hda.table, scenario, named_policy(policy, **settings), keep_records=True)


def users_of(result: ServeResult, npu: int) -> set[str]:
    assert result.records is not None
    chosen = result.records[result.records["npu"] == npu]
    return {NETWORKS[index] for index in set(chosen["network"].tolist())}


def test_the_specs_own_policy_has_half_a_point(hda: Services) -> None:
    assert hda.policy == named_policy("hda_q", accuracy_drop=0.5)
    drops = {s.network: s.accuracy_drop for s in hda.table.services if s.npu == "little"}
    assert drops == {
        "vgg11_cifar10": pytest.approx(0.15),
        "vgg19_cifar10": pytest.approx(-0.14),
        "resnet18_cifar10": pytest.approx(0.05),
        "mobilenet_v1_cifar100": pytest.approx(1.43),
    }


def test_without_a_threshold_only_what_gains_leaves_the_8_bit_npu(hda: Services) -> None:
    result = serve(hda, "hda_q", accuracy_drop=0.0)
    assert users_of(result, LITTLE) == {"vgg19_cifar10"}


def test_half_a_point_keeps_mobilenet_at_8_bits(hda: Services) -> None:
    result = serve(hda, "hda_q", accuracy_drop=0.5)
    assert "mobilenet_v1_cifar100" not in users_of(result, LITTLE)
    assert users_of(result, LITTLE) == set(NETWORKS) - {"mobilenet_v1_cifar100"}


def test_a_large_threshold_leaves_response_time_alone(hda: Services) -> None:
    loose = serve(hda, "hda_q", accuracy_drop=100.0)
    plain = serve(hda, "least_response")
    assert loose.records is not None
    assert plain.records is not None
    assert loose.records.tobytes() == plain.records.tobytes()
    # By their text: a figure that is not there compares unequal to itself.
    same = [repr(replace(found, policy="", records=None)) for found in (loose, plain)]
    assert same[0] == same[1]


def test_eight_bits_only_leaves_the_narrow_npu_idle(hda: Services) -> None:
    assert users_of(serve(hda, "eight_bit"), LITTLE) == set()


def test_what_is_delivered_is_the_mean_of_what_each_request_lost(hda: Services) -> None:
    result = serve(hda, "hda_q", accuracy_drop=0.5)
    assert result.records is not None
    measured = result.records[result.records["request"] >= 100]  # the warm-up of 5 %
    drops = {(s.network, s.npu): s.accuracy_drop for s in hda.table.services}
    names = [npu.name for npu in hda.table.npus]
    lost = [drops[NETWORKS[row["network"]], names[row["npu"]]] or 0.0 for row in measured]
    assert result.accuracy_drop.value == pytest.approx(sum(lost) / len(lost))
