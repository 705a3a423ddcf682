"""ZigZag on a file of layers, in ZigZag's own environment: one JSON line a layer."""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path

from zigzag.api import get_hardware_performance_zigzag  # type: ignore[import-not-found]  # peers only


def main() -> int:
    model, hardware, mapping, objective, limit, folder = sys.argv[1:]
    logging.disable(logging.CRITICAL)
    get_hardware_performance_zigzag(
        model,
        hardware,
        mapping,
        opt=objective,
        lpf_limit=int(limit),
        dump_folder=folder,
        pickle_filename=str(Path(folder) / "result.pickle"),
    )
    for path in sorted(Path(folder).glob("*_complete.json")):
        found = json.loads(path.read_text())["outputs"]
        name = path.name.removesuffix("_complete.json")
        parts = ("data_onloading", "computation", "data_offloading")
        energy, cycles = found["energy"]["energy_total"], sum(found["latency"][p] for p in parts)
        print(json.dumps({"name": name, "energy_pj": energy, "cycles": cycles}))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
