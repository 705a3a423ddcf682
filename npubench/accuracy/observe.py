"""What the float network's activations look like on calibration samples."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from npubench.accuracy.calibrate import Histogram
from npubench.accuracy.model import Site, TrainedModel
from npubench.accuracy.rewrite import Layout, port, rewrite
from npubench.accuracy.runtime import Network

__all__ = ["Observations", "observe"]

Feeds = Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class Observations:
    """Histograms and shapes (without the batch) of the activations that layers read, by port."""

    histograms: Mapping[str, Histogram]
    shapes: Mapping[str, tuple[int, ...]]


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
    inner = tuple(dict.fromkeys(name for name, _, _ in tensors.values() if name not in fed))
    made = {output.name for output in model.proto.graph.output}
    layout = Layout({}, outputs=[name for name in inner if name not in made])
    runtime = Network(rewrite(model, layout), threads=threads)
    found = {key: Histogram() for key in tensors}
    shapes: dict[str, tuple[int, ...]] = {}
    for last in (False, True):
        for feeds in batches():
            # onnxruntime takes "no outputs" for "all of them"
            made_now = runtime.run(inner, feeds) if inner else []
            values = dict(feeds) | dict(zip(inner, made_now, strict=True))
            for key, (name, site, operand) in tensors.items():
                shapes[key] = values[name].shape[1:]
                array = np.asarray(values[name], np.float32)
                if not last:
                    found[key].extend(array)
                else:
                    found[key].count(array, site.data_channels if operand == site.data else -1)
    return Observations(found, shapes)


def _tensors(model: TrainedModel) -> dict[str, tuple[str, Site, int]]:
    """By port: the tensor it reads; the streamed operand always, a held one if it is no weight."""
    nodes = model.proto.graph.node
    return {
        port(site, operand): (nodes[site.node].input[operand], site, operand)
        for site in model.sites
        for operand in (site.data, *((site.held,) if site.weight is None else ()))
    }
