"""A service table, a scenario and a policy joined: indices and integers for the event loop."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from npubench.errors import InputError, Problem, did_you_mean
from npubench.serving.policy import Policy
from npubench.serving.scenario import Scenario, default_slo_s
from npubench.serving.table import PS_PER_S, Npu, Service, ServiceTable, to_ps

__all__ = ["Plant", "build_plant", "nominal_capacity_rps"]

Option = tuple[int, int, int]


@dataclass(frozen=True, eq=False)
class Plant:
    """What the loop reads; networks in the scenario's order, NPUs and modes in the table's.

    Attributes:
        policy: carried out here.
        npus: of the table.
        networks: names.
        services: ``[npu][mode][network]``, None where that NPU does not run it.
        service_ps: same shape, picoseconds of a batch of one, 0 where there is none.
        mode_of: ``[npu][network]``: mode of a request whose policy fixes it; -1: not there.
        options: ``[network]``: (npu, mode, picoseconds) that the placement may choose from.
        slo_ps: bound by network.
        isolated_ps: by network, least base-mode service time over the NPUs.
        priorities: by network.
        shares: of the requests, by network; their sum is 1.
        fast_modes: ``[npu][network]``: modes that the policy may use, base first.
        burst_mode: ``[npu][network]``: the mode of a burst, which the network's quantization type
            decides: of the allowed modes other than base and faster than it the most accurate, of
            equals the fastest; the base mode where there is none.
        capacity_rps: nominal, see `nominal_capacity_rps`.
        notes: what a reader of the result should know.
    """

    policy: Policy
    npus: tuple[Npu, ...]
    networks: tuple[str, ...]
    services: list[list[list[Service | None]]]
    service_ps: list[list[list[int]]]
    mode_of: list[list[int]]
    options: list[list[Option]]
    slo_ps: list[int]
    isolated_ps: list[int]
    priorities: list[float]
    shares: NDArray[np.float64]
    fast_modes: list[list[tuple[int, ...]]]
    burst_mode: list[list[int]]
    capacity_rps: float
    notes: tuple[str, ...]

    @property
    def width(self) -> int:
        """Most modes of any NPU; ``npu * width + mode`` is the code of a place."""
        return max(len(npu.modes) for npu in self.npus)


def nominal_capacity_rps(table: ServiceTable, scenario: Scenario) -> float:
    """Requests a second of the mix when every NPU that runs all of it is always busy.

    Base mode, batch 1: the sum over NPUs of 1 / (mean service time of the mix). Loads are
    fractions of it.
    """
    shares = _shares(scenario)
    total = 0.0
    for npu in table.npus:
        found = [table.by_key.get((n.name, npu.name, npu.modes[0])) for n in scenario.networks]
        times = [service.time_ps[0] for service in found if service is not None]
        if len(times) == len(found):
            total += PS_PER_S / float(shares @ np.array(times))
    if not total:
        raise InputError(f"{table.system}: no NPU runs every network of {scenario.name}")
    return total


def _shares(scenario: Scenario) -> NDArray[np.float64]:
    weights = np.array([network.weight for network in scenario.networks])
    return np.asarray(weights / weights.sum(), dtype=np.float64)


def build_plant(table: ServiceTable, scenario: Scenario, policy: Policy) -> Plant:
    """Join the three.

    Raises:
        InputError: an unknown network, mode or NPU, a network that no NPU may serve, a batch
            larger than the table knows, or preemption without layer ends; all at once.
    """
    _check_names(table, scenario, policy)
    names = tuple(network.name for network in scenario.networks)
    services: list[list[list[Service | None]]] = [
        [[table.by_key.get((name, npu.name, mode)) for name in names] for mode in npu.modes]
        for npu in table.npus
    ]
    wrong: list[Problem | str] = list(_mistakes(table, scenario, policy, services))
    modes = [
        [_admissible(policy, table.npus[i], per_mode, n) for n in range(len(names))]
        for i, per_mode in enumerate(services)
    ]
    mode_of = [
        [_fixed_mode(policy, services[i], npu_modes[n], n) for n in range(len(names))]
        for i, npu_modes in enumerate(modes)
    ]
    options = [_options(table, policy, services, mode_of, name, n) for n, name in enumerate(names)]
    wrong.extend(_unservable(table, policy, services, options, names))
    if wrong:
        raise InputError(*wrong)
    isolated = [min(s.time_ps[0] for s in table.find(n) if _is_base(table, s)) for n in names]
    slo, notes = _bounds(scenario, isolated, services, options, modes)
    return Plant(
        policy,
        table.npus,
        names,
        services,
        [[[s.time_ps[0] if s else 0 for s in row] for row in npu] for npu in services],
        mode_of,
        options,
        slo,
        isolated,
        [network.priority for network in scenario.networks],
        _shares(scenario),
        modes,
        [
            [_burst_mode(services[i], npu_modes[n], n) for n in range(len(names))]
            for i, npu_modes in enumerate(modes)
        ],
        nominal_capacity_rps(table, scenario),
        notes,
    )


def _is_base(table: ServiceTable, service: Service) -> bool:
    return any(service.npu == npu.name and service.mode == npu.modes[0] for npu in table.npus)


def _check_names(table: ServiceTable, scenario: Scenario, policy: Policy) -> None:
    wrong: list[Problem] = []
    for network in scenario.networks:
        try:
            table.find(network.name)
        except InputError as error:
            wrong.extend(error.problems)
    npus = [npu.name for npu in table.npus]
    modes = [mode for npu in table.npus for mode in npu.modes]
    named = [*policy.allowed_modes, *([] if policy.mode is None else [policy.mode])]
    for kind, words, known in (
        ("NPU", policy.assignment.values(), npus),
        ("mode", named, modes),
        ("network", policy.assignment, table.networks),
    ):
        for word in words:
            if word not in known:
                text = f"policy {policy.name}: {table.system} has no {kind} '{word}'"
                wrong.append(Problem(text, hint=did_you_mean(word, known)))
    if wrong:
        raise InputError(*wrong)


def _mistakes(
    table: ServiceTable,
    scenario: Scenario,
    policy: Policy,
    services: list[list[list[Service | None]]],
) -> Iterator[str]:
    used = [s for npu in services for row in npu for s in row if s is not None]
    size = scenario.batching.size if scenario.batching.kind != "none" else 1
    for service in used:
        name = f"{service.network} on {service.npu}, {service.mode}"
        if len(service.time_ps) < size:
            most = len(service.time_ps)
            yield f"{name}: batches of {size} wanted, the table knows at most {most}"
        if policy.preempt and not service.boundaries_ps:
            yield f"{name}: policy {policy.name} preempts between layers, no layer ends are known"
        if policy.switch_at == "layer" and not service.boundaries_ps:
            yield f"{name}: switch_at layer needs layer ends"
    if scenario.batching.kind != "none" and (policy.modes != "fixed" or policy.retimes):
        yield f"policy {policy.name} decides request by request: batching must be none"
    if scenario.batching.kind != "none" and policy.order != "fifo":
        yield f"policy {policy.name}: batches form in arrival order: order must be fifo"
    if policy.modes in ("stimpack", "threshold"):
        for npu in table.npus:
            if len(npu.modes) < 2:
                modes = ", ".join(npu.modes)
                yield f"policy {policy.name} needs two modes on {npu.name}, it has {modes}"
        if policy.placement == "central" and len(table.npus) > 1:
            yield f"policy {policy.name} predicts one NPU's queue: placement must not be central"
    if policy.switch_at == "layer":
        by_place: dict[tuple[str, str], set[int]] = {}
        for service in used:
            key = (service.network, service.npu)
            by_place.setdefault(key, set()).add(len(service.boundaries_ps))
        for (network, place), counts in by_place.items():
            if len(counts) > 1:
                yield f"{network} on {place}: modes differ in their number of layers"


def _admissible(
    policy: Policy, npu: Npu, per_mode: list[list[Service | None]], network: int
) -> tuple[int, ...]:
    """Modes that may serve a network on an NPU, in the NPU's order."""
    found = []
    for mode, row in enumerate(per_mode):
        service = row[network]
        named = not policy.allowed_modes or npu.modes[mode] in policy.allowed_modes
        if service is None or not named:
            continue
        if policy.accuracy_drop is not None:
            drop = service.accuracy_drop
            if drop is None or drop > policy.accuracy_drop:
                continue
        found.append(mode)
    return tuple(found)


