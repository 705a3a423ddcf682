"""What a count of right answers says about the accuracy behind it."""

from __future__ import annotations

import math

__all__ = ["Z95", "sqnr_db", "wilson"]

Z95 = 1.959963984540054  # two-sided 95 % of the normal distribution


def wilson(right: int, n: int, z: float = Z95) -> tuple[float, float]:
    """Interval of a proportion, 0 to 1, from ``right`` of ``n`` independent trials.

    Source: Wilson, J. Am. Stat. Assoc. 22 (1927).

    Raises:
        ValueError: no trials, or more right ones than trials.
    """
    if not 0 <= right <= n or n == 0:
        raise ValueError(f"{right} of {n} is no proportion")
    share = right / n
    middle = share + z * z / (2 * n)
    spread = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    low = 0.0 if right == 0 else max(0.0, (middle - spread) / scale)
    high = 1.0 if right == n else min(1.0, (middle + spread) / scale)
    return low, high


def sqnr_db(signal: float, noise: float) -> float | None:
    """Signal to quantisation noise in dB of two powers; None without noise or without signal."""
    return 10 * math.log10(signal / noise) if signal > 0 and noise > 0 else None
