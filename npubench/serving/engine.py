"""The event loop.

Time is an integer number of picoseconds. Events are ordered by (time, kind, NPU): at one instant
finished requests come first, then layer ends, then batch timeouts, each by the NPU's position in
the table; arrivals come last, in the order of their numbers. An NPU has at most one event of a kind
that counts, so the order is total and a run is a function of its inputs. A request that arrives as
another finishes therefore finds the NPU free.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from heapq import heappop, heappush, heapreplace
from itertools import chain, repeat
from typing import Final

import numpy as np

from npubench.serving.arrivals import CHUNK, Chunk, Marks
from npubench.serving.modes import ModeChooser, make_modes
from npubench.serving.placement import LeastResponse, make_placement
from npubench.serving.plant import Plant
from npubench.serving.queues import Job, Queue, make_queue, sized_ps
from npubench.serving.records import Sink

__all__ = ["BOUNDARY", "FINISH", "FOREVER", "TIMEOUT", "Engine", "jobs_of", "run_closed"]

FINISH: Final = 0
BOUNDARY: Final = 1
TIMEOUT: Final = 2

FOREVER: Final = 2**63
# After the last arrival and later than every event: the loop drains before it.
_END: Final[Job] = (-1, FOREVER - 1, 0, 1.0)


def jobs_of(chunks: Iterable[Chunk], sink: Sink) -> Iterator[Job]:
    """Requests one by one; finished ones are handed on at each chunk, so that memory stays flat."""

    def rows() -> Iterator[Iterator[Job]]:
        for chunk in chunks:
            sink.flush()
            sink.expect(chunk)
            numbers = range(chunk.first, chunk.first + len(chunk.times_ps))
            sizes = repeat(1.0) if chunk.sizes is None else chunk.sizes.tolist()
            yield zip(
                numbers, chunk.times_ps.tolist(), chunk.networks.tolist(), sizes, strict=False
            )

    return chain.from_iterable(rows())


class Engine:
    """One run of requests that are served one at a time and to their end.

    Attributes:
        busy_ps: by NPU, time spent serving, with the stalls of switching and preemption.
        switches: changes of mode, by NPU.
        switch_energy_j: joules of them.
        preemptions: requests set aside.
        left_at_end: requests not finished when the last one arrived.
        last_ps: time of the last finish.
    """

    def __init__(self, plant: Plant, sink: Sink) -> None:
        count = len(plant.npus)
        self.plant = plant
        self.sink = sink
        self.busy_ps = [0] * count
        self.switches = [0] * count
        self.switch_energy_j = 0.0
        self.preemptions = 0
        self.left_at_end = 0
        self.last_ps = 0
        self._heap: list[tuple[int, int, int]] = [(FOREVER, FINISH, -1)]
        self._running: list[Job | None] = [None] * count
        self._started = [0] * count
        self._codes = [0] * count
        self._mode = [0] * count
        self._left_of: dict[int, int] = {}
        self._place = make_placement(plant, self._running)
        self._queues = self._make_queues()
        self._modes = make_modes(plant, self._queues, self._running)
        self._begin: Callable[[int, Job, int], int] = (
            self._fixed_start() if self._modes is None else self._chosen_start(self._modes)
        )

    def _make_queues(self) -> list[Queue]:
        count = len(self.plant.npus)
        if self.plant.policy.placement == "central":
            return [make_queue(self.plant, 0, self._left_of)] * count
        return [make_queue(self.plant, npu, self._left_of) for npu in range(count)]

    def run(self, jobs: Iterable[Job]) -> None:
        """Serve every request to its end; times of arrival do not fall, from run to run neither."""
        self._loop(jobs)
        waiting = {id(queue): len(queue) for queue in self._queues}
        self.left_at_end = sum(waiting.values()) + sum(job is not None for job in self._running)
        self._loop((_END,))

    def _loop(self, jobs: Iterable[Job]) -> None:
        """Every event up to the last arrival, in the total order of the module's head."""
        heap, queues, begin = self._heap, self._queues, self._begin
        running, started, codes = self._running, self._started, self._codes
        note_arrival = None if self._modes is None else [m.arrived for m in self._modes]
        place = None if self._place is None else self._place.place
        put_request, put_start = self.sink.requests.append, self.sink.starts.append
        put_finish, put_code = self.sink.finishes.append, self.sink.codes.append
        retimes = self.plant.policy.retimes
        time = self.last_ps
        for job in jobs:
            now = job[1]
            while heap[0][0] <= now:
                time, kind, npu = heap[0]
                if kind != FINISH:
                    heappop(heap)
                    self._at_boundary(npu, time)
                    continue
                put_request(running[npu][0])  # type: ignore[index]  # who finishes was running
                put_start(started[npu])
                put_finish(time)
                put_code(codes[npu])
                queue = queues[npu]
                if queue:
                    heapreplace(heap, (begin(npu, queue.take(time), time), FINISH, npu))
                else:
                    heappop(heap)
                    running[npu] = None
            if job is _END:
                break
            npu = 0 if place is None else place(job, now)
            if note_arrival is not None:
                note_arrival[npu](job)
            if npu >= 0 and running[npu] is None:
                heappush(heap, (begin(npu, job, now), FINISH, npu))
            else:
                queues[npu].push(job, now)
                if retimes:
                    self._after_arrival(npu, now)
        self.last_ps = time

    def _fixed_start(self) -> Callable[[int, Job, int], int]:
        """How a request starts when policy and table fix its mode; returns its finish.

        A closure instead of a method: it runs once per request and reads locals only.
        """
        plant = self.plant
        rows = [
            [plant.service_ps[npu][mode][n] if mode >= 0 else 0 for n, mode in enumerate(modes)]
            for npu, modes in enumerate(plant.mode_of)
        ]
        places = [[npu * plant.width + mode for mode in m] for npu, m in enumerate(plant.mode_of)]
        running, started, codes, busy = self._running, self._started, self._codes, self.busy_ps

        def begin(npu: int, job: Job, now: int) -> int:
            _, _, network, size = job
            service = rows[npu][network]
            if size != 1.0:
                service = sized_ps(service, size)
            running[npu] = job
            started[npu] = now
            codes[npu] = places[npu][network]
            busy[npu] += service
            return now + service

        return begin

    def _chosen_start(self, modes: list[ModeChooser]) -> Callable[[int, Job, int], int]:
        """How a request starts in the mode that the policy chooses then; returns its finish."""
        service_ps, width = self.plant.service_ps, self.plant.width
        running, started, codes, busy = self._running, self._started, self._codes, self.busy_ps
        in_mode, switch = self._mode, self._switch
        choose = [chooser.choose for chooser in modes]
        free_at = self._place.free_at if isinstance(self._place, LeastResponse) else None

        def begin(npu: int, job: Job, now: int) -> int:
            mode = choose[npu](job, now)
            service = service_ps[npu][mode][job[2]]
            if job[3] != 1.0:
                service = sized_ps(service, job[3])
            finish = now + service
            if mode != in_mode[npu]:
                finish += switch(npu, mode)
            running[npu] = job
            started[npu] = now
            codes[npu] = npu * width + mode
            busy[npu] += finish - now
            if free_at is not None:
                free_at[npu] = modes[npu].clear_at(finish)
            return finish

        return begin

    def _switch(self, npu: int, mode: int) -> int:
        """Change the mode of an NPU; returns the picoseconds that it stalls."""
        machine, old = self.plant.npus[npu], self._mode[npu]
        self._mode[npu] = mode
        self.switches[npu] += 1
        if machine.switch_energy_j:
            self.switch_energy_j += machine.switch_energy_j[old][mode]
        return machine.switch_ps[old][mode] if machine.switch_ps else 0

    def _after_arrival(self, npu: int, now: int) -> None:
        """A request joined the queue of a busy NPU (-1: of all)."""
        raise NotImplementedError("a policy that retimes needs the retiming engine")

    def _at_boundary(self, npu: int, now: int) -> None:
        """A layer ended, where the policy wanted to know."""
        raise NotImplementedError("a policy that retimes needs the retiming engine")


