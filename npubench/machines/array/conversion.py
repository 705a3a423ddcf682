"""The unit that converts weights on chip, from the format they are stored in to one that runs.

A unit at the port of the outermost on-chip memory for weights: what comes from outside is written
there as it is stored, read back by the unit and written again as it is multiplied. It works on one
layer's weights while another layer runs, so it is one more thing a layer may have to wait for.
"""

from __future__ import annotations

from typing import Literal

from pydantic import field_validator

from npubench.errors import InputError
from npubench.ir import Format, MacLayer, Network, Role, parse_format
from npubench.specs.quantity import Area, Count, Energy, SpecModel, refusal

__all__ = ["QuantizationUnitSpec", "stored_bits"]


class QuantizationUnitSpec(SpecModel):
    """A unit that makes narrow copies of weights on chip.

    Attributes:
        stored: format in which weights lie off chip and arrive.
        formats: names of the array's formats whose weights it makes.
        weights: ``converted`` on chip by this unit, or ``fetched``: a copy in the format that runs
            lies off chip too, and the unit is idle.
        lanes: weights a cycle of the array's clock.
        energy: of one weight, in the unit alone; reads and writes of the memory come on top.
        area: of the unit; left out where not counted.
    """

    stored: str
    formats: tuple[str, ...]
    weights: Literal["converted", "fetched"] = "converted"
    lanes: Count
    energy: Energy
    area: Area | None = None

    @field_validator("stored")
    @classmethod
    def _known_format(cls, text: str) -> str:
        try:
            return parse_format(text).name
        except InputError as error:
            raise refusal(((), error.problems[0].message, None)) from None

    @property
    def stored_format(self) -> Format:
        """The format of weights off chip."""
        return parse_format(self.stored)

    def converts(self, format_name: str) -> bool:
        """Whether weights of an array format are made here."""
        return self.weights == "converted" and format_name in self.formats


def stored_bits(
    unit: QuantizationUnitSpec | None, network: Network, layer: MacLayer, format_name: str
) -> int | None:
    """Width at which a layer's weights arrive for conversion; None where nothing is converted.

    Only constants are: the held operand of an attention product is made on chip in the format
    that its consumer multiplies.
    """
    if unit is None or not unit.converts(format_name):
        return None
    if network.tensors[layer.weight].role is not Role.WEIGHT:
        return None
    return unit.stored_format.bits
