"""Which worker runs which point: neighbours together, chunks of a bounded time, none idle early."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Sequence
from itertools import pairwise
from typing import Final

__all__ = ["Stretches"]

_MOST_IN_CHUNK: Final = 256
_GROWTH: Final = 4


class Stretches:
    """Tasks 0 to ``count`` - 1, cut into a stretch for each worker.

    A chunk that ran to its end in time is followed by a larger one of that worker, another by one
    as large as what ran of it; the first is one task. Who is through with its stretch takes the
    far half of the longest that is left.
    """

    def __init__(self, count: int, workers: int) -> None:
        ends = [count * i // workers for i in range(workers + 1)]
        self._left = [deque(range(a, b)) for a, b in pairwise(ends)]
        self._sizes = [1] * workers

    def __len__(self) -> int:
        """Workers."""
        return len(self._left)

    def join(self) -> None:
        """One worker more, with nothing of its own."""
        self._left.append(deque())
        self._sizes.append(1)

    def take(self, worker: int) -> list[int]:
        """A worker's next chunk; empty where nothing is left."""
        mine = self._left[worker]
        if not mine:
            longest = max(self._left, key=len)
            mine.extendleft(longest.pop() for _ in range(len(longest) - len(longest) // 2))
        return [mine.popleft() for _ in range(min(self._sizes[worker], len(mine)))]

    def done(self, worker: int, chunk: Sequence[int], ran: Collection[int]) -> None:
        """A chunk has ended, with these of its tasks run; the others come next."""
        rest = [task for task in chunk if task not in ran]
        self._left[worker].extendleft(reversed(rest))
        size = len(ran) if rest else _GROWTH * len(ran)
        self._sizes[worker] = max(1, min(_MOST_IN_CHUNK, size))