def run_closed(engine: Engine, marks: Marks, samples: int, queries: int, duration_ps: int) -> int:
    """Issue the next query when the last one is done, until both minima are reached.

    The system is empty between queries, so each one is a run of its own.

    Returns:
        Queries issued; the requests of query q are numbers ``q * samples`` and the next ones.
    """
    issued = 0
    while issued < queries or engine.last_ps < duration_ps:
        most = CHUNK // samples
        if issued < queries:
            most = min(most, queries - issued)
        networks = marks.networks(most).repeat(samples)
        sizes = marks.sizes(networks)
        times = np.zeros(len(networks), dtype=np.int64)
        drawn = [1.0] * len(networks) if sizes is None else sizes.tolist()
        names = networks.tolist()
        first, done = issued * samples, 0
        while done < most and (issued < queries or engine.last_ps < duration_ps):
            now = engine.last_ps
            rows = slice(done * samples, (done + 1) * samples)
            times[rows] = now
            numbers = range(first + rows.start, first + rows.stop)
            engine.run(list(zip(numbers, [now] * samples, names[rows], drawn[rows], strict=True)))
            done += 1
            issued += 1
        end = done * samples
        kept = None if sizes is None else sizes[:end]
        engine.sink.expect(Chunk(first, times[:end], networks[:end], kept))
        engine.sink.flush()
    return issued
