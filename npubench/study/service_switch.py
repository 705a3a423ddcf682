"""What it takes an NPU to go from one mode to another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from npubench.machines.hosting import Member
from npubench.machines.protocol import Switching
from npubench.serving import to_ps
from npubench.specs.modes import SchedulerSpec
from npubench.study.service_accuracy import Executed, same_plan

__all__ = ["Switches", "switch_costs"]


@dataclass(frozen=True, slots=True)
class Switches:
    """Cost of going from the mode of the row to the mode of the column; empty when it is free."""

    times_ps: tuple[tuple[int, ...], ...] = ()
    energies_j: tuple[tuple[float, ...], ...] = ()


def switch_costs(
    members: Sequence[Member],
    networks: Sequence[str],
    executed: Mapping[tuple[str, str, str], Executed],
    scheduler: SchedulerSpec | None,
) -> tuple[Mapping[str, Switches], tuple[str, ...]]:
    """Costs by NPU, and where they are from.

    The family counts them where it can (`Switching`), for the network it takes longest with; else
    the scheduler block of the spec says; else they are free, which is said.

    Args:
        members: the NPUs.
        networks: names.
        executed: what runs, by (network, NPU, mode).
        scheduler: of the spec, if it has one.
    """
    found: dict[str, Switches] = {}
    notes: list[str] = []
    for member in members:
        count = len(member.modes)
        if count == 1:
            found[member.name] = Switches()
            continue
        if isinstance(member.modes[0].machine, Switching):
            pairs = [
                [_counted(member, before, after, networks, executed) for after in range(count)]
                for before in range(count)
            ]
            if any(cost != (0.0, 0.0) for row in pairs for cost in row):
                origin = "counted for the network that takes longest"
                times = [[seconds for seconds, _ in row] for row in pairs]
                energies = [[joules for _, joules in row] for row in pairs]
            else:
                origin, times, energies = "free", [], []
        elif scheduler is not None and scheduler.switch_time is not None:
            origin = f"{scheduler.switch_time} each, as the spec's scheduler states"
            joules = 0.0 if scheduler.switch_energy is None else scheduler.switch_energy.value
            free = not (joules or scheduler.switch_time.value)
            # Serving takes no matrix for free, and is quicker then.
            times = [] if free else _between(scheduler.switch_time.value, count)
            energies = [] if free else _between(joules, count)
        else:
            origin, times, energies = "taken to be free: the spec states nothing", [], []
        found[member.name] = Switches(
            tuple(tuple(map(to_ps, row)) for row in times), tuple(map(tuple, energies))
        )
        notes.append(f"mode switches of {member.name}: {origin}")
    keepers = [
        member.name
        for member in members
        if isinstance(member.modes[0].machine, Switching) and member.modes[0].machine.keeps_weights
    ]
    if len(networks) > 1 and keepers:
        notes.append(
            f"{', '.join(keepers)}: each network has its weights on chip as if no other ran; where "
            "networks take turns, times are too short by what fetching weights takes"
        )
    return found, tuple(notes)


def _between(cost: float, count: int) -> list[list[float]]:
    return [[0.0 if a == b else cost for b in range(count)] for a in range(count)]


def _counted(
    member: Member,
    before: int,
    after: int,
    networks: Sequence[str],
    executed: Mapping[tuple[str, str, str], Executed],
) -> tuple[float, float]:
    """Seconds and joules of one switch, the longest over the networks."""
    first, second = member.modes[before], member.modes[after]
    if before == after or not isinstance(first.machine, Switching):
        return 0.0, 0.0
    costs = [(0.0, 0.0)]
    for network in networks:
        old = executed.get((network, member.name, first.name))
        new = executed.get((network, member.name, second.name))
        if old is not None and new is not None and not same_plan(old, new):
            costs.append(first.machine.mode_switch(old.network, old.plan, new.plan))
    return max(costs)
