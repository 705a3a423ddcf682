"""Points run elsewhere: in processes of this machine, or on a Dask cluster; in the order given.

A chunk of neighbouring points goes to a worker, which works out once what they share. A point gives
the same figures wherever it runs, so results do not tell where that was.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TypeAlias

from npubench.errors import InputError, OptionError, Problem
from npubench.study.result import SweepPoint
from npubench.study.run import RunRequest
from npubench.study.session import Session
from npubench.study.sweep import run_points

__all__ = ["Spread", "on_dask", "over_processes", "run_chunk"]

Task: TypeAlias = tuple[Mapping[str, str], RunRequest]
Spread: TypeAlias = Callable[[Sequence[Task]], Iterator[SweepPoint]]

_MOST_IN_CHUNK = 1024
_CHUNKS_A_WORKER = 8
_RETRIES = 3


def run_chunk(tasks: Sequence[Task]) -> list[SweepPoint]:
    """The points of some tasks, with one session."""
    session = Session()
    return list(run_points(tasks, session))


def over_processes(jobs: int) -> Spread:
    """Run points in ``jobs`` processes of this machine.

    Raises:
        OptionError: fewer than one process.
    """
    if jobs < 1:
        raise OptionError(f"--jobs: expected a whole number from 1, got {jobs}")

    def spread(tasks: Sequence[Task]) -> Iterator[SweepPoint]:
        if not tasks:
            return
        # A forked copy of a process with threads (onnxruntime's, numpy's) may hang.
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(jobs, mp_context=context) as pool:
            futures: list[Future[list[SweepPoint]]] = [
                pool.submit(run_chunk, chunk) for chunk in _chunks(tasks, jobs)
            ]
            try:
                for future in futures:
                    yield from future.result()
            except BrokenProcessPool:
                raise InputError(
                    Problem("--jobs: a process was killed", hint="too little memory? try fewer")
                ) from None
            finally:
                for future in futures:
                    future.cancel()

    return spread


def on_dask(address: str) -> Spread:
    """Run points on the Dask cluster whose scheduler listens at ``address``.

    Points of a worker that dies run again elsewhere.

    Raises:
        OptionError: Dask is not installed.
        InputError: nobody listens there, or no worker is left.
    """
    try:
        from distributed import Client
    except ImportError:
        raise OptionError(
            Problem("--dask: Dask is not installed", hint="pip install 'npubench[dask]'")
        ) from None

    def spread(tasks: Sequence[Task]) -> Iterator[SweepPoint]:
        if not tasks:
            return
        try:
            client = Client(address, timeout="10s")
        except (OSError, ValueError) as error:
            raise InputError(f"--dask {address}: no scheduler there: {error}") from None
        with client:
            workers = max(1, len(client.scheduler_info()["workers"]))
            chunks = list(_chunks(tasks, workers))
            futures = client.map(run_chunk, chunks, pure=False, retries=_RETRIES)
            try:
                for future in futures:
                    yield from future.result()
            finally:
                client.cancel(futures)

    return spread


def _chunks(tasks: Sequence[Task], workers: int) -> Iterator[Sequence[Task]]:
    size = max(1, min(_MOST_IN_CHUNK, -(-len(tasks) // (workers * _CHUNKS_A_WORKER))))
    for first in range(0, len(tasks), size):
        yield tasks[first : first + size]
