"""ZigZag on files of one layer each, in ZigZag's own environment: one JSON line a layer.

CPU seconds are this process's own, user and system: of the start with its imports and of each
layer.
The best cycles are over every mapping that the search evaluated, whatever it was for.
"""

from __future__ import annotations

import json
import logging
import resource
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from zigzag.api import get_hardware_performance_zigzag  # type: ignore[import-not-found]  # peers only
from zigzag.stages.evaluation.cost_model_evaluation import (  # type: ignore[import-not-found]  # peers
    CostModelStage,
)


class Watch:
    """What passes a `CostModelStage`: how many mappings, the least cycles and energy among them.

    Attributes:
        order: temporal loops of the first mapping of least energy.
    """

    def __init__(self) -> None:
        self.count, self.least_cycles, self.least_energy = 0, float("inf"), float("inf")
        self.order = ""

    def attach(self) -> None:
        """Look at every result as it is yielded; nothing about the search changes."""
        run = CostModelStage.run

        def watched(stage: Any) -> Iterator[Any]:
            for found, extra in run(stage):
                self.count += 1
                self.least_cycles = min(self.least_cycles, float(found.latency_total2))
                if found.energy_total < self.least_energy:
                    self.least_energy, self.order = found.energy_total, order_of(found)
                yield found, extra

        CostModelStage.run = watched


def order_of(found: Any) -> str:
    """Temporal loops of a result, innermost first: ``K2 OY56 C2``."""
    levels = found.temporal_mapping.mapping_dic_stationary
    (inputs,) = (loops for operand, loops in levels.items() if str(operand) == "I")
    return " ".join(f"{dim}{size}" for level in inputs for dim, size in level)


def main() -> int:
    hardware, mapping, objective, limit, *models = sys.argv[1:]
    logging.disable(logging.CRITICAL)
    spent = time.process_time()
    print(json.dumps({"start_cpu_s": spent}), flush=True)
    for model in models:
        watch = Watch()
        original = CostModelStage.run
        watch.attach()
        folder = Path(model).with_suffix(".out")
        get_hardware_performance_zigzag(
            model,
            hardware,
            mapping,
            opt=objective,
            lpf_limit=int(limit),
            dump_folder=str(folder),
            pickle_filename=str(folder / "result.pickle"),
            loma_show_progress_bar=False,
        )
        CostModelStage.run = original
        (path,) = folder.glob("layer*_complete.json")
        found = json.loads(path.read_text())["outputs"]
        parts = ("data_onloading", "computation", "data_offloading")
        now = time.process_time()
        record = {
            "name": Path(model).stem,
            "energy_pj": found["energy"]["energy_total"],
            "cycles": sum(found["latency"][part] for part in parts),
            "least_cycles": watch.least_cycles,
            "order": watch.order,
            "candidates": watch.count,
            "cpu_s": now - spent,
            "peak_kib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
        }
        print(json.dumps(record), flush=True)
        spent = now
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
