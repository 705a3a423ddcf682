"""Result records: what a run, a comparison and a sweep give back, free of any output format.

Counting (see docs/models.md): ``macs``, ``energy_j`` and ``edp_js`` are per inference;
``latency_s`` is the time of the whole batch; ``edp_js = energy_j x latency_s``; ``throughput_ips``
is batch over the initiation interval. A missing value is None, never 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from npubench.machines.protocol import ConstantUse, LayerCost, MappingSearch

__all__ = [
    "Accuracy",
    "Comparison",
    "Coverage",
    "CoverageClass",
    "HardwareStamp",
    "Normalised",
    "NormalisedRun",
    "OperatorCoverage",
    "Options",
    "Placement",
    "PlacementOption",
    "Ratio",
    "RunResult",
    "Stamp",
    "Sweep",
    "SweepChoice",
    "SweepPoint",
    "Totals",
    "WorkloadStamp",
]


@dataclass(frozen=True, slots=True)
class Stamp:
    """Versions that can change a number, and the seed."""

    npubench: str
    onnx: str
    onnxruntime: str
    numpy: str
    seed: int


@dataclass(frozen=True, slots=True)
class WorkloadStamp:
    """Which network ran, as one inference; ``layers`` counts IR layers.

    ``peak_activation_bytes`` is the largest set of activations alive at once, at the element
    types of the file.
    """

    name: str
    sha256: str
    macs: int
    parameters: int
    layers: int
    peak_activation_bytes: int


@dataclass(frozen=True, slots=True)
class HardwareStamp:
    """Which machine it ran on.

    Attributes:
        name, family, sha256, knobs, node_nm: see `MachineInfo`.
        static_power_w: drawn all the time, at the supply in force; None where costs have none.
        areas_mm2, leakages_w: area and static power by part, see `MachineInfo`; empty where the
            spec's constants do not give them.
    """

    name: str
    family: str
    sha256: str
    knobs: Mapping[str, str]
    node_nm: float | None
    static_power_w: float | None = None
    areas_mm2: Mapping[str, float] = field(default_factory=dict)
    leakages_w: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Options:
    """What the user asked for beyond network and machine."""

    batch: int = 1
    dims: Mapping[str, int] = field(default_factory=dict)
    precision: str | None = None
    knobs: Mapping[str, str] = field(default_factory=dict)
    overrides: Mapping[str, str] = field(default_factory=dict)
    dataset: str | None = None
    calibration: str | None = None
    samples: int | None = None
    faults: str | None = None
    objective: str = "latency"


@dataclass(frozen=True, slots=True)
class Totals:
    """The figures of a whole network.

    Attributes:
        macs: per inference.
        cycles: of the whole batch.
        latency_s: of the whole batch.
        energy_j: per inference.
        edp_js: ``energy_j x latency_s``.
        throughput_ips: batch over the initiation interval.
        tops_per_watt: 2 x macs / energy_j / 1e12; None without MACs or without energy.
        utilization: cycles that the MACs would take at the peak rate of their layers' executed
            precision, over all cycles, 0 to 1; None without MACs.
        area_mm2: of the machine, None where its spec does not give it.
        latency_by_cause: cycles; the sum is ``cycles``.
        energy_by_component: joules per inference; the sum is ``energy_j``.
    """

    macs: int
    cycles: int
    latency_s: float
    energy_j: float
    edp_js: float
    throughput_ips: float
    tops_per_watt: float | None
    utilization: float | None
    area_mm2: float | None
    latency_by_cause: Mapping[str, int]
    energy_by_component: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Accuracy:
    """Accuracy beside the hardware numbers, of the executed plan.

    Attributes:
        kind: ``measured``, ``published``, or ``none`` when there is neither.
        metric: ``top1`` in percent, or ``perplexity``.
        value: the accuracy.
        drop: points lost against the float network (what a perplexity rose by).
        n: samples measured.
        interval: 95 % interval of the value.
        source: data set and method, or the publication.
        reference: of the float network in the same run or the same publication.
        top5: in percent.
        agreement: percent of samples that plan and float network answer alike.
        sqnr_db: signal to quantisation noise of each layer's result.
    """

    kind: str = "none"
    metric: str | None = None
    value: float | None = None
    drop: float | None = None
    n: int | None = None
    interval: tuple[float, float] | None = None
    source: str | None = None
    reference: float | None = None
    top5: float | None = None
    agreement: float | None = None
    sqnr_db: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CoverageClass:
    """How much of a network one class of coverage carries: totals, and shares 0 to 1."""

    ops: int
    macs: int
    bytes: int
    latency_s: float
    macs_share: float
    bytes_share: float
    time_share: float


@dataclass(frozen=True, slots=True)
class OperatorCoverage:
    """One operator: status ``modelled``, ``approximated`` or ``unknown``, and how."""

    op: str
    status: str
    layers: int
    how: str
    macs: int
    bytes: int
    latency_s: float


@dataclass(frozen=True, slots=True)
class Coverage:
    """The ledger: each operator is modelled, approximated or unknown."""

    modelled: CoverageClass
    approximated: CoverageClass
    unknown: CoverageClass
    operators: tuple[OperatorCoverage, ...]


@dataclass(frozen=True, slots=True)
class PlacementOption:
    """A place where a system could have run a network.

    Attributes:
        npu, mode: which.
        precision: executed there.
        latency_s: of one inference while all NPUs work.
        energy_j: of the same, without what flows all the time; None where the spec states none.
        accuracy_drop: points lost against the base mode of the first NPU; None where unknown.
        admissible: whether the scheduler may use it.
    """

    npu: str
    mode: str
    precision: str
    latency_s: float
    energy_j: float | None
    accuracy_drop: float | None
    admissible: bool


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a system of several NPUs ran a network, and why there.

    Attributes:
        npu: name within the system.
        spec: of the NPU.
        mode: of the NPU.
        policy: that chose it; None where the precision asked for did.
        most_drop: points that the policy lets a network lose; None for no limit.
        options: every place looked at; empty without a policy.
    """

    npu: str
    spec: str
    mode: str
    policy: str | None = None
    most_drop: float | None = None
    options: tuple[PlacementOption, ...] = ()


