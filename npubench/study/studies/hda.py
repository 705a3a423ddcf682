"""HDA against its homogeneous twin: energy, response time and accuracy drop, under load.

Networks of HDA-Q's workloads, at the shapes of their data sets; their drops by width are the
published post-training ones. Everything is counted against the 8-bit twin of equal area.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from npubench.errors import OptionError, Problem, did_you_mean
from npubench.serving import (
    Length,
    NetworkLoad,
    Policy,
    Scenario,
    ServeResult,
    ServiceTable,
    named_policy,
    simulate,
)
from npubench.serving.plant import nominal_capacity_rps
from npubench.study.service import ServiceRequest, build_services
from npubench.study.studies.record import Cell, Claim, StudyColumn, StudyContext, StudySection
from npubench.study.studies.serving_runs import drop_known, number_of, words_of
from npubench.study.studies.tables import read_table

__all__ = ["run"]

_SOURCE = "Spantidi et al., IEEE TETC 11(1), 2023, abstract"
_METHOD = "uniform PTQ, no retraining"
_TWIN = "hda_twin"

_SYSTEMS = (
    StudyColumn("system", "System"),
    StudyColumn("policy", "Policy"),
    StudyColumn("response_s", "Response", "quantity", "s"),
    StudyColumn("p99_s", "p99", "quantity", "s"),
    StudyColumn("dynamic_j", "Dynamic", "quantity", "J"),
    StudyColumn("energy_j", "With static", "quantity", "J"),
    StudyColumn("accuracy_drop", "Drop", "fixed", "points", decimals=3),
    StudyColumn("narrow_share", "On narrow NPU", "share"),
    StudyColumn("energy_ratio", "Energy", "ratio"),
    StudyColumn("response_ratio", "Response", "ratio"),
    StudyColumn("state", "State"),
)
_DROPS = (
    StudyColumn("network", "Network"),
    *(
        StudyColumn(f"drop_{bits}", f"{bits} bit", "fixed", "points", published=True)
        for bits in (7, 6, 5, 4)
    ),
)
_SENSITIVITY = (
    StudyColumn("little", "Narrow NPU"),
    StudyColumn("threshold", "Threshold", "number", "points"),
    StudyColumn("load", "Load", "share"),
    StudyColumn("energy_ratio", "Energy", "ratio"),
    StudyColumn("response_ratio", "Response", "ratio"),
    StudyColumn("accuracy_drop", "Drop", "fixed", "points", decimals=3),
    StudyColumn("narrow_share", "On narrow NPU", "share"),
    StudyColumn("state", "State"),
)


@dataclass(frozen=True, slots=True)
class _Bench:
    """Networks, the twin, and how both systems are loaded."""

    context: StudyContext
    networks: tuple[str, ...]
    twin: ServiceTable
    requests: int

    def table(self, hardware: str) -> ServiceTable:
        """A system; its drops by width are the published ones."""
        request = ServiceRequest(self.networks, hardware)
        key = ("hda study", hardware, self.networks)
        table = self.context.session.keep(
            key, lambda: build_services(request, self.context.session).table
        )
        return replace(table, system=hardware)

    def scenario(self, load: float) -> Scenario:
        """Networks drawn alike, at a share of the twin's capacity."""
        networks = tuple(NetworkLoad(name, slo_isolated=10) for name in self.networks)
        scenario = Scenario(
            "hda", networks, load=load, length=Length(self.requests), seed=self.context.seed
        )
        return scenario.at_rate(load * nominal_capacity_rps(self.twin, scenario))

    def serve(self, table: ServiceTable, policy: Policy, load: float) -> ServeResult:
        """One system at one load; every one gets the same requests."""
        return simulate(table, self.scenario(load), policy)


def run(context: StudyContext) -> Iterator[StudySection]:
    """The drops, the systems at one load, and what the unknowns decide."""
    networks = words_of(context, "networks")
    requests = int(number_of(context, "requests", 1000))
    load = number_of(context, "load", 0.01, whole=False)
    drops = _published_drops(networks)
    twins = build_services(ServiceRequest(networks, _TWIN), context.session).table
    bench = _Bench(context, networks, twins, requests)
    steps = 2 if context.settings["sensitivity"] != "yes" else 2 + len(_POINTS)
    yield _drop_table(networks, drops)
    context.on_step(1, steps)
    twin = bench.serve(bench.table(_TWIN), named_policy("least_response"), load)
    yield _systems(bench, twin, load)
    context.on_step(2, steps)
    if steps == 2:
        return
    rows: list[tuple[Cell, ...]] = []
    by_load = {load: twin}
    for done, (little, threshold, point) in enumerate(_POINTS, start=3):
        at = point or load
        if at not in by_load:
            by_load[at] = bench.serve(bench.table(_TWIN), named_policy("least_response"), at)
        policy = named_policy("hda_q", accuracy_drop=threshold)
        found = bench.serve(bench.table(f"hda:little={little}"), policy, at)
        rows.append((little, threshold, at, *_against(found, by_load[at])))
        context.on_step(done, steps)
    yield StudySection(
        "sensitivity",
        "what the unknowns of the paper decide",
        _SENSITIVITY,
        tuple(rows),
        notes=(
            "Ratios to the homogeneous twin on the same requests; energy with static power. "
            "'_fast' clocks the narrow NPU by its shorter logic.",
        ),
    )


