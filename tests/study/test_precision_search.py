"""The search on a machine whose costs follow the bits, with and without neighbours that matter."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from npubench.errors import InputError
from npubench.frontend import LoadedNetwork
from npubench.ir import LayerPrecision, MacLayer, Network, PrecisionPlan, integer
from npubench.machines.protocol import Cost, LayerCost, Legalised
from npubench.precision.plan_file import plan_text, read_plan
from npubench.specs.header import read_header
from npubench.specs.loader import SpecDocument
from npubench.study.accuracy import Measuring
from npubench.study.precision_request import (
    PrecisionSearch,
    SearchRequest,
    parse_budget,
    parse_objective,
)
from npubench.study.precision_search import search_precision
from npubench.study.session import Session, open_network
from tests.study.study_fakes import TOY, FakeMachine, build_fake

DIGITS = Measuring("digits", samples=150)
WIDTHS = ("w8a8", "w4a4", "w2a2")


@dataclass(frozen=True)
class BitMachine(FakeMachine):
    """A MAC takes weight x activation bits / 64 cycles and picojoules; a change of width between
    neighbours costs ``seam`` cycles more."""

    seam: int = 0
    widest: int = 16

    def legalise(self, network: Network, plan: PrecisionPlan | None) -> Legalised:
        requested = plan or PrecisionPlan(LayerPrecision(integer(8), integer(8)))
        chosen = {
            x.name: LayerPrecision(*(integer(min(f.bits, self.widest)) for f in pair))
            for x in network.mac_layers
            for p in [requested.of(x.name)]
            for pair in [(p.weight, p.activation)]
        }
        return Legalised(requested, PrecisionPlan(requested.default, chosen))

    def cost(self, network: Network, plan: PrecisionPlan, mapping: None) -> Cost:
        base = super().cost(network, plan, mapping)
        layers: list[LayerCost] = []
        before: LayerPrecision | None = None
        for layer, its in zip(network.layers, base.layers, strict=True):
            made = its
            if isinstance(layer, MacLayer):
                now = plan.of(layer.name)
                work = now.weight.bits * now.activation.bits
                seam = self.seam if before not in (None, now) else 0
                made = replace(
                    its,
                    latency_by_cause={"compute": layer.macs * work // 64 + 8 + seam},
                    energy_by_component={"mac": layer.macs * work / 64 * 1e-12},
                    precision=now,
                )
                before = now
            layers.append(made)
        total = sum(layer.cycles for layer in layers)
        return replace(base, layers=tuple(layers), interval_cycles=total - 4)


def _session(**machine: int) -> Session:
    def build(document: SpecDocument) -> BitMachine:
        fake = build_fake(document)
        return BitMachine(fake.info, fake.rate, **machine)

    def find(name: str) -> SpecDocument:
        return SpecDocument.from_text(TOY, f"{name}.yaml")

    assert read_header(find("toy")).name == "toy"
    return Session(open_network, find, build)


def _search(session: Session | None = None, **more: object) -> PrecisionSearch:
    request = SearchRequest("digits_cnn", "toy", WIDTHS, measuring=DIGITS)
    return search_precision(replace(request, **more), session or _session())  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def session() -> Session:
    return _session()


def test_the_frontier_is_that_of_all_plans(session: Session) -> None:
    found = _search(session, objective="energy_j", points=100)
    frontier = [row for row in found.rows if row.name == "frontier"]
    assert len(frontier) == found.frontier
    assert found.exact
    assert found.worst_prediction < 1e-9
    network = session.network("digits_cnn", {}).network
    names = [layer.name for layer in network.mac_layers]
    for picks in itertools.product(WIDTHS, repeat=len(names)):
        plan = dict(zip(names, picks, strict=True))
        energy = sum(
            layer.macs * int(width[1]) ** 2 / 64 * 1e-12
            for layer, width in zip(network.mac_layers, picks, strict=True)
        )
        cheaper = [r for r in frontier if r.plan == plan]
        if cheaper:
            mac = cheaper[0].energy_j - min(r.energy_j for r in frontier)
            least = sum(layer.macs * 4 / 64 * 1e-12 for layer in network.mac_layers)
            assert mac == pytest.approx(energy - least, abs=1e-16)
    energies = [row.energy_j for row in frontier]
    losses = [row.loss for row in frontier]
    assert energies == sorted(energies)
    assert losses == sorted(losses, key=lambda x: -(x or 0))


def test_rows(session: Session) -> None:
    found = _search(session, budgets={"weight_bytes": 5000.0})
    assert [row.name for row in found.rows[:4]] == ["chosen", "w8a8", "w4a4", "w2a2"]
    chosen, eight, four, two = found.rows[:4]
    assert chosen.weight_bytes <= 5000 < eight.weight_bytes == 9872
    assert (four.weight_bytes, two.weight_bytes) == (4936, 2468)
    assert eight.loss is not None
    assert four.loss is not None
    assert two.loss is not None
    assert eight.loss < four.loss < two.loss
    assert chosen.loss is not None
    assert chosen.loss <= four.loss * (1 + 1e-12)
    assert eight.accuracy is not None
    assert (eight.accuracy.kind, eight.accuracy.n) == ("measured", 150)
    assert eight.accuracy.value is not None
    assert two.accuracy is not None
    assert two.accuracy.value is not None
    assert eight.accuracy.value > two.accuracy.value


def test_the_least_loss_within_an_energy_budget_is_that_of_all_plans(session: Session) -> None:
    whole = _search(session, objective="energy_j", points=100)
    frontier = [row for row in whole.rows if row.name == "frontier"]
    for row in frontier:
        budget = {"energy_j": row.energy_j * (1 + 1e-9)}
        chosen = _search(session, budgets=budget).rows[0]
        assert chosen.loss == pytest.approx(row.loss)
        assert chosen.energy_j <= row.energy_j * (1 + 1e-8)


def test_a_budget_on_edp_is_met_by_the_whole_plan(session: Session) -> None:
    rows = _search(session).rows
    bound = rows[1].edp_js * 1.2
    chosen = _search(session, budgets={"edp_js": bound}).rows[0]
    assert chosen.edp_js <= bound * (1 + 1e-9)


def test_costs_that_do_not_add_up_are_found_and_repaired() -> None:
    session = _session(seam=4000)
    rows = _search(session).rows
    bound = rows[0].latency_s * 0.6
    found = _search(session, budgets={"latency_s": bound})
    assert found.worst_prediction > 0.001
    assert found.rows[0].latency_s <= bound


def test_a_measured_drop(session: Session) -> None:
    found = _search(session, objective="energy_j", budgets={"drop": 1.0})
    chosen = found.rows[0]
    assert chosen.accuracy is not None
    assert chosen.accuracy.drop is not None
    assert chosen.accuracy.drop <= 1.0
    assert chosen.energy_j < next(r for r in found.rows if r.name == "w8a8").energy_j


def test_sensitivity_by_drop(session: Session) -> None:
    found = _search(session, sensitivity="drop")
    two = next(row for row in found.rows if row.name == "w2a2")
    assert two.loss is not None
    assert two.loss > 5  # points


def test_ends_are_pinned(session: Session) -> None:
    found = _search(session, ends="w8a8", objective="energy_j", points=100)
    for row in found.rows:
        if row.name == "frontier":
            assert row.plan["conv1"] == row.plan["fc"] == "w8a8"
    assert found.frontier == 3


def test_published_sensitivities_and_plans() -> None:
    request = SearchRequest(
        "resnet18", "toy", ("w8a8", "w4a4"), sensitivity="hawq", budgets={"bops": 77.3e9}, points=3
    )
    found = search_precision(request, _session())
    assert found.groups == (
        ("layer2.0.conv1", "layer2.0.downsample.0"),
        ("layer3.0.conv1", "layer3.0.downsample.0"),
        ("layer4.0.conv1", "layer4.0.downsample.0"),
    )
    rows = {row.name: row for row in found.rows}
    assert sum(name.startswith("hawq_") for name in rows) == 11
    chosen, theirs = rows["chosen"], rows["hawq_latency_0.5"]
    assert chosen.bops <= 77.3e9
    assert chosen.plan["conv1"] == chosen.plan["fc"] == "w8a8"
    assert chosen.loss is not None
    assert theirs.loss is not None
    assert chosen.loss <= theirs.loss
    assert rows["w4a4"].accuracy is None


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (
            {"measuring": None},
            "--sensitivity noise is measured: it needs --dataset\n"
            "  or take --sensitivity hawq for a network that it was published for",
        ),
        (
            {"sensitivity": "hawq", "widths": ("w8a8", "w4a4")},
            "--sensitivity hawq: there is no published sensitivity for 'digits_cnn'\n"
            "  there is for resnet18, resnet50, resnet50_v1; noise and drop are measured with "
            "--dataset",
        ),
        ({"sensitivity": "nose"}, "unknown sensitivity 'nose'\n  did you mean 'noise'?"),
        ({"ends": "w6a6"}, "--ends w6a6: w6a6 is not among the widths w8a8, w4a4, w2a2"),
        (
            {"budgets": {"weight_bytes": 100.0}},
            "no plan of 'digits_cnn' on 'toy' meets weight_bytes 100\n"
            "  least on its own: weight_bytes 2468",
        ),
        (
            {"budgets": {"drop": 1.0, "bops": 1e9}},
            "--max drop goes alone: its plans are measured one by one",
        ),
        (
            {"widths": ("w8a8", "w8a8")},
            "'toy' executes only w8a8 for w8a8, w8a8: there is nothing to choose\n"
            "  take other --widths, or an accelerator with several formats",
        ),
    ],
)
def test_refusals(more: Mapping[str, object], message: str, session: Session) -> None:
    with pytest.raises(InputError) as caught:
        _search(session, **more)
    assert str(caught.value) == message


def test_hawq_widths() -> None:
    with pytest.raises(InputError) as caught:
        search_precision(SearchRequest("resnet18", "toy", WIDTHS, sensitivity="hawq"), _session())
    assert str(caught.value) == "--sensitivity hawq: published for w8a8, w4a4, not for w2a2"


def test_budgets_and_objectives_by_name() -> None:
    assert parse_budget("energy = 1e-3") == ("energy_j", 1e-3)
    assert parse_budget("size=100") == ("weight_bytes", 100)
    assert parse_objective("latency") == "latency_s"
    with pytest.raises(InputError) as caught:
        parse_budget("enrgy=1")
    assert str(caught.value) == (
        "--max 'enrgy=1': unknown budget 'enrgy'\n  did you mean 'energy'?"
    )
    with pytest.raises(InputError) as caught:
        parse_budget("energy=1 mJ")
    assert str(caught.value) == (
        "--max 'energy=1 mJ': expected a number from 0 in SI units, got '1 mJ'"
    )
    with pytest.raises(InputError, match="--minimise 'time': unknown cost"):
        parse_objective("time")


def test_a_chosen_plan_can_be_read_back(tmp_path: Path, session: Session) -> None:
    loaded: LoadedNetwork = session.network("digits_cnn", {})
    layers = {"conv1": "w8a8", "conv2": "w4a4", "fc": "w4a4"}
    path = tmp_path / "plan.yaml"
    path.write_text(plan_text("digits_cnn", layers, 'chosen for "x"'))
    plan = read_plan(path, loaded.network)
    assert {name: str(plan.of(name)) for name in layers} == layers
    assert plan.source == 'plan.yaml: chosen for "x"'
