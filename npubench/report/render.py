"""Views to text: terminal, plain, Markdown, CSV. Nothing is cut except in a terminal."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass

from rich.box import Box
from rich.cells import cell_len
from rich.console import Console
from rich.padding import Padding
from rich.table import Table as RichTable
from rich.text import Text

from npubench.report.table import Cell, Column, Table, View
from npubench.report.text import ascii_only, clean, shorten_end, shorten_middle, wrapped

__all__ = ["Screen", "to_csv", "to_markdown", "to_terminal"]

_RULE = Box("    \n    \n ── \n    \n    \n    \n    \n    \n")
_GAP = 2
_INDENT = 1
_PROSE = 80
_SHORTEST = 12
_PARAGRAPH = 24
_BEYOND = 1_000_000
_SHORTENERS = {"clip": shorten_end, "shorten": shorten_middle}


@dataclass(frozen=True, slots=True)
class Screen:
    """Where a view will be shown.

    Attributes:
        width: columns of the terminal; None for a file or pipe, where nothing may be cut.
        styled: whether bold and dim may be used.
        unicode: whether the encoding has the signs of rules, bars and ellipses.
    """

    width: int | None = None
    styled: bool = False
    unicode: bool = True


def to_terminal(view: View, screen: Screen) -> str:
    """The view as aligned text: title, tables, notes."""
    out = io.StringIO()
    console = Console(
        file=out,
        width=screen.width or _BEYOND,
        force_terminal=screen.styled,
        color_system="standard" if screen.styled else None,
        no_color=False,
        force_jupyter=False,
        legacy_windows=False,
        markup=False,
        highlight=False,
        emoji=False,
    )
    prose = min(screen.width or _PROSE, _PROSE)
    console.print(Text(wrapped(clean(view.title), prose), style="bold"))
    for table in view.tables:
        console.print()
        if table.title:
            console.print(Text(clean(table.title), style="bold"))
        for index, block in enumerate(_blocks(table, screen.width)):
            if index:
                console.print()
            console.print(Padding(_rich_table(block, screen), (0, 0, 0, _INDENT), expand=False))
        if table.caption:
            console.print(_note(table.caption, prose))
    if view.findings:
        console.print()
    for finding in view.findings:
        console.print(Text(wrapped(clean(finding), prose, indent="  ")))
    if view.notes:
        console.print()
    for note in view.notes:
        console.print(_note(note, prose))
    text = "".join(f"{line.rstrip()}\n" for line in out.getvalue().splitlines())
    return text if screen.unicode else ascii_only(text)


def _note(text: str, prose: int) -> Text:
    return Text(wrapped(clean(text), prose, indent="  "), style="dim")


def _shown(columns: tuple[Column, ...], row: tuple[Cell, ...]) -> list[str]:
    return [clean(column.format(value)) for column, value in zip(columns, row, strict=True)]


def _header(column: Column, *, two_lines: bool) -> str:
    if not two_lines:
        return column.title
    return f"{column.title}\n[{column.unit}]" if column.unit else f"\n{column.title}"


def _blocks(table: Table, width: int | None) -> list[Table]:
    """The table; where it does not fit, its columns in tables one below the other.

    Each has the rows' names: the first columns, as many as hold text, and as many as tell all rows
    apart. Where these leave no room for one more column, the table stays whole and folds.
    """
    every = range(len(table.columns))
    if width is None or _fits(table, width):
        return [table]
    count = len(table.rows)
    apart = next((n for n in every if len({row[:n] for row in table.rows}) == count), 0)
    text = next((n for n in every if table.columns[n].align == "right"), 0)
    names = max(apart, text)
    blocks: list[list[int]] = [[]]
    for i in every[names:]:
        if not _fits(table.only(*every[:names], *blocks[-1], i), width):
            if not _fits(table.only(*every[:names], i), width):
                return [table]
            blocks.append([])
        blocks[-1].append(i)
    return [table.only(*every[:names], *block) for block in blocks]


def _fits(table: Table, width: int) -> bool:
    headers, rows = _texts(table)
    return _shortened(table.columns, headers, rows, width - _INDENT)[1]


def _texts(table: Table) -> tuple[list[str], list[list[str]]]:
    """Headers and cells as they are shown."""
    two_lines = any(column.unit for column in table.columns)
    headers = [_header(column, two_lines=two_lines) for column in table.columns]
    return headers, [_shown(table.columns, row) for row in table.rows]


def _rich_table(table: Table, screen: Screen) -> RichTable:
    headers, rows = _texts(table)
    fits = True
    if screen.width is not None:
        rows, fits = _shortened(table.columns, headers, rows, screen.width - _INDENT)
    made = RichTable(
        box=_RULE,
        show_edge=False,
        padding=(0, _GAP - 1, 0, 0),
        pad_edge=False,
        header_style="bold",
    )
    for column, header in zip(table.columns, headers, strict=True):
        made.add_column(
            Text(header),
            justify=column.align,
            vertical="top",
            # A line that cannot fit is folded, in every column: rich would crop it otherwise.
            no_wrap=fits and column.overflow != "wrap",
            overflow="fold",
        )
    for index, row in enumerate(rows):
        made.add_row(*map(Text, row), style="bold" if index in table.emphasis else None)
    return made


def _shortened(
    columns: tuple[Column, ...], headers: list[str], rows: list[list[str]], width: int
) -> tuple[list[list[str]], bool]:
    """The rows with names shortened in the middle as far as needed, and whether that suffices."""
    widths = [
        max(cell_len(line) for line in (*header.split("\n"), *(row[i] for row in rows)))
        for i, header in enumerate(headers)
    ]
    needed = [
        min(cells, _PARAGRAPH) if column.overflow == "wrap" else cells
        for column, cells in zip(columns, widths, strict=True)
    ]
    excess = sum(needed) + _GAP * (len(needed) - 1) - width
    flexible = [i for i, c in enumerate(columns) if c.overflow in _SHORTENERS]
    # What is clipped gives way before what names the row, and the widest before the others, cell
    # by cell, so that none is starved.
    for kind in _SHORTENERS:
        giving = [i for i in flexible if columns[i].overflow == kind]
        while excess > 0 and any(widths[i] > _SHORTEST for i in giving):
            widths[max(giving, key=lambda i: widths[i])] -= 1
            excess -= 1
    short = [
        [
            _SHORTENERS[columns[i].overflow](t, widths[i]) if i in flexible else t
            for i, t in enumerate(row)
        ]
        for row in rows
    ]
    return short, excess <= 0


_MARKDOWN = re.compile(r"([\\`*_{}\[\]<>|#~$])")


def _escaped(text: str) -> str:
    """``text`` without meaning to Markdown or HTML."""
    return _MARKDOWN.sub(r"\\\1", clean(text)).replace("&", "&amp;")


def to_markdown(view: View) -> str:
    """The view as Markdown: a heading, pipe tables, notes."""
    parts = [f"### {_escaped(view.title)}\n"]
    for table in view.tables:
        if table.title:
            parts.append(f"**{_escaped(table.title)}**\n")
        parts.append("".join(f"{line}\n" for line in _pipe_lines(table)))
        if table.caption:
            parts.append(f"{_escaped(table.caption)}\n")
    parts += [f"{_escaped(finding)}\n" for finding in view.findings]
    if view.notes:
        parts.append("".join(f"- {_escaped(note)}\n" for note in view.notes))
    return "\n".join(parts)


def _pipe_lines(table: Table) -> Iterator[str]:
    kept = [i for i, column in enumerate(table.columns) if not column.terminal_only]
    columns = [table.columns[i] for i in kept]
    titles = [f"{_escaped(c.title)} [{c.unit}]" if c.unit else _escaped(c.title) for c in columns]
    yield f"| {' | '.join(titles)} |"
    yield f"|{'|'.join(':---' if c.align == 'left' else '---:' for c in columns)}|"
    for row in table.rows:
        shown = _shown(table.columns, row)
        yield f"| {' | '.join(_escaped(shown[i]) for i in kept)} |"


def to_csv(table: Table) -> str:
    """Raw SI values at full precision under one row of machine names; a missing value is empty."""
    kept = [i for i, column in enumerate(table.columns) if not column.terminal_only]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([table.columns[i].key for i in kept])
    for row in table.rows:
        writer.writerow([_csv_cell(row[i]) for i in kept])
    return out.getvalue()


def _csv_cell(value: Cell) -> str:
    if value is None:
        return ""
    # repr gives the shortest decimal that reads back as the same float.
    return repr(value) if isinstance(value, float) else clean(str(value))
