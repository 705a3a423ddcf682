"""What a study gives back: titled tables of typed columns, with published figures told apart.

A study never mixes its own figures with those of a publication without saying which is which: a
column, or a row, that holds published figures is marked as such, and a claim of a publication
stands as a `Claim` beside our value for the same thing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from npubench.study.result import Stamp
from npubench.study.session import Session

__all__ = [
    "Cell",
    "Claim",
    "Kind",
    "Runner",
    "StudyColumn",
    "StudyContext",
    "StudyResult",
    "StudySection",
]

Cell: TypeAlias = str | int | float | None
Kind = Literal["text", "count", "quantity", "number", "ratio", "share", "fixed"]
"""How a column is shown: words; a count under an SI prefix; three digits under an SI prefix; a
number as it was given; a ratio; a share 0..1 in percent; fixed decimals."""


@dataclass(frozen=True, slots=True)
class StudyColumn:
    """One column.

    Attributes:
        key: name in JSON and CSV, with its SI unit: ``energy_j``. Sections that share a key share
            its unit.
        title: heading for people.
        kind: how it is shown.
        unit: of the values as they are held (``J``, ``s``, ``GOPS``, ``%``); empty for none.
        published: whether every figure in it is of a publication, none of ours.
        decimals: of kind ``fixed``.
    """

    key: str
    title: str
    kind: Kind = "text"
    unit: str = ""
    published: bool = False
    decimals: int = 2


@dataclass(frozen=True, slots=True)
class Claim:
    """A statement of a publication beside our value for the same thing.

    Attributes:
        what: the quantity, in words.
        published: its value in the publication.
        ours: our value; None where the model cannot give one.
        unit: of both; empty for ratios.
        source: the publication, and where in it.
        confidence: one of the words of `npubench.specs.quantity.CONFIDENCES`.
        note: why the two differ.
    """

    what: str
    published: float
    ours: float | None
    unit: str
    source: str
    confidence: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class StudySection:
    """One table of a study.

    Attributes:
        key: name in JSON and CSV.
        title: heading for people.
        columns, rows: a row has one cell a column; None stands for no value, never for 0.
        claims: published statements about what this table shows.
        notes: assumptions, and how to read it.
        published_rows: indices of rows whose figures are all of a publication.
    """

    key: str
    title: str
    columns: tuple[StudyColumn, ...]
    rows: tuple[tuple[Cell, ...], ...]
    claims: tuple[Claim, ...] = ()
    notes: tuple[str, ...] = ()
    published_rows: frozenset[int] = frozenset()

    def __post_init__(self) -> None:
        keys = [column.key for column in self.columns]
        if len(set(keys)) < len(keys):
            raise ValueError(f"section {self.key}: two columns share a key: {keys}")
        wrong = [row for row in self.rows if len(row) != len(keys)]
        if wrong:
            raise ValueError(f"section {self.key}: {len(keys)} columns, but a row {wrong[0]}")
        if any(index not in range(len(self.rows)) for index in self.published_rows):
            raise ValueError(f"section {self.key}: a published row that is not there")

    def column(self, key: str) -> tuple[Cell, ...]:
        """The values of a column."""
        index = [column.key for column in self.columns].index(key)
        return tuple(row[index] for row in self.rows)


@dataclass(frozen=True, slots=True)
class StudyResult:
    """The answer of a study.

    Attributes:
        name: in the registry.
        title: in one line.
        settings: the study's parameters, as text.
        sections: in order.
        stamp: versions and seed.
        notes: about all of it.
    """

    name: str
    title: str
    settings: Mapping[str, str]
    sections: tuple[StudySection, ...]
    stamp: Stamp
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        units: dict[str, str] = {}
        for section in self.sections:
            for column in section.columns:
                if units.setdefault(column.key, column.unit) != column.unit:
                    raise ValueError(f"study {self.name}: column {column.key} has two units")

    def section(self, key: str) -> StudySection:
        """The section of that key."""
        return next(section for section in self.sections if section.key == key)


def _silent(_done: int, _total: int) -> None:
    """Report to nobody."""


@dataclass(frozen=True, slots=True)
class StudyContext:
    """What a study is given.

    Attributes:
        session: shared between the runs of the study.
        settings: every parameter of the study, the defaults filled in, as text.
        seed: of whatever is drawn.
        on_step: call with steps done and steps in all.
    """

    session: Session = field(default_factory=Session)
    settings: Mapping[str, str] = field(default_factory=dict)
    seed: int = 0
    on_step: Callable[[int, int], None] = _silent

    def listed(self, parameter: str) -> tuple[str, ...]:
        """A parameter whose text is a list separated by commas."""
        parts = (part.strip() for part in self.settings[parameter].split(","))
        return tuple(part for part in parts if part)


Runner: TypeAlias = Callable[[StudyContext], Iterator[StudySection]]
"""Yields each section as soon as it is finished, so that Ctrl-C keeps what there is."""
