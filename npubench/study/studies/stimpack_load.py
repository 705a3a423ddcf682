"""Stimpack's two results, run end to end: speed-up of burst mode, and load within the SLO.

Networks are served one at a time on Stimpack and on the TPUv4i that it extends; then all of them
together. What the paper leaves open is in the sensitivity table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from npubench.serving import (
    Bursty,
    Policy,
    ServiceTable,
    load_scenario,
    named_policy,
    simulate,
)
from npubench.serving.estimates import from_repetitions
from npubench.serving.plant import build_plant
from npubench.serving.table import PS_PER_S
from npubench.study.service import ServiceRequest, Services, build_services
from npubench.study.studies.record import (
    Cell,
    Claim,
    StudyColumn,
    StudyContext,
    StudySection,
)
from npubench.study.studies.serving_runs import (
    Loading,
    choice_of,
    drop_known,
    geometric_mean,
    mean,
    number_of,
    only,
    with_switch,
    words_of,
)

__all__ = ["run"]

_SOURCE = "Kal et al., Journal of Systems Architecture 145, 2023, abstract"
_SPEEDUP, _LOAD_GAIN = 1.484, 1.414
_ON_CHIP_BYTES_PER_S = 1e12
_HBM_BYTES_PER_S = 614e9

# Knobs of both systems by where weights are. Both keep them, or neither: else the load gain is of
# weights on chip, not of burst mode.
_WEIGHTS: Mapping[str, Mapping[str, Mapping[str, str]]] = {
    "fetched": {"stimpack": {"weights": "fetched"}, "tpuv4i": {"weights": "fetched"}},
    "kept": {
        "stimpack": {"weights": "kept", "quantize": "converted"},
        "tpuv4i": {"weights": "kept"},
    },
}

_NETWORKS = (
    StudyColumn("network", "Network"),
    StudyColumn("slo_s", "SLO", "quantity", "s"),
    StudyColumn("base_s", "Base", "quantity", "s"),
    StudyColumn("burst_s", "Burst", "quantity", "s"),
    StudyColumn("speedup", "Speed-up", "ratio"),
    StudyColumn("baseline_rps", "TPUv4i load", "fixed", "1/s", decimals=1),
    StudyColumn("stimpack_rps", "Stimpack load", "fixed", "1/s", decimals=1),
    StudyColumn("load_gain", "Load gain", "ratio"),
    StudyColumn("gain_low", "95 % from", "ratio"),
    StudyColumn("gain_high", "to", "ratio"),
    StudyColumn("burst_share", "Burst", "share"),
    StudyColumn("burst_drop", "INT8 drop", "fixed", "points"),
    StudyColumn("accuracy_drop", "Delivered drop", "fixed", "points", decimals=3),
)
_MIX = (
    StudyColumn("system", "System"),
    StudyColumn("load", "Load", "share"),
    StudyColumn("mean_s", "Mean", "quantity", "s"),
    StudyColumn("p99_s", "p99", "quantity", "s"),
    StudyColumn("slo_attainment", "In SLO", "share"),
    StudyColumn("goodput_rps", "Goodput", "fixed", "1/s", decimals=1),
    StudyColumn("burst_share", "Burst", "share"),
    StudyColumn("energy_j", "Energy/request", "quantity", "J"),
    StudyColumn("accuracy_drop", "Delivered drop", "fixed", "points", decimals=3),
    StudyColumn("drop_known", "Known for", "share"),
    StudyColumn("state", "State"),
)
_SENSITIVITY = (
    StudyColumn("changed", "Changed"),
    StudyColumn("speedup", "Speed-up", "ratio"),
    StudyColumn("load_gain", "Load gain", "ratio"),
    StudyColumn("burst_share", "Burst", "share"),
)


@dataclass(frozen=True, slots=True)
class _Bench:
    """What is compared: service tables of both systems, and how they are loaded.

    ``weights``: a key of `_WEIGHTS`. ``switch_s``: seconds from base to burst mode by network, in
    place of the table's.
    """

    networks: tuple[str, ...]
    weights: str
    stimpack: ServiceTable
    baseline: ServiceTable
    policy: Policy
    loading: Loading
    switch_s: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Point:
    """One network: speed-up of burst mode, load gain with interval, and what it cost."""

    slo_s: float
    base_s: float
    burst_s: float
    baseline_rps: float | None
    stimpack_rps: float | None
    gains: tuple[float, ...]
    burst_share: float | None
    burst_drop: float | None
    accuracy_drop: float | None

    @property
    def speedup(self) -> float:
        return self.base_s / self.burst_s

    @property
    def gain(self) -> float | None:
        if not self.baseline_rps or self.stimpack_rps is None:
            return None
        return self.stimpack_rps / self.baseline_rps


def run(context: StudyContext) -> Iterator[StudySection]:
    """Each network alone, the mix, and the sensitivity of both results."""
    networks, session = words_of(context, "networks"), context.session
    loading = Loading(
        int(number_of(context, "requests", 1000)),
        int(number_of(context, "repetitions", 1)),
        context.seed,
    )
    weights = choice_of(context, "weights", tuple(_WEIGHTS))
    variants = _VARIANTS if context.settings["sensitivity"] == "yes" else ()
    variants = tuple(entry for entry in variants if entry[0] != _TITLES[weights])
    steps = 2 + len(variants)
    services, baseline = (
        build_services(ServiceRequest(networks, name, knobs=_WEIGHTS[weights][name]), session)
        for name in ("stimpack", "tpuv4i")
    )
    bench = _Bench(networks, weights, services.table, baseline.table, services.policy, loading)
    points = [_measure(bench, network) for network in networks]
    yield _alone(bench, services, points)
    context.on_step(1, steps)
    if weights == "fetched":  # the weights of all networks do not stay on chip together
        yield _mix(context, bench)
    context.on_step(2, steps)
    rows: list[tuple[Cell, ...]] = [("nothing", *_sums(points))]
    for done, (title, change) in enumerate(variants, start=3):
        changed = change(context, bench)
        rows.append((title, *_sums([_measure(changed, network) for network in networks])))
        context.on_step(done, steps)
    if variants:
        yield StudySection(
            "sensitivity",
            "what the unknowns of the paper decide",
            _SENSITIVITY,
            tuple(rows),
            notes=(
                "One assumption changed at a time, over all networks. Speed-up: geometric mean of "
                "base over burst service time. Load gain: mean over networks. Burst: share of "
                "requests at the largest load.",
            ),
        )


def _measure(bench: _Bench, network: str) -> _Point:
    table, baseline = only(bench.stimpack, network), only(bench.baseline, network)
    if network in bench.switch_s:
        table = with_switch(table, bench.switch_s[network])
    scenario = bench.loading.scenario(network, baseline)
    plant = build_plant(baseline, scenario, named_policy("fifo"))
    slo_s = plant.slo_ps[0] / PS_PER_S
    bound = replace(scenario, networks=(replace(scenario.networks[0], slo_s=slo_s),))
    below, _ = bench.loading.search(baseline, bound, named_policy("fifo"))
    above, result = bench.loading.search(table, bound, bench.policy)
    npu = table.npus[0]
    base, burst = (table.by_key[network, npu.name, mode] for mode in npu.modes)
    gains = tuple(
        high / low
        for (low, _), (high, _) in zip(below.brackets, above.brackets, strict=True)
        if low
    )
    return _Point(
        slo_s,
        base.time_ps[0] / PS_PER_S,
        burst.time_ps[0] / PS_PER_S,
        below.rate_rps.value,
        above.rate_rps.value,
        gains,
        None if result is None else result.burst_share.value,
        burst.accuracy_drop,
        None if result is None else result.accuracy_drop.value,
    )


def _sums(points: list[_Point]) -> tuple[Cell, ...]:
    return (
        geometric_mean([point.speedup for point in points]),
        mean(point.gain for point in points),
        mean(point.burst_share for point in points),
    )


def _alone(bench: _Bench, services: Services, points: list[_Point]) -> StudySection:
    rows: list[tuple[Cell, ...]] = []
    for network, point in zip(bench.networks, points, strict=True):
        interval = from_repetitions(list(point.gains)) if point.gains else None
        rows.append(
            (
                network,
                point.slo_s,
                point.base_s,
                point.burst_s,
                point.speedup,
                point.baseline_rps,
                point.stimpack_rps,
                point.gain,
                None if interval is None else interval.low,
                None if interval is None else interval.high,
                point.burst_share,
                point.burst_drop,
                point.accuracy_drop,
            )
        )
    speedup, gain, share = _sums(points)
    blank: tuple[Cell, ...] = (None, None)
    rows.append(
        (
            "mean",
            None,
            *blank,
            speedup,
            *blank,
            gain,
            *blank,
            share,
            None,
            mean(r[-1] for r in rows),
        )
    )
    unlike = (
        "the abstract does not say which latency, which networks, which bounds or which arrivals; "
        "ours is service time, base over burst, one request at a time, with INT8 weights on hand"
    )
    return StudySection(
        "networks",
        "each network alone, Poisson arrivals: largest load within the bound",
        _NETWORKS,
        tuple(rows),
        claims=(
            Claim(
                "speed-up over the baseline, mean",
                _SPEEDUP,
                speedup if isinstance(speedup, float) else None,
                "",
                _SOURCE,
                "published",
                unlike,
            ),
            Claim(
                "load within the SLO over the baseline's, mean",
                _LOAD_GAIN,
                gain if isinstance(gain, float) else None,
                "",
                _SOURCE,
                "published",
                "a faster server gains at least its speed-up in load, and more under a tight bound "
                "(M/D/1); the published gain is below the published speed-up, so the paper pays "
                "for switching or caution that our defaults do not have",
            ),
        ),
        notes=(
            "Speed-up of the mean row: geometric mean. Delivered drop: at Stimpack's largest load, "
            "points against BF16, mean over requests; '-' where no INT8 accuracy is published.",
            *(f"{note[0].upper()}{note[1:].rstrip('.')}." for note in services.notes),
        ),
    )


def _mix(context: StudyContext, bench: _Bench) -> StudySection:
    """All networks together, drawn alike, at several shares of the baseline's capacity."""
    shipped = load_scenario("stimpack_seven")
    known = {network.name: network for network in shipped.networks}
    loads = [known[name] for name in bench.networks if name in known]
    rows: list[tuple[Cell, ...]] = []
    if loads:
        scenario = replace(
            shipped,
            networks=tuple(loads),
            length=replace(shipped.length, requests=bench.loading.requests),
            repetitions=bench.loading.repetitions,
            seed=context.seed,
        )
        plant = build_plant(bench.baseline, scenario, named_policy("fifo"))
        fixed = tuple(
            replace(network, slo_s=slo_ps / PS_PER_S, slo_isolated=None)
            for network, slo_ps in zip(scenario.networks, plant.slo_ps, strict=True)
        )
        for share in (0.3, 0.5, 0.7, 0.9, 1.1):
            point = replace(scenario, networks=fixed).at_rate(share * plant.capacity_rps)
            for name, table, policy in (
                ("tpuv4i", bench.baseline, named_policy("fifo")),
                ("stimpack", bench.stimpack, bench.policy),
            ):
                found = simulate(table, point, policy)
                rows.append(
                    (
                        name,
                        share,
                        found.latency_s.mean.value,
                        found.latency_s.p99.value,
                        found.slo_attainment.value,
                        found.goodput_rps.value,
                        found.burst_share.value,
                        found.energy_j_per_request.value,
                        found.accuracy_drop.value,
                        drop_known(found),
                        "saturated" if found.saturated else "steady",
                    )
                )
    return StudySection(
        "mix",
        "all networks together, drawn alike, one queue",
        _MIX,
        tuple(rows),
        notes=(
            "Load: share of the rate that the baseline serves in base mode. Short networks wait "
            "behind long ones: a bound of ten times a service time is then missed at any load.",
        ),
    )


