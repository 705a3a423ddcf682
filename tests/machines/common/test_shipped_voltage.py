"""Supply laws of the shipped designs against their formulas, written down again.

Energy: Stillmaker and Baas, Integration 58, 2017, a V^2 + b V + c by node. Delay: Sakurai and
Newton, IEEE JSSC 25(2), 1990. Leakage: subthreshold current with drain-induced barrier lowering,
times the supply. The table of the polynomials' factors from 45 nm is that of their publication.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import pytest

from npubench.errors import InputError
from npubench.machines.registry import build_machine
from npubench.specs.catalog import find_spec
from npubench.specs.header import apply_knobs
from npubench.specs.quantity import Quantity, walk_quantities

POLYNOMIALS = {
    45: (1.103, -0.362, 0.2767),
    16: (0.2958, -0.1241, 0.03024),
    14: (0.2363, -0.09675, 0.02239),
    7: (0.1776, -0.09097, 0.02447),
}
# Node, nominal supply, range of supplies.
DESIGNS = {
    "tpuv4i": (7, 0.75, (0.55, 0.9)),
    "stimpack": (7, 0.75, (0.55, 0.9)),
    **{f"edge{bits}": (14, 0.8, (0.55, 1.0)) for bits in (4, 5, 6, 7, 8)},
    "bf_imna": (16, 1.0, (0.5, 1.0)),
}


def energy(node: int, volts: float) -> float:
    a, b, c = POLYNOMIALS[node]
    return a * volts * volts + b * volts + c


@cache
def spec(name: str, vdd: str = "") -> Any:
    return build_machine(apply_knobs(find_spec(name), {"vdd": vdd} if vdd else {})).spec  # type: ignore[attr-defined] # of every family here


@pytest.mark.parametrize(
    ("node", "volts", "at_45", "factor"),
    [(16, 0.8, 0.8, 0.17), (16, 0.8, 0.9, 0.14), (14, 0.8, 0.8, 0.14), (14, 0.8, 0.9, 0.11),
     (7, 0.8, 0.8, 0.094), (7, 0.7, 0.9, 0.057), (7, 0.75, 0.9, 0.066)],
)  # fmt: skip
def test_the_laws_in_use_give_the_published_factors_from_45_nm(
    node: int, volts: float, at_45: float, factor: float
) -> None:
    """From the specs' own laws, so that a coefficient off by a digit shows."""
    digits = 3 if factor < 0.1 else 2
    for name, (design_node, _, _) in DESIGNS.items():
        if design_node == node:
            law = spec(name).voltage.energy
            assert round(law.value(volts, "energy") / energy(45, at_45), digits) == factor


@pytest.mark.parametrize("name", DESIGNS)
def test_energy_delay_and_leakage_follow_the_formulas(name: str) -> None:
    node, nominal, (low, high) = DESIGNS[name]
    voltage = spec(name).voltage
    assert voltage.nominal.value == nominal
    assert voltage.limits == (low, high)
    for step in range(8):
        volts = low + (high - low) * step / 7
        factors = voltage.factors(volts)
        assert factors.energy == pytest.approx(energy(node, volts) / energy(node, nominal))
        # f ~ (V - 0.3)^1.3 / V
        speed = ((volts - 0.3) / (nominal - 0.3)) ** 1.3 * nominal / volts
        assert factors.frequency == pytest.approx(speed)
        leakage = volts / nominal * math.exp((volts - nominal) / 0.36)
        assert factors.leakage == pytest.approx(leakage)


@pytest.mark.parametrize("name", DESIGNS)
@pytest.mark.parametrize("beyond", [-0.001, 0.001])
def test_nothing_is_extrapolated(name: str, beyond: float) -> None:
    _, _, (low, high) = DESIGNS[name]
    volts = (low if beyond < 0 else high) + beyond
    with pytest.raises(InputError, match="outside the"):
        spec(name).voltage.factors(volts)
    with pytest.raises(InputError, match="outside"):
        apply_knobs(find_spec(name), {"vdd": f"{volts:.3f} V"})
    # Without the knob's own range the law itself refuses.
    document = find_spec(name).override("voltage.supply", f"{volts:.3f} V", "--set")
    with pytest.raises(InputError, match="outside the"):
        build_machine(document)


@pytest.mark.parametrize("name", ["tpuv4i", "stimpack", "edge8"])
def test_a_supply_moves_every_constant_on_the_die_and_none_outside(name: str) -> None:
    node, nominal, (low, _) = DESIGNS[name]
    before, after = (dict(walk_quantities(spec(name, vdd))) for vdd in ("", f"{low} V"))
    scaled = energy(node, low) / energy(node, nominal)
    leak = low / nominal * math.exp((low - nominal) / 0.36)
    speed = ((low - 0.3) / (nominal - 0.3)) ** 1.3 * nominal / low
    factors = {"energy": scaled, "energy_per_bit": scaled, "power": leak, "frequency": speed}
    outside = {f"memories.{m.name}" for m in spec(name).memories if m.off_chip}
    moved = 0
    for path, old in before.items():
        if path.startswith("voltage."):
            continue
        away = path.rsplit(".", 1)[0] in outside
        expected = 1.0 if away else factors.get(old.dimension, 1.0)
        assert after[path].value == pytest.approx(old.value * expected, rel=1e-12), path
        moved += expected != 1.0
        assert _no_surer(old, after[path]), path
    assert moved > 10


def _no_surer(before: Quantity, after: Quantity) -> bool:
    rank = ("published", "secondary", "recalled", "derived", "assumed", "calibrated")
    return before == after or rank.index(after.confidence) >= rank.index("derived")
