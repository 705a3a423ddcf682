"""Measured accuracy: one network on one data set, under as many plans as are asked for."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from npubench.accuracy.calibrate import Calibration
from npubench.accuracy.datasets import Dataset, fit
from npubench.accuracy.faults import Faults, flip_mask
from npubench.accuracy.model import TrainedModel
from npubench.accuracy.observe import Observations, observe
from npubench.accuracy.plan import Prepared, prepare
from npubench.accuracy.rewrite import rewrite
from npubench.accuracy.runtime import Network, describe_runtime
from npubench.accuracy.scores import ClassScore, next_token_losses, score_classes, score_text
from npubench.accuracy.statistics import sqnr_db
from npubench.errors import InputError, OptionError, Problem
from npubench.ir import PrecisionPlan

__all__ = ["Evaluator", "Measurement"]

Outputs: TypeAlias = npt.NDArray[Any]
Feeds: TypeAlias = "dict[str, npt.NDArray[Any]]"

_BATCH_ELEMENTS = 400_000  # input elements per execution: some tens of MB of activations
_SQNR_SAMPLES = 64
_COMPANIONS: Mapping[str, Callable[[tuple[int, ...]], npt.NDArray[Any]]] = {
    "attention_mask": lambda shape: np.ones(shape),
    "position_ids": lambda shape: np.broadcast_to(np.arange(shape[1]), shape),
    "token_type_ids": lambda shape: np.zeros(shape),
}


@dataclass(frozen=True)
class Measurement:
    """What was measured. Accuracies are in percent, a perplexity is as it is.

    Attributes:
        metric: ``top1`` or ``perplexity``.
        value: of the plan.
        reference: of the float network, in the same run; None where the file holds a network
            that is quantised already.
        n: samples, or tokens predicted.
        interval: 95 %: Wilson's of a top-1, from the spread of losses of a perplexity.
        top5: share of samples with the label among the best five; None with five classes or less.
        agreement: share of samples on which plan and float network answer the same.
        sqnr_db: signal to quantisation noise of each layer's result within the network; layers
            without noise are left out.
        source: data set, calibration, seed and runtime, for captions.
        score: answers of each sample, for classifiers.
        samples_per_s: of the plan's and of the float network's execution.
    """

    metric: str
    value: float
    reference: float | None
    n: int
    interval: tuple[float, float]
    top5: float | None
    agreement: float | None
    sqnr_db: Mapping[str, float]
    source: str
    score: ClassScore | None = None
    samples_per_s: tuple[float, float | None] = (0.0, None)

    @property
    def drop(self) -> float | None:
        """Points lost against the float network; for a perplexity, what it rose by."""
        if self.reference is None:
            return None
        if self.metric == "perplexity":
            return self.value - self.reference
        return self.reference - self.value


@dataclass
class _Timed:
    outputs: Outputs
    seconds: float


@dataclass
class Evaluator:
    """A network and its data; float reference and calibration are worked out once.

    Args:
        model: from `npubench.accuracy.model.open_model`.
        dataset: from `npubench.accuracy.datasets.open_dataset`.
        own: the plan that a quantised file states; None for float networks.
        calibration: how ranges are chosen.
        seed: of the choice of samples.
        samples: how many to take, all if None; drawn by the seed, in the data's order.
        threads: of onnxruntime.
        on_step: called with samples done and samples in all.

    Raises:
        InputError: data that do not fit the network: shape, classes, labels.
    """

    model: TrainedModel
    dataset: Dataset
    own: PrecisionPlan | None = None
    calibration: Calibration = field(default_factory=Calibration)
    seed: int = 0
    samples: int | None = None
    threads: int = 2
    on_step: Callable[[int, int], None] | None = None

    def __post_init__(self) -> None:
        strange = [name for name in self.model.companions if name not in _COMPANIONS]
        is_text = self.dataset.tokens is not None
        if strange or (self.model.companions and not is_text):
            names = ", ".join(f"'{n}'" for n in (self.model.input, *self.model.companions))
            raise InputError(
                f"the accuracy of '{self.model.name}' cannot be measured: it takes {names}, and a "
                f"data set fills one input"
            )
        if is_text:
            self._check_text()
        else:
            self.dataset = fit(self.dataset, self.model.input_shape, self.model.input_type)
        if self.samples is not None and self.samples < 1:
            raise OptionError(f"--samples: expected a whole number from 1, got {self.samples}")

    def _check_text(self) -> None:
        shape = self.model.input_shape
        if len(shape) != 1 or self.model.input_type.kind not in "iu" or shape[0] < 2:
            raise InputError(
                f"'{self.dataset.name}' is a stream of tokens, '{self.model.name}' does not take "
                "rows of tokens"
            )
        if len(self.dataset) < shape[0]:
            raise InputError(
                f"'{self.dataset.name}' has {len(self.dataset)} tokens, "
                f"'{self.model.name}' takes {shape[0]} at a time"
            )

    @cached_property
    def indices(self) -> npt.NDArray[np.int64]:
        """The samples measured, in order; rows of tokens for text."""
        total = len(self.dataset)
        if self.dataset.tokens is not None:
            total //= self.model.input_shape[0]
        if self.samples is None or self.samples >= total:
            return np.arange(total)
        chosen = np.random.default_rng(self.seed).choice(total, self.samples, replace=False)
        return np.sort(chosen)

    @cached_property
    def _reference(self) -> _Timed | None:
        if self.model.quantised:
            return None
        return self._execute(Network(self.model.proto, threads=self.threads), {})

    @cached_property
    def reference_outputs(self) -> Outputs:
        """Outputs of the float network on all samples.

        Raises:
            InputError: the file holds no float network.
        """
        if self._reference is None:
            raise InputError(
                f"'{self.model.name}' is quantised already: it has no float network to compare with"
            )
        return self._reference.outputs

    @cached_property
    def observations(self) -> Observations:
        """Activations of the float network on the calibration samples."""
        return observe(self.model, lambda: self._feeds(calibrating=True), self.threads)

    def measure(
        self, plan: PrecisionPlan, *, faults: Faults | None = None, sqnr: bool = False
    ) -> Measurement:
        """Execute a plan on every sample.

        Args:
            plan: what the machine executes, layer by layer.
            faults: bit errors to inject.
            sqnr: whether to measure each layer's signal to noise on the first samples too.

        Raises:
            InputError: outputs that are no class scores or of too few classes; a plan that a
                quantised file does not hold; formats that cannot be executed.
        """
        reference = self._reference
        if self.model.quantised:
            self._check_own(plan)
            if faults is not None:
                raise OptionError(f"--faults: '{self.model.name}' is quantised already")
            timed = self._execute(Network(self.model.proto, threads=self.threads), {})
            noise: dict[str, float] = {}
        else:
            prepared = self.prepare(plan, faults)
            runtime = Network(rewrite(self.model, prepared.layout), threads=self.threads)
            timed = self._execute(runtime, prepared.feeds, prepared.masks, faults)
            # Quantisation noise is that of the plan without bit errors.
            clean = prepared if faults is None or not sqnr else self.prepare(plan)
            noise = self._layer_noise(clean) if sqnr else {}
        speeds = tuple(
            None if t is None else len(self.indices) / max(t.seconds, 1e-9)
            for t in (timed, reference)
        )
        rate = speeds[0] or 0.0
        source = self._source(faults)
        if self.dataset.tokens is not None:
            text = score_text(timed.outputs)
            base = None if reference is None else score_text(reference.outputs).perplexity
            return Measurement(
                metric="perplexity",
                value=text.perplexity,
                reference=base,
                n=text.tokens,
                interval=text.interval,
                top5=None,
                agreement=None,
                sqnr_db=noise,
                source=source,
                samples_per_s=(rate, speeds[1]),
            )
        labels = self._labels(timed.outputs)
        score = score_classes(timed.outputs, labels)
        floats = None if reference is None else score_classes(reference.outputs, labels)
        same = None if floats is None else np.mean(floats.predictions == score.predictions)
        low, high = score.interval
        return Measurement(
            metric="top1",
            value=100 * score.top1,
            reference=None if floats is None else 100 * floats.top1,
            n=len(labels),
            interval=(100 * low, 100 * high),
            top5=None if score.top5 is None else 100 * score.top5,
            agreement=None if same is None else 100 * float(same),
            sqnr_db=noise,
            source=source,
            score=score,
            samples_per_s=(rate, speeds[1]),
        )

    def prepare(
        self, plan: PrecisionPlan, faults: Faults | None = None, fed: Collection[str] = ()
    ) -> Prepared:
        """What executes a plan; layers in ``fed`` get their weights as inputs of the graph."""
        return prepare(self.model, plan, self.calibration, lambda: self.observations, faults, fed)

    def outputs(self, runtime: Network, feeds: Mapping[str, npt.NDArray[Any]]) -> Outputs:
        """Outputs of a prepared network on all samples."""
        return self._execute(runtime, feeds).outputs

    def _check_own(self, plan: PrecisionPlan) -> None:
        if self.own is None:
            return
        for layer, stated in self.own.layers.items():
            run = plan.of(layer)
            holds = run.weight.holds(stated.weight) and run.activation.holds(stated.activation)
            if not holds:
                raise InputError(
                    Problem(
                        f"'{self.model.name}' is quantised already, layer '{layer}' to {stated}: "
                        f"its accuracy at {run} cannot be measured",
                        hint="take --precision model, or the file of the float network",
                    )
                )

    def _labels(self, outputs: Outputs) -> npt.NDArray[np.int64]:
        name, data = self.model.name, self.dataset
        labels = data.labels
        if labels is None or outputs.ndim != 2 or outputs.shape[1] < 2:
            shape = "x".join(map(str, outputs.shape[1:])) or "one number"
            raise InputError(f"'{name}' is no classifier: it gives {shape} for a sample")
        classes = outputs.shape[1]
        stated = data.classes
        top = int(labels.max())
        if (stated is not None and stated != classes) or not 0 <= labels.min() <= top < classes:
            given = f"{stated} classes" if stated is not None else f"labels {labels.min()} to {top}"
            raise InputError(
                f"data set '{data.name}' has {given}, the network '{name}' tells {classes} apart"
            )
        return labels[self.indices]

    def _source(self, faults: Faults | None) -> str:
        parts = [self.dataset.name]
        if not self.model.quantised:
            own = self.dataset.calibration is not None
            count = len(self._calibration_indices())
            where = "samples set apart" if own else "of the samples measured"
            parts.append(f"calibration {self.calibration} on {count} {where}")
        if faults is not None:
            parts.append(f"bit error rate {faults.rate:g}")
        return ", ".join([*parts, f"seed {self.seed}", describe_runtime()])

    def _calibration_indices(self) -> npt.NDArray[np.int64]:
        held = self.dataset.calibration
        if held is not None:
            return np.arange(min(len(held), self.calibration.samples))
        count = min(len(self.indices), self.calibration.samples)
        chosen = np.random.default_rng(self.seed).choice(len(self.indices), count, replace=False)
        return self.indices[np.sort(chosen)]

    def _read(self, indices: npt.NDArray[np.int64], *, calibrating: bool) -> npt.NDArray[Any]:
        if self.dataset.tokens is not None:
            length = self.model.input_shape[0]
            rows = indices[:, None] * length + np.arange(length)
            return np.asarray(self.dataset.tokens[rows], self.model.input_type)
        held = self.dataset.calibration
        return held[indices] if calibrating and held is not None else self.dataset.read(indices)

    def _feeds(self, *, calibrating: bool) -> Iterator[Feeds]:
        indices = self._calibration_indices() if calibrating else self.indices
        size = self.model.fixed_batch or self._batch_size()
        for start in range(0, len(indices), size):
            part = indices[start : start + size]
            short = size - len(part) if self.model.fixed_batch else 0
            if short:  # a fixed batch is filled up with its last sample
                part = np.concatenate([part, np.repeat(part[-1:], short)])
            samples = self._read(part, calibrating=calibrating)
            more = {
                name: _COMPANIONS[name](samples.shape).astype(kind)
                for name, kind in self.model.companions.items()
            }
            yield {self.model.input: samples, **more}

    def _batch_size(self) -> int:
        elements = max(1, int(np.prod(self.model.input_shape)))
        return max(8, min(128, _BATCH_ELEMENTS // elements))

    def _execute(
        self,
        runtime: Network,
        feeds: Mapping[str, npt.NDArray[Any]],
        masks: Mapping[str, int] | None = None,
        faults: Faults | None = None,
    ) -> _Timed:
        """Outputs on all samples; of text, the loss of each token in their place."""
        random = np.random.default_rng([self.seed, 1 if faults is None else faults.seed + 2])
        total = len(self.indices)
        collected: list[Outputs] = []
        seconds, done = 0.0, 0
        for batch in self._feeds(calibrating=False):
            samples = batch[self.model.input]
            flips = {
                f"{key}:mask": flip_mask(
                    self.observations.shape(key, len(samples)), bits, faults.rate, random
                )
                for key, bits in (masks or {}).items()
                if faults is not None
            }
            start = time.perf_counter()
            out = runtime.run([self.model.output], {**batch, **feeds, **flips})[0]
            seconds += time.perf_counter() - start
            kept = min(len(samples), total - done)
            collected.append(self._digest(out, samples)[: kept * max(1, self._per_sample)])
            done += kept
            if self.on_step is not None:
                self.on_step(done, total)
        return _Timed(np.concatenate(collected), seconds)

    @property
    def _per_sample(self) -> int:
        return self.model.input_shape[0] - 1 if self.dataset.tokens is not None else 1

    def _digest(self, out: Outputs, samples: npt.NDArray[Any]) -> Outputs:
        if self.dataset.tokens is None:
            if out.shape[:1] != (len(samples),) and len(samples) == 1:
                out = out[None]
            # Trailing extents of 1 are what global pooling leaves behind.
            return out.reshape(len(samples), -1) if _is_flat(out) else out
        if out.ndim != 3 or out.shape[:2] != samples.shape:
            raise InputError(f"'{self.model.name}' gives no scores for every token")
        if samples.max() >= out.shape[2]:
            raise InputError(
                f"data set '{self.dataset.name}' has token {samples.max()}, "
                f"'{self.model.name}' knows {out.shape[2]}"
            )
        return next_token_losses(out, samples.astype(np.int64))

    def _layer_noise(self, prepared: Prepared) -> dict[str, float]:
        """Signal to noise of each layer's result, against the float network, in dB."""
        nodes = self.model.proto.graph.node
        names = {site.layer: [nodes[i].output[0] for i in site.nodes] for site in self.model.sites}
        made = {self.model.output}
        wanted = list(dict.fromkeys(name for its in names.values() for name in its))
        extra = [name for name in wanted if name not in made]
        runtimes = [
            Network(rewrite(self.model, layout), threads=self.threads)
            for layout in (prepared.floating(extra), prepared.observed(extra))
        ]
        signal = dict.fromkeys(wanted, 0.0)
        noise = dict.fromkeys(wanted, 0.0)
        seen = 0
        for batch in self._feeds(calibrating=False):
            clean = runtimes[0].run(wanted, batch)
            rough = runtimes[1].run(wanted, {**batch, **prepared.feeds})
            for name, a, b in zip(wanted, clean, rough, strict=True):
                signal[name] += float(np.sum(np.square(a, dtype=np.float64)))
                noise[name] += float(np.sum(np.square(a - b, dtype=np.float64)))
            seen += len(batch[self.model.input])
            if seen >= _SQNR_SAMPLES:
                break
        found = {
            layer: sqnr_db(sum(signal[n] for n in its), sum(noise[n] for n in its))
            for layer, its in names.items()
        }
        return {layer: value for layer, value in found.items() if value is not None}


def _is_flat(out: Outputs) -> bool:
    return out.ndim > 2 and max((*out.shape[1:], 1)) == int(np.prod(out.shape[1:]))
