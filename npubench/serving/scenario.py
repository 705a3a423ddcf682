"""What is asked of a system: networks, arrivals, bounds, batching and length of a run."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from npubench.errors import InputError

__all__ = [
    "Arrivals",
    "Batching",
    "Bursty",
    "Diurnal",
    "Kind",
    "Length",
    "NetworkLoad",
    "Poisson",
    "Scenario",
    "ScenarioError",
    "Size",
    "Trace",
    "Uniform",
    "default_slo_s",
]

Kind: TypeAlias = Literal["server", "single_stream", "multi_stream", "offline"]

MULTI_STREAM_SAMPLES: Final = 8
_ISOLATED_MULTIPLE: Final = 10.0

# MLPerf Inference rules, Server scenario, bound on the 99th percentile in seconds. Names are those
# of the workload catalog; mobilenet_v1 and gnmt are of v0.5, ssd_resnet34 to v2, dlrm of v1.
MLPERF_BOUND_S: Final[Mapping[str, float]] = {
    "resnet50": 0.015,
    "mobilenet_v1": 0.010,
    "ssd_resnet34": 0.100,
    "ssd_mobilenet_v1": 0.010,
    "retinanet": 0.100,
    "gnmt": 0.250,
    "bert_large": 0.130,
    "rnnt": 1.000,
    "dlrm": 0.030,
    "gptj": 20.0,
}


def default_slo_s(network: str, isolated_s: float) -> tuple[float, str]:
    """Bound of a network that states none, and where it is from.

    The MLPerf Server bound where the rules have one, else ten times the isolated latency in base
    mode.
    """
    bound = MLPERF_BOUND_S.get(network.lower().replace("-", "_"))
    if bound is not None:
        return bound, "MLPerf Server bound"
    return _ISOLATED_MULTIPLE * isolated_s, f"{_ISOLATED_MULTIPLE:g} x isolated latency"


@dataclass(frozen=True, slots=True)
class Size:
    """Work of one request relative to the service time of the table, mean 1 (sequence lengths).

    ``cv`` is the coefficient of variation of ``lognormal``. Service time and energy scale with the
    size; schedulers know it, as a length is known on arrival.
    """

    distribution: Literal["constant", "exponential", "lognormal"] = "constant"
    cv: float = 1.0


@dataclass(frozen=True, slots=True)
class NetworkLoad:
    """One network of the mix.

    Attributes:
        name: as the service table calls it.
        weight: share of the requests, relative to the other weights.
        slo_s: bound on the latency, seconds; None takes ``slo_isolated`` or the default.
        slo_isolated: bound as a multiple of the isolated latency in base mode.
        priority: for PREMA's tokens and weighted fairness.
        size: work per request.
    """

    name: str
    weight: float = 1.0
    slo_s: float | None = None
    slo_isolated: float | None = None
    priority: float = 1.0
    size: Size = Size()


@dataclass(frozen=True, slots=True)
class Poisson:
    """Exponential gaps."""

    process: Literal["poisson"] = "poisson"


@dataclass(frozen=True, slots=True)
class Uniform:
    """Equal gaps; the first request arrives after one gap."""

    process: Literal["uniform"] = "uniform"


@dataclass(frozen=True, slots=True)
class Bursty:
    """Poisson arrivals whose rate alternates between two states of exponential length.

    Attributes:
        peak: rate in the high state over the mean rate, above 1.
        share: share of time spent in the high state, with ``peak x share`` at most 1; the low
            state carries the rest.
        high_s: mean length of a high state, seconds.
    """

    peak: float = 4.0
    share: float = 0.1
    high_s: float = 1.0
    process: Literal["bursty"] = "bursty"


@dataclass(frozen=True, slots=True)
class Diurnal:
    """Poisson arrivals of rate ``mean x (1 + amplitude sin(2 pi t / period))``.

    Attributes:
        amplitude: 0 to 1.
        period_s: seconds.
    """

    amplitude: float = 0.5
    period_s: float = 86400.0
    process: Literal["diurnal"] = "diurnal"


@dataclass(frozen=True, slots=True, eq=False)
class Trace:
    """Recorded arrivals; a scenario that states a rate stretches them to it.

    Attributes:
        times_s: seconds from the start, shape (requests,), not falling.
        networks: index into the scenario's networks, same shape.
        file: where it is from.
    """

    times_s: NDArray[np.float64]
    networks: NDArray[np.int64]
    file: str = ""
    process: Literal["trace"] = "trace"

    @property
    def rate_rps(self) -> float:
        """Mean rate as recorded; infinite when everything arrives at once."""
        last = float(self.times_s[-1]) if len(self.times_s) else 0.0
        return len(self.times_s) / last if last > 0 else math.inf


Arrivals: TypeAlias = Poisson | Uniform | Bursty | Diurnal | Trace


@dataclass(frozen=True, slots=True)
class Batching:
    """Requests of one network served together.

    Attributes:
        kind: ``static`` waits for exactly ``size`` requests (what is left when arrivals end goes
            as it is); ``dynamic`` takes what waits, up to ``size``, as soon as that many wait or
            the oldest has waited ``timeout_s``.
        size: largest batch.
        timeout_s: seconds; dynamic only.
    """

    kind: Literal["none", "static", "dynamic"] = "none"
    size: int = 1
    timeout_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Length:
    """A run lasts until both minima are reached: arrivals (queries, closed loop) and seconds."""

    requests: int = 100_000
    duration_s: float = 0.0


class ScenarioError(InputError):
    """A scenario that contradicts itself.

    Attributes:
        mistakes: (dotted road to the field in a scenario file, sentence) each.
    """

    def __init__(self, name: str, mistakes: tuple[tuple[str, str], ...]) -> None:
        self.mistakes = mistakes
        super().__init__(*(f"scenario {name}: {text}" for _, text in mistakes))


@dataclass(frozen=True, slots=True)
class Scenario:
    """Load, bounds and length of a run.

    Attributes:
        name: for results.
        networks: the mix.
        kind: MLPerf's scenario. ``server`` is an open loop: arrivals come whatever the system
            does. ``single_stream`` and ``multi_stream`` issue the next query (1 or 8 samples)
            when the last one is done; ``offline`` issues everything at once.
        arrivals: of the open loop.
        rate_rps: mean rate of the open loop, requests a second; or
        load: the same as a fraction of the system's nominal capacity. Exactly one is given,
            except for traces (none: as recorded) and closed loops (none).
        batching: requests served together.
        length: of the run.
        warmup: share of the requests, from the first, that statistics leave out.
        repetitions: independent runs; intervals come from them when there are two or more.
        percentile: of the latency that the bounds hold for, 0 to 1.
        seed: of everything random.
    """

    name: str
    networks: tuple[NetworkLoad, ...]
    kind: Kind = "server"
    arrivals: Arrivals = Poisson()
    rate_rps: float | None = None
    load: float | None = None
    batching: Batching = Batching()
    length: Length = Length()
    warmup: float = 0.05
    repetitions: int = 1
    percentile: float = 0.99
    seed: int = 0

    def __post_init__(self) -> None:
        wrong = tuple(_mistakes(self))
        if wrong:
            raise ScenarioError(self.name, wrong)

    @property
    def samples_per_query(self) -> int:
        """Requests issued together by a closed loop, 1 elsewhere."""
        return MULTI_STREAM_SAMPLES if self.kind == "multi_stream" else 1

    @property
    def closed(self) -> bool:
        """Whether the next query waits for the last one."""
        return self.kind in ("single_stream", "multi_stream")

    @property
    def random(self) -> bool:
        """Whether arrivals or sizes vary, so that a full load grows a queue without bound."""
        sized = any(network.size.distribution != "constant" for network in self.networks)
        return sized or len(self.networks) > 1 or not isinstance(self.arrivals, Uniform)

    def at_rate(self, rate_rps: float) -> Scenario:
        """The same scenario at another mean rate, requests a second."""
        return replace(self, rate_rps=rate_rps, load=None)


def _mistakes(scenario: Scenario) -> Iterator[tuple[str, str]]:
    yield from _network_mistakes(scenario)
    yield from _arrival_mistakes(scenario)
    batching, length = scenario.batching, scenario.length
    if batching.size < 1:
        yield "batching.size", f"a batch has at least 1 request, got {batching.size}"
    if not 0 <= batching.timeout_s < math.inf:
        yield "batching.timeout", f"timeout must be at least 0 s, got {batching.timeout_s:g}"
    if batching.kind != "dynamic" and batching.timeout_s:
        yield "batching.timeout", f"only dynamic batching has a timeout, not {batching.kind}"
    if length.requests < 1:
        yield "length.requests", f"needs at least 1 request, got {length.requests}"
    if not 0 <= length.duration_s < math.inf:
        yield "length.duration", f"duration must be at least 0 s, got {length.duration_s:g}"
    if not 0 <= scenario.warmup < 1:
        yield "warmup", f"warm-up is a share of at least 0, below 1, got {scenario.warmup:g}"
    if scenario.repetitions < 1:
        yield "repetitions", f"needs at least 1 repetition, got {scenario.repetitions}"
    if not 0 < scenario.percentile < 1:
        yield "percentile", f"percentile lies between 0 and 1, got {scenario.percentile:g}"
    if scenario.seed < 0:
        yield "seed", f"seed must be at least 0, got {scenario.seed}"


def _network_mistakes(scenario: Scenario) -> Iterator[tuple[str, str]]:
    if not scenario.networks:
        yield "networks", "needs at least one network"
    seen: set[str] = set()
    for network in scenario.networks:
        road = f"networks.{network.name}"
        if network.name in seen:
            yield road, f"network '{network.name}' is listed twice; give it one weight"
        seen.add(network.name)
        if network.slo_s is not None and network.slo_isolated is not None:
            yield road, f"{network.name}: give either slo or slo_isolated"
        for what, value in (
            ("weight", network.weight),
            ("slo", network.slo_s),
            ("slo_isolated", network.slo_isolated),
            ("priority", network.priority),
            ("size.cv", network.size.cv),
        ):
            if value is not None and not 0 < value < math.inf:
                yield f"{road}.{what}", f"{network.name}: {what} must be above 0, got {value:g}"


def _arrival_mistakes(scenario: Scenario) -> Iterator[tuple[str, str]]:
    for what, value in (("rate", scenario.rate_rps), ("load", scenario.load)):
        if value is not None and not 0 < value < math.inf:
            yield f"arrivals.{what}", f"{what} must be above 0, got {value:g}"
    arrivals = scenario.arrivals
    given = (scenario.rate_rps is not None) + (scenario.load is not None)
    if given > 1:
        yield "arrivals", "give either rate or load"
    elif scenario.kind != "server" and given:
        yield "arrivals", f"{scenario.kind} has no rate: the system sets the pace"
    elif scenario.kind == "server" and not given and not isinstance(arrivals, Trace):
        yield "arrivals", "server needs a rate or a load"
    if isinstance(arrivals, Bursty):
        if not (arrivals.peak > 1 and arrivals.share > 0 and arrivals.peak * arrivals.share <= 1):
            yield "arrivals", "bursty needs peak above 1, share above 0, peak x share at most 1"
        if not 0 < arrivals.high_s < math.inf:
            yield "arrivals.high", f"bursty: high must be above 0 s, got {arrivals.high_s:g}"
    elif isinstance(arrivals, Diurnal):
        if not 0 <= arrivals.amplitude <= 1:
            yield "arrivals.amplitude", f"amplitude must be 0 to 1, got {arrivals.amplitude:g}"
        if not 0 < arrivals.period_s < math.inf:
            yield "arrivals.period", f"period must be above 0 s, got {arrivals.period_s:g}"
    elif isinstance(arrivals, Trace):
        if not len(arrivals.times_s):
            yield "arrivals.file", "the trace has no requests"
        if scenario.kind != "server":
            yield "arrivals", f"{scenario.kind} has no arrivals of its own: a trace needs server"
