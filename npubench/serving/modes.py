"""Which mode a request runs in: Stimpack's scheduler, a queue threshold, precision per request.

Every NPU is on its own: a chooser knows the requests placed there, in the order of arrival, which
is the order in which they are served.
"""

from __future__ import annotations

from collections import deque
from typing import Protocol

from npubench.serving.plant import Plant
from npubench.serving.queues import FifoQueue, Job, Queue, sized_ps

__all__ = ["ModeChooser", "PerRequest", "Stimpack", "Threshold", "make_modes"]

BASE = 0


class ModeChooser(Protocol):
    """Decides for one NPU."""

    def arrived(self, job: Job) -> None:
        """A request was placed here."""
        ...

    def choose(self, job: Job, now: int) -> int:
        """Mode in which ``job``, just taken from the queue, starts now."""
        ...

    def reconsider(self, job: Job, now: int, left_base_ps: int) -> int:
        """Mode in which the running ``job`` should go on; ``left_base_ps`` of it in base mode."""
        ...

    def clear_at(self, finish: int) -> int:
        """When all here will be done in base mode, if the running one ends at ``finish``."""
        ...


class _Backlog:
    """Running sums of base-mode service over the requests placed on an NPU."""

    def __init__(self, plant: Plant, npu: int) -> None:
        self._base_ps = plant.service_ps[npu][BASE]
        self._allowed = plant.fast_modes[npu]
        self._burst = plant.burst_mode[npu]
        self._placed = 0
        self._begun = 0

    def arrived(self, job: Job) -> None:
        """A request was placed here."""
        self._placed += sized_ps(self._base_ps[job[2]], job[3])

    def _begin(self, job: Job) -> None:
        self._begun += sized_ps(self._base_ps[job[2]], job[3])

    def clear_at(self, finish: int) -> int:
        """When all here will be done in base mode, if the running one ends at ``finish``."""
        return finish + self._placed - self._begun


class Stimpack(_Backlog):
    """Base mode until a deadline is in danger, then the fewest requests from the head in burst.

    With C_i the running sum of base-mode service up to request i and D_i its deadline, the
    prediction for base mode and arrival order is finish_i = T + C_i, where T = (end of the request
    that runs) - (sum up to it). Some deadline is missed when T exceeds the least D_i - C_i. As T
    stays what it is while the NPU works in base mode, a danger can only appear with an arrival, so
    a calm NPU compares one prediction with one deadline per request; after an alarm a sliding
    window keeps the least slack. Bursting one request after another from the head while the danger
    lasts bursts the fewest that save every deadline, and all of them when none suffices. The NPU
    returns to base once T, the switch back and margin x bound clear every slack.
    """

    def __init__(self, plant: Plant, npu: int, queue: FifoQueue, running: list[Job | None]) -> None:
        super().__init__(plant, npu)
        self._npu = npu
        self._queue = queue
        self._running = running
        self._slo = plant.slo_ps
        self._reserve = [round(plant.policy.margin * slo) for slo in plant.slo_ps]
        switch = plant.npus[npu].switch_ps
        # The costliest way back: networks may burst in different modes.
        self._back_ps = max(row[BASE] for row in switch) if switch else 0
        # Calm: when all that is placed here is predicted to be done, in base mode.
        self._clear_at = 0
        # Alarm: (number, slack less the margin), rising in both, so that the first is the least.
        # The running sums begin at 0 with the request that runs when the alarm is raised.
        self._window: deque[tuple[int, int]] | None = None

    def arrived(self, job: Job) -> None:
        """A request was placed here."""
        _, arrival, network, size = job
        base = self._base_ps[network]
        if size != 1.0:
            base = sized_ps(base, size)
        if self._window is not None:
            self._placed += base
            self._watch(self._window, job, self._placed)
            return
        end = self._clear_at
        if end < arrival:
            end = arrival
        self._clear_at = end = end + base
        if end > arrival + self._slo[network]:
            self._alarm(job)

    def _alarm(self, newest: Job) -> None:
        """Watch everyone who is here."""
        window: deque[tuple[int, int]] = deque()
        reached = 0
        current = self._running[self._npu]
        if current is not None:
            self._watch(window, current, reached)
        for job in (*self._queue, newest):
            reached += sized_ps(self._base_ps[job[2]], job[3])
            self._watch(window, job, reached)
        self._window, self._begun, self._placed = window, 0, reached

    def _watch(self, window: deque[tuple[int, int]], job: Job, reached: int) -> None:
        number, arrival, network, _ = job
        slack = arrival + self._slo[network] - self._reserve[network] - reached
        while window and window[-1][1] >= slack:
            window.pop()
        window.append((number, slack))

    def choose(self, job: Job, now: int) -> int:
        """Mode of the request that starts."""
        if self._window is None:
            return BASE
        mode = self._decide(job, now - self._begun)
        self._begin(job)
        return mode

    def reconsider(self, job: Job, now: int, left_base_ps: int) -> int:
        """Mode of the rest of the running request."""
        return BASE if self._window is None else self._decide(job, now + left_base_ps - self._begun)

    def clear_at(self, finish: int) -> int:
        """When all here will be done in base mode, if the running one ends at ``finish``."""
        return self._clear_at if self._window is None else super().clear_at(finish)

    def _decide(self, job: Job, ahead: int) -> int:
        """After an alarm; ``ahead`` is T, and requests older than ``job`` have left."""
        window = self._window
        assert window is not None  # there was an alarm
        while window[0][0] < job[0]:
            window.popleft()
        if ahead + self._back_ps > window[0][1]:
            return self._burst[job[2]]
        self._window = None
        self._clear_at = ahead + self._back_ps + self._placed
        return BASE


