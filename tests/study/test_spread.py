"""Points run elsewhere are the points run here, byte for byte."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from npubench.errors import InputError, OptionError
from npubench.study.axes import parse_axis
from npubench.study.run import RunRequest
from npubench.study.serialise import dumps, point_to_json
from npubench.study.session import Session
from npubench.study.spread import on_dask, over_processes
from npubench.study.sweep import SweepPlan, plan_sweep, sweep_points
from tests.cli.cli_process import ROOT, environment


def plan(count: int) -> tuple[SweepPlan, Session]:
    session = Session()
    axis = parse_axis(f"vdd=0.6:{0.6 + (count - 1) / 1000:.3f}:0.001")
    # One point that cannot run: it stays a failed one wherever it runs.
    axes = [axis, parse_axis("batch=1,2")]
    return plan_sweep(RunRequest("digits_cnn", "bf_imna"), axes, session), session


def written(points: object) -> list[str]:
    return [dumps(point_to_json(point)) for point in points]  # type: ignore[attr-defined]  # any iterable of points


def test_processes_give_the_same_bytes() -> None:
    grid, session = plan(6)
    here = written(sweep_points(grid, session))
    assert written(sweep_points(grid, session, spread=over_processes(2))) == here
    with pytest.raises(OptionError, match="--jobs: expected a whole number from 1, got 0"):
        over_processes(0)


@pytest.mark.slow
def test_a_cluster_gives_the_same_bytes_even_when_a_worker_dies() -> None:
    distributed = pytest.importorskip("distributed", reason="needs the extra 'dask'")
    del distributed
    grid, session = plan(150)
    here = written(sweep_points(grid, session))
    port = 8791
    quiet = {"cwd": ROOT, "env": environment(), "stderr": subprocess.DEVNULL}
    module = [sys.executable, "-m"]
    address = f"tcp://127.0.0.1:{port}"
    scheduler = subprocess.Popen(
        [
            *module,
            "distributed.cli.dask_scheduler",
            "--host",
            "127.0.0.1",
            "--port",
            str(port),
            "--no-dashboard",
        ],
        **quiet,  # type: ignore[call-overload]  # the same options for all
    )
    start = [
        *module,
        "distributed.cli.dask_worker",
        address,
        "--nthreads",
        "1",
        "--no-nanny",
        "--no-dashboard",
    ]
    workers = [subprocess.Popen(start, **quiet) for _ in range(2)]  # type: ignore[call-overload]  # as above
    try:
        deadline = time.monotonic() + 60
        from distributed import Client

        with Client(address, timeout="60s") as client:
            while len(client.scheduler_info()["workers"]) < 2 and time.monotonic() < deadline:
                time.sleep(0.2)
        found = []
        for index, point in enumerate(sweep_points(grid, session, spread=on_dask(address))):
            found.append(point)
            if index == 20:
                os.kill(workers[0].pid, signal.SIGKILL)
        assert written(found) == here
    finally:
        for process in (*workers, scheduler):
            process.kill()
            process.wait()


def test_nobody_at_the_address_is_told() -> None:
    pytest.importorskip("distributed", reason="needs the extra 'dask'")
    grid, session = plan(1)
    with pytest.raises(InputError, match="no scheduler there"):
        list(sweep_points(grid, session, spread=on_dask("tcp://127.0.0.1:1")))
