"""Points a second of `npubench sweep` against a loop over `npubench run`, each in its own process.

    python benchmarks/bench_sweep.py [--points 10000] [--loop 20] [--jobs 2]

Three grids: 10,000 points precision x supply of ResNet-50 on BF-IMNA, 10,000 supply x clock x
mode of ResNet-50 on Stimpack, 1,000 array shapes x buffer sizes of ResNet-18 on an edge NPU; with
``--points N`` the first two have about N points and the third a tenth. Prints one row a grid and
number of processes: points, wall seconds, points a second, peak memory of the largest process, and
the ratio to the loop, whose points are drawn from the same grid.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys

from measure import MB, measure

VOLTS = 500
WIDTHS = [f"w{w}a{a}" for w in range(1, 17) for a in range(1, 17)]


def grids(points: int) -> dict[str, list[str]]:
    """Arguments of ``sweep`` by grid: so many points on BF-IMNA and Stimpack, a tenth on edge8."""
    count = max(1, points // VOLTS)
    precisions = ",".join(WIDTHS[:: max(1, len(WIDTHS) // count)][:count])
    supplies = max(2, round((points / 4) ** 0.5))  # and twice as many clocks, in two modes
    side = max(2, round((points / 100) ** 0.5))  # rows, columns, ten sizes of the buffer
    return {
        "bf_imna": [
            *("resnet50", "--hw", "bf_imna", "--axis", f"precision={precisions}"),
            *("--axis", f"vdd=0.5:0.999:{0.5 / VOLTS:g}"),
        ],
        "stimpack": [
            *("resnet50", "--hw", "stimpack", "--axis", "mode=base,burst"),
            *("--axis", f"vdd={_numbers(0.55, 0.9, supplies, 'V')}"),
            *("--axis", f"clock={_numbers(0.5, 1.0, 2 * supplies, 'GHz')}"),
        ],
        "edge8": [
            *("resnet18", "--hw", "edge8", "--axis", f"array.rows=8:{8 * side}:8"),
            *("--axis", f"array.cols=8:{8 * side}:8"),
            *("--axis", "memories.buffer.capacity=128:1280:128 KiB"),
        ],
    }


def _numbers(low: float, high: float, count: int, unit: str) -> str:
    return ",".join(f"{low + (high - low) * i / (count - 1):.6g} {unit}" for i in range(count))


def loop_seconds(arguments: list[str], count: int) -> tuple[float, int]:
    """Mean wall seconds of ``npubench run`` over points drawn from a grid, and the grid's size."""
    listing = subprocess.run(
        [*NPUBENCH, "sweep", *arguments, "--dry-run", "--format", "csv"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.splitlines()
    names = listing[0].split(",")
    drawn = random.Random(0).sample(listing[1:], min(count, len(listing) - 1))
    workload, _, hardware = arguments[:3]
    spent = 0.0
    for line in drawn:
        command = ["-m", "npubench", "run", workload, "--hw", hardware]
        for name, value in zip(names, line.split(","), strict=True):
            if name == "precision":
                command += ["--precision", value]
            else:
                command += ["--set" if "." in name else "--knob", f"{name}={value}"]
        spent += measure(command).seconds
    return spent / len(drawn), len(listing) - 1


NPUBENCH = [sys.executable, "-m", "npubench"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--points", type=int, default=10_000)
    parser.add_argument("--loop", type=int, default=20)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--only", help="one grid")
    asked = parser.parse_args()
    print("| grid | points | processes | wall [s] | points/s | peak [MB] | run [s] | ratio |")
    print("|---|---|---|---|---|---|---|---|")
    for name, arguments in grids(asked.points).items():
        if asked.only not in (None, name):
            continue
        each, count = loop_seconds(arguments, asked.loop)
        for jobs in sorted({1, asked.jobs}):
            found = measure(["-m", "npubench", "sweep", *arguments, "--jobs", str(jobs)])
            rate = count / found.seconds
            print(
                f"| {name} | {count} | {jobs} | {found.seconds:.1f} | {rate:.0f} "
                f"| {found.peak_bytes / MB:.0f} | {each:.2f} | {each * rate:.0f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
