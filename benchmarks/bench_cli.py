"""Whole processes of the command line: wall time and peak memory, against their bounds."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from statistics import median

from measure import MB, measure


@dataclass(frozen=True)
class Bound:
    """A command line and what it may take."""

    command: str
    seconds: float
    megabytes: float


BOUNDS = (
    Bound("--help", 0.3, 250),
    Bound("run resnet50 --hw tpuv4i", 1.0, 250),
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=9, help="runs of each command (default 9)")
    parser.add_argument("--check", action="store_true", help="exit 1 if a bound does not hold")
    options = parser.parse_args()
    broken = 0
    print(
        f"{'command':36} {'min [s]':>8} {'median':>8} {'bound':>6} {'peak [MB]':>10} {'bound':>6}"
    )
    for bound in BOUNDS:
        command = ["-m", "npubench", *bound.command.split()]
        measure(command)  # compiled files and disk caches, as on every run but the first
        runs = [measure(command) for _ in range(options.runs)]
        least = min(run.seconds for run in runs)
        peak = max(run.peak_bytes for run in runs) / MB
        held = least < bound.seconds and peak < bound.megabytes
        broken += not held
        remark = "" if held else "  TOO MUCH"
        print(
            f"{'npubench ' + bound.command:36} {least:8.3f} {median(r.seconds for r in runs):8.3f} "
            f"{bound.seconds:6.1f} {peak:9.1f} {bound.megabytes:6.0f}{remark}"
        )
    return 1 if options.check and broken else 0


if __name__ == "__main__":
    raise SystemExit(main())
