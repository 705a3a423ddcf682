"""One network on one machine: the whole line, from names to a `RunResult`."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from importlib import metadata
from typing import Any

import npubench
from npubench.errors import (
    InputError,
    MappingError,
    ModelError,
    NpubenchError,
    OptionError,
    Problem,
    did_you_mean,
)
from npubench.frontend import LoadedNetwork
from npubench.ir import Network, PrecisionPlan
from npubench.machines.hosting import System
from npubench.machines.protocol import Cost, LayerCost, Legalised, Machine, Objective, evaluate
from npubench.precision.sources import check_precision, find_plan
from npubench.study.accuracy import Measuring, check_measuring, find_accuracy
from npubench.study.coverage import measure_coverage
from npubench.study.result import (
    Accuracy,
    HardwareStamp,
    Options,
    RunResult,
    Stamp,
    Totals,
    WorkloadStamp,
)
from npubench.study.session import Session

__all__ = [
    "RunRequest",
    "check_objective",
    "check_request",
    "choose_plan",
    "make_stamp",
    "run",
    "run_on",
]

_MOST_MACS = 2**54


@dataclass(frozen=True, slots=True)
class RunRequest:
    """What to run.

    Attributes:
        workload: catalog name, alias, or path to an ONNX file.
        hardware: alias or path of a spec, with knobs if need be (``tpuv4i:clock=0.7GHz``).
        dims: values of the network's symbolic dimensions.
        batch: inferences per execution, at least 1.
        precision: ``w8a8``, a format, ``model`` for what the file states, a published setting or a
            plan file, see `npubench.precision.sources`; None takes what the file states, else the
            machine's default.
        knobs: knob settings of the spec, as text with units.
        overrides: values of other fields of the spec by dotted path, applied in order.
        seed: of the choice of samples and of bit errors; recorded.
        dataset: measure the accuracy on it; None takes a published one, if there is any.
        calibration: of that measurement, see `npubench.accuracy.calibrate`.
        samples: how many of the data set's samples; None for all.
        faults: bit errors of the memories while measuring, see `npubench.study.accuracy`.
        objective: what every layer is mapped for: ``latency``, ``energy`` or ``edp``.
    """

    workload: str
    hardware: str
    dims: Mapping[str, int] = field(default_factory=dict)
    batch: int = 1
    precision: str | None = None
    knobs: Mapping[str, str] = field(default_factory=dict)
    overrides: Mapping[str, str] = field(default_factory=dict)
    seed: int = 0
    dataset: str | None = None
    calibration: str | None = None
    samples: int | None = None
    faults: str | None = None
    objective: str = "latency"

    @property
    def measuring(self) -> Measuring | None:
        """How to measure the accuracy; None without a data set."""
        if self.dataset is None:
            return None
        return Measuring(self.dataset, self.calibration, self.samples, self.faults, self.seed)

    @property
    def work(self) -> tuple[object, ...]:
        """What is asked apart from the hardware and its settings; to tell requests apart."""
        return (
            self.workload,
            tuple(sorted(self.dims.items())),
            self.batch,
            self.precision,
            self.objective,
            self.measuring,
        )


def run(
    request: RunRequest,
    session: Session | None = None,
    on_sample: Callable[[int, int], None] | None = None,
) -> RunResult:
    """Lower, legalise, map and cost a network, and put the result together.

    Args:
        request: what to run.
        session: shared between runs that have networks or machines in common.
        on_sample: called with samples measured and samples in all.

    Raises:
        InputError: names, files, options or a network this machine cannot run.
    """
    session = session or Session()
    check_request(request)
    machine = _open_machine(request, session)
    if not isinstance(machine, System):
        return run_on(machine, request, session, on_sample)
    # The simulator that decides needs numpy, which no single NPU does.
    from npubench.study.place import find_place

    place = find_place(machine, request, session)
    result = run_on(place.machine, replace(request, precision=place.precision), session, on_sample)
    return replace(
        result,
        options=replace(result.options, precision=request.precision),
        placement=place.placement,
    )


def _open_machine(request: RunRequest, session: Session) -> Machine[Any]:
    """The machine; where it cannot be had, the error tells what is wrong with the network too."""
    try:
        return session.machine(request.hardware, request.knobs, request.overrides)
    except InputError as of_machine:
        try:
            session.network(request.workload, request.dims)
        except InputError as of_network:
            raise InputError(*of_network.problems, *of_machine.problems) from None
        raise


def run_on(
    machine: Machine[Any],
    request: RunRequest,
    session: Session,
    on_sample: Callable[[int, int], None] | None = None,
) -> RunResult:
    """`run` on a machine that is built already; the request's hardware is not looked at."""
    loaded = session.network(request.workload, request.dims)
    plan = choose_plan(request.precision, loaded)
    batched = loaded.network.with_batch(request.batch)
    _check_size(batched)
    legalised = machine.legalise(batched, plan)
    cost = evaluate(machine, batched, legalised.executed, Objective(request.objective))
    _check_cost(batched, cost, machine)
    accuracy = find_accuracy(
        request.workload,
        request.dims,
        loaded,
        legalised,
        request.measuring,
        session,
        machine.info.knobs,
        on_sample,
    )
    return _assemble(request, loaded.network, machine, legalised, cost, accuracy)


