"""Scenario files: YAML to a `Scenario`, every mistake at its line."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final, Literal, TypeAlias

from pydantic import Field

from npubench.errors import Problem, SpecError, did_you_mean
from npubench.serving.scenario import (
    Arrivals,
    Batching,
    Bursty,
    Diurnal,
    Kind,
    Length,
    NetworkLoad,
    Poisson,
    Scenario,
    ScenarioError,
    Size,
    Uniform,
)
from npubench.serving.trace import read_trace
from npubench.specs.catalog import data_folder
from npubench.specs.loader import YAML_SUFFIXES, SpecDocument, find_node
from npubench.specs.quantity import (
    Count,
    Duration,
    Fraction,
    Frequency,
    Quantity,
    Ratio,
    SpecModel,
)
from npubench.specs.tree import spec_error

__all__ = [
    "ScenarioFile",
    "list_scenarios",
    "load_scenario",
    "parse_scenario",
    "shipped_scenarios",
]

# MLPerf Inference rules: SingleStream reports the 90th percentile, all others the 99th.
_PERCENTILE: Final = {"single_stream": 0.90}
_DEFAULT_PERCENTILE: Final = 0.99


class SizeFields(SpecModel):
    """Work per request; `cv` belongs to lognormal."""

    distribution: Literal["constant", "exponential", "lognormal"]
    cv: Ratio | None = None


class NetworkFields(SpecModel):
    """A network of the mix; see `npubench.serving.scenario.NetworkLoad`."""

    name: str
    weight: Ratio | None = None
    slo: Duration | None = None
    slo_isolated: Ratio | None = None
    priority: Ratio | None = None
    size: SizeFields | None = None


class _Paced(SpecModel):
    """Arrivals with a mean rate: requests a second in Hz, or a share of the nominal capacity."""

    rate: Frequency | None = None
    load: Ratio | None = None


class PoissonFields(_Paced):
    """Exponential gaps."""

    process: Literal["poisson"]


class UniformFields(_Paced):
    """Equal gaps."""

    process: Literal["uniform"]


class BurstyFields(_Paced):
    """Two alternating rates; see `npubench.serving.scenario.Bursty`."""

    process: Literal["bursty"]
    peak: Ratio
    share: Fraction
    high: Duration


class DiurnalFields(_Paced):
    """A rate that swings; see `npubench.serving.scenario.Diurnal`."""

    process: Literal["diurnal"]
    amplitude: Fraction
    period: Duration


class TraceFields(_Paced):
    """Recorded arrivals; the file's path is relative to the scenario's."""

    process: Literal["trace"]
    file: str


ArrivalFields: TypeAlias = Annotated[
    PoissonFields | UniformFields | BurstyFields | DiurnalFields | TraceFields,
    Field(discriminator="process"),
]


class BatchingFields(SpecModel):
    """Requests served together; see `npubench.serving.scenario.Batching`."""

    kind: Literal["none", "static", "dynamic"]
    size: Count | None = None
    timeout: Duration | None = None


class LengthFields(SpecModel):
    """The run lasts until both minima are reached."""

    requests: Count | None = None
    duration: Duration | None = None


class ScenarioFile(SpecModel):
    """A scenario file.

    Attributes:
        name: what results call it, and what the command line takes.
        title: one line.
        source: where load and bounds are from.
    """

    name: str
    title: str
    source: str = ""
    kind: Kind = "server"
    networks: tuple[NetworkFields, ...] = Field(min_length=1)
    arrivals: ArrivalFields | None = None
    batching: BatchingFields | None = None
    length: LengthFields | None = None
    warmup: Fraction | None = None
    repetitions: Count | None = None
    percentile: Fraction | None = None
    seed: int = 0


def parse_scenario(document: SpecDocument, folder: Path) -> Scenario:
    """The scenario of a document.

    Args:
        document: its YAML.
        folder: where a trace file's path starts.

    Raises:
        SpecError: every mistake of the file, at its line.
        InputError: mistakes in the trace.
    """
    fields = document.validate(ScenarioFile)
    names = [network.name for network in fields.networks]
    try:
        return Scenario(
            name=fields.name,
            networks=tuple(_network(network) for network in fields.networks),
            kind=fields.kind,
            arrivals=_arrivals(fields.arrivals, names, folder),
            rate_rps=None if fields.arrivals is None else _value(fields.arrivals.rate),
            load=None if fields.arrivals is None else _value(fields.arrivals.load),
            batching=_batching(fields.batching),
            length=_length(fields.length),
            warmup=_or(fields.warmup, 0.05),
            repetitions=int(_or(fields.repetitions, 1)),
            percentile=_or(fields.percentile, _PERCENTILE.get(fields.kind, _DEFAULT_PERCENTILE)),
            seed=fields.seed,
        )
    except ScenarioError as error:
        problems = [_placed(document, road, text) for road, text in error.mistakes]
    raise spec_error(problems)


def load_scenario(name_or_path: str) -> Scenario:
    """The scenario of a shipped name or of a file.

    Raises:
        SpecError: an unknown name, an unreadable file, or mistakes in it.
        InputError: mistakes in its trace.
    """
    if "/" in name_or_path or "\\" in name_or_path or name_or_path.endswith(YAML_SUFFIXES):
        path = Path(name_or_path)
        return parse_scenario(SpecDocument.from_file(path), path.parent)
    shipped = list_scenarios()
    wanted = name_or_path.lower().replace("-", "_")
    if wanted not in shipped:
        hint = did_you_mean(name_or_path, shipped)
        raise SpecError(Problem(f"unknown scenario '{name_or_path}'", hint=hint))
    path = shipped[wanted]
    document = SpecDocument.from_file(path, f"workloads/scenarios/{path.name}")
    return parse_scenario(document, path.parent)


def list_scenarios() -> dict[str, Path]:
    """The shipped scenarios: name, which is the file's stem, to file."""
    folder = data_folder("workloads") / "scenarios"
    return {p.stem: p for p in sorted(folder.glob("*.yaml"))}


