"""Silicon area and leakage of a PE array and its memories, from a few constants of a spec.

Area is what PEs, on-chip memory and the rest take side by side, without routing between them. Two
designs are of equal area when these sums agree: the base on which narrower PEs are compared.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from npubench.errors import MappingError, Problem
from npubench.specs.quantity import Area, Capacity, Power, SpecModel

__all__ = [
    "AREA_FACTORS",
    "PE_WIDTHS",
    "AreaSpec",
    "ArrayFit",
    "Parts",
    "SramBlockSpec",
    "array_area",
    "array_leakage",
    "node_area_factor",
    "pe_area_mm2",
    "square_of_equal_area",
]

AREA_FACTORS: Final[Mapping[float, float]] = MappingProxyType(
    {45.0: 1.0, 32.0: 0.46, 28.0: 0.38, 22.0: 0.25, 16.0: 0.19, 14.0: 0.17, 7.0: 0.059}
)
"""Logic area of a node in nm relative to 45 nm (Stillmaker and Baas, Integration 58, 2017; 28 and
22 nm interpolated)."""

_PE_8_BIT_45NM_MM2: Final = 688e-6
_BITFUSION: Final = "BitFusion, Sharma et al., ISCA 2018: synthesised PE"
_GATES: Final = "gate count of multiplier, adder and registers in 45 nm cells"
_WIDTHS: Final[Mapping[int, tuple[float, str]]] = MappingProxyType(
    {
        2: (125 / 688, _BITFUSION),
        4: (282 / 688, _BITFUSION),
        5: (0.52, _GATES),
        6: (0.62, _GATES),
        7: (0.80, _GATES),
        8: (1.0, _BITFUSION),
        16: (2203 / 688, _BITFUSION),
    }
)
PE_WIDTHS: Final = tuple(_WIDTHS)
"""Operand widths of integer PEs whose area is known, in bits."""


class SramBlockSpec(SpecModel):
    """A block of on-chip memory of known size, from which others follow in proportion.

    Attributes:
        capacity: of the block.
        area: that it takes.
        leakage: that it draws at the nominal supply; left out where unknown.
    """

    capacity: Capacity
    area: Area
    leakage: Power | None = None


class AreaSpec(SpecModel):
    """What the parts of a design take at its own node.

    Attributes:
        pe: one PE with its registers, all its formats.
        pe_leakage: of one PE at the nominal supply; left out where unknown.
        sram: a block that the on-chip memories are made of.
        other: vector unit, control and links; left out where not counted.
    """

    pe: Area
    pe_leakage: Power | None = None
    sram: SramBlockSpec
    other: Area | None = None


@dataclass(frozen=True, slots=True)
class Parts:
    """Shares of one total, in mm2 or W."""

    pes: float
    sram: float
    other: float = 0.0

    @property
    def total(self) -> float:
        """All parts."""
        return self.pes + self.sram + self.other


@dataclass(frozen=True, slots=True)
class ArrayFit:
    """An array that fits an area.

    Attributes:
        rows, cols: PEs along each side.
        area_mm2: of the whole design.
        deviation: of that area from the one to be met, negative below.
    """

    rows: int
    cols: int
    area_mm2: float
    deviation: float


def node_area_factor(from_nm: float, to_nm: float) -> float:
    """Logic area at one node relative to another; there and back is 1.

    Raises:
        MappingError: a node that the table lacks.
    """
    for node in (from_nm, to_nm):
        if node not in AREA_FACTORS:
            known = ", ".join(f"{nm:g}" for nm in AREA_FACTORS)
            raise MappingError(
                Problem(f"no area factor for {node:g} nm", hint=f"known nodes: {known} nm")
            )
    return AREA_FACTORS[to_nm] / AREA_FACTORS[from_nm]


def pe_area_mm2(bits: int, node_nm: float) -> float:
    """Area of an integer PE, multiplier, adder and registers, with operands of one width.

    2, 4, 8 and 16 bits from synthesis, 5, 6 and 7 from a gate count that agrees with the synthesis
    to 2 % at 4 bits and 11 % at 16: trust those to about 10 %.

    Raises:
        MappingError: a width or a node that the tables lack.
    """
    if bits not in _WIDTHS:
        known = ", ".join(map(str, PE_WIDTHS))
        raise MappingError(Problem(f"no PE area for {bits} bits", hint=f"known widths: {known}"))
    return _PE_8_BIT_45NM_MM2 * _WIDTHS[bits][0] * node_area_factor(45.0, node_nm)


def array_area(spec: AreaSpec, pes: int, sram_bits: float) -> Parts:
    """Area in mm2 of so many PEs and so much on-chip memory."""
    return Parts(
        pes=pes * spec.pe.value,
        sram=sram_bits / spec.sram.capacity.value * spec.sram.area.value,
        other=0.0 if spec.other is None else spec.other.value,
    )


def array_leakage(spec: AreaSpec, pes: int, sram_bits: float) -> Parts | None:
    """Static power in W of the same at the nominal supply; None where a constant is missing."""
    if spec.pe_leakage is None or spec.sram.leakage is None:
        return None
    return Parts(
        pes=pes * spec.pe_leakage.value,
        sram=sram_bits / spec.sram.capacity.value * spec.sram.leakage.value,
    )


def square_of_equal_area(
    budget_mm2: float,
    pe_mm2: float,
    fixed_mm2: float,
    *,
    aspect: tuple[int, int] = (1, 1),
    tolerance: float = 0.2,
) -> ArrayFit:
    """The largest array of an aspect that fits an area beside parts that stay.

    Args:
        budget_mm2: area to be met and not exceeded.
        pe_mm2: of one PE.
        fixed_mm2: buffers and whatever else does not change.
        aspect: rows to columns; sides are whole multiples of it.
        tolerance: how far below the budget the result may stay, as a share of it.

    Raises:
        MappingError: no array fits, or none comes near enough.

    Source: fewer bits, more PEs, same area: the rule by which Balaskas et al., IEEE ESL 16(4),
    2024, size heterogeneous-precision designs, there within 20 %.
    """
    room = budget_mm2 - fixed_mm2
    unit = aspect[0] * aspect[1] * pe_mm2
    # The tiny excess keeps an array that fits exactly from being lost to one rounding.
    times = math.isqrt(int(max(0.0, room / unit) * (1 + 1e-12)))
    if times == 0:
        raise MappingError(
            f"no array of {aspect[0]} x {aspect[1]} PEs fits: it takes {unit:.4g} mm2, "
            f"{max(0.0, room):.4g} of {budget_mm2:.4g} mm2 are free"
        )
    rows, cols = times * aspect[0], times * aspect[1]
    area = fixed_mm2 + rows * cols * pe_mm2
    deviation = area / budget_mm2 - 1
    if deviation < -tolerance:
        raise MappingError(
            f"the largest array that fits, {rows} x {cols} PEs, leaves {-deviation:.1%} of "
            f"{budget_mm2:.4g} mm2 unused, more than {tolerance:.0%}"
        )
    return ArrayFit(rows, cols, area, deviation)
