"""A precision plan from a YAML file, held against the network it is meant for.

default: w8a8                 # layers not named below
scheme: {per_channel: true}   # how integers stand for numbers, see `npubench.ir.Scheme`
layers:
  "layer1.*": w4a4            # a pattern; where several fit, the last one counts
  conv1: {precision: w8a8, accumulator_bits: 24}   # a name counts before every pattern
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, TypeAlias

from pydantic import BeforeValidator, Field, PlainValidator

from npubench.errors import OptionError, Problem, did_you_mean
from npubench.ir import LayerPrecision, Network, PrecisionPlan, Scheme, parse_precision
from npubench.specs.loader import SpecDocument
from npubench.specs.quantity import SpecModel, shown
from npubench.specs.tree import Entry, MappingNode, spec_error

__all__ = ["plan_text", "read_plan"]

_PATTERN = re.compile(r"[*?\[]")


def _precision(given: object) -> LayerPrecision:
    if not isinstance(given, str):
        raise ValueError(f"expected a precision such as w8a8, got {shown(given)}")
    try:
        return parse_precision(given)
    except OptionError as error:
        raise ValueError(error.problems[0].message) from None


def _long_form(given: Any) -> Any:
    return {"precision": given} if isinstance(given, str) else given


Precision: TypeAlias = Annotated[LayerPrecision, PlainValidator(_precision)]


class _SchemeFields(SpecModel):
    """Fields of `npubench.ir.Scheme`, each by default that of the level above."""

    per_channel: bool | None = None
    symmetric_weights: bool | None = None
    symmetric_activations: bool | None = None
    accumulator_bits: Annotated[int, Field(ge=2, le=64)] | None = None

    def over(self, base: Scheme) -> Scheme:
        """``base`` with the fields that are given here."""
        given = {
            name: value for name in _SCHEME_FIELDS if (value := getattr(self, name)) is not None
        }
        return replace(base, **given)


_SCHEME_FIELDS = tuple(_SchemeFields.model_fields)


class _LayerEntry(_SchemeFields):
    """One line of ``layers``; without a precision only the scheme is set."""

    precision: Precision | None = None


class _PlanFile(SpecModel):
    """The whole file; ``network`` and ``source`` are for readers and captions."""

    default: Precision
    scheme: _SchemeFields = _SchemeFields()
    layers: dict[str, Annotated[_LayerEntry, BeforeValidator(_long_form)]] = Field(
        default_factory=dict
    )
    network: str | None = None
    source: str = ""


def read_plan(path: Path, network: Network) -> PrecisionPlan:
    """The plan of a file for a network.

    Raises:
        SpecError: mistakes in the file; names and patterns that fit no multiply-accumulate layer
            of the network, a plan for another network; all of a kind at once, each at its line.
    """
    document = SpecDocument.from_file(path)
    file = document.validate(_PlanFile)
    names = [layer.name for layer in network.mac_layers]
    node = document.root.get("layers")
    written = node.entries if isinstance(node, MappingNode) else ()
    problems = [*_wrong_network(document, file, network), *_unmatched(written, names)]
    if problems:
        raise spec_error(problems)
    scheme = file.scheme.over(Scheme())
    precisions: dict[str, LayerPrecision] = {}
    schemes: dict[str, Scheme] = {}
    for key in sorted(file.layers, key=lambda key: key in names):  # stable: names after patterns
        entry = file.layers[key]
        for name in _matches(key, names):
            if entry.precision is not None:
                precisions[name] = entry.precision
            schemes[name] = entry.over(schemes.get(name, scheme))
    source = f"{path.name}: {file.source}" if file.source else path.name
    return PrecisionPlan(
        default=file.default,
        layers=MappingProxyType(precisions),
        source=source,
        scheme=scheme,
        schemes=MappingProxyType({n: s for n, s in schemes.items() if s != scheme}),
    )


def plan_text(network: str, layers: Mapping[str, str], source: str) -> str:
    """A plan file that names every layer of a network, for `read_plan`.

    Args:
        network: its name.
        layers: precision by layer, as text; at least one.
        source: a sentence for captions.
    """
    default = max(layers.values(), key=list(layers.values()).count)
    # A JSON string is a YAML string, whatever stands in it.
    lines = [f"network: {json.dumps(network)}", f"source: {json.dumps(source)}"]
    lines += [f"default: {default}", "layers:"]
    lines += [f"  {json.dumps(name)}: {precision}" for name, precision in layers.items()]
    return "\n".join(lines) + "\n"


def _matches(key: str, names: Iterable[str]) -> list[str]:
    """Layers that a name or a pattern stands for; a layer's own name is never a pattern."""
    if key in names:
        return [key]
    return [name for name in names if _PATTERN.search(key) and fnmatchcase(name, key)]


def _unmatched(written: Iterable[Entry], names: list[str]) -> Iterable[Problem]:
    for entry in written:
        if not _matches(entry.key, names):
            pattern = _PATTERN.search(entry.key) is not None
            what = f"pattern '{entry.key}' fits no layer" if pattern else f"no layer '{entry.key}'"
            yield entry.place.problem(
                f"{what} with multiply-accumulates", did_you_mean(entry.key, names), "layers"
            )


def _wrong_network(document: SpecDocument, file: _PlanFile, network: Network) -> Iterable[Problem]:
    node = document.root.get("network")
    if node is not None and file.network not in (None, network.name):
        yield node.place.problem(
            f"this plan is for '{file.network}', not for '{network.name}'", road="network"
        )
