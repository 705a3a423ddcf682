"""Columns that several views share: the figures of a whole network."""

from __future__ import annotations

from collections.abc import Sequence

from npubench.report.table import Column, quantity, share
from npubench.study.result import Totals

__all__ = ["RATIOS", "TOTALS", "figure_columns", "totals_columns"]

TOTALS = (
    "macs",
    "cycles",
    "latency_s",
    "energy_j",
    "edp_js",
    "throughput_ips",
    "tops_per_watt",
    "utilization",
    "area_mm2",
)
RATIOS = ("latency", "energy", "edp", "throughput")


def figure_columns(totals: Sequence[Totals]) -> tuple[Column, ...]:
    """Latency, energy, EDP and throughput, with the prefixes that suit these totals."""
    return (
        quantity("latency_s", "Latency", "s", [t.latency_s for t in totals]),
        quantity("energy_j", "Energy", "J", [t.energy_j for t in totals]),
        quantity("edp_js", "EDP", "J*s", [t.edp_js for t in totals]),
        quantity("throughput_ips", "Throughput", "1/s", []),
    )


def totals_columns(totals: Sequence[Totals]) -> tuple[Column, ...]:
    """`figure_columns`, then efficiency, utilization and area."""
    return (
        *figure_columns(totals),
        quantity("tops_per_watt", "Efficiency", "TOPS/W", []),
        share("utilization", "Utilization"),
        quantity("area_mm2", "Area", "mm2", []),
    )
