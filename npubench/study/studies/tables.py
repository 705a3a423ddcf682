"""Published figures that ship as CSV files, read with their place in mind."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path

from npubench.errors import InputError, Problem
from npubench.specs.catalog import data_folder

__all__ = ["Row", "read_table"]


class Row:
    """One row of a shipped table: words and numbers by column name.

    Args:
        values: cells by column.
        file, line: where the row is, for messages.
    """

    def __init__(self, values: Mapping[str, str], file: str, line: int) -> None:
        self._values = values
        self._file = file
        self._line = line

    def text(self, column: str) -> str:
        """The words of a cell.

        Raises:
            InputError: no such column.
        """
        found = self._values.get(column)
        if found is None:
            raise InputError(Problem(f"no column '{column}'", self._file, self._line))
        return found

    def number(self, column: str) -> float:
        """The number in a cell.

        Raises:
            InputError: no such column, or no number in it.
        """
        found = self.text(column)
        try:
            return float(found)
        except ValueError:
            message = f"{column}: expected a number, got '{found}'"
            raise InputError(Problem(message, self._file, self._line)) from None

    def optional(self, column: str) -> float | None:
        """The number in a cell; None where it is empty."""
        return self.number(column) if self.text(column) else None


def read_table(folder: str, name: str) -> tuple[Row, ...]:
    """The rows of a CSV file of a data folder (``workloads``), in order.

    Raises:
        InputError: the file is not there.
    """
    path: Path = data_folder(folder) / name
    shown = f"{folder}/{name}"
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(Problem(f"cannot be read: {error.strerror}", shown)) from None
    reader = csv.DictReader(text.splitlines())
    return tuple(Row(values, shown, number) for number, values in enumerate(reader, start=2))
