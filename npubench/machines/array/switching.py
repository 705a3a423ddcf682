"""What an array takes to go from one executed plan to another: emptying it, and its weights.

The arrays run empty: rows and columns of a systolic form. Weights that stay on chip between
inferences are then in the wrong format. They are converted on chip where they are there and a unit
makes the new format, else fetched; layer after layer, in the order in which the next inference
needs them. What the running layers do not hide delays that inference and is the switch's time.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from npubench.ir import Network, PrecisionPlan
from npubench.machines.array.conversion import stored_bits
from npubench.machines.array.cost import cost_network
from npubench.machines.array.flows import conversion_cycles, cycles_per_bit
from npubench.machines.array.keeping import map_kept
from npubench.machines.array.spec import ArraySpec
from npubench.machines.array.systolic import Dataflow
from npubench.machines.array.tiles import OperandBits
from npubench.machines.array.weights import format_of, held_weights

__all__ = ["ModeSwitch", "exposed", "mode_switch"]


@dataclass(frozen=True, slots=True)
class ModeSwitch:
    """A switch of plans, in cycles of the array's clock and joules.

    Attributes:
        drain: until the arrays are empty.
        weights: by which weights on their way hold up the first inference under the new plan.
        converted, fetched: weights converted on chip, and fetched from outside.
        energy_j: of moving and converting weights, and static power while nothing runs.
    """

    drain: int
    weights: float
    converted: int
    fetched: int
    energy_j: float

    @property
    def cycles(self) -> float:
        """From the last result under the old plan to when the new one runs as usual."""
        return self.drain + self.weights


def exposed(arrivals: Sequence[float], runs: Sequence[float]) -> float:
    """Time by which a chain of layers ends later because each waits for something that arrives.

    Args:
        arrivals: time that the thing of each layer takes to arrive, one after another.
        runs: time that each layer runs.
    """
    clock = ready = 0.0
    for arrival, run in zip(arrivals, runs, strict=True):
        ready += arrival
        clock = max(clock, ready) + run
    return clock - sum(runs)


def mode_switch(
    spec: ArraySpec, network: Network, before: PrecisionPlan, after: PrecisionPlan
) -> ModeSwitch:
    """Count a switch between two plans that the spec executes; equal plans take nothing."""
    layers = network.mac_layers
    if all(before.of(layer.name) == after.of(layer.name) for layer in layers):
        return ModeSwitch(0, 0.0, 0, 0, 0.0)
    array = spec.array
    moving = array.dataflow != Dataflow.UNROLLED.value or (
        array.unrolling is not None and array.unrolling.skewed
    )
    drain = array.rows.integer + array.cols.integer if moving else 0
    there = map_kept(spec, network, before).kept_weights
    running = map_kept(spec, network, after)
    converted = fetched = 0
    inner = spec.chain("weight")[-2]
    elements = {layer.name: layer.nest.weight_elements for layer in layers}
    energy, waited, arrivals = 0.0, 0.0, dict.fromkeys(elements, 0.0)
    moved = False
    for held in held_weights(spec, network, after):
        names = held.layers
        stay = any(name in there and before.of(name) == after.of(name) for name in names)
        if stay or names[0] not in running.kept_weights:
            continue
        moved = True
        count = max(elements[name] for name in names)
        moves = [_move(spec, network, before, after, name, there) for name in names]
        cycles, joules, on_chip = next((move for move in moves if move[2]), moves[0])
        if on_chip or not inner.serial:
            arrivals[names[0]] = cycles * count
        else:
            waited += cycles * count
        energy += joules * count
        converted += count if on_chip else 0
        fetched += 0 if on_chip else count
    weights = waited
    if moved:
        cost = cost_network(spec, network, after, running)
        runs = {layer.name: float(layer.cycles) for layer in cost.layers}
        waits = [arrivals.get(layer.name, 0.0) for layer in cost.layers]
        weights += exposed(waits, list(runs.values()))
    static = spec.static_power.value * (drain + weights) / spec.clock.value
    return ModeSwitch(drain, weights, converted, fetched, energy + static)


def _move(
    spec: ArraySpec,
    network: Network,
    before: PrecisionPlan,
    after: PrecisionPlan,
    name: str,
    there: Collection[str],
) -> tuple[float, float, bool]:
    """(cycles, joules) a weight of a layer to bring it into its new format, and whether on chip."""
    layer = next(layer for layer in network.mac_layers if layer.name == name)
    new_name, fmt = format_of(spec, after.of(name))
    stored = stored_bits(spec.quantization_unit, network, layer, new_name)
    width = fmt.weight_format.bits
    inner, outer = spec.chain("weight")[-2:]
    old = format_of(spec, before.of(name))[1].weight_format
    unit = spec.quantization_unit
    on_chip = (
        unit is not None and stored is not None and name in there and old == unit.stored_format
    )
    cycles = joules = 0.0
    if not on_chip:
        bits = width if stored is None else stored
        cycles = bits * cycles_per_bit(outer, spec.clock.value)
        if inner.serial:
            lane = inner.lane_bits(bits)
            cycles = max(cycles, lane * cycles_per_bit(inner, spec.clock.value))
        joules = bits * outer.read_energy.value + inner.lane_bits(bits) * inner.write_energy.value
    if unit is not None and stored is not None:
        bits_of = OperandBits(width, width, width, width, stored)
        cycles = max(
            cycles, float(conversion_cycles(spec, bits_of, np.ones(1), spec.clock.value)[0])
        )
        joules += unit.energy.value + inner.lane_bits(stored) * inner.read_energy.value
        joules += inner.lane_bits(width) * inner.write_energy.value
    return cycles, joules, on_chip
