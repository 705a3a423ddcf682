"""Runs in which requests of one network are served together.

A static batch forms when exactly ``size`` requests of a network wait; what is left when arrivals
end goes as it is. A dynamic batch forms at an idle NPU when ``size`` requests of a network wait or
the oldest has waited for the timeout, and takes all that wait, up to ``size``. Among networks that
are ready, the one whose oldest request is oldest goes first. Placement looks at requests one by
one, at batch-1 service times; it does not foresee batches. Batches form last at each instant, so
that requests which arrive together can be served together.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from heapq import heappop, heappush

from npubench.serving.engine import FINISH, FOREVER, TIMEOUT, Engine
from npubench.serving.plant import Plant
from npubench.serving.queues import Job
from npubench.serving.records import Sink
from npubench.serving.scenario import Batching
from npubench.serving.table import to_ps

__all__ = ["BatchEngine"]


class _Groups:
    """Waiting requests of one queue, network by network."""

    def __init__(self, networks: int, batching: Batching) -> None:
        self._waiting: list[deque[Job]] = [deque() for _ in range(networks)]
        self._size = batching.size
        self._static = batching.kind == "static"
        self._patience = FOREVER if self._static else to_ps(batching.timeout_s)

    def push(self, job: Job) -> None:
        self._waiting[job[2]].append(job)

    def take(self, now: int) -> list[Job]:
        """The batch to serve now; empty while none is ready."""
        ready = [
            group
            for group in self._waiting
            if len(group) >= self._size or (group and group[0][1] + self._patience <= now)
        ]
        if not ready:
            return []
        group = min(ready, key=lambda group: group[0])
        return [group.popleft() for _ in range(min(self._size, len(group)))]

    def ready_at(self) -> int:
        """When the first timeout runs out."""
        return min(
            (group[0][1] + self._patience for group in self._waiting if group), default=FOREVER
        )

    def expect_more(self, *, expected: bool) -> None:
        """Whether arrivals go on; a static batch waits for nobody once they have ended."""
        if self._static:
            self._patience = FOREVER if expected else 0

    def __len__(self) -> int:
        return sum(map(len, self._waiting))


class BatchEngine(Engine):
    """An engine that serves batches."""

    def __init__(self, plant: Plant, sink: Sink, batching: Batching) -> None:
        super().__init__(plant, sink)
        count = len(plant.npus)
        shared = plant.policy.placement == "central"
        groups = [_Groups(len(plant.networks), batching) for _ in range(1 if shared else count)]
        self._groups = groups * count if shared else groups
        self._batch: list[list[Job]] = [[] for _ in range(count)]

    def run(self, jobs: Iterable[Job]) -> None:
        """Serve every request to its end."""
        now = self.last_ps
        for job in jobs:
            now = job[1]
            self._until((now, TIMEOUT, -1))
            npu = 0 if self._place is None else self._place.place(job, now)
            self._groups[npu].push(job)
            # -1: all are busy, and the first to finish looks at the queue that they share.
            if npu >= 0 and self._running[npu] is None:
                heappush(self._heap, (now, TIMEOUT, npu))
        unfinished = {id(groups): len(groups) for groups in self._groups}
        self.left_at_end = sum(unfinished.values()) + sum(map(len, self._batch))
        for npu, groups in enumerate(self._groups):
            groups.expect_more(expected=False)
            heappush(self._heap, (now, TIMEOUT, npu))
        self._until((FOREVER, FINISH, -1))
        for groups in self._groups:
            groups.expect_more(expected=True)

    def _until(self, end: tuple[int, int, int]) -> None:
        """Every event before ``end`` in the order of the loop."""
        heap = self._heap
        while heap[0] < end:
            time, kind, npu = heappop(heap)
            if kind == FINISH:
                self._finish(npu, time)
                heappush(heap, (time, TIMEOUT, npu))
            elif self._running[npu] is None:
                self._try_begin(npu, time)

    def _finish(self, npu: int, now: int) -> None:
        batch, sink = self._batch[npu], self.sink
        for job in batch:
            sink.requests.append(job[0])
            sink.starts.append(self._started[npu])
            sink.finishes.append(now)
            sink.codes.append(self._codes[npu])
            if sink.batches is not None:
                sink.batches.append(len(batch))
        self._batch[npu] = []
        self._running[npu] = None
        self.last_ps = now

    def _try_begin(self, npu: int, now: int) -> None:
        """Start a batch if one is ready, else come back when the first timeout runs out."""
        groups = self._groups[npu]
        batch = groups.take(now)
        if not batch:
            when = groups.ready_at()
            if when < FOREVER:
                heappush(self._heap, (when, TIMEOUT, npu))
            return
        network = batch[0][2]
        mode = self.plant.mode_of[npu][network]
        service = self.plant.services[npu][mode][network]
        assert service is not None  # placement and policy checked it
        # A batch is padded to its longest request.
        size = max(job[3] for job in batch)
        time_ps = max(1, int(service.time_ps[len(batch) - 1] * size + 0.5))
        if mode != self._mode[npu]:
            time_ps += self._switch(npu, mode)
        self._batch[npu] = batch
        self._running[npu] = batch[0]
        self._started[npu] = now
        self._codes[npu] = npu * self.plant.width + mode
        self.busy_ps[npu] += time_ps
        heappush(self._heap, (now + time_ps, FINISH, npu))
