"""Calibration: every method on data whose right range is known, and the words that ask for it."""

from __future__ import annotations

import numpy as np
import pytest

from npubench.accuracy.calibrate import (
    Calibration,
    Histogram,
    Method,
    choose_levels,
    parse_calibration,
)
from npubench.accuracy.quantise import Levels
from npubench.errors import OptionError


def _histogram(values: np.ndarray) -> Histogram:
    found = Histogram()
    for part in np.array_split(values, 3):
        found.extend(part)
    for part in np.array_split(values, 3):
        found.count(part.reshape(-1, 1), 1)
    return found


def _levels(values: np.ndarray, bits: int, method: Method, **more: float) -> Levels:
    calibration = Calibration(method=method, **more)  # type: ignore[arg-type]
    return choose_levels(_histogram(values), bits, symmetric=False, calibration=calibration)


@pytest.mark.parametrize("method", ["minmax", "entropy", "mse"])
def test_uniform_values_keep_their_range(method: Method) -> None:
    values = np.linspace(0, 6, 60001)
    assert _levels(values, 4, method).scale * 15 == pytest.approx(6, rel=0.035)


@pytest.mark.parametrize("method", ["percentile", "entropy", "mse"])
def test_a_lone_outlier_is_cut(method: Method, random: np.random.Generator) -> None:
    values = np.append(np.abs(random.normal(size=200_000)), 100.0)
    assert _levels(values, 4, method).scale * 15 < 30
    assert _levels(values, 4, "minmax").scale * 15 == pytest.approx(100)


def test_percentile(random: np.random.Generator) -> None:
    values = random.uniform(0, 1, 100_000)
    levels = _levels(values, 8, "percentile", percentile=90.0)
    assert levels.scale * 255 == pytest.approx(0.9, abs=0.005)


@pytest.mark.parametrize(("bits", "step"), [(4, 0.3352), (6, 0.1041), (8, 0.0308)])
def test_mse_finds_the_best_step_of_a_gaussian(
    bits: int, step: float, random: np.random.Generator
) -> None:
    # J. Max, IRE Trans. Inf. Theory 6 (1960), Table II: uniform steps for 16, 64 and 256 levels.
    assert _levels(random.normal(size=400_000), bits, "mse").scale == pytest.approx(step, rel=0.06)


def test_mse_is_the_least_of_many_clippings(random: np.random.Generator) -> None:
    values = np.abs(random.laplace(size=50_000))
    found = _levels(values, 4, "mse")
    error = np.mean((found.apply(values) - values) ** 2)
    for top in np.linspace(0.05, 1, 40) * values.max():
        other = Levels(top / 15, 0, 15)
        assert error <= np.mean((other.apply(values) - values) ** 2) * 1.01


def test_constant_zero() -> None:
    assert _levels(np.zeros(10), 8, "mse") == Levels(1.0, 0, 255)


def test_channel_means() -> None:
    found = Histogram()
    values = np.arange(12.0).reshape(2, 3, 2)
    found.extend(values)
    found.count(values, 1)
    assert found.channel_means.tolist() == [3.5, 5.5, 7.5]


def test_words() -> None:
    assert parse_calibration("minmax") == Calibration("minmax")
    asked = parse_calibration("Percentile:99.9, mse-weights, bias-correction")
    assert asked == Calibration("percentile", 99.9, search_weights=True, correct_bias=True)
    assert str(asked) == "percentile:99.9,mse-weights,bias-correction"
    assert str(Calibration()) == "mse"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "mze",
            "--calibration 'mze': unknown 'mze'\n  did you mean 'mse'?",
        ),
        (
            "mse,bias",
            "--calibration 'mse,bias': unknown 'bias'\n  known: bias-correction, mse-weights",
        ),
        (
            "percentile:30",
            "--calibration 'percentile:30': a percentile is above 50 and at most 100, got '30'",
        ),
        (
            "mse:4",
            "--calibration 'mse:4': unknown 'mse:4'\n  did you mean 'mse'?",
        ),
    ],
)
def test_other_words(text: str, message: str) -> None:
    with pytest.raises(OptionError) as caught:
        parse_calibration(text)
    assert str(caught.value) == message
