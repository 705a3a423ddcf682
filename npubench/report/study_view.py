"""What `npubench study` shows: the registry, and the tables of a study with its claims."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from npubench.report.table import (
    Cell,
    Column,
    Table,
    View,
    count,
    fixed,
    label,
    number,
    quantity,
    ratio,
    share,
)
from npubench.study.studies.record import Claim, StudyColumn, StudyResult, StudySection
from npubench.study.studies.registry import Study

__all__ = ["studies_view", "study_view"]

_MARK = "*"
_MARKED = "* published, not computed here."
_CLAIM_KEYS = ("claim", "published", "ours", "ours_over_published", "unit", "source", "confidence")


def studies_view(studies: Iterable[Study]) -> View:
    """The names, what they answer and what may be set."""
    columns = (
        label("name", "Study"),
        label("title", "Answers", "wrap"),
        label("parameters", "--set", "wrap"),
    )
    rows = tuple(
        (s.name, s.title, ", ".join(f"{p.name}={p.default}" for p in s.parameters) or None)
        for s in studies
    )
    table = Table("", columns, rows)
    notes = ("Run one with npubench study NAME; --set NAME=VALUE changes a parameter.",)
    return View("studies", (table,), table, notes=notes)


def study_view(result: StudyResult, description: str) -> View:
    """The sections of a study, each with the published claims about it."""
    tables: list[Table] = []
    uses = Counter(note for section in result.sections for note in section.notes)
    for section in result.sections:
        tables.append(_table(section, [note for note in section.notes if uses[note] == 1]))
        if section.claims:
            tables.append(_claims(section.claims))
    settings = ", ".join(f"{name}={value}" for name, value in result.settings.items())
    return View(
        title=f"study {result.name}: {result.title}",
        tables=tuple(tables),
        record=_record(result),
        notes=(
            description,
            *(note for note, times in uses.items() if times > 1),
            *result.notes,
            f"npubench {result.stamp.npubench}, seed {result.stamp.seed}"
            f"{f', {settings}' if settings else ''}.",
        ),
    )


def _table(section: StudySection, notes: Sequence[str]) -> Table:
    """A section; notes that several share stand at the end, once."""
    columns = tuple(
        _column(column, [row[i] for row in section.rows])
        for i, column in enumerate(section.columns)
    )
    rows = tuple(
        _marked(row) if index in section.published_rows else row
        for index, row in enumerate(section.rows)
    )
    marked = bool(section.published_rows) or any(column.published for column in section.columns)
    caption = " ".join((*([_MARKED] if marked else []), *notes))
    return Table(section.title, columns, rows, caption=caption)


def _marked(row: tuple[Cell, ...]) -> tuple[Cell, ...]:
    """A published row: its name carries the mark."""
    return (f"{row[0]} {_MARK}", *row[1:])


def _column(column: StudyColumn, values: Sequence[Cell]) -> Column:
    title = f"{column.title} {_MARK}" if column.published else column.title
    match column.kind:
        case "text":
            return label(column.key, title, "wrap")
        case "count":
            return count(column.key, title, values)
        case "quantity":
            return quantity(column.key, title, column.unit, values)
        case "number":
            return number(column.key, title, column.unit)
        case "ratio":
            return ratio(column.key, title)
        case "share":
            return share(column.key, title)
        case "fixed":
            return fixed(column.key, title, column.decimals, column.unit)


def _claims(claims: Sequence[Claim]) -> Table:
    columns = (
        label("claim", "Claim", "wrap"),
        Column("published", f"Published {_MARK}", format=_short),
        Column("ours", "Ours", format=_short),
        ratio("ours_over_published", "Ours/publ."),
        label("unit", "Unit"),
        label("source", "Source", "wrap"),
        label("confidence", "Confidence"),
    )
    notes = dict.fromkeys(f"{claim.what}: {claim.note}." for claim in claims if claim.note)
    rows = tuple(_claim_row(claim) for claim in claims)
    return Table("published claims beside ours", columns, rows, caption=" ".join(notes))


def _claim_row(claim: Claim) -> tuple[Cell, ...]:
    over = None if claim.ours is None or not claim.published else claim.ours / claim.published
    return (
        *(claim.what, claim.published, claim.ours, over),
        *(claim.unit or None, claim.source, claim.confidence),
    )


def _short(value: Cell) -> str:
    return f"{value:,.5g}" if isinstance(value, (int, float)) else "-" if value is None else value


def _record(result: StudyResult) -> Table:
    """All sections in one table: a column for each key, a row's other cells empty.

    A claim is a row of the section it is about, with the columns of claims.
    """
    keys = dict.fromkeys(c.key for section in result.sections for c in section.columns)
    claimed = any(section.claims for section in result.sections)
    extra = [key for key in _CLAIM_KEYS if key not in keys] if claimed else []
    head = ("section", "origin")
    names = (*head, *keys, *extra)
    rows: list[tuple[Cell, ...]] = []
    for section in result.sections:
        own = [column.key for column in section.columns]
        for index, row in enumerate(section.rows):
            origin = "published" if index in section.published_rows else "npubench"
            cells: Mapping[str, Cell] = dict(zip(own, row, strict=True))
            rows.append((section.key, origin, *(cells.get(key) for key in names[len(head) :])))
        for claim in section.claims:
            cells = dict(zip(_CLAIM_KEYS, _claim_row(claim), strict=True))
            rows.append((section.key, "claim", *(cells.get(key) for key in names[len(head) :])))
    return Table("", tuple(replace(Column(key, key), align="left") for key in names), tuple(rows))
