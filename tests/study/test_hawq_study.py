"""The study of HAWQ-V3: its programme solved exactly, and its budgets on a machine's own costs."""

from __future__ import annotations

import csv

import pytest

from npubench.errors import OptionError
from npubench.specs.loader import SpecDocument
from npubench.study.session import Session, open_network
from npubench.study.studies.record import StudySection
from npubench.study.studies.registry import find_study, run_study, study_sections
from tests.conftest import ROOT
from tests.study.study_fakes import TOY, build_fake
from tests.study.test_precision_search import BitMachine

ORACLE = ROOT / "tests" / "oracles" / "hawq_v3" / "published.csv"
STUDY = find_study("hawq_v3")


def test_seventeen_of_eighteen_settings_are_the_optimum() -> None:
    result = run_study("hawq_v3", {"hardware": ""})
    found = {s.key: s for s in result.sections}
    assert list(found) == ["resnet18_bits", "resnet50_v1_bits"]
    differ = {
        f"{key} {setting}": count
        for key, section in found.items()
        for setting, count in zip(
            section.column("setting"), section.column("layers_that_differ"), strict=True
        )
        if count
    }
    assert differ == {"resnet50_v1_bits modelsize_0.25": 1}
    for section in found.values():
        assert len(section.rows) == 9
        pairs = zip(section.column("loss"), section.column("loss_of_published"), strict=True)
        assert all(isinstance(a, float) and isinstance(b, float) and a <= b for a, b in pairs)
    odd = found["resnet50_v1_bits"]
    row = odd.column("setting").index("modelsize_0.25")
    assert odd.column("loss")[row] == pytest.approx(0.0749, abs=5e-5)
    assert odd.column("loss_of_published")[row] == pytest.approx(0.0831, abs=5e-5)
    assert "in 8 of 9 settings" in odd.notes[0]


def test_sizes_and_bit_operations_are_those_computed_from_the_published_widths() -> None:
    with ORACLE.open(encoding="utf-8", newline="") as file:
        every = [r for r in csv.DictReader(file) if r["distillation"] == "no"]
    rows = {(r["net"], r["setting"]): r for r in every}
    for section in run_study("hawq_v3", {"hardware": ""}).sections:
        net = section.key.removesuffix("_bits").removesuffix("_v1")
        columns = ("setting", "weight_mib", "bops", "weight_mib_published", "bops_published")
        for setting, size, bops, their_size, their_bops in zip(
            *(section.column(key) for key in columns), strict=True
        ):
            oracle = rows[net, str(setting)]
            assert isinstance(size, float)
            assert isinstance(bops, int)
            assert isinstance(their_size, float)
            assert isinstance(their_bops, float)
            assert f"{size:.2f}" == oracle["computed_weight_mib"]
            assert f"{bops / 1e9:.1f}" == oracle["computed_bops_g"]
            assert size == pytest.approx(their_size, rel=0.04)
            assert bops == pytest.approx(their_bops, rel=0.035)


def _bits() -> Session:
    """Every accelerator is one whose costs follow the bits, and which changes width unwillingly."""

    def build(document: SpecDocument) -> BitMachine:
        fake = build_fake(document)
        return BitMachine(fake.info, fake.rate, seam=50)

    return Session(open_network, lambda name: SpecDocument.from_text(TOY, f"{name}.yaml"), build)


def test_the_same_budgets_on_a_machine_of_ours() -> None:
    settings = {"networks": "resnet18", "hardware": "bits"}
    steps: list[tuple[int, int]] = []
    made = list(
        study_sections(STUDY, settings, session=_bits(), on_step=lambda *step: steps.append(step))
    )
    own: StudySection = made[1]
    assert steps == [(1, 2), (2, 2)]
    assert own.key.startswith("resnet18_on_")
    columns = {c.key: own.column(c.key) for c in own.columns}
    cost = {"weight_bytes": None, "bops": None, "latency_s": "latency_s"}
    for index, budget in enumerate(columns["budget"]):
        assert columns["loss"][index] <= columns["loss_of_published"][index] * (1 + 1e-9)
        if (metric := cost[str(budget)]) is not None:
            assert columns[metric][index] <= columns[f"{metric}_of_published"][index] * (1 + 1e-9)
        if columns["layers_that_differ"][index] == 0:
            assert columns["edp_js"][index] == columns["edp_js_of_published"][index]


def test_networks_without_published_plans_are_refused() -> None:
    with pytest.raises(OptionError) as caught:
        run_study("hawq_v3", {"networks": "resnet50"})
    assert str(caught.value) == (
        "--set networks: no published plans of 'resnet50'\n  did you mean 'resnet50_v1'?"
    )
