"""Quantities that carry their origin, and the base class of everything read from a spec file.

A family schema is a tree of `SpecModel` classes whose fields are the aliases below (`Energy`,
`Capacity`, `Count`, ...), ``Literal`` for choices, ``tuple`` for lists, ``dict`` for mappings, and
plain ``int``, ``float``, ``bool`` or ``str``. Validation is strict: ``rows: "8"`` is not a number.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Final, Self, TypeAlias

from pydantic import (
    BaseModel,
    ConfigDict,
    ModelWrapValidatorHandler,
    PlainValidator,
    ValidationError,
    model_validator,
)
from pydantic_core import ErrorDetails, InitErrorDetails, PydanticCustomError

from npubench import units
from npubench.errors import did_you_mean
from npubench.specs.tree import INTEGER

__all__ = [
    "CONFIDENCES",
    "REFUSAL",
    "Area",
    "Bandwidth",
    "Capacity",
    "Count",
    "CycleBandwidth",
    "Cycles",
    "Duration",
    "Energy",
    "EnergyPerBit",
    "Fraction",
    "Frequency",
    "NodeLength",
    "Points",
    "Power",
    "PowerDensity",
    "Quantity",
    "Ratio",
    "Refused",
    "SpecModel",
    "Voltage",
    "WireEnergy",
    "refusal",
    "shown",
    "unknown_key_hint",
    "walk_quantities",
]

CONFIDENCES: Final = ("published", "secondary", "recalled", "derived", "assumed", "calibrated")

# The pydantic error type under which our own finished sentences travel to the loader.
REFUSAL: Final = "npubench"

# A mistake below the value being validated: the road to it, a finished message, a hint.
Refused: TypeAlias = tuple[tuple[str | int, ...], str, str | None]

_KEYS: Final = ("value", "range", "source", "confidence")
_LARGEST_COUNT: Final = 2**53  # every smaller integer is exact as a float


@dataclass(frozen=True, slots=True)
class Quantity:
    """A physical constant with its origin.

    Attributes:
        value: in the base unit of ``dimension``.
        dimension: a key of `npubench.units.DIMENSIONS`.
        low: lower end of the stated range, in the same unit; None when none is stated.
        high: upper end.
        source: where the figure is from; empty for a bare assumption.
        confidence: one of `CONFIDENCES`.
    """

    value: float
    dimension: str
    low: float | None = None
    high: float | None = None
    source: str = ""
    confidence: str = "assumed"

    def __post_init__(self) -> None:
        if self.dimension not in units.DIMENSIONS or self.confidence not in CONFIDENCES:
            raise ValueError(f"no quantity of {self.dimension!r}, {self.confidence!r}")
        if not math.isfinite(self.value):
            raise ValueError(f"a quantity is finite, not {self.value}")

    @property
    def unit(self) -> str:
        """The base unit of the value, ``J`` or ``bit/s``; empty for plain numbers."""
        return units.DIMENSIONS[self.dimension].base

    @property
    def integer(self) -> int:
        """The value as an int, for counts, cycles and capacities in bits.

        Raises:
            ValueError: the value is not whole.
        """
        if not self.value.is_integer():
            raise ValueError(f"{self.value} {self.unit} is not a whole number".replace("  ", " "))
        return int(self.value)

    def __str__(self) -> str:
        return units.describe(self.value, self.dimension)


@dataclass(frozen=True, slots=True)
class _Kind:
    """What one alias accepts: a dimension and the bounds of its values."""

    dimension: str
    low: float = 0.0
    low_excluded: bool = False
    high: float = math.inf
    whole: bool = False

    @property
    def expected(self) -> str:
        if self.whole:
            return "a positive whole number such as '128'"
        return units.DIMENSIONS[self.dimension].expected

    def number(self, text: str) -> float:
        """The value of a text, inside the bounds; raises `units.UnitError`."""
        if self.whole:
            if INTEGER.fullmatch(text) is None or not 1 <= int(text) <= _LARGEST_COUNT:
                raise units.UnitError(f"expected {self.expected}, got {units.quoted(text)}")
            return float(text)
        value = units.parse(text, self.dimension)
        self.check(value, text)
        return value

    def check(self, value: float, text: str) -> None:
        """Raise `units.UnitError` for a value outside the bounds."""
        if value < self.low or (self.low_excluded and value == self.low):
            bound = "above" if self.low_excluded else "at least"
            raise units.UnitError(f"must be {bound} {self.low:g}, got {units.quoted(text)}")
        if value > self.high:
            raise units.UnitError(f"must be at most {self.high:g}, got {units.quoted(text)}")
        if self.dimension == "capacity" and not value.is_integer():
            raise units.UnitError(f"must be a whole number of bits, got {units.quoted(text)}")

    def ends(self, text: str) -> tuple[float, float]:
        """Both ends of a range, inside the bounds; raises `units.UnitError`."""
        low, high = units.parse_range(text, self.dimension)
        self.check(low.value, text)
        self.check(high.value, text)
        return low.value, high.value

    def quantity(self, given: object) -> Quantity:
        """A `Quantity` from a plain scalar or a mapping; raises ValidationError with its places."""
        if isinstance(given, Quantity):
            if given.dimension != self.dimension:
                found = units.DIMENSIONS[given.dimension].noun
                raise refusal(((), f"expected {self.expected}, got {found}", None))
            return given
        if isinstance(given, dict):
            return self._from_mapping(given)
        try:
            return Quantity(self.number(_text(given, self.expected)), self.dimension)
        except units.UnitError as error:
            raise refusal(((), error.message, error.hint)) from None

    def _from_mapping(self, given: dict[str, object]) -> Quantity:
        wrong: list[Refused] = [
            ((key,), f"unknown key '{key}'", unknown_key_hint(key, _KEYS, given[key]))
            for key in given
            if key not in _KEYS
        ]
        value = bounds = None
        if "value" not in given:
            wrong.append(((), "missing key 'value'", None))
        else:
            try:
                value = self.number(_text(given["value"], self.expected))
            except units.UnitError as error:
                wrong.append((("value",), error.message, error.hint))
        if "range" in given:
            try:
                bounds = self.ends(_text(given["range"], "a range"))
            except units.UnitError as error:
                wrong.append((("range",), error.message, error.hint))
        if value is not None and bounds is not None and not bounds[0] <= value <= bounds[1]:
            message = f"value '{given['value']}' lies outside its own range '{given['range']}'"
            wrong.append((("value",), message, None))
        source, confidence = self._origin(given, wrong)
        if wrong or value is None:
            raise refusal(*wrong)
        low, high = bounds or (None, None)
        return Quantity(value, self.dimension, low, high, source, confidence)

    def _origin(self, given: dict[str, object], wrong: list[Refused]) -> tuple[str, str]:
        """Source and confidence of a mapping; mistakes are added to ``wrong``."""
        source = given.get("source", "")
        if not isinstance(source, str) or ("source" in given and not source.strip()):
            wrong.append((("source",), f"expected text, got {shown(source)}", None))
        if "confidence" in given:
            confidence = given["confidence"]
        else:
            # Who cites a source and says no more read the figure there; a count needs no source.
            confidence = "assumed" if self.whole and "source" not in given else "published"
        if not isinstance(confidence, str) or confidence not in CONFIDENCES:
            message = f"expected one of {', '.join(CONFIDENCES)}, got {shown(confidence)}"
            near = did_you_mean(str(confidence), CONFIDENCES)
            # The message lists the choices already.
            hint = near if near is not None and near.startswith("did you mean") else None
            wrong.append((("confidence",), message, hint))
        elif confidence != "assumed" and "source" not in given:
            hint = "say where the figure is from, or write 'confidence: assumed'"
            wrong.append(((), "missing key 'source'", hint))
        return str(source), str(confidence)


def _text(given: object, expected: str) -> str:
    """The text of a plain YAML scalar, or a `units.UnitError` for anything else."""
    if given is None or isinstance(given, (bool, dict, list, tuple)):
        raise units.UnitError(f"expected {expected}, got {shown(given)}")
    return str(given)


def shown(given: object) -> str:
    """What a message says about a value: its text in quotes, or what kind of thing it is."""
    if given is None or (isinstance(given, str) and not given.strip()):
        return "nothing"
    if isinstance(given, dict):
        return "a mapping"
    if isinstance(given, (list, tuple)):
        return "a list"
    if isinstance(given, bool):
        return f"'{str(given).lower()}'"
    return units.quoted(str(given))


def refusal(*wrong: Refused) -> ValidationError:
    """The error with which a validator reports mistakes, each at its own place below it.

    Args:
        wrong: (road from the validated value to the place, finished message, hint or None) each.
    """
    return ValidationError.from_exception_data(
        "spec",
        [
            InitErrorDetails(
                type=PydanticCustomError(REFUSAL, "{message}", {"message": message, "hint": hint}),
                loc=road,
                input=None,
            )
            for road, message, hint in wrong
        ],
    )


def unknown_key_hint(key: str, allowed: Iterable[str], value: object) -> str:
    """How to mend an unknown key: the nearest allowed one, and all of them."""
    names = ", ".join(sorted(allowed))
    near = did_you_mean(key, allowed, listed=0)
    if near is not None and near.startswith("did you mean"):
        return f"{near}   allowed: {names}"
    if value is None and not key.isidentifier():
        return f"inside {{...}} a comma ends a value: quote text with commas   allowed: {names}"
    return f"allowed: {names}" if names else "no keys are allowed here"


def _alias(kind: _Kind) -> PlainValidator:
    return PlainValidator(kind.quantity)


Energy = Annotated[Quantity, _alias(_Kind("energy"))]
EnergyPerBit = Annotated[Quantity, _alias(_Kind("energy_per_bit"))]
WireEnergy = Annotated[Quantity, _alias(_Kind("wire_energy"))]
Duration = Annotated[Quantity, _alias(_Kind("time"))]
Cycles = Annotated[Quantity, _alias(_Kind("cycles"))]
Frequency = Annotated[Quantity, _alias(_Kind("frequency", low_excluded=True))]
Capacity = Annotated[Quantity, _alias(_Kind("capacity"))]
Bandwidth = Annotated[Quantity, _alias(_Kind("bandwidth", low_excluded=True))]
CycleBandwidth = Annotated[Quantity, _alias(_Kind("cycle_bandwidth", low_excluded=True))]
Power = Annotated[Quantity, _alias(_Kind("power"))]
PowerDensity = Annotated[Quantity, _alias(_Kind("power_density"))]
Voltage = Annotated[Quantity, _alias(_Kind("voltage"))]
Area = Annotated[Quantity, _alias(_Kind("area"))]
NodeLength = Annotated[Quantity, _alias(_Kind("length", low_excluded=True))]
Fraction = Annotated[Quantity, _alias(_Kind("dimensionless", high=1.0))]
Points = Annotated[Quantity, _alias(_Kind("dimensionless", high=100.0))]
Ratio = Annotated[Quantity, _alias(_Kind("dimensionless", low_excluded=True))]
Count = Annotated[Quantity, _alias(_Kind("dimensionless", low=1.0, whole=True))]


class SpecModel(BaseModel):
    """Base of every spec class: frozen, strict, and unknown keys are mistakes."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    @model_validator(mode="wrap")
    @classmethod
    def _name_unknown_keys(cls, data: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        """Say which keys are allowed, which only the class itself knows."""
        try:
            return handler(data)
        except ValidationError as error:
            details = error.errors(include_url=False)
            if not any(d["type"] == "extra_forbidden" and len(d["loc"]) == 1 for d in details):
                raise
            raise ValidationError.from_exception_data(
                cls.__name__, [_with_allowed_keys(detail, cls) for detail in details]
            ) from None


def _with_allowed_keys(detail: ErrorDetails, model: type[BaseModel]) -> InitErrorDetails:
    """One pydantic error to be raised again; an unknown key of ``model`` gets our words."""
    loc, given, ctx = detail["loc"], detail["input"], detail.get("ctx", {})
    kind: str | PydanticCustomError = detail["type"]
    if kind == "extra_forbidden" and len(loc) == 1:
        hint = unknown_key_hint(str(loc[0]), model.model_fields, given)
        words = {"message": f"unknown key '{loc[0]}'", "hint": hint}
        kind, ctx = PydanticCustomError(REFUSAL, "{message}", words), {}
    elif kind == REFUSAL:
        kind, ctx = PydanticCustomError(REFUSAL, "{message}", ctx), {}
    return InitErrorDetails(type=kind, loc=loc, input=given, ctx=ctx)


def walk_quantities(model: BaseModel) -> Iterator[tuple[str, Quantity]]:
    """Every quantity of a spec with its dotted path, in the order of the fields.

    Items of a list are named by their ``name`` when they have one, else by their index from 0, as
    ``--set`` addresses them.
    """
    for key in type(model).model_fields:
        yield from _walk(key, getattr(model, key))


def _walk(path: str, value: object) -> Iterator[tuple[str, Quantity]]:
    if isinstance(value, Quantity):
        yield path, value
    elif isinstance(value, BaseModel):
        for key, quantity in walk_quantities(value):
            yield f"{path}.{key}", quantity
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _walk(f"{path}.{key}", item)
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            name = getattr(item, "name", None)
            yield from _walk(f"{path}.{name if isinstance(name, str) else index}", item)