class Threshold(_Backlog):
    """Burst while more than so many requests are present: a two-speed server."""

    def __init__(self, plant: Plant, npu: int, queue: FifoQueue) -> None:
        super().__init__(plant, npu)
        self._queue = queue
        self._most = plant.policy.threshold

    def choose(self, job: Job, now: int) -> int:
        """Mode of the request that starts."""
        self._begin(job)
        return self.reconsider(job, now, 0)

    def reconsider(self, job: Job, now: int, left_base_ps: int) -> int:  # noqa: ARG002
        """Mode of the rest of the running request."""
        return self._burst[job[2]] if len(self._queue) + 1 > self._most else BASE


class PerRequest(_Backlog):
    """The most accurate mode that meets the request's own deadline, else the fastest.

    Modes are tried in the order of the table, base first.
    """

    def __init__(self, plant: Plant, npu: int) -> None:
        super().__init__(plant, npu)
        self._service_ps = plant.service_ps[npu]
        self._slo = plant.slo_ps
        self._fastest = [
            min(modes, key=lambda mode: plant.service_ps[npu][mode][network], default=BASE)
            for network, modes in enumerate(plant.fast_modes[npu])
        ]

    def choose(self, job: Job, now: int) -> int:
        """Mode of the request that starts."""
        self._begin(job)
        _, arrival, network, size = job
        left = arrival + self._slo[network] - now
        for mode in self._allowed[network]:
            if sized_ps(self._service_ps[mode][network], size) <= left:
                return mode
        return self._fastest[network]

    def reconsider(self, job: Job, now: int, left_base_ps: int) -> int:
        """Never asked: a request keeps the mode it started in."""
        raise NotImplementedError("precision per request is chosen once, when a request starts")


class PerNetwork(_Backlog):
    """Each network in its own fixed mode, where going from one to the next has a cost."""

    def __init__(self, plant: Plant, npu: int) -> None:
        super().__init__(plant, npu)
        self._mode_of = plant.mode_of[npu]
        self._base_ps = [
            plant.service_ps[npu][mode][network] if mode >= 0 else 0
            for network, mode in enumerate(self._mode_of)
        ]

    def choose(self, job: Job, now: int) -> int:  # noqa: ARG002 (the protocol's signature)
        """The mode of the network."""
        self._begin(job)
        return self._mode_of[job[2]]

    def reconsider(self, job: Job, now: int, left_base_ps: int) -> int:  # noqa: ARG002
        """The mode of the network."""
        return self._mode_of[job[2]]


def make_modes(
    plant: Plant, queues: list[Queue], running: list[Job | None]
) -> list[ModeChooser] | None:
    """A chooser per NPU; None when no request can change the mode of an NPU at a cost.

    Args:
        plant: what is simulated.
        queues: of each NPU; first come, first served for every policy that chooses modes.
        running: request on each NPU, kept up to date by the engine.
    """
    npus = range(len(plant.npus))
    kind = plant.policy.modes
    fifo = [(npu, queue) for npu, queue in enumerate(queues) if isinstance(queue, FifoQueue)]
    if kind == "stimpack":
        return [Stimpack(plant, npu, queue, running) for npu, queue in fifo]
    if kind == "threshold":
        return [Threshold(plant, npu, queue) for npu, queue in fifo]
    if kind == "per_request":
        return [PerRequest(plant, npu) for npu in npus]
    if any(plant.npus[npu].switch_ps and len(set(plant.mode_of[npu]) - {-1}) > 1 for npu in npus):
        return [PerNetwork(plant, npu) for npu in npus]
    return None
