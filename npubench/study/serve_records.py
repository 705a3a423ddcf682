"""A row per request as CSV or Parquet: what statistics were made of, for whoever makes others."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from npubench.errors import OptionError, Problem
from npubench.serving import ServeResult
from npubench.study.serve import Served

__all__ = ["RECORD_SUFFIXES", "check_records", "records_file"]

RECORD_SUFFIXES: Final = (".csv", ".parquet")


def check_records(suffix: str) -> None:
    """Refuse a form whose library is missing, before any time is spent.

    Raises:
        OptionError: Parquet without pyarrow.
    """
    if suffix == ".parquet":
        try:
            import pyarrow.parquet  # noqa: F401 (only whether it is there)
        except ImportError:
            raise OptionError(
                Problem(
                    "--records: Parquet is written by pyarrow, which is not installed",
                    hint="pip install 'npubench[parquet]', or write .csv",
                )
            ) from None


def records_file(served: Iterable[Served], suffix: str) -> bytes:
    """The records of all results, those of each first repetition, one below the other.

    Columns: system, policy, load_rps (empty for closed loops), request, network, npu, mode (the
    least accurate one it ran in), arrival_ps, start_ps, finish_ps, energy_j (empty where unknown),
    met_slo.

    Args:
        served: results that kept their records.
        suffix: ``.csv`` or ``.parquet``.
    """
    parts = [
        _columns(one, one.result, one.result.records)
        for one in served
        if one.result is not None and one.result.records is not None
    ]
    return _parquet(parts) if suffix == ".parquet" else _csv(parts)


Columns = dict[str, NDArray[np.generic]]


def _columns(one: Served, result: ServeResult, records: NDArray[np.void]) -> Columns:
    count = len(records)
    npus = one.system.table.npus
    modes = np.array(
        [[npu.modes[m] if m < len(npu.modes) else "" for m in range(_width(one))] for npu in npus]
    )
    load = np.nan if result.load_rps is None else result.load_rps
    return {
        "system": np.full(count, one.system.name),
        "policy": np.full(count, one.policy.name),
        "load_rps": np.full(count, load),
        "request": records["request"],
        "network": np.array([n.network for n in result.networks])[records["network"]],
        "npu": np.array([npu.name for npu in npus])[records["npu"]],
        "mode": modes[records["npu"], records["mode"]],
        "arrival_ps": records["arrival_ps"],
        "start_ps": records["start_ps"],
        "finish_ps": records["finish_ps"],
        "energy_j": records["energy_j"],
        "met_slo": records["met_slo"],
    }


def _width(one: Served) -> int:
    return max(len(npu.modes) for npu in one.system.table.npus)


def _csv(parts: list[Columns]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    for index, part in enumerate(parts):
        if not index:
            writer.writerow(part)
        columns = [_words(column) for column in part.values()]
        writer.writerows(zip(*columns, strict=True))
    return text.getvalue().encode()


def _words(column: NDArray[np.generic]) -> list[object]:
    """Python values; empty for no number, ``true`` and ``false``."""
    values: list[object] = column.tolist()
    if column.dtype.kind == "f":
        return ["" if value != value else value for value in values]
    if column.dtype.kind == "b":
        return ["true" if value else "false" for value in values]
    return values


def _parquet(parts: list[Columns]) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    out = io.BytesIO()
    writer = None
    for part in parts:
        table = pa.table(
            {
                name: pa.array(
                    column.tolist() if column.dtype.kind == "U" else column,
                    mask=np.isnan(column) if column.dtype.kind == "f" else None,
                )
                for name, column in part.items()
            }
        )
        writer = writer or pq.ParquetWriter(out, table.schema)
        writer.write_table(table)
    if writer is not None:
        writer.close()
    return out.getvalue()
