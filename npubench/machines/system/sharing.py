"""Max-min fair shares of one memory's bandwidth."""

from __future__ import annotations

import math
from collections.abc import Sequence

from npubench.errors import MappingError

__all__ = ["max_min_shares"]


def max_min_shares(capacity: float, demands: Sequence[float]) -> list[float]:
    """Divide a capacity so that no share can grow but at the cost of one that is no larger.

    Args:
        capacity: bits a second, above 0.
        demands: bits a second that each one can use at most, at least 0.

    Returns:
        A share for each demand, at most the demand; their sum is the lesser of the capacity and
        all demands.

    Raises:
        MappingError: a capacity or a demand out of range.

    Source: progressive filling, Bertsekas and Gallager, Data Networks, 2nd ed. 1992, 6.5.2: the
    smallest demand is met first, and what it leaves is divided among the others.
    """
    if not capacity > 0 or any(not 0 <= demand < math.inf for demand in demands):
        raise MappingError(f"no shares of {capacity:g} bit/s for demands of {list(demands)} bit/s")
    shares = [0.0] * len(demands)
    left = capacity
    order = sorted(range(len(demands)), key=lambda index: demands[index])
    for place, index in enumerate(order):
        shares[index] = min(demands[index], left / (len(order) - place))
        left -= shares[index]
    return shares
