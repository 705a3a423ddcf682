"""SCALE-Sim on topology files of one layer each, in its own environment: one JSON line a layer.

CPU seconds are this process's own, user and system: of the start with its imports and of each
layer.
"""

from __future__ import annotations

import csv
import json
import resource
import sys
import time
from pathlib import Path

from scalesim.scale_sim import scalesim  # type: ignore[import-not-found]  # peers' environment only

CONFIG = """[general]
run_name = {name}

[architecture_presets]
ArrayHeight : {side}
ArrayWidth : {side}
IfmapSramSzkB : 1024
FilterSramSzkB : 1024
OfmapSramSzkB : 1024
IfmapOffset : 0
FilterOffset : 10000000
OfmapOffset : 20000000
Dataflow : ws
Bandwidth : 16
MemoryBanks : 1

[run_presets]
InterfaceBandwidth : CALC
"""


def main() -> int:
    side, *topologies = sys.argv[1:]
    spent = time.process_time()
    print(json.dumps({"start_cpu_s": spent}), flush=True)
    for topology in map(Path, topologies):
        config = topology.with_suffix(".cfg")
        config.write_text(CONFIG.format(side=side, name=topology.stem))
        tool = scalesim(
            save_disk_space=True,
            verbose=False,
            config=str(config),
            topology=str(topology),
            input_type_gemm=False,
        )
        tool.run_scale(top_path=str(topology.parent))
        report = topology.with_suffix("") / "COMPUTE_REPORT.csv"
        head, row = list(csv.reader(report.read_text().splitlines()))[:2]
        column = [name.strip() for name in head].index("Total Cycles")
        now = time.process_time()
        record = {
            "name": topology.stem,
            "cycles": float(row[column]),
            "cpu_s": now - spent,
            "peak_kib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
        }
        print(json.dumps(record), flush=True)
        spent = now
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
