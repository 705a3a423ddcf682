"""The hand-made records as fixtures."""

from __future__ import annotations

import pytest

from npubench.study.result import Comparison, RunResult, Sweep
from tests.report.report_records import make_comparison, make_run, make_sweep


@pytest.fixture
def run() -> RunResult:
    return make_run()


@pytest.fixture
def comparison() -> Comparison:
    return make_comparison()


@pytest.fixture
def sweep() -> Sweep:
    return make_sweep()
