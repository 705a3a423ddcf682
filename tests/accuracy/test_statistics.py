"""Intervals and ratios against published values and closed forms."""

from __future__ import annotations

import math

import pytest

from npubench.accuracy.statistics import sqnr_db, wilson


def test_wilson_of_newcombe_1998() -> None:
    # R. G. Newcombe, Statistics in Medicine 17 (1998), Table I, method 3.
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson(15, 148) == pytest.approx((0.0624, 0.1605), abs=5e-5)
    assert wilson(0, 20) == pytest.approx((0, 0.1611), abs=5e-5)
    assert wilson(1, 29) == pytest.approx((0.0061, 0.1718), abs=5e-5)


def test_wilson_holds_its_end_points_for_all_or_nothing() -> None:
    assert wilson(20, 20)[1] == 1.0
    assert wilson(0, 20)[0] == 0.0
    with pytest.raises(ValueError, match="3 of 2"):
        wilson(3, 2)


def test_wilson_solves_its_quadratic() -> None:
    low, high = wilson(37, 120)
    for end in (low, high):
        z = (37 / 120 - end) / math.sqrt(end * (1 - end) / 120)
        assert abs(z) == pytest.approx(1.959963984540054, rel=1e-9)


def test_sqnr() -> None:
    assert sqnr_db(100.0, 1.0) == pytest.approx(20)
    assert sqnr_db(1.0, 0.0) is None
