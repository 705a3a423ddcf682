"""Voltage laws: identity at nominal, one direction, no extrapolation, and a measured macro."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from npubench.errors import OptionError, SpecError
from npubench.machines.common.voltage import LawSpec, VoltageSpec, at_supply
from npubench.specs.loader import SpecDocument
from npubench.specs.quantity import Energy, EnergyPerBit, Frequency, Power, SpecModel

# Stillmaker and Baas, Integration 58, 2017, 7 nm; delay and leakage for the tests only.
SEVEN_NM = """
nominal: 0.75 V
supply: 0.75 V
range: 0.55..0.9 V
energy:
  law: polynomial
  coefficients: [0.1776, -0.09097, 0.02447]
  range: 0.5..1.0 V
  source: Stillmaker and Baas, Integration 58, 2017, 7 nm
  confidence: secondary
delay:
  law: alpha_power
  threshold: {value: 0.3 V, source: typical of the node, confidence: assumed}
  alpha: {value: 1.3, source: velocity saturation, confidence: assumed}
  range: 0.5..1.0 V
  source: Sakurai and Newton, IEEE JSSC 25(2), 1990
  confidence: assumed
leakage:
  law: exponential
  scale: 0.36 V
  range: 0.5..1.0 V
  source: subthreshold current with drain-induced barrier lowering
  confidence: assumed
