"""Precision plans: which formats each multiply-accumulate layer runs in."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from npubench.errors import OptionError
from npubench.ir.formats import FORMATS, Format, integer, parse_format

__all__ = ["LayerPrecision", "PrecisionPlan", "Scheme", "parse_precision"]


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
class Scheme:
    """How a layer's integers stand for real numbers; it changes accuracy, never cost.

    Attributes:
        per_channel: one scale per output channel of the weight, else one for all of it.
        symmetric_weights: weights without a zero point, of range +-(2^(b-1) - 1).
        symmetric_activations: the same for activations; those that are never negative are
            unsigned either way.
        accumulator_bits: width at which a layer's sums of products saturate; None where the
            accumulator is wide enough for any sum.
    """

    per_channel: bool = True
    symmetric_weights: bool = True
    symmetric_activations: bool = False
    accumulator_bits: int | None = None


@dataclass(frozen=True, slots=True)
class PrecisionPlan:
    """One precision for every layer not named, and others by layer name.

    Attributes:
        default: formats of every layer that ``layers`` does not name.
        layers: formats by layer name.
        source: where the plan came from, for the table's caption.
        scheme: how integers stand for numbers in every layer that ``schemes`` does not name.
        schemes: the same by layer name.
    """

    default: LayerPrecision
    layers: Mapping[str, LayerPrecision] = field(default_factory=lambda: MappingProxyType({}))
    source: str = "command line"
    scheme: Scheme = Scheme()
    schemes: Mapping[str, Scheme] = field(default_factory=lambda: MappingProxyType({}))

    def scheme_of(self, layer_name: str) -> Scheme:
        """The scheme of one layer."""
        return self.schemes.get(layer_name, self.scheme)

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
