"""Pieces that studies of systems under load share."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from npubench.errors import OptionError, Problem, did_you_mean
from npubench.serving import (
    Length,
    LoadResult,
    NetworkLoad,
    Npu,
    Poisson,
    Policy,
    Scenario,
    ServeResult,
    ServiceTable,
    find_load,
    simulate,
)
from npubench.serving.scenario import Arrivals
from npubench.serving.table import PS_PER_S, to_ps
from npubench.study.studies.record import Cell, StudyContext

_POISSON: Final = Poisson()

__all__ = [
    "Loading",
    "choice_of",
    "drop_known",
    "geometric_mean",
    "mean",
    "number_of",
    "only",
    "with_switch",
    "words_of",
]


@dataclass(frozen=True, slots=True)
class Loading:
    """How a study loads one network on its own.

    Attributes:
        requests, repetitions, seed: of every run.
        bound: multiple of the isolated latency; None takes MLPerf's bound where there is one, else
            ten times.
        arrivals: of the open loop.
    """

    requests: int
    repetitions: int
    seed: int
    bound: float | None = None
    arrivals: Arrivals = _POISSON

    def scenario(self, network: str, reference: ServiceTable) -> Scenario:
        """Requests for one network, its bound in seconds as the reference system has it."""
        alone_s = (
            min(
                reference.by_key[network, npu.name, npu.modes[0]].time_ps[0]
                for npu in reference.npus
            )
            / PS_PER_S
        )
        load = NetworkLoad(network)
        if self.bound is not None:
            load = replace(load, slo_s=self.bound * alone_s)
        return Scenario(
            network,
            (load,),
            load=0.5,
            arrivals=self.arrivals,
            length=Length(self.requests),
            repetitions=self.repetitions,
            seed=self.seed,
        )

    def search(
        self, table: ServiceTable, scenario: Scenario, policy: Policy
    ) -> tuple[LoadResult, ServeResult | None]:
        """The largest load within the bound, and the statistics there."""
        found = find_load(table, scenario, policy)
        rate = found.rate_rps.value
        if rate is None:
            return found, None
        return found, simulate(table, scenario.at_rate(rate), policy)


def only(table: ServiceTable, network: str) -> ServiceTable:
    """The table of one network."""
    services = tuple(s for s in table.services if s.network == network)
    return replace(table, services=services)


def with_switch(table: ServiceTable, to_burst_s: float) -> ServiceTable:
    """The table where leaving the base mode takes so long, and coming back what it took."""
    npus = tuple(_slower(npu, to_ps(to_burst_s)) for npu in table.npus)
    return replace(table, npus=npus)


def _slower(npu: Npu, to_burst_ps: int) -> Npu:
    count = len(npu.modes)
    old = npu.switch_ps or ((0,) * count,) * count
    first = (0, *(to_burst_ps for _ in range(count - 1)))
    return replace(npu, switch_ps=(first, *old[1:]))


def drop_known(result: ServeResult) -> float:
    """Share of the requests of networks whose accuracy drop is known in every mode they ran in."""
    known = sum(n.requests for n in result.networks if n.accuracy_drop is not None)
    return known / result.requests


def mean(values: Iterable[Cell]) -> float | None:
    """Mean of the numbers among the cells; None when there is none."""
    numbers = [value for value in values if isinstance(value, (int, float))]
    return math.fsum(numbers) / len(numbers) if numbers else None


def geometric_mean(values: Sequence[float]) -> float | None:
    """Geometric mean of positive values; None of none."""
    return math.exp(math.fsum(map(math.log, values)) / len(values)) if values else None


def number_of(context: StudyContext, parameter: str, least: float, *, whole: bool = True) -> float:
    """A parameter that is a number of at least ``least``.

    Raises:
        OptionError: it is not.
    """
    text = context.settings[parameter]
    try:
        value = float(int(text)) if whole else float(text)
    except ValueError:
        value = math.nan
    if not least <= value < math.inf:
        kind = "a whole number" if whole else "a number"
        raise OptionError(f"--set {parameter}={text}: expected {kind} of at least {least:g}")
    return value


def choice_of(context: StudyContext, parameter: str, choices: Sequence[str]) -> str:
    """A parameter that is one of some words.

    Raises:
        OptionError: it is not.
    """
    text = context.settings[parameter]
    if text not in choices:
        known = " or ".join(f"'{choice}'" for choice in choices)
        raise OptionError(
            Problem(f"--set {parameter}={text}: expected {known}", hint=did_you_mean(text, choices))
        )
    return text


def words_of(context: StudyContext, parameter: str) -> tuple[str, ...]:
    """A parameter that is a list of at least one word.

    Raises:
        OptionError: it is empty.
    """
    found = context.listed(parameter)
    if not found:
        raise OptionError(f"--set {parameter}: expected at least one name")
    return found