# Bits of the narrow NPU, threshold in points, load (None: that of the study).
_POINTS: tuple[tuple[str, float, float | None], ...] = (
    ("8", 0.5, None),
    ("7", 0.5, None),
    ("7_fast", 0.5, None),
    ("6", 0.5, None),
    ("7", 1.0, None),
    ("6", 1.0, None),
    ("6_fast", 1.0, None),
    ("7", 5.0, None),
    ("6", 5.0, None),
    ("5", 5.0, None),
    ("5", 100.0, None),
    ("4", 100.0, None),
    ("6", 1.0, 0.1),
    ("6", 1.0, 0.8),
)


def _published_drops(networks: tuple[str, ...]) -> dict[tuple[str, int], float]:
    """Points below the network's own 8-bit accuracy, by (network, bits).

    Raises:
        OptionError: a network without published accuracies by width.
    """
    table = read_table("workloads", "accuracy/published.csv")
    rows = [row for row in table if row.text("method") == _METHOD]
    top1 = {
        (row.text("networks"), int(row.number("weight_bits"))): row.number("top1") for row in rows
    }
    known = {name for name, bits in top1 if bits == 8}
    wrong = [
        Problem(f"--set networks: no drops of '{name}' by width", hint=did_you_mean(name, known))
        for name in networks
        if name not in known
    ]
    if wrong:
        raise OptionError(*wrong)
    return {
        (name, bits): round(top1[name, 8] - value, 6)
        for (name, bits), value in top1.items()
        if name in networks
    }


def _drop_table(networks: tuple[str, ...], drops: Mapping[tuple[str, int], float]) -> StudySection:
    rows = tuple((name, *(drops.get((name, bits)) for bits in (7, 6, 5, 4))) for name in networks)
    return StudySection(
        "drops",
        "accuracy lost against 8 bits, post-training, by width",
        _DROPS,
        rows,
        notes=(
            "From the code of Balaskas et al., IEEE ESL 16(4), 2024, who rebuilt the method; "
            "without retraining.",
        ),
    )


def _systems(bench: _Bench, twin: ServeResult, load: float) -> StudySection:
    hda = bench.table("hda")
    rows: list[tuple[Cell, ...]] = [_row("hda_twin", "least_response", twin, twin)]
    ours: ServeResult | None = None
    for name in ("hda_q", "fastest", "least_energy", "base_only"):
        found = bench.serve(hda, named_policy(name), load)
        ours = ours or found
        rows.append(_row("hda", name, found, twin))
    energy, response, drop, *_ = _against(ours or twin, twin)
    differs = (
        "the paper's networks, widths, arrays and load are not public; post-training drops keep "
        "most networks at seven or eight bits, and more saving needs narrower NPUs and networks "
        "retrained for them, as the sensitivity table shows"
    )
    claims = tuple(
        Claim(
            what,
            published,
            value if isinstance(value, float) else None,
            unit,
            _SOURCE,
            "published",
            note,
        )
        for what, published, value, unit, note in (
            ("energy over the homogeneous design's", 0.71, energy, "", differs),
            ("response time over the homogeneous design's", 0.90, response, "", differs),
            (
                "accuracy drop",
                0.5,
                drop,
                "points",
                "the abstract says 0.5 % without saying whether points or relative; ours is the "
                "mean over requests against 8 bits, bounded by 0.5 points a network",
            ),
        )
    )
    return StudySection(
        "systems",
        f"the same requests on both systems, load {load * 100:g} % of the twin's capacity",
        _SYSTEMS,
        tuple(rows),
        claims=claims,
        notes=(
            "Response: mean, waiting included. Ratios to the twin; energy with static power. "
            "Equal area: the narrow NPU has as many more PEs as its narrower ones leave room for.",
        ),
    )


def _row(system: str, policy: str, found: ServeResult, twin: ServeResult) -> tuple[Cell, ...]:
    energy, response, drop, narrow, state = _against(found, twin)
    dynamic = (
        sum((n.energy_j_per_request or 0.0) * n.requests for n in found.networks) / found.requests
    )
    return (
        system,
        policy,
        found.latency_s.mean.value,
        found.latency_s.p99.value,
        dynamic,
        found.energy_j_per_request.value,
        drop,
        None if found is twin else narrow,
        energy,
        response,
        state,
    )


def _against(
    found: ServeResult, twin: ServeResult
) -> tuple[float | None, float | None, float | None, float, str]:
    """Energy and response over the twin's, mean drop, share on the last NPU, and the state."""
    drop = found.accuracy_drop.value if drop_known(found) == 1 else None
    narrow = found.npus[-1].requests / found.requests
    state = "saturated" if found.saturated else "steady"
    return (
        _over(found.energy_j_per_request.value, twin.energy_j_per_request.value),
        _over(found.latency_s.mean.value, twin.latency_s.mean.value),
        drop,
        narrow,
        state,
    )


def _over(value: float | None, base: float | None) -> float | None:
    return None if value is None or not base else value / base
