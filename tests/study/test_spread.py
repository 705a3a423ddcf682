"""Points run elsewhere are the points run here, byte for byte."""

from __future__ import annotations

import random
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from npubench.errors import InputError, OptionError
from npubench.study.axes import parse_axis
from npubench.study.run import RunRequest
from npubench.study.serialise import dumps, point_to_json
from npubench.study.session import Session
from npubench.study.spread import on_dask, over_processes
from npubench.study.store import SweepStore
from npubench.study.stored import read_stored
from npubench.study.stretches import Stretches
from npubench.study.sweep import SweepPlan, plan_sweep, sweep_points
from tests.cli.cli_process import ROOT, environment


def plan(count: int) -> tuple[SweepPlan, Session]:
    session = Session()
    axis = parse_axis(f"vdd=0.6:{0.6 + (count - 1) / 1000:.3f}:0.001")
    # Widths that cannot run: such points stay failed ones wherever they run.
    axes = [axis, parse_axis("precision=w8a8,w20a20")]
    return plan_sweep(RunRequest("digits_cnn", "bf_imna"), axes, session), session


def written(points: object) -> list[str]:
    return [dumps(point_to_json(point)) for point in points]  # type: ignore[attr-defined]  # any iterable of points


def test_processes_give_the_same_bytes() -> None:
    grid, session = plan(6)
    here = written(sweep_points(grid, session))
    assert sum('"status": "failed"' in point for point in here) == len(grid) // 2
    assert written(sweep_points(grid, session, spread=over_processes(2))) == here
    with pytest.raises(OptionError, match="--jobs: expected a whole number from 1, got 0"):
        over_processes(0)


@pytest.mark.parametrize(("count", "workers"), [(0, 2), (1, 1), (7, 3), (1000, 2), (5, 5)])
def test_every_task_is_run_once_whoever_is_slow_and_whatever_a_chunk_gets_done(
    count: int, workers: int
) -> None:
    pick = random.Random(count)
    stretches = Stretches(count, workers)
    running: dict[int, list[int]] = {}
    ran: list[int] = []
    while True:
        for worker in range(len(stretches)):
            if worker not in running:
                chunk = stretches.take(worker)
                if chunk:
                    running[worker] = chunk
        if not running:
            break
        worker = pick.choice(list(running))
        chunk = running.pop(worker)
        done = {chunk[0], *pick.sample(chunk, pick.randrange(len(chunk) + 1))}
        ran += done
        stretches.done(worker, chunk, done)
        if len(ran) == 500:
            stretches.join()
    assert sorted(ran) == list(range(count))


def test_chunks_grow_while_they_run_in_time_and_neighbours_stay_together() -> None:
    stretches = Stretches(1000, 2)
    assert stretches.take(0) == [0]
    stretches.done(0, [0], {0})
    chunk = stretches.take(0)
    assert chunk == [1, 2, 3, 4]
    stretches.done(0, chunk, {1, 3})
    assert stretches.take(0) == [2, 4]
    assert stretches.take(1) == [500]
    stretches.done(1, [500], {500})
    for first, size in ((501, 4), (505, 16), (521, 64), (585, 256), (841, 159)):
        chunk = stretches.take(1)
        assert chunk == list(range(first, first + size))
        stretches.done(1, chunk, set(chunk))
    # The other's far half.
    assert stretches.take(1)[0] == 252


class Cluster:
    """A scheduler and its workers, each in a process of its own."""

    def __init__(self, workers: int) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.address = f"tcp://127.0.0.1:{port}"
        place = ("--host", "127.0.0.1", "--port", str(port), "--no-dashboard")
        self.scheduler = self._start("distributed.cli.dask_scheduler", *place)
        self.workers = [self.add() for _ in range(workers)]

    def add(self) -> subprocess.Popen[bytes]:
        alone = ("--nthreads", "1", "--no-nanny", "--no-dashboard")
        return self._start("distributed.cli.dask_worker", self.address, *alone)

    def _start(self, module: str, *arguments: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            cwd=ROOT,
            env=environment(),
            stderr=subprocess.DEVNULL,
        )

    def __enter__(self) -> Cluster:
        from distributed import Client

        deadline = time.monotonic() + 60
        with Client(self.address, timeout="60s") as client:
            while len(client.nthreads()) < len(self.workers) and time.monotonic() < deadline:
                time.sleep(0.2)
        return self

    def __exit__(self, *_: object) -> None:
        for process in (*self.workers, self.scheduler):
            process.kill()
            process.wait()


@pytest.mark.slow
def test_a_cluster_gives_the_same_bytes_even_when_a_worker_dies(tmp_path: Path) -> None:
    pytest.importorskip("distributed", reason="needs the extra 'dask'")
    grid, session = plan(150)
    here = written(sweep_points(grid, session))
    killed = False

    def kill(finished: int) -> None:
        nonlocal killed
        if not killed and finished > 20:
            killed = True
            assert finished < len(here)
            cluster.workers[0].kill()

    with Cluster(2) as cluster, SweepStore(tmp_path / "grid.db") as store:
        spread = on_dask(cluster.address)
        found = written(sweep_points(grid, session, store, spread, on_finished=kill))
        assert killed
        assert found == here
        assert len(store) == len(here)
        assert cluster.workers[1].poll() is None
    stored = written(read_stored(tmp_path / "grid.db").points)
    assert sorted(stored) == sorted(here)


@pytest.mark.slow
def test_a_cluster_that_is_stopped_or_lost_keeps_what_it_had(tmp_path: Path) -> None:
    pytest.importorskip("distributed", reason="needs the extra 'dask'")
    grid, session = plan(400)
    seen = 0

    def see(finished: int) -> None:
        nonlocal seen
        seen = finished

    with Cluster(1) as cluster:
        with SweepStore(tmp_path / "grid.db") as store:
            spread = on_dask(cluster.address)
            first = list(
                sweep_points(grid, session, store, spread, lambda: seen > 100, on_finished=see)
            )
            assert 100 < len(first) == seen == len(store) < len(grid)

        def lose(_: int) -> None:
            cluster.scheduler.kill()

        with SweepStore(tmp_path / "grid.db") as store:
            with pytest.raises(InputError, match="the scheduler was lost"):
                list(sweep_points(grid, session, store, spread, on_finished=lose))
            assert seen < len(store) < len(grid)


def test_nobody_at_the_address_is_told() -> None:
    pytest.importorskip("distributed", reason="needs the extra 'dask'")
    grid, session = plan(1)
    with pytest.raises(InputError, match="no scheduler there"):
        list(sweep_points(grid, session, spread=on_dask("tcp://127.0.0.1:1", wait_s=0.5)))
