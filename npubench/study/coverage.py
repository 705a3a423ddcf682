"""The ledger of what a network's cost rests on: modelled, approximated or unknown operators."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from npubench.ir import Layer, MoveLayer, Network, UnknownLayer
from npubench.machines.protocol import Cost
from npubench.study.result import Coverage, CoverageClass, OperatorCoverage

__all__ = [
    "APPROXIMATED",
    "MODELLED",
    "UNKNOWN",
    "at_other_times",
    "classify",
    "layer_bytes",
    "measure_coverage",
    "operator_rows",
]

MODELLED, APPROXIMATED, UNKNOWN = "modelled", "approximated", "unknown"


@dataclass(frozen=True, slots=True)
class _Entry:
    """One layer in the ledger: bytes and MACs per inference, seconds of the whole batch."""

    op: str
    status: str
    how: str
    macs: int
    bytes: int
    latency_s: float


def measure_coverage(network: Network, cost: Cost) -> Coverage:
    """Sort every layer into a class, with its MACs, bytes and time.

    Shares are parts of the sum over the layers, before layers that run together are overlapped.
    An unknown operator's MACs are unknown too and count as none: its bytes and its time show it.

    Args:
        network: one inference, batch 1.
        cost: the whole batch; a layer for each of the network's, by name.

    Returns:
        Classes and one row per operator, status and way of approximating, in network order.
    """
    seconds = {layer.name: layer.cycles / cost.clock_hz for layer in cost.layers}
    entries = [_enter(network, layer, seconds[layer.name]) for layer in network.layers]
    rows: dict[tuple[str, str, str], list[_Entry]] = {}
    for entry in entries:
        rows.setdefault((entry.op, entry.status, entry.how), []).append(entry)
    return Coverage(
        modelled=_sum_class(entries, MODELLED),
        approximated=_sum_class(entries, APPROXIMATED),
        unknown=_sum_class(entries, UNKNOWN),
        operators=tuple(
            OperatorCoverage(
                op=op,
                status=status,
                layers=len(group),
                how=how,
                macs=sum(e.macs for e in group),
                bytes=sum(e.bytes for e in group),
                latency_s=math.fsum(e.latency_s for e in group),
            )
            for (op, status, how), group in rows.items()
        ),
    )


def operator_rows(network: Network) -> list[list[int]]:
    """Indices of the layers behind each row of `measure_coverage`'s operators, in its order."""
    rows: dict[tuple[str, str, str], list[int]] = {}
    for index, layer in enumerate(network.layers):
        rows.setdefault((layer.op, *classify(layer)), []).append(index)
    return list(rows.values())


def at_other_times(coverage: Coverage, seconds: Sequence[float]) -> Coverage:
    """The ledger of the same network where its operators take other times, one a row."""
    operators = tuple(
        OperatorCoverage(row.op, row.status, row.layers, row.how, row.macs, row.bytes, took)
        for row, took in zip(coverage.operators, seconds, strict=True)
    )
    whole = math.fsum(seconds)

    def taking(one: CoverageClass, status: str) -> CoverageClass:
        took = math.fsum(row.latency_s for row in operators if row.status == status)
        return replace(one, latency_s=took, time_share=_share(took, whole))

    return Coverage(
        taking(coverage.modelled, MODELLED),
        taking(coverage.approximated, APPROXIMATED),
        taking(coverage.unknown, UNKNOWN),
        operators,
    )


def layer_bytes(network: Network, layer: Layer) -> int:
    """Bytes of the distinct tensors a layer reads and writes, at the element types of the file.

    A view moves nothing and has none.
    """
    if isinstance(layer, MoveLayer) and layer.is_view:
        return 0
    names = dict.fromkeys((*layer.inputs, *layer.outputs))
    return sum(-(-network.tensors[name].bits // 8) for name in names)


def classify(layer: Layer) -> tuple[str, str]:
    """The class of a layer, and how it was approximated or why it is unknown."""
    if isinstance(layer, UnknownLayer):
        return UNKNOWN, layer.reason
    return (APPROXIMATED, layer.approximation) if layer.approximation else (MODELLED, "")


def _enter(network: Network, layer: Layer, latency_s: float) -> _Entry:
    status, how = classify(layer)
    return _Entry(layer.op, status, how, layer.macs, layer_bytes(network, layer), latency_s)


def _sum_class(entries: Sequence[_Entry], status: str) -> CoverageClass:
    mine = [e for e in entries if e.status == status]
    macs = sum(e.macs for e in mine)
    size = sum(e.bytes for e in mine)
    latency_s = math.fsum(e.latency_s for e in mine)
    return CoverageClass(
        ops=len(mine),
        macs=macs,
        bytes=size,
        latency_s=latency_s,
        macs_share=_share(macs, sum(e.macs for e in entries)),
        bytes_share=_share(size, sum(e.bytes for e in entries)),
        time_share=_share(latency_s, math.fsum(e.latency_s for e in entries)),
    )


def _share(part: float, whole: float) -> float:
    return part / whole if whole else 0.0
