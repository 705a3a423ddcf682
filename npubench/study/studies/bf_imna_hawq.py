"""HAWQ-V3's precisions of ResNet-18 on BF-IMNA: what bit fluidity trades against accuracy."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise

from npubench.errors import OptionError
from npubench.study.result import Totals
from npubench.study.studies.bf_imna import PAPER, run_one
from npubench.study.studies.hawq_sizes import published_rows
from npubench.study.studies.record import Cell, Claim, StudyColumn, StudyContext, StudySection

__all__ = ["CONFIGURATIONS", "run"]

NETWORK = "resnet18"
_GEMM = "multiply"
CONFIGURATIONS: Mapping[str, str] = {
    "INT8": "uniform8",
    "high": "latency_0.75",
    "medium": "latency_0.5",
    "low": "latency_0.25",
    "INT4": "uniform4",
}
"""Names of BF-IMNA's figure (latency budgets) and HAWQ-V3's settings, most bits first."""

_RESOURCES = ("limited", "unlimited")
_COLUMNS = (
    StudyColumn("configuration", "Budget"),
    StudyColumn("setting", "HAWQ-V3"),
    StudyColumn("latency_s", "Latency", "quantity", "s"),
    StudyColumn("energy_j", "Energy", "quantity", "J"),
    StudyColumn("edp_js", "EDP", "quantity", "J*s"),
    StudyColumn("latency_ratio", "Time x", "ratio"),
    StudyColumn("energy_ratio", "Energy x", "ratio"),
    StudyColumn("edp_ratio", "EDP x", "ratio"),
    StudyColumn("top1_published", "Top-1", "fixed", "%", published=True),
)
_PRODUCTS = (
    StudyColumn("configuration", "Budget"),
    StudyColumn("multiply_latency_ratio", "Time x", "ratio"),
    StudyColumn("multiply_energy_ratio", "Energy x", "ratio"),
    StudyColumn("multiply_latency_share", "Of time", "share"),
    StudyColumn("multiply_energy_share", "Of energy", "share"),
)


def run(context: StudyContext) -> Iterator[StudySection]:
    """Two tables for limited and two for unlimited resources."""
    resources = context.listed("resource")
    wrong = [name for name in resources if name not in _RESOURCES]
    if wrong or not resources:
        raise OptionError("--set resource: expected limited, unlimited or both")
    for done, resource in enumerate(resources):
        totals = _totals(context, resource, done * len(CONFIGURATIONS), len(resources))
        yield _section(resource, totals)
        yield _products(resource, totals)


def _totals(context: StudyContext, resource: str, done: int, sections: int) -> Mapping[str, Totals]:
    """The figures of every configuration."""
    knobs = {
        "resource": resource,
        "tech": context.settings["tech"],
        "vdd": context.settings["vdd"],
    }
    totals = {}
    for name, setting in CONFIGURATIONS.items():
        totals[name] = run_one(context, NETWORK, f"hawq_{setting}", knobs).totals
        done += 1
        context.on_step(done, sections * len(CONFIGURATIONS))
    return totals


def _products(resource: str, totals: Mapping[str, Totals]) -> StudySection:
    """The same of multiplications alone."""
    base = totals["INT4"]
    rows: list[tuple[Cell, ...]] = []
    for name, found in totals.items():
        cycles, joules = found.latency_by_cause[_GEMM], found.energy_by_component[_GEMM]
        rows.append(
            (
                name,
                cycles / base.latency_by_cause[_GEMM],
                joules / base.energy_by_component[_GEMM],
                cycles / found.cycles,
                joules / found.energy_j,
            )
        )
    return StudySection(
        f"{resource}_products",
        f"{resource} resources, multiplications alone",
        _PRODUCTS,
        tuple(rows),
        notes=(
            "Sums, requantization, loading and the mesh depend less on width than products do.",
        ),
    )


def _section(resource: str, totals: Mapping[str, Totals]) -> StudySection:
    top1 = {row.text("setting"): row.number("top1") for row in published_rows(NETWORK)}
    base = totals["INT4"]
    rows: list[tuple[Cell, ...]] = []
    for name, setting in CONFIGURATIONS.items():
        found = totals[name]
        ratios = (
            found.latency_s / base.latency_s,
            found.energy_j / base.energy_j,
            found.edp_js / base.edp_js,
        )
        rows.append(
            (name, setting, found.latency_s, found.energy_j, found.edp_js, *ratios, top1[setting])
        )
    order = [totals[name].edp_js for name in reversed(tuple(CONFIGURATIONS))]
    holds = sum(low < high for low, high in pairwise(order))
    claim = Claim(
        "steps of the EDP order INT4 < low < medium < high < INT8",
        4,
        holds,
        "",
        f"{PAPER}, abstract",
        "published",
    )
    return StudySection(
        resource,
        f"{resource} resources",
        _COLUMNS,
        tuple(rows),
        claims=(claim,),
        notes=(
            "x: over INT4. First convolution and classifier have 8 bits in every configuration.",
            "The paper's normalised figures could not be read; its order is the claim.",
        ),
    )
