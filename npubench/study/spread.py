"""Points run elsewhere: in processes of this machine, or on a Dask cluster.

Each worker works its way through a stretch of neighbouring points, in a session that it keeps, so
that what they share is worked out once. A point gives the same figures wherever it runs, so results
do not tell where that was.
"""

from __future__ import annotations

import copyreg
import multiprocessing
import signal
import threading
import time
import traceback
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields
from multiprocessing.connection import Connection, wait
from operator import attrgetter
from typing import Any, Final, TypeAlias

from npubench.errors import InputError, NpubenchError, OptionError, Problem
from npubench.study.result import Coverage, CoverageClass, OperatorCoverage, SweepPoint, Totals
from npubench.study.session import Session
from npubench.study.stretches import Stretches
from npubench.study.sweep import Group, Spread, Task, run_groups

__all__ = ["CHUNK_S", "on_dask", "over_processes", "run_chunk", "run_some"]

CHUNK_S: Final = 0.25
"""A worker's chunk ends after so long, or with what it runs then."""

_LOOK_S: Final = 5.0


def _travels_light(kind: type[Any]) -> None:
    """Pickle a frozen class as a call of it: its own way takes most of a fast point's time."""
    values = attrgetter(*(field.name for field in fields(kind)))
    copyreg.pickle(kind, lambda one: (kind, values(one)))


for _kind in (SweepPoint, Totals, Coverage, CoverageClass, OperatorCoverage):
    _travels_light(_kind)


def run_some(tasks: Sequence[Task], session: Session) -> Iterator[Group]:
    """`run_groups`, which starts nothing more once a chunk's time has passed."""
    start = time.monotonic()
    for group in run_groups(tasks, session):
        yield group
        if time.monotonic() - start > CHUNK_S:
            return


def over_processes(jobs: int) -> Spread:
    """Run points in ``jobs`` processes of this machine; each point comes when it has finished.

    Raises:
        OptionError: fewer than one process.
    """
    if jobs < 1:
        raise OptionError(f"--jobs: expected a whole number from 1, got {jobs}")

    def spread(tasks: Sequence[Task], halted: Callable[[], bool]) -> Iterator[Group]:
        if not tasks:
            return
        stretches = Stretches(len(tasks), min(jobs, len(tasks)))
        # A forked copy of a process with threads (onnxruntime's, numpy's) may hang.
        context = multiprocessing.get_context("spawn")
        pipes: list[Connection[Any, Any]] = []
        processes = []
        try:
            for _ in range(len(stretches)):
                pipe, far = context.Pipe()
                process = context.Process(target=_work, args=(far,), daemon=True)
                process.start()
                far.close()  # so that a process that dies ends its pipe
                pipes.append(pipe)
                processes.append(process)
            yield from _fed(tasks, stretches, pipes, halted)
        finally:
            for pipe in pipes:
                pipe.close()
            for process in processes:
                process.terminate()
            for process in processes:
                process.join()

    return spread


_Message: TypeAlias = "Group | str | None"


def _fed(
    tasks: Sequence[Task],
    stretches: Stretches,
    pipes: Sequence[Connection[Any, Any]],
    halted: Callable[[], bool],
) -> Iterator[Group]:
    """Hand out chunks and take in what comes back, all that is there at once."""
    running: dict[Connection[Any, Any], tuple[int, list[int], set[int]]] = {}
    while True:
        busy = {worker for worker, _, _ in running.values()}
        for worker, pipe in enumerate(pipes):
            chunk = [] if worker in busy or halted() else stretches.take(worker)
            if chunk:
                _send(pipe, [tasks[i] for i in chunk])
                running[pipe] = worker, chunk, set()
        if not running:
            return
        arrived: list[Any] = []
        there = wait([*running])
        for pipe in [pipe for pipe in running if pipe in there]:
            worker, chunk, ran = running[pipe]
            for message in _received(pipe):
                if isinstance(message, str):
                    raise NpubenchError(f"--jobs: a process failed\n{message}")
                if message is None:
                    stretches.done(worker, chunk, ran)
                    del running[pipe]
                else:
                    arrived += [(chunk[i], point) for i, point in message]
                    ran.update(chunk[i] for i, _ in message)
        if arrived:
            yield arrived


def _received(pipe: Connection[Any, Any]) -> Iterator[_Message]:
    """At least one message, and those that wait behind it, up to the end of the chunk."""
    try:
        while True:
            message: _Message = pipe.recv()
            yield message
            if message is None or not pipe.poll():
                return
    except (EOFError, OSError):
        raise _killed() from None