@dataclass(frozen=True, slots=True)
class RunResult:
    """One network on one machine.

    Attributes:
        stamp: versions and seed.
        workload: the network.
        hardware: the machine; its name is the one tables show.
        options: what the user asked for.
        requested: precision asked for, by multiply-accumulate layer, as text such as ``w8a8``.
        executed: precision run, by the same layers.
        precision_summary: requested and executed in a word: one precision, or counts of layers.
        totals: the figures of the whole network.
        layers: in network order. MACs and joules are per inference, cycles and off-chip bytes of
            the whole batch.
        clock_hz: cycles per second of every cycle count here.
        accuracy: of the executed plan.
        coverage: what the figures rest on.
        assumptions: of the network's lowering and of the machine's model.
        constants: constants of the spec, with the joules per inference that rest on each.
        search: how the mapping was found; None where the machine had nothing to choose.
        placement: the NPU of a system; None for a machine that is one NPU.
    """

    stamp: Stamp
    workload: WorkloadStamp
    hardware: HardwareStamp
    options: Options
    requested: Mapping[str, str]
    executed: Mapping[str, str]
    precision_summary: tuple[str, str]
    totals: Totals
    layers: tuple[LayerCost, ...]
    clock_hz: float
    accuracy: Accuracy
    coverage: Coverage
    assumptions: tuple[str, ...]
    constants: tuple[ConstantUse, ...]
    search: MappingSearch | None = None
    placement: Placement | None = None


@dataclass(frozen=True, slots=True)
class Ratio:
    """This machine over the baseline on one workload; energy, latency, edp below 1 are better.

    Energy and EDP have no ratio to a baseline whose spec states no energy at all.
    """

    workload: str
    hardware: str
    latency: float
    energy: float | None
    edp: float | None
    throughput: float


@dataclass(frozen=True, slots=True)
class NormalisedRun:
    """A run's energy and area at another node; None where the law does not cover its own."""

    workload: str
    hardware: str
    energy_j: float | None = None
    edp_js: float | None = None
    area_mm2: float | None = None


@dataclass(frozen=True, slots=True)
class Normalised:
    """Runs of designs of different nodes at one node.

    Attributes:
        node_nm: that node.
        law: by which energies and areas were brought there.
        runs: in the order of the comparison's.
    """

    node_nm: float
    law: str
    runs: tuple[NormalisedRun, ...]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Several workloads on several machines, with ratios to a named baseline.

    ``ratios`` ends with one row per machine whose workload is ``geomean`` when there are two or
    more workloads. ``normalised`` is there where nodes differ.
    """

    baseline: str
    runs: tuple[RunResult, ...]
    ratios: tuple[Ratio, ...]
    normalised: Normalised | None = None


@dataclass(frozen=True, slots=True)
class SweepPoint:
    """One point of a grid: ``ok`` with totals, or ``failed`` with the reason."""

    axes: Mapping[str, str]
    workload: str
    hardware: str
    status: str
    totals: Totals | None = None
    accuracy: Accuracy | None = None
    error: str | None = None
    coverage: Coverage | None = None


@dataclass(frozen=True, slots=True)
class SweepChoice:
    """Which points of a sweep were asked for; indices into its points.

    Attributes:
        minimize: figure to be best in (the highest, where higher is better); None for none.
        subject_to: conditions that points had to meet, as text.
        pareto: figures of the front; empty for none.
        allowed: how many points met the conditions.
        best: the best of them; None where there is none or nothing was to be minimised.
        front: those of them that no other beats.
    """

    minimize: str | None
    subject_to: tuple[str, ...]
    pareto: tuple[str, ...]
    allowed: int
    best: int | None
    front: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Sweep:
    """A grid and its points, in the order of the axes, and what was chosen of them."""

    axes: tuple[tuple[str, tuple[str, ...]], ...]
    points: tuple[SweepPoint, ...]
    stamp: Stamp
    choice: SweepChoice | None = None
