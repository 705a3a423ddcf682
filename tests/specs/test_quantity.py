"""Quantities: both YAML forms, every alias with its bounds, and the walk over a spec."""

from __future__ import annotations

import pickle

import pytest
from pydantic import TypeAdapter, ValidationError

from npubench.specs import quantity as q
from npubench.specs.loader import SpecDocument
from npubench.specs.quantity import Quantity, SpecModel, walk_quantities


def read(alias: object, given: object) -> Quantity:
    value = TypeAdapter(alias).validate_python(given)
    assert isinstance(value, Quantity)
    return value


def refusals(alias: object, given: object) -> list[tuple[object, object]]:
    with pytest.raises(ValidationError) as caught:
        TypeAdapter(alias).validate_python(given)
    details = caught.value.errors()
    assert all(detail["type"] == q.REFUSAL for detail in details)
    return [(".".join(map(str, d["loc"])), d["ctx"]["message"]) for d in details]


@pytest.mark.parametrize(
    ("alias", "given", "value", "unit"),
    [
        (q.Energy, "0.10 pJ", 1e-13, "J"),
        (q.Energy, "0 pJ", 0.0, "J"),
        (q.EnergyPerBit, "4 pJ/bit", 4e-12, "J/bit"),
        (q.WireEnergy, "0.1 pJ/bit/mm", 1e-13, "J/bit/mm"),
        (q.Duration, "16 ns", 1.6e-8, "s"),
        (q.Cycles, "3 cycles", 3.0, "cycles"),
        (q.Frequency, "1.05 GHz", 1.05e9, "Hz"),
        (q.Capacity, "1 KiB", 8192.0, "bit"),
        (q.Bandwidth, "16 GB/s", 1.28e11, "bit/s"),
        (q.CycleBandwidth, "128 bit/cycle", 128.0, "bit/cycle"),
        (q.Power, "75 W", 75.0, "W"),
        (q.PowerDensity, "50 mW/mm2", 0.05, "W/mm2"),
        (q.Voltage, "0.8 V", 0.8, "V"),
        (q.Area, "331 mm2", 331.0, "mm2"),
        (q.NodeLength, "7 nm", 7e-9, "m"),
        (q.Fraction, 0.5, 0.5, ""),
        (q.Fraction, "80 %", 0.8, ""),
        (q.Ratio, 2, 2.0, ""),
        (q.Ratio, 1.5, 1.5, ""),
        (q.Count, 128, 128.0, ""),
    ],
)
def test_a_plain_value_is_an_assumption(
    alias: object, given: object, value: float, unit: str
) -> None:
    found = read(alias, given)
    assert (found.value, found.unit) == (value, unit)
    assert (found.low, found.high, found.source, found.confidence) == (None, None, "", "assumed")


def test_a_mapping_keeps_its_origin() -> None:
    given = {
        "value": "0.10 pJ",
        "range": "0.08..0.12 pJ",
        "source": "Jouppi et al., ISCA 2021, Table 2",
        "confidence": "derived",
    }
    source = "Jouppi et al., ISCA 2021, Table 2"
    assert read(q.Energy, given) == Quantity(1e-13, "energy", 8e-14, 1.2e-13, source, "derived")


@pytest.mark.parametrize(
    ("alias", "given", "confidence"),
    [
        (q.Energy, {"value": "1 pJ", "source": "Paper"}, "published"),
        (q.Energy, {"value": "1 pJ", "confidence": "assumed"}, "assumed"),
        (q.Energy, {"value": "1 pJ", "source": "a guess", "confidence": "assumed"}, "assumed"),
        (q.Energy, {"value": "1 pJ", "source": "Paper", "confidence": "calibrated"}, "calibrated"),
        (q.Count, {"value": 128}, "assumed"),
        (q.Count, {"value": 128, "source": "Paper"}, "published"),
    ],
)
def test_confidence(alias: object, given: object, confidence: str) -> None:
    assert read(alias, given).confidence == confidence


CHOICES = "published, secondary, recalled, derived, assumed, calibrated"


