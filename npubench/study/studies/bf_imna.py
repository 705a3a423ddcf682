"""What the studies of BF-IMNA share: runs under knobs, and figures as the papers count them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from npubench.errors import OptionError
from npubench.study.result import RunResult
from npubench.study.run import RunRequest, run
from npubench.study.studies.record import Cell, StudyColumn, StudyContext

__all__ = [
    "FIGURES",
    "HARDWARE",
    "KINDS",
    "PAPER",
    "figures",
    "listed",
    "run_one",
    "share_cells",
    "share_columns",
]

HARDWARE = "bf_imna"
PAPER = "BF-IMNA, arXiv:2411.01417"

FIGURES = (
    StudyColumn("latency_s", "Latency", "quantity", "s"),
    StudyColumn("energy_j", "Energy", "quantity", "J"),
    StudyColumn("edp_js", "EDP", "quantity", "J*s"),
    StudyColumn("ops_per_s", "Rate", "quantity", "OPS"),
    StudyColumn("ops_per_j", "Efficiency", "quantity", "OPS/W"),
    StudyColumn("ops_per_s_mm2", "Density", "quantity", "OPS/mm2"),
)
"""Two operations a multiply-accumulate, as the papers count; density only where area is known."""

KINDS: Mapping[str, tuple[str, ...]] = {
    "gemm": ("multiply",),
    "reduction": ("reduction", "partial_sums"),
    "requantize": ("requantize",),
    "pooling": ("pooling",),
    "activation": ("activation",),
    "elementwise": ("elementwise", "normalization", "softmax"),
    "data_movement": ("load", "read", "mesh", "staging"),
    "static": ("static",),
}
"""Kinds of work and the causes or components that belong to them; the rest is ``other``."""


def run_one(
    context: StudyContext, network: str, precision: str, knobs: Mapping[str, str]
) -> RunResult:
    """One network on BF-IMNA.

    Raises:
        InputError: a name, a precision or a knob that makes no sense.
    """
    request = RunRequest(network, HARDWARE, precision=precision, knobs=knobs, seed=context.seed)
    return run(request, context.session)


def figures(result: RunResult) -> tuple[Cell, ...]:
    """The cells of `FIGURES`."""
    totals = result.totals
    rate = 2 * totals.macs / totals.latency_s
    return (
        totals.latency_s,
        totals.energy_j,
        totals.edp_js,
        rate,
        2 * totals.macs / totals.energy_j,
        None if totals.area_mm2 is None else rate / totals.area_mm2,
    )


def share_cells(parts: Mapping[str, float]) -> tuple[Cell, ...]:
    """Shares of the sum by kind of `KINDS`, then what belongs to none; they add up to 1."""
    total = sum(parts.values())
    known = {name for names in KINDS.values() for name in names}
    kinds = [sum(parts.get(name, 0) for name in names) for names in KINDS.values()]
    other = sum(value for name, value in parts.items() if name not in known)
    return tuple(value / total for value in (*kinds, other))


def share_columns() -> tuple[StudyColumn, ...]:
    """The columns of `share_cells`."""
    titles = [name.replace("_", " ").capitalize() for name in (*KINDS, "other")]
    titles[0] = "GEMM"
    names = [f"{name}_share" for name in (*KINDS, "other")]
    return tuple(StudyColumn(n, t, "share") for n, t in zip(names, titles, strict=True))


def listed(context: StudyContext, parameter: str) -> Sequence[str]:
    """A list parameter with at least one entry.

    Raises:
        OptionError: an empty list.
    """
    found = context.listed(parameter)
    if not found:
        raise OptionError(f"--set {parameter}: expected at least one value")
    return found
