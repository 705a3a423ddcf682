"""Mixes of NPU widths on an area, against the shipped systems and by brute force."""

from __future__ import annotations

from dataclasses import replace
from math import comb

import pytest
from hypothesis import given
from hypothesis import strategies as st

from npubench.errors import InputError
from npubench.report.design_view import design_view
from npubench.serving import Length, NetworkLoad, Scenario, named_policy, simulate
from npubench.study.equal_area import design_npu
from npubench.study.run import RunRequest, run
from npubench.study.service import ServiceRequest, build_services
from npubench.study.session import Session
from npubench.study.system_design import (
    DesignRequest,
    Mix,
    SystemDesign,
    design_system,
    design_to_json,
    mark_front,
)

NETWORKS = ("digits_cnn", "googlenet")


@pytest.fixture(scope="module")
def session() -> Session:
    return Session()


@pytest.fixture(scope="module")
def edge8_mm2(session: Session) -> float:
    area = session.machine("edge8", {}, {}).info.area_mm2
    assert area is not None
    return area


@pytest.fixture(scope="module")
def asked(edge8_mm2: float) -> DesignRequest:
    return DesignRequest(
        NETWORKS, 2 * edge8_mm2, widths=(7, 8), accuracy_drop=5.0, requests=3000, seed=3
    )


@pytest.fixture(scope="module")
def found(asked: DesignRequest, session: Session) -> SystemDesign:
    return design_system(asked, session)


@pytest.mark.parametrize("bits", [4, 5, 6, 7, 8])
def test_npus_of_the_area_of_edge8_are_the_shipped_siblings(
    bits: int, session: Session, edge8_mm2: float
) -> None:
    design = design_npu("edge{bits}", bits, edge8_mm2, session)
    shipped = run(RunRequest("digits_cnn", f"edge{bits}"), session)
    sized = run(RunRequest("digits_cnn", design.spec, overrides=design.settings), session)
    assert sized.totals == shipped.totals
    assert design.area_mm2 == sized.totals.area_mm2
    assert design.area_mm2 <= edge8_mm2 * (1 + 1e-12)


@pytest.mark.parametrize(("system", "widths"), [("hda_twin", (8, 8)), ("hda", (8, 7))])
def test_a_mix_is_the_shipped_system_of_its_widths(
    found: SystemDesign, session: Session, system: str, widths: tuple[int, ...]
) -> None:
    """The same NPUs, built from the system's file and simulated on their own."""
    (mix,) = [mix for mix in found.mixes if mix.widths == widths]
    table = build_services(ServiceRequest(NETWORKS, system), session).table
    scenario = Scenario(
        "own",
        tuple(NetworkLoad(name, slo_isolated=10) for name in NETWORKS),
        rate_rps=found.rate_rps,
        length=Length(3000),
        seed=3,
    )
    alone = simulate(table, scenario, named_policy("hda_q", accuracy_drop=5.0))
    assert mix.response_s == alone.latency_s.mean.value
    assert mix.p99_s == alone.latency_s.p99.value
    assert mix.accuracy_drop == alone.accuracy_drop.value
    assert mix.energy_j == pytest.approx(alone.energy_j_per_request.value, rel=1e-12)


def test_the_rate_is_a_share_of_the_homogeneous_capacity(found: SystemDesign) -> None:
    seconds = [s.time_ps[0] * 1e-12 for s in found.services if s.npu == "edge8"]
    assert len(seconds) == len(NETWORKS)
    assert found.rate_rps == pytest.approx(0.7 * 2 * len(seconds) / sum(seconds))


def test_every_mix_is_there_once_and_the_homogeneous_one_first(
    edge8_mm2: float, session: Session
) -> None:
    request = DesignRequest(("digits_cnn",), 3 * edge8_mm2, (8, 4, 6), requests=200)
    design = design_system(request, session)
    assert design.request.npus == 3
    assert len({mix.widths for mix in design.mixes}) == len(design.mixes) == comb(3 + 3 - 1, 3)
    assert design.baseline.widths == (8, 8, 8)
    assert design.baseline.narrow_share == 0.0
    assert design.baseline.name == "3 x 8"


