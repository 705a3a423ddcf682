"""Bit error rate of an SRAM against its supply voltage, from counts on real silicon."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from functools import cache
from typing import Annotated

from pydantic import Field

from npubench.errors import OptionError
from npubench.specs.catalog import data_folder
from npubench.specs.loader import SpecDocument
from npubench.specs.quantity import SpecModel, Voltage

__all__ = ["ErrorRate", "bit_error_rate"]


class _Point(SpecModel):
    """Errors counted at a voltage."""

    voltage: Voltage
    errors: Annotated[int, Field(ge=1)]


class _Curve(SpecModel):
    """The file; points from the highest voltage down."""

    name: str
    title: str
    source: str
    confidence: str
    nominal: Voltage
    bits: Annotated[int, Field(ge=1)]
    points: tuple[_Point, ...] = Field(min_length=2)
    spread: Annotated[float, Field(gt=0, le=1)]


@dataclass(frozen=True, slots=True)
class ErrorRate:
    """Share of bits that are wrong: of the device measured, and of the best one of its kind."""

    rate: float
    low: float
    source: str


@cache
def _curve() -> _Curve:
    path = data_folder("workloads") / "accuracy" / "sram_bit_errors.yaml"
    return SpecDocument.from_file(path, f"workloads/accuracy/{path.name}").validate(_Curve)


def bit_error_rate(voltage: float) -> ErrorRate:
    """Share of wrong bits at a supply voltage in volts.

    Between measured points the logarithm is interpolated, since errors grow exponentially as the
    voltage falls. Above them no error was seen: the rate is zero.

    Raises:
        OptionError: a voltage below the lowest measured one, where the memory stops working.
    """
    curve = _curve()
    points = [(p.voltage.value, p.errors / curve.bits) for p in curve.points]
    lowest = points[-1][0]
    if not voltage >= lowest - 1e-9:
        raise OptionError(
            f"--faults: {curve.name} was measured down to {lowest:g} V, got {voltage:g} V"
        )
    label = f"{curve.title}: {curve.source}"
    step = points[0][0] - points[1][0]
    if voltage >= points[0][0] + step - 1e-9:
        return ErrorRate(0.0, 0.0, label)
    rate = points[0][1]
    for (above, fewer), (below, more) in itertools.pairwise(points):
        if below - 1e-9 <= voltage <= above + 1e-9:
            share = (above - voltage) / (above - below)
            rate = math.exp(math.log(fewer) * (1 - share) + math.log(more) * share)
            break
    return ErrorRate(rate, rate * curve.spread, label)
