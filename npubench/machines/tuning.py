"""Machines of which some settings change prices only: many operating points from one mapping."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeAlias, runtime_checkable

from npubench.ir import Network, PrecisionPlan
from npubench.machines.protocol import Objective

if TYPE_CHECKING:  # what asks whether a machine is tunable does without numpy
    import numpy as np
    import numpy.typing as npt

    FloatArray: TypeAlias = npt.NDArray[np.float64]
    IntArray: TypeAlias = npt.NDArray[np.int64]

__all__ = ["Anywhere", "CostTable", "OperatingPoint", "Tunable"]


@dataclass(frozen=True, slots=True)
class CostTable:
    """A network on one machine at many operating points; arrays of one entry a point.

    Attributes:
        clock_hz: cycles per second of the cycles counted here.
        cycles: of one execution, as `Cost.cycles`; executions follow each other at once.
        layer_cycles: of each layer on its own, one row a layer of the network.
        latency_by_cause, energy_by_component: as of `Cost`; zero where a point has none.
        busy_cycles: cycles that the MACs would take at the peak rates of their layers' formats.
    """

    clock_hz: FloatArray
    cycles: IntArray
    layer_cycles: IntArray
    latency_by_cause: Mapping[str, IntArray]
    energy_by_component: Mapping[str, FloatArray]
    busy_cycles: FloatArray


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """Where a machine runs.

    Attributes:
        clock_hz: of the clock that cycles are counted in.
        energy, leakage: factors on the energies and the static power at the nominal supply.
    """

    clock_hz: float
    energy: float = 1.0
    leakage: float = 1.0


class Anywhere(Protocol):
    """A network on a machine, ready to be costed at operating points."""

    def costs(self, points: Sequence[OperatingPoint]) -> CostTable:
        """What it costs there; a point's figures do not hang on the others."""
        ...


@runtime_checkable
class Tunable(Protocol):
    """A machine of which some settings change prices but not what there is to choose from."""

    @property
    def settings(self) -> Mapping[str, object]:
        """Values in force of these settings, by dotted path in the spec."""
        ...

    @property
    def untuned(self) -> object:
        """Equal for machines that differ in these settings only."""
        ...

    def operating_point(self, settings: Mapping[str, object]) -> OperatingPoint:
        """Where the machine would run with these values of its settings.

        Raises:
            OptionError: they do not go together.
        """
        ...

    def anywhere(
        self, network: Network, plan: PrecisionPlan, objective: Objective
    ) -> Anywhere | None:
        """A network, mapped for every operating point; None where each needs its own mapping.

        Raises:
            MappingError: a layer does not fit.
        """
        ...