@pytest.mark.parametrize(
    ("alias", "given", "expected"),
    [
        (q.Energy, 5, [("", "expected an energy such as '0.1 pJ', got '5' (no unit)")]),
        (q.Energy, 0.5, [("", "expected an energy such as '0.1 pJ', got '0.5' (no unit)")]),
        (q.Energy, "3 ns", [("", "expected an energy such as '0.1 pJ', got '3 ns' (a time)")]),
        (q.Energy, None, [("", "expected an energy such as '0.1 pJ', got nothing")]),
        (q.Energy, True, [("", "expected an energy such as '0.1 pJ', got 'true'")]),
        (q.Energy, ("1 pJ",), [("", "expected an energy such as '0.1 pJ', got a list")]),
        (q.Energy, "-1 pJ", [("", "must be at least 0, got '-1 pJ'")]),
        (q.Frequency, "0 GHz", [("", "must be above 0, got '0 GHz'")]),
        (q.Bandwidth, "0 B/s", [("", "must be above 0, got '0 B/s'")]),
        (q.Fraction, 1.2, [("", "must be at most 1, got '1.2'")]),
        (q.Fraction, "x", [("", "expected a plain number such as '0.5', got 'x'")]),
        (q.Ratio, 0, [("", "must be above 0, got '0'")]),
        (q.Capacity, "0.1 KiB", [("", "must be a whole number of bits, got '0.1 KiB'")]),
        *(
            (q.Count, given, [("", f"expected a positive whole number such as '128', got {shown}")])
            for given, shown in [
                (0, "'0'"),
                (-1, "'-1'"),
                (1.5, "'1.5'"),
                ("010", "'010'"),
                ("1e3", "'1e3'"),
                (True, "'true'"),
                (2**53 + 1, "'9007199254740993'"),
                ("128 PEs", "'128 PEs'"),
            ]
        ),
        (q.Energy, {}, [("", "missing key 'value'"), ("", "missing key 'source'")]),
        (q.Energy, {"value": "1 pJ"}, [("", "missing key 'source'")]),
        (
            q.Energy,
            {"value": "1 pJ", "confidence": "published"},
            [("", "missing key 'source'")],
        ),
        (
            q.Energy,
            {"value": {"a": 1}, "range": "1..2", "source": " ", "confidence": "sure", "x": 1},
            [
                ("x", "unknown key 'x'"),
                ("value", "expected an energy such as '0.1 pJ', got a mapping"),
                ("range", "expected an energy such as '0.1 pJ', got '2' (no unit)"),
                ("source", "expected text, got nothing"),
                ("confidence", f"expected one of {CHOICES}, got 'sure'"),
            ],
        ),
        (
            q.Energy,
            {"value": "3 pJ", "range": "1..2 pJ", "source": "Paper"},
            [("value", "value '3 pJ' lies outside its own range '1..2 pJ'")],
        ),
        (
            q.Energy,
            {"value": "0 pJ", "range": "-1..2 pJ", "source": "Paper"},
            [("range", "must be at least 0, got '-1..2 pJ'")],
        ),
        (
            q.Fraction,
            {"value": 0.5, "range": "0.1", "source": "Paper"},
            [("range", "expected a range such as '0.5..0.5', got '0.1'")],
        ),
    ],
)
def test_refusals(alias: object, given: object, expected: list[tuple[str, str]]) -> None:
    assert refusals(alias, given) == expected


def test_a_finished_quantity_passes_when_its_dimension_fits() -> None:
    quantity = Quantity(1e-12, "energy")
    assert read(q.Energy, quantity) is quantity
    assert refusals(q.Power, quantity) == [("", "expected a power such as '250 mW', got an energy")]


def test_quantities_are_checked_when_made() -> None:
    for wrong in ({"dimension": "mass"}, {"confidence": "sure"}, {"value": float("nan")}):
        with pytest.raises(ValueError, match=r"a quantity|no quantity"):
            Quantity(**({"value": 1.0, "dimension": "energy"} | wrong))


def test_integer() -> None:
    assert read(q.Count, 128).integer == 128
    assert read(q.Capacity, "1.5 KiB").integer == 12288
    with pytest.raises(ValueError, match=r"^1\.5 is not a whole number$"):
        _ = read(q.Ratio, 1.5).integer
    assert str(read(q.Capacity, "1.5 KiB")) == "1.5 KiB"


def test_walk_names_items_and_keeps_order(text: str, toy: type[q.SpecModel]) -> None:
    more = "parts:\n  burst: {name: b, capacity: 1 B}\n"
    model = SpecDocument.from_text(text + more).validate(toy)
    assert [(path, str(quantity)) for path, quantity in walk_quantities(model)] == [
        ("node", "16 nm"),
        ("clock", "1 GHz"),
        ("rows", "128"),
        ("mac", "100 fJ"),
        ("memories.sram.capacity", "512 KiB"),
        ("memories.dram.capacity", "1 GiB"),
        ("memories.dram.read", "4 pJ/bit"),
        ("parts.burst.capacity", "1 B"),
    ]


class Part(SpecModel):
    name: str
    energy: q.Energy
    sizes: tuple[q.Capacity, ...]


def test_models_are_frozen_and_travel_between_processes() -> None:
    document = SpecDocument.from_text("{name: part, energy: 1 pJ, sizes: [1 B, 2 B]}")
    model = document.validate(Part)
    assert pickle.loads(pickle.dumps(model)) == model
    assert pickle.loads(pickle.dumps(document)) == document
    with pytest.raises(ValidationError):
        setattr(model, "name", "other")  # noqa: B010 (a plain assignment is a type error)