"""

# Colonnade (JSSC 2021, 65 nm, digitised second-hand): fJ per MAC at 0.6, 0.7 and 0.8 V.
COLONNADE = {
    (1, 1): (17.1, 42.8, 68.3),
    (4, 1): (26.5, 66.9, 105.3),
    (8, 1): (36.8, 91.8, 144.4),
    (16, 1): (60.0, 151.5, 243.2),
    (4, 4): (104.1, 260.6, 423.4),
    (8, 8): (292.0, 725.4, 1169.7),
    (16, 16): (989.9, 2515.7, 3995.2),
}


def voltage(text: str = SEVEN_NM, **changes: str) -> VoltageSpec:
    document = SpecDocument.from_text(text, "laws.yaml")
    for path, value in changes.items():
        document = document.override(path.replace("__", "."), value, "--set")
    return document.validate(VoltageSpec)


def energy_law(law: Mapping[str, Any]) -> VoltageSpec:
    flat = {"law": "power", "exponent": "1", "range": "0.6..0.8 V"} | {
        "source": "none",
        "confidence": "assumed",
    }
    return VoltageSpec.model_validate(
        {"nominal": "0.8 V", "supply": "0.8 V", "energy": law, "delay": flat, "leakage": flat}
    )


def table(points: Mapping[str, float]) -> dict[str, Any]:
    rows = tuple({"voltage": v, "value": str(e)} for v, e in points.items())
    return {"law": "table", "points": rows, "source": "JSSC 2021", "confidence": "secondary"}


def test_nothing_changes_at_the_nominal_supply() -> None:
    factors = voltage().factors()
    assert (factors.energy, factors.frequency, factors.leakage) == (1.0, 1.0, 1.0)


def test_factors_followed_by_hand() -> None:
    factors = voltage().factors(0.6)
    # 0.1776 x 0.36 - 0.09097 x 0.6 + 0.02447 = 0.033824; at 0.75 V 0.0561425.
    assert factors.energy == pytest.approx(0.033824 / 0.0561425, rel=1e-12)
    # (0.75 / 0.45^1.3) / (0.6 / 0.3^1.3) = 1.25 x (2/3)^1.3
    assert factors.frequency == pytest.approx(1.25 * (2 / 3) ** 1.3, rel=1e-12)
    assert factors.leakage == pytest.approx(0.8 * math.exp(-0.15 / 0.36), rel=1e-12)


def test_the_polynomials_give_the_published_node_factors() -> None:
    # 45 nm at 0.9 V to 7 nm at 0.75 V: 0.066; both at 0.8 V: 0.094.
    source = {"range": "0.5..1.1 V", "source": "Integration 58, 2017", "confidence": "secondary"}
    old, new = (
        LawSpec.model_validate({"law": "polynomial", "coefficients": c, **source})
        for c in ((1.103, -0.362, 0.2767), (0.1776, -0.09097, 0.02447))
    )
    ratios = [new.value(a, "energy") / old.value(b, "energy") for a, b in ((0.75, 0.9), (0.8, 0.8))]
    assert [round(ratio, 3) for ratio in ratios] == [0.066, 0.094]


@given(st.floats(0.55, 0.9), st.floats(0.55, 0.9))
def test_more_volts_cost_energy_and_leakage_and_gain_speed(one: float, other: float) -> None:
    low, high = (voltage().factors(v) for v in sorted((one, other)))
    assert low.energy <= high.energy
    assert low.frequency <= high.frequency
    assert low.leakage <= high.leakage


@given(st.floats(0.6, 0.8), st.floats(0.6, 0.8))
def test_a_table_meets_its_points_and_never_turns_between(one: float, other: float) -> None:
    spec = energy_law(table({"0.6 V": 292.0, "0.7 V": 725.4, "0.8 V": 1169.7}))
    low, high = (spec.factors(v).energy for v in sorted((one, other)))
    assert low <= high
    met = [spec.factors(v).energy for v in (0.6, 0.7, 0.8)]
    assert met == pytest.approx([292.0 / 1169.7, 725.4 / 1169.7, 1.0], rel=1e-12)


@pytest.mark.parametrize("supply", [0.5499, 0.9001, 0.0])
def test_outside_the_range_is_an_error(supply: float) -> None:
    with pytest.raises(OptionError) as caught:
        voltage().factors(supply)
    shown = {0.5499: "549.9 mV", 0.9001: "900.1 mV", 0.0: "0 V"}[supply]
    assert str(caught.value) == (
        f"a supply of {shown} is outside the 550 mV to 900 mV in which the voltage laws of this "
        "design hold\n  nothing is extrapolated; a table or formula with a wider range would be"
    )


def test_without_a_range_of_its_own_the_narrowest_law_decides() -> None:
    spec = energy_law(table({"0.7 V": 1.0, "0.9 V": 2.0}))
    assert spec.limits == (0.7, 0.8)


def test_colonnade_shows_the_error_of_each_law(capsys: pytest.CaptureFixture[str]) -> None:
    """Energy at 0.6 V predicted from 0.8 V, against silicon.

    V^2 is 121 to 129 % too high. A power through the measured ends is too low between them by at
    most 17 %; a table through all three points meets them.
    """
    square = {"law": "square", "range": "0.6..0.8 V", "source": "CV^2", "confidence": "assumed"}
    errors: dict[str, list[float]] = {"square": [], "two points": [], "three points": []}
    for at_06, at_07, at_08 in COLONNADE.values():
        ends = table({"0.6 V": at_06, "0.8 V": at_08})
        whole = table({"0.6 V": at_06, "0.7 V": at_07, "0.8 V": at_08})
        for name, law, supply, measured in (
            ("square", square, 0.6, at_06),
            ("two points", ends, 0.7, at_07),
            ("three points", whole, 0.7, at_07),
        ):
            predicted = energy_law(law).factors(supply).energy * at_08
            errors[name].append(100 * (predicted / measured - 1))
    with capsys.disabled():
        for name, values in errors.items():
            print(f"\nColonnade, {name}: {min(values):+.1f} to {max(values):+.1f} %", end="")
    assert (round(min(errors["square"])), round(max(errors["square"]))) == (121, 129)
    assert -18 < min(errors["two points"]) <= max(errors["two points"]) < -15
    assert errors["three points"] == pytest.approx([0.0] * len(COLONNADE), abs=1e-9)


def test_eyeriss_shows_where_a_square_holds() -> None:
    """Far above threshold V^2 is right: 65 nm silicon, 83.1 GMAC/s/W at 1 V, 122.8 at 0.82 V.

    Source: Chen et al., IEEE JSSC 52(1), 2017. The alpha-power law meets 250 MHz at 1.17 V.
    """
    bounds = {"range": "0.82..1.17 V", "confidence": "assumed"}
    spec = VoltageSpec.model_validate(
        {
            "nominal": "1 V",
            "supply": "1 V",
            "energy": {"law": "square", "source": "CV^2"} | bounds,
            "delay": {"law": "alpha_power", "threshold": "0.45 V", "alpha": "1.4", "source": "fit"}
            | bounds,
            "leakage": {"law": "exponential", "scale": "0.36 V", "source": "none"} | bounds,
        }
    )
    assert spec.factors(0.82).energy == pytest.approx(83.1 / 122.8, rel=0.01)
    assert spec.factors(1.17).frequency == pytest.approx(250 / 200, rel=0.01)


def test_the_macro_falls_faster_than_any_square() -> None:
    at_06, at_07, at_08 = COLONNADE[8, 8]
    assert math.log(at_07 / at_06) / math.log(0.7 / 0.6) == pytest.approx(6.0, abs=0.2)
    assert math.log(at_08 / at_07) / math.log(0.8 / 0.7) == pytest.approx(3.5, abs=0.2)


class Part(SpecModel):
    energy: EnergyPerBit
    off_chip: bool = False


class Chip(SpecModel):
    clock: Frequency
    static_power: Power
    mac: dict[str, Energy]
    parts: tuple[Part, ...]
    voltage: VoltageSpec


def chip(supply: str, **changes: str) -> Chip:
    return Chip.model_validate(
        {
            "clock": changes.pop("clock_hz", "1 GHz"),
            "static_power": "10 mW",
            "mac": {"int8": {"value": "0.1 pJ", "range": "0.08..0.2 pJ", "source": "a paper"}},
            "parts": ({"energy": "1 pJ/bit"}, {"energy": "4 pJ/bit", "off_chip": True}),
            "voltage": voltage(supply=supply, **changes),
        }
    )


def off_chip(part: object) -> bool:
    return isinstance(part, Part) and part.off_chip


def test_a_chip_at_another_supply() -> None:
    given = chip("0.6 V")
    factors = given.voltage.factors()
    scaled = at_supply(given, given.voltage, off_chip=off_chip)
    assert scaled.clock.value == 1e9 * factors.frequency
    assert scaled.static_power.value == 0.01 * factors.leakage
    mac = scaled.mac["int8"]
    assert mac.value == 0.1e-12 * factors.energy
    assert (mac.low, mac.high) == (0.08e-12 * factors.energy, 0.2e-12 * factors.energy)
    assert mac.source == "a paper; x 0.6025 at 600 mV (law polynomial, secondary)"
    assert (mac.confidence, scaled.static_power.confidence) == ("derived", "assumed")
    assert [part.energy.value for part in scaled.parts] == [1e-12 * factors.energy, 4e-12]
    assert scaled.voltage == given.voltage


def test_a_chip_at_its_nominal_supply_is_the_same_chip() -> None:
    given = chip("0.75 V")
    assert at_supply(given, given.voltage, off_chip=off_chip) == given
    assert at_supply(given, None, off_chip=off_chip) is given


def test_a_kept_clock_needs_a_supply_that_carries_it() -> None:
    kept = {"clock": "kept", "highest_clock": "1 GHz"}
    slow = chip("0.6 V", clock_hz="0.7 GHz", **kept)
    scaled = at_supply(slow, slow.voltage, off_chip=off_chip)
    assert scaled.clock == slow.clock
    assert scaled.mac["int8"].value < slow.mac["int8"].value
    faster = chip("0.75 V", clock_hz="2 GHz", **kept)
    with pytest.raises(OptionError, match="a clock of 2 GHz needs more than 750 mV"):
        at_supply(faster, faster.voltage, off_chip=off_chip)
    fast = chip("0.6 V", **kept)
    with pytest.raises(OptionError) as caught:
        at_supply(fast, fast.voltage, off_chip=off_chip)
    assert str(caught.value) == (
        "a clock of 1 GHz needs more than 600 mV, which allows 737.89 MHz\n"
        "  lower 'clock', raise the supply, or set 'voltage.clock' to 'scaled'"
    )


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("energy.law", "cube", "expected 'table', 'polynomial', 'square', 'power', 'alpha"),
        ("energy.law", "square", "energy.coefficients: does not go with law 'square'"),
        ("energy.law", "power", "energy: law 'power' needs 'exponent'"),
        ("energy.coefficients", "[1.0, 2.0]", "expected three: a, b, c of a V^2 + b V + c"),
        ("energy.coefficients", "[0.2, -0.4, 1.0]", "must be positive and rise with voltage"),
        ("energy.range", "0.8..1.0 V", "energy: covers 800 mV to 1 V, not the nominal 750 mV"),
        ("delay.threshold", "0.5 V", "must begin above the threshold of 500 mV"),
        ("delay.alpha", "0.5", "delay.alpha: must be between 1 and 2"),
        ("leakage.scale", "0 V", "must be above 0 V"),
        ("range", "0.4..0.9 V", "wider than the 500 mV to 1 V that the laws cover"),
        ("range", "0.8..0.9 V", "nominal: lies outside the range of supplies"),
        ("range", "0.9..0.8 V", "runs downwards"),
        ("delay.range", "0.5 V", "expected a range such as"),
        ("clock", "kept", "'clock: kept' needs 'highest_clock'"),
    ],
)
def test_mistakes_in_a_law_are_named(path: str, value: str, message: str) -> None:
    with pytest.raises((SpecError, OptionError)) as caught:
        voltage(**{path.replace(".", "__"): value})
    assert message in str(caught.value)


def test_a_square_is_always_an_assumption() -> None:
    law = {"law": "square", "range": "0.6..0.8 V", "source": "CV^2", "confidence": "published"}
    with pytest.raises(ValueError, match="law 'square' is an assumption: write 'assumed'"):
        energy_law(law)


def test_a_law_must_suit_what_it_describes() -> None:
    law = {"law": "exponential", "scale": "0.3 V", "range": "0.6..0.8 V"} | {
        "source": "none",
        "confidence": "assumed",
    }
    with pytest.raises(ValueError, match="no law of energy: expected one of table, polynomial"):
        energy_law(law)


@pytest.mark.parametrize(
    "points", [{"0.8 V": 1.0}, {"0.8 V": 2.0, "0.6 V": 1.0}, {"0 V": 1.0, "0.8 V": 2.0}]
)
def test_a_table_needs_two_points_in_order(points: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="two or more, in order of rising voltage"):
        energy_law(table(points))
