"""Precision plans: which formats each multiply-accumulate layer runs in."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from npubench.errors import OptionError
from npubench.ir.formats import FORMATS, Format, integer, parse_format

__all__ = ["LayerPrecision", "PrecisionPlan", "parse_precision"]


@dataclass(frozen=True, slots=True)
class LayerPrecision:
    """Formats of one layer's operands: the held one (weight) and the streamed one (activation)."""

    weight: Format
    activation: Format

    def __str__(self) -> str:
        """``w8a8`` for integers, the format's name where both are the same float, else both."""
        if not self.weight.is_float and not self.activation.is_float:
            return f"w{self.weight.bits}a{self.activation.bits}"
        if self.weight == self.activation:
            return self.weight.name
        return f"w:{self.weight} a:{self.activation}"


@dataclass(frozen=True, slots=True)
class PrecisionPlan:
    """One precision for every layer not named, and others by layer name.

    Attributes:
        default: formats of every layer that ``layers`` does not name.
        layers: formats by layer name.
        source: where the plan came from, for the table's caption.
    """

    default: LayerPrecision
    layers: Mapping[str, LayerPrecision] = field(default_factory=lambda: MappingProxyType({}))
    source: str = "command line"

    def of(self, layer_name: str) -> LayerPrecision:
        """Formats of one layer."""
        return self.layers.get(layer_name, self.default)

    def describe(self) -> str:
        """``w8a8``, or the distinct precisions with their number of layers."""
        if not self.layers:
            return str(self.default)
        counts: dict[str, int] = {}
        for precision in self.layers.values():
            counts[str(precision)] = counts.get(str(precision), 0) + 1
        return ", ".join(f"{n} x {text}" for text, n in sorted(counts.items()))


_UNIFORM = re.compile(r"w([0-9]{1,2})a([0-9]{1,2})")


def parse_precision(text: str) -> LayerPrecision:
    """``w8a8`` (1 to 32 bits each), or one format name for both operands.

    Raises:
        OptionError: neither.
    """
    match = _UNIFORM.fullmatch(text.strip().lower())
    if match:
        weight, activation = int(match[1]), int(match[2])
        if not (1 <= weight <= 32 and 1 <= activation <= 32):
            raise OptionError(f"precision '{text}': widths go from 1 to 32 bits")
        return LayerPrecision(integer(weight), integer(activation))
    try:
        both = parse_format(text)
    except OptionError:
        known = ", ".join(f for f in FORMATS if FORMATS[f].is_float)
        raise OptionError(
            f"unknown precision '{text}': expected w<bits>a<bits> such as w8a8, "
            f"or a format such as int8, {known}"
        ) from None
    return LayerPrecision(both, both)
