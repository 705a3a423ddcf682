"""Published tables: taken for exactly their own plan and network, else not at all."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import pytest

from npubench.accuracy.published import find_published_accuracy, published_accuracies
from npubench.frontend import load_network
from npubench.ir import LayerPrecision, Network, PrecisionPlan, integer, parse_precision
from npubench.precision.sources import find_plan
from npubench.specs.catalog import data_folder

ORACLE = Path(__file__).parent.parent / "oracles" / "hawq_v3" / "published.csv"


@pytest.fixture(scope="module")
def networks() -> dict[str, Network]:
    names = ("resnet18", "resnet50", "resnet50_v1", "googlenet", "vit_b16")
    return {n: load_network(data_folder("workloads") / f"{n}.onnx").network for n in names}


def _top1(network: Network, precision: str) -> float | None:
    found = find_published_accuracy(network, find_plan(precision, network, None))
    return None if found is None else found.top1


def test_hawq_settings_are_those_of_its_own_table(networks: dict[str, Network]) -> None:
    with ORACLE.open() as file:
        rows = [r for r in csv.DictReader(file) if r["distillation"] == "no"]
    settings = [r for r in rows if r["net"] != "inceptionv3" and r["setting"] != "fp32"]
    assert len(settings) == 22
    for row in settings:
        assert f"{_top1(networks[row['net']], 'hawq_' + row['setting']):.2f}" == row["top1"]


def test_both_variants_of_resnet50_say_what_was_trained(networks: dict[str, Network]) -> None:
    network = networks["resnet50_v1"]
    found = find_published_accuracy(network, find_plan("hawq_bops_0.5", network, None))
    assert found is not None
    assert found.label == (
        "ImageNet-1k; HAWQ-V3 QAT; HAWQ-V3, arXiv:2011.10680 + github Zhen-Dong/HAWQ "
        "model_zoo.md; published; bops_0.5; first and last layer 8 bit; trained as ResNet-50 v1"
    )


def test_uniform_tables(networks: dict[str, Network]) -> None:
    assert _top1(networks["googlenet"], "w7a7") == pytest.approx(68.25 - 4.97)
    assert _top1(networks["resnet50"], "w8a8") == 77.67  # post-training before retrained


def test_uniform_four_bits_is_not_four_bits_with_eight_at_the_ends(
    networks: dict[str, Network],
) -> None:
    network = networks["resnet18"]
    assert _top1(network, "w4a4") is None
    names = [layer.name for layer in network.mac_layers]
    eight = LayerPrecision(integer(8), integer(8))
    plan = PrecisionPlan(parse_precision("w4a4"), {names[0]: eight, names[-1]: eight})
    found = find_published_accuracy(network, plan)
    assert found is not None
    assert found.ends == "8"


@pytest.mark.parametrize("precision", ["w5a5", "w8a4", "bf16", "fp32"])
def test_absent_is_absent(precision: str, networks: dict[str, Network]) -> None:
    assert _top1(networks["resnet50"], precision) is None
    assert _top1(networks["vit_b16"], precision) is None


def test_a_file_of_the_same_name_is_not_the_network(networks: dict[str, Network]) -> None:
    network = replace(networks["resnet50"], sha256="0" * 64)
    assert _top1(network, "w8a8") is None


def test_every_row_is_complete() -> None:
    for row in published_accuracies():
        assert row.confidence in ("published", "secondary", "recalled")
        assert row.source
        assert row.networks
        assert 0 <= row.top1 < 100
        assert row.fp32_top1 is None or 0 < row.fp32_top1 < 100
