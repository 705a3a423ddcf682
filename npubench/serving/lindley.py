"""One NPU, first come first served, every service time known: no event loop is needed.

Lindley's recursion, start_i = max(arrival_i, finish_(i-1)), unrolled: with S_i the running sum of
service times, finish_i = S_i + max over j <= i of (arrival_j - S_(j-1)). In integers this is exact,
and equal to the event loop request by request.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from npubench.serving.arrivals import Chunk
from npubench.serving.plant import Plant
from npubench.serving.records import Sink

__all__ = ["Lindley", "applies"]


def applies(plant: Plant) -> bool:
    """Whether the recursion covers a policy: one NPU, arrival order, one mode per network."""
    policy = plant.policy
    one_place = len(plant.npus) == 1 and policy.order == "fifo" and policy.modes == "fixed"
    free = not plant.npus[0].switch_ps or len(set(plant.mode_of[0])) == 1
    return one_place and free and not policy.retimes


class Lindley:
    """The recursion in chunks, with the same results as `npubench.serving.engine.Engine`.

    Attributes:
        busy_ps: time spent serving, a list of one.
        left_at_end: requests not finished when the last one arrived.
        last_ps: time of the last finish.
    """

    def __init__(self, plant: Plant, sink: Sink) -> None:
        self.busy_ps = [0]
        self.left_at_end = 0
        self.last_ps = 0
        self._sink = sink
        modes = plant.mode_of[0]
        self._service = np.array([plant.service_ps[0][m][n] for n, m in enumerate(modes)])
        self._codes = np.array(modes, dtype=np.int64)

    def run(self, chunks: Iterable[Chunk]) -> None:
        """Serve every request."""
        late = np.empty(0, dtype=np.int64)  # finishes after the last arrival so far, rising
        for chunk in chunks:
            self._sink.expect(chunk)
            times, networks = chunk.times_ps, chunk.networks
            service = self._service[networks]
            if chunk.sizes is not None:
                scaled = (service * chunk.sizes + 0.5).astype(np.int64)
                service = np.where(chunk.sizes == 1.0, service, np.maximum(scaled, 1))
            sums = np.cumsum(service)
            ready = times - sums + service
            ready[0] = max(int(ready[0]), self.last_ps)
            finishes = np.maximum.accumulate(ready)
            finishes += sums
            requests = np.arange(chunk.first, chunk.first + len(times))
            starts = finishes - service
            self._sink.receive(requests, self._codes[networks], starts, finishes, None)
            self.busy_ps[0] += int(sums[-1])
            late = np.concatenate((late, finishes))
            late = late[np.searchsorted(late, times[-1], side="right") :]
            self.last_ps = int(finishes[-1])
        self.left_at_end = len(late)
