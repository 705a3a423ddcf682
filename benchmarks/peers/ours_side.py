"""The mapping of npubench alone on a file of layers, in a process of its own: one JSON line."""

from __future__ import annotations

import json
import sys
import time

from npubench.machines.protocol import Objective
from npubench.study.session import Session


def main() -> int:
    model, hardware, objective, *settings = sys.argv[1:]
    overrides = dict(setting.split("=", 1) for setting in settings)
    session = Session()
    machine = session.machine(hardware, {}, overrides)
    network = session.network(model, {}).network
    plan = machine.legalise(network, None).executed
    begin = time.process_time()
    mapping = machine.map(network, plan, Objective(objective))
    seconds = time.process_time() - begin
    search = machine.cost(network, plan, mapping).search
    assert search is not None
    record = {"map_cpu_s": seconds, "candidates": search.considered, "open": search.open}
    print(json.dumps(record))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