Change = Callable[[StudyContext, _Bench], _Bench]


def _bound(multiple: float) -> Change:
    return lambda _, bench: replace(bench, loading=replace(bench.loading, bound=multiple))


def _policy(**settings: object) -> Change:
    def change(_: StudyContext, bench: _Bench) -> _Bench:
        return replace(bench, policy=replace(bench.policy, **settings))  # type: ignore[arg-type] # fields of Policy by name

    return change


def _hardware(name: str) -> Change:
    def change(context: StudyContext, bench: _Bench) -> _Bench:
        knobs = _WEIGHTS[bench.weights]["stimpack"]
        found = build_services(ServiceRequest(bench.networks, name, knobs=knobs), context.session)
        return replace(bench, stimpack=found.table)

    return change


def _weights(where: str) -> Change:
    """Weights of both systems."""

    def change(context: StudyContext, bench: _Bench) -> _Bench:
        stimpack, tpuv4i = (
            build_services(
                ServiceRequest(bench.networks, name, knobs=_WEIGHTS[where][name]), context.session
            ).table
            for name in ("stimpack", "tpuv4i")
        )
        return replace(bench, weights=where, stimpack=stimpack, baseline=tpuv4i)

    return change


def _converting(bytes_a_parameter: float, bytes_per_s: float) -> Change:
    """Leaving base mode moves every weight of the network."""

    def change(context: StudyContext, bench: _Bench) -> _Bench:
        found = {
            name: context.session.network(name, {}).network.parameters
            * bytes_a_parameter
            / bytes_per_s
            for name in bench.networks
        }
        return replace(bench, switch_s=found)

    return change


def _bursty(_: StudyContext, bench: _Bench) -> _Bench:
    return replace(bench, loading=replace(bench.loading, arrivals=Bursty(4.0, 0.1, 0.05)))


_TITLES = {
    "fetched": "weights of both systems from HBM",
    "kept": "weights of both systems on chip as far as it pays",
}
_VARIANTS: tuple[tuple[str, Change], ...] = (
    ("bound 3 x isolated latency", _bound(3)),
    ("bound 5 x isolated latency", _bound(5)),
    ("bound 20 x isolated latency", _bound(20)),
    ("mode changes at the end of a layer", _policy(switch_at="layer")),
    ("mode changes at once", _policy(switch_at="instant")),
    ("no margin before the return to base", _policy(margin=0.0)),
    ("margin of half the bound", _policy(margin=0.5)),
    *((title, _weights(where)) for where, title in _TITLES.items()),
    ("second INT8 MAC along the columns", _hardware("stimpack:packing=columns")),
    ("every switch converts all weights at 1 TB/s", _converting(3.0, _ON_CHIP_BYTES_PER_S)),
    ("every switch fetches all INT8 weights", _converting(1.0, _HBM_BYTES_PER_S)),
    ("bursty arrivals, four times the mean for 50 ms", _bursty),
)
