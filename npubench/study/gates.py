"""Gates: conditions a user states, under which a result fails a build.

An expression is ``METRIC OP LIMIT``, several joined by ``or``: ``edp > 2 mJ*ms or latency_s>0.01``.
A metric is a name of `Totals` (``latency``, ``energy``, ``edp``, ... are short forms);
a limit is a number with the metric's unit, a bare number in SI base units, or, in a comparison, a
multiple of the baseline: ``edp > 1.05x``. A condition that holds is a failed gate, and so is one
that cannot be decided because the machine states no such figure.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from npubench import units
from npubench.errors import OptionError, Problem, did_you_mean
from npubench.study.result import Comparison, Coverage, Ratio, RunResult, Sweep, Totals

__all__ = [
    "METRICS",
    "SHORT_FORMS",
    "Condition",
    "Gates",
    "check_comparison",
    "check_run",
    "check_sweep",
    "parse_condition",
    "parse_gates",
    "split_alternatives",
]

# Dimension of every metric. Two have no entry among the dimensions of specs: the product J*s, and
# the share, the only plain number that may be written in percent.
METRICS: Mapping[str, str] = MappingProxyType(
    {
        "macs": "dimensionless",
        "cycles": "cycles",
        "latency_s": "time",
        "energy_j": "energy",
        "edp_js": "edp",
        "throughput_ips": "dimensionless",
        "tops_per_watt": "dimensionless",
        "utilization": "share",
        "area_mm2": "area",
    }
)
SHORT_FORMS = {
    "latency": "latency_s",
    "energy": "energy_j",
    "edp": "edp_js",
    "throughput": "throughput_ips",
    "area": "area_mm2",
}
_RATIOS: Mapping[str, Callable[[Ratio], float | None]] = MappingProxyType(
    {
        "latency_s": lambda ratio: ratio.latency,
        "energy_j": lambda ratio: ratio.energy,
        "edp_js": lambda ratio: ratio.edp,
        "throughput_ips": lambda ratio: ratio.throughput,
    }
)
_BASE_UNITS = {"time": "s", "energy": "J", "edp": "J*s", "area": "mm2", "cycles": "cycles"}
_OPERATORS: Mapping[str, Callable[[float, float], bool]] = MappingProxyType(
    {
        "<=": operator.le,
        ">=": operator.ge,
        "==": operator.eq,
        "!=": operator.ne,
        "<": operator.lt,
        ">": operator.gt,
    }
)
_CONDITION = re.compile(r"(?P<metric>[A-Za-z_]\w*)\s*(?P<op><=|>=|==|!=|<|>)\s*(?P<limit>\S.*)")
_OR = re.compile(r"\s+or\s+")
_NUMBER = r"[0-9.+-]+(?:[eE][+-]?[0-9]+)?"
_PLAIN = re.compile(_NUMBER)
_PRODUCT = re.compile(rf"({_NUMBER})\s*([a-zµ]?J)\s*\*\s*([a-zµ]?s)")


@dataclass(frozen=True, slots=True)
class Condition:
    """One comparison that must not hold.

    Attributes:
        metric: a key of `METRICS`.
        comparison: ``<``, ``<=``, ``>``, ``>=``, ``==`` or ``!=``.
        limit: in the metric's base unit, or a multiple of the baseline.
        relative: whether the limit is such a multiple.
        text: the condition as the user wrote it.
    """

    metric: str
    comparison: str
    limit: float
    relative: bool
    text: str

    def holds(self, value: float) -> bool:
        """Whether a value meets the condition, that is, fails the gate."""
        return _OPERATORS[self.comparison](value, self.limit)


@dataclass(frozen=True, slots=True)
class Gates:
    """Everything a user stated that a result must keep.

    Attributes:
        max_unknown: largest share, 0 to 1, of MACs, of bytes or of time that unknown operators
            may carry; 0 allows none at all; None sets no bound.
        strict: whether an unknown or approximated operator fails.
        conditions: of ``--fail-if``.
    """

    max_unknown: float | None = None
    strict: bool = False
    conditions: tuple[Condition, ...] = ()


def parse_gates(
    fail_if: Iterable[str] = (),
    *,
    max_unknown: float | None = None,
    strict: bool = False,
    with_baseline: bool = False,
) -> Gates:
    """Read gates from option values.

    Args:
        fail_if: expressions, see the module's head.
        max_unknown: share from 0 to 1.
        strict: see `Gates`.
        with_baseline: whether results have a baseline, so that ``1.05x`` means something.

    Raises:
        OptionError: with every mistake at once.
    """
    problems: list[Problem] = []
    conditions: list[Condition] = []
    if max_unknown is not None and not 0 <= max_unknown <= 1:
        problems.append(Problem(f"--max-unknown: expected a share from 0 to 1, got {max_unknown}"))
    for text in (part for expression in fail_if for part in split_alternatives(expression)):
        try:
            conditions.append(parse_condition(text, with_baseline=with_baseline))
        except OptionError as error:
            problems.extend(error.problems)
    if problems:
        raise OptionError(*problems)
    return Gates(max_unknown, strict, tuple(conditions))


def split_alternatives(expression: str) -> list[str]:
    """The conditions of an expression: what stands between its ``or``."""
    return _OR.split(expression.strip())


def check_run(result: RunResult, gates: Gates) -> tuple[str, ...]:
    """What failed of one result, a sentence each; empty when every gate held."""
    label = f"{result.workload.name} on {result.hardware.name}"
    absolute = [c for c in gates.conditions if not c.relative]
    return (
        *_coverage_failures(label, result.coverage, gates),
        *_totals_failures(label, result.totals, absolute),
    )


def check_comparison(comparison: Comparison, gates: Gates) -> tuple[str, ...]:
    """What failed of a comparison.

    Multiples of the baseline are checked on every workload for every other machine; geometric
    means are not, as none can break a bound that all of its parts keep.
    """
    failures = [text for run in comparison.runs for text in check_run(run, gates)]
    workloads = {run.workload.name for run in comparison.runs}
    for ratio in comparison.ratios:
        if ratio.workload not in workloads or ratio.hardware == comparison.baseline:
            continue
        label = f"{ratio.workload} on {ratio.hardware}"
        for condition in gates.conditions:
            if condition.relative:
                value = _RATIOS[condition.metric](ratio)
                failures += _condition_failure(label, condition, value, comparison.baseline)
    return tuple(failures)


def check_sweep(sweep: Sweep, gates: Gates) -> tuple[str, ...]:
    """What failed of a sweep's points; a point that failed to run has no figures to check."""
    failures: list[str] = []
    absolute = [c for c in gates.conditions if not c.relative]
    for point in sweep.points:
        at = ", ".join(f"{name}={value}" for name, value in point.axes.items())
        label = f"{point.workload} on {point.hardware} at {at}"
        if point.coverage is not None:
            failures += _coverage_failures(label, point.coverage, gates)
        if point.totals is not None:
            failures += _totals_failures(label, point.totals, absolute)
    return tuple(failures)


