"""Text with a unit to a number in SI base units, and back again for reports.

A quantity is a decimal number and a unit, ``0.10 pJ``. Inside npubench every value is a float in
the base unit of its dimension (``DIMENSIONS[name].base``): J, s, Hz, bit, bit/s, bit/cycle, W, V,
m, with mm2 for areas and J/bit/mm for wires. Case matters, as SI has it: ``mW`` is not ``MW``,
``kB`` is 1000 bytes and ``KiB`` 1024. ``µ`` may stand for ``u`` and ``²`` for ``2``.
"""

from __future__ import annotations

import difflib
import math
import re
from dataclasses import dataclass
from decimal import Context, Decimal
from functools import lru_cache
from types import MappingProxyType
from typing import NamedTuple

from npubench.errors import InputError, Problem

__all__ = [
    "DIMENSIONS",
    "Dimension",
    "Measure",
    "UnitError",
    "describe",
    "engineering",
    "parse",
    "parse_any",
    "parse_range",
    "quoted",
    "scaled",
    "significant",
]


class UnitError(InputError, ValueError):
    """Text that is not the quantity wanted; a ValueError too, so that pydantic can place it."""

    def __init__(self, message: str, hint: str | None = None) -> None:
        self.message = message
        self.hint = hint
        super().__init__(Problem(message, hint=hint))


@dataclass(frozen=True, slots=True)
class Dimension:
    """A kind of quantity: its noun with article, its base unit, and an example to show users."""

    noun: str
    base: str
    example: str

    @property
    def expected(self) -> str:
        """``an energy such as '0.1 pJ'``."""
        return f"{self.noun} such as '{self.example}'"


class Measure(NamedTuple):
    """A parsed quantity: the value in the base unit of its dimension, and the unit as written."""

    value: float
    dimension: str
    unit: str


DIMENSIONS = MappingProxyType(
    {
        "energy": Dimension("an energy", "J", "0.1 pJ"),
        "energy_per_bit": Dimension("an energy per bit", "J/bit", "4 pJ/bit"),
        "wire_energy": Dimension("an energy per bit and length", "J/bit/mm", "0.1 pJ/bit/mm"),
        "time": Dimension("a time", "s", "3 ns"),
        "cycles": Dimension("a number of cycles", "cycles", "4 cycles"),
        "frequency": Dimension("a frequency", "Hz", "1 GHz"),
        "capacity": Dimension("a capacity", "bit", "512 KiB"),
        "bandwidth": Dimension("a bandwidth", "bit/s", "16 GB/s"),
        "cycle_bandwidth": Dimension("a bandwidth per cycle", "bit/cycle", "128 bit/cycle"),
        "power": Dimension("a power", "W", "250 mW"),
        "power_density": Dimension("a power per area", "W/mm2", "50 mW/mm2"),
        "voltage": Dimension("a voltage", "V", "0.8 V"),
        "area": Dimension("an area", "mm2", "1.5 mm2"),
        "length": Dimension("a length", "m", "7 nm"),
        "dimensionless": Dimension("a plain number", "", "0.5"),
    }
)

_SMALL = {"a": -18, "f": -15, "p": -12, "n": -9, "u": -6, "m": -3, "": 0}
_LARGE = {"": 0, "k": 3, "M": 6, "G": 9, "T": 12}
_BINARY = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}
_PREFIXES = {**_SMALL, **_LARGE, "P": 15, "E": 18}


def _decades(unit: str, prefixes: dict[str, int]) -> dict[str, Decimal]:
    return {prefix + unit: Decimal(1).scaleb(power) for prefix, power in prefixes.items()}


def _data(unit: str, bits: int) -> dict[str, Decimal]:
    binary = {prefix + unit: Decimal(factor) for prefix, factor in _BINARY.items()}
    return {name: bits * factor for name, factor in (_decades(unit, _LARGE) | binary).items()}


def _per(units: dict[str, Decimal], divisors: dict[str, int]) -> dict[str, Decimal]:
    return {
        f"{unit}/{divisor}": factor / size
        for unit, factor in units.items()
        for divisor, size in divisors.items()
    }


