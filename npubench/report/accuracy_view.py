"""Accuracy beside the hardware numbers, always labelled as measured or published."""

from __future__ import annotations

from collections.abc import Sequence

from npubench.report.table import Cell, Column, Table, fixed, label
from npubench.study.result import Accuracy

__all__ = [
    "ACCURACY_KEYS",
    "accuracy_cells",
    "accuracy_columns",
    "accuracy_record",
    "accuracy_source",
    "accuracy_table",
]

ACCURACY_KEYS = ("accuracy_kind", "accuracy_metric", "accuracy", "accuracy_drop", "accuracy_n")
_TITLES = {"top1": ("Top-1", "%"), "perplexity": ("Perplexity", "")}


def _column(key: str, title: str, metrics: set[str | None]) -> Column:
    unit = "%" if metrics <= {"top1"} else ""
    return fixed(key, title, 2, unit)


def _present(accuracies: Sequence[Accuracy]) -> set[str | None]:
    return {a.metric for a in accuracies if a.value is not None}


def accuracy_columns(accuracies: Sequence[Accuracy]) -> tuple[Column, ...]:
    """The accuracy and where it is from; nothing where no row has one."""
    metrics = _present(accuracies)
    if not metrics:
        return ()
    one = next(iter(metrics)) if len(metrics) == 1 else None
    title, _ = _TITLES.get(one or "", ("Accuracy", ""))
    return (_column("accuracy", title, metrics), label("accuracy_kind", "Accuracy"))


def accuracy_cells(accuracy: Accuracy | None, columns: Sequence[Column]) -> tuple[Cell, ...]:
    """The cells of `accuracy_columns`."""
    if not columns:
        return ()
    if accuracy is None or accuracy.value is None:
        return (None, None)
    return (accuracy.value, accuracy.kind)


def accuracy_record(accuracy: Accuracy | None) -> tuple[Cell, ...]:
    """The cells of `ACCURACY_KEYS`."""
    found = accuracy or Accuracy()
    return (found.kind, found.metric, found.value, found.drop, found.n)


def accuracy_table(accuracy: Accuracy) -> Table | None:
    """The accuracy of one run with its interval; None where there is none."""
    if accuracy.value is None:
        return None
    metrics = _present([accuracy])
    title, unit = _TITLES.get(accuracy.metric or "", ("Accuracy", ""))
    low, high = accuracy.interval or (None, None)
    columns: list[Column] = [
        label("accuracy_kind", "Accuracy"),
        fixed("accuracy", title, 2, unit),
    ]
    cells: list[Cell] = [accuracy.kind, accuracy.value]
    optional = (
        ("low", "from", low, unit),
        ("high", "to", high, unit),
        ("reference", "Float", accuracy.reference, unit),
        ("drop", "Lost", accuracy.drop, "points" if metrics == {"top1"} else ""),
        ("top5", "Top-5", accuracy.top5, "%"),
        ("agreement", "Agreement", accuracy.agreement, "%"),
    )
    for key, heading, value, its_unit in optional:
        if value is not None:
            columns.append(fixed(key, heading, 2, its_unit))
            cells.append(value)
    if accuracy.n is not None:
        columns.append(fixed("n", "Samples" if metrics == {"top1"} else "Tokens", 0))
        cells.append(accuracy.n)
    return Table("", tuple(columns), (tuple(cells),))


def accuracy_source(accuracy: Accuracy) -> tuple[str, ...]:
    """Where the accuracy is from, as a note."""
    if accuracy.value is None:
        return ()
    if accuracy.kind == "published":
        return (f"Accuracy is published, not measured: {accuracy.source}.",)
    how = "95 % interval (Wilson)" if accuracy.metric == "top1" else "95 % interval"
    return (f"Accuracy of the executed precision, {how}: {accuracy.source}.",)
