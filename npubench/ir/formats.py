"""Number formats: what a tensor's elements are, and what a machine multiplies.

A format is an integer of some bits or a float with a significand; that is all a cost model and a
legaliser need to know. Signedness is kept for tensors, and does not matter for cost.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from npubench.errors import OptionError, did_you_mean

__all__ = ["FORMATS", "Format", "integer", "parse_format"]

Kind = Literal["int", "uint", "float"]


@dataclass(frozen=True, slots=True)
class Format:
    """One number format.

    Attributes:
        name: canonical spelling: ``int8``, ``uint4``, ``bf16``, ``fp32``, ``fp8e4m3``, ``bool``.
        kind: signed integer, unsigned integer or float.
        bits: storage width.
        significand_bits: bits of an integer that are represented exactly: the width itself for
            integers, the significand with its hidden bit for floats.
        exponent_bits: 0 for integers.
    """

    name: str
    kind: Kind
    bits: int
    significand_bits: int
    exponent_bits: int = 0

    @property
    def is_float(self) -> bool:
        """Whether this is a floating-point format."""
        return self.kind == "float"

    def holds(self, other: Format) -> bool:
        """Whether every value of ``other`` has an exact value here (range and significand).

        Signedness is left out of the comparison between integers: a machine of int8 runs uint8
        by its zero point, which every integer array offers.
        """
        if other.is_float:
            return (
                self.is_float
                and self.exponent_bits >= other.exponent_bits
                and self.significand_bits >= other.significand_bits
            )
        return self.significand_bits >= other.bits

    def __str__(self) -> str:
        return self.name


def integer(bits: int, *, signed: bool = True) -> Format:
    """The integer format of a width, 1 to 64 bits."""
    if not 1 <= bits <= 64:
        raise OptionError(f"an integer format has 1 to 64 bits, got {bits}")
    return Format(f"{'int' if signed else 'uint'}{bits}", "int" if signed else "uint", bits, bits)


def _float(name: str, exponent: int, mantissa: int) -> Format:
    return Format(name, "float", 1 + exponent + mantissa, mantissa + 1, exponent)


FORMATS: dict[str, Format] = {
    f.name: f
    for f in (
        _float("fp64", 11, 52),
        _float("fp32", 8, 23),
        _float("tf32", 8, 10),
        _float("fp16", 5, 10),
        _float("bf16", 8, 7),
        _float("fp8e4m3", 4, 3),
        _float("fp8e5m2", 5, 2),
        _float("fp6e2m3", 2, 3),
        _float("fp6e3m2", 3, 2),
        _float("fp4e2m1", 2, 1),
        Format("bool", "uint", 1, 1),
        Format("string", "uint", 64, 64),
        *(integer(b) for b in range(1, 33)),
        *(integer(b, signed=False) for b in range(1, 33)),
        integer(64),
        integer(64, signed=False),
    )
}

_ALIASES = {
    "bfloat16": "bf16",
    "float16": "fp16",
    "half": "fp16",
    "float": "fp32",
    "float32": "fp32",
    "float64": "fp64",
    "double": "fp64",
    "fp8": "fp8e4m3",
}


def parse_format(text: str) -> Format:
    """The format of a name such as ``int8``, ``i8``, ``bf16`` or ``float32``.

    Raises:
        OptionError: no such format.
    """
    name = text.strip().lower()
    name = _ALIASES.get(name, name)
    short = re.fullmatch(r"([iu])([0-9]{1,2})", name)
    if short:
        name = f"{'int' if short[1] == 'i' else 'uint'}{int(short[2])}"
    found = FORMATS.get(name)
    if found is None:
        hint = did_you_mean(name, FORMATS) or ""
        raise OptionError(f"unknown number format '{text}'; {hint}")
    return found