def _fixed_mode(
    policy: Policy, per_mode: list[list[Service | None]], modes: tuple[int, ...], network: int
) -> int:
    if not modes:
        return -1
    if policy.mode is not None:
        return next((m for m in modes if (s := per_mode[m][network]) and s.mode == policy.mode), -1)
    if policy.modes == "fixed" and (policy.accuracy_drop is not None or policy.allowed_modes):
        return min(modes, key=lambda mode: _merit(policy, per_mode[mode][network]))
    return modes[0]


def _burst_mode(per_mode: list[list[Service | None]], modes: tuple[int, ...], network: int) -> int:
    """Where a network goes when it leaves the base mode: least drop, unknown last, then time."""

    def rank(mode: int) -> tuple[float, int]:
        service = per_mode[mode][network]
        assert service is not None  # admissible modes have one
        drop = service.accuracy_drop
        return (math.inf if drop is None else drop, service.time_ps[0])

    base = per_mode[0][network]
    fast = [
        mode
        for mode in modes
        if mode
        and (service := per_mode[mode][network]) is not None
        and (base is None or service.time_ps[0] < base.time_ps[0])
    ]
    return min(fast, key=rank, default=0)


def _merit(policy: Policy, service: Service | None) -> float:
    """What placement and choice of mode make small."""
    if service is None:
        return math.inf
    if policy.placement == "least_energy":
        return service.energy_j[0] if service.energy_j else math.inf
    return float(service.time_ps[0])


