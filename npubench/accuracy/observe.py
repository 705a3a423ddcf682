"""What the float network's activations look like on calibration samples."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from npubench.accuracy.calibrate import Histogram
from npubench.accuracy.model import TrainedModel
from npubench.accuracy.rewrite import Layout, port, rewrite
from npubench.accuracy.runtime import Network
from npubench.accuracy.sites import Site

__all__ = ["Observations", "observe"]

Feeds = Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class Observations:
    """What the activations look like that layers read, by port.

    Attributes:
        histograms: of their values.
        extents: of each axis, a constant part and one for every sample: the batch may stand on any
            axis, or be folded into another one.
    """

    histograms: Mapping[str, Histogram]
    extents: Mapping[str, tuple[tuple[int, int], ...]]

    def shape(self, key: str, samples: int) -> tuple[int, ...]:
        """Of the activation at a port when so many samples are executed at once."""
        return tuple(constant + samples * each for constant, each in self.extents[key])


def observe(
    model: TrainedModel, batches: Callable[[], Iterable[Feeds]], threads: int
) -> Observations:
    """Run the float network twice over the batches: ranges first, then histograms between them.

    Args:
        model: not yet quantised.
        batches: makes the same feeds each time.
        threads: of onnxruntime.
    """
    tensors = _tensors(model)
    fed = {model.input, *model.companions}
    inner = tuple(
        dict.fromkeys(n for names, _, _ in tensors.values() for n in names if n not in fed)
    )
    made = {output.name for output in model.proto.graph.output}
    layout = Layout({}, outputs=[name for name in inner if name not in made])
    runtime = Network(rewrite(model, layout), threads=threads)
    found = {key: Histogram() for key in tensors}
    for last in (False, True):
        for feeds in batches():
            # onnxruntime takes "no outputs" for "all of them"
            made_now = runtime.run(inner, feeds) if inner else []
            values = dict(feeds) | dict(zip(inner, made_now, strict=True))
            for key, (names, site, operand) in tensors.items():
                for name in names:
                    array = np.asarray(values[name], np.float32)
                    if not last:
                        found[key].extend(array)
                    else:
                        found[key].count(array, site.data_channels if operand == site.data else -1)
    return Observations(found, _extents(model, tensors, runtime, inner, next(iter(batches()))))


def _extents(
    model: TrainedModel,
    tensors: Mapping[str, tuple[tuple[str, ...], Site, int]],
    runtime: Network,
    inner: tuple[str, ...],
    feeds: Feeds,
) -> dict[str, tuple[tuple[int, int], ...]]:
    """Shapes as a function of the number of samples, from one sample and from two."""
    if model.fixed_batch is not None:
        tries = [feeds, feeds]
    else:
        tries = [{k: np.repeat(v[:1], n, axis=0) for k, v in feeds.items()} for n in (1, 2)]
    one, two = (
        dict(feed) | dict(zip(inner, runtime.run(inner, feed) if inner else [], strict=True))
        for feed in tries
    )
    return {
        key: tuple(
            (2 * a - b, b - a)
            for a, b in zip(one[names[0]].shape, two[names[0]].shape, strict=True)
        )
        for key, (names, _, _) in tensors.items()
    }


def _tensors(model: TrainedModel) -> dict[str, tuple[tuple[str, ...], Site, int]]:
    """By port: the tensors it reads; the streamed operand always, a held one if it is no weight."""
    nodes = model.proto.graph.node
    return {
        port(site, operand): (tuple(nodes[i].input[operand] for i in site.nodes), site, operand)
        for site in model.sites
        for operand in (site.data, *((site.held,) if site.weight is None else ()))
    }
