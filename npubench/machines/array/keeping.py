"""Which layers' weights stay on chip between inferences, with ``weights: kept``.

Weights that stay take room that activations and tiles of the running layers want, so more of them
is not always better. Layers are ranked by what each gains for a bit that its weights take, when its
own weights alone stay; one that gains nothing does not keep them. The ranking is filled up to a
quarter, a half and three quarters of the outermost on-chip memory for weights, each set is mapped
and counted as a result is, and the best one is taken. Keeping nothing is one of them: weights that
may stay never make a network worse than weights that may not, by the objective.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from npubench.errors import MappingError
from npubench.ir import Network, PrecisionPlan
from npubench.machines.array.cost import cost_network
from npubench.machines.array.mapping import ArrayMapping, map_network, weight_bits
from npubench.machines.array.spec import ArraySpec
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
    bits = {name: n for name, n in weight_bits(spec, network, plan).items() if n <= most}
    apart = map_network(spec, network, plan, objective, bits, apart=True)
    before, after = (cost_network(spec, network, plan, found) for found in (nothing, apart))
    gains = _gains(before, after, objective)
    floor = _floor(before, after, gains, objective)
    best, least = nothing, _figures(before, objective)
    for kept in _sets(spec, bits, gains):
        try:
            found = map_network(spec, network, plan, objective, kept)
        except MappingError:
            continue  # a layer that runs does not fit beside them
        figures = _figures(cost_network(spec, network, plan, found), objective)
        if figures < least:
            best, least = found, figures
        if all(n <= bound * (1 + 1e-9) for n, bound in zip(least, floor, strict=True)):
            break
    return best


def _figures(cost: Cost, objective: Objective) -> _Figures:
    """The objective of a network, and the figure that decides ties."""
    return _ordered(cost.cycles, cost.energy_j, objective)


def _ordered(cycles: int, joules: float, objective: Objective) -> _Figures:
    if objective is Objective.ENERGY:
        return joules, float(cycles)
    if objective is Objective.EDP:
        return joules * cycles, float(cycles)
    return float(cycles), joules


def _gains(before: Cost, after: Cost, objective: Objective) -> dict[str, _Figures]:
    """By layer, what the network's objective loses if that layer alone keeps its weights.

    Layers for which that is nothing, or less, are left out.
    """
    was = {layer.name: layer for layer in before.layers}
    gains: dict[str, _Figures] = {}
    for layer in after.layers:
        cycles = before.cycles - was[layer.name].cycles + layer.cycles
        joules = before.energy_j - was[layer.name].energy_j + layer.energy_j
        now, then = _ordered(cycles, joules, objective), _figures(before, objective)
        if now < then:
            gains[layer.name] = (then[0] - now[0], then[1] - now[1])
    return gains


def _floor(
    before: Cost, after: Cost, gains: Mapping[str, _Figures], objective: Objective
) -> _Figures:
    """What is left if every layer has its gain: weights in nobody's way but their own layer's."""
    was = {layer.name: layer for layer in before.layers}
    paying = [layer for layer in after.layers if layer.name in gains]
    cycles = before.cycles - sum(was[layer.name].cycles - layer.cycles for layer in paying)
    joules = math.fsum(was[layer.name].energy_j - layer.energy_j for layer in paying)
    return _ordered(cycles, before.energy_j - joules, objective)


def _room(spec: ArraySpec, quarters: int) -> int:
    return quarters * (spec.chain("weight")[-2].capacity_bits or 0) // 4


def _sets(
    spec: ArraySpec, bits: Mapping[str, int], gains: Mapping[str, _Figures]
) -> list[tuple[str, ...]]:
    """Sets of layers, the largest first; those that gain most for a bit go in first."""
    names = [name for name in bits if name in gains]
    names.sort(key=lambda name: tuple(gain / bits[name] for gain in gains[name]), reverse=True)
    sets: dict[tuple[str, ...], None] = {}
    for quarters in QUARTERS:
        room, chosen = _room(spec, quarters), []
        for name in names:
            if bits[name] <= room:
                chosen.append(name)
                room -= bits[name]
        if chosen:
            sets[tuple(chosen)] = None
    return list(sets)
