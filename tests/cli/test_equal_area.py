"""Area and static power by part in results, and arrays sized to another design's area."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from tests.cli.in_process import in_process


def answer(*arguments: str) -> dict[str, Any]:
    done = in_process((*arguments, "--format", "json"))
    assert (done.code, done.stderr) == (0, "")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_show_sizes_an_array_to_the_area_of_another_design() -> None:
    document = answer("show", "edge5", "--equal-area-to", "edge8")
    (row,) = document["rows"]
    assert (document["kind"], document["other"]) == ("equal_area", "edge8")
    edge8 = answer("show", "edge8", "--hw")
    assert row["target_mm2"] == edge8["area_mm2"] == sum(edge8["areas_mm2"].values())
    # The settings are those that make it, and one more row and column would not fit.
    settings = document["settings"].items()
    options = [option for path, value in settings for option in ("--set", f"{path}={value}")]
    run = answer("run", "digits_cnn", "--hw", "edge5", *options)
    assert run["totals"]["area_mm2"] == row["area_mm2"] <= row["target_mm2"]
    assert run["totals"]["area_mm2"] == sum(run["hardware"]["areas_mm2"].values())
    assert row["area_mm2"] + (row["rows"] + row["cols"] + 1) * 60.82e-6 > row["target_mm2"]
    assert answer("show", "edge5", "--equal-area-to", "3.1 mm2")["rows"][0]["target_mm2"] == 3.1


def test_the_options_that_run_it_are_printed() -> None:
    shown = in_process(("show", "edge4", "--equal-area-to", "edge8")).stdout
    assert shown.startswith("edge4 on the area of edge8\n")
    flat = " ".join(shown.split())
    assert (
        "npubench run NETWORK --hw edge4 --set array.rows=99 --set array.cols=99 "
        "--set 'memories.accumulators.port_width=3168 bit/cycle'"
    ) in flat


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("edge8", "--equal-area-to", "tpuv9"), "unknown hardware 'tpuv9'"),
        (("edge8", "--equal-area-to", "6 MHz"), "--equal-area-to: expected an area such as"),
        (
            ("edge8", "--equal-area-to", "gemmini"),
            "--equal-area-to: the spec of 'gemmini' gives no",
        ),
        (("tpuv4i", "--equal-area-to", "edge8"), "the area of 'tpuv4i' does not follow from its"),
        (("edge8", "--equal-area-to", "1 mm2"), "'edge8' takes 2.61 mm2 without its PEs"),
        (("alexnet", "--workload", "--equal-area-to", "edge8"), "show: --equal-area-to goes with"),
    ],
)
def test_an_area_that_cannot_be_met(arguments: tuple[str, ...], message: str) -> None:
    done = in_process(("show", *arguments))
    assert (done.code, done.stdout) == (2, "")
    assert done.stderr.startswith(message)


def test_area_and_static_power_by_part_are_in_results() -> None:
    assert set(answer("run", "digits_cnn", "--hw", "hda")["hardware"]["areas_mm2"]) == {
        "big",
        "little",
    }
    hardware = answer("run", "digits_cnn", "--hw", "edge8", "--knob", "vdd=0.6V")["hardware"]
    assert set(hardware["areas_mm2"]) == set(hardware["leakages_w"]) == {"pes", "memories"}
    factor = 0.6 / 0.8 * math.exp(-0.2 / 0.36)
    assert hardware["leakages_w"]["pes"] == pytest.approx(4096 * 3.91e-6 * factor)
    assert hardware["leakages_w"]["memories"] == pytest.approx(4.5 * 14.3e-3 * factor)
    parts = sum(hardware["leakages_w"].values())
    assert hardware["static_power_w"] == pytest.approx(parts, abs=0.05e-3)


def test_a_run_shows_them_when_asked_for_everything() -> None:
    run = ("run", "digits_cnn", "--hw", "edge8")
    assert "Area by part" in in_process((*run, "--verbose")).stdout
    assert "Area by part" not in in_process(run).stdout
