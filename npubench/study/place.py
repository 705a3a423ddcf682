"""Which NPU of a system a network runs on: the one its scheduler would choose."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from npubench.machines.hosting import System
from npubench.machines.protocol import Machine
from npubench.serving import Length, NetworkLoad, Policy, Scenario, Service, simulate
from npubench.study.result import Placement, PlacementOption
from npubench.study.run import RunRequest, choose_plan
from npubench.study.service import ServiceRequest, Services, build_services
from npubench.study.session import Session

__all__ = ["Place", "find_place"]


@dataclass(frozen=True, slots=True)
class Place:
    """A host within a system.

    Attributes:
        machine: the system, running everything on the host.
        precision: asked for there; None for the host's default.
        placement: for the result.
    """

    machine: Machine[Any]
    precision: str | None
    placement: Placement


def find_place(system: Machine[Any], request: RunRequest, session: Session) -> Place:
    """Where a request's network runs.

    A precision that the user or the model states goes to the NPU that widens it least. Otherwise
    the scheduler of the spec decides, as it does under load, for one request to idle NPUs:
    `npubench.serving` runs it on the system's service table.

    Raises:
        InputError: a network that no NPU runs, or a scheduler that has no place for it.
    """
    assert isinstance(system, System)  # callers ask for a place in systems only
    loaded = session.network(request.workload, request.dims)
    plan = choose_plan(request.precision, loaded)
    if plan is not None:
        npu, mode = system.host_of(loaded.network.with_batch(request.batch), plan)
        chosen = Placement(npu, _spec_of(system, npu), mode)
        return Place(system.hosting(npu, mode), request.precision, chosen)
    services = build_services(_table_request(request), session)
    policy = services.policy
    alone = Scenario(
        "one request",
        (NetworkLoad(request.workload, slo_isolated=10),),
        kind="single_stream",
        length=Length(1),
        warmup=0.0,
    )
    records = simulate(services.table, alone, policy, keep_records=True).records
    assert records is not None  # they were asked for
    member = system.members[int(records["npu"][0])]
    host = member.modes[int(records["mode"][0])]
    chosen = Placement(
        npu=member.name,
        spec=member.spec,
        mode=host.name,
        policy=policy.name,
        most_drop=policy.accuracy_drop,
        options=tuple(_option(service, services) for service in services.table.services),
    )
    return Place(system.hosting(member.name, host.name), host.precision, chosen)


def _table_request(request: RunRequest) -> ServiceRequest:
    dataset = {} if request.dataset is None else {request.workload: request.dataset}
    return ServiceRequest(
        workloads=(request.workload,),
        hardware=request.hardware,
        dims={request.workload: request.dims},
        knobs=request.knobs,
        overrides=request.overrides,
        datasets=dataset,
        samples=request.samples,
        seed=request.seed,
    )


def _spec_of(system: System, npu: str) -> str:
    return next(member.spec for member in system.members if member.name == npu)


def _option(service: Service, services: Services) -> PlacementOption:
    key = (service.network, service.npu, service.mode)
    return PlacementOption(
        npu=service.npu,
        mode=service.mode,
        precision=services.runs[key].precision_summary[1],
        latency_s=services.runs[key].totals.latency_s,
        energy_j=service.energy_j[0] if service.energy_j else None,
        accuracy_drop=service.accuracy_drop,
        admissible=_admissible(services.policy, service),
    )


def _admissible(policy: Policy, service: Service) -> bool:
    """Whether the policy may use a place at all; see `Policy`."""
    if policy.allowed_modes and service.mode not in policy.allowed_modes:
        return False
    if policy.assignment and policy.assignment.get(service.network) != service.npu:
        return False
    if policy.accuracy_drop is None:
        return True
    drop = service.accuracy_drop
    return drop is not None and drop <= policy.accuracy_drop
