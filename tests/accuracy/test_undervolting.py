"""The bit error curve gives back its counts, and stays within what was measured."""

from __future__ import annotations

import itertools
import math

import pytest

from npubench.accuracy.undervolting import bit_error_rate
from npubench.errors import OptionError
from npubench.study.accuracy import fault_rate

BITS = 1030 * 36 * 1024


@pytest.mark.parametrize(("volts", "errors"), [(0.60, 4), (0.57, 772), (0.55, 7520), (0.54, 23706)])
def test_counts(volts: float, errors: int) -> None:
    assert bit_error_rate(volts).rate == pytest.approx(errors / BITS)


def test_the_published_rate_at_the_lowest_voltage() -> None:
    # The authors state 0.06 % (FPL 2018, abstract).
    assert round(100 * bit_error_rate(0.54).rate, 2) == 0.06


def test_between_and_above() -> None:
    assert bit_error_rate(0.565).rate == pytest.approx(math.sqrt(772 * 2732) / BITS)
    assert bit_error_rate(0.61).rate == bit_error_rate(1.0).rate == 0
    rates = [bit_error_rate(v / 1000).rate for v in range(540, 611)]
    assert all(b <= a * (1 + 1e-12) for a, b in itertools.pairwise(rates))


def test_below() -> None:
    with pytest.raises(OptionError) as caught:
        bit_error_rate(0.5)
    assert str(caught.value) == "--faults: bram_28nm was measured down to 0.54 V, got 0.5 V"


def test_what_may_be_asked_for() -> None:
    assert fault_rate("1e-3", {}).rate == 1e-3
    assert fault_rate("570 mV", {}).rate == pytest.approx(772 / BITS)
    assert fault_rate("vdd", {"vdd": "0.57 V"}).rate == pytest.approx(772 / BITS)
    with pytest.raises(OptionError) as caught:
        fault_rate("vdd", {"clock": "1 GHz"})
    assert str(caught.value) == ("--faults vdd: the accelerator has no such knob; it has clock")
    with pytest.raises(OptionError, match=r"^--faults 'low': expected a bit error rate, a voltage"):
        fault_rate("low", {})
    with pytest.raises(OptionError, match="a bit error rate is 0 to 0"):
        fault_rate("0.9", {})
