"""Latency against energy of every layer of a network, as its cost is counted."""

from __future__ import annotations

from collections import defaultdict

import numpy as np

from npubench.ir import Network, PrecisionPlan
from npubench.machines.array.cost import beside_others, cost_network
from npubench.machines.array.goals import staircase
from npubench.machines.array.keeping import map_kept
from npubench.machines.array.mapping import ArrayMapping, map_fronts
from npubench.machines.array.spec import ArraySpec
from npubench.machines.protocol import Cost, LayerFront, MappingFront

__all__ = ["front_network"]


def front_network(spec: ArraySpec, network: Network, plan: PrecisionPlan) -> MappingFront:
    """The front of each multiply-accumulate layer together with its fused tails.

    Points are costs of whole mappings, counted as every result is, not the columns of the search.
    What the layers' mappings do not touch is the rest. What stays on chip is decided before, so
    layers are independent and their costs add up; weights that stay are those that latency wants.

    Raises:
        MappingError: a layer does not fit a memory.
    """
    kept = map_kept(spec, network, plan).kept_weights if spec.weights == "kept" else ()
    mappings = map_fronts(spec, network, plan, kept)
    costs = [cost_network(spec, network, plan, mapping) for mapping in mappings]
    points: dict[str, dict[tuple[int, float], None]] = defaultdict(dict)
    for cost, mapping in zip(costs, mappings, strict=True):
        for name, point in _groups(spec, cost, mapping).items():
            points[name][point] = None
    layers = []
    for name, choices in points.items():
        cycles = np.array([float(c) for c, _ in choices])
        joules = np.array([j for _, j in choices])
        keep = staircase(cycles, joules).tolist()
        layers.append(
            LayerFront(name, tuple(int(cycles[i]) for i in keep), tuple(joules[keep].tolist()))
        )
    first = _groups(spec, costs[0], mappings[0]).values()
    return MappingFront(
        layers=tuple(layers),
        cycles=costs[0].cycles - sum(cycles for cycles, _ in first),
        energy_j=costs[0].energy_j - sum(joules for _, joules in first),
        clock_hz=costs[0].clock_hz,
        search=costs[0].search,
    )


def _groups(spec: ArraySpec, cost: Cost, mapping: ArrayMapping) -> dict[str, tuple[int, float]]:
    """(cycles, joules) of each multiply-accumulate layer with its tails and their overlap."""
    by_name = {layer.name: layer for layer in cost.layers}
    tails: dict[str, list[str]] = defaultdict(list)
    for tail, before in mapping.tails.head.items():
        tails[before].append(tail)
    groups: dict[str, tuple[int, float]] = {}
    for name in mapping.layers:
        head, behind = by_name[name], [by_name[tail] for tail in tails[name]]
        beside = sum(tail.cycles for tail in behind)
        hidden = min(beside_others(head), sum(beside_others(tail) for tail in behind))
        saved = spec.static_power.value * hidden / cost.clock_hz
        joules = head.energy_j + sum(tail.energy_j for tail in behind) - saved
        groups[name] = (head.cycles + beside - hidden, joules)
    return groups
