"""How tilings fall into pieces, full tiles and ragged ones, for a whole table of tilings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from npubench.machines.array.core import IntArray
from npubench.machines.array.extents import Extents
from npubench.machines.array.flows import FloatArray
from npubench.machines.array.tiles import Table, taken

__all__ = ["Cut", "cuts", "over_pieces"]

Columns = TypeVar("Columns", FloatArray, IntArray)


@dataclass(frozen=True, slots=True)
class Cut:
    """One kind of piece that tilings fall into: full ones, or ragged ones along some loops.

    Attributes:
        rows: candidates that have such a piece.
        table: its extents, one entry a candidate of ``rows``.
        count: how often it occurs in each.
    """

    rows: IntArray
    table: Table
    count: IntArray


def cuts(whole: Extents | Table, table: Table) -> list[Cut]:
    """All pieces of every candidate tiling of a tile, or each of its own, in running order.

    Of the three loops of rows a candidate cuts one at most (see `LayerTiles.candidates`), so a
    tiling has one ragged piece along rows at most, one along K and one along C.
    """
    b, y, x, k, c = table
    whole_b, whole_y, whole_x, whole_k, whole_c = whole
    full_b, full_y, full_x = whole_b // b, whole_y // y, whole_x // x
    rest_b, rest_y, rest_x = whole_b % b, whole_y % y, whole_x % x
    ragged = np.where(rest_b > 0, 1, np.where(rest_y > 0, full_b, full_b * full_y))
    rest = (
        np.where(rest_b > 0, rest_b, b),
        np.where(rest_y > 0, rest_y, y),
        np.where(rest_x > 0, rest_x, x),
    )
    over_rows = [
        ((b, y, x), full_b * full_y * full_x),
        (rest, np.where((rest_b > 0) | (rest_y > 0) | (rest_x > 0), ragged, 0)),
    ]
    over_k = [(k, whole_k // k), (whole_k % k, np.minimum(whole_k % k, 1))]
    over_c = [(c, whole_c // c), (whole_c % c, np.minimum(whole_c % c, 1))]
    # What no tiling has is left out before it is combined.
    over_rows = [kind for kind in over_rows if kind[1].any()]
    over_k = [kind for kind in over_k if kind[1].any()]
    over_c = [kind for kind in over_c if kind[1].any()]
    found: list[Cut] = []
    for (pb, py, px), count_m in over_rows:
        for pk, count_k in over_k:
            for pc, count_c in over_c:
                count = count_m * count_k * count_c
                rows = count.nonzero()[0]
                if rows.size:
                    found.append(Cut(rows, taken((pb, py, px, pk, pc), rows), count[rows]))
    return found


def over_pieces(figures: Columns, cut: Sequence[Cut], size: int) -> Columns:
    """Figures of joined pieces (columns) added up over each of so many tilings."""
    total, at = np.zeros((len(figures), size), dtype=figures.dtype), 0
    for piece in cut:
        end = at + piece.rows.size
        if piece.rows.size == size:
            total += piece.count * figures[:, at:end]
        else:
            total[:, piece.rows] += piece.count * figures[:, at:end]
        at = end
    return total
