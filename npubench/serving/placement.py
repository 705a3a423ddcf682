"""Which NPU a request goes to when it arrives."""

from __future__ import annotations

from typing import Protocol

from npubench.serving.plant import Plant
from npubench.serving.queues import Job, sized_ps

__all__ = ["LeastResponse", "Placement", "make_placement"]


class Placement(Protocol):
    """Chooses an NPU on arrival."""

    def place(self, job: Job, now: int) -> int:
        """Index of the NPU; -1 when the request waits in a queue that all share."""
        ...


class AnyIdle:
    """One queue for all: an idle NPU at once, the fastest for this network first."""

    def __init__(self, plant: Plant, running: list[Job | None]) -> None:
        self._running = running
        self._by_speed = [
            [npu for npu, _, _ in sorted(options, key=lambda option: (option[2], option[0]))]
            for options in plant.options
        ]

    def place(self, job: Job, now: int) -> int:  # noqa: ARG002 (the protocol's signature)
        """The first idle NPU by speed, else -1."""
        running = self._running
        for npu in self._by_speed[job[2]]:
            if running[npu] is None:
                return npu
        return -1


class Fixed:
    """Network to NPU, decided before the run."""

    def __init__(self, plant: Plant) -> None:
        self._npu = [options[0][0] for options in plant.options]

    def place(self, job: Job, now: int) -> int:  # noqa: ARG002 (the protocol's signature)
        """The network's NPU."""
        return self._npu[job[2]]


class LeastResponse:
    """The rule of HDA-Q: rest of the running job + ready list + own service, least first.

    Attributes:
        free_at: when each NPU will have served all that is placed there, as predicted; an engine
            that changes modes keeps it up to date.
    """

    def __init__(self, plant: Plant) -> None:
        self.free_at = [0] * len(plant.npus)
        self._options = [[(npu, ps) for npu, _, ps in options] for options in plant.options]

    def place(self, job: Job, now: int) -> int:
        """The NPU that is predicted to finish the request first."""
        free_at = self.free_at
        size = job[3]
        chosen, best = -1, 0
        for npu, service in self._options[job[2]]:
            end = free_at[npu]
            if end < now:
                end = now
            end += service if size == 1.0 else sized_ps(service, size)
            if chosen < 0 or end < best:
                chosen, best = npu, end
        free_at[chosen] = best
        return chosen


def make_placement(plant: Plant, running: list[Job | None]) -> Placement | None:
    """The placement of a policy; None when there is only one place to go.

    Args:
        plant: what is simulated.
        running: request on each NPU, kept up to date by the engine.
    """
    if len(plant.npus) == 1:
        return None
    if plant.policy.placement == "central":
        return AnyIdle(plant, running)
    if plant.policy.placement == "least_response":
        return LeastResponse(plant)
    return Fixed(plant)
