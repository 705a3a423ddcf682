"""Whole processes from outside: wall time, peak memory, exit code."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MB = 1e6


@dataclass(frozen=True)
class Measured:
    """One process."""

    seconds: float
    peak_bytes: int


def environment() -> dict[str, str]:
    """The process's own environment, with this checkout's npubench and no settings."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("NPUBENCH_")}
    return {**own, "PYTHONPATH": str(ROOT)}


def measure(arguments: Sequence[str]) -> Measured:
    """Run ``python ARGUMENTS`` to its end, with its output thrown away.

    Raises:
        SystemExit: it did not exit 0.
    """
    begin = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, *arguments],
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    # wait4 gives the usage of this one child; RUSAGE_CHILDREN keeps the largest of all.
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - begin
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise SystemExit(f"python {' '.join(arguments)} exited {process.returncode}")
    unit = 1 if sys.platform == "darwin" else 1024
    return Measured(seconds, usage.ru_maxrss * unit)
