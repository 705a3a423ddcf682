"""What a machine of several NPUs offers beyond `Machine`, and what it asks of its NPUs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from npubench.ir import Network, PrecisionPlan
from npubench.machines.protocol import Machine

__all__ = ["Linked", "Member", "Mode", "System"]


@runtime_checkable
class Linked(Protocol):
    """A machine whose link to the memory outside can be slowed, to share that memory."""

    @property
    def off_chip_bits_per_s(self) -> float:
        """Bits a second over all links to off-chip memory."""
        ...

    def with_off_chip_bits_per_s(self, rate: float) -> Machine[Any]:
        """The same machine with links of so many bits a second in all, at most its own."""
        ...


@dataclass(frozen=True, slots=True)
class Mode:
    """One way to run a machine.

    Attributes:
        name: of the mode; the executed precision where the spec names no modes.
        machine: with the mode's knobs in force.
        precision: asked for in this mode, as ``--precision`` takes it; None for the default.
    """

    name: str
    machine: Machine[Any]
    precision: str | None = None


@dataclass(frozen=True, slots=True)
class Member:
    """One NPU of a system.

    Attributes:
        name: unique in the system.
        spec: name of the NPU's spec.
        modes: the base mode first.
    """

    name: str
    spec: str
    modes: tuple[Mode, ...]


@runtime_checkable
class System(Protocol):
    """A machine of several NPUs that serve one network each at a time."""

    @property
    def members(self) -> tuple[Member, ...]:
        """Each NPU as if it were alone."""
        ...

    @property
    def busy_members(self) -> tuple[Member, ...]:
        """Each NPU as it runs while the others work, slowed where they share a memory."""
        ...

    @property
    def sharing(self) -> str:
        """How the off-chip memory is shared, in words for a caption; empty when it is not."""
        ...

    def host_of(self, network: Network, plan: PrecisionPlan | None) -> tuple[str, str]:
        """NPU and mode for a plan that is asked for: where it is widened least, then the fastest.

        Raises:
            MappingError: no NPU holds it.
        """
        ...

    def hosting(self, npu: str, mode: str) -> Machine[Any]:
        """The system as a machine that runs everything on one NPU in one mode, the others idle."""
        ...
