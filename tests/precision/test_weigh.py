"""Sizes and bit operations against HAWQ-V3's own tables (arXiv:2011.10680, repository tables)."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from npubench.frontend import load_network
from npubench.ir import LayerPrecision, Network, PrecisionPlan, Scheme, integer, parse_network
from npubench.precision.sources import find_plan
from npubench.precision.weigh import weigh
from npubench.specs.catalog import data_folder

ORACLE = Path(__file__).parent.parent / "oracles" / "hawq_v3" / "published.csv"
# HAWQ-V3's ResNet-50 has the stride of a stage in its first 1x1 convolution.
NETWORKS = {"resnet18": "resnet18", "resnet50": "resnet50_v1"}
with ORACLE.open() as file:
    ROWS = [row for row in csv.DictReader(file) if row["computed_bops_g"]]


@pytest.fixture(scope="module")
def networks() -> dict[str, Network]:
    folder = data_folder("workloads")
    return {
        net: load_network(folder / f"{name}.onnx", name=name).network
        for net, name in NETWORKS.items()
    }


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row['net']}-{row['setting']}")
def test_hawq_settings(row: dict[str, str], networks: dict[str, Network]) -> None:
    network = networks[row["net"]]
    weight = weigh(network, find_plan(f"hawq_{row['setting']}", network, None))
    assert f"{weight.weight_mib:.2f}" == row["computed_weight_mib"]
    assert f"{weight.bops / 1e9:.1f}" == row["computed_bops_g"]
    assert weight.weight_mib == pytest.approx(float(row["size_mb"]), rel=0.04)
    assert weight.bops / 1e9 == pytest.approx(float(row["bops_g"]), rel=0.035)


def test_all_settings_are_there() -> None:
    assert len(ROWS) == 22


def test_both_variants_of_resnet50_take_the_plans() -> None:
    network = load_network(data_folder("workloads") / "resnet50.onnx").network
    plan = find_plan("HAWQ-latency-0.5", network, None)
    assert plan.describe() == "20 x w4a4, 34 x w8a8"
    assert plan.scheme_of("conv1") == Scheme(symmetric_activations=True)


def test_a_shared_weight_counts_once_at_its_widest_and_batches_do_not_count() -> None:
    text = (
        "network toy\ninput x fp32[1,4]\nweight w fp32[4,4]\n"
        "mac a Gemm (x w) -> y fp32[1,4] : K4 C4\n"
        "mac b Gemm (y w) -> z fp32[1,4] : K4 C4\noutput z\n"
    )
    wide, narrow = (LayerPrecision(integer(b), integer(2)) for b in (5, 3))
    plan = PrecisionPlan(narrow, {"b": wide})
    found = weigh(parse_network(text).with_batch(8), plan)
    assert (found.weight_bits, found.weight_bytes, found.bops) == (80, 10, 16 * 6 + 16 * 10)
