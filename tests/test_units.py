"""Units: exact values, whole messages, and no text that parses to something else by accident."""

from __future__ import annotations

import math
import subprocess
import sys
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from npubench import units
from npubench.errors import InputError, Problem

VALUES = [
    # Expected values from the SI brochure and IEC 80000-13, written as literals.
    ("0.10 pJ", "energy", 1e-13),
    ("0.1pJ", "energy", 1e-13),
    ("  3 uJ ", "energy", 3e-6),
    ("3 \u00b5J", "energy", 3e-6),
    ("3 \u03bcJ", "energy", 3e-6),
    ("-2 mJ", "energy", -2e-3),
    ("1e3 aJ", "energy", 1e-15),
    (".5 fJ", "energy", 5e-16),
    ("5. kJ", "energy", 5000.0),
    ("4 pJ/bit", "energy_per_bit", 4e-12),
    ("4 pJ/B", "energy_per_bit", 5e-13),
    ("0.1 pJ/bit/mm", "wire_energy", 1e-13),
    ("16 ns", "time", 1.6e-8),
    ("700 MHz", "frequency", 7e8),
    ("1.05 GHz", "frequency", 1.05e9),
    ("12 cycles", "cycles", 12.0),
    ("1 cycle", "cycles", 1.0),
    ("1 bit", "capacity", 1.0),
    ("1 B", "capacity", 8.0),
    ("1 kB", "capacity", 8000.0),
    ("1 KiB", "capacity", 8192.0),
    ("2.25 MiB", "capacity", 18874368.0),
    ("1 Kibit", "capacity", 1024.0),
    ("16 GB/s", "bandwidth", 1.28e11),
    ("1 GiB/s", "bandwidth", 8589934592.0),
    ("614 Gbit/s", "bandwidth", 6.14e11),
    ("128 bit/cycle", "cycle_bandwidth", 128.0),
    ("512 B/cycle", "cycle_bandwidth", 4096.0),
    ("75 W", "power", 75.0),
    ("1 mW", "power", 1e-3),
    ("1 MW", "power", 1e6),
    ("50 mW/mm2", "power_density", 5e-2),
    ("1 W/cm2", "power_density", 1e-2),
    ("850 mV", "voltage", 0.85),
    ("331 mm2", "area", 331.0),
    ("331 mm\u00b2", "area", 331.0),
    ("100 um2", "area", 1e-4),
    ("7 nm", "length", 7e-9),
    ("0.5", "dimensionless", 0.5),
    ("1e3", "dimensionless", 1000.0),
    ("80 %", "dimensionless", 0.8),
]


@pytest.mark.parametrize(("text", "dimension", "expected"), VALUES)
def test_values_are_correctly_rounded(text: str, dimension: str, expected: float) -> None:
    assert units.parse(text, dimension) == expected
    assert units.parse_any(text)[:2] == (expected, dimension)