def parse_condition(
    text: str,
    option: str = "--fail-if",
    metrics: Mapping[str, str] = METRICS,
    *,
    with_baseline: bool = False,
) -> Condition:
    """``METRIC OP LIMIT``.

    Args:
        text: one comparison.
        option: for messages.
        metrics: dimension of every metric that may be named.
        with_baseline: whether a limit may be a multiple such as ``1.05x``.

    Raises:
        OptionError: another form, an unknown metric, or a limit of another dimension.
    """
    match = _CONDITION.fullmatch(text.strip())
    if match is None:
        raise OptionError(
            Problem(
                f"{option} '{text}': expected METRIC OP LIMIT",
                hint="such as 'edp > 2e-6', 'latency >= 5 ms' or 'edp > 1.05x'",
            )
        )
    metric = SHORT_FORMS.get(match["metric"], match["metric"])
    if metric not in metrics:
        raise OptionError(
            Problem(
                f"{option} '{text}': unknown metric '{match['metric']}'",
                hint=did_you_mean(match["metric"], (*metrics, *SHORT_FORMS), listed=len(metrics)),
            )
        )
    limit = match["limit"].strip()
    relative = limit.endswith("x")
    if relative and not with_baseline:
        raise OptionError(f"{option} '{text}': a multiple such as '{limit}' needs a baseline")
    if relative and metric not in _RATIOS:
        raise OptionError(
            f"{option} '{text}': no ratio of '{metric}'; ratios: {', '.join(_RATIOS)}"
        )
    try:
        value = (
            units.parse(limit[:-1], "dimensionless")
            if relative
            else _parse_limit(limit, metrics[metric])
        )
    except units.UnitError as error:
        hint = error.hint
        raise OptionError(Problem(f"{option} '{text}': {error.message}", hint=hint)) from None
    return Condition(metric, match["op"], value, relative, text.strip())


