"""Service tables for `npubench.serving`, from runs of networks on an accelerator."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from npubench.errors import MappingError, OptionError, Problem, did_you_mean
from npubench.machines.hosting import Linked, Member, Mode, System
from npubench.machines.modes import open_modes
from npubench.machines.protocol import OVERLAP, STATIC, Machine
from npubench.serving import Npu, Policy, Service, ServiceTable, named_policy, to_ps
from npubench.specs.catalog import WorkloadEntry, find_workload
from npubench.specs.header import read_header
from npubench.specs.modes import SchedulerSpec
from npubench.study.result import RunResult
from npubench.study.run import RunRequest, choose_plan, run_on
from npubench.study.service_accuracy import Delivered, Executed, compare_accuracy
from npubench.study.service_switch import switch_costs
from npubench.study.session import Session

__all__ = ["ServiceRequest", "Services", "build_services", "default_policy"]

Key = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class ServiceRequest:
    """What to build a service table from.

    Attributes:
        workloads: names or paths; the table calls networks what they are called here.
        hardware: name or path of a spec, with knobs if need be.
        max_batch: largest batch whose time the table knows, at least 1.
        modes: modes to use instead of the spec's: name to precision, the base mode first.
        dims: values of the networks' symbolic dimensions, by network.
        knobs, overrides: of the spec, see `RunRequest`.
        datasets: data set to measure a network's accuracy on, by network. A network that is not
            named is measured where it ships with weights and a data set, else looked up.
        samples, seed: of these measurements.
    """

    workloads: Sequence[str]
    hardware: str
    max_batch: int = 1
    modes: Mapping[str, str] = field(default_factory=dict)
    dims: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    knobs: Mapping[str, str] = field(default_factory=dict)
    overrides: Mapping[str, str] = field(default_factory=dict)
    datasets: Mapping[str, str] = field(default_factory=dict)
    samples: int | None = None
    seed: int = 0


@dataclass(frozen=True)
class Services:
    """A service table and where it is from.

    Attributes:
        table: what the simulation reads.
        policy: the spec's own scheduler; ``fifo`` for one NPU that names none, ``least_response``
            for several.
        notes: what a reader of results should know: what was assumed, what does not run where.
        runs: results of a batch of one, by (network, NPU, mode).
        accuracies: what each mode loses, and where that is from, by the same key.
        executed: network and executed plan, by the same key.
    """

    table: ServiceTable
    policy: Policy
    notes: tuple[str, ...]
    runs: Mapping[Key, RunResult]
    accuracies: Mapping[Key, Delivered]
    executed: Mapping[Key, Executed]


def build_services(
    request: ServiceRequest,
    session: Session | None = None,
    on_run: Callable[[int, int], None] | None = None,
) -> Services:
    """Run every network on every NPU in every mode, and put the times together.

    Energies of the table leave out what flows all the time, which goes to each NPU's ``static_w``.
    NPUs that share a memory run at the share that is left when all of them work.

    Args:
        request: what to run.
        session: shared with other runs.
        on_run: called after each run with how many are done and how many there are.

    Raises:
        InputError: names, files or options, or a network that no NPU runs; all at once.
    """
    session = session or Session()
    if request.max_batch < 1:
        raise OptionError(f"largest batch: expected a whole number from 1, got {request.max_batch}")
    document = session.document(request.hardware, request.knobs, request.overrides)
    machine = session.machine(request.hardware, request.knobs, request.overrides)
    members = _members(machine, request, lambda: open_modes(document))
    bench = _Bench(request, session, on_run, _count(members, request))
    for workload in request.workloads:
        for member in members:
            for mode in member.modes:
                bench.measure(workload, member, mode)
    bench.check()
    scheduler = read_header(document).scheduler
    accuracies = bench.accuracies(members)
    switches, switch_notes = switch_costs(members, bench.networks, bench.executed, scheduler)
    static = {member.name: bench.static_w(member) for member in members}
    services = tuple(
        bench.service(key, static[key[1]], accuracies[key]) for key in bench.keys(members)
    )
    npus = tuple(
        Npu(
            name=member.name,
            modes=tuple(mode.name for mode in member.modes),
            switch_ps=switches[member.name].times_ps,
            switch_energy_j=switches[member.name].energies_j,
            preemption_ps=bench.preemption_ps(member),
            static_w=static[member.name],
        )
        for member in members
    )
    base = {
        workload: next(
            (d.base for key, d in accuracies.items() if key[0] == workload and d.base is not None),
            None,
        )
        for workload in request.workloads
    }
    sharing = machine.sharing if isinstance(machine, System) else ""
    notes = (*((sharing,) if sharing else ()), *switch_notes, *bench.notes(accuracies))
    table = ServiceTable(machine.info.name, npus, services, base)
    policy = default_policy(scheduler, len(npus), request.workloads)
    return Services(table, policy, notes, bench.first_runs, accuracies, bench.executed)


def default_policy(scheduler: SchedulerSpec | None, npus: int, networks: Sequence[str]) -> Policy:
    """The policy that a spec's scheduler names; without one, the plainest for so many NPUs.

    An assignment is cut down to the networks that are there.

    Raises:
        InputError: an unknown policy, settings that contradict each other, or networks that an
            assignment leaves out.
    """
    if scheduler is None:
        return named_policy("fifo" if npus == 1 else "least_response")
    given: dict[str, Any] = {
        "switch_at": scheduler.switch_at,
        "margin": None if scheduler.margin is None else scheduler.margin.value,
        "threshold": scheduler.threshold,
        "accuracy_drop": None if scheduler.accuracy_drop is None else scheduler.accuracy_drop.value,
        "assignment": _assigned(scheduler, networks) if scheduler.assignment else None,
    }
    settings = {name: value for name, value in given.items() if value is not None}
    return named_policy(scheduler.policy, **settings)


def _assigned(scheduler: SchedulerSpec, networks: Sequence[str]) -> dict[str, str]:
    known = scheduler.assignment
    homeless = [network for network in networks if network not in known]
    if homeless:
        raise MappingError(
            *(
                Problem(
                    f"scheduler.assignment: '{network}' is sent to no NPU",
                    hint=did_you_mean(network, known),
                )
                for network in homeless
            )
        )
    return {network: known[network] for network in networks}


def _members(
    machine: Machine[Any], request: ServiceRequest, modes: Callable[[], tuple[Mode, ...]]
) -> tuple[Member, ...]:
    """The NPUs of a machine, slowed by each other where they share a memory."""
    name = machine.info.name
    if not isinstance(machine, System):
        own = tuple(Mode(mode, machine, text) for mode, text in request.modes.items())
        return (Member(name, name, own or modes()),)
    if request.modes:
        raise OptionError(
            Problem(
                f"'{name}' is a system: the modes of its NPUs are those of their specs",
                hint="serve it without --modes and --precision",
            )
        )
    return machine.busy_members


def _count(members: Sequence[Member], request: ServiceRequest) -> int:
    machines = {(id(mode.machine), mode.precision) for m in members for mode in m.modes}
    return len(machines) * len(request.workloads) * request.max_batch


class _Bench:
    """Runs, kept by machine, so that equal NPUs are not run twice."""

    def __init__(
        self,
        request: ServiceRequest,
        session: Session,
        on_run: Callable[[int, int], None] | None,
        total: int,
    ) -> None:
        self._request, self._session = request, session
        self._on_run, self._total, self._done = on_run, total, 0
        self._kept: dict[tuple[str, int, str | None], tuple[RunResult, ...] | MappingError] = {}
        self._runs: dict[Key, tuple[RunResult, ...]] = {}
        self._failed: dict[Key, MappingError] = {}
        self.executed: dict[Key, Executed] = {}
        self.networks = tuple(request.workloads)

    @property
    def first_runs(self) -> Mapping[Key, RunResult]:
        return {key: runs[0] for key, runs in self._runs.items()}

    def measure(self, workload: str, member: Member, mode: Mode) -> None:
        """All batches of one network on one NPU in one mode."""
        key = (workload, member.name, mode.name)
        same = (workload, id(mode.machine), mode.precision)
        if same not in self._kept:
            try:
                self._kept[same] = tuple(
                    self._run(workload, mode, batch)
                    for batch in range(1, self._request.max_batch + 1)
                )
            except MappingError as error:
                self._kept[same] = error
        found = self._kept[same]
        if isinstance(found, MappingError):
            self._failed[key] = found
            return
        self._runs[key] = found
        loaded = self._session.network(workload, self._dims(workload))
        wanted = choose_plan(mode.precision, loaded)
        plan = mode.machine.legalise(loaded.network, wanted).executed
        self.executed[key] = Executed(loaded.network, plan, found[0].accuracy)

    def _run(self, workload: str, mode: Mode, batch: int) -> RunResult:
        dataset = self._dataset(workload) if batch == 1 else None
        request = RunRequest(
            workload=workload,
            hardware=self._request.hardware,
            dims=self._dims(workload),
            batch=batch,
            precision=mode.precision,
            seed=self._request.seed,
            dataset=dataset,
            samples=None if dataset is None else self._request.samples,
        )
        result = run_on(mode.machine, request, self._session)
        self._done += 1
        if self._on_run is not None:
            self._on_run(self._done, self._total)
        return result

    def _dims(self, workload: str) -> Mapping[str, int]:
        return self._request.dims.get(workload, {})

    def _dataset(self, workload: str) -> str | None:
        """The data set asked for, else the one that ships with a network and its weights."""
        if workload in self._request.datasets:
            return self._request.datasets[workload]
        entry = find_workload(workload)
        if isinstance(entry, WorkloadEntry) and entry.accuracy is not None:
            return entry.accuracy.dataset
        return None

    def check(self) -> None:
        """Refuse networks that run nowhere, with every NPU's reason."""
        problems: list[Problem] = []
        for workload in self.networks:
            if not any(key[0] == workload for key in self._runs):
                for key, error in self._failed.items():
                    problems += error.problems if key[0] == workload else ()
        if problems:
            raise MappingError(*dict.fromkeys(problems))

    def keys(self, members: Sequence[Member]) -> list[Key]:
        """What runs: network by network, NPU by NPU, mode by mode."""
        return [
            key
            for workload in self.networks
            for member in members
            for mode in member.modes
            if (key := (workload, member.name, mode.name)) in self._runs
        ]

    def accuracies(self, members: Sequence[Member]) -> dict[Key, Delivered]:
        """What each mode loses against the network's base: the base mode of the first NPU."""
        found: dict[Key, Delivered] = {}
        for key in self.keys(members):
            base = self.executed.get((key[0], members[0].name, members[0].modes[0].name))
            found[key] = (
                Delivered(None, None)
                if base is None
                else compare_accuracy(base, self.executed[key])
            )
        return found

    def static_w(self, member: Member) -> float:
        """Watts that flow all the time: the least that any run of an NPU was charged with."""
        runs = [run for key, kept in self._runs.items() if key[1] == member.name for run in kept]
        return max(0.0, min((_static_w(run) for run in runs), default=0.0))

    def service(self, key: Key, static_w: float, delivered: Delivered) -> Service:
        """Times, energies without ``static_w``, and layer ends."""
        runs = self._runs[key]
        return Service(
            network=key[0],
            npu=key[1],
            mode=key[2],
            time_ps=tuple(to_ps(run.totals.latency_s) for run in runs),
            energy_j=tuple(
                # The difference of two sums may come out a rounding below nothing.
                max(0.0, run.totals.energy_j * run.options.batch - static_w * run.totals.latency_s)
                for run in runs
            ),
            accuracy_drop=delivered.drop,
            boundaries_ps=_layer_ends(runs[0]),
        )

    def preemption_ps(self, member: Member) -> int:
        """Writing the largest set of live activations out of the chip and reading it back."""
        machine = member.modes[0].machine
        if not isinstance(machine, Linked):
            return 0
        live = [
            run.workload.peak_activation_bytes
            for key, kept in self._runs.items()
            if key[1] == member.name
            for run in kept[:1]
        ]
        return to_ps(2 * 8 * max(live, default=0) / machine.off_chip_bits_per_s)

    def notes(self, accuracies: Mapping[Key, Delivered]) -> tuple[str, ...]:
        """What does not run, whose accuracy is unknown, and where figures are from."""
        lines = [
            f"{workload} does not run on {npu} in mode {mode}: {error.problems[0].message}"
            for (workload, npu, mode), error in self._failed.items()
        ]
        if self._request.modes:
            asked = {key: run.precision_summary for key, run in self.first_runs.items()}
            lines += [
                f"{workload} at {mode} is executed at {executed}"
                for (workload, _, mode), (wanted, executed) in asked.items()
                if wanted != executed
            ]
        unknown = [" ".join(key) for key, found in accuracies.items() if found.drop is None]
        if unknown:
            lines.append(f"accuracy drop unknown: {', '.join(unknown)}")
        origins: dict[str, list[str]] = {}
        for (workload, _, mode), found in accuracies.items():
            if found.drop is not None and found.origin:
                origins.setdefault(found.origin, []).append(f"{workload} {mode}")
        lines += [
            f"accuracy of {', '.join(dict.fromkeys(who))}: {origin}"
            for origin, who in origins.items()
        ]
        return tuple(lines)


def _static_w(run: RunResult) -> float:
    parts = run.totals.energy_by_component
    # Layers that run at the same time share what flows all the time: `Cost.overlap_energy_j`.
    joules = parts.get(STATIC, 0.0) + (parts.get(OVERLAP, 0.0) if STATIC in parts else 0.0)
    return joules * run.options.batch / run.totals.latency_s


def _layer_ends(run: RunResult) -> tuple[int, ...]:
    """Ends of the layers in picoseconds; time saved by overlap is taken from all in proportion."""
    total = to_ps(run.totals.latency_s)
    reached = list(itertools.accumulate(layer.cycles for layer in run.layers))
    whole = reached[-1]
    # Integers throughout, so that the last end is the service time itself.
    return tuple(ends * total // whole for ends in reached)