@pytest.mark.parametrize(
    ("text", "dimension", "message", "hint"),
    [
        ("3 ns", "energy", "expected an energy such as '0.1 pJ', got '3 ns' (a time)", None),
        ("5", "energy", "expected an energy such as '0.1 pJ', got '5' (no unit)", None),
        (
            "5 J",
            "dimensionless",
            "expected a plain number such as '0.5', got '5 J' (an energy)",
            None,
        ),
        (
            "1 GHZ",
            "frequency",
            "expected a frequency such as '1 GHz', got '1 GHZ': unknown unit 'GHZ'",
            "did you mean 'GHz'?",
        ),
        (
            "5 mw",
            "power",
            "expected a power such as '250 mW', got '5 mw': unknown unit 'mw'",
            "did you mean 'MW' or 'mW'?",
        ),
        (
            "1 KB",
            "capacity",
            "expected a capacity such as '512 KiB', got '1 KB': unknown unit 'KB'",
            "did you mean 'kB' (1000 bytes) or 'KiB' (1024 bytes)?",
        ),
        (
            "10 Gbps",
            "bandwidth",
            "expected a bandwidth such as '16 GB/s', got '10 Gbps': unknown unit 'Gbps'",
            "did you mean 'Gbit/s' or 'GB/s'?",
        ),
        (
            "4 pJ/bits",
            "energy_per_bit",
            "expected an energy per bit such as '4 pJ/bit', got '4 pJ/bits': "
            "unknown unit 'pJ/bits'",
            "did you mean 'pJ/bit'?",
        ),
        (
            "4 furlong",
            "length",
            "expected a length such as '7 nm', got '4 furlong': unknown unit 'furlong'",
            None,
        ),
        ("1e999 J", "energy", "'1e999 J' is too large a number", None),
        ("1e-999 J", "energy", "'1e-999 J' is too small a number", None),
        ("", "energy", "expected an energy such as '0.1 pJ', got ''", None),
    ],
)
def test_refusals_say_what_was_expected(
    text: str, dimension: str, message: str, hint: str | None
) -> None:
    with pytest.raises(units.UnitError) as caught:
        units.parse(text, dimension)
    assert caught.value.problems == (Problem(message, hint=hint),)
    assert (caught.value.message, caught.value.hint) == (message, hint)
    assert isinstance(caught.value, InputError)


@pytest.mark.parametrize(
    "text",
    [
        *(
            "pJ",
            "nan J",
            "NaN",
            "inf",
            "-inf J",
            "0x10 J",
            "1_000 J",
            "1,000 J",
            "1 000 J",
            "1 2 J",
        ),
        *(
            "\u0663 J",
            "1e J",
            "1e1000 J",
            "--1 J",
            "+ 1 J",
            "1 J J",
            "1..2 J",
            "1\nJ",
            "1 " + "J" * 99,
        ),
        *("1" * 65, ". J", "e5", "1 J/", "1 /s", "1 -J", "1.2.3 J"),
    ],
)
def test_what_is_no_quantity_is_refused(text: str) -> None:
    for dimension in ("energy", "dimensionless"):
        with pytest.raises(units.UnitError):
            units.parse(text, dimension)


def test_ranges_share_the_last_unit() -> None:
    low, high = units.parse_range("0.08..0.12 pJ", "energy")
    assert (low, high) == (
        units.Measure(8e-14, "energy", "pJ"),
        units.Measure(1.2e-13, "energy", "pJ"),
    )
    assert units.parse_range("80 fJ .. 0.12 pJ")[0] == units.Measure(8e-14, "energy", "fJ")
    assert units.parse_range("0.5..1")[1] == units.Measure(1.0, "dimensionless", "")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0.1 pJ", "expected a range such as '0.1 pJ..0.1 pJ', got '0.1 pJ'"),
        ("0.2..0.1 pJ", "range '0.2..0.1 pJ' runs downwards: 0.2 is above 0.1"),
        ("1 ns..2 pJ", "expected an energy such as '0.1 pJ', got '1 ns' (a time)"),
        ("1 pJ..2", "expected an energy such as '0.1 pJ', got '2' (no unit)"),
        ("1..2..3 pJ", "expected a range such as '0.1 pJ..0.1 pJ', got '1..2..3 pJ'"),
    ],
)
def test_bad_ranges(text: str, message: str) -> None:
    with pytest.raises(units.UnitError) as caught:
        units.parse_range(text, "energy")
    assert caught.value.message == message


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.00123, "s", "1.23 ms"),
        (0.9996, "s", "1.00 s"),
        (999.4e-6, "s", "999 us"),
        (999.6e-6, "s", "1.00 ms"),
        (0.0, "J", "0 J"),
        (-5e-7, "J", "-500 nJ"),
        (4.089184256e9, "MAC", "4.09 GMAC"),
        (27e-6, "J*s", "27.0 uJ*s"),
        (331.0, "mm2", "331 mm2"),
        (0.0005, "mm2", "0.000500 mm2"),
        (12345.0, "mm2", "12300 mm2"),
        (1e-25, "J", "1.00e-25 J"),
        (math.inf, "s", "inf s"),
        (12.0, "", "12.0"),
    ],
)
def test_engineering(value: float, unit: str, text: str) -> None:
    assert units.engineering(value, unit) == text


