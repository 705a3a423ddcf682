"""Early stopping, fixed sizes, quantiles and intervals against published and exact values."""

from __future__ import annotations

import math

import numpy as np
import pytest

from npubench.serving.estimates import (
    ExactSample,
    Histogram,
    beta_cdf,
    early_stopping_total,
    fixed_size,
    from_repetitions,
    mean_estimate,
    passes_early_stopping,
    quantile_estimate,
    single_stream_estimate,
    student_t,
)

# MLPerf's early stopping at 99 % confidence: queries needed with t late ones (exact binomial).
EARLY = {
    0.90: {0: 44, 1: 64, 2: 81, 5: 127, 10: 197, 20: 325, 100: 1246},
    0.95: {0: 90, 1: 130, 2: 165, 5: 259, 10: 398, 20: 656, 100: 2504},
    0.97: {0: 152, 1: 219, 2: 277, 5: 433, 10: 667, 20: 1097, 100: 4182},
    0.99: {0: 459, 1: 662, 2: 838, 5: 1307, 10: 2010, 20: 3304, 100: 12571},
    0.999: {0: 4603, 1: 6636, 2: 8403, 5: 13105, 10: 20140, 20: 33097, 100: 125826},
}


@pytest.mark.parametrize("percentile", EARLY)
def test_early_stopping_table(percentile: float) -> None:
    found = {late: early_stopping_total(late, percentile) for late in EARLY[percentile]}
    assert found == EARLY[percentile]


def test_early_stopping_is_a_binomial_tail() -> None:
    for on_time, late in ((40, 3), (63, 1), (62, 1), (500, 30)):
        total = on_time + late
        tail = sum(math.comb(total, k) * 0.1**k * 0.9 ** (total - k) for k in range(late + 1))
        assert beta_cdf(0.9, on_time, late + 1) == pytest.approx(tail, rel=1e-10)
        assert passes_early_stopping(on_time, late, 0.9) == (tail <= 0.01)
    assert not passes_early_stopping(0, 0, 0.9)


def test_fixed_sizes() -> None:
    found = {p: fixed_size(p) for p in (0.90, 0.95, 0.97, 0.99)}
    assert found == {0.90: 23_886, 0.95: 50_425, 0.97: 85_811, 0.99: 262_742}


def test_single_stream_estimate_drops_what_the_rule_allows() -> None:
    latencies = np.arange(1, 1001)
    # 997 queries pass with 78 late ones and 1000 with 79 or fewer: recomputed from the rule.
    most = max(t for t in range(1, 200) if early_stopping_total(t, 0.9) <= 1000)
    assert single_stream_estimate(latencies, 0.9) == 1000 - most + 1
    assert single_stream_estimate(np.arange(63), 0.9) is None
    assert single_stream_estimate(np.arange(64), 0.9) == 63


@pytest.mark.parametrize(("freedom", "expected"), [(1, 12.7062), (4, 2.7764), (31, 2.0395)])
def test_student_t(freedom: int, expected: float) -> None:
    assert student_t(freedom) == pytest.approx(expected, abs=5e-5)


def test_repetitions() -> None:
    estimate = from_repetitions([1.0, 2.0, 3.0])
    half = 4.302653 / math.sqrt(3)
    assert estimate.value == 2.0
    assert (estimate.low, estimate.high) == pytest.approx((2 - half, 2 + half), rel=1e-5)
    assert from_repetitions([1.5]).low is None


def test_quantiles_are_nearest_rank() -> None:
    sample = ExactSample(np.arange(1, 101)[::-1].copy())
    assert [sample.quantile(p) for p in (0.5, 0.99, 0.999, 0.0, 1.0)] == [50, 99, 100, 1, 100]


@pytest.mark.parametrize("scale", [1, 10**3, 10**9, 10**12])
def test_histogram_error_is_below_a_thousandth(scale: int) -> None:
    rng = np.random.default_rng(3)
    values = (rng.lognormal(0.0, 1.5, 200_000) * 1000).astype(np.int64) * scale + 1
    histogram, exact = Histogram(len(values)), ExactSample(values)
    for first in range(0, len(values), 65_536):
        part = values[first : first + 65_536]
        histogram.add(part, np.arange(first, first + len(part)))
    for share in (0.01, 0.5, 0.9, 0.99, 0.999, 1.0):
        assert histogram.quantile(share) == pytest.approx(exact.quantile(share), rel=0.001)
        if scale > 1:
            assert histogram.quantile(share) == pytest.approx(exact.quantile(share), rel=0.0005)
    assert histogram.batch_means() == pytest.approx(exact.batch_means(), rel=1e-12)
    far = exact.quantile(0.9) * 1.01
    assert histogram.above(far).sum() == pytest.approx(exact.above(far).sum(), rel=0.02)


def test_interval_of_independent_values_is_the_textbook_one() -> None:
    rng = np.random.default_rng(0)
    count, share = 320_000, 0.99
    sample = ExactSample(rng.integers(0, 10**9, count))
    estimate = quantile_estimate(sample, share)
    half = 1.96 * math.sqrt(share * (1 - share) / count) * 1e9
    assert estimate.value == pytest.approx(0.99e9, abs=3 * half)
    assert estimate.high - estimate.low == pytest.approx(2 * half, rel=0.5)
    mean = mean_estimate(sample)
    assert mean.high - mean.low == pytest.approx(2 * 1.96 * 1e9 / math.sqrt(12 * count), rel=0.5)


def test_short_samples_have_no_interval() -> None:
    sample = ExactSample(np.arange(1, 200))
    assert mean_estimate(sample).low is None
    assert quantile_estimate(sample, 0.5).low is None
    # A thousand values do not reach a p99.9 from above.
    assert quantile_estimate(ExactSample(np.arange(1, 1001)), 0.999).high is None
