"""Calibration: from what a layer's activations look like to the range its quantiser covers."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from npubench.accuracy.quantise import Levels, activation_levels
from npubench.errors import OptionError, Problem, did_you_mean

__all__ = ["Calibration", "Histogram", "choose_levels", "parse_calibration"]

BINS = 2048
_CANDIDATES = 100  # clipping points tried by the searches
# With fewer levels the divergence says how coarse they are, not where values may be cut; the
# method was made for 128 levels and keeps them for narrower formats.
_ENTROPY_BITS = 8

Method = Literal["minmax", "percentile", "entropy", "mse"]
METHODS: tuple[Method, ...] = get_args(Method)
_DEFAULT_PERCENTILE = 99.99
_MSE_WEIGHTS, _BIAS = "mse-weights", "bias-correction"


@dataclass(frozen=True, slots=True)
class Calibration:
    """How ranges are chosen.

    Attributes:
        method: of activations: the extremes, a percentile, least Kullback-Leibler divergence of
            the quantised histogram, or least squared error.
        percentile: of the magnitudes kept on each side, for the method of that name.
        search_weights: clip weights where the squared error is least, not at their extremes.
        correct_bias: give back to each output channel the mean that rounding its weights took
            (Nagel et al., ICCV 2019, arXiv:1906.04721, section 4.2).
        samples: how many samples are looked at.
    """

    method: Method = "mse"
    percentile: float = _DEFAULT_PERCENTILE
    search_weights: bool = False
    correct_bias: bool = False
    samples: int = 128

    def __str__(self) -> str:
        name: str = self.method
        if self.method == "percentile":
            name = f"{name}:{self.percentile:g}"
        extras = ((self.search_weights, _MSE_WEIGHTS), (self.correct_bias, _BIAS))
        return ",".join([name, *(word for on, word in extras if on)])


def parse_calibration(text: str) -> Calibration:
    """``mse``, ``percentile:99.9``, with ``mse-weights`` and ``bias-correction`` behind commas.

    Raises:
        OptionError: anything else.
    """
    head, *extras = (part.strip().lower() for part in text.split(","))
    method, colon, number = head.partition(":")
    if method not in METHODS or (colon and method != "percentile"):
        raise _unknown(text, head, METHODS)
    percentile = _DEFAULT_PERCENTILE
    if colon:
        if not re.fullmatch(r"[0-9]{2,3}(\.[0-9]{1,6})?", number) or not 50 < float(number) <= 100:
            raise OptionError(
                f"--calibration '{text}': a percentile is above 50 and at most 100, got '{number}'"
            )
        percentile = float(number)
    for word in extras:
        if word not in (_MSE_WEIGHTS, _BIAS):
            raise _unknown(text, word, (_MSE_WEIGHTS, _BIAS))
    return Calibration(method, percentile, _MSE_WEIGHTS in extras, _BIAS in extras)


def _unknown(text: str, word: str, known: tuple[str, ...]) -> OptionError:
    hint = did_you_mean(word, known)
    return OptionError(Problem(f"--calibration '{text}': unknown '{word}'", hint=hint))


class Histogram:
    """Values of one tensor: extremes first, then counts between them, then means by channel."""

    def __init__(self) -> None:
        self.low = np.inf
        self.high = -np.inf
        self.counts: npt.NDArray[np.int64] = np.zeros(BINS, np.int64)
        self._sums: npt.NDArray[np.float64] | None = None
        self._seen = 0

    def extend(self, values: npt.NDArray[np.floating]) -> None:
        """First pass: widen the range."""
        self.low = min(self.low, float(values.min()))
        self.high = max(self.high, float(values.max()))

    def count(self, values: npt.NDArray[np.floating], channel_axis: int) -> None:
        """Second pass: count values and add up the channels along an axis."""
        span = (self.low, self.high if self.high > self.low else self.low + 1)
        self.counts += np.histogram(values, BINS, span)[0]
        moved = np.moveaxis(values, channel_axis, 0).reshape(values.shape[channel_axis], -1)
        sums = moved.sum(1, dtype=np.float64)
        self._sums = sums if self._sums is None else self._sums + sums
        self._seen += moved.shape[1]

    @property
    def centres(self) -> npt.NDArray[np.float64]:
        """The middle of each bin."""
        edges = np.linspace(self.low, self.high if self.high > self.low else self.low + 1, BINS + 1)
        return np.asarray((edges[1:] + edges[:-1]) / 2)

    @property
    def channel_means(self) -> npt.NDArray[np.float64]:
        """Mean of each channel."""
        if self._sums is None:
            raise ValueError("nothing was counted")
        return self._sums / self._seen

    def quantile(self, share: float) -> float:
        """The value below which a share of the values lie, by bin edges."""
        total = np.cumsum(self.counts)
        index = int(np.searchsorted(total, share * total[-1]))
        width = (self.high - self.low) / BINS
        return float(self.low + width * (index + 1))


def choose_levels(
    histogram: Histogram, bits: int, *, symmetric: bool, calibration: Calibration
) -> Levels:
    """The quantiser of a tensor at a width.

    The searches try clipping both sides at a common magnitude: thresholds from the largest down.
    """
    low, high = float(histogram.low), float(histogram.high)

    def clipped(threshold: float, width: int = bits) -> Levels:
        ends = max(low, -threshold), min(high, threshold)
        return activation_levels(*ends, width, symmetric=symmetric)

    largest = max(abs(low), abs(high))
    if calibration.method == "minmax" or largest == 0:
        return clipped(largest)
    if calibration.method == "percentile":
        share = calibration.percentile / 100
        kept = max(low, histogram.quantile(1 - share)), min(high, histogram.quantile(share))
        return activation_levels(*kept, bits, symmetric=symmetric)
    thresholds = largest * np.linspace(1, 1 / _CANDIDATES, _CANDIDATES)
    if calibration.method == "entropy":
        width = max(bits, _ENTROPY_BITS)
        losses = [_divergence(histogram, clipped(t, width)) for t in thresholds]
    else:
        losses = [_squared_error(histogram, clipped(t)) for t in thresholds]
    return clipped(float(thresholds[int(np.argmin(losses))]))  # the widest of equals


def _squared_error(histogram: Histogram, levels: Levels) -> float:
    centres = histogram.centres
    return float(np.sum(histogram.counts * (levels.apply(centres) - centres) ** 2))


def _divergence(histogram: Histogram, levels: Levels) -> float:
    """Kullback-Leibler divergence of the quantised histogram from the histogram.

    Values beyond the range are counted at its ends in the reference, and missing from the
    quantised one, whose levels spread their count over the occupied bins that round to them
    (Migacz, 8-bit inference with TensorRT, GTC 2017).
    """
    steps = np.clip(np.rint(histogram.centres / levels.scale), levels.low, levels.high)
    inside = np.abs(levels.apply(histogram.centres) - histogram.centres) <= levels.scale
    groups = np.unique(steps, return_inverse=True)[1]
    counts = histogram.counts.astype(np.float64)
    kept = np.where(inside, counts, 0)
    reference = kept.copy()
    outside = counts * ~inside
    if outside.any():
        places = np.flatnonzero(inside)
        below = histogram.centres < histogram.centres[places[0]] if len(places) else inside
        reference[places[:1]] += outside[below].sum()
        reference[places[-1:]] += outside[~below].sum()
    occupied = kept > 0
    per_level = np.bincount(groups, kept)
    bins_per_level = np.bincount(groups, occupied)
    spread = np.divide(
        per_level, bins_per_level, out=np.zeros_like(per_level), where=bins_per_level > 0
    )
    quantised = np.where(occupied, spread[groups], 0)
    if not quantised.any():
        return float("inf")
    p, q = reference / reference.sum(), quantised / quantised.sum()
    where = p > 0
    floor = 1e-12  # a reference bin that the quantised histogram has lost altogether
    return float(np.sum(p[where] * np.log(p[where] / np.maximum(q[where], floor))))
