"""What `npubench pareto` shows: the front of latency and energy, and which layers have a choice."""

from __future__ import annotations

from collections.abc import Mapping

from npubench.report.table import Table, View, fixed, label, quantity
from npubench.report.text import plural
from npubench.study.pareto import ParetoFront
from npubench.units import engineering

__all__ = ["pareto_facts", "pareto_view"]


def pareto_view(front: ParetoFront, *, layers: bool = False) -> View:
    """The points, and with ``layers`` each layer's own front by its ends."""
    points = front.points
    fastest, thriftiest = points[0], points[-1]
    columns = (
        quantity("latency_s", "Latency", "s", [p.latency_s for p in points]),
        quantity("energy_j", "Energy", "J", [p.energy_j for p in points]),
        quantity("edp_js", "EDP", "J*s", [p.edp_js for p in points]),
        fixed("latency_ratio", "Latency", 3, "x"),
        fixed("energy_ratio", "Energy", 3, "x"),
        fixed("slowed", "Layers off their fastest", 0),
    )
    rows = tuple(
        (
            p.latency_s,
            p.energy_j,
            p.edp_js,
            p.latency_s / fastest.latency_s,
            p.energy_j / fastest.energy_j if fastest.energy_j else None,
            p.slowed,
        )
        for p in points
    )
    table = Table("", columns, rows, emphasis=frozenset({front.least_edp}))
    trade = (
        f"{(thriftiest.latency_s / fastest.latency_s - 1):.2%} more latency buys "
        f"{1 - thriftiest.energy_j / fastest.energy_j:.2%} less energy"
        if len(points) > 1 and fastest.energy_j
        else "one mapping is best in both"
    )
    return View(
        title=(
            f"{front.network} on {front.hardware}: {front.precision}, batch {front.batch}, "
            f"{plural(front.size, 'mapping')} on the front of latency and energy"
        ),
        tables=(table, _layer_table(front)) if layers else (table,),
        record=_layer_table(front) if layers else table,
        findings=(trade,),
        notes=_notes(front),
    )


def pareto_facts(front: ParetoFront) -> Mapping[str, object]:
    """The JSON object of a front, without its points."""
    search = front.search
    return {
        "workload": front.network,
        "hardware": front.hardware,
        "precision": front.precision,
        "batch": front.batch,
        "size": front.size,
        "exact": front.slack_s == 0,
        "slack_s": front.slack_s,
        "least_edp": front.least_edp,
        "proven": None if search is None else {"layers": search.proven, "of": search.layers},
        "layers": [
            {"name": one.name, "cycles": list(one.cycles), "energy_j": list(one.energy_j)}
            for one in front.layers
        ],
    }


def _layer_table(front: ParetoFront) -> Table:
    rows = tuple(
        (
            one.name,
            len(one.cycles),
            one.cycles[0],
            one.cycles[-1],
            one.energy_j[0],
            one.energy_j[-1],
        )
        for one in front.layers
    )
    joules = [j for one in front.layers for j in one.energy_j]
    columns = (
        label("name", "Layer", "shorten"),
        fixed("points", "Mappings", 0),
        fixed("least_cycles", "Cycles from", 0),
        fixed("most_cycles", "to", 0),
        quantity("most_energy_j", "Energy from", "J", joules),
        quantity("least_energy_j", "to", "J", joules),
    )
    return Table("", columns, rows)


def _notes(front: ParetoFront) -> tuple[str, ...]:
    choosing = sum(len(one.cycles) > 1 for one in front.layers)
    search = front.search
    exact = (
        "the sums of all fronts are exact"
        if front.slack_s == 0
        else "sums were thinned: a point lies at most "
        f"{engineering(front.slack_s, 's')} above the exact front"
    )
    proven = (
        ""
        if search is None
        else f"; {search.proven} of {search.layers} layers have their whole front, proven"
    )
    return (
        "Latency of the whole batch, energy of one inference; the row of least EDP stands out.",
        f"{choosing} of {plural(len(front.layers), 'layer')} have more than one mapping on their "
        f"own front; {exact}{proven}.",
        f"npubench {front.stamp.npubench}.",
    )
