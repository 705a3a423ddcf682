"""Random and extreme operands, the same in every run."""

from __future__ import annotations

import numpy as np


def limits(bits: int, signed: bool) -> tuple[int, int]:
    low = -(1 << (bits - 1)) if signed else 0
    return low, low + (1 << bits) - 1


def word(bits: int, signed: bool = False, count: int = 130, seed: int = 0) -> np.ndarray:
    """Integers of a word; the first two are its extremes."""
    low, high = limits(bits, signed)
    random = np.random.default_rng((seed, bits, int(signed)))
    values = random.integers(low, high + 1, size=count)
    values[:2] = low, high
    return values


def both(
    a_bits: int, b_bits: int, a_signed: bool = False, b_signed: bool = False, count: int = 130
) -> tuple[np.ndarray, np.ndarray]:
    """Two words; the first four rows hold every pair of extremes."""
    a, b = word(a_bits, a_signed, count, seed=1), word(b_bits, b_signed, count, seed=2)
    a[2:4] = a[1], a[0]
    b[2:4] = b[0], b[1]
    return a, b
