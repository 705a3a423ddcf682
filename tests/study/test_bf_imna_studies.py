"""The studies of BF-IMNA: what they must show, and that published cells are the publication's."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from itertools import pairwise

import pytest

from npubench.errors import InputError, OptionError
from npubench.specs.catalog import data_folder
from npubench.study.run import RunRequest, run
from npubench.study.serialise import dumps
from npubench.study.studies.document import study_to_json
from npubench.study.studies.record import StudyResult
from npubench.study.studies.registry import run_study
from tests.study.schema_check import validate

ORDER = ("INT8", "high", "medium", "low", "INT4")
TOP1 = (71.56, 70.40, 70.34, 68.56, 68.45)


@pytest.fixture(scope="module")
def hawq() -> StudyResult:
    return run_study("bf_imna_hawq")


@pytest.fixture(scope="module")
def peers() -> StudyResult:
    return run_study("bf_imna_peers")


def numbers(cells: tuple[object, ...]) -> list[float]:
    assert all(isinstance(cell, (int, float)) for cell in cells)
    return [float(str(cell)) for cell in cells]


@pytest.mark.parametrize("resource", ["limited", "unlimited"])
def test_edp_falls_from_int8_to_int4_and_accuracy_with_it(hawq: StudyResult, resource: str) -> None:
    section = hawq.section(resource)
    assert section.column("configuration") == ORDER
    edp = numbers(section.column("edp_js"))
    assert all(high > low for high, low in pairwise(edp))
    assert tuple(numbers(section.column("top1_published"))) == TOP1
    for key in ("latency", "energy", "edp"):
        ratios = numbers(section.column(f"{key}_ratio"))
        assert ratios[-1] == 1.0
        assert all(high > low for high, low in pairwise(ratios))
    latency, energy = (numbers(section.column(key)) for key in ("latency_s", "energy_j"))
    assert edp == pytest.approx([a * b for a, b in zip(latency, energy, strict=True)], rel=1e-12)


def test_multiplications_alone_follow_the_square_of_the_widths(hawq: StudyResult) -> None:
    """Energy of products over INT4: MACs x weight bits x activation bits, flips apart."""
    energy = numbers(hawq.section("limited_products").column("multiply_energy_ratio"))
    # bit operations of the same plans over INT4's, HAWQ-V3's own measure
    bops = [116.1 / 34.7, 93.9 / 34.7, 77.3 / 34.7, 54.4 / 34.7, 1.0]
    assert energy == pytest.approx(bops, rel=0.03)


def test_hawq_rows_are_runs_anyone_can_repeat(hawq: StudyResult) -> None:
    request = RunRequest("resnet18", "bf_imna", precision="hawq_latency_0.5")
    totals = run(request).totals
    row = hawq.section("limited").rows[ORDER.index("medium")]
    assert row[1:5] == ("latency_0.5", totals.latency_s, totals.energy_j, totals.edp_js)


def test_published_peers_are_the_table_s(peers: StudyResult) -> None:
    section = peers.section("peers")
    path = data_folder("workloads") / "published" / "in_memory_peers.csv"
    with path.open(encoding="utf-8", newline="") as file:
        table = list(csv.DictReader(file))
    rows = [section.rows[i] for i in sorted(section.published_rows)]
    assert [row[0] for row in rows] == [row["design"] for row in table]
    for row, wanted in zip(rows, table, strict=True):
        for cell, key in zip(row[3:6], ("gops", "gops_per_w", "gops_per_mm2"), strict=True):
            expected = float(wanted[key]) * 1e9 if wanted[key] else None
            assert cell == (None if expected is None else pytest.approx(expected))
        assert row[6] == wanted["confidence"]
    sources = peers.section("sources")
    assert sources.column("source") == tuple(row["source"] for row in table)
    others = set(range(len(section.rows))) - section.published_rows
    assert all(str(section.rows[i][0]).startswith("bf_imna: ") for i in others)


@pytest.mark.parametrize("bits", [1, 8, 16])
def test_our_peak_is_a_multiplication_in_every_row(peers: StudyResult, bits: int) -> None:
    rows = {row[0]: row for row in peers.section("peers").rows if row[2] == bits}
    paper, gang = rows["bf_imna: every row, cell energy"], rows["bf_imna: ganged, cell energy"]
    rate = 2 * 4096 * 4800 * 1e9 / (8 * bits**2 + 4 * bits)
    assert paper[3] == pytest.approx(rate)
    assert gang[3] == pytest.approx(rate / -(-4 * bits // 16))
    passes = rows["bf_imna: every row, pass energy"]
    assert passes[4] == pytest.approx(2 / (4 * (bits**2 + bits) * 10.85e-15))


def test_both_ratios_of_the_paper_stand_beside_ours_with_a_reason(peers: StudyResult) -> None:
    claims = {claim.what: claim for claim in peers.section("peers").claims}
    throughput = claims["16-bit throughput over ISAAC"]
    efficiency = claims["16-bit efficiency over PipeLayer"]
    assert (throughput.published, efficiency.published) == (1.02, 1.19)
    assert throughput.ours == pytest.approx(2 * 19_660_800 / (8 * 256 + 64) / 40_907)
    assert throughput.note
    assert efficiency.note


def test_colonnade_is_predicted_from_width_and_supply_alone(peers: StudyResult) -> None:
    section = peers.section("colonnade")
    at = {(row[0], row[1]): row for row in section.rows}
    assert len(at) == 12
    assert at[8, 0.8][2:5] == (1.0, 1.0, 0.0)
    assert at[16, 0.8][3] == pytest.approx(4.0)
    law = [0.2958 * v * v - 0.1241 * v + 0.03024 for v in (0.6, 0.8)]
    assert at[8, 0.6][3] == pytest.approx(law[0] / law[1])
    assert at[8, 0.6][2] == pytest.approx(292.0 / 1169.7)


def test_networks_breakdowns_add_up_and_rows_are_runs() -> None:
    settings = {"networks": "digits_cnn", "precision": "w8a8,w2a4", "vdd": "1.0,0.6"}
    result = run_study("bf_imna_networks", settings)
    validate(study_to_json(result))
    limited = result.section("limited")
    assert len(limited.rows) == 1 * 2 * 2 * 2
    request = RunRequest(
        "digits_cnn", "bf_imna", precision="w2a4", knobs={"tech": "reram", "vdd": "0.6"}
    )
    totals = run(request).totals
    row = next(r for r in limited.rows if r[:4] == ("digits_cnn", "reram", "w2a4", 0.6))
    assert totals.area_mm2 is not None
    rate = 2 * totals.macs / totals.latency_s
    assert row[4:] == (
        *(totals.latency_s, totals.energy_j, totals.edp_js, rate),
        *(2 * totals.macs / totals.energy_j, rate / totals.area_mm2),
    )
    for key in ("energy", "latency"):
        for row in result.section(key).rows:
            assert sum(numbers(row[2:])) == pytest.approx(1.0)
            assert row[-1] == 0.0  # nothing is left without a kind
    assert len(result.section("unlimited").rows) == 2
    assert dumps(study_to_json(run_study("bf_imna_networks", settings))) == dumps(
        study_to_json(result)
    )


@pytest.mark.parametrize(
    ("study", "settings", "error", "message"),
    [
        ("bf_imna_hawq", {"resource": "infinite"}, OptionError, "expected limited, unlimited"),
        ("bf_imna_peers", {"bits": "17"}, OptionError, "whole numbers from 1 to 16"),
        ("bf_imna_peers", {"bits": "eight"}, OptionError, "whole numbers from 1 to 16"),
        ("bf_imna_networks", {"tech": ""}, OptionError, "--set tech: expected at least one"),
        ("bf_imna_networks", {"tech": "sramm"}, InputError, "did you mean 'sram'"),
        ("bf_imna_networks", {"vdd": "2.0"}, InputError, "outside the valid range 0.5..1.0 V"),
    ],
)
def test_settings_are_checked(
    study: str, settings: Mapping[str, str], error: type[InputError], message: str
) -> None:
    with pytest.raises(error, match=message):
        run_study(study, settings)
