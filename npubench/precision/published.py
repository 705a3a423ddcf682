"""Published mixed-precision configurations: per-layer widths shipped in ``workloads/precision/``.

A file lists the widths of one network by setting; ``hawq_latency_0.5`` is setting ``latency_0.5``
of the files whose prefix is ``hawq``. Layers go by their order, since exporters differ in names,
and are recognised by their number of weights.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import Annotated

from pydantic import Field

from npubench.errors import OptionError, Problem, did_you_mean
from npubench.ir import LayerPrecision, Network, PrecisionPlan, Scheme, integer
from npubench.specs.catalog import data_folder
from npubench.specs.loader import SpecDocument
from npubench.specs.quantity import SpecModel

__all__ = ["PublishedLayer", "PublishedPlans", "find_published", "published_plans"]

Width = Annotated[int, Field(ge=1, le=32)]


class PublishedLayer(SpecModel):
    """A layer as the source names it, with its number of weights."""

    name: str
    weights: int


class PublishedPlans(SpecModel):
    """The configurations of one network.

    Attributes:
        name: of the file.
        networks: catalog names of the networks they are for.
        prefix: put before a setting's name on the command line.
        source, licence: where the widths are from.
        note: what else a reader should know.
        layers: in execution order.
        settings: by name, the width of weights and activations of each layer.
        symmetric_activations: widths at which activations are quantised without a zero point.
    """

    name: str
    networks: tuple[str, ...]
    prefix: str
    source: str
    licence: str
    note: str = ""
    layers: tuple[PublishedLayer, ...]
    settings: dict[str, tuple[Width, ...]]
    symmetric_activations: tuple[Width, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """The settings as they are asked for: ``hawq_latency_0.5``."""
        return tuple(f"{self.prefix}_{setting}" for setting in self.settings)

    def plan(self, name: str, network: Network) -> PrecisionPlan:
        """The plan of a setting (with prefix) for a network that has these layers.

        Raises:
            OptionError: the network's layers are others.
        """
        layers = network.mac_layers
        found = [layer.nest.weight_elements for layer in layers]
        wanted = [layer.weights for layer in self.layers]
        if found != wanted:
            raise OptionError(
                Problem(
                    f"--precision {name}: {self._difference(network)}",
                    hint=f"it is for {' and '.join(self.networks)}",
                )
            )
        widths = self.settings[name.removeprefix(f"{self.prefix}_")]
        precisions = {
            layer.name: LayerPrecision(integer(bits), integer(bits))
            for layer, bits in zip(layers, widths, strict=True)
        }
        widest = LayerPrecision(integer(max(widths)), integer(max(widths)))
        symmetric = Scheme(symmetric_activations=True)
        return PrecisionPlan(
            widest,
            precisions,
            source=f"{name}: {self.source}",
            schemes={
                layer.name: symmetric
                for layer, bits in zip(layers, widths, strict=True)
                if bits in self.symmetric_activations
            },
        )

    def _difference(self, network: Network) -> str:
        layers = network.mac_layers
        if len(layers) != len(self.layers):
            return (
                f"it sets {len(self.layers)} layers, "
                f"'{network.name}' has {len(layers)} with multiply-accumulates"
            )
        layer, known = next(
            (a, b)
            for a, b in zip(layers, self.layers, strict=True)
            if a.nest.weight_elements != b.weights
        )
        return (
            f"layer '{layer.name}' of '{network.name}' has {layer.nest.weight_elements} weights, "
            f"'{known.name}' has {known.weights}"
        )


@cache
def published_plans() -> tuple[PublishedPlans, ...]:
    """Every shipped file, by file name.

    Raises:
        SpecError: mistakes in one.
    """
    paths = sorted((data_folder("workloads") / "precision").glob("*.yaml"))
    return tuple(
        SpecDocument.from_file(path, f"workloads/precision/{path.name}").validate(PublishedPlans)
        for path in paths
    )


def find_published(name: str, network: Network) -> PrecisionPlan | None:
    """The plan of a published setting for a network; None if no file knows the name.

    Names are matched without regard to case, ``-`` is ``_``.

    Raises:
        OptionError: a prefix of ours with a setting it lacks, or a network it is not for.
    """
    folded = name.strip().lower().replace("-", "_")
    files = [f for f in published_plans() if folded.startswith(f"{f.prefix}_")]
    if not files:
        return None
    known = [f for f in files if folded in f.names]
    if not known:
        hint = did_you_mean(folded, _all_names(files))
        raise OptionError(Problem(f"--precision {name}: no such published setting", hint=hint))
    counts = len(network.mac_layers)
    fitting = [f for f in known if network.name in f.networks or len(f.layers) == counts]
    return (fitting or known)[0].plan(folded, network)


def _all_names(files: Iterable[PublishedPlans]) -> list[str]:
    return list(dict.fromkeys(name for file in files for name in file.names))
