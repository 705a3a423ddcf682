"""The one table model: raw SI values in rows, and columns that know how to show them.

A view is what a command answers with. It holds tables for people, and one record table for
machines; `npubench.report.render` turns either into text.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from npubench.units import engineering, scaled, significant

__all__ = [
    "Cell",
    "Column",
    "Overflow",
    "Table",
    "View",
    "count",
    "fixed",
    "label",
    "number",
    "quantity",
    "ratio",
    "share",
]

Cell = str | int | float | None
_ITEM = "item"
Overflow = Literal["keep", "shorten", "clip", "wrap"]


def _plain(value: Cell) -> str:
    return "-" if value is None else str(value)


@dataclass(frozen=True, slots=True)
class Column:
    """One column.

    Attributes:
        key: name in machine-readable forms, with its SI unit: ``latency_s``.
        title: heading for people.
        unit: unit shown under the title, without brackets; empty for none.
        align: text left, numbers right.
        format: a raw value as shown to people; never used for CSV.
        overflow: what a terminal too narrow does: keep the column, shorten its text in the
            middle, clip it at its end, or wrap it. Elsewhere nothing is ever cut.
        terminal_only: decoration, such as a bar.
    """

    key: str
    title: str
    unit: str = ""
    align: Literal["left", "right"] = "right"
    format: Callable[[Cell], str] = _plain
    overflow: Overflow = "keep"
    terminal_only: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """Rows under columns; ``title`` and ``caption`` may be empty.

    ``emphasis`` lists the indices of rows that sum up the others.
    """

    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    caption: str = ""
    emphasis: frozenset[int] = frozenset()

    def __post_init__(self) -> None:
        wrong = [row for row in self.rows if len(row) != len(self.columns)]
        if wrong:
            raise ValueError(
                f"{len(self.columns)} columns, but a row of {len(wrong[0])}: {wrong[0]}"
            )

    def without(self, *keys: str) -> Table:
        """The same rows without the columns of these keys."""
        return self.only(*(i for i, c in enumerate(self.columns) if c.key not in keys))

    def only(self, *places: int) -> Table:
        """The same rows with the columns at these places."""
        return replace(
            self,
            columns=tuple(self.columns[i] for i in places),
            rows=tuple(tuple(row[i] for i in places) for row in self.rows),
        )


@dataclass(frozen=True, slots=True)
class View:
    """An answer for people and its one table for machines.

    Attributes:
        title: the headline: what was asked.
        tables: shown one below the other.
        record: the CSV form.
        findings: the answer in words, one sentence each.
        notes: caption under it all, one paragraph each.
    """

    title: str
    tables: tuple[Table, ...]
    record: Table
    notes: tuple[str, ...] = ()
    findings: tuple[str, ...] = ()


def label(
    key: str,
    title: str,
    overflow: Overflow = "keep",
    words: Callable[[str], str] | None = None,
) -> Column:
    """A column of text; ``words`` turns a machine's name into what people read."""

    def show(value: Cell) -> str:
        return words(value) if words is not None and isinstance(value, str) else _plain(value)

    return Column(key, title, align="left", format=show, overflow=overflow)


def _typical(values: Iterable[Cell]) -> float | None:
    """The upper quartile of the sizes: the large values matter most, one outlier does not."""
    sizes = sorted(abs(v) for v in values if isinstance(v, (int, float)) and v and math.isfinite(v))
    return sizes[len(sizes) * 3 // 4] if sizes else None


def quantity(key: str, title: str, unit: str, values: Sequence[Cell]) -> Column:
    """A column of one physical quantity, three significant digits, one SI prefix for all rows.

    Args:
        key: machine name.
        title: heading.
        unit: base unit of the raw values (``s``, ``J``); ``mm2`` stays as it is.
        values: those from whose upper quartile the prefix is chosen; none for no prefix.
    """
    prefix = _prefix(unit, values)

    def show(value: Cell) -> str:
        if value is None or isinstance(value, str):
            return _plain(value)
        return significant(scaled(value, unit, prefix))

    return Column(key, title, prefix + unit, format=show)


def count(key: str, title: str, values: Sequence[Cell]) -> Column:
    """A column of counts that the title names, under one SI prefix: MACs in ``G``."""
    return replace(quantity(key, title, _ITEM, values), unit=_prefix(_ITEM, values))


def _prefix(unit: str, values: Iterable[Cell]) -> str:
    typical = _typical(values)
    shown = unit if typical is None else engineering(typical, unit).partition(" ")[2]
    return shown.removesuffix(unit)


def fixed(key: str, title: str, decimals: int, unit: str = "", scale: float = 1.0) -> Column:
    """A column of numbers with fixed decimals: ratios, and counts (0 decimals) in groups."""

    def show(value: Cell) -> str:
        if value is None or isinstance(value, str):
            return _plain(value)
        return f"{value * scale:,.{decimals}f}"

    return Column(key, title, unit, format=show)


def ratio(key: str, title: str) -> Column:
    """A column of ratios: two decimals, or three digits where those would say too little."""

    def show(value: Cell) -> str:
        if value is None or isinstance(value, str):
            return _plain(value)
        return f"{value:.2f}" if 0.1 <= abs(value) < 100 else significant(value)

    return Column(key, title, format=show)


def number(key: str, title: str, unit: str = "") -> Column:
    """A column of numbers as they were given: a node of 7 nm is not measured to three digits."""

    def show(value: Cell) -> str:
        return f"{value:g}" if isinstance(value, (int, float)) else _plain(value)

    return Column(key, title, unit, format=show)


def share(key: str, title: str) -> Column:
    """A column of shares 0 to 1, shown in percent with one decimal; ``<0.1`` where that is lost."""

    def show(value: Cell) -> str:
        if value is None or isinstance(value, str):
            return _plain(value)
        if 0 < abs(value) < 0.0005:
            return "<0.1" if value > 0 else ">-0.1"
        return f"{value * 100:.1f}"

    return Column(key, title, "%", format=show)
