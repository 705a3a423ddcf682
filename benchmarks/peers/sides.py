"""Processes of both sides, and what each takes of the machine."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kept import Record

__all__ = ["ARRAY_CAUSES", "Ours", "measure_ours", "peer_lines"]

ROOT = Path(__file__).resolve().parent.parent.parent
ARRAY_CAUSES = ("compute", "weight_load", "fill_drain")


def _environment() -> dict[str, str]:
    """This checkout's npubench without settings, and one thread of every numeric library."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("NPUBENCH_")}
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    return {**own, **threads, "PYTHONPATH": str(ROOT)}


def peer_lines(arguments: Sequence[str], folder: Path) -> Iterator[Record]:
    """JSON lines of a peer's process as they come.

    Raises:
        SystemExit: it did not exit 0.
    """
    errors = folder / "stderr"
    with errors.open("wb") as err:
        process = subprocess.Popen(
            arguments,
            stdout=subprocess.PIPE,
            stderr=err,
            env=_environment(),
            cwd=folder,
            text=True,
        )
        assert process.stdout is not None
        try:
            for line in process.stdout:
                if line.startswith("{"):
                    yield json.loads(line)
            code = process.wait()
        finally:
            process.kill()
    if code != 0:
        tail = errors.read_text(errors="replace")[-800:]
        raise SystemExit(f"{Path(arguments[1]).name} exited {code}:\n{tail}")


@dataclass(frozen=True)
class Ours:
    """npubench on one file of layers: medians over the repeats.

    Attributes:
        layers: of the answer, in order of the file.
        cpu_s, peak_mib: of a whole process ``npubench run``, start-up, lowering, search and
            printing included.
        map_cpu_s: of the mapping alone, its caches empty, in another process.
        candidates: that the mapping considered.
        unproven: layers whose mapping is not proven.
    """

    layers: tuple[Record, ...]
    cpu_s: float
    peak_mib: float
    map_cpu_s: float
    candidates: int
    unproven: int

    def column(self, name: str) -> list[float]:
        """A figure of every layer."""
        return [float(layer[name]) for layer in self.layers]

    def array_cycles(self) -> list[float]:
        """Cycles of the array alone, layer by layer."""
        return [
            float(sum(layer["latency_by_cause"].get(cause, 0) for cause in ARRAY_CAUSES))
            for layer in self.layers
        ]


def measure_ours(
    model: Path, hardware: str, objective: str, settings: Sequence[str], repeat: int
) -> Ours:
    """Both measurements of npubench, so many times each.

    Raises:
        SystemExit: a process did not exit 0.
    """
    command = [sys.executable, "-m", "npubench", "run", str(model), "--hw", hardware]
    command += ["--objective", objective, "--format", "json"]
    for setting in settings:
        command += ["--set", setting]
    alone = [sys.executable, str(ROOT / "benchmarks" / "peers" / "ours_side.py")]
    alone += [str(model), hardware, objective, *settings]
    whole = [_process(command, model.parent) for _ in range(repeat)]
    parts = [_process(alone, model.parent)[0] for _ in range(repeat)]
    answer = whole[0][0]
    search = answer["search"]
    return Ours(
        layers=tuple(layer for layer in answer["layers"] if layer["macs"]),
        cpu_s=statistics.median(cpu for _, cpu, _ in whole),
        peak_mib=max(peak for _, _, peak in whole),
        map_cpu_s=statistics.median(part["map_cpu_s"] for part in parts),
        candidates=int(parts[0]["candidates"]),
        unproven=int(search["layers"] - search["proven"]),
    )


def _process(arguments: Sequence[str], folder: Path) -> tuple[Any, float, float]:
    """(JSON answer, CPU seconds, peak MiB) of a process run to its end."""
    with (folder / "out").open("wb") as out, (folder / "err").open("wb") as err:
        process = subprocess.Popen(
            arguments, stdout=out, stderr=err, env=_environment(), cwd=folder
        )
        # wait4 gives the usage of this one child.
        _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        tail = (folder / "err").read_text(errors="replace")[-800:]
        raise SystemExit(f"{' '.join(arguments)} exited {process.returncode}:\n{tail}")
    answer = json.loads((folder / "out").read_text())
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return answer, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / unit
