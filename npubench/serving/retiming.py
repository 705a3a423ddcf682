"""Runs in which the finish of a started request moves: preemption, and modes changed on the way.

Work left is counted in picoseconds of the mode a request is in. Changed at once, it scales with the
ratio of the two service times; changed at the end of a layer, it is the layers that are left in the
new mode. The stall of a change is served before the work goes on. Energy follows the shares of the
work done in each mode, and the mode on record is the least accurate one, taken to be the one listed
last. A running request's mode is looked at again when another arrives, and at every layer end while
the NPU is not in base mode.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from heapq import heapify, heappush
from typing import Final

from npubench.serving.engine import BOUNDARY, FINISH, Engine
from npubench.serving.modes import BASE
from npubench.serving.placement import LeastResponse
from npubench.serving.plant import Plant
from npubench.serving.queues import Job, PremaQueue, sized_ps
from npubench.serving.records import Sink

__all__ = ["RetimingEngine"]

_NEVER: Final = -1


@dataclass(slots=True)
class _Progress:
    """A started request: where it is, and the work it has left when it next goes on.

    Attributes:
        mode: it is in.
        nominal_ps: its whole service in that mode.
        left_ps: of it, left at ``since_ps``.
        since_ps: when the work goes on, after any stall.
        started_ps: first start.
        worst: last mode of the table that it ran in.
        spent_j: energy of the modes it has left.
    """

    mode: int
    nominal_ps: int
    left_ps: int
    since_ps: int
    started_ps: int
    worst: int
    spent_j: float = 0.0


class RetimingEngine(Engine):
    """An engine whose requests can be preempted, and can change their mode, after they started."""

    def __init__(self, plant: Plant, sink: Sink) -> None:
        super().__init__(plant, sink)
        self._progress: list[_Progress | None] = [None] * len(plant.npus)
        self._paused: dict[int, _Progress] = {}
        self._boundary_at = [_NEVER] * len(plant.npus)
        self._last = [_NEVER] * len(plant.npus)
        self._begin = self._begin_or_resume

    def _begin_or_resume(self, npu: int, job: Job, now: int, stall: int = 0) -> int:
        """Start a request after a stall, or go on with a preempted one; returns its finish."""
        self._forget_last(npu, job)
        progress = self._paused.pop(job[0], None)
        if progress is not None and progress.nominal_ps != self._nominal(npu, progress.mode, job):
            # Another NPU of a shared queue takes over: the same share of the work is left there.
            nominal = self._nominal(npu, progress.mode, job)
            progress.left_ps = max(1, progress.left_ps * nominal // progress.nominal_ps)
            progress.nominal_ps = nominal
        if progress is None:
            chooser = None if self._modes is None else self._modes[npu]
            mode = self.plant.mode_of[npu][job[2]]
            if chooser is not None:
                mode = chooser.choose(job, now)
            if mode != self._mode[npu]:
                stall += self._switch(npu, mode)
            nominal = self._nominal(npu, mode, job)
            progress = _Progress(mode, nominal, nominal, now + stall, now, mode)
        else:
            self._left_of.pop(job[0], None)
            progress.since_ps = now + stall
        self._progress[npu] = progress
        self._running[npu] = job
        self._started[npu] = progress.started_ps
        self._codes[npu] = npu * self.plant.width + progress.worst
        self.busy_ps[npu] += stall + progress.left_ps
        finish = progress.since_ps + progress.left_ps
        self._boundary_at[npu] = _NEVER
        if progress.mode != BASE or len(self._queues[npu]):
            self._await_boundary(npu, job, progress, now)
        self._predict(npu, finish)
        return finish

    def _forget_last(self, npu: int, job: Job) -> None:
        """Let the queue drop what it knows of the request that this NPU has finished."""
        last, queue = self._last[npu], self._queues[npu]
        if isinstance(queue, PremaQueue) and last not in self._paused and last != job[0]:
            queue.forget(last)
        self._last[npu] = job[0]

    def _nominal(self, npu: int, mode: int, job: Job) -> int:
        return sized_ps(self.plant.service_ps[npu][mode][job[2]], job[3])

    def _predict(self, npu: int, finish: int) -> None:
        if self._modes is not None and isinstance(self._place, LeastResponse):
            self._place.free_at[npu] = self._modes[npu].clear_at(finish)

    def _left(self, progress: _Progress, now: int) -> int:
        return progress.left_ps - max(0, now - progress.since_ps)

    def _after_arrival(self, npu: int, now: int) -> None:
        """Look again at the NPUs that the new request may wait for."""
        for index in range(len(self._running)) if npu < 0 else (npu,):
            job, progress = self._running[index], self._progress[index]
            if job is None or progress is None:
                continue
            if self.plant.policy.switch_at == "instant":
                mode = self._wanted(index, job, progress, now)
                if mode != progress.mode:
                    nominal = self._nominal(index, mode, job)
                    left = self._left(progress, now)
                    scaled = (left * nominal + progress.nominal_ps // 2) // progress.nominal_ps
                    self._change_mode(index, job, progress, mode, scaled, now)
            else:
                self._await_boundary(index, job, progress, now)

    def _wanted(self, npu: int, job: Job, progress: _Progress, now: int) -> int:
        """The mode that the policy would now have for the rest of a request."""
        if self._modes is None:
            return progress.mode
        base = self._nominal(npu, BASE, job)
        left = self._left(progress, now) * base // progress.nominal_ps
        return self._modes[npu].reconsider(job, now, left)

    def _change_mode(
        self, npu: int, job: Job, progress: _Progress, mode: int, left_ps: int, now: int
    ) -> None:
        """Go on in another mode with so much work left there."""
        old_finish = progress.since_ps + progress.left_ps
        done = progress.left_ps - self._left(progress, now)
        progress.spent_j += self._energy(npu, progress.mode, job) * done / progress.nominal_ps
        stall = self._switch(npu, mode)
        progress.mode = mode
        progress.worst = max(progress.worst, mode)
        progress.nominal_ps = self._nominal(npu, mode, job)
        progress.left_ps = left_ps
        progress.since_ps = max(now, progress.since_ps) + stall
        finish = progress.since_ps + left_ps
        rest = left_ps / progress.nominal_ps
        self.sink.mixed_energy_j[job[0]] = progress.spent_j + self._energy(npu, mode, job) * rest
        self._codes[npu] = npu * self.plant.width + progress.worst
        self.busy_ps[npu] += finish - old_finish
        self._reschedule(npu, finish)
        self._predict(npu, finish)

    def _energy(self, npu: int, mode: int, job: Job) -> float:
        service = self.plant.services[npu][mode][job[2]]
        assert service is not None  # it runs there
        return service.energy_j[0] * job[3] if service.energy_j else float("nan")

    def _reschedule(self, npu: int, finish: int) -> None:
        self._unschedule(npu)
        heappush(self._heap, (finish, FINISH, npu))

    def _unschedule(self, npu: int) -> None:
        # In place, since the loop holds the list; it has a few events per NPU at most.
        self._heap[:] = [e for e in self._heap if e[2] != npu or e[1] != FINISH]
        heapify(self._heap)

    def _await_boundary(self, npu: int, job: Job, progress: _Progress, now: int) -> None:
        """Ask for the next layer end after ``now`` that is not the request's own."""
        if self.plant.policy.switch_at == "instant" or self._boundary_at[npu] > now:
            return
        service = self.plant.services[npu][progress.mode][job[2]]
        assert service is not None  # it runs there
        ends, whole = service.boundaries_ps, service.time_ps[0]
        done = progress.nominal_ps - self._left(progress, now)
        index = bisect_left(ends, done * whole // progress.nominal_ps + 1)
        while index < len(ends) - 1:
            end = ends[index] * progress.nominal_ps // whole
            if end > done:
                when = max(now, progress.since_ps) + end - done
                self._boundary_at[npu] = when
                heappush(self._heap, (when, BOUNDARY, npu))
                return
            index += 1

    def _at_boundary(self, npu: int, now: int) -> None:
        """A layer ended: preempt, change the mode, or ask for the next one."""
        if now != self._boundary_at[npu]:
            return  # the request that asked has finished or moved
        self._boundary_at[npu] = _NEVER
        job, progress = self._running[npu], self._progress[npu]
        if job is None or progress is None:
            return
        if self.plant.policy.preempt:
            if self._queues[npu].beats(job, self._left(progress, now), now):
                self._preempt(npu, job, progress, now)
            elif self.plant.policy.order == "prema" and len(self._queues[npu]):
                self._await_boundary(npu, job, progress, now)
            return
        mode = self._wanted(npu, job, progress, now)
        if mode != progress.mode:
            self._change_mode(
                npu, job, progress, mode, self._layers_left(npu, mode, job, progress, now), now
            )
        if mode != BASE:
            self._await_boundary(npu, job, progress, now)

    def _layers_left(self, npu: int, mode: int, job: Job, progress: _Progress, now: int) -> int:
        """Picoseconds of the remaining layers in another mode."""
        here = self.plant.services[npu][progress.mode][job[2]]
        there = self.plant.services[npu][mode][job[2]]
        assert here is not None  # it runs in both modes
        assert there is not None
        done = progress.nominal_ps - self._left(progress, now)
        # Layer ends were rounded down to whole picoseconds for sized requests: look just above.
        done_here = -(-done * here.time_ps[0] // progress.nominal_ps)
        layer = bisect_left(here.boundaries_ps, done_here)
        whole = self._nominal(npu, mode, job)
        return max(1, whole - there.boundaries_ps[layer] * whole // there.time_ps[0])

    def _preempt(self, npu: int, job: Job, progress: _Progress, now: int) -> None:
        """Set the running request aside and start the one that the order prefers."""
        progress.left_ps = self._left(progress, now)
        self.busy_ps[npu] -= progress.left_ps
        self.preemptions += 1
        self._left_of[job[0]] = progress.left_ps
        self._paused[job[0]] = progress
        queue = self._queues[npu]
        chosen = queue.take(now)
        queue.push(job, now)
        stall = self.plant.npus[npu].preemption_ps
        self._reschedule(npu, self._begin_or_resume(npu, chosen, now, stall))
