"""Results to plain JSON objects and back, in the forms of the files in ``schemas``.

The same result gives the same bytes: keys keep a fixed order, floats are written by their shortest
exact form, and there are no times, hosts or absolute paths.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from importlib import resources
from types import MappingProxyType
from typing import Any, TypeVar

from npubench.errors import InputError, NpubenchError, OptionError
from npubench.ir import LayerPrecision, parse_format, parse_precision
from npubench.machines.protocol import ConstantUse, LayerCost, MappingSearch
from npubench.study.result import (
    Accuracy,
    Comparison,
    Coverage,
    CoverageClass,
    HardwareStamp,
    Normalised,
    NormalisedRun,
    OperatorCoverage,
    Options,
    Placement,
    PlacementOption,
    Ratio,
    RunResult,
    Stamp,
    Sweep,
    SweepChoice,
    SweepPoint,
    Totals,
    WorkloadStamp,
)

__all__ = [
    "COMPARE",
    "DESIGN",
    "ERROR",
    "RUN",
    "SERVE",
    "STUDY",
    "SWEEP",
    "dumps",
    "error_to_json",
    "from_json",
    "load_schema",
    "loads",
    "point_from_json",
    "point_to_json",
    "to_json",
]

RUN = "npubench.run/1"
COMPARE = "npubench.compare/1"
SWEEP = "npubench.sweep/1"
STUDY = "npubench.study/1"
SERVE = "npubench.serve/1"
DESIGN = "npubench.system_design/1"
ERROR = "npubench.error/1"

JsonObject = dict[str, Any]
R = TypeVar("R")


def to_json(result: RunResult | Comparison | Sweep) -> JsonObject:
    """The JSON object of a result."""
    if isinstance(result, RunResult):
        return _run_to_json(result)
    if isinstance(result, Comparison):
        return {
            "schema": COMPARE,
            "baseline": result.baseline,
            "runs": [_run_to_json(run) for run in result.runs],
            "ratios": [_plain(ratio) for ratio in result.ratios],
            "normalised": _normalised_to_json(result.normalised),
        }
    return {
        "schema": SWEEP,
        "stamp": _plain(result.stamp),
        "axes": [{"name": name, "values": list(values)} for name, values in result.axes],
        "points": [point_to_json(point) for point in result.points],
        "choice": None if result.choice is None else _plain(result.choice),
    }


def from_json(document: JsonObject) -> RunResult | Comparison | Sweep:
    """The result that `to_json` turned into this object.

    Raises:
        InputError: not such an object.
    """
    schema = document.get("schema") if isinstance(document, dict) else None
    reader = _READERS.get(schema) if isinstance(schema, str) else None
    if reader is None:
        raise InputError(f"no result of npubench: schema is {schema!r}, not {_quoted(_READERS)}")
    try:
        return reader(document)
    except KeyError as error:
        raise InputError(f"broken result of {schema}: no key {error}") from None
    except (AttributeError, TypeError, ValueError, OptionError) as error:
        raise InputError(f"broken result of {schema}: {error}") from None


def dumps(document: JsonObject) -> str:
    """The text of a JSON object, with a newline at its end; NaN and infinity have none."""
    return json.dumps(document, indent=2, allow_nan=False, ensure_ascii=False) + "\n"


def loads(text: str) -> RunResult | Comparison | Sweep:
    """The result in a JSON text.

    Raises:
        InputError: not JSON, or not a result.
    """
    try:
        document = json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(f"not JSON: {error}") from None
    return from_json(document)


def error_to_json(error: NpubenchError) -> JsonObject:
    """The JSON object of a failure."""
    return {
        "schema": ERROR,
        "errors": [
            {
                "file": problem.file,
                "line": problem.line,
                "column": problem.column,
                "message": problem.message,
                "hint": problem.hint,
            }
            for problem in error.problems
        ],
        "exit_code": error.exit_code,
    }


def load_schema(schema: str) -> JsonObject:
    """The JSON Schema (draft 2020-12) of a schema name such as ``npubench.run/1``.

    Raises:
        OptionError: no such schema.
    """
    known = (RUN, COMPARE, SWEEP, STUDY, SERVE, DESIGN, ERROR)
    if schema not in known:
        raise OptionError(f"no schema '{schema}': expected {_quoted(known)}")
    name = schema.removeprefix("npubench.").replace("/", ".")
    file = resources.files("npubench.study").joinpath("schemas", f"{name}.json")
    loaded: JsonObject = json.loads(file.read_text(encoding="utf-8"))
    return loaded


def _run_to_json(run: RunResult) -> JsonObject:
    requested, executed = run.precision_summary
    return {
        "schema": RUN,
        "stamp": _plain(run.stamp),
        "workload": _plain(run.workload),
        "hardware": {**_plain(run.hardware), "clock_hz": run.clock_hz},
        "options": _plain(run.options),
        "precision": {
            "requested": {"default": requested, "layers": dict(run.requested)},
            "executed": {"default": executed, "layers": dict(run.executed)},
        },
        "totals": _plain(run.totals),
        "layers": [_layer_to_json(layer, run.clock_hz) for layer in run.layers],
        "accuracy": _plain(run.accuracy),
        "coverage": _coverage_to_json(run.coverage),
        "assumptions": list(run.assumptions),
        "constants": [_plain(constant) for constant in run.constants],
        "search": None if run.search is None else _plain(run.search),
        "placement": None if run.placement is None else _placement_to_json(run.placement),
    }


def _run_from_json(data: JsonObject) -> RunResult:
    requested, executed = data["precision"]["requested"], data["precision"]["executed"]
    return RunResult(
        stamp=_record(Stamp, data["stamp"]),
        workload=_record(WorkloadStamp, data["workload"]),
        hardware=_record(HardwareStamp, data["hardware"]),
        options=_record(Options, data["options"]),
        requested=requested["layers"],
        executed=executed["layers"],
        precision_summary=(requested["default"], executed["default"]),
        totals=_record(Totals, data["totals"]),
        layers=tuple(_layer_from_json(layer) for layer in data["layers"]),
        clock_hz=data["hardware"]["clock_hz"],
        accuracy=_accuracy_from_json(data["accuracy"]),
        coverage=_coverage_from_json(data["coverage"]),
        assumptions=tuple(data["assumptions"]),
        constants=tuple(_record(ConstantUse, constant) for constant in data["constants"]),
        search=_search_from_json(data.get("search")),
        placement=_placement_from_json(data.get("placement")),
    )


def _search_from_json(data: JsonObject | None) -> MappingSearch | None:
    return None if data is None else _record(MappingSearch, data)


def _comparison_from_json(data: JsonObject) -> Comparison:
    return Comparison(
        baseline=data["baseline"],
        runs=tuple(_run_from_json(run) for run in data["runs"]),
        ratios=tuple(_record(Ratio, ratio) for ratio in data["ratios"]),
        normalised=_normalised_from_json(data.get("normalised")),
    )


def _normalised_to_json(normalised: Normalised | None) -> JsonObject | None:
    if normalised is None:
        return None
    return _plain(normalised) | {"runs": [_plain(run) for run in normalised.runs]}


def _normalised_from_json(data: JsonObject | None) -> Normalised | None:
    if data is None:
        return None
    runs = tuple(_record(NormalisedRun, run) for run in data["runs"])
    return Normalised(data["node_nm"], data["law"], runs)


def _sweep_from_json(data: JsonObject) -> Sweep:
    return Sweep(
        axes=tuple((axis["name"], tuple(axis["values"])) for axis in data["axes"]),
        points=tuple(point_from_json(point) for point in data["points"]),
        stamp=_record(Stamp, data["stamp"]),
        choice=_choice_from_json(data.get("choice")),
    )


def _choice_from_json(data: JsonObject | None) -> SweepChoice | None:
    if data is None:
        return None
    return SweepChoice(
        minimize=data["minimize"],
        subject_to=tuple(data["subject_to"]),
        pareto=tuple(data["pareto"]),
        allowed=data["allowed"],
        best=data["best"],
        front=tuple(data["front"]),
    )


_READERS: Mapping[str, Callable[[JsonObject], RunResult | Comparison | Sweep]] = MappingProxyType(
    {RUN: _run_from_json, COMPARE: _comparison_from_json, SWEEP: _sweep_from_json}
)


def _placement_to_json(placement: Placement) -> JsonObject:
    return {**_plain(placement), "options": [_plain(option) for option in placement.options]}


def _placement_from_json(data: JsonObject | None) -> Placement | None:
    """Results saved before systems were there have no such key."""
    if data is None:
        return None
    options = tuple(_record(PlacementOption, option) for option in data["options"])
    return dataclasses.replace(_record(Placement, data), options=options)


def _layer_to_json(layer: LayerCost, clock_hz: float) -> JsonObject:
    return {
        "name": layer.name,
        "op": layer.op,
        "macs": layer.macs,
        "cycles": layer.cycles,
        "latency_s": layer.cycles / clock_hz,
        "energy_j": layer.energy_j,
        "utilization": layer.utilization,
        "precision": None if layer.precision is None else _precision_text(layer.precision),
        "latency_by_cause": dict(layer.latency_by_cause),
        "energy_by_component": dict(layer.energy_by_component),
        "off_chip_bytes": layer.off_chip_bytes,
        "note": layer.note,
    }


def _layer_from_json(data: JsonObject) -> LayerCost:
    precision = data["precision"]
    return LayerCost(
        name=data["name"],
        op=data["op"],
        macs=data["macs"],
        latency_by_cause=data["latency_by_cause"],
        energy_by_component=data["energy_by_component"],
        utilization=data["utilization"],
        precision=None if precision is None else _parse_precision_text(precision),
        off_chip_bytes=data["off_chip_bytes"],
        note=data["note"],
    )


def _precision_text(precision: LayerPrecision) -> str:
    """The usual short text, or both formats where that would lose a sign or a wide format."""
    text = str(precision)
    try:
        if parse_precision(text) == precision:
            return text
    except OptionError:
        pass  # the text is for people only: two floats, or integers beyond 32 bits
    return f"w:{precision.weight} a:{precision.activation}"


def _parse_precision_text(text: str) -> LayerPrecision:
    if not text.startswith("w:"):
        return parse_precision(text)
    weight, activation = text.removeprefix("w:").split(" a:")
    return LayerPrecision(parse_format(weight), parse_format(activation))


def point_to_json(point: SweepPoint) -> JsonObject:
    """The JSON object of a point."""
    return {
        "axes": dict(point.axes),
        "workload": point.workload,
        "hardware": point.hardware,
        "status": point.status,
        "totals": None if point.totals is None else _plain(point.totals),
        "accuracy": None if point.accuracy is None else _plain(point.accuracy),
        "coverage": None if point.coverage is None else _coverage_to_json(point.coverage),
        "error": point.error,
    }


def point_from_json(data: JsonObject) -> SweepPoint:
    """The point that `point_to_json` turned into this object."""
    totals, accuracy, coverage = data["totals"], data["accuracy"], data["coverage"]
    return SweepPoint(
        axes=data["axes"],
        workload=data["workload"],
        hardware=data["hardware"],
        status=data["status"],
        totals=None if totals is None else _record(Totals, totals),
        accuracy=None if accuracy is None else _accuracy_from_json(accuracy),
        error=data["error"],
        coverage=None if coverage is None else _coverage_from_json(coverage),
    )


def _coverage_to_json(coverage: Coverage) -> JsonObject:
    return {
        "modelled": _plain(coverage.modelled),
        "approximated": _plain(coverage.approximated),
        "unknown": _plain(coverage.unknown),
        "operators": [_plain(row) for row in coverage.operators],
    }


def _coverage_from_json(data: JsonObject) -> Coverage:
    return Coverage(
        modelled=_record(CoverageClass, data["modelled"]),
        approximated=_record(CoverageClass, data["approximated"]),
        unknown=_record(CoverageClass, data["unknown"]),
        operators=tuple(_record(OperatorCoverage, row) for row in data["operators"]),
    )


def _accuracy_from_json(data: JsonObject) -> Accuracy:
    interval = data["interval"]
    pair = None if interval is None else (interval[0], interval[1])
    return dataclasses.replace(_record(Accuracy, data), interval=pair)


def _plain(record: Any) -> JsonObject:
    """The fields of a flat dataclass by name, mappings and tuples as JSON has them."""
    values = {f.name: getattr(record, f.name) for f in dataclasses.fields(record)}
    return {name: _plain_value(value) for name, value in values.items()}


def _plain_value(value: object) -> object:
    if isinstance(value, Mapping):
        return dict(value)
    return list(value) if isinstance(value, tuple) else value


def _record(kind: Callable[..., R], data: JsonObject) -> R:
    """A flat dataclass from the keys of its fields; other keys are left alone.

    A field with a default may be missing: files of before it was there stay readable.
    """
    fields = dataclasses.fields(kind)  # type: ignore[arg-type]  # kind is a dataclass, see callers
    needed = [f for f in fields if f.name in data or _has_no_default(f)]
    return kind(**{f.name: data[f.name] for f in needed})


def _has_no_default(field: dataclasses.Field[Any]) -> bool:
    missing = dataclasses.MISSING
    return field.default is missing and field.default_factory is missing


def _quoted(names: Mapping[str, object] | tuple[str, ...]) -> str:
    return " or ".join(f"'{name}'" for name in names)