def _options(
    table: ServiceTable,
    policy: Policy,
    services: list[list[list[Service | None]]],
    mode_of: list[list[int]],
    name: str,
    network: int,
) -> list[Option]:
    """Where a network may go; one place only for the placements that do not look at the queues."""
    found = [
        (npu, modes[network], service.time_ps[0])
        for npu, modes in enumerate(mode_of)
        if modes[network] >= 0 and (service := services[npu][modes[network]][network])
    ]
    if policy.placement == "static":
        npu_name = policy.assignment.get(name)
        return [option for option in found if table.npus[option[0]].name == npu_name]
    if policy.placement in ("fastest", "least_energy") and found:
        return [min(found, key=lambda o: _merit(policy, services[o[0]][o[1]][network]))]
    return found


def _unservable(
    table: ServiceTable,
    policy: Policy,
    services: list[list[list[Service | None]]],
    options: list[list[Option]],
    names: tuple[str, ...],
) -> Iterator[Problem | str]:
    for network, name in enumerate(names):
        here = options[network]
        if policy.placement == "central" and len(here) < len(table.npus):
            lacking = sorted({n.name for n in table.npus} - {table.npus[o[0]].name for o in here})
            text = f"{name}: not served by {', '.join(lacking)}, and a central queue feeds all NPUs"
            yield Problem(text, hint="use a policy that places requests, such as least_response")
        elif not here and policy.placement == "static":
            yield f"{name}: policy {policy.name} assigns it to no NPU that can serve it"
        elif not here:
            drops = ", ".join(
                f"{s.npu} {s.mode} {'unknown' if s.accuracy_drop is None else s.accuracy_drop}"
                for npu in services
                for row in npu
                if (s := row[network]) is not None
            )
            text = f"{name}: no NPU and mode is admissible under policy {policy.name}"
            yield Problem(text, hint=f"accuracy drops in points: {drops}")
        elif policy.placement == "least_energy" and not all(
            s.energy_j for npu, mode, _ in here if (s := services[npu][mode][network])
        ):
            yield f"{name}: policy {policy.name} needs energies, and the table has none for it"


def _bounds(
    scenario: Scenario,
    isolated: list[int],
    services: list[list[list[Service | None]]],
    options: list[list[Option]],
    modes: list[list[tuple[int, ...]]],
) -> tuple[list[int], tuple[str, ...]]:
    """Bound of each network in picoseconds, and what to say of them."""
    bounds, notes = [], []
    for n, network in enumerate(scenario.networks):
        alone_s = isolated[n] / PS_PER_S
        if network.slo_s is not None:
            slo_s = network.slo_s
        elif network.slo_isolated is not None:
            slo_s = network.slo_isolated * alone_s
        else:
            slo_s, origin = default_slo_s(network.name, alone_s)
            notes.append(f"{network.name}: SLO {slo_s * 1e3:.6g} ms ({origin})")
        bounds.append(to_ps(slo_s))
        fastest = min(
            service.time_ps[0]
            for npu, _, _ in options[n]
            for mode in modes[npu][n]
            if (service := services[npu][mode][n]) is not None
        )
        if bounds[-1] < fastest and network.size.distribution == "constant":
            notes.append(
                f"{network.name}: SLO {slo_s * 1e3:.6g} ms is shorter than its fastest service, "
                f"{fastest / PS_PER_S * 1e3:.6g} ms: no request can meet it"
            )
    return bounds, tuple(notes)
