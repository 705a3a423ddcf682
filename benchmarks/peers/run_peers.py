"""npubench against ZigZag and SCALE-Sim on the same layers, in one go.

The peers are installed from their package index into an environment of their own. Every side is a
process of its own, start-up included, that is given the same file of layers; CPU seconds and peak
memory are the operating system's for that process. ZigZag and npubench search the same machine,
nothing kept on chip between layers; SCALE-Sim and npubench count the cycles of the same array.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from layers import distinct_nests, write_onnx, write_topology

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
PACKAGES = ("zigzag-dse==3.9.1", "six==1.17.0", "scalesim==2.0.2")
MEBI = 2**20
ZIGZAG_HARDWARE = HERE / "zigzag_ws32x32_int8.yaml"
ZIGZAG_MAPPING = HERE / "zigzag_ws32x32_int8.mapping.yaml"
SCALESIM_HARDWARE = HERE / "scalesim_ws32x32.yaml"


@dataclass(frozen=True)
class Side:
    """What one tool said, and what it took."""

    rows: tuple[dict[str, float], ...]
    wall_s: float
    cpu_s: float
    peak_mib: float

    def total(self, key: str) -> float:
        return sum(row[key] for row in self.rows)


def measured(arguments: Sequence[str], folder: Path) -> Side:
    """Run a process to its end; its JSON lines and its own use of the machine.

    Raises:
        SystemExit: it did not exit 0.
    """
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    begin = time.perf_counter()
    with (folder / "stdout").open("wb") as out, (folder / "stderr").open("wb") as err:
        process = subprocess.Popen(arguments, stdout=out, stderr=err, env=environment, cwd=folder)
        _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - begin
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        tail = (folder / "stderr").read_text(errors="replace")[-600:]
        raise SystemExit(f"{arguments[1]} exited {process.returncode}: {tail}")
    lines = (folder / "stdout").read_text().splitlines()
    rows = tuple(json.loads(line) for line in lines if line.startswith('{"name"'))
    unit = MEBI if sys.platform == "darwin" else 1024
    return Side(rows, wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * unit / MEBI)


def peer_python(folder: Path) -> str:
    """The interpreter of the peers' environment, made where it is missing."""
    python = folder / "bin" / "python"
    if not python.exists():
        venv.create(folder, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "-q", *PACKAGES], check=True)
    return str(python)


def ratio(ours: float, theirs: float) -> str:
    return f"{ours / theirs:10.4f}" if theirs else f"{'-':>10}"


def show(title: str, keys: Sequence[tuple[str, str]], ours: Side, theirs: Side) -> None:
    print(f"\n{title}: {len(ours.rows)} layers")
    print(f"  {'':22s}{'npubench':>14s}{'peer':>14s}{'ours/peer':>10s}")
    for label, a, b in (
        ("wall s", ours.wall_s, theirs.wall_s),
        ("CPU s", ours.cpu_s, theirs.cpu_s),
        ("peak resident MiB", ours.peak_mib, theirs.peak_mib),
    ):
        print(f"  {label:22s}{a:14.2f}{b:14.2f}{ratio(a, b)}")
    for mine, other in keys:
        a, b = ours.total(mine), theirs.total(other)
        print(f"  {mine:22s}{a:14,.0f}{b:14,.0f}{ratio(a, b)}")
        above = [
            (x["name"], x[mine] / y[other])
            for x, y in zip(_ordered(ours), _ordered(theirs), strict=True)
            if x[mine] > y[other] * (1 + 1e-9)
        ]
        worst = max(above, key=lambda pair: pair[1], default=None)
        if worst is not None:
            print(f"    above the peer on {len(above)} layers, most on {worst[0]}: x{worst[1]:.4f}")


def _ordered(side: Side) -> list[dict[str, float]]:
    return sorted(side.rows, key=lambda row: int(str(row["name"]).removeprefix("layer")))


def compare_zigzag(python: str, network: str, limit: int, most: int | None) -> None:
    nests = distinct_nests(ROOT / "workloads" / f"{network}.onnx", most)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = folder / f"{network}.onnx"
        write_onnx(nests, model)
        mine = [sys.executable, str(HERE / "ours_side.py"), str(model), "ws32x32_int8"]
        side = [python, str(HERE / "zigzag_side.py"), str(model), str(ZIGZAG_HARDWARE)]
        energy = measured([*mine, "energy"], folder)
        latency = measured([*mine, "latency"], folder)
        other = [*side, str(ZIGZAG_MAPPING), "energy", str(limit), str(folder / "out")]
        theirs = measured(other, folder)
    what = f"{network} on ws32x32_int8, ZigZag 3.9.1 lpf_limit {limit}, objective energy"
    show(what, [("energy_pj", "energy_pj"), ("cycles", "cycles")], energy, theirs)
    show(f"{what}; ours objective latency", [("cycles", "cycles")], latency, theirs)


def compare_scalesim(python: str, network: str, most: int | None) -> None:
    nests = distinct_nests(ROOT / "workloads" / f"{network}.onnx", None)
    nests = [nest for nest in nests if nest.G == 1 and nest.B == 1][-most if most else 0 :]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model, topology = folder / f"{network}.onnx", folder / f"{network}.csv"
        write_onnx(nests, model)
        write_topology(nests, topology)
        mine = [sys.executable, str(HERE / "ours_side.py"), str(model), str(SCALESIM_HARDWARE)]
        ours = measured([*mine, "latency"], folder)
        side = [python, str(HERE / "scalesim_side.py"), str(topology), "32", str(folder)]
        theirs = measured(side, folder)
    show(f"{network} on 32 x 32, SCALE-Sim 2.0.2", [("array_cycles", "cycles")], ours, theirs)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--env", type=Path, default=HERE / ".venv", help="the peers' environment")
    parser.add_argument("--zigzag", default="resnet18,alexnet", help="networks, or nothing")
    parser.add_argument("--lpf", type=int, default=6, help="ZigZag's lpf_limit; 7 takes six times")
    parser.add_argument("--scalesim", default="alexnet", help="networks, or nothing")
    parser.add_argument("--layers", type=int, default=None, help="at most so many of a network")
    options = parser.parse_args()
    python = peer_python(options.env)
    for network in filter(None, options.zigzag.split(",")):
        compare_zigzag(python, network, options.lpf, options.layers)
        sys.stdout.flush()
    for network in filter(None, options.scalesim.split(",")):
        compare_scalesim(python, network, options.layers)
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