def shipped_scenarios() -> tuple[ScenarioFile, ...]:
    """The shipped scenarios as they stand in their files, by name."""
    return tuple(
        SpecDocument.from_file(path, f"workloads/scenarios/{path.name}").validate(ScenarioFile)
        for path in list_scenarios().values()
    )


def _placed(document: SpecDocument, road: str, text: str) -> Problem:
    """A mistake at the deepest field of its road that the file has."""
    steps = road.split(".")
    while steps:
        node = find_node(document.root, steps)
        if node is not None:
            return node.place.problem(text)
        steps.pop()
    return document.root.place.problem(text)


def _value(quantity: Quantity | None) -> float | None:
    return None if quantity is None else quantity.value


def _or(quantity: Quantity | None, default: float) -> float:
    return default if quantity is None else quantity.value


def _network(fields: NetworkFields) -> NetworkLoad:
    size = Size()
    if fields.size is not None:
        size = Size(fields.size.distribution, _or(fields.size.cv, 1.0))
    return NetworkLoad(
        fields.name,
        _or(fields.weight, 1.0),
        _value(fields.slo),
        _value(fields.slo_isolated),
        _or(fields.priority, 1.0),
        size,
    )


def _arrivals(fields: ArrivalFields | None, names: list[str], folder: Path) -> Arrivals:
    if isinstance(fields, TraceFields):
        path = folder / fields.file
        return read_trace(path, names)
    if isinstance(fields, BurstyFields):
        return Bursty(fields.peak.value, fields.share.value, fields.high.value)
    if isinstance(fields, DiurnalFields):
        return Diurnal(fields.amplitude.value, fields.period.value)
    return Uniform() if isinstance(fields, UniformFields) else Poisson()


def _batching(fields: BatchingFields | None) -> Batching:
    if fields is None:
        return Batching()
    return Batching(fields.kind, int(_or(fields.size, 1)), _or(fields.timeout, 0.0))


def _length(fields: LengthFields | None) -> Length:
    default = Length()
    if fields is None:
        return default
    return Length(
        int(_or(fields.requests, default.requests)), _or(fields.duration, default.duration_s)
    )