def test_a_mix_without_a_place_for_a_network_says_so(session: Session, edge8_mm2: float) -> None:
    request = DesignRequest(("googlenet",), edge8_mm2, (8, 7), requests=200)
    design = design_system(request, session)
    assert [mix.problem for mix in design.mixes] == [
        "",
        "googlenet: no NPU and mode is admissible under policy hda_q",
    ]
    assert [mix.on_front for mix in design.mixes] == [True, False]
    shown = design_view(design)
    assert any("1 mix cannot serve; --all says why." in note for note in shown.notes)


def test_a_shared_memory_slows_every_npu(session: Session, edge8_mm2: float) -> None:
    request = DesignRequest(("digits_cnn",), 2 * edge8_mm2, (8,), requests=200)
    free = design_system(request, session)
    shared = design_system(replace(request, dram_bits_per_s=12.8e9 * 8), session)
    halved = {"memories.lpddr4.bandwidth": "6.4 GB/s"}
    alone = run(RunRequest("digits_cnn", "edge8", overrides=halved), session)
    assert shared.services[0].time_ps[0] == round(alone.totals.latency_s * 1e12)
    assert shared.services[0].time_ps[0] > free.services[0].time_ps[0]


FIGURES = st.sampled_from([0.0, 1.0, 2.0, 3.0])


@given(st.lists(st.tuples(FIGURES, FIGURES, FIGURES), min_size=1, max_size=8))
def test_the_front_is_what_nothing_beats(merits: list[tuple[float, float, float]]) -> None:
    mixes = [
        Mix((8,) * (n + 1), response_s=r, energy_j=e, accuracy_drop=d)
        for n, (e, r, d) in enumerate(merits)
    ]
    marked = mark_front(mixes)
    for mine, mix in zip(merits, marked, strict=True):
        better = [
            other
            for other in merits
            if all(a <= b for a, b in zip(other, mine, strict=True)) and other != mine
        ]
        assert mix.on_front == (not better)


def test_a_mix_of_unknown_accuracy_is_never_on_the_front() -> None:
    marked = mark_front([Mix((8,), response_s=1.0, energy_j=1.0), Mix((7,), problem="saturated")])
    assert not any(mix.on_front for mix in marked)


def test_the_same_request_gives_the_same_answer(asked: DesignRequest, found: SystemDesign) -> None:
    assert design_to_json(design_system(asked)) == design_to_json(found)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"load": 1.0}, "--load: expected a share between 0 and 1, got 1"),
        ({"npus": 0}, "--npus: expected a whole number from 1, got 0"),
        ({"requests": 0}, "--requests: expected a whole number from 1, got 0"),
        ({"template": "edge8"}, "--template: 'edge8' lacks '{bits}', the width"),
        ({"widths": (8, 3)}, "unknown hardware 'edge3'"),
        ({"area_mm2": 1.0}, "--area: 1 mm2 hold no 'edge8' of 3.089 mm2"),
        (
            {"area_mm2": 2.0, "npus": 1},
            "'edge8' takes 2.61 mm2 without its PEs, and each NPU has 2 mm2",
        ),
        ({"policy": "hda_x"}, "unknown policy 'hda_x'"),
        (
            {"npus": 40, "widths": (4, 5, 6, 7, 8), "area_mm2": 200.0},
            "5 widths on 40 NPUs make 135,751 mixes, more than 2,000: ask for fewer NPUs or widths",
        ),
    ],
)
def test_what_makes_no_sense_is_refused(
    change: dict[str, object], message: str, session: Session
) -> None:
    request = DesignRequest(("digits_cnn",), 6.2)
    with pytest.raises(InputError) as caught:
        design_system(replace(request, **change), session)  # type: ignore[arg-type]  # by field
    assert caught.value.problems[0].message == message
