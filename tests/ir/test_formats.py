"""Number formats: names, widths, and which holds which, against values enumerated one by one."""

from __future__ import annotations

from fractions import Fraction
from itertools import product

import pytest

from npubench.errors import OptionError
from npubench.ir import FORMATS, Format, LayerPrecision, integer, parse_format, parse_precision


def values(fmt: Format) -> set[Fraction]:
    """Every finite value of a small format; an integer may be signed or unsigned."""
    if not fmt.is_float:
        half = 2 ** (fmt.bits - 1)
        return {Fraction(n) for n in range(-half, 2 * half)}
    fraction_bits = fmt.significand_bits - 1
    bias = 2 ** (fmt.exponent_bits - 1) - 1
    found = set()
    for exponent, mantissa in product(range(2**fmt.exponent_bits), range(2**fraction_bits)):
        hidden = 0 if exponent == 0 else 2**fraction_bits
        power = max(exponent, 1) - bias - fraction_bits
        value = Fraction(hidden + mantissa) * Fraction(2) ** power
        found |= {value, -value}
    return found


SMALL_FLOATS = ["fp8e4m3", "fp8e5m2", "fp6e2m3", "fp6e3m2", "fp4e2m1"]


@pytest.mark.parametrize("wide", SMALL_FLOATS)
@pytest.mark.parametrize("narrow", SMALL_FLOATS)
def test_a_float_holds_what_has_each_of_its_values(wide: str, narrow: str) -> None:
    # Exponents are biased alike, so range and significand decide as the sets of values do.
    expected = values(FORMATS[narrow]) <= values(FORMATS[wide])
    assert FORMATS[wide].holds(FORMATS[narrow]) == expected


@pytest.mark.parametrize(
    ("wide", "narrow", "holds"),
    [
        ("int8", "int8", True),
        ("int8", "uint8", True),
        ("uint8", "int8", True),
        ("int8", "int9", False),
        ("int32", "fp8e4m3", False),
        ("fp64", "fp32", True),
        ("fp32", "fp64", False),
        ("fp32", "tf32", True),
        ("tf32", "bf16", True),
        ("tf32", "fp16", True),
        ("bf16", "fp16", False),
        ("fp16", "bf16", False),
        ("fp16", "fp8e4m3", True),
        ("fp16", "fp8e5m2", True),
        ("bf16", "fp8e5m2", True),
        ("bf16", "int8", True),
        ("bf16", "int9", False),
        ("fp16", "int11", True),
        ("fp16", "int12", False),
        ("fp32", "int24", True),
        ("fp32", "int25", False),
        ("fp64", "int53", True),
        ("fp64", "int64", False),
        ("int1", "bool", True),
    ],
)
def test_holds(wide: str, narrow: str, holds: bool) -> None:
    small = FORMATS.get(narrow) or integer(int(narrow.removeprefix("int")))
    assert FORMATS[wide].holds(small) is holds


def test_holding_is_an_order() -> None:
    formats = [f for f in FORMATS.values() if f.name != "string"]
    assert all(f.holds(f) for f in formats)
    for a, b in product(formats, formats):
        if a.holds(b):
            assert all(a.holds(c) for c in formats if b.holds(c))


def test_bits_are_sign_exponent_and_mantissa() -> None:
    widths = {"fp64": 64, "fp32": 32, "tf32": 19, "fp16": 16, "bf16": 16, "fp8e4m3": 8}
    widths |= {"fp8e5m2": 8, "fp6e2m3": 6, "fp6e3m2": 6, "fp4e2m1": 4, "bool": 1, "int5": 5}
    assert {name: FORMATS[name].bits for name in widths} == widths
    assert all(name == fmt.name for name, fmt in FORMATS.items())


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("int8", "int8"),
        (" INT8 ", "int8"),
        ("i4", "int4"),
        ("u16", "uint16"),
        ("i08", "int8"),
        ("half", "fp16"),
        ("float", "fp32"),
        ("double", "fp64"),
        ("bfloat16", "bf16"),
        ("fp8", "fp8e4m3"),
    ],
)
def test_names_people_write(text: str, name: str) -> None:
    assert parse_format(text) == FORMATS[name]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("itn8", "unknown number format 'itn8'; did you mean 'int8'?"),
        ("bf61", "unknown number format 'bf61'; did you mean 'bf16'?"),
    ],
)
def test_unknown_formats(text: str, message: str) -> None:
    with pytest.raises(OptionError) as caught:
        parse_format(text)
    assert str(caught.value) == message


@pytest.mark.parametrize("text", ["", "i0", "i65", "int33", "u-1", "int", "\u0668"])
def test_what_is_no_format(text: str) -> None:
    with pytest.raises(OptionError, match=r"^unknown number format '"):
        parse_format(text)


@pytest.mark.parametrize("bits", [0, -1, 65])
def test_integers_have_1_to_64_bits(bits: int) -> None:
    with pytest.raises(OptionError) as caught:
        integer(bits)
    assert str(caught.value) == f"an integer format has 1 to 64 bits, got {bits}"


@pytest.mark.parametrize(
    ("text", "weight", "activation", "shown"),
    [
        ("w8a8", "int8", "int8", "w8a8"),
        ("W4A16", "int4", "int16", "w4a16"),
        (" w1a32 ", "int1", "int32", "w1a32"),
        ("bf16", "bf16", "bf16", "bf16"),
        ("int8", "int8", "int8", "w8a8"),
        ("uint4", "uint4", "uint4", "w4a4"),
    ],
)
def test_precisions(text: str, weight: str, activation: str, shown: str) -> None:
    parsed = parse_precision(text)
    assert parsed == LayerPrecision(FORMATS[weight], FORMATS[activation])
    assert str(parsed) == shown


def test_a_pair_of_different_kinds_names_both() -> None:
    assert str(LayerPrecision(FORMATS["int4"], FORMATS["bf16"])) == "w:int4 a:bf16"


@pytest.mark.parametrize("text", ["w0a8", "w8a0", "w33a8", "w64a64"])
def test_widths_of_a_precision(text: str) -> None:
    with pytest.raises(OptionError) as caught:
        parse_precision(text)
    assert str(caught.value) == f"precision '{text}': widths go from 1 to 32 bits"


@pytest.mark.parametrize("text", ["", "w8", "w8a", "8", "w8a8w8", "w100a8", "w-1a8"])
def test_what_is_no_precision(text: str) -> None:
    with pytest.raises(OptionError) as caught:
        parse_precision(text)
    assert str(caught.value) == (
        f"unknown precision '{text}': expected w<bits>a<bits> such as w8a8, or a format such as "
        "int8, fp64, fp32, tf32, fp16, bf16, fp8e4m3, fp8e5m2, fp6e2m3, fp6e3m2, fp4e2m1"
    )
