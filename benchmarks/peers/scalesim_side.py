"""SCALE-Sim on a topology file, in its own environment: one JSON line a layer."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

from scalesim.scale_sim import scalesim  # type: ignore[import-not-found]  # peers' environment only

CONFIG = """[general]
run_name = peers

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
    topology, side, folder = sys.argv[1:]
    config = Path(folder) / "peers.cfg"
    config.write_text(CONFIG.format(side=side))
    tool = scalesim(
        save_disk_space=True,
        verbose=False,
        config=str(config),
        topology=topology,
        input_type_gemm=False,
    )
    tool.run_scale(top_path=folder)
    (report,) = Path(folder).rglob("COMPUTE_REPORT.csv")
    rows = list(csv.reader(report.read_text().splitlines()))
    column = [name.strip() for name in rows[0]].index("Total Cycles")
    for index, row in enumerate(rows[1:]):
        print(json.dumps({"name": f"layer{index}", "cycles": float(row[column])}))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
