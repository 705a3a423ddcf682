"""What serving knows of the machines: how long, how much energy and what accuracy, per network."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import Final

from npubench.errors import InputError, Problem, did_you_mean

__all__ = ["PS_PER_S", "Npu", "Service", "ServiceTable", "to_ps"]

PS_PER_S: Final = 10**12


def to_ps(seconds: float) -> int:
    """Seconds to whole picoseconds, the time unit of the simulation; ties to even."""
    return round(seconds * PS_PER_S)


@dataclass(frozen=True, slots=True)
class Npu:
    """One NPU of a system.

    Attributes:
        name: unique in the system.
        modes: what it can run in; the first is the base mode.
        switch_ps: picoseconds to go from the mode of the row to the mode of the column; empty
            when switching is free.
        switch_energy_j: joules of the same.
        preemption_ps: picoseconds to set a request aside and later resume it, charged once per
            preemption, when the request is set aside.
        static_w: watts that flow whether it works or not and that no service's energy contains.
    """

    name: str
    modes: tuple[str, ...]
    switch_ps: tuple[tuple[int, ...], ...] = ()
    switch_energy_j: tuple[tuple[float, ...], ...] = ()
    preemption_ps: int = 0
    static_w: float = 0.0


@dataclass(frozen=True, slots=True)
class Service:
    """One network on one NPU in one mode.

    Attributes:
        network, npu, mode: which.
        time_ps: picoseconds of a batch of 1, 2, ... requests. Several NPUs at work do not slow
            each other down: contention for shared memory belongs into this figure.
        energy_j: joules of the same batches; empty where the spec states no energy.
        accuracy_drop: points of accuracy below the network's own base (negative for a gain); 0
            for the base itself, measured or not; None where nobody measured it.
        boundaries_ps: ends of the layers of a batch of one, rising, the last one ``time_ps[0]``:
            where a request can be preempted or change its mode. Empty: nowhere.
    """

    network: str
    npu: str
    mode: str
    time_ps: tuple[int, ...]
    energy_j: tuple[float, ...] = ()
    accuracy_drop: float | None = None
    boundaries_ps: tuple[int, ...] = ()


@dataclass(frozen=True)
class ServiceTable:
    """Every network on every NPU in every mode: all that the simulation reads.

    Attributes:
        system: name of the system, for results.
        npus: the machines.
        services: at most one per (network, NPU, mode); an NPU need not run every network.
        base_accuracy: percent, by network; None or missing where unknown.

    Raises:
        InputError: NPUs or services that contradict themselves or each other; all of them at once.
    """

    system: str
    npus: tuple[Npu, ...]
    services: tuple[Service, ...]
    base_accuracy: Mapping[str, float | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        wrong = [*_npu_mistakes(self.npus), *_service_mistakes(self.npus, self.services)]
        if wrong:
            raise InputError(*(f"service table of {self.system}: {text}" for text in wrong))

    @cached_property
    def networks(self) -> tuple[str, ...]:
        """Names of the networks, in the order of first mention."""
        return tuple(dict.fromkeys(service.network for service in self.services))

    @cached_property
    def by_key(self) -> Mapping[tuple[str, str, str], Service]:
        """Services by (network, NPU, mode)."""
        return MappingProxyType({(s.network, s.npu, s.mode): s for s in self.services})

    def find(self, network: str) -> tuple[Service, ...]:
        """Services of one network, NPU by NPU and mode by mode.

        Raises:
            InputError: no NPU runs a network of this name.
        """
        found = tuple(
            self.by_key[network, npu.name, mode]
            for npu in self.npus
            for mode in npu.modes
            if (network, npu.name, mode) in self.by_key
        )
        if not found:
            hint = did_you_mean(network, self.networks)
            raise InputError(Problem(f"{self.system} has no network '{network}'", hint=hint))
        return found


def _npu_mistakes(npus: Iterable[Npu]) -> Iterable[str]:
    seen: set[str] = set()
    count = 0
    for npu in npus:
        count += 1
        if npu.name in seen:
            yield f"two NPUs are called '{npu.name}'"
        seen.add(npu.name)
        if not npu.modes or len(set(npu.modes)) != len(npu.modes):
            yield f"NPU {npu.name}: needs at least one mode, each named once"
        side = len(npu.modes)
        for what, matrix in (("switch_ps", npu.switch_ps), ("energy", npu.switch_energy_j)):
            if matrix and [len(row) for row in matrix] != [side] * side:
                yield f"NPU {npu.name}: {what} of switching needs {side} rows of {side} values"
            if any(not 0 <= value < math.inf for row in matrix for value in row):
                yield f"NPU {npu.name}: {what} of switching is at least 0"
        if npu.preemption_ps < 0 or not 0 <= npu.static_w < math.inf:
            yield f"NPU {npu.name}: cost of preemption and static power are at least 0"
    if not count:
        yield "needs at least one NPU"


def _service_mistakes(npus: Iterable[Npu], services: Iterable[Service]) -> Iterable[str]:
    modes = {npu.name: npu.modes for npu in npus}
    seen: set[tuple[str, str, str]] = set()
    for service in services:
        key = (service.network, service.npu, service.mode)
        name = " ".join(key)
        if key in seen:
            yield f"{name}: given twice"
        seen.add(key)
        if service.mode not in modes.get(service.npu, ()):
            yield f"{name}: no such NPU or mode"
        if not service.time_ps or min(service.time_ps) < 1:
            yield f"{name}: a service takes at least 1 ps"
        if service.energy_j and len(service.energy_j) != len(service.time_ps):
            yield f"{name}: one energy per batch size, or none"
        if any(not 0 <= joules < math.inf for joules in service.energy_j):
            yield f"{name}: energy is finite and at least 0"
        ends = service.boundaries_ps
        rising = all(a <= b for a, b in itertools.pairwise((0, *ends)))
        if ends and not (rising and service.time_ps and ends[-1] == service.time_ps[0]):
            yield f"{name}: layer ends must rise to the service time"
    if not seen:
        yield "needs at least one service"
