"""Gates on systems under load: ``--fail-if 'p99 > 15 ms'``, checked on every row of a serving."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from npubench.errors import OptionError, Problem
from npubench.serving import ServeResult
from npubench.study.gates import Condition, parse_condition, split_alternatives
from npubench.study.serve import Served

__all__ = ["SERVED_METRICS", "check_served", "parse_serve_gates"]

# Dimension of every figure. A row without one (latency of a saturated system) fails its gate.
SERVED_METRICS: Mapping[str, str] = MappingProxyType(
    {
        "mean": "time",
        "p50": "time",
        "p90": "time",
        "p99": "time",
        "p999": "time",
        "slo_attainment": "share",
        "goodput_rps": "dimensionless",
        "throughput_rps": "dimensionless",
        "load_rps": "dimensionless",
        "burst_share": "share",
        "energy_j": "energy",
        "accuracy_drop": "dimensionless",
        "antt": "dimensionless",
        "fairness": "dimensionless",
    }
)
_LATENCIES = frozenset({"mean", "p50", "p90", "p99", "p999"})
_UNITS = {"time": " s", "energy": " J"}


def parse_serve_gates(expressions: Iterable[str]) -> tuple[Condition, ...]:
    """Conditions that no row may meet.

    Raises:
        OptionError: with every mistake at once.
    """
    conditions: list[Condition] = []
    problems: list[Problem] = []
    for text in (part for each in expressions for part in split_alternatives(each)):
        try:
            conditions.append(parse_condition(text, metrics=SERVED_METRICS))
        except OptionError as error:
            problems.extend(error.problems)
    if problems:
        raise OptionError(*problems)
    return tuple(conditions)


def check_served(served: Iterable[Served], conditions: Iterable[Condition]) -> tuple[str, ...]:
    """What failed, a sentence each: a figure that meets a condition, or that is not there."""
    kept = tuple(conditions)
    failures: list[str] = []
    for one in served if kept else ():
        label = f"{one.system.name}, {one.policy.name}"
        if one.result is None:
            failures.append(f"{label}: no load meets the bounds, so there is nothing to check")
            continue
        if one.result.load is not None:
            label += f", load {one.result.load:.4g}"
        for condition in kept:
            value = _value(one.result, condition.metric)
            if value is None:
                why = " (saturated)" if one.result.saturated else ""
                failures.append(
                    f"{label}: no {condition.metric} to check '{condition.text}' against{why}"
                )
            elif condition.holds(value):
                unit = _UNITS.get(SERVED_METRICS[condition.metric], "")
                failures.append(
                    f"{label}: {condition.metric} is {value:.6g}{unit}, which fails "
                    f"'{condition.text}'"
                )
    return tuple(failures)


def _value(result: ServeResult, metric: str) -> float | None:
    if metric in _LATENCIES:
        found = getattr(result.latency_s, metric)
    else:
        found = getattr(result, "energy_j_per_request" if metric == "energy_j" else metric)
    value: float | None = getattr(found, "value", found)
    return value
