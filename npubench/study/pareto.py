"""The front of latency and energy of a network, over the mappings of its layers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from npubench.errors import OptionError
from npubench.machines.protocol import FrontMachine, LayerFront, MappingSearch
from npubench.study.result import Stamp
from npubench.study.run import RunRequest, check_request, choose_plan, make_stamp
from npubench.study.session import Session

__all__ = ["MOST_POINTS", "ParetoFront", "ParetoPoint", "pareto"]

# Points kept of the sum of layers; see `ParetoFront.slack_s`.
MOST_POINTS = 20_000

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class ParetoPoint:
    """One choice of a mapping for every layer.

    Attributes:
        latency_s: of the whole batch.
        energy_j: of one inference.
        edp_js: their product.
        slowed: layers that are not mapped for the least latency.
    """

    latency_s: float
    energy_j: float
    edp_js: float
    slowed: int


@dataclass(frozen=True, slots=True)
class ParetoFront:
    """What can be traded.

    Attributes:
        network, hardware, precision, batch: what was mapped.
        points: the front, by rising latency; thinned evenly to what was asked for, with both ends
            and the point of least EDP.
        size: points of the whole front.
        least_edp: place of the least EDP of the whole front in ``points``.
        slack_s: 0 where the front is exact. Else, for every choice of mappings there is a point of
            no more energy and at most this much more latency.
        layers: each layer's own front.
        search: what the searches of all layers covered.
        stamp: versions.
    """

    network: str
    hardware: str
    precision: str
    batch: int
    points: tuple[ParetoPoint, ...]
    size: int
    least_edp: int
    slack_s: float
    layers: tuple[LayerFront, ...]
    search: MappingSearch | None
    stamp: Stamp


def pareto(request: RunRequest, points: int = 12, session: Session | None = None) -> ParetoFront:
    """Map every layer to its own front and add the fronts up.

    Layers run one after another and do not share a choice, so that the front of the network is
    the front of all sums of points of its layers. It is summed layer by layer; what is dominated on
    the way is dominated in the end.

    Args:
        request: what to map; its objective takes no part.
        points: how many to show, at least 3.

    Raises:
        InputError: names, files, options, or a machine whose mapping has nothing to trade.
    """
    if points < 3:
        raise OptionError(f"--points: expected a whole number from 3, got {points}")
    session = session or Session()
    check_request(request)
    machine = session.machine(request.hardware, request.knobs, request.overrides)
    if not isinstance(machine, FrontMachine):
        raise OptionError(
            f"'{machine.info.name}' (family {machine.info.family}) has no mapping that trades "
            "latency for energy"
        )
    loaded = session.network(request.workload, request.dims)
    network = loaded.network.with_batch(request.batch)
    legalised = machine.legalise(network, choose_plan(request.precision, loaded))
    front = machine.front(network, legalised.executed)
    cycles, joules, slowed, slack = _add_up(front.layers, front.cycles, front.energy_j)
    seconds, energy = cycles / front.clock_hz, joules / request.batch
    shown, least = _spread(seconds * energy, points)
    executed = {str(legalised.executed.of(layer.name)) for layer in network.mac_layers}
    return ParetoFront(
        network=loaded.network.name,
        hardware=machine.info.name,
        precision=executed.pop() if len(executed) == 1 else "mixed",
        batch=request.batch,
        points=tuple(
            ParetoPoint(
                float(seconds[i]),
                float(energy[i]),
                float(seconds[i] * energy[i]),
                int(slowed[i]),
            )
            for i in shown
        ),
        size=len(cycles),
        least_edp=least,
        slack_s=slack / front.clock_hz,
        layers=front.layers,
        search=front.search,
        stamp=make_stamp(request.seed),
    )


def _add_up(
    layers: Sequence[LayerFront], cycles: int, energy_j: float
) -> tuple[Floats, Floats, npt.NDArray[np.int64], float]:
    """(cycles, joules, layers off their fastest point, slack in cycles) of all sums."""
    total, joules = np.array([float(cycles)]), np.array([energy_j])
    slowed = np.zeros(1, dtype=np.int64)
    slack = 0.0
    for layer in layers:
        own = np.arange(len(layer.cycles))
        first = (total[:, None] + np.array(layer.cycles, dtype=float)).ravel()
        second = (joules[:, None] + np.array(layer.energy_j)).ravel()
        behind = (slowed[:, None] + (own > 0)).ravel()
        order = np.lexsort((second, first))
        least = np.minimum.accumulate(second[order])
        falls = np.ones(len(order), dtype=bool)
        falls[1:] = second[order][1:] < least[:-1]
        keep = order[falls]
        if len(keep) > MOST_POINTS:
            keep, lost = _thin(first, keep)
            slack += lost
        total, joules, slowed = first[keep], second[keep], behind[keep]
    return total, joules, slowed, slack


def _thin(cycles: Floats, front: npt.NDArray[np.intp]) -> tuple[npt.NDArray[np.intp], float]:
    """Fewer points of a front by rising cycles, and how far the cycles are from those left out.

    Of each run of neighbours the last stays, which has the least energy, and the very first point.
    """
    runs = np.linspace(0, len(front), MOST_POINTS, endpoint=False).astype(int)[1:]
    last = np.unique(np.concatenate([[0], runs - 1, [len(front) - 1]]))
    follows = last[np.searchsorted(last, np.arange(len(front)))]
    lost = float((cycles[front[follows]] - cycles[front]).max())
    return front[last], lost


def _spread(products: Floats, count: int) -> tuple[list[int], int]:
    """Places of evenly spaced points with both ends and the least product, and where that is."""
    best = int(np.argmin(products))
    even = np.linspace(0, len(products) - 1, min(count, len(products))).round().astype(int)
    places = sorted({*even.tolist(), best})
    return places, places.index(best)
