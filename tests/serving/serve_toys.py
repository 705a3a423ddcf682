"""Hand-made systems behind `npubench.study.serve.prepare`, for tests of the serve command."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from npubench.serving import (
    Npu,
    Policy,
    Scenario,
    Service,
    ServiceTable,
    named_policy,
)
from npubench.study.serve import Opened, Prepared, Serving, finish, prepare, serve
from npubench.study.serve_request import ServeRequest
from npubench.study.session import Session

MS = 10**9

SCENARIO = """\
name: two
title: Two networks
networks:
  - {name: a, slo: 10 ms}
  - {name: b, slo_isolated: 10}
arrivals: {process: poisson, load: 0.5}
length: {requests: 2000}
"""


def table(base_ps: int = MS) -> ServiceTable:
    """Networks a and b on one NPU of two modes; nobody knows the accuracy of b."""
    services = tuple(
        Service(name, "npu", mode, (ps,), (1e-3 * ps / MS,), drop)
        for name, mode, ps, drop in (
            ("a", "base", base_ps, 0.0),
            ("a", "burst", base_ps // 2, 0.5),
            ("b", "base", 2 * base_ps, 0.0),
            ("b", "burst", base_ps, None),
        )
    )
    npu = Npu("npu", ("base", "burst"), ((0, 1000), (1000, 0)), ((0.0, 1e-6), (1e-6, 0.0)))
    return ServiceTable("toy", (npu,), services, {"a": 80.0})


def open_toy(hardware: str, *_: Scenario | ServeRequest | Session) -> Opened:
    """``fast`` is twice as fast as anything else."""
    policy: Policy = named_policy("stimpack" if hardware == "slow" else "fifo")
    return Opened(table(MS // 2 if hardware == "fast" else MS), policy, (f"{hardware} is a toy",))


def toy_request(folder: Path, text: str = SCENARIO, **fields: object) -> ServeRequest:
    """A request for the scenario ``text`` on ``slow`` and ``fast``."""
    file = folder / "two.yaml"
    file.write_text(text)
    request = ServeRequest(str(file), ("slow", "fast"))
    return replace(request, **fields)


def prepared(request: ServeRequest) -> Prepared:
    return prepare(request, open_one=open_toy)


def served(request: ServeRequest) -> Serving:
    ready = prepared(request)
    return finish(ready, tuple(serve(ready)))
