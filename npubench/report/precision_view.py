"""What `npubench precision` shows: the plans of a search, and what a plan weighs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from npubench.ir import Network, PrecisionPlan
from npubench.precision.weigh import weigh
from npubench.report.accuracy_view import ACCURACY_KEYS, accuracy_record
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
)
from npubench.report.text import plural
from npubench.study.precision_request import PrecisionSearch, SearchedPlan

__all__ = ["KnownPlan", "plan_view", "plans_view", "search_facts", "search_view"]

_COSTS = ("latency_s", "energy_j", "edp_js", "weight_bytes", "bops")
_MIB = 2**20


@dataclass(frozen=True)
class KnownPlan:
    """A plan by name, with the published top-1 of the network under it and where that is from."""

    name: str
    plan: PrecisionPlan
    top1: float | None
    source: str


def search_view(found: PrecisionSearch) -> View:
    """The rows of a search: what was chosen, uniform and published plans, the frontier."""
    rows = found.rows
    measured = any(row.accuracy is not None for row in rows)
    columns = (
        label("name", "Plan"),
        label("widths", "Layers", "shorten"),
        quantity("latency_s", "Latency", "s", [r.latency_s for r in rows]),
        quantity("energy_j", "Energy", "J", [r.energy_j for r in rows]),
        quantity("edp_js", "EDP", "J*s", [r.edp_js for r in rows]),
        fixed("weight_bytes", "Weights", 3, "MiB", 1 / _MIB),
        fixed("bops", "BOPS", 3, "G", 1e-9),
        Column("loss", "Loss", format=_short),
        *((fixed("accuracy", "Top-1", 2, "%"), label("from", "95 %")) if measured else ()),
    )
    cells = tuple(
        (
            *(row.name, _widths(row.plan), *(getattr(row, key) for key in _COSTS), row.loss),
            *(_accuracy(row) if measured else ()),
        )
        for row in rows
    )
    chosen = frozenset(i for i, row in enumerate(rows) if row.name == "chosen")
    return View(
        title=f"precision search: {found.network} on {found.hardware}",
        tables=(Table("", columns, cells, emphasis=chosen),),
        record=_record(rows),
        notes=_notes(found),
    )


def search_facts(found: PrecisionSearch) -> Mapping[str, object]:
    """The JSON object of a search, without its rows."""
    return {
        "network": found.network,
        "hardware": found.hardware,
        "objective": found.objective,
        "sensitivity": found.sensitivity,
        "budgets": dict(found.budgets),
        "widths": list(found.widths),
        "groups": [list(group) for group in found.groups],
        "frontier": found.frontier,
        "exact": found.exact,
        "worst_prediction": found.worst_prediction,
        "plans": [dict(row.plan) for row in found.rows],
    }


def plan_view(network: Network, plan: PrecisionPlan) -> View:
    """A plan, layer by layer."""
    layers = network.mac_layers
    columns = (
        label("name", "Layer", "shorten"),
        label("op", "Operator"),
        label("precision", "Precision"),
        count("weights", "Weights", [layer.nest.weight_elements for layer in layers]),
        count("macs", "MACs", [layer.macs for layer in layers]),
    )
    rows = tuple(
        (x.name, x.op, str(plan.of(x.name)), x.nest.weight_elements, x.macs) for x in layers
    )
    table = Table("", columns, rows)
    weight = weigh(network, plan)
    return View(
        title=f"{network.name}: {plan.describe()}",
        tables=(table,),
        record=table,
        notes=(
            f"Weights {weight.weight_mib:.2f} MiB, {weight.bops / 1e9:.1f} G bit operations; "
            "weights of these layers only, MACs x weight bits x activation bits.",
            f"Source: {plan.source}.",
        ),
    )


def plans_view(network: Network, plans: Sequence[KnownPlan]) -> View:
    """Plans of a network side by side: what they weigh, and what was published for them."""
    columns = (
        label("name", "Plan"),
        label("widths", "Layers", "shorten"),
        fixed("weight_mib", "Weights", 2, "MiB"),
        fixed("bops", "BOPS", 1, "G", 1e-9),
        number("top1", "Top-1", "%"),
        label("source", "Published by", "wrap"),
    )
    rows: list[tuple[Cell, ...]] = []
    for known in plans:
        weight = weigh(network, known.plan)
        by_layer = {x.name: str(known.plan.of(x.name)) for x in network.mac_layers}
        rows.append(
            (
                known.name,
                _widths(by_layer),
                weight.weight_mib,
                weight.bops,
                known.top1,
                known.source or None,
            )
        )
    table = Table("", columns, tuple(rows))
    return View(
        title=f"precision of {network.name}",
        tables=(table,),
        record=table,
        notes=(
            "Top-1 is published, not measured; a plan without one has none. Weights and bit "
            "operations are computed.",
        ),
    )


def _widths(plan: Mapping[str, str]) -> str:
    counts = Counter(plan.values())
    return ", ".join(f"{n} {text}" for text, n in sorted(counts.items(), reverse=True))


def _short(value: Cell) -> str:
    return f"{value:.3g}" if isinstance(value, (int, float)) else "-"


def _accuracy(row: SearchedPlan) -> tuple[Cell, Cell]:
    found = row.accuracy
    if found is None or found.value is None or found.interval is None:
        return None, None
    low, high = found.interval
    return found.value, f"{low:.2f}..{high:.2f}"


def _record(rows: Iterable[SearchedPlan]) -> Table:
    keys = ("name", *_COSTS, "loss", "predicted_edp_js", *ACCURACY_KEYS)
    cells = tuple(
        (
            *(row.name, *(getattr(row, key) for key in _COSTS), row.loss, row.predicted_edp_js),
            *accuracy_record(row.accuracy),
        )
        for row in rows
    )
    return Table("", tuple(Column(key, key) for key in keys), cells)


def _notes(found: PrecisionSearch) -> tuple[str, ...]:
    budgets = ", ".join(f"{name} <= {bound:g}" for name, bound in found.budgets.items())
    kinds = {
        "noise": "power of the error at the network's output over the output's, added over layers",
        "drop": "points of top-1 lost by each layer alone, added up",
        "hawq": "HAWQ-V3's Hessian trace x squared weight error (arXiv:2011.10680), added up",
    }
    ties = len(found.groups)
    together = (
        f" {plural(ties, 'group')} of layers share a width, since they read the same tensor."
        if ties
        else ""
    )
    saved = "energy_j" if found.objective == "edp_js" else found.objective
    whole = "" if found.exact else ", thinned"
    source = next((r.accuracy.source for r in found.rows if r.accuracy is not None), None)
    return (
        f"Widths {', '.join(found.widths)}; "
        f"{'budget ' + budgets if budgets else 'no budget'}; saving {found.objective}.{together}",
        f"Loss: {kinds[found.sensitivity]}.",
        f"Frontier of {saved} and loss: {plural(found.frontier, 'plan')}{whole}, some shown. "
        "Every row is mapped and costed for itself; costs that add up missed the EDP by at most "
        f"{found.worst_prediction:.2%}.",
        *((f"Accuracy measured: {source}.",) if source else ()),
    )
