"""From a precision plan to a graph layout and the numbers fed into it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from npubench.accuracy.calibrate import Calibration, Histogram, choose_levels
from npubench.accuracy.faults import Faults, faulty_weight
from npubench.accuracy.model import TrainedModel
from npubench.accuracy.observe import Observations
from npubench.accuracy.quantise import (
    Levels,
    QuantisedWeight,
    float_maximum,
    is_exact,
    quantise_weight,
)
from npubench.accuracy.rewrite import Layout, port
from npubench.accuracy.sites import Site
from npubench.errors import OptionError
from npubench.ir import Format, PrecisionPlan, Scheme

__all__ = ["Prepared", "prepare"]

Array = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Prepared:
    """What executes a plan.

    Attributes:
        layout: of the graph.
        feeds: inputs of the graph besides the samples.
        masks: ports whose codes a mask flips, with their width.
    """

    layout: Layout
    feeds: Mapping[str, npt.NDArray[Any]]
    masks: Mapping[str, int]

    def observed(self, outputs: Sequence[str]) -> Layout:
        """The layout with further results."""
        return replace(self.layout, outputs=outputs)

    def floating(self, outputs: Sequence[str]) -> Layout:
        """The float network with further results."""
        return Layout({}, outputs=outputs)


def prepare(
    model: TrainedModel,
    plan: PrecisionPlan,
    calibration: Calibration,
    observations: Callable[[], Observations],
    faults: Faults | None = None,
    fed: Collection[str] = (),
) -> Prepared:
    """Quantise weights and choose the range of every activation.

    Args:
        model: not yet quantised.
        plan: by the names of the model's layers.
        calibration: how ranges are chosen.
        observations: called only if something depends on them.
        faults: bit errors in weights and activations.
        fed: layers whose weights become inputs of the graph.

    Raises:
        OptionError: faults in floats.
    """
    builder = _Builder(calibration, observations, faults)
    for site in model.sites:
        builder.add(site, plan, fed=site.layer in fed)
    layout = Layout(
        activations=builder.activations,
        weights=builder.weights,
        biases=builder.biases,
        fed=tuple(site.layer for site in model.sites if site.layer in fed),
        added=builder.added,
        saturating=tuple(builder.saturating),
        faulty=bool(builder.masks),
    )
    return Prepared(layout, builder.feeds, builder.masks)


class _Builder:
    """Collects the parts of a layout, layer by layer."""

    def __init__(
        self,
        calibration: Calibration,
        observations: Callable[[], Observations],
        faults: Faults | None,
    ) -> None:
        self.calibration = calibration
        self.observations = observations
        self.faults = faults
        self.random = np.random.default_rng([0 if faults is None else faults.seed, 1])
        self.activations: dict[str, Format] = {}
        self.weights: dict[str, Array] = {}
        self.biases: dict[str, Array] = {}
        self.added: dict[str, Array] = {}
        self.saturating: list[str] = []
        self.feeds: dict[str, npt.NDArray[Any]] = {}
        self.masks: dict[str, int] = {}

    def add(self, site: Site, plan: PrecisionPlan, *, fed: bool) -> None:
        """One layer."""
        precision, scheme = plan.of(site.layer), plan.scheme_of(site.layer)
        data_step = self._activation(site, site.data, precision.activation, scheme)
        if site.weight is None:
            held_step: Array | float | None = self._activation(
                site, site.held, precision.weight, scheme
            )
        else:
            held_step = self._weight(site, site.weight, precision.weight, scheme, fed=fed)
        if data_step is None or held_step is None:
            return  # floats: sums are floats too
        step = np.asarray(held_step, np.float64) * data_step
        if site.bias is not None:
            self.biases[site.layer] = _in_steps(site.bias, step)
        if scheme.accumulator_bits is not None:
            self._saturate(site, step, scheme.accumulator_bits)

    def _weight(
        self, site: Site, weight: Array, wanted: Format, scheme: Scheme, *, fed: bool
    ) -> Array | None:
        """Quantise a weight; gives its step per channel, None for floats."""
        made = quantise_weight(
            weight, wanted, scheme, site.channels, search=self.calibration.search_weights
        )
        values = made.values
        if self.faults is not None and self.faults.weights and not is_exact(wanted):
            values = faulty_weight(made, wanted.bits, self.faults.rate, self.random)
        if fed:
            self.feeds[f"{site.layer}:weight"] = values
        elif values is not weight:
            self.weights[site.layer] = values
        if self.calibration.correct_bias and values is not weight:
            self._correct_bias(site, weight, made)
        return None if wanted.is_float or is_exact(wanted) else self._per_output(site, made.scale)

    def _correct_bias(self, site: Site, weight: Array, made: QuantisedWeight) -> None:
        """Add back E[(W - W_q) x] = (W - W_q) E[x], by output channel.

        Every place of a kernel sees the same mean of its channel, edges left aside.
        """
        means = self.observations().histograms[port(site, site.data)].channel_means
        lost = (weight - made.values).astype(np.float64)
        if site.op in ("Conv", "ConvTranspose"):
            taps = lost.sum(axis=tuple(range(2, lost.ndim)))
            if site.op == "ConvTranspose":
                taps = taps.T
            outputs, per_group = taps.shape
            groups = means.size // per_group
            grouped = means.reshape(groups, per_group)
            shift = np.einsum("gok,gk->go", taps.reshape(groups, outputs // groups, -1), grouped)
        else:
            reduced = np.moveaxis(lost, site.channels, 0)
            reduced = reduced.reshape(reduced.shape[0], -1)
            if reduced.shape[1] != means.size:
                return  # a batched weight: its batches have channels of their own
            shift = reduced @ means
        self.added[site.layer] = self._placed(site, shift.reshape(-1))

    def _per_output(self, site: Site, scale: Array) -> Array:
        """A scale of the weight in the place of its output channels in the result."""
        return self._placed(site, scale.reshape(-1)) if scale.size > 1 else scale.reshape(())

    @staticmethod
    def _placed(site: Site, values: npt.NDArray[Any]) -> Array:
        return values.astype(np.float32).reshape(-1, *[1] * (-site.output_channels - 1))

    def _activation(self, site: Site, operand: int, wanted: Format, scheme: Scheme) -> float | None:
        """Quantise an activation; gives its step, None for floats."""
        if is_exact(wanted):
            return None
        key = port(site, operand)
        self.activations[key] = wanted
        if wanted.is_float:
            if self.faults is not None and self.faults.activations:
                raise OptionError("--faults flips bits of integers, not of floating-point numbers")
            if wanted.bits <= 8:
                histogram = self.observations().histograms[key]
                self._feed(key, "scale", _largest(histogram) / float_maximum(wanted))
            return None
        levels = choose_levels(
            self.observations().histograms[key],
            wanted.bits,
            symmetric=scheme.symmetric_activations,
            calibration=self.calibration,
        )
        self._feed(key, "scale", levels.scale)
        self._feed(key, "low", levels.low)
        self._feed(key, "high", levels.high)
        if self.faults is not None and self.faults.activations:
            self._feed(key, "base", _base(levels, wanted.bits))
            self.masks[key] = wanted.bits
        return levels.scale

    def _saturate(self, site: Site, step: npt.NDArray[np.float64], bits: int) -> None:
        """Sums of products, bias included, end where the accumulator ends."""
        self.saturating.append(site.layer)
        self.feeds[f"{site.layer}:least"] = (-(2.0 ** (bits - 1)) * step).astype(np.float32)
        self.feeds[f"{site.layer}:most"] = ((2.0 ** (bits - 1) - 1) * step).astype(np.float32)

    def _feed(self, key: str, part: str, value: float) -> None:
        self.feeds[f"{key}:{part}"] = np.array(value, np.float32)


def _largest(histogram: Histogram) -> float:
    return max(abs(histogram.low), abs(histogram.high)) or 1.0


def _in_steps(bias: Array, step: npt.NDArray[np.float64]) -> Array:
    """A bias as it is added to integer sums: a whole number of their steps (int32 in practice)."""
    steps = np.broadcast_to(step.reshape(-1), bias.shape)
    return np.asarray(np.rint(bias / steps) * steps, np.float32)


def _base(levels: Levels, bits: int) -> int:
    """The value of the code of all zeros: the lowest, one below it in a symmetric range."""
    codes: int = 2**bits
    return levels.high - codes + 1
