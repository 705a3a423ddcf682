"""What a run looked like over time, from its records: queue length, and who was where."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["in_system", "waiting", "window"]

Ints = NDArray[np.int64]


def waiting(records: NDArray[np.void]) -> tuple[Ints, Ints]:
    """Requests that have arrived and not started: times in ps, and the count from then on."""
    return _steps(records["arrival_ps"], records["start_ps"])


def in_system(records: NDArray[np.void]) -> tuple[Ints, Ints]:
    """Requests that have arrived and not finished: times in ps, and the count from then on."""
    return _steps(records["arrival_ps"], records["finish_ps"])


def window(records: NDArray[np.void], begin_ps: int, end_ps: int) -> NDArray[np.void]:
    """The requests in service at some time within [begin, end), by NPU and start: a Gantt chart.

    A preempted request spans from its first start to its finish.
    """
    inside = (records["start_ps"] < end_ps) & (records["finish_ps"] > begin_ps)
    found = records[inside]
    return found[np.lexsort((found["start_ps"], found["npu"]))]


def _steps(up_ps: Ints, down_ps: Ints) -> tuple[Ints, Ints]:
    """Times at which the count changes, each once, and the count after the change."""
    times = np.concatenate((up_ps, down_ps))
    changes = np.repeat(np.array([1, -1]), (len(up_ps), len(down_ps)))
    distinct, place = np.unique(times, return_inverse=True)
    steps = np.bincount(place, weights=changes, minlength=len(distinct))
    return distinct, np.cumsum(steps).astype(np.int64)
