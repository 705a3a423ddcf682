"""Small public networks: each one runs, with the MACs that a second counter finds.

``pytest -s`` prints a row for each.
"""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from npubench.study.run import RunRequest, run
from npubench.study.session import Session
from tests.conftest import ROOT
from tests.models.mac_counter import count_macs

NAMES = sorted(path.name for path in (ROOT.parent / "shared" / "models").glob("*.onnx"))


@pytest.fixture(scope="module")
def session() -> Session:
    return Session()


@pytest.mark.parametrize("name", NAMES or ["absent"])
def test_macs_are_those_of_an_independent_counter(
    name: str, shared: Path, session: Session
) -> None:
    path = shared / "models" / name
    result = run(RunRequest(workload=str(path), hardware="tpuv4i"), session)
    counted = count_macs(onnx.load(path))
    totals, coverage = result.totals, result.coverage
    print(
        f"{path.stem:28} {totals.macs:>14,} MACs, counted {counted:>14,}, "
        f"{totals.latency_s * 1e6:8.2f} us, {totals.energy_j * 1e3:8.4f} mJ, "
        f"{coverage.approximated.ops} approximated, {coverage.unknown.ops} unknown"
    )
    assert totals.macs == counted
    assert totals.latency_s > 0
    assert totals.energy_j > 0
    assert coverage.unknown.ops == 0
