"""Requests that wait: the order in which an NPU takes them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from heapq import heappop, heappush
from typing import Final, Protocol, TypeAlias

from npubench.serving.plant import Plant

__all__ = ["Job", "KeyQueue", "PremaQueue", "Queue", "make_queue", "sized_ps"]

# (number, arrival in ps, network, size): what the loop knows of a request.
Job: TypeAlias = tuple[int, int, int, float]

# PREMA, HPCA 2020: the token thresholds are its three priority levels.
_PREMA_LEVELS: Final = (9.0, 3.0)


def sized_ps(service_ps: int, size: float) -> int:
    """Service time of a request of a size; at least 1 ps. The numpy path rounds the same way."""
    return service_ps if size == 1.0 else max(1, int(service_ps * size + 0.5))


class Queue(Protocol):
    """Order of service; requests that tie go in the order of arrival."""

    def push(self, job: Job, now: int) -> None:
        """Add a request that arrived or was preempted at ``now``."""
        ...

    def take(self, now: int) -> Job:
        """Remove the request to serve next; the queue is not empty."""
        ...

    def beats(self, running: Job, left_ps: int, now: int) -> bool:
        """Whether a waiting request should go before the rest of the running one."""
        ...

    def __len__(self) -> int: ...


class FifoQueue(deque[Job]):
    """First come, first served."""

    def push(self, job: Job, now: int) -> None:  # noqa: ARG002 (the protocol's signature)
        """Add at the end."""
        self.append(job)

    def take(self, now: int) -> Job:  # noqa: ARG002 (the protocol's signature)
        """Remove the first."""
        return self.popleft()

    def beats(self, running: Job, left_ps: int, now: int) -> bool:  # noqa: ARG002
        """Never: whoever runs came first."""
        return False


class KeyQueue:
    """The least key first: a deadline, or a predicted service time."""

    def __init__(self, key: Callable[[Job], int], *, by_time_left: bool) -> None:
        self._key = key
        self._by_time_left = by_time_left
        self._heap: list[tuple[int, Job]] = []

    def push(self, job: Job, now: int) -> None:  # noqa: ARG002 (the protocol's signature)
        """Add by key; equal keys are ordered by the number that a job starts with."""
        heappush(self._heap, (self._key(job), job))

    def take(self, now: int) -> Job:  # noqa: ARG002 (the protocol's signature)
        """Remove the request of the least key."""
        return heappop(self._heap)[1]

    def beats(self, running: Job, left_ps: int, now: int) -> bool:  # noqa: ARG002
        """Whether the least waiting key is below the running request's key (time left)."""
        key = left_ps if self._by_time_left else self._key(running)
        return bool(self._heap) and self._heap[0][0] < key

    def __len__(self) -> int:
        return len(self._heap)


class PremaQueue:
    """PREMA's tokens (Choi and Rhu, HPCA 2020).

    A request starts with its priority as token and gains priority x (time waited / isolated time).
    Among those whose token reaches the threshold (9, 3 or 1 by the largest token), the one with
    the least estimated time left runs.

    Requests of one network and of size 1 that never ran gain alike and have the same time left, so
    the oldest of them stands for all; the others are looked at one by one.
    """

    def __init__(
        self,
        priorities: list[float],
        service_ps: list[int],
        isolated_ps: list[int],
        left_of: dict[int, int],
    ) -> None:
        self._priorities = priorities
        self._service_ps = service_ps
        self._isolated_ps = isolated_ps
        self._left_of = left_of
        self._fresh: list[deque[tuple[Job, int]]] = [deque() for _ in priorities]
        self._others: list[tuple[Job, int]] = []
        # Tokens of requests that have run, as they were when they last started to run.
        self._tokens: dict[int, float] = {}

    def push(self, job: Job, now: int) -> None:
        """Add; the token grows from ``now`` on."""
        alike = job[3] == 1.0 and job[0] not in self._tokens
        (self._fresh[job[2]] if alike else self._others).append((job, now))

    def _token(self, job: Job, since: int, now: int) -> float:
        network = job[2]
        priority = self._priorities[network]
        isolated = sized_ps(self._isolated_ps[network], job[3])
        return self._tokens.get(job[0], priority) + priority * (now - since) / isolated

    def _left(self, job: Job) -> int:
        return self._left_of.get(job[0]) or sized_ps(self._service_ps[job[2]], job[3])

    def _best(self, now: int, running: Job | None, left_ps: int) -> tuple[Job, int] | None:
        """The waiting request to run, with the start of its wait; None for the running one."""
        waiting = [line[0] for line in self._fresh if line] + self._others
        tokens = [self._token(job, since, now) for job, since in waiting]
        own = 0.0
        if running is not None:
            own = self._tokens.get(running[0], self._priorities[running[2]])
        largest = max(own, *tokens) if tokens else own
        threshold = next((level for level in _PREMA_LEVELS if largest >= level), 1.0)
        # No token reaches 1 while every priority is below 1: then the largest is the threshold.
        threshold = min(threshold, largest)
        chosen = None
        least = (left_ps, -1) if running is not None and own >= threshold else None
        for entry, token in zip(waiting, tokens, strict=True):
            key = (self._left(entry[0]), entry[0][0])
            if token >= threshold and (least is None or key < least):
                chosen, least = entry, key
        return chosen

    def take(self, now: int) -> Job:
        """Remove the request that the rule picks."""
        entry = self._best(now, None, 0)
        assert entry is not None  # nothing runs and somebody waits
        job, since = entry
        line = self._fresh[job[2]]
        if line and line[0] is entry:
            line.popleft()
        else:
            self._others.remove(entry)
        self._tokens[job[0]] = self._token(job, since, now)
        return job

    def beats(self, running: Job, left_ps: int, now: int) -> bool:
        """Whether the rule picks a waiting request over the running one."""
        return self._best(now, running, left_ps) is not None

    def forget(self, number: int) -> None:
        """Drop what is remembered of a finished request."""
        self._tokens.pop(number, None)

    def __len__(self) -> int:
        return sum(map(len, self._fresh)) + len(self._others)


def make_queue(plant: Plant, npu: int, left_of: dict[int, int]) -> Queue:
    """The queue of one NPU under a policy.

    Args:
        plant: what is simulated.
        npu: whose service times predictions use.
        left_of: picoseconds left of preempted requests, by number; kept up to date by the engine.
    """
    order = plant.policy.order
    service = [
        plant.service_ps[npu][mode][network] if mode >= 0 else 0
        for network, mode in enumerate(plant.mode_of[npu])
    ]
    slo = plant.slo_ps
    if order == "edf":
        return KeyQueue(lambda job: job[1] + slo[job[2]], by_time_left=False)
    if order == "sjf":
        return KeyQueue(
            lambda job: left_of.get(job[0]) or sized_ps(service[job[2]], job[3]), by_time_left=True
        )
    if order == "prema":
        return PremaQueue(plant.priorities, service, plant.isolated_ps, left_of)
    return FifoQueue()