def check_request(request: RunRequest) -> None:
    """Refuse what is wrong whatever the network and the machine.

    Raises:
        OptionError: a batch below 1, a precision that does not parse, or an unknown objective.
    """
    if request.batch < 1:
        raise OptionError(f"--batch: expected a whole number from 1, got {request.batch}")
    if request.precision is not None:
        check_precision(request.precision)
    check_objective(request.objective)
    check_measuring(request.dataset, request.calibration, request.samples, request.faults)


def check_objective(text: str, option: str = "--objective") -> Objective:
    """The objective of this name.

    Raises:
        OptionError: there is none.
    """
    names = [str(objective) for objective in Objective]
    if text not in names:
        hint = did_you_mean(text, names)
        expected = f"expected {', '.join(names[:-1])} or {names[-1]}"
        raise OptionError(Problem(f"{option}: {expected}, got '{text}'", hint=hint))
    return Objective(text)


@cache
def make_stamp(seed: int) -> Stamp:
    """Versions in force. They are read from the installed metadata: importing onnx takes long."""
    return Stamp(
        npubench=npubench.__version__,
        onnx=metadata.version("onnx"),
        onnxruntime=metadata.version("onnxruntime"),
        numpy=metadata.version("numpy"),
        seed=seed,
    )


def choose_plan(precision: str | None, loaded: LoadedNetwork) -> PrecisionPlan | None:
    """What is asked of the machine: the user's plan, else the model's own; None: its default."""
    if precision is None:
        return loaded.plan
    return find_plan(precision, loaded.network, loaded.plan)


def _check_size(network: Network) -> None:
    """Refuse sizes whose products with energies and rates a float no longer counts exactly.

    Raises:
        MappingError: more multiply-accumulates than that.
    """
    if network.macs > _MOST_MACS:
        raise MappingError(
            Problem(
                f"'{network.name}' at batch {network.batch} has {network.macs:.3g} MACs, more than "
                f"{_MOST_MACS:.2g}",
                hint="look at --batch and --dim",
            )
        )


def _check_cost(network: Network, cost: Cost, machine: Machine[Any]) -> None:
    """Hold a machine to its word; a breach is a bug of ours, but an idle network is the user's."""
    wanted = [(layer.name, layer.macs) for layer in network.layers]
    given = [(layer.name, layer.macs) for layer in cost.layers]
    if wanted != given:
        missing = Counter(wanted) - Counter(given)
        extra = Counter(given) - Counter(wanted)
        raise NpubenchError(
            f"{machine.info.name} gave no cost, two, or other MACs for layers of {network.name}: "
            f"expected {sorted(missing) or 'another order'}, got {sorted(extra)}"
        )
    if cost.cycles == 0:
        raise ModelError(f"network '{network.name}' does no work: nothing to time")
    if not 0 < cost.interval_cycles <= cost.cycles:
        raise NpubenchError(
            f"{machine.info.name}: interval of {cost.interval_cycles} cycles between executions "
            f"of {cost.cycles}"
        )


