"""Published silicon, RTL and vendors' figures beside the model's values for the same work."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType

from npubench.errors import OptionError, Problem, did_you_mean
from npubench.study.studies.record import Cell, StudyColumn, StudyContext, StudySection
from npubench.study.studies.tables import Row, read_table
from npubench.study.studies.validation_figures import (
    Figures,
    cmem_figures,
    eyeriss_figures,
    gemmini_figures,
    nvdla_figures,
    other_figures,
    tpuv1_figures,
    tpuv4i_figures,
)
from npubench.study.studies.validation_matmul import matmul_section

__all__ = ["GROUPS", "compare_rows", "run"]

GROUPS: Mapping[str, tuple[str, Callable[[StudyContext], Figures]]] = MappingProxyType(
    {
        "eyeriss": ("Eyeriss, 65 nm silicon: AlexNet, batch 4, 1 V", eyeriss_figures),
        "tpuv1": ("TPU v1, 28 nm silicon: MLP0 as five layers of 2000 x 2000", tpuv1_figures),
        "tpuv4i": ("TPUv4i, 7 nm silicon", tpuv4i_figures),
        "cmem": (
            "TPUv4i: performance against the capacity of CMEM, of that with all of it",
            cmem_figures,
        ),
        "nvdla": ("NVDLA, the vendor's model: ResNet-50, INT8", nvdla_figures),
        "gemmini": ("Gemmini 16 x 16, cycle-accurate RTL: ResNet-50, INT8", gemmini_figures),
        "others": ("Accelerators without a spec here", other_figures),
    }
)
_COLUMNS = (
    StudyColumn("quantity", "Quantity"),
    StudyColumn("unit", "Unit"),
    StudyColumn("published", "Published", "number", published=True),
    StudyColumn("predicted", "Ours", "number"),
    StudyColumn("ratio", "Ours/published", "ratio"),
    StudyColumn("error", "Error", "share"),
    StudyColumn("confidence", "Confidence"),
    StudyColumn("note", "Note"),
)


def run(context: StudyContext) -> Iterator[StudySection]:
    """One table a machine, in the order asked."""
    parts, known = context.listed("parts"), (*GROUPS, "matmul")
    wrong = [part for part in parts if part not in known]
    if wrong or not parts:
        shown = wrong[0] if wrong else ""
        hint = did_you_mean(shown, known)
        raise OptionError(Problem(f"--set parts: no table '{shown}'", hint=hint))
    published = read_table("workloads", "validation/published.csv")
    for done, part in enumerate(parts, start=1):
        if part == "matmul":
            yield matmul_section(context)
        else:
            title, figures_of = GROUPS[part]
            rows = [row for row in published if row.text("group") == part]
            yield compare_rows(part, title, rows, figures_of(context))
        context.on_step(done, len(parts))


def compare_rows(key: str, title: str, rows: list[Row], figures: Figures) -> StudySection:
    """Every published row beside our value, or the reason why there is none.

    Raises:
        KeyError: a figure that no row asks for: nothing of ours is left out of the table.
    """
    left = dict(figures.values)
    table: list[tuple[Cell, ...]] = []
    ratios: list[float] = []
    for row in rows:
        quantity, value = row.text("quantity"), row.number("value")
        ours, note = left.pop(quantity, (None, figures.missing))
        ratio = None if ours is None else ours / value
        if ratio is not None and ratio > 0:
            ratios.append(ratio)
        error = None if ratio is None else ratio - 1
        table.append(
            (quantity, row.text("unit"), value, ours, ratio, error, row.text("confidence"), note)
        )
    if left:
        raise KeyError(f"{key}: no published row for {sorted(left)}")
    return StudySection(
        key=key,
        title=title,
        columns=_COLUMNS,
        rows=tuple(table),
        notes=(*_summary(ratios, len(rows)), *figures.notes, *_sources(rows)),
    )


def _summary(ratios: list[float], rows: int) -> tuple[str, ...]:
    if not ratios:
        return (f"None of {rows} figures can be expressed.",)
    logs = [math.log(ratio) for ratio in ratios]
    mean = math.exp(math.fsum(logs) / len(logs))
    spread = math.exp(math.fsum(map(abs, logs)) / len(logs))
    return (
        f"{len(ratios)} of {rows} figures: geometric mean of ours / published {mean:.3g}, mean "
        f"factor of error {spread:.3g}, smallest {min(ratios):.3g}, largest {max(ratios):.3g}.",
    )


def _sources(rows: list[Row]) -> tuple[str, ...]:
    return tuple(
        f"Source: {source}." for source in dict.fromkeys(row.text("source") for row in rows)
    )
