"""Many points of precision and supply at once: programs are counted once a precision.

Under a supply, cycles stay and every constant of the die scales by its law, so that a network's
energy and time at any supply follow from one cost. That holds for the arrays, mesh and staging
memories alike; energy that flows all the time scales with leakage and with time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from npubench.errors import MappingError
from npubench.ir import LayerPrecision, Network, PrecisionPlan
from npubench.machines.associative.machine import AssociativeMachine
from npubench.machines.protocol import Objective, evaluate

__all__ = ["SupplyPoints", "supply_points"]

_STATIC = "static_power"
_WRITE = "cell.write.energy"


@dataclass(frozen=True)
class SupplyPoints:
    """Points of a grid; both arrays have shape (precisions, supplies).

    Attributes:
        latency_s: of the whole batch.
        energy_j: of the whole batch.
    """

    latency_s: NDArray[np.float64]
    energy_j: NDArray[np.float64]


def supply_points(
    machine: AssociativeMachine,
    network: Network,
    precisions: Sequence[LayerPrecision],
    supplies: Sequence[float],
    objective: Objective = Objective.LATENCY,
) -> SupplyPoints:
    """Latency and energy of a network at every precision and supply.

    Args:
        machine: at its nominal supply, with voltage laws that scale the clock.
        network: batch included.
        precisions: uniform plans.
        supplies: volts, inside the range of the laws.
        objective: of the mapping.

    Raises:
        MappingError: a machine without laws, or not at its nominal supply.
        OptionError: a supply outside their range.
    """
    voltage = machine.spec.voltage
    if voltage is None or voltage.supply.value != voltage.nominal.value:
        raise MappingError(f"'{machine.spec.name}': expected voltage laws and the nominal supply")
    if voltage.clock != "scaled":
        raise MappingError(f"'{machine.spec.name}': expected a clock that follows the supply")
    factors = [voltage.factors(volts) for volts in supplies]
    energy = np.array([factor.energy for factor in factors])
    speed = np.array([factor.frequency for factor in factors])
    leakage = np.array([factor.leakage for factor in factors])
    scaled = {_STATIC: leakage / speed}
    if not machine.spec.cell.write.scaled:
        scaled[_WRITE] = np.ones(len(factors))
    latency = np.empty((len(precisions), len(factors)))
    joules = np.zeros_like(latency)
    for row, precision in enumerate(precisions):
        plan = machine.legalise(network, PrecisionPlan(precision)).executed
        cost = evaluate(machine, network, plan, objective)
        latency[row] = cost.latency_s / speed
        for constant in cost.constants:
            if constant.energy_j:
                joules[row] += constant.energy_j * scaled.get(constant.path, energy)
    return SupplyPoints(latency, joules)