def test_engineering_digits() -> None:
    assert units.engineering(0.00123456, "s", digits=5) == "1.2346 ms"
    assert units.significant(0.00123456, 1) == "0.001"
    assert units.significant(99.96) == "100"


def test_scaled_rounds_once() -> None:
    assert units.scaled(0.0012, "s", "m") == 1.2
    assert units.scaled(1e-13, "J", "p") == 0.1
    assert units.scaled(3.0, "s", "") == 3.0
    assert units.scaled(1.5e9, "Hz", "G") == 1.5
    assert units.scaled(3 * 2**20, "B", "Mi") == 3.0
    for unit, prefix in (("mm2", "k"), ("cycles", "M"), ("s", "q")):
        with pytest.raises(ValueError, match=f"^no unit '{prefix}{unit}'$"):
            units.scaled(1.0, unit, prefix)


@pytest.mark.parametrize(
    ("text", "dimension", "shown"),
    [
        ("2.25 MiB", "capacity", "2.25 MiB"),
        ("4 bit", "capacity", "4 bit"),
        ("100 B", "capacity", "100 B"),
        ("614.4 GB/s", "bandwidth", "614.4 GB/s"),
        ("7 nm", "length", "7 nm"),
        ("1050 MHz", "frequency", "1.05 GHz"),
        ("4096 bit/cycle", "cycle_bandwidth", "4096 bit/cycle"),
        ("0.0355 pJ/bit", "energy_per_bit", "35.5 fJ/bit"),
        ("0 pJ", "energy", "0 J"),
        ("0.85", "dimensionless", "0.85"),
        ("3 cycles", "cycles", "3 cycles"),
        ("100 um2", "area", "0.0001 mm2"),
    ],
)
def test_describe(text: str, dimension: str, shown: str) -> None:
    assert units.describe(units.parse(text, dimension), dimension) == shown
    assert units.parse(shown, dimension) == pytest.approx(units.parse(text, dimension), rel=1e-6)


def test_every_example_is_a_quantity_of_its_dimension() -> None:
    for name, dimension in units.DIMENSIONS.items():
        assert units.parse(dimension.example, name) > 0
        assert units.parse(f"1 {dimension.base}", name) == 1.0


@given(
    digits=st.integers(min_value=1, max_value=10**12),
    point=st.integers(min_value=0, max_value=12),
    unit=st.sampled_from([("pJ", -12), ("mJ", -3), ("J", 0), ("kJ", 3)]),
)
def test_parsing_equals_exact_arithmetic(digits: int, point: int, unit: tuple[str, int]) -> None:
    exact = Fraction(digits, 10**point) * Fraction(10) ** unit[1]
    text = f"{digits // 10**point}.{digits % 10**point:0{point}d}" if point else str(digits)
    assert units.parse(f"{text} {unit[0]}", "energy") == float(exact)


@given(st.floats(min_value=1e-17, max_value=1e17))
def test_engineering_reads_back(value: float) -> None:
    number, _, unit = units.engineering(value, "s", digits=6).partition(" ")
    assert 1 <= float(number) < 1000
    if unit in ("as", "fs", "ps", "ns", "us", "ms", "s"):
        assert units.parse(f"{number} {unit}", "time") == pytest.approx(value, rel=1e-5)


@given(st.text(max_size=30), st.sampled_from(sorted(units.DIMENSIONS)))
def test_arbitrary_text_is_a_finite_number_or_a_unit_error(text: str, dimension: str) -> None:
    for parse in (units.parse, units.parse_range):
        try:
            parsed = parse(text, dimension)
        except units.UnitError:
            continue
        value = parsed if isinstance(parsed, float) else parsed[1].value
        assert math.isfinite(value)


def test_units_imports_nothing_heavy() -> None:
    heavy = ("numpy", "pydantic", "yaml", "onnx", "rich", "typer")
    code = f"import sys, npubench.units; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