def _unit_table() -> dict[str, tuple[str, Decimal]]:
    """Every accepted unit with its dimension and its exact size in the base unit."""
    energy = _decades("J", _SMALL | {"k": 3})
    power = _decades("W", _SMALL | _LARGE)
    data = _data("bit", 1) | _data("B", 8)
    area = {"mm2": Decimal(1), "um2": Decimal("1e-6"), "cm2": Decimal(100), "m2": Decimal("1e6")}
    tables = {
        "energy": energy,
        "energy_per_bit": _per(energy, {"bit": 1, "B": 8}),
        "wire_energy": _per(energy, {"bit/mm": 1, "B/mm": 8}),
        "time": _decades("s", _SMALL),
        "cycles": {"cycles": Decimal(1), "cycle": Decimal(1)},
        "frequency": _decades("Hz", _LARGE),
        "capacity": data,
        "bandwidth": _per(data, {"s": 1}),
        "cycle_bandwidth": _per(data, {"cycle": 1}),
        "power": power,
        "power_density": _per(power, {"mm2": 1, "cm2": 100}),
        "voltage": _decades("V", _SMALL | {"k": 3}),
        "area": area,
        "length": _decades("m", _SMALL) | {"cm": Decimal("1e-2")},
        "dimensionless": {"": Decimal(1), "%": Decimal("0.01")},
    }
    return {
        unit: (dimension, factor)
        for dimension, units in tables.items()
        for unit, factor in units.items()
    }


_UNITS = MappingProxyType(_unit_table())

# Spellings whose nearest neighbour would be the wrong one: 'b' may mean a bit or a byte.
_SPELLINGS = {
    "KB": "'kB' (1000 bytes) or 'KiB' (1024 bytes)",
    "KB/s": "'kB/s' (1000 bytes) or 'KiB/s' (1024 bytes)",
    "b": "'bit' or 'B'",
    "bits": "'bit'",
    "bytes": "'B'",
    "byte": "'B'",
    "sec": "'s'",
} | {
    f"{prefix}{wrong}": f"'{prefix}bit{per}' or '{prefix}B{per}'"
    for prefix in _LARGE
    for wrong, per in (("b", ""), ("b/s", "/s"), ("bps", "/s"), ("Bps", "/s"))
    if prefix + wrong != "b"
}

_NUMBER = r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?"
_MEASURE = re.compile(rf"({_NUMBER})[ \t]*([^\s0-9.+_-]\S*)?", re.ASCII)
# Wide enough that number x factor is exact for any number of at most 64 characters.
_EXACT = Context(prec=128)
_LONGEST = 64
# Texts read before: the points of a sweep, and the commands of a service, read the same specs.
_REMEMBERED = 4096


def quoted(text: str) -> str:
    """``text`` in quotes for a message, on one line and cut where it is long."""
    line = " ".join(text.split())
    return f"'{line}'" if len(line) <= _LONGEST else f"'{line[:_LONGEST]}...'"


def _normal(text: str) -> str:
    # Micro sign and Greek mu both occur in the wild.
    return text.strip().replace("\u00b5", "u").replace("\u03bc", "u").replace("\u00b2", "2")


def _unit_hint(unit: str, dimension: str | None) -> str | None:
    """The unit meant: from the table of traps, else by case, else the nearest spelling."""
    if unit in _SPELLINGS:
        return f"did you mean {_SPELLINGS[unit]}?"
    wanted = sorted(u for u, (d, _) in _UNITS.items() if u and dimension in (None, d))
    same = [u for u in wanted if u.lower() == unit.lower()]
    if same:
        return f"did you mean {' or '.join(map(repr, same))}?"
    near = difflib.get_close_matches(unit, wanted, n=1, cutoff=0.6)
    return f"did you mean {near[0]!r}?" if near else None


def _split(text: str, dimension: str | None) -> tuple[Decimal, str]:
    """Number and unit of a text, the unit checked against the table but not the dimension."""
    expected = DIMENSIONS[dimension].expected if dimension else "a number with a unit"
    refusal = f"expected {expected}, got {quoted(text)}"
    clean = _normal(text)
    match = _MEASURE.fullmatch(clean) if len(clean) <= _LONGEST else None
    if match is None:
        raise UnitError(refusal)
    unit = match[2] or ""
    if unit not in _UNITS:
        raise UnitError(f"{refusal}: unknown unit {quoted(unit)}", _unit_hint(unit, dimension))
    return Decimal(match[1]), unit


def _base_value(number: Decimal, unit: str, text: str) -> float:
    value = float(_EXACT.multiply(number, _UNITS[unit][1]))
    if not math.isfinite(value) or (value == 0.0 and number != 0):
        size = "small" if value == 0.0 else "large"
        raise UnitError(f"{quoted(text)} is too {size} a number")
    return value


@lru_cache(maxsize=_REMEMBERED)
def parse_any(text: str) -> Measure:
    """The quantity that a text states, whatever its dimension.

    Raises:
        UnitError: no number, an unknown unit, or a value beyond the range of a float.
    """
    number, unit = _split(text, None)
    return Measure(_base_value(number, unit, text), _UNITS[unit][0], unit)


@lru_cache(maxsize=_REMEMBERED)
def parse(text: str, dimension: str) -> float:
    """The value of ``text`` in the base unit of ``dimension`` (a key of `DIMENSIONS`).

    ``parse("0.10 pJ", "energy")`` is 1e-13, correctly rounded.

    Raises:
        UnitError: not a decimal number, no unit or an unknown one, or a unit of another dimension.
    """
    number, unit = _split(text, dimension)
    found = _UNITS[unit][0]
    if found != dimension:
        what = "no unit" if not unit else DIMENSIONS[found].noun
        raise UnitError(
            f"expected {DIMENSIONS[dimension].expected}, got {quoted(text)} ({what})",
        )
    return _base_value(number, unit, text)


