"""What a precision search is asked and what it answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from npubench.errors import OptionError, Problem, did_you_mean
from npubench.study.accuracy import Measuring
from npubench.study.precision_solver import EDP, LOSS
from npubench.study.result import Accuracy, Stamp

__all__ = [
    "BUDGETS",
    "DROP",
    "METRICS",
    "PrecisionSearch",
    "SearchRequest",
    "SearchedPlan",
    "parse_budget",
    "parse_objective",
]

METRICS = ("latency_s", "energy_j", "weight_bytes", "bops")
DROP = "drop"
BUDGETS = (*METRICS, EDP, LOSS, DROP)
_SHORT = {"latency": "latency_s", "energy": "energy_j", "edp": EDP, "size": "weight_bytes"}


@dataclass(frozen=True, slots=True)
class SearchRequest:
    """What to search.

    Attributes:
        workload, hardware, dims, batch, knobs, overrides, seed: as of a run.
        widths: precisions to choose from.
        objective: what to save: a metric or ``edp_js``.
        mapping_objective: what every layer is mapped for, as of a run.
        budgets: upper bounds; with one on a cost the loss is least, else the objective.
        sensitivity: ``noise`` or ``drop``, measured, or ``hawq``, published.
        ends: precision of the first and the last layer; None lets them vary too.
        measuring: data for sensitivities and for the accuracy of what is found.
        points: plans of the frontier to show.
    """

    workload: str
    hardware: str
    widths: tuple[str, ...] = ("w8a8", "w6a6", "w4a4", "w2a2")
    dims: Mapping[str, int] = field(default_factory=dict)
    batch: int = 1
    knobs: Mapping[str, str] = field(default_factory=dict)
    overrides: Mapping[str, str] = field(default_factory=dict)
    seed: int = 0
    objective: str = EDP
    budgets: Mapping[str, float] = field(default_factory=dict)
    sensitivity: str = "noise"
    ends: str | None = None
    measuring: Measuring | None = None
    points: int = 10
    mapping_objective: str = "latency"


@dataclass(frozen=True)
class SearchedPlan:
    """A plan and what it gives; costs are those of the whole plan mapped for itself.

    Attributes:
        name: ``chosen``, ``frontier``, ``w8a8`` or the name of a published setting.
        plan: precision by layer, as text.
        loss: predicted from sensitivities; None where they do not say.
        latency_s: of the whole batch.
        energy_j: per inference.
        edp_js: their product.
        weight_bytes, bops: see `npubench.precision.weigh`.
        predicted_edp_js: from costs that add up; None for plans that no solver chose.
        accuracy: measured; None where nothing was.
    """

    name: str
    plan: Mapping[str, str]
    loss: float | None
    latency_s: float
    energy_j: float
    edp_js: float
    weight_bytes: int
    bops: int
    predicted_edp_js: float | None = None
    accuracy: Accuracy | None = None

    def value(self, metric: str) -> float:
        """A cost by name."""
        return float(getattr(self, metric))


@dataclass(frozen=True)
class PrecisionSearch:
    """What was found.

    Attributes:
        network, hardware: names.
        objective, sensitivity, budgets: as asked for.
        widths: precisions that the machine executes of those asked for.
        groups: layers that share a width, because they read the same tensor.
        rows: the chosen plan if there are budgets, uniform plans, published ones, the frontier.
        frontier: number of plans on the whole frontier of objective and loss.
        exact: whether that frontier is complete.
        worst_prediction: largest relative error of a predicted EDP among the rows.
        stamp: versions and seed.
    """

    network: str
    hardware: str
    objective: str
    sensitivity: str
    budgets: Mapping[str, float]
    widths: tuple[str, ...]
    groups: tuple[tuple[str, ...], ...]
    rows: tuple[SearchedPlan, ...]
    frontier: int
    exact: bool
    worst_prediction: float
    stamp: Stamp


def parse_budget(text: str) -> tuple[str, float]:
    """``energy_j=1e-3``, with ``latency``, ``energy``, ``edp`` and ``size`` for short; SI units.

    Raises:
        OptionError: another name, or no positive number.
    """
    name, _, value = (part.strip() for part in text.partition("="))
    metric = _SHORT.get(name, name)
    if metric not in BUDGETS:
        hint = did_you_mean(name, (*BUDGETS, *_SHORT), listed=12)
        raise OptionError(Problem(f"--max '{text}': unknown budget '{name}'", hint=hint))
    try:
        bound = float(value)
    except ValueError:
        bound = float("nan")
    if not 0 <= bound < float("inf"):
        raise OptionError(f"--max '{text}': expected a number from 0 in SI units, got '{value}'")
    return metric, bound


def parse_objective(text: str) -> str:
    """What to save: a metric or EDP, by its name or a short one.

    Raises:
        OptionError: another name.
    """
    metric = _SHORT.get(text, text)
    if metric not in (*METRICS, EDP):
        hint = did_you_mean(text, (*METRICS, EDP, *_SHORT), listed=12)
        raise OptionError(Problem(f"--minimise '{text}': unknown cost", hint=hint))
    return metric
