"""Intervals and tail counts: Student's t, batch means, order statistics, MLPerf's early stopping.

Percentiles are nearest rank: the smallest value that at least that share of the sample does not
exceed.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "BATCHES",
    "Estimate",
    "ExactSample",
    "Histogram",
    "Sample",
    "batches_for",
    "beta_cdf",
    "early_stopping_total",
    "fixed_size",
    "from_repetitions",
    "mean_estimate",
    "passes_early_stopping",
    "quantile_estimate",
    "single_stream_estimate",
    "student_t",
]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

BATCHES: Final = 32
CONFIDENCE: Final = 0.95
# MLPerf LoadGen's early stopping: c = 0.99, d = 0.
MLPERF_CONFIDENCE: Final = 0.99
_LEAST_PER_BATCH: Final = 10


def batches_for(count: int) -> int:
    """Batches that a run of so many requests is cut into; 1 when it is too short for intervals."""
    return BATCHES if count >= _LEAST_PER_BATCH * BATCHES else 1


# Histogram buckets: 2^10 to each factor of two, a relative width of 2^-10; the middle of a bucket
# is at most 2^-11 = 0.049 % from any value in it.
_BUCKET_BITS: Final = 10
_SHIFT: Final = 52 - _BUCKET_BITS
_FIRST: Final = 1023 << _BUCKET_BITS
_BUCKETS: Final = 64 << _BUCKET_BITS


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value with its 95 % interval; None where it cannot be given."""

    value: float | None
    low: float | None = None
    high: float | None = None

    def scaled(self, factor: float) -> Estimate:
        """Every part times a positive factor."""
        parts = (None if part is None else part * factor for part in self._parts)
        return Estimate(*parts)

    @property
    def _parts(self) -> tuple[float | None, float | None, float | None]:
        return self.value, self.low, self.high


def beta_cdf(x: float, a: float, b: float) -> float:
    """Regularised incomplete beta function I(x; a, b), by Lentz's continued fraction."""
    if x <= 0 or x >= 1:
        return 0.0 if x <= 0 else 1.0
    if x > (a + 1) / (a + b + 2):
        return 1 - beta_cdf(1 - x, b, a)
    log_front = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)
    log_front += a * math.log(x) + b * math.log1p(-x) - math.log(a)
    tiny = 1e-300
    c, d = 1.0, 1 / (1 - (a + b) * x / (a + 1))
    value = d
    for m in range(1, 100_000):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        for step in (even, odd):
            d = 1 / (1 + step * d or tiny)
            c = 1 + step / c or tiny
            value *= c * d
        if abs(c * d - 1) < 1e-15:
            break
    return math.exp(log_front) * value


@functools.cache
def student_t(freedom: int, confidence: float = CONFIDENCE) -> float:
    """Two-sided quantile of Student's t: P(|T| <= t) = confidence."""
    low, high = 0.0, 1e3
    for _ in range(80):
        middle = (low + high) / 2
        outside = beta_cdf(freedom / (freedom + middle**2), freedom / 2, 0.5)
        low, high = (middle, high) if 1 - outside < confidence else (low, middle)
    return (low + high) / 2


def from_repetitions(values: list[float]) -> Estimate:
    """Mean and t interval of independent repetitions; no interval from one of them."""
    mean = math.fsum(values) / len(values)
    if len(values) < 2:
        return Estimate(mean)
    spread = math.sqrt(math.fsum((v - mean) ** 2 for v in values) / (len(values) - 1))
    half = student_t(len(values) - 1) * spread / math.sqrt(len(values))
    return Estimate(mean, mean - half, mean + half)


def passes_early_stopping(on_time: int, late: int, percentile: float) -> bool:
    """MLPerf LoadGen's rule: the chance of so few late ones, at lateness 1 - p, is at most 1 %.

    I(p; on_time, late + 1) <= 1 - c.
    """
    if on_time < 1:
        return False
    return beta_cdf(percentile, on_time, late + 1) <= 1 - MLPERF_CONFIDENCE


def early_stopping_total(late: int, percentile: float) -> int:
    """Fewest queries with which a run of so many late ones passes."""
    low, high = 0, 64
    while not passes_early_stopping(high, late, percentile):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        if passes_early_stopping(middle, late, percentile):
            high = middle
        else:
            low = middle
    return high + late


def fixed_size(percentile: float) -> int:
    """MLPerf's fixed number of queries: z^2 p (1 - p) / m^2, z = 2.5758, m = (1 - p) / 20.

    The rules then round it up to a multiple of 2^13.
    """
    margin = (1 - percentile) / 20
    return round(2.5758293**2 * percentile * (1 - percentile) / margin**2)


def single_stream_estimate(latencies: Ints, percentile: float) -> int | None:
    """MLPerf's estimate of a percentile: with t the most late queries that still pass for this
    many, drop the t - 1 slowest and report the slowest left; None when even t = 1 does not pass.
    """
    count = len(latencies)
    if early_stopping_total(1, percentile) > count:
        return None
    low, high = 1, count
    while high - low > 1:
        middle = (low + high) // 2
        if early_stopping_total(middle, percentile) <= count:
            low = middle
        else:
            high = middle
    return int(np.sort(latencies)[count - low])


