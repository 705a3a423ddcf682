"""Which mix of NPU widths to put on a given area: every mix, its merits, and the front."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from npubench.errors import InputError, MappingError, OptionError
from npubench.serving import (
    Length,
    NetworkLoad,
    Npu,
    Scenario,
    ServeResult,
    Service,
    ServiceTable,
    named_policy,
    simulate,
)
from npubench.serving.table import PS_PER_S
from npubench.study.equal_area import NpuDesign, design_npu
from npubench.study.run import make_stamp
from npubench.study.serialise import DESIGN
from npubench.study.service import ServiceRequest, Services, build_services
from npubench.study.service_accuracy import compare_accuracy
from npubench.study.session import Session

__all__ = ["DesignRequest", "Mix", "SystemDesign", "design_system", "design_to_json", "mark_front"]

MOST_MIXES = 2000


@dataclass(frozen=True, slots=True)
class DesignRequest:
    """What to design a system for.

    Attributes:
        workloads: networks, equally often.
        area_mm2: of all NPUs together.
        widths: operand bits an NPU may have; the widest is the base that accuracy counts from.
        npus: how many NPUs share the area equally; None for as many as the template of the
            widest fits in at its own size.
        template: spec of an NPU by its width, ``{bits}`` standing for it.
        accuracy_drop: most points a request may lose.
        policy: that places requests; see `npubench.serving.POLICIES`.
        load: offered rate over the capacity of the homogeneous design; the same rate for all.
        requests: simulated for each mix.
        dram_bits_per_s: memory that all share, max-min fair with all busy; None: each has its own.
        seed: of arrivals.
    """

    workloads: Sequence[str]
    area_mm2: float
    widths: Sequence[int] = (4, 5, 6, 7, 8)
    npus: int | None = None
    template: str = "edge{bits}"
    accuracy_drop: float = 0.5
    policy: str = "hda_q"
    load: float = 0.7
    requests: int = 20_000
    dram_bits_per_s: float | None = None
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Mix:
    """One choice of widths.

    Attributes:
        widths: of its NPUs, widest first.
        response_s, p99_s: mean and 99th percentile of the response time; None where it cannot
            serve or has no steady state.
        energy_j: per request, what flows all the time included.
        accuracy_drop: mean points lost against the base; None where one is unknown.
        narrow_share: share of the requests served below the widest width.
        on_front: whether no other mix is at least as good in energy, mean response time and
            accuracy, and better in one.
        problem: why it has no figures; empty where it has.
    """

    widths: tuple[int, ...]
    response_s: float | None = None
    p99_s: float | None = None
    energy_j: float | None = None
    accuracy_drop: float | None = None
    narrow_share: float | None = None
    on_front: bool = False
    problem: str = ""

    @property
    def name(self) -> str:
        """``2 x 8 + 1 x 4`` bits."""
        return " + ".join(f"{count} x {bits}" for bits, count in Counter(self.widths).items())


@dataclass(frozen=True, slots=True)
class SystemDesign:
    """The answer.

    Attributes:
        request: what was asked, with the number of NPUs filled in.
        designs: an NPU of each width at its share of the area, widest first.
        mixes: all of them; the homogeneous design of the widest first.
        rate_rps: offered to each.
        services: times and energies of each network on each width.
        notes: what a reader should know.
    """

    request: DesignRequest
    designs: tuple[NpuDesign, ...]
    mixes: tuple[Mix, ...]
    rate_rps: float
    services: tuple[Service, ...]
    notes: tuple[str, ...]

    @property
    def baseline(self) -> Mix:
        """The homogeneous design that the others are held against."""
        return self.mixes[0]


def design_system(
    request: DesignRequest,
    session: Session | None = None,
    on_mix: Callable[[int, int], None] | None = None,
) -> SystemDesign:
    """Size an NPU for every width, run every network on it, and simulate every mix.

    Each of n NPUs takes an n-th of the area; its buffers are those of the template, and what is
    left goes to PEs, more of them the narrower they are (HDA-Q's rule of equal area).

    Args:
        request: what to design for.
        session: shared with other runs.
        on_mix: called after each mix with how many are done and how many there are.

    Raises:
        InputError: options out of range, widths without a template, an area too small; and
            networks that the widest NPU cannot run.
    """
    _check(request)
    session = session or Session()
    widths = tuple(sorted(set(request.widths), reverse=True))
    count = request.npus or _fitting(request, widths[0], session)
    request = replace(request, npus=count, widths=widths)
    possible = math.comb(len(widths) + count - 1, count)
    if possible > MOST_MIXES:
        raise OptionError(
            f"{len(widths)} widths on {count} NPUs make {possible:,} mixes, more than "
            f"{MOST_MIXES:,}: ask for fewer NPUs or widths"
        )
    link = None if request.dram_bits_per_s is None else request.dram_bits_per_s / count
    designs = tuple(
        design_npu(request.template, bits, request.area_mm2 / count, session, link)
        for bits in widths
    )
    served = {design.bits: _serve(design, request, session) for design in designs}
    services, notes = _by_width(served, widths, request)
    mixes = list(itertools.combinations_with_replacement(widths, count))
    rate = request.load * _capacity_rps(services, widths[0], count, request)
    found = []
    for done, mix in enumerate(mixes, start=1):
        found.append(_evaluate(mix, services, served, rate, request))
        if on_mix is not None:
            on_mix(done, len(mixes))
    return SystemDesign(
        request=request,
        designs=designs,
        mixes=mark_front(found),
        rate_rps=rate,
        services=tuple(service for of_one in services.values() for service in of_one),
        notes=notes,
    )


def design_to_json(design: SystemDesign) -> dict[str, Any]:
    """The JSON object of a design, schema ``npubench.system_design/1``."""
    request = asdict(design.request)
    return {
        "schema": DESIGN,
        "stamp": asdict(make_stamp(design.request.seed)),
        "options": {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in request.items()
        },
        "npus": [asdict(npu) for npu in design.designs],
        "rate_rps": design.rate_rps,
        "baseline": design.baseline.name,
        "mixes": [
            {"name": mix.name, **asdict(mix), "widths": list(mix.widths)} for mix in design.mixes
        ],
        "services": [
            {
                "workload": service.network,
                "npu": service.npu,
                "mode": service.mode,
                "latency_s": service.time_ps[0] / PS_PER_S,
                "energy_j": service.energy_j[0] if service.energy_j else None,
                "accuracy_drop": service.accuracy_drop,
            }
            for service in design.services
        ],
        "notes": list(design.notes),
    }


def _check(request: DesignRequest) -> None:
    problems = []
    if not request.widths:
        problems.append("--widths: name at least one width")
    if not 0 < request.load < 1:
        problems.append(f"--load: expected a share between 0 and 1, got {request.load:g}")
    if request.npus is not None and request.npus < 1:
        problems.append(f"--npus: expected a whole number from 1, got {request.npus}")
    if request.requests < 1:
        problems.append(f"--requests: expected a whole number from 1, got {request.requests}")
    if not request.area_mm2 > 0:
        problems.append(f"--area: expected an area above 0, got {request.area_mm2:g} mm2")
    if "{bits}" not in request.template:
        problems.append(f"--template: '{request.template}' lacks '{{bits}}', the width")
    if problems:
        raise OptionError(*problems)
    named_policy(request.policy)


def _fitting(request: DesignRequest, widest: int, session: Session) -> int:
    name = request.template.format(bits=widest)
    area = session.machine(name, {}, {}).info.area_mm2
    if area is None:
        raise MappingError(f"the area of '{name}' is not known: give --npus")
    count = int(request.area_mm2 / area * (1 + 1e-9))
    if count < 1:
        raise MappingError(f"--area: {request.area_mm2:.4g} mm2 hold no '{name}' of {area:.4g} mm2")
    return count


def _serve(design: NpuDesign, request: DesignRequest, session: Session) -> Services:
    asked = ServiceRequest(
        tuple(request.workloads), design.spec, overrides=design.settings, seed=request.seed
    )
    return build_services(asked, session)


def _by_width(
    served: dict[int, Services], widths: tuple[int, ...], request: DesignRequest
) -> tuple[dict[int, tuple[Service, ...]], tuple[str, ...]]:
    """Services by width, accuracy counted from the widest, and where that is from."""
    first = {key[0]: executed for key, executed in served[widths[0]].executed.items()}
    missing = [workload for workload in request.workloads if workload not in first]
    if missing:
        raise MappingError(f"the widest NPU does not run {', '.join(missing)}")
    found: dict[int, tuple[Service, ...]] = {}
    origins: dict[str, list[str]] = {}
    unknown: dict[str, list[str]] = {}
    for bits in widths:
        rows = []
        for service in served[bits].table.services:
            network = service.network
            other = served[bits].executed[network, service.npu, service.mode]
            delivered = compare_accuracy(first[network], other)
            rows.append(replace(service, accuracy_drop=delivered.drop))
            if delivered.drop is None:
                unknown.setdefault(network, []).append(str(bits))
            elif delivered.origin and bits != widths[0]:
                origins.setdefault(delivered.origin, []).append(network)
        found[bits] = tuple(rows)
    notes = [f"loss of {net} unknown at {', '.join(bits)} bits" for net, bits in unknown.items()]
    notes += [
        f"losses of {', '.join(dict.fromkeys(networks))}: {origin}"
        for origin, networks in origins.items()
    ]
    return found, tuple(notes)


def _table(
    mix: tuple[int, ...], services: dict[int, tuple[Service, ...]], served: dict[int, Services]
) -> ServiceTable:
    npus: list[Npu] = []
    rows: list[Service] = []
    for index, bits in enumerate(mix, start=1):
        (one,) = served[bits].table.npus
        name = f"npu{index}_{bits}bit"
        npus.append(replace(one, name=name))
        rows += (replace(service, npu=name) for service in services[bits])
    return ServiceTable(" + ".join(map(str, mix)), tuple(npus), tuple(rows))


def _capacity_rps(
    services: dict[int, tuple[Service, ...]], widest: int, count: int, request: DesignRequest
) -> float:
    seconds = {service.network: service.time_ps[0] / PS_PER_S for service in services[widest]}
    mean = sum(seconds[workload] for workload in request.workloads) / len(request.workloads)
    return count / mean


def _evaluate(
    mix: tuple[int, ...],
    services: dict[int, tuple[Service, ...]],
    served: dict[int, Services],
    rate: float,
    request: DesignRequest,
) -> Mix:
    table = _table(mix, services, served)
    scenario = Scenario(
        "design",
        tuple(NetworkLoad(workload, slo_isolated=10) for workload in request.workloads),
        rate_rps=rate,
        length=Length(request.requests),
        seed=request.seed,
    )
    policy = named_policy(request.policy)
    if policy.accuracy_drop is not None:
        policy = replace(policy, accuracy_drop=request.accuracy_drop)
    try:
        result = simulate(table, scenario, policy)
    except InputError as error:
        # A mix that has no place for some network is an answer, not a mistake of the user's.
        return Mix(mix, problem=error.problems[0].message)
    if result.saturated:
        return Mix(mix, problem=f"saturated: {result.saturated_because}")
    return _figures(mix, result, max(request.widths))


def _figures(mix: tuple[int, ...], result: ServeResult, widest: int) -> Mix:
    narrow = sum(npu.requests for npu, bits in zip(result.npus, mix, strict=True) if bits < widest)
    return Mix(
        widths=mix,
        response_s=result.latency_s.mean.value,
        p99_s=result.latency_s.p99.value,
        energy_j=result.energy_j_per_request.value,
        accuracy_drop=result.accuracy_drop.value,
        narrow_share=narrow / sum(npu.requests for npu in result.npus),
    )


def mark_front(mixes: Sequence[Mix]) -> tuple[Mix, ...]:
    """The mixes, those marked that no other is at least as good as in everything."""
    merits = {
        mix.widths: (mix.energy_j, mix.response_s, mix.accuracy_drop)
        for mix in mixes
        if mix.energy_j is not None and mix.response_s is not None and mix.accuracy_drop is not None
    }

    def beaten(mine: tuple[float, ...]) -> bool:
        return any(
            all(a <= b for a, b in zip(other, mine, strict=True)) and other != mine
            for other in merits.values()
        )

    return tuple(
        replace(mix, on_front=mix.widths in merits and not beaten(merits[mix.widths]))
        for mix in mixes
    )
