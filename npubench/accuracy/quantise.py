"""Quantisers in numpy: which values a format has, and the nearest of them to a number.

Rounding is half to even throughout, as in ONNX's Round and QuantizeLinear.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from npubench.errors import OptionError
from npubench.ir import Format, Scheme

__all__ = [
    "WIDEST_INTEGER",
    "Levels",
    "QuantisedWeight",
    "activation_levels",
    "float_maximum",
    "is_exact",
    "quantise_weight",
    "round_to_float",
]

Array = npt.NDArray[np.float32]

# Wider integers are carried as float32, whose 24-bit significand tells no more values apart.
WIDEST_INTEGER = 16
_SEARCH_STEPS = 48  # clipping points tried per channel by the least-squares search


def is_exact(number_format: Format) -> bool:
    """Whether float32 stands in for a format: float32 and wider ones, integers beyond 16 bits."""
    if number_format.is_float:
        return number_format.significand_bits >= 24
    return number_format.bits > WIDEST_INTEGER


@dataclass(frozen=True, slots=True)
class Levels:
    """A uniform quantiser: x becomes scale x clip(round(x / scale), low, high).

    ``low`` and ``high`` are whole; a zero point is folded into them.
    """

    scale: float
    low: int
    high: int

    def apply(self, values: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
        """The nearest levels, in double precision."""
        steps = np.clip(np.rint(np.asarray(values, np.float64) / self.scale), self.low, self.high)
        return np.asarray(steps * self.scale)


def activation_levels(low: float, high: float, bits: int, *, symmetric: bool) -> Levels:
    """The quantiser of activations in a range.

    One bit means {0, 1} times the top of the range. Where nothing is negative, levels are
    unsigned. Else they are +-(2^(b-1) - 1) if ``symmetric``, or 2^b levels over the range, which
    is widened to hold zero: padding must stay exact.
    """
    low, high = min(low, 0.0), max(high, 0.0)
    top = 2**bits - 1
    if bits == 1 or low == 0:
        return Levels(_positive(high / top), 0, top)
    if symmetric:
        side = 2 ** (bits - 1) - 1
        return Levels(_positive(max(-low, high) / side), -side, side)
    scale = _positive((high - low) / top)
    zero = round(-low / scale)
    return Levels(scale, -zero, top - zero)


def _positive(scale: float) -> float:
    """A usable scale where all values are zero, or too small for float32."""
    return scale if scale > np.finfo(np.float32).tiny else 1.0


@dataclass(frozen=True, slots=True)
class QuantisedWeight:
    """A weight after quantisation.

    Attributes:
        values: what the machine multiplies, as real numbers.
        scale: of one step, an extent of 1 along every axis but the output channels' (or along
            all, with one scale for the tensor); 1 for floats.
        codes: the integers behind the values; None for floats, for which faults have no model.
        lowest: the code of all bits zero, in the same shape as ``scale``.
    """

    values: Array
    scale: Array
    codes: npt.NDArray[np.int64] | None = None
    lowest: npt.NDArray[np.int64] | None = None


def quantise_weight(
    weight: Array, number_format: Format, scheme: Scheme, axis: int, *, search: bool = False
) -> QuantisedWeight:
    """Round a weight to a format.

    Args:
        weight: any shape.
        number_format: of the result.
        scheme: one scale per channel or one for all; with a zero point or without.
        axis: of the output channels.
        search: clip where the squared error is least, instead of at the largest magnitude.

    One bit means the sign times the mean magnitude (XNOR-Net, arXiv:1603.05279, section 3.1).
    """
    axes = tuple(i for i in range(weight.ndim) if i != axis % weight.ndim)
    if not scheme.per_channel:
        axes = tuple(range(weight.ndim))
    ones = np.ones([1 if i in axes else n for i, n in enumerate(weight.shape)], np.float32)
    if is_exact(number_format):
        return QuantisedWeight(weight, ones)
    if number_format.is_float:
        scale = _float_scale(np.max(np.abs(weight), axes, keepdims=True), number_format)
        return QuantisedWeight(round_to_float(weight / scale, number_format) * scale, ones)
    bits = number_format.bits
    if bits == 1:
        mean = np.asarray(np.mean(np.abs(weight), axes, np.float64, keepdims=True), np.float32)
        codes = np.where(weight < 0, 0, 1).astype(np.int64)
        values = ((2 * codes - 1) * mean).astype(np.float32)
        return QuantisedWeight(values, mean, codes, np.zeros_like(mean, np.int64))
    if scheme.symmetric_weights:
        return _symmetric(weight, bits, axes, search=search)
    low = np.minimum(np.min(weight, axes, keepdims=True), 0)
    high = np.maximum(np.max(weight, axes, keepdims=True), 0)
    top = 2**bits - 1
    scale = _safe((high - low) / np.float32(top))
    zero = np.rint(-low / scale)
    codes = np.clip(np.rint(weight / scale), -zero, top - zero)
    values = (codes * scale).astype(np.float32)
    return QuantisedWeight(values, scale, codes.astype(np.int64), -zero.astype(np.int64))


def _symmetric(weight: Array, bits: int, axes: tuple[int, ...], *, search: bool) -> QuantisedWeight:
    side = np.float32(2 ** (bits - 1) - 1)
    largest = np.max(np.abs(weight), axes, keepdims=True)
    scale = _safe(largest / side)
    if search:
        best = np.full(scale.shape, np.inf)
        found = scale
        for step in range(_SEARCH_STEPS):
            tried = _safe(largest * np.float32(1 - 0.8 * step / _SEARCH_STEPS) / side)
            rounded = np.clip(np.rint(weight / tried), -side, side) * tried
            error = np.sum((rounded - weight) ** 2, axes, keepdims=True, dtype=np.float64)
            found = np.where(error < best, tried, found)
            best = np.minimum(best, error)
        scale = found
    codes = np.clip(np.rint(weight / scale), -side, side)
    lowest = np.full(scale.shape, -(2 ** (bits - 1)), np.int64)
    return QuantisedWeight(
        (codes * scale).astype(np.float32), scale, codes.astype(np.int64), lowest
    )


def _safe(scale: Array) -> Array:
    return np.where(scale > np.finfo(np.float32).tiny, scale, 1).astype(np.float32)


def float_maximum(number_format: Format) -> float:
    """The largest finite value of a float format.

    Formats of 8 bits and fewer other than e5m2 keep no code for infinity (OCP 8-bit floating
    point and MX specifications); e4m3 gives its last code to NaN.
    """
    bias = 2 ** (number_format.exponent_bits - 1) - 1
    mantissa = number_format.significand_bits - 1
    if number_format.name == "fp8e4m3":
        return 448.0
    reserved = number_format.bits > 8 or number_format.name == "fp8e5m2"
    exponent = 2**number_format.exponent_bits - 1 - bias - reserved
    return math.ldexp(2 - 2.0**-mantissa, exponent)


def _float_scale(largest: Array, number_format: Format) -> Array:
    """Formats of 8 bits and fewer are scaled to their full range, wider ones are not."""
    if number_format.bits > 8:
        return np.ones_like(largest)
    return _safe((largest / float_maximum(number_format)).astype(np.float32))


def round_to_float(values: Array, number_format: Format) -> Array:
    """The nearest value of a float format, saturating at its largest finite one.

    Raises:
        OptionError: not a float format.
    """
    if not number_format.is_float:
        raise OptionError(f"{number_format} is not a floating-point format")
    bias = 2 ** (number_format.exponent_bits - 1) - 1
    mantissa = number_format.significand_bits - 1
    wide = np.asarray(values, np.float64)
    _, exponent = np.frexp(wide)
    step = np.ldexp(1.0, np.maximum(exponent - 1, 1 - bias) - mantissa)
    top = float_maximum(number_format)
    return np.asarray(np.clip(np.rint(wide / step) * step, -top, top), np.float32)
