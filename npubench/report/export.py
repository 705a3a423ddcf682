"""A record table as JSON lines or Parquet, for pandas, polars and DuckDB."""

from __future__ import annotations

import io
import json

from npubench.errors import OptionError, Problem
from npubench.report.render import to_csv
from npubench.report.table import Cell, Table
from npubench.report.text import clean

__all__ = ["EXPORT_SUFFIXES", "check_export", "export"]

EXPORT_SUFFIXES = (".csv", ".jsonl", ".parquet")


def check_export(suffix: str) -> None:
    """Refuse a form whose library is missing, before any time is spent.

    Raises:
        OptionError: Parquet without pyarrow.
    """
    if suffix != ".parquet":
        return
    try:
        import pyarrow.parquet  # noqa: F401  # only whether it is there
    except ImportError:
        raise OptionError(
            Problem(
                "Parquet is written by pyarrow, which is not installed",
                hint="pip install 'npubench[parquet]', or write .csv or .jsonl",
            )
        ) from None


def export(table: Table, suffix: str) -> bytes:
    """The bytes of a file of these rows: raw values under machine names, missing ones missing."""
    if suffix == ".csv":
        return to_csv(table).encode()
    keys = [column.key for column in table.columns]
    rows = [[_cell(value) for value in row] for row in table.rows]
    if suffix == ".jsonl":
        lines = (json.dumps(dict(zip(keys, row, strict=True)), ensure_ascii=False) for row in rows)
        return "".join(f"{line}\n" for line in lines).encode()
    return _parquet(keys, rows)


def _cell(value: Cell) -> Cell:
    return clean(value) if isinstance(value, str) else value


def _parquet(keys: list[str], rows: list[list[Cell]]) -> bytes:
    """One type a column: whole numbers, numbers or words; None throughout is a column of words."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {}
    for place, key in enumerate(keys):
        values = [row[place] for row in rows]
        known = [value for value in values if value is not None]
        if known and all(isinstance(value, int) for value in known):
            columns[key] = pa.array(values, pa.int64())
        elif known and all(isinstance(value, (int, float)) for value in known):
            columns[key] = pa.array(values, pa.float64())
        else:
            words = [None if value is None else str(value) for value in values]
            columns[key] = pa.array(words, pa.string())
    out = io.BytesIO()
    pq.write_table(pa.table(columns), out)
    return out.getvalue()
