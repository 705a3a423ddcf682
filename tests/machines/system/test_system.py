"""Systems of several NPUs: what they share, what they add up to, and who runs what."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import pytest

from npubench.errors import OptionError, SpecError
from npubench.ir import PrecisionPlan, parse_precision
from npubench.machines.protocol import evaluate
from npubench.machines.registry import build_machine
from npubench.machines.system import SystemMachine
from npubench.specs.catalog import data_folder, find_spec
from npubench.specs.header import apply_knobs
from npubench.specs.loader import SpecDocument
from npubench.study.result import RunResult
from npubench.study.run import RunRequest, run
from npubench.study.service import ServiceRequest, build_services
from npubench.study.session import Session

# PE energy at a width relative to 8 bits: synthesis at 4, a gate count at 5 to 7 bits.
MAC_ENERGY = {4: 0.40, 5: 0.50, 6: 0.60, 7: 0.81, 8: 1.0}


@pytest.fixture(scope="module")
def session() -> Session:
    return Session()


def system(name: str, **knobs: str) -> SystemMachine:
    machine = build_machine(apply_knobs(find_spec(name), knobs))
    assert isinstance(machine, SystemMachine)
    return machine


def on(session: Session, hardware: str, precision: str | None = None) -> RunResult:
    return run(RunRequest("vgg16_cifar100", hardware, precision=precision), session)


def test_eight_bits_twice_are_the_homogeneous_twin(session: Session) -> None:
    both = [on(session, name) for name in ("hda:little=8", "hda_twin")]
    assert both[0].totals == both[1].totals
    assert both[0].accuracy == both[1].accuracy
    assert both[0].layers == both[1].layers
    services = [
        build_services(ServiceRequest(("vgg16_cifar100",), name), session).table.services
        for name in ("hda:little=8", "hda_twin")
    ]
    assert [replace(s, npu="") for s in services[0]] == [replace(s, npu="") for s in services[1]]


def test_area_is_the_sum_and_narrow_npus_are_no_larger() -> None:
    eight = build_machine(find_spec("edge8")).info.area_mm2
    assert eight is not None
    assert system("hda_twin").info.area_mm2 == pytest.approx(2 * eight, rel=1e-12)
    for little in ("4", "5", "6", "7"):
        area = system("hda", little=little).info.area_mm2
        assert area is not None
        # Equal area as far as whole rows and columns of PEs allow.
        assert 1.99 * eight < area <= 2 * eight


def test_a_run_is_that_of_its_npu_and_the_others_draw_static_power(session: Session) -> None:
    alone = on(session, "edge8").totals
    together = on(session, "hda").totals
    assert together.latency_s == alone.latency_s
    assert together.latency_by_cause == alone.latency_by_cause
    idle_j = 0.0801 * together.latency_s  # of edge7
    assert together.energy_j == pytest.approx(alone.energy_j + idle_j, rel=1e-9)


def test_gated_npus_draw_nothing(session: Session) -> None:
    alone = on(session, "edge8").totals
    request = RunRequest("vgg16_cifar100", "hda", overrides={"idle": "gated"})
    gated = run(request, session).totals
    assert gated.energy_by_component == alone.energy_by_component


def test_a_shared_memory_leaves_each_npu_its_fair_share(session: Session) -> None:
    """Two links of 12.8 GB/s and 12.8 GB/s of memory: 6.4 each while both work."""
    table = build_services(ServiceRequest(("vgg16_cifar100",), "hda:dram=12.8GB/s"), session).table
    halved = {"memories.lpddr4.bandwidth": "6.4 GB/s"}
    for spec, service in zip(("edge8", "edge7"), table.services, strict=True):
        request = RunRequest("vgg16_cifar100", spec, overrides=halved)
        alone = run(request, session).totals.latency_s
        assert service.time_ps[0] == round(alone * 1e12)
    # A run has the memory to itself.
    assert (
        on(session, "hda:dram=12.8GB/s").totals.latency_s == on(session, "edge8").totals.latency_s
    )


def test_a_memory_slower_than_a_link_slows_even_a_single_run(session: Session) -> None:
    slow = on(session, "hda:dram=6.4GB/s").totals.latency_s
    halved = RunRequest(
        "vgg16_cifar100", "edge8", overrides={"memories.lpddr4.bandwidth": "6.4 GB/s"}
    )
    assert slow == run(halved, session).totals.latency_s


def test_contention_can_be_left_out(session: Session) -> None:
    request = ServiceRequest(
        ("vgg16_cifar100",), "hda:dram=12.8GB/s", overrides={"memory.contention": "none"}
    )
    services = build_services(request, session)
    assert services.table.services[0].time_ps[0] == round(
        on(session, "edge8").totals.latency_s * 1e12
    )
    assert "none is slowed by the others" in services.notes[0]


@pytest.mark.parametrize(
    ("precision", "little", "npu", "executed"),
    [
        ("w4a4", "4", "little", "w4a4"),
        ("w4a4", "7", "little", "w7a7"),
        ("w7a7", "6", "big", "w8a8"),
        ("w8a8", "4", "big", "w8a8"),
    ],
)
def test_a_precision_goes_where_it_is_widened_least(
    session: Session, precision: str, little: str, npu: str, executed: str
) -> None:
    result = on(session, f"hda:little={little}", precision)
    assert result.placement is not None
    assert (result.placement.npu, result.placement.policy) == (npu, None)
    assert result.precision_summary == (precision, executed)


def test_equal_widths_go_to_the_faster_npu(session: Session) -> None:
    machine = system("hda", little="8", dram="25.6 GB/s")
    network = session.network("digits_cnn", {}).network
    plan = PrecisionPlan(parse_precision("w8a8"))
    assert machine.host_of(network, plan) == ("big", "w8a8")
    document = apply_knobs(find_spec("hda"), {"little": "8"})
    faster = build_machine(document.override("npus.little.knobs.clock", "1.2 GHz", "--set"))
    assert isinstance(faster, SystemMachine)
    assert faster.host_of(network, plan) == ("little", "w8a8")
    executed = faster.legalise(network, plan).executed
    expected = evaluate(faster.hosting("little", "w8a8"), network, executed)
    assert evaluate(faster, network, executed) == expected


def test_energy_of_a_job_rises_with_the_bits(session: Session) -> None:
    """The MAC part by the table exactly, the whole strictly."""
    runs = {bits: on(session, f"edge{bits}").totals.energy_by_component for bits in MAC_ENERGY}
    for bits, relative in MAC_ENERGY.items():
        assert runs[bits]["mac"] / runs[8]["mac"] == pytest.approx(relative, rel=1e-9)
    dynamic = [
        sum(joules for part, joules in runs[bits].items() if part not in ("static", "overlap"))
        for bits in sorted(runs)
    ]
    assert all(a < b for a, b in itertools.pairwise(dynamic))


@pytest.mark.parametrize(
    "bits", [4, *(pytest.param(bits, marks=pytest.mark.slow) for bits in (5, 6, 7))]
)
def test_what_moving_a_share_of_the_work_saves(session: Session, bits: int) -> None:
    """Of MAC energy alone: x (1 - r), with x the share of the energy that moves."""
    names = ("digits_cnn", "vgg16_cifar100", "mobilenet_v1_cifar100")

    def mac(name: str, width: int) -> float:
        result = run(RunRequest(name, f"edge{width}"), session)
        return result.totals.energy_by_component["mac"]

    before = {name: mac(name, 8) for name in names}
    moved = ("digits_cnn", "vgg16_cifar100")
    after = sum(mac(name, bits if name in moved else 8) for name in names)
    share = sum(before[name] for name in moved) / sum(before.values())
    saving = 1 - after / sum(before.values())
    assert saving == pytest.approx(share * (1 - MAC_ENERGY[bits]), rel=1e-9)


def test_the_hash_covers_the_specs_of_the_npus() -> None:
    assert system("hda").info.sha256 != system("hda", little="6").info.sha256
    document = find_spec("hda")
    changed = document.override("npus.big.set", "{static_power: 61 mW}", "--set")
    assert build_machine(changed).info.sha256 != build_machine(document).info.sha256


HEADER = """name: pair
family: system
title: two NPUs
citation: none
"""


def refusal(text: str, path: str = "pair.yaml") -> str:
    with pytest.raises((SpecError, OptionError)) as caught:
        build_machine(SpecDocument.from_text(HEADER + text, path))
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "npus:\n  a: {spec: edge9}\n  b: {spec: edge8}\n",
            "pair.yaml:6:13: npus.a.spec: unknown hardware 'edge9'\n  did you mean 'edge8'?",
        ),
        (
            "npus:\n  a: {spec: hda}\n",
            "pair.yaml:6:13: npus.a.spec: 'hda' is a system itself",
        ),
        ("npus: {}\n", "pair.yaml:5:1: npus: needs at least one NPU"),
        (
            "npus:\n  a: {spec: edge8, count: 2}\n  a2: {spec: edge8}\n",
            "pair.yaml:7:3: npus.a2: 'a' has an NPU 'a2' too",
        ),
        (
            "npus:\n  a: {spec: edge8, knobs: {clok: 1 GHz}}\n",
            "npus.a.knobs: clok=1 GHz: unknown knob 'clok'\n  did you mean 'clock'?",
        ),
        (
            "npus:\n  a: {spec: edge8, set: {array.rows: many}}\n",
            "npus.a.set: array.rows=many: expected a positive whole number such as '128', "
            "got 'many'",
        ),
    ],
)
def test_mistakes_are_told_at_their_place(text: str, message: str) -> None:
    assert refusal(text) == message


def test_files_beside_the_system_are_found(tmp_path: Path) -> None:
    own = (data_folder("hwspecs") / "edge8_generic_2023.yaml").read_text(encoding="utf-8")
    (tmp_path / "mine.yaml").write_text(own.replace("name: edge8", "name: mine"), encoding="utf-8")
    path = tmp_path / "pair.yaml"
    path.write_text(HEADER + "npus:\n  a: {spec: mine.yaml}\n  b: {spec: ./mine.yaml}\n")
    machine = build_machine(SpecDocument.from_file(path))
    assert isinstance(machine, SystemMachine)
    assert [(member.name, member.spec) for member in machine.members] == [
        ("a", "mine"),
        ("b", "mine"),
    ]


def test_a_file_that_is_not_there_is_told_at_its_reference(tmp_path: Path) -> None:
    path = tmp_path / "pair.yaml"
    path.write_text(HEADER + "npus:\n  a: {spec: mine.yaml}\n")
    with pytest.raises(SpecError) as caught:
        build_machine(SpecDocument.from_file(path))
    (problem,) = caught.value.problems
    assert (problem.file, problem.line) == (str(path), 6)
    assert problem.message.startswith("npus.a.spec: ")


def test_an_npu_with_modes_keeps_them(session: Session) -> None:
    text = HEADER + "npus:\n  fast: {spec: stimpack}\n  small: {spec: edge8}\n"
    machine = build_machine(SpecDocument.from_text(text))
    assert isinstance(machine, SystemMachine)
    assert [mode.name for mode in machine.members[0].modes] == ["base", "burst"]
    network = session.network("digits_cnn", {}).network
    for mode, precision in (("base", "bf16"), ("burst", "int8")):
        hosted = machine.hosting("fast", mode)
        plan = hosted.legalise(network, PrecisionPlan(parse_precision(precision))).executed
        assert evaluate(hosted, network, plan).cycles > 0
