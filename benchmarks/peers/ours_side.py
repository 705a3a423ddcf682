"""npubench on a file of layers: one JSON line a layer."""

from __future__ import annotations

import json
import sys

from npubench.study.run import RunRequest, run

PARTS = ("compute", "weight_load", "fill_drain")


def main() -> int:
    model, hardware, objective = sys.argv[1:]
    result = run(RunRequest(workload=model, hardware=hardware, objective=objective))
    for layer in result.layers:
        if layer.macs:
            array = sum(layer.latency_by_cause.get(part, 0) for part in PARTS)
            record = {
                "name": layer.name,
                "energy_pj": layer.energy_j * 1e12,
                "cycles": layer.cycles,
                "array_cycles": array,
            }
            print(json.dumps(record))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
