"""The axes of a sweep: ``NAME=VALUES`` to a name and its values as text."""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal

from npubench.errors import OptionError

__all__ = ["HARDWARE_AXES", "WORKLOAD_AXIS", "Axis", "parse_axis"]

HARDWARE_AXES = ("hw", "hardware")
WORKLOAD_AXIS = "workload"

# A step far too small is a slip of the finger; a grid this long on one axis is no use to anyone.
_MOST_VALUES = 100_000
_NUMBER = re.compile(r"([+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?)\s*([^\s0-9].*)?")


@dataclass(frozen=True, slots=True)
class Axis:
    """One direction of a grid: what varies, and its values in order, as text."""

    name: str
    values: tuple[str, ...]


def parse_axis(text: str) -> Axis:
    """An axis from ``NAME=VALUES``.

    VALUES are separated by commas; each is a value or a range ``start:stop:step`` that includes
    its stop where the steps meet it. Steps are exact decimals, so ``0.5:1.0:0.05`` has 11 values.
    A step ``*2`` multiplies: ``16:128:*2`` is 16, 32, 64, 128. A unit may follow every number of a
    range, or the last only: ``0.7:1.4:0.1 GHz``, ``64:1024:*2 KiB``.

    Raises:
        OptionError: no name, no values, a range that is none, or a value given twice.
    """
    name, equals, listing = text.partition("=")
    name = name.strip()
    if not equals or not name:
        raise OptionError(f"--axis '{text}': expected NAME=VALUES such as clock=0.7:1.4:0.1GHz")
    values: list[str] = []
    for part in map(str.strip, listing.split(",")):
        if not part:
            raise OptionError(f"--axis '{text}': an empty value; the grid would have no points")
        is_name = name in (*HARDWARE_AXES, WORKLOAD_AXIS)
        values += [part] if is_name else _expand(part, text)
    twice = [value for value in dict.fromkeys(values) if values.count(value) > 1]
    if twice:
        raise OptionError(f"--axis '{text}': value '{twice[0]}' is given twice")
    return Axis(name, tuple(values))


def _expand(part: str, text: str) -> list[str]:
    """The values of a range; the part itself when it is none."""
    if ":*" in part.replace(" ", ""):
        return _multiplied(part, text)
    matches = [_NUMBER.fullmatch(piece.strip()) for piece in part.split(":")]
    numbers = [match for match in matches if match is not None]
    if len(matches) == 1 or not numbers:
        return [part]
    if len(numbers) != len(matches) or len(matches) != 3:
        raise OptionError(f"--axis '{text}': '{part}' is no range start:stop:step")
    start, stop, step = (Decimal(match[1]) for match in numbers)
    units = {match[2].strip() for match in numbers if match[2]}
    if len(units) > 1:
        raise OptionError(
            f"--axis '{text}': '{part}' mixes the units {' and '.join(sorted(units))}"
        )
    if not step:
        raise OptionError(f"--axis '{text}': the step of '{part}' is zero")
    count = int((stop - start) / step) + 1
    if (stop - start) / step < 0:
        raise OptionError(f"--axis '{text}': '{part}' has no values, the step leads away from stop")
    if count > _MOST_VALUES:
        raise OptionError(f"--axis '{text}': '{part}' has {count} values, more than {_MOST_VALUES}")
    unit = f" {units.pop()}" if units else ""
    return [f"{_plain(start + index * step)}{unit}" for index in range(count)]


def _multiplied(part: str, text: str) -> list[str]:
    """The values of ``start:stop:*factor``, each the factor times the one before."""
    pieces = part.replace("*", "").split(":")
    matches = [_NUMBER.fullmatch(piece.strip()) for piece in pieces]
    if len(matches) != 3 or not all(matches) or "*" not in part.rpartition(":")[2]:
        raise OptionError(f"--axis '{text}': '{part}' is no range start:stop:*factor")
    known = [match for match in matches if match is not None]
    start, stop, factor = (Decimal(match[1]) for match in known)
    units = {match[2].strip() for match in known if match[2]}
    if len(units) > 1:
        names = " and ".join(sorted(units))
        raise OptionError(f"--axis '{text}': '{part}' mixes the units {names}")
    if start <= 0 or factor <= 1 or stop < start:
        raise OptionError(f"--axis '{text}': '{part}' needs 0 < start <= stop and a factor above 1")
    unit = f" {units.pop()}" if units else ""
    values: list[str] = []
    while start <= stop:
        values.append(f"{_plain(start)}{unit}")
        if len(values) > _MOST_VALUES:
            raise OptionError(f"--axis '{text}': '{part}' has more than {_MOST_VALUES} values")
        start *= factor
    return values


def _plain(number: Decimal) -> str:
    """Without exponent and without zeros at the end of a fraction."""
    return format(number.normalize() + 0, "f")
