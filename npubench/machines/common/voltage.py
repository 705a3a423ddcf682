"""Supply voltage: dynamic energy, achievable clock and leakage by the laws that a spec states.

A spec names a nominal supply and, for each of the three, a law with its source: a measured table or
a formula with the range it holds in. Factors are relative to the nominal supply, 1 there by
construction; outside the range that all three laws cover the answer is an error. Only the die
scales: memories off chip keep their own supply.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal, TypeVar

from pydantic import BaseModel, model_validator

from npubench import units
from npubench.errors import OptionError, Problem
from npubench.specs.quantity import Frequency, Quantity, Ratio, Refused, SpecModel, Voltage, refusal

__all__ = ["LawSpec", "PointSpec", "ScalingFactors", "VoltageSpec", "at_supply"]

_Model = TypeVar("_Model", bound=BaseModel)
_Role = Literal["energy", "delay", "leakage"]
_Confidence = Literal["published", "secondary", "recalled", "derived", "assumed", "calibrated"]
_Kind = Literal["table", "polynomial", "square", "power", "alpha_power", "exponential"]

# Which parameters each law takes, and what it may describe.
_PARAMETERS: dict[str, tuple[str, ...]] = {
    "table": ("points",),
    "polynomial": ("coefficients",),
    "square": (),
    "power": ("exponent",),
    "alpha_power": ("threshold", "alpha"),
    "exponential": ("scale",),
}
_LAWS: dict[_Role, tuple[_Kind, ...]] = {
    "energy": ("table", "polynomial", "square", "power"),
    "delay": ("table", "power", "alpha_power"),
    "leakage": ("table", "power", "exponential"),
}


@dataclass(frozen=True, slots=True)
class ScalingFactors:
    """What a supply does to constants given at the nominal one.

    Attributes:
        energy: factor on dynamic energies.
        frequency: factor on the highest clock, the inverse of the delay's.
        leakage: factor on static power (leakage current times supply).
    """

    energy: float
    frequency: float
    leakage: float


class PointSpec(SpecModel):
    """One measured point: a supply, and the quantity there in any unit (only ratios count)."""

    voltage: Voltage
    value: Ratio


class LawSpec(SpecModel):
    """How one quantity depends on the supply V.

    Attributes:
        law: ``table``: measured ``points``; between two of them the power of V through both, so
            the curve meets every point and rises or falls with them.
            ``polynomial``: a V^2 + b V + c (energy; Stillmaker and Baas, Integration 58, 2017).
            ``square``: V^2 (energy), an assumption wherever it is used: it takes the whole swing
            and a constant capacitance for granted and fails near threshold.
            ``power``: V^n for energy and leakage, V^-n for delay, with a published n.
            ``alpha_power``: V / (V - V_t)^alpha (delay; Sakurai and Newton, IEEE JSSC 25(2), 1990).
            ``exponential``: V exp(V / s), subthreshold current with drain-induced barrier
            lowering times supply (leakage).
        range: where a formula holds, ``0.6..0.9 V``; a table has its own ends.
        points, coefficients, exponent, threshold, alpha, scale: parameters of the laws above;
            coefficients are (a, b, c) for V in volts.
        source: where law and parameters are from.
        confidence: of the law as a whole.
    """

    law: _Kind
    range: str | None = None
    points: tuple[PointSpec, ...] | None = None
    coefficients: tuple[float, ...] | None = None
    exponent: Ratio | None = None
    threshold: Voltage | None = None
    alpha: Ratio | None = None
    scale: Voltage | None = None
    source: str
    confidence: _Confidence

    @model_validator(mode="after")
    def _consistent(self) -> LawSpec:
        wanted = _PARAMETERS[self.law]
        known = {name for names in _PARAMETERS.values() for name in names}
        wrong: list[Refused] = [
            ((), f"law '{self.law}' needs '{name}'", None)
            for name in wanted
            if getattr(self, name) is None
        ]
        wrong += [
            ((name,), f"does not go with law '{self.law}'", None)
            for name in sorted(known - set(wanted))
            if getattr(self, name) is not None
        ]
        wrong += self._wrong_range() or self._wrong_shape()
        if self.law == "square" and self.confidence != "assumed":
            wrong.append((("confidence",), "law 'square' is an assumption: write 'assumed'", None))
        if wrong:
            raise refusal(*wrong)
        return self

    def _wrong_range(self) -> list[Refused]:
        if self.law == "table":
            if self.range is not None:
                return [(("range",), "a table holds between its first and last point", None)]
            return []
        if self.range is None:
            return [((), f"law '{self.law}' needs 'range', where it holds", None)]
        try:
            low, _ = units.parse_range(self.range, "voltage")
        except units.UnitError as error:
            return [(("range",), error.message, error.hint)]
        if low.value <= 0.0:
            return [(("range",), "must begin above 0 V", None)]
        return []

    def _wrong_shape(self) -> list[Refused]:
        """Parameters for which the law would not be a positive curve of one direction."""
        if self.law == "table" and self.points is not None:
            supplies = [point.voltage.value for point in self.points]
            if len(supplies) < 2 or any(a >= b for a, b in pairwise(supplies)) or supplies[0] <= 0:
                return [(("points",), "needs two or more, in order of rising voltage", None)]
        if self.coefficients is not None and len(self.coefficients) != 3:
            return [(("coefficients",), "expected three: a, b, c of a V^2 + b V + c", None)]
        if self.alpha is not None and not 1.0 <= self.alpha.value <= 2.0:
            return [(("alpha",), "must be between 1 and 2", None)]
        if self.scale is not None and self.scale.value <= 0.0:
            return [(("scale",), "must be above 0 V", None)]
        if self.threshold is not None and self.limits[0] <= self.threshold.value:
            return [(("range",), f"must begin above the threshold of {self.threshold}", None)]
        return []

    @property
    def limits(self) -> tuple[float, float]:
        """Lowest and highest supply that the law covers, in volts."""
        if self.points is not None:
            return self.points[0].voltage.value, self.points[-1].voltage.value
        low, high = units.parse_range(self.range or "", "voltage")
        return low.value, high.value

    def value(self, supply: float, role: _Role) -> float:
        """The law at a supply inside its limits, up to a constant factor."""
        if self.points is not None:
            return _between(self.points, supply)
        if self.coefficients is not None:
            a, b, c = self.coefficients
            return (a * supply + b) * supply + c
        if self.exponent is not None:
            return math.pow(
                supply, -self.exponent.value if role == "delay" else self.exponent.value
            )
        if self.threshold is not None and self.alpha is not None:
            return supply / math.pow(supply - self.threshold.value, self.alpha.value)
        if self.scale is not None:
            return supply * math.exp(supply / self.scale.value)
        return supply * supply


def _between(points: tuple[PointSpec, ...], supply: float) -> float:
    """Power law through the two points around a supply: straight in logarithms."""
    above = next(i for i, p in enumerate(points) if i and supply <= p.voltage.value)
    low, high = points[above - 1], points[above]
    if supply == high.voltage.value:
        return high.value.value
    share = math.log(supply / low.voltage.value) / math.log(high.voltage.value / low.voltage.value)
    return low.value.value * math.pow(high.value.value / low.value.value, share)


class VoltageSpec(SpecModel):
    """The supply of a die and what follows from it.

    Attributes:
        nominal: the supply at which the spec's constants hold.
        supply: the supply in force; a knob points here.
        range: where the design runs, no wider than its laws; left out, what all laws cover.
        energy: law of dynamic energy an operation.
        delay: law of the critical path; its inverse is the clock's.
        leakage: law of static power.
        clock: ``scaled``: the spec's clock follows the supply; ``kept``: it stays, wherever the
            supply allows it.
        highest_clock: at the nominal supply; needed to keep a clock.
    """

    nominal: Voltage
    supply: Voltage
    range: str | None = None
    energy: LawSpec
    delay: LawSpec
    leakage: LawSpec
    clock: Literal["scaled", "kept"] = "scaled"
    highest_clock: Frequency | None = None

    @model_validator(mode="after")
    def _consistent(self) -> VoltageSpec:
        wrong: list[Refused] = []
        laws: dict[_Role, LawSpec] = {
            "energy": self.energy,
            "delay": self.delay,
            "leakage": self.leakage,
        }
        for role, law in laws.items():
            if law.law not in _LAWS[role]:
                message = f"no law of {role}: expected one of {', '.join(_LAWS[role])}"
                wrong.append(((role, "law"), message, None))
            else:
                wrong += self._wrong_law(role, law)
        if self.clock == "kept" and self.highest_clock is None:
            wrong.append(((), "'clock: kept' needs 'highest_clock'", None))
        if self.range is not None:
            try:
                low, high = units.parse_range(self.range, "voltage")
            except units.UnitError as error:
                raise refusal((("range",), error.message, error.hint)) from None
            covered = self._covered
            if low.value < covered[0] or high.value > covered[1]:
                message = f"wider than the {_span(covered)} that the laws cover"
                wrong.append((("range",), message, None))
            elif not low.value <= self.nominal.value <= high.value:
                wrong.append((("nominal",), "lies outside the range of supplies", None))
        if wrong:
            raise refusal(*wrong)
        return self

    def _wrong_law(self, role: _Role, law: LawSpec) -> list[Refused]:
        low, high = law.limits
        if not low <= self.nominal.value <= high:
            message = f"covers {_span(law.limits)}, not the nominal {self.nominal}"
            return [((role,), message, None)]
        samples = [law.value(low + (high - low) * i / 64, role) for i in range(64)]
        samples.append(law.value(high, role))
        if role == "delay":
            samples.reverse()
        if samples[0] <= 0.0 or any(a > b for a, b in pairwise(samples)):
            way = "fall" if role == "delay" else "rise"
            return [
                (
                    (role,),
                    f"must be positive and {way} with voltage over {_span((low, high))}",
                    None,
                )
            ]
        return []

    @property
    def _covered(self) -> tuple[float, float]:
        """The supplies that every law covers."""
        limits = [law.limits for law in (self.energy, self.delay, self.leakage)]
        return max(low for low, _ in limits), min(high for _, high in limits)

    @property
    def limits(self) -> tuple[float, float]:
        """Lowest and highest supply allowed, in volts."""
        if self.range is None:
            return self._covered
        low, high = units.parse_range(self.range, "voltage")
        return low.value, high.value

    def factors(self, supply: float | None = None) -> ScalingFactors:
        """Factors at a supply in volts, by default the one in force.

        Raises:
            OptionError: the supply lies outside the range in which the laws hold.
        """
        volts = self.supply.value if supply is None else supply
        low, high = self.limits
        if not low <= volts <= high:
            raise OptionError(
                Problem(
                    f"a supply of {units.describe(volts, 'voltage')} is outside the "
                    f"{_span((low, high))} in which the voltage laws of this design hold",
                    hint="nothing is extrapolated; a table or formula with a wider range would be",
                )
            )
        return ScalingFactors(
            energy=self._factor(self.energy, "energy", volts),
            frequency=1.0 / self._factor(self.delay, "delay", volts),
            leakage=self._factor(self.leakage, "leakage", volts),
        )

    def clock_hz(self, stated: float, supply: float) -> float:
        """The clock in force at a supply for a stated one, in hertz and volts.

        Raises:
            OptionError: it is to be kept, and the supply does not allow it; or as `factors`.
        """
        frequency = self.factors(supply).frequency
        if self.clock == "scaled":
            return stated * frequency
        assert self.highest_clock is not None  # the schema demands it where clocks are kept
        highest = self.highest_clock.value * frequency
        if stated > highest:
            raise OptionError(
                Problem(
                    f"a clock of {units.describe(stated, 'frequency')} needs more than "
                    f"{units.describe(supply, 'voltage')}, which allows "
                    f"{units.describe(highest, 'frequency')}",
                    hint="lower 'clock', raise the supply, or set 'voltage.clock' to 'scaled'",
                )
            )
        return stated

    def _factor(self, law: LawSpec, role: _Role, volts: float) -> float:
        if volts == self.nominal.value:
            return 1.0
        return law.value(volts, role) / law.value(self.nominal.value, role)


def _span(limits: tuple[float, float]) -> str:
    low, high = (units.describe(volts, "voltage") for volts in limits)
    return f"{low} to {high}"


def at_supply(
    spec: _Model, voltage: VoltageSpec | None, *, off_chip: Callable[[BaseModel], bool]
) -> _Model:
    """A spec whose constants hold at the supply in force.

    Energies (per operation, bit or length) take the energy factor, powers the leakage factor and
    clocks the frequency factor, unless they are kept. Bandwidths per second, capacities, areas and
    everything off chip stay. Each changed constant says so in its source.

    Args:
        spec: whose constants hold at the nominal supply.
        voltage: None leaves the spec as it is.
        off_chip: whether a part of the spec has a supply of its own.

    Raises:
        OptionError: the supply is out of range, or too low for a clock that is to be kept.
    """
    if voltage is None:
        return spec
    factors = voltage.factors()
    energy = (factors.energy, voltage.energy)
    by_dimension = {
        "energy": energy,
        "energy_per_bit": energy,
        "wire_energy": energy,
        "power": (factors.leakage, voltage.leakage),
    }
    if voltage.clock == "scaled":
        by_dimension["frequency"] = (factors.frequency, voltage.delay)

    def constant(quantity: Quantity) -> Quantity:
        if quantity.dimension in by_dimension:
            return _times(quantity, *by_dimension[quantity.dimension], str(voltage.supply))
        if quantity.dimension == "frequency":
            voltage.clock_hz(quantity.value, voltage.supply.value)
        return quantity

    return _rebuilt(spec, constant, off_chip)


def _times(quantity: Quantity, factor: float, law: LawSpec, supply: str) -> Quantity:
    """A scaled constant: never surer than the constant and the law were."""
    if factor == 1.0:
        return quantity
    note = f"x {factor:.4g} at {supply} (law {law.law}, {law.confidence})"
    origins = {quantity.confidence, law.confidence}
    weakest = next((word for word in ("calibrated", "assumed") if word in origins), "derived")
    return replace(
        quantity,
        value=quantity.value * factor,
        low=None if quantity.low is None else quantity.low * factor,
        high=None if quantity.high is None else quantity.high * factor,
        source=f"{quantity.source}; {note}" if quantity.source else note,
        confidence=weakest,
    )


def _rebuilt(
    model: _Model, constant: Callable[[Quantity], Quantity], off_chip: Callable[[BaseModel], bool]
) -> _Model:
    """A model with every quantity passed through a function; the laws and parts off chip stay."""
    if isinstance(model, VoltageSpec) or off_chip(model):
        return model

    def part(value: object) -> object:
        if isinstance(value, Quantity):
            return constant(value)
        if isinstance(value, BaseModel):
            return _rebuilt(value, constant, off_chip)
        if isinstance(value, tuple):
            return tuple(part(item) for item in value)
        if isinstance(value, dict):
            return {key: part(item) for key, item in value.items()}
        return value

    fields = {name: getattr(model, name) for name in type(model).model_fields}
    return model.model_copy(update={name: part(value) for name, value in fields.items()})
