"""BF-IMNA over networks, technologies, precisions and supplies, and where time and energy go."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise, product

from npubench.study.result import RunResult
from npubench.study.studies.bf_imna import (
    FIGURES,
    PAPER,
    figures,
    listed,
    run_one,
    share_cells,
    share_columns,
)
from npubench.study.studies.record import Cell, Claim, StudyColumn, StudyContext, StudySection

__all__ = ["run"]

_KEYS = (
    StudyColumn("network", "Network"),
    StudyColumn("technology", "Cells"),
    StudyColumn("precision", "Precision"),
    StudyColumn("supply_v", "Supply", "number", "V"),
)
_Point = tuple[str, str, str, str]


def run(context: StudyContext) -> Iterator[StudySection]:
    """Limited resources over everything, the breakdown, then unlimited resources."""
    networks, technologies = listed(context, "networks"), listed(context, "tech")
    precisions, supplies = listed(context, "precision"), listed(context, "vdd")
    points = list(product(networks, technologies, precisions, supplies))
    nominal = [(n, technologies[0], p, supplies[0]) for n, p in product(networks, precisions)]
    steps = len(points) + len(nominal)
    found: dict[_Point, RunResult] = {}
    for done, (network, tech, precision, supply) in enumerate(points, start=1):
        knobs = {"tech": tech, "vdd": supply}
        found[network, tech, precision, supply] = run_one(context, network, precision, knobs)
        context.on_step(done, steps)
    yield StudySection(
        "limited",
        "limited resources: the chip's arrays, layers in folds",
        (*_KEYS, *FIGURES),
        tuple((*_key(point), *figures(result)) for point, result in found.items()),
        claims=tuple(_directions(found)),
        notes=(
            "The paper's own figures by network could not be read; none are compared.",
            "Writes of non-volatile cells do not follow the supply.",
        ),
    )
    yield _breakdown("energy", "energy by kind of work", nominal, found)
    yield _breakdown("latency", "latency by kind of work", nominal, found)
    rows: list[tuple[Cell, ...]] = []
    for done, (network, tech, precision, supply) in enumerate(nominal, start=1):
        knobs = {"tech": tech, "vdd": supply, "resource": "unlimited"}
        result = run_one(context, network, precision, knobs)
        rows.append((*_key((network, tech, precision, supply)), *figures(result)))
        context.on_step(len(points) + done, steps)
    yield StudySection(
        "unlimited",
        "unlimited resources: as many rows as a layer has products",
        (*_KEYS, *FIGURES),
        tuple(rows),
        notes=("Without folds time follows the depth of a network, not its products.",),
    )


def _key(point: _Point) -> tuple[Cell, ...]:
    network, tech, precision, supply = point
    return network, tech, precision, float(supply.removesuffix("V"))


def _breakdown(
    what: str, title: str, points: list[_Point], found: dict[_Point, RunResult]
) -> StudySection:
    rows: list[tuple[Cell, ...]] = []
    for point in points:
        totals = found[point].totals
        parts = totals.energy_by_component if what == "energy" else totals.latency_by_cause
        rows.append((point[0], point[2], *share_cells(parts)))
    columns = (_KEYS[0], _KEYS[2], *share_columns())
    notes = (
        "Reduction has the partial sums of products split over arrays; data movement has loading, "
        "reading, mesh and staging memories.",
    )
    return StudySection(what, title, columns, tuple(rows), notes=notes)


def _directions(found: dict[_Point, RunResult]) -> Iterator[Claim]:
    """What the paper's direction is known of, as shares of pairs of points that agree with it."""
    pairs = [
        (found[n, "sram", p, v], other)
        for (n, tech, p, v), other in found.items()
        if tech == "reram" and (n, "sram", p, v) in found
    ]
    source = f"{PAPER}, direction"
    if pairs:
        denser = [_area(a) > _area(b) for a, b in pairs]
        costlier = [a.totals.energy_j < b.totals.energy_j for a, b in pairs]
        for what, holds in (
            ("ReRAM: less area than SRAM", denser),
            ("ReRAM: more energy than SRAM at equal precision", costlier),
        ):
            share = sum(holds) / len(holds)
            yield Claim(f"{what}, share of pairs", 1.0, share, "", source, "recalled")
    supplied = {
        (n, p): sorted(
            (float(v.removesuffix("V")), r.totals.energy_j)
            for (m, t, q, v), r in found.items()
            if (m, t, q) == (n, "sram", p)
        )
        for n, t, p, _ in found
        if t == "sram"
    }
    steps = [low[1] < high[1] for curve in supplied.values() for low, high in pairwise(curve)]
    if steps:
        what = "lower supply lowers SRAM energy, share of steps"
        yield Claim(what, 1.0, sum(steps) / len(steps), "", source, "recalled")


def _area(result: RunResult) -> float:
    return result.totals.area_mm2 or 0.0