@lru_cache(maxsize=_REMEMBERED)
def parse_range(text: str, dimension: str | None = None) -> tuple[Measure, Measure]:
    """Both ends of ``0.08..0.12 pJ`` or ``80 fJ..0.12 pJ``.

    A lower end without unit takes the unit of the upper end.

    Args:
        text: the range.
        dimension: what both ends must be; None takes the dimension of the upper end.

    Raises:
        UnitError: not two quantities of one dimension, or the lower end above the upper.
    """
    ends = text.split("..")
    if len(ends) != 2:
        example = DIMENSIONS[dimension or "energy"].example
        raise UnitError(f"expected a range such as '{example}..{example}', got {quoted(text)}")
    high_number, unit = _split(ends[1], dimension)
    wanted = dimension or _UNITS[unit][0]
    high = Measure(parse(ends[1], wanted), wanted, unit)
    low_number, low_unit = _split(ends[0], wanted)
    if low_unit:
        low = Measure(parse(ends[0], wanted), wanted, low_unit)
    else:
        low = Measure(_base_value(low_number, unit, ends[0]), wanted, unit)
    if low.value > high.value:
        raise UnitError(f"range {quoted(text)} runs downwards: {low_number} is above {high_number}")
    return low, high


def significant(value: float, digits: int = 3) -> str:
    """``value`` to so many significant digits, without exponent while that stays short."""
    if not math.isfinite(value):
        return str(value)
    if value == 0.0:
        return "0"
    power = int(f"{value:.{digits - 1}e}".partition("e")[2])
    if -4 <= power < 7:
        return f"{round(value, digits - 1 - power):.{max(digits - 1 - power, 0)}f}"
    return f"{value:.{digits - 1}e}"


def _prefix_for(value: float, digits: int) -> str:
    """The SI prefix that leaves one to three digits before the point after rounding."""
    power = int(f"{value:.{digits - 1}e}".partition("e")[2])
    wanted = 3 * (power // 3)
    return next((prefix for prefix, exponent in _PREFIXES.items() if exponent == wanted), "")


def _takes_prefix(unit: str) -> bool:
    # 'kmm2' and 'mcycles' are no units: powers, ratios and counts stay as they are.
    return unit not in ("", "%", "mm2", "bit/cycle") and not unit.startswith("cycle")


def scaled(value: float, unit: str, prefix: str) -> float:
    """``value`` of ``unit`` in the multiple ``prefix + unit``: ``scaled(0.0012, "s", "m")`` is 1.2.

    Args:
        value: in ``unit``.
        unit: any unit that takes a prefix, ``J``, ``B`` or ``J*s``.
        prefix: SI (``f`` to ``E``) or binary (``Ki`` to ``Ti``); empty for none.

    Raises:
        ValueError: no such prefix, or a unit that takes none.
    """
    if not prefix:
        return value
    if not _takes_prefix(unit) or prefix not in _PREFIXES.keys() | _BINARY.keys():
        raise ValueError(f"no unit '{prefix}{unit}'")
    if prefix in _BINARY:
        return value / _BINARY[prefix]
    power = _PREFIXES[prefix]
    # Powers of ten up to 22 are exact floats, so this rounds once; a factor 1e-3 would round twice.
    return value / 10.0**power if power > 0 else value * 10.0**-power


def engineering(value: float, unit: str, digits: int = 3) -> str:
    """``value`` of ``unit`` under its SI prefix: ``engineering(0.00123, "s")`` is ``1.23 ms``."""
    if not math.isfinite(value) or value == 0.0 or not _takes_prefix(unit):
        return f"{significant(value, digits)} {unit}".rstrip()
    prefix = _prefix_for(value, digits)
    return f"{significant(scaled(value, unit, prefix), digits)} {prefix}{unit}"


def describe(value: float, dimension: str) -> str:
    """A value in base units as a datasheet has it, to six digits: ``512 KiB``, ``4 pJ/bit``."""
    unit, prefix = DIMENSIONS[dimension].base, ""
    if dimension == "capacity" and value >= 8:
        value, unit = value / 8, "B"
        prefix = next((p for p, size in reversed(_BINARY.items()) if value >= size), "")
    else:
        if dimension == "bandwidth" and value >= 8:
            value, unit = value / 8, "B/s"
        if value != 0.0 and _takes_prefix(unit):
            prefix = _prefix_for(value, 6)
    return f"{scaled(value, unit, prefix):.6g} {prefix}{unit}".rstrip()
