"""Recorded arrivals: a CSV file of ``arrival_s,network`` lines."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np

from npubench.errors import InputError, Problem, did_you_mean
from npubench.serving.scenario import Trace

__all__ = ["read_trace"]

_HEADER: Final = ("arrival_s", "network")
_MOST_PROBLEMS: Final = 20


def read_trace(path: Path, networks: Sequence[str], shown: str | None = None) -> Trace:
    """Read a trace.

    Args:
        path: CSV with the header ``arrival_s,network``; seconds from the start, not falling.
        networks: names that may occur, in the scenario's order.
        shown: the file's name in messages.

    Raises:
        InputError: no such file, another header, or lines that are no arrival, run backwards or
            name another network; the first twenty.
    """
    name = shown if shown is not None else str(path)
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.reader(file))
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        raise InputError(Problem(f"cannot be read: {reason}", name)) from None
    except csv.Error as error:
        raise InputError(Problem(f"not CSV: {error}", name)) from None
    if not rows or tuple(cell.strip() for cell in rows[0]) != _HEADER:
        given = ",".join(rows[0]) if rows else "nothing"
        message = f"expected the header '{','.join(_HEADER)}', got '{given}'"
        raise InputError(Problem(message, name, 1))
    index = {network: number for number, network in enumerate(networks)}
    times: list[float] = []
    found: list[int] = []
    wrong: list[Problem] = []
    latest = 0.0
    for line, row in enumerate(rows[1:], start=2):
        if not row:
            continue
        problem = _mistake(row, index, latest)
        if problem is not None:
            wrong.append(Problem(problem[0], name, line, hint=problem[1]))
            continue
        latest = float(row[0])
        times.append(latest)
        found.append(index[row[1].strip()])
    if not times and not wrong:
        wrong.append(Problem("the trace has no requests", name))
    if wrong:
        more = len(wrong) - _MOST_PROBLEMS
        shown_problems = wrong[:_MOST_PROBLEMS]
        if more > 0:
            shown_problems.append(Problem(f"and {more} more mistakes", name))
        raise InputError(*shown_problems)
    return Trace(np.array(times), np.array(found, dtype=np.int64), name)


def _mistake(row: list[str], index: dict[str, int], latest: float) -> tuple[str, str | None] | None:
    """What is wrong with a line, and a hint."""
    if len(row) != len(_HEADER):
        return f"expected 2 values, got {len(row)}", None
    try:
        seconds = float(row[0])
    except ValueError:
        seconds = math.nan
    if not (math.isfinite(seconds) and seconds >= 0):
        return f"expected seconds of at least 0, got '{row[0].strip()}'", None
    if seconds < latest:
        text = f"arrival {row[0].strip()} s is before the line above it, {latest:.12g} s"
        return text, "sort the trace by arrival_s"
    network = row[1].strip()
    if network not in index:
        return f"unknown network '{network}'", did_you_mean(network, index)
    return None