def _parse_limit(text: str, dimension: str) -> float:
    """A limit in its base unit; a number without one is taken to be in it already."""
    if _PLAIN.fullmatch(text) or dimension == "share":
        return units.parse(text, "dimensionless")
    if dimension == "dimensionless":
        raise units.UnitError(f"expected a plain number, got {units.quoted(text)}")
    if dimension != "edp":
        return units.parse(text, dimension)
    match = _PRODUCT.fullmatch(text)
    if match is None:
        example = "an energy-delay product such as '2 mJ*ms'"
        raise units.UnitError(f"expected {example}, got {units.quoted(text)}")
    return units.parse(match[1] + match[2], "energy") * units.parse("1 " + match[3], "time")


def _coverage_failures(label: str, coverage: Coverage, gates: Gates) -> list[str]:
    failures: list[str] = []
    if gates.strict:
        for status in ("unknown", "approximated"):
            names = _operators(coverage, status)
            if names:
                failures.append(f"{label}: --strict: {status} operators: {names}")
    unknown = coverage.unknown
    if gates.max_unknown is None or not unknown.ops:
        return failures
    shares = {"MACs": unknown.macs_share, "bytes": unknown.bytes_share, "time": unknown.time_share}
    what, share = max(shares.items(), key=lambda item: item[1])
    if gates.max_unknown == 0 or share > gates.max_unknown:
        failures.append(
            f"{label}: unknown operators carry {share:.3g} of {what}, --max-unknown is "
            f"{gates.max_unknown:g}: {_operators(coverage, 'unknown')}"
        )
    return failures


def _operators(coverage: Coverage, status: str) -> str:
    counts: dict[str, int] = {}
    for row in coverage.operators:
        if row.status == status:
            counts[row.op] = counts.get(row.op, 0) + row.layers
    return ", ".join(f"{op} x {n}" if n > 1 else op for op, n in counts.items())


def _totals_failures(label: str, totals: Totals, conditions: Iterable[Condition]) -> list[str]:
    failures: list[str] = []
    for condition in conditions:
        value: float | None = getattr(totals, condition.metric)
        failures += _condition_failure(label, condition, value, None)
    return failures


def _condition_failure(
    label: str, condition: Condition, value: float | None, baseline: str | None
) -> list[str]:
    if value is None:
        return [f"{label}: no {condition.metric} to check '{condition.text}' against"]
    if not condition.holds(value):
        return []
    found = f"{value:.6g}x of {baseline}" if baseline else _show(value, condition.metric)
    return [f"{label}: {condition.metric} is {found}, which fails '{condition.text}'"]


def _show(value: float, metric: str) -> str:
    return f"{value:.6g} {_BASE_UNITS.get(METRICS[metric], '')}".rstrip()
