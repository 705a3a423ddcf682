"""Systems side by side under one scenario: the same requests, the same bounds, in seconds.

The first system is the reference. Its nominal capacity turns a load into a rate, and its isolated
latencies turn multiples into bounds, once for all: every system and policy is offered the same
requests at the same instants and owes them the same answers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Protocol

from npubench.serving import (
    LoadResult,
    Policy,
    Scenario,
    ServeResult,
    ServiceTable,
    find_load,
    load_scenario,
    simulate,
)
from npubench.serving.plant import Plant, build_plant
from npubench.serving.policy_text import parse_policy
from npubench.serving.table import PS_PER_S
from npubench.study.result import Stamp
from npubench.study.run import make_stamp
from npubench.study.serve_request import (
    Load,
    ServeRequest,
    adjust,
    dims_of,
    modes_of,
    parse_loads,
    policies_of,
)
from npubench.study.service import ServiceRequest, build_services
from npubench.study.session import Session

__all__ = [
    "Opened",
    "Opener",
    "Prepared",
    "Served",
    "Serving",
    "System",
    "finish",
    "open_system",
    "prepare",
    "serve",
]

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Opened:
    """A system ready to be served: its service times, its own policy, and what to know of it."""

    table: ServiceTable
    policy: Policy
    notes: tuple[str, ...] = ()


class Opener(Protocol):
    """Makes the service table of a system."""

    def __call__(
        self, hardware: str, scenario: Scenario, request: ServeRequest, session: Session
    ) -> Opened:
        """The system of ``hardware`` for the networks and batches of a scenario."""
        ...


def open_system(
    hardware: str, scenario: Scenario, request: ServeRequest, session: Session
) -> Opened:
    """Run every network of a scenario on every NPU and in every mode of a spec."""
    names = tuple(network.name for network in scenario.networks)
    dims = dims_of(request, names)
    services = build_services(
        ServiceRequest(
            workloads=names,
            dims=dims,
            hardware=hardware,
            max_batch=scenario.batching.size if scenario.batching.kind != "none" else 1,
            modes=modes_of(request).get(hardware, {}),
            knobs=request.knobs,
            overrides=request.overrides,
            datasets={name: d for name, d in request.datasets.items() if name in names},
            samples=request.samples,
            seed=scenario.seed,
        ),
        session,
    )
    sizes = tuple(
        f"{name}: {', '.join(f'{dim}={n}' for dim, n in own.items())}"
        for name, own in dims.items()
        if own
    )
    return Opened(services.table, services.policy, (*sizes, *services.notes))


@dataclass(frozen=True, slots=True)
class System:
    """A system as it is served.

    Attributes:
        name: as given on the command line.
        table: its service times; called ``name``.
        policies: it is served under, one after another.
        notes: what to know of its figures.
    """

    name: str
    table: ServiceTable
    policies: tuple[Policy, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Prepared:
    """Everything known before the first request.

    Attributes:
        scenario: bounds in seconds; rate or load as the scenario has it.
        systems: the reference first.
        rates_rps: points of the load axis; (None,) for closed loops, offline and traces as
            recorded.
        capacity_rps: nominal, of the reference.
        bounds: where each bound is from, in words.
        find_load, keep_records: as asked.
    """

    scenario: Scenario
    systems: tuple[System, ...]
    rates_rps: tuple[float | None, ...]
    capacity_rps: float
    bounds: tuple[str, ...]
    find_load: bool
    keep_records: bool

    @property
    def steps(self) -> int:
        """Results that `serve` gives."""
        runs = sum(len(system.policies) for system in self.systems)
        return runs * (1 if self.find_load else len(self.rates_rps))


@dataclass(frozen=True, slots=True)
class Served:
    """One system under one policy at one load.

    Attributes:
        system: it.
        policy: in force.
        result: the statistics; at the load that was found, when one was searched; None when no
            load meets the bounds.
        found: the search; None without one.
    """

    system: System
    policy: Policy
    result: ServeResult | None
    found: LoadResult | None = None


@dataclass(frozen=True, slots=True)
class Serving:
    """The answer of `npubench serve`: see `Prepared` for what was asked."""

    prepared: Prepared
    served: tuple[Served, ...]
    stamp: Stamp

    @property
    def results(self) -> tuple[ServeResult, ...]:
        """Every result there is."""
        return tuple(one.result for one in self.served if one.result is not None)


def prepare(
    request: ServeRequest,
    session: Session | None = None,
    open_one: Opener = open_system,
    on_step: Progress = lambda _done, _total: None,
) -> Prepared:
    """Read the scenario, make every service table, and settle bounds and rates.

    Args:
        request: what to serve on what.
        session: shared with other work.
        open_one: makes the service table of a system.
        on_step: called with systems opened and systems in all.

    Raises:
        InputError: options, files, names, or policies that a system cannot follow.
    """
    session = session or Session()
    policies = {
        name: tuple(parse_policy(text) for text in texts)
        for name, texts in policies_of(request).items()
    }
    modes_of(request)
    loads = parse_loads(request.loads)
    scenario = adjust(load_scenario(request.scenario), request)
    systems = []
    for done, (name, own) in enumerate(policies.items(), start=1):
        opened = open_one(name, scenario, request, session)
        table = replace(opened.table, system=name)
        systems.append(System(name, table, own or (opened.policy,), opened.notes))
        on_step(done, len(policies))
    reference = build_plant(systems[0].table, scenario, systems[0].policies[0])
    settled = _settle(scenario, reference, loads)
    for system in systems:
        for policy in system.policies:
            build_plant(system.table, settled, policy)  # refuse misfits before any time is spent
    return Prepared(
        settled,
        tuple(systems),
        _rates(settled, reference.capacity_rps, loads),
        reference.capacity_rps,
        _bounds(scenario, reference),
        request.find_load,
        request.keep_records,
    )


def _settle(scenario: Scenario, reference: Plant, loads: tuple[Load, ...]) -> Scenario:
    """Bounds in seconds and a rate, as the reference system has them."""
    networks = tuple(
        replace(network, slo_s=slo_ps / PS_PER_S, slo_isolated=None)
        for network, slo_ps in zip(scenario.networks, reference.slo_ps, strict=True)
    )
    settled = replace(scenario, networks=networks)
    if loads:  # a scenario without rates refuses one
        return settled.at_rate(_rates(scenario, reference.capacity_rps, loads)[0] or 1.0)
    if scenario.load is not None:
        return settled.at_rate(scenario.load * reference.capacity_rps)
    return settled


def _rates(
    scenario: Scenario, capacity_rps: float, loads: tuple[Load, ...]
) -> tuple[float | None, ...]:
    if not loads:
        return (scenario.rate_rps,)
    return tuple(
        load.rate_rps if load.share is None else load.share * capacity_rps for load in loads
    )


def _bounds(scenario: Scenario, reference: Plant) -> tuple[str, ...]:
    """The bound of each network in words, with its origin."""
    said = {note.split(":", 1)[0]: note for note in reference.notes if "(" in note}
    found = []
    for network, slo_ps in zip(scenario.networks, reference.slo_ps, strict=True):
        text = f"{network.name}: SLO {slo_ps / PS_PER_S * 1e3:.6g} ms"
        if network.slo_isolated is not None:
            text += f" ({network.slo_isolated:g} x isolated latency)"
        elif network.slo_s is None:
            text = said.get(network.name, text)
        found.append(text)
    return tuple(found)


def serve(prepared: Prepared, on_step: Progress = lambda _done, _total: None) -> Iterator[Served]:
    """Serve system by system, policy by policy, load by load; each as soon as it is finished.

    Args:
        prepared: what to serve.
        on_step: called with results finished and results in all.
    """
    done = 0
    for system in prepared.systems:
        for policy in system.policies:
            for served in _runs(prepared, system, policy):
                done += 1
                on_step(done, prepared.steps)
                yield served


def _runs(prepared: Prepared, system: System, policy: Policy) -> Iterator[Served]:
    scenario, kept = prepared.scenario, prepared.keep_records
    if prepared.find_load:
        found = find_load(system.table, scenario, policy)
        rate = found.rate_rps.value
        result = None
        if rate is not None:
            result = simulate(system.table, scenario.at_rate(rate), policy, keep_records=kept)
        yield Served(system, policy, result, found)
        return
    for rate in prepared.rates_rps:
        point = scenario if rate is None else scenario.at_rate(rate)
        yield Served(system, policy, simulate(system.table, point, policy, keep_records=kept))


def finish(prepared: Prepared, served: tuple[Served, ...]) -> Serving:
    """The answer of what is finished."""
    return Serving(prepared, served, make_stamp(prepared.scenario.seed))