class Sample(Protocol):
    """Latencies in the order of arrival, cut into batches of equal length."""

    @property
    def count(self) -> int:
        """Values."""
        ...

    @property
    def mean(self) -> float:
        """Mean of all values."""
        ...

    def quantile(self, share: float) -> float:
        """Nearest-rank quantile."""
        ...

    def above(self, value: float) -> Ints:
        """Values above ``value`` in each batch."""
        ...

    def batch_means(self) -> Floats:
        """Mean of each batch."""
        ...


def mean_estimate(sample: Sample) -> Estimate:
    """Mean with a t interval over batch means; they are nearly independent when long."""
    means, mean = sample.batch_means(), sample.mean
    if len(means) < 2:
        return Estimate(mean)
    half = student_t(len(means) - 1) * float(np.std(means, ddof=1)) / math.sqrt(len(means))
    return Estimate(mean, mean - half, mean + half)


def quantile_estimate(sample: Sample, share: float) -> Estimate:
    """Quantile between order statistics whose ranks allow for correlated waits.

    The share of values above the quantile varies from batch to batch; a t interval of that share
    gives two ranks. Independent values give the usual share +/- 1.96 sqrt(p (1 - p) / n). The upper
    end is None when its rank lies beyond the sample.
    """
    value = sample.quantile(share)
    above = sample.above(value)
    if len(above) < 2:
        return Estimate(value)
    length = sample.count / len(above)
    # A few batches may show no variation at all by chance; independence is the least to allow for.
    spread = max(float(np.std(above / length, ddof=1)), math.sqrt(share * (1 - share) / length))
    half = student_t(len(above) - 1) * spread / math.sqrt(len(above))
    high = sample.quantile(share + half) if share + half < 1 - 0.5 / sample.count else None
    return Estimate(value, sample.quantile(max(share - half, 0.0)), high)


def _rank(share: float, count: int) -> int:
    """Nearest rank from 1; a whisker of slack keeps 0.99 x 100 at 99."""
    return min(max(math.ceil(share * count - 1e-9), 1), count)


class ExactSample:
    """Every value kept; picoseconds."""

    def __init__(self, latencies: Ints) -> None:
        self._in_order = latencies
        self._sorted = np.sort(latencies)
        self.count = len(latencies)
        self.mean = float(np.mean(latencies))
        batches = batches_for(self.count)
        self._edges = np.arange(batches + 1) * self.count // batches

    def quantile(self, share: float) -> float:
        """Nearest-rank quantile."""
        return float(self._sorted[_rank(share, self.count) - 1])

    def above(self, value: float) -> Ints:
        """Values above ``value`` in each batch."""
        return np.asarray(
            np.add.reduceat((self._in_order > value).astype(np.int64), self._edges[:-1])
        )

    def batch_means(self) -> Floats:
        """Mean of each batch."""
        sums = np.add.reduceat(self._in_order.astype(np.float64), self._edges[:-1])
        return np.asarray(sums / np.diff(self._edges))


class Histogram:
    """Counts in buckets of equal ratio; every quantile is within 0.05 % of the exact one.

    Memory does not grow with the number of values.
    """

    def __init__(self, expected: int) -> None:
        self._expected = expected
        self._batches = batches_for(expected)
        self._counts = np.zeros((self._batches, _BUCKETS), dtype=np.uint32)
        self._sums = np.zeros(self._batches)
        self.count = 0

    def add(self, latencies: Ints, positions: Ints) -> None:
        """Count values, each with its position in the order of arrival, below ``expected``."""
        batches = positions * self._batches // self._expected
        buckets = (latencies.astype(np.float64).view(np.int64) >> _SHIFT) - _FIRST
        self._sums += np.bincount(batches, weights=latencies, minlength=self._batches)
        for batch in np.unique(batches):
            found = np.bincount(buckets[batches == batch])
            self._counts[batch, : len(found)] += found.astype(np.uint32)
        self.count += len(latencies)

    def quantile(self, share: float) -> float:
        """Nearest-rank quantile: the middle of its bucket."""
        below = np.cumsum(self._counts.sum(axis=0))
        bucket = int(np.searchsorted(below, _rank(share, self.count)))
        edges = (np.array([bucket, bucket + 1]) + _FIRST) << _SHIFT
        low, high = edges.view(np.float64)
        return float(low + high) / 2

    @property
    def mean(self) -> float:
        """Mean of all values, exact."""
        return float(self._sums.sum()) / self.count

    def above(self, value: float) -> Ints:
        """Values in buckets above that of ``value``, in each batch."""
        bucket = (int(np.array([value]).view(np.int64)[0]) >> _SHIFT) - _FIRST
        return np.asarray(self._counts[:, bucket + 1 :].sum(axis=1), dtype=np.int64)

    def batch_means(self) -> Floats:
        """Mean of each batch, exact."""
        counts = self._counts.sum(axis=1)
        return np.asarray(self._sums / np.maximum(counts, 1))
