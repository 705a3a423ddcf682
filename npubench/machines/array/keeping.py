"""Which weights stay on chip between inferences, with ``weights: kept``.

Weights that stay take room that activations and tiles of the running layers want, so more of them
is not always better. Weights are ranked by what their layers gain for a bit of room, when these
weights alone stay; where that is nothing they do not stay. Those that several layers multiply take
their room once, and stay for all of these layers or for none. The ranking is filled up to a
quarter, a half and three quarters of the outermost on-chip memory for weights, each set is mapped
and counted as a result is, and the best one is taken. Keeping nothing is one of them: weights that
may stay never make a network worse than weights that may not, by the objective.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from npubench.errors import MappingError
from npubench.ir import Network, PrecisionPlan
from npubench.machines.array.cost import cost_network
from npubench.machines.array.mapping import ArrayMapping, map_network
from npubench.machines.array.spec import ArraySpec
from npubench.machines.array.weights import HeldWeights, held_weights
from npubench.machines.protocol import Cost, Objective

__all__ = ["QUARTERS", "map_kept"]

QUARTERS = (3, 2, 1)  # of the memory, for weights that stay

_Figures = tuple[float, float]


def map_kept(
    spec: ArraySpec,
    network: Network,
    plan: PrecisionPlan,
    objective: Objective = Objective.LATENCY,
) -> ArrayMapping:
    """Map a network, with the weights that pay by staying on chip, if the spec lets any stay.

    Raises:
        MappingError: as `map_network`.
    """
    nothing = map_network(spec, network, plan, objective)
    if spec.weights != "kept":
        return nothing
    most = _room(spec, QUARTERS[0])
    held = [one for one in held_weights(spec, network, plan) if one.bits <= most]
    apart = map_network(spec, network, plan, objective, _layers(held), apart=True)
    before, after = (cost_network(spec, network, plan, found) for found in (nothing, apart))
    gains = _gains(before, after, held, objective)
    floor = _floor(before, after, gains, objective)
    best, least = nothing, _figures(before, objective)
    for kept in _sets(spec, gains):
        try:
            found = map_network(spec, network, plan, objective, _layers(kept))
        except MappingError:
            continue  # a layer that runs does not fit beside them
        figures = _figures(cost_network(spec, network, plan, found), objective)
        if figures < least:
            best, least = found, figures
        if all(n <= bound * (1 + 1e-9) for n, bound in zip(least, floor, strict=True)):
            break
    return best


def _layers(held: Iterable[HeldWeights]) -> frozenset[str]:
    return frozenset(name for one in held for name in one.layers)


def _figures(cost: Cost, objective: Objective) -> _Figures:
    """The objective of a network, and the figure that decides ties."""
    return _ordered(cost.cycles, cost.energy_j, objective)


def _ordered(cycles: int, joules: float, objective: Objective) -> _Figures:
    if objective is Objective.ENERGY:
        return joules, float(cycles)
    if objective is Objective.EDP:
        return joules * cycles, float(cycles)
    return float(cycles), joules


def _gains(
    before: Cost, after: Cost, held: Iterable[HeldWeights], objective: Objective
) -> dict[HeldWeights, _Figures]:
    """By weights, what the network's objective loses if they alone stay.

    Weights for which that is nothing, or less, are left out.
    """
    was, now_is = ({layer.name: layer for layer in cost.layers} for cost in (before, after))
    then = _figures(before, objective)
    gains: dict[HeldWeights, _Figures] = {}
    for one in held:
        cycles = sum(now_is[name].cycles - was[name].cycles for name in one.layers)
        joules = math.fsum(now_is[name].energy_j - was[name].energy_j for name in one.layers)
        now = _ordered(before.cycles + cycles, before.energy_j + joules, objective)
        if now < then:
            gains[one] = (then[0] - now[0], then[1] - now[1])
    return gains


def _floor(
    before: Cost, after: Cost, gains: Iterable[HeldWeights], objective: Objective
) -> _Figures:
    """What is left if all weights have their gain: in nobody's way but their own layers'."""
    was = {layer.name: layer for layer in before.layers}
    layers = _layers(gains)
    paying = [layer for layer in after.layers if layer.name in layers]
    cycles = before.cycles - sum(was[layer.name].cycles - layer.cycles for layer in paying)
    joules = math.fsum(was[layer.name].energy_j - layer.energy_j for layer in paying)
    return _ordered(cycles, before.energy_j - joules, objective)


def _room(spec: ArraySpec, quarters: int) -> int:
    return quarters * (spec.chain("weight")[-2].capacity_bits or 0) // 4


def _sets(spec: ArraySpec, gains: Mapping[HeldWeights, _Figures]) -> list[tuple[HeldWeights, ...]]:
    """Sets of weights, the largest first; those that gain most for a bit go in first."""
    ranked = sorted(
        gains, key=lambda one: tuple(gain / one.bits for gain in gains[one]), reverse=True
    )
    sets: dict[tuple[HeldWeights, ...], None] = {}
    for quarters in QUARTERS:
        room, chosen = _room(spec, quarters), []
        for one in ranked:
            if one.bits <= room:
                chosen.append(one)
                room -= one.bits
        if chosen:
            sets[tuple(chosen)] = None
    return list(sets)