def _send(pipe: Connection[Any, Any], tasks: list[Task]) -> None:
    try:
        pipe.send(tasks)
    except OSError:
        raise _killed() from None


def _killed() -> InputError:
    return InputError(Problem("--jobs: a process was killed", hint="too little memory? try fewer"))


def _work(pipe: Connection[Any, Any]) -> None:
    """A process: chunks of tasks in, groups of points out and None after each chunk.

    It ends with the pipe, however the process at the other end came to its end.
    """
    # Ctrl-C reaches every process of a terminal; the first one decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    session = Session()
    try:
        while True:
            tasks = pipe.recv()
            try:
                for group in run_some(tasks, session):
                    pipe.send(group)
                pipe.send(None)
            except OSError:
                raise
            except Exception:  # a bug, to be told by the process that has a terminal
                pipe.send(traceback.format_exc())
    except (EOFError, OSError):
        return


def on_dask(address: str, wait_s: float = 10.0) -> Spread:
    """Run points on the Dask cluster whose scheduler listens at ``address``.

    Points come with their chunk. Those of a worker that dies run again elsewhere; workers that join
    are put to work.

    Args:
        wait_s: how long to wait for the scheduler's first answer.

    Raises:
        OptionError: Dask is not installed.
        InputError: nobody listens there, or points that bring down one worker after another.
    """
    try:
        from distributed import Client, KilledWorker
    except ImportError:
        raise OptionError(
            Problem("--dask: Dask is not installed", hint="pip install 'npubench[dask]'")
        ) from None
    from concurrent.futures import CancelledError

    def spread(tasks: Sequence[Task], halted: Callable[[], bool]) -> Iterator[Group]:
        if not tasks:
            return
        try:
            client = Client(address, timeout=wait_s)
        except (OSError, ValueError) as error:
            raise InputError(f"--dask {address}: no scheduler there: {error}") from None
        with client:
            try:
                yield from _submitted(client, tasks, halted)
            except KilledWorker as error:
                raise InputError(f"--dask {address}: workers died of a chunk: {error}") from None
            except (CancelledError, OSError) as error:
                raise InputError(f"--dask {address}: the scheduler was lost: {error}") from None

    return spread


def _submitted(client: Any, tasks: Sequence[Task], halted: Callable[[], bool]) -> Iterator[Group]:
    """One chunk at a time for every thread of the cluster, near the chunks it had before."""
    from distributed import wait as wait_for

    sweep = uuid.uuid4().hex
    threads: dict[str, int] = client.nthreads()
    places = [address for address, count in threads.items() for _ in range(count)] or [""]
    stretches = Stretches(len(tasks), len(places))
    running: dict[Any, tuple[int, list[int]]] = {}
    looked = time.monotonic()
    try:
        while True:
            if time.monotonic() - looked > _LOOK_S:
                looked = time.monotonic()
                new = {a: n for a, n in client.nthreads().items() if a not in threads}
                threads |= new
                for place in (address for address, count in new.items() for _ in range(count)):
                    places.append(place)
                    stretches.join()
            busy = {worker for worker, _ in running.values()}
            for worker, place in enumerate(places):
                chunk = [] if worker in busy or halted() else stretches.take(worker)
                if chunk:
                    future = client.submit(
                        run_chunk,
                        [tasks[i] for i in chunk],
                        sweep,
                        workers=[place] if place else None,
                        allow_other_workers=bool(place),
                        pure=False,
                    )
                    running[future] = worker, chunk
            if not running:
                return
            for future in wait_for([*running], return_when="FIRST_COMPLETED").done:
                worker, chunk = running.pop(future)
                found = [(chunk[i], point) for i, point in future.result()]
                stretches.done(worker, chunk, {i for i, _ in found})
                yield found
    finally:
        client.cancel([*running])


class _Kept(threading.local):
    """The session of the sweep that a thread of a worker works for; the one before goes."""

    sweep = ""
    session = Session()


_kept = _Kept()


def run_chunk(tasks: Sequence[Task], sweep: str) -> list[tuple[int, Any]]:
    """Some of the tasks, with their places, in a session that lasts for the sweep.

    A worker outlives sweeps, and files may change between them: ``sweep`` tells one from another.
    """
    if _kept.sweep != sweep:
        _kept.sweep, _kept.session = sweep, Session()
    return [pair for group in run_some(tasks, _kept.session) for pair in group]