def _assemble(
    request: RunRequest,
    network: Network,
    machine: Machine[Any],
    legalised: Legalised,
    cost: Cost,
    accuracy: Accuracy,
) -> RunResult:
    info = machine.info
    names = [layer.name for layer in network.mac_layers]
    requested = {name: str(legalised.requested.of(name)) for name in names}
    executed = {name: str(legalised.executed.of(name)) for name in names}
    return RunResult(
        stamp=make_stamp(request.seed),
        workload=WorkloadStamp(
            name=network.name,
            sha256=network.sha256,
            macs=network.macs,
            parameters=network.parameters,
            layers=len(network.layers),
            peak_activation_bytes=-(-network.peak_activations.bits // 8),
        ),
        hardware=HardwareStamp(
            name=info.name,
            family=info.family,
            sha256=info.sha256,
            knobs=dict(info.knobs),
            node_nm=info.node_nm,
            static_power_w=None if info.static_power is None else info.static_power.value,
            areas_mm2=dict(info.areas_mm2),
            leakages_w=dict(info.leakages_w),
        ),
        options=Options(
            batch=request.batch,
            dims=dict(request.dims),
            precision=request.precision,
            knobs=dict(request.knobs),
            overrides=dict(request.overrides),
            dataset=request.dataset,
            calibration=request.calibration,
            samples=request.samples,
            faults=request.faults,
            objective=request.objective,
        ),
        requested=requested,
        executed=executed,
        precision_summary=(
            _summarise(legalised.requested, requested),
            _summarise(legalised.executed, executed),
        ),
        totals=_sum_up(cost, network.macs, request.batch, info.area_mm2),
        layers=tuple(_per_inference(layer, request.batch) for layer in cost.layers),
        clock_hz=cost.clock_hz,
        accuracy=accuracy,
        coverage=measure_coverage(network, cost),
        assumptions=tuple(dict.fromkeys((*network.assumptions, *cost.assumptions))),
        constants=tuple(
            replace(constant, energy_j=constant.energy_j / request.batch)
            for constant in cost.constants
        ),
        search=cost.search,
    )


def _sum_up(cost: Cost, macs: int, batch: int, area_mm2: float | None) -> Totals:
    """Totals of a cost of ``batch`` inferences of ``macs`` each; see `Totals` for the counting."""
    energy_j = cost.energy_j / batch
    if not math.isfinite(energy_j * cost.latency_s):
        raise MappingError(
            f"the energy-delay product of {energy_j:.3g} J and {cost.latency_s:.3g} s is beyond "
            "what a float holds: look at the clock, the bandwidths and the energies of the spec"
        )
    return Totals(
        macs=macs,
        cycles=cost.cycles,
        latency_s=cost.latency_s,
        energy_j=energy_j,
        edp_js=energy_j * cost.latency_s,
        throughput_ips=batch * cost.clock_hz / cost.interval_cycles,
        tops_per_watt=2 * macs / energy_j / 1e12 if macs and energy_j else None,
        utilization=_utilization(cost),
        area_mm2=area_mm2,
        latency_by_cause=dict(cost.latency_by_cause),
        energy_by_component=_divide(cost.energy_by_component, batch),
    )


def _utilization(cost: Cost) -> float | None:
    """Cycles that the MACs would take at the layers' peak rates, over all cycles."""
    layers = [layer for layer in cost.layers if layer.macs]
    busy = [layer.utilization * layer.cycles for layer in layers if layer.utilization is not None]
    return sum(busy) / cost.cycles if layers and len(busy) == len(layers) else None


def _per_inference(layer: LayerCost, batch: int) -> LayerCost:
    energy = _divide(layer.energy_by_component, batch)
    return replace(layer, macs=layer.macs // batch, energy_by_component=energy)


def _divide(parts: Mapping[str, float], batch: int) -> dict[str, float]:
    return {name: joules / batch for name, joules in parts.items()}


def _summarise(plan: PrecisionPlan, by_layer: Mapping[str, str]) -> str:
    """One precision if all layers share it, else how many layers have each, most first."""
    counts = Counter(by_layer.values())
    if len(counts) <= 1:
        return next(iter(counts), str(plan.default))
    order = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{n} x {text}" for text, n in order)
