"""The studies of systems under load: identities that must hold whatever the figures are."""

from __future__ import annotations

import numpy as np
import pytest

from npubench.errors import OptionError
from npubench.serving import Length, NetworkLoad, Scenario, named_policy, simulate
from npubench.study.run import RunRequest, run
from npubench.study.service import ServiceRequest, build_services
from npubench.study.session import Session
from npubench.study.studies.document import study_to_json
from npubench.study.studies.registry import run_study
from tests.study.schema_check import validate


def test_stimpack_alone_and_in_the_mix() -> None:
    result = run_study(
        "stimpack_load",
        {
            "networks": "resnet18,mobilenet_v2,resnet50",
            "requests": "1000",
            "repetitions": "2",
            "sensitivity": "no",
        },
    )
    validate(study_to_json(result))
    alone = result.section("networks")
    speedups, gains = alone.column("speedup"), alone.column("load_gain")
    assert all(1 < speedup <= 2 for speedup in speedups)
    # ResNet-50's bound of 15 ms is loose: the load gain is the speed-up of the service.
    assert gains[2] == pytest.approx(speedups[2], rel=0.03)
    drops = list(zip(alone.column("burst_share"), alone.column("burst_drop"), strict=True))[:3]
    delivered = alone.column("accuracy_drop")[:3]
    assert delivered == pytest.approx([share * drop for share, drop in drops])
    claims = {claim.what: claim for claim in alone.claims}
    assert [claim.published for claim in claims.values()] == [1.484, 1.414]
    assert [claim.ours for claim in claims.values()] == [speedups[-1], gains[-1]]
    mix = result.section("mix")
    rows = list(
        zip(mix.column("system"), mix.column("load"), mix.column("burst_share"), strict=True)
    )
    assert {share for system, _, share in rows if system == "tpuv4i"} == {0.0}
    bursts = [share for system, _, share in rows if system == "stimpack"]
    assert bursts == sorted(bursts)  # more load, more burst


def test_weights_on_chip_are_on_chip_in_both_systems() -> None:
    """Under a loose bound the load gain is burst mode's, not that of weights one system fetches."""
    settings = {"networks": "resnet50", "requests": "1000", "repetitions": "1"}
    result = run_study("stimpack_load", {**settings, "weights": "kept", "sensitivity": "no"})
    validate(study_to_json(result))
    assert [section.key for section in result.sections] == ["networks"]
    alone = result.section("networks")
    assert alone.column("load_gain")[0] == pytest.approx(alone.column("speedup")[0], rel=0.03)
    base = alone.column("base_s")[0]
    assert alone.column("slo_s")[0] == 0.015
    fetched = run(RunRequest(workload="resnet50", hardware="tpuv4i"))
    assert base < 0.8 * fetched.totals.latency_s


def test_networks_that_take_turns_do_not_all_keep_their_weights() -> None:
    request = ServiceRequest(("digits_cnn", "alexnet"), "stimpack", knobs={"weights": "kept"})
    assert any("take turns" in note for note in build_services(request).notes)
    alone = ServiceRequest(("digits_cnn",), "stimpack", knobs={"weights": "kept"})
    assert not any("take turns" in note for note in build_services(alone).notes)


def test_hda_claims_and_drops_are_counted_from_eight_bits() -> None:
    result = run_study(
        "hda",
        {"networks": "resnet18_cifar10,resnet50_cifar100", "requests": "2000", "sensitivity": "no"},
    )
    validate(study_to_json(result))
    drops = result.section("drops")
    assert drops.rows[0] == ("resnet18_cifar10", 0.05, 0.62, 3.93, 36.93)
    systems = result.section("systems")
    assert systems.column("energy_ratio")[0] == systems.column("response_ratio")[0] == 1
    narrow, drop = systems.column("narrow_share")[1], systems.column("accuracy_drop")[1]
    assert 0 < narrow < 1
    assert 0 < drop <= 0.38  # both networks are within half a point at seven bits
    assert systems.column("accuracy_drop")[-1] == 0  # base_only
    assert [claim.published for claim in systems.claims] == [0.71, 0.9, 0.5]


def test_eight_bits_twice_is_the_homogeneous_twin() -> None:
    session = Session()
    twin, same = (
        build_services(ServiceRequest(("resnet18",), name), session).table
        for name in ("hda_twin", "hda:little=8")
    )
    scenario = Scenario(
        "s", (NetworkLoad("resnet18", slo_s=0.01),), rate_rps=900.0, length=Length(2000)
    )
    one = simulate(twin, scenario, "least_response", keep_records=True)
    other = simulate(same, scenario, named_policy("hda_q"), keep_records=True)
    assert np.array_equal(one.records, other.records)
    assert one.energy_j_per_request == other.energy_j_per_request


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        (
            "hda",
            {"networks": "vgg16_cifar10"},
            "--set networks: no drops of 'vgg16_cifar10' by width\n"
            "  did you mean 'vgg16_cifar100'?",
        ),
        ("hda", {"load": "0"}, "--set load=0: expected a number of at least 0.01"),
        (
            "stimpack_load",
            {"requests": "10"},
            "--set requests=10: expected a whole number of at least 1000",
        ),
        (
            "stimpack_load",
            {"weights": "keep"},
            "--set weights=keep: expected 'fetched' or 'kept'\n  did you mean 'kept'?",
        ),
        ("stimpack_load", {"networks": ","}, "--set networks: expected at least one name"),
    ],
)
def test_parameters_that_make_no_sense(name: str, settings: dict[str, str], message: str) -> None:
    with pytest.raises(OptionError) as caught:
        run_study(name, settings)
    assert str(caught.value) == message
