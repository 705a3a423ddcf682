"""Sweep files: those that ship say what can be run, and mistakes have a line."""

from __future__ import annotations

from pathlib import Path

import pytest

from npubench.errors import SpecError
from npubench.specs.catalog import find_spec, find_workload
from npubench.study.axes import parse_axis
from npubench.study.choose import parse_wish
from npubench.study.session import parse_hardware
from npubench.study.sweep_file import find_sweep_file, is_sweep_file, load_sweep_file

FOLDER = Path(__file__).resolve().parents[2] / "workloads" / "studies"
SHIPPED = sorted(
    path.stem for path in FOLDER.glob("*.yaml") if "axes:" in path.read_text(encoding="utf-8")
)


def test_three_ship() -> None:
    assert {"bf_imna_grid", "precision_frontier", "three_designs"} <= set(SHIPPED)


@pytest.mark.parametrize("name", SHIPPED)
def test_what_ships_names_what_is_there(name: str) -> None:
    assert is_sweep_file(name)
    file = load_sweep_file(find_sweep_file(name))
    assert file.title
    axes = {axis.name: axis.values for axis in map(parse_axis, file.axis_texts)}
    parse_wish(file.minimize, file.subject_to, file.pareto)
    for hardware in (file.hw,) if file.hw else axes["hw"]:
        find_spec(parse_hardware(hardware)[0])
    for workload in (file.workload,) if file.workload else axes["workload"]:
        find_workload(workload)


def test_mistakes_come_together_with_their_lines(tmp_path: Path) -> None:
    path = tmp_path / "grid.yaml"
    path.write_text("hw: tpuv4i\naxis: {vdd: [0.6]}\nminimise: edp\n", encoding="utf-8")
    with pytest.raises(SpecError) as caught:
        load_sweep_file(path)
    lines = [line for line in str(caught.value).splitlines() if not line.startswith("  ")]
    assert lines == [
        f"{path}:1:1: missing key 'axes'",
        f"{path}:2:1: unknown key 'axis'",
        f"{path}:3:1: unknown key 'minimise'",
    ]
