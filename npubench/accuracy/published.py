"""Published accuracies, for networks whose weights cannot be shipped; see workloads/accuracy."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from npubench.errors import InputError, Problem
from npubench.ir import FORMATS, Format, LayerPrecision, Network, PrecisionPlan, integer
from npubench.precision.published import published_plans
from npubench.specs.catalog import data_folder, list_workloads

__all__ = [
    "PublishedAccuracy",
    "find_published_accuracy",
    "fitting_rows",
    "published_accuracies",
]

_FILE = "workloads/accuracy/published.csv"
_FLOAT_BITS = "32"


@dataclass(frozen=True, slots=True)
class PublishedAccuracy:
    """One row of the table; accuracies in percent, ``fp32_top1`` None where it is not stated."""

    networks: tuple[str, ...]
    dataset: str
    method: str
    setting: str
    weight_bits: str
    activation_bits: str
    ends: str
    top1: float
    fp32_top1: float | None
    source: str
    confidence: str
    note: str

    @property
    def label(self) -> str:
        """Method, source and what to know, for captions."""
        parts = (self.dataset, self.method, self.source, self.confidence, self.note)
        return "; ".join(part for part in parts if part)


@cache
def published_accuracies() -> tuple[PublishedAccuracy, ...]:
    """The table, in its order.

    Raises:
        InputError: a row that cannot be read.
    """
    path = data_folder("workloads") / "accuracy" / "published.csv"
    found: list[PublishedAccuracy] = []
    with path.open(encoding="utf-8", newline="") as file:
        for number, row in enumerate(csv.DictReader(file), start=2):
            try:
                values = dict(row)
                networks = tuple(values.pop("networks").split())
                top1, floats = float(values.pop("top1")), values.pop("fp32_top1")
                base = float(floats) if floats else None
                found.append(
                    PublishedAccuracy(networks=networks, top1=top1, fp32_top1=base, **values)
                )
            except (KeyError, TypeError, ValueError) as error:
                raise InputError(Problem(f"broken row: {error}", _FILE, number)) from error
    return tuple(found)


def find_published_accuracy(network: Network, plan: PrecisionPlan) -> PublishedAccuracy | None:
    """The first of `fitting_rows`; None without one."""
    return next(iter(fitting_rows(network, plan)), None)


def fitting_rows(network: Network, plan: PrecisionPlan) -> tuple[PublishedAccuracy, ...]:
    """Every row whose plan this is exactly, the one to be shown first.

    A user's file may share a name with a published network without being it, so the file itself
    must be the shipped one.
    """
    shipped = {entry.name: entry.sha256 for entry in list_workloads()}
    if network.sha256 == "" or shipped.get(network.name) != network.sha256:
        return ()
    widths = [plan.of(layer.name) for layer in network.mac_layers]
    fitting = [
        row
        for row in published_accuracies()
        if network.name in row.networks and _wanted(row, network) == widths
    ]
    # Settings that came out with the same bits were trained apart: the one asked for goes first.
    own = [r for r in fitting if r.setting and plan.source.startswith(f"{r.setting}:")]
    return (*own, *(row for row in fitting if row not in own))


def _wanted(row: PublishedAccuracy, network: Network) -> Sequence[LayerPrecision] | None:
    """The plan of a row, layer by layer; None where the source does not settle it."""
    if row.setting:
        names = [n for f in published_plans() if network.name in f.networks for n in f.names]
        if row.setting not in names:
            return None
        file = next(f for f in published_plans() if network.name in f.networks)
        plan = file.plan(row.setting, network)
        return [plan.of(layer.name) for layer in network.mac_layers]
    if not (row.weight_bits.isdecimal() and row.activation_bits.isdecimal()):
        return None
    inner = LayerPrecision(*map(_format, (row.weight_bits, row.activation_bits)))
    outer = {
        "same": inner,
        "8": LayerPrecision(integer(8), integer(8)),
        "float": LayerPrecision(FORMATS["fp32"], FORMATS["fp32"]),
    }.get(row.ends)
    if outer is None:
        return None
    widths = [inner] * len(network.mac_layers)
    widths[0] = widths[-1] = outer
    return widths


def _format(bits: str) -> Format:
    return FORMATS["fp32"] if bits == _FLOAT_BITS else integer(int(bits))
