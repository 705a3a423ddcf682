"""When requests arrive, of which network and how large: from seed and scenario alone.

Every random process is a unit-rate Poisson process seen through a change of time: the k-th request
arrives when the integral of the rate reaches the sum of k unit exponential gaps. So one seed gives
the same draws to every policy and every load, and a higher rate only squeezes the same pattern.
Gaps, networks, sizes and the rate's own randomness come from separate generators; drawing in chunks
of any size gives the same numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from npubench.errors import InputError
from npubench.serving.scenario import Bursty, Diurnal, NetworkLoad, Scenario, Trace, Uniform
from npubench.serving.table import PS_PER_S

__all__ = ["CHUNK", "Chunk", "Generators", "Marks", "count_requests", "open_loop"]

CHUNK: Final = 65_536

# Largest time the simulation represents: half of what an int64 of picoseconds holds.
_LAST_PS: Final = 2**62
_GRID: Final = 4096

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
# Unit-rate time to seconds, both rising; called with rising arguments.
_Clock = Callable[[Floats], Floats]


@dataclass(frozen=True, slots=True, eq=False)
class Chunk:
    """Consecutive requests.

    Attributes:
        first: number of the first one; requests count from 0.
        times_ps: arrivals, shape (n,), not falling.
        networks: index into the scenario's networks, shape (n,).
        sizes: work relative to the table, shape (n,); None when all are 1.
    """

    first: int
    times_ps: Ints
    networks: Ints
    sizes: Floats | None


class Generators:
    """The four independent random generators of one repetition."""

    def __init__(self, seed: int, repetition: int) -> None:
        children = np.random.SeedSequence([seed, repetition]).spawn(4)
        self.gaps, self.networks, self.sizes, self.states = map(np.random.default_rng, children)


class Marks:
    """Draws network and size of request after request."""

    def __init__(self, networks: tuple[NetworkLoad, ...], generators: Generators) -> None:
        weights = np.array([network.weight for network in networks])
        self._edges = np.cumsum(weights / weights.sum())[:-1]
        self._generators = generators
        kinds = [network.size.distribution for network in networks]
        self._exponential = np.array([kind == "exponential" for kind in kinds])
        self._sigma = np.array(
            [
                math.sqrt(math.log1p(n.size.cv**2)) if n.size.distribution == "lognormal" else 0.0
                for n in networks
            ]
        )

    def networks(self, count: int) -> Ints:
        """Networks of the next requests, shape (count,)."""
        if not len(self._edges):
            return np.zeros(count, dtype=np.int64)
        draws = self._generators.networks.random(count)
        return np.searchsorted(self._edges, draws, side="right").astype(np.int64)

    def sizes(self, networks: Ints) -> Floats | None:
        """Sizes of the next requests, or None when every request of the scenario has size 1."""
        if not (self._exponential.any() or self._sigma.any()):
            return None
        rng = self._generators.sizes
        found = np.ones(len(networks))
        # One draw per request whatever its network, so that draws do not depend on the mix.
        if self._exponential.any():
            found = np.where(
                self._exponential[networks], rng.standard_exponential(len(networks)), found
            )
        if self._sigma.any():
            sigma = self._sigma[networks]
            found *= np.exp(sigma * rng.standard_normal(len(networks)) - sigma**2 / 2)
        return found


def count_requests(scenario: Scenario, rate_rps: float, repetition: int, seed: int) -> int:
    """Requests of an open-loop run: enough for both minima of its length."""
    if isinstance(scenario.arrivals, Trace):
        return len(scenario.arrivals.times_s)
    needed = scenario.length.requests
    if not scenario.length.duration_s:
        return needed
    end_ps = scenario.length.duration_s * PS_PER_S
    seen = 0
    for times in _times(scenario, rate_rps, Generators(seed, repetition)):
        within = int(np.searchsorted(times, end_ps, side="right"))
        seen += within
        if within < len(times):
            break
    return max(needed, seen)


def open_loop(
    scenario: Scenario, rate_rps: float, repetition: int, seed: int, count: int
) -> Iterator[Chunk]:
    """The first ``count`` requests, in chunks.

    Args:
        scenario: of kind ``server``.
        rate_rps: mean rate, requests a second.
        repetition: number of the run; each has its own random numbers.
        seed: of all repetitions.
        count: requests.
    """
    generators = Generators(seed, repetition)
    marks = Marks(scenario.networks, generators)
    recorded = scenario.arrivals.networks if isinstance(scenario.arrivals, Trace) else None
    first = 0
    for drawn in _times(scenario, rate_rps, generators):
        times = drawn[: count - first]
        if recorded is None:
            networks = marks.networks(len(times))
        else:
            networks = recorded[first : first + len(times)]
        yield Chunk(first, times, networks, marks.sizes(networks))
        first += len(times)
        if first >= count:
            return


def _times(scenario: Scenario, rate_rps: float, generators: Generators) -> Iterator[Ints]:
    """Arrival times in picoseconds, chunk by chunk; endless except for traces."""
    arrivals = scenario.arrivals
    if isinstance(arrivals, Trace):
        stretch = arrivals.rate_rps / rate_rps if math.isfinite(arrivals.rate_rps) else 1.0
        for start in range(0, len(arrivals.times_s), CHUNK):
            yield _to_ps(arrivals.times_s[start : start + CHUNK] * stretch)
        return
    if isinstance(arrivals, Uniform):
        ranks = np.arange(1, CHUNK + 1, dtype=np.float64)
        while True:
            yield _to_ps(ranks / rate_rps)
            ranks += CHUNK
    clock: _Clock
    if isinstance(arrivals, Bursty):
        clock = _BurstyClock(arrivals, rate_rps, generators.states)
    elif isinstance(arrivals, Diurnal):
        clock = _DiurnalClock(arrivals, rate_rps)
    else:
        clock = _SteadyClock(rate_rps)
    reached = 0.0
    while True:
        gaps = generators.gaps.standard_exponential(CHUNK)
        gaps[0] += reached  # the running sum goes on as if there were no chunks
        units = np.cumsum(gaps)
        reached = float(units[-1])
        yield _to_ps(clock(units))


def _to_ps(seconds: Floats) -> Ints:
    picoseconds = seconds * float(PS_PER_S)
    if len(picoseconds) and picoseconds[-1] > _LAST_PS:
        longest = _LAST_PS / PS_PER_S
        raise InputError(
            f"arrivals reach {seconds[-1]:.3g} s; the simulation counts picoseconds and ends at "
            f"{longest:.3g} s: raise the rate or ask for fewer requests"
        )
    return np.rint(picoseconds).astype(np.int64)


class _SteadyClock:
    """Constant rate."""

    def __init__(self, rate_rps: float) -> None:
        self._rate_rps = rate_rps

    def __call__(self, units: Floats) -> Floats:
        return units / self._rate_rps


class _DiurnalClock:
    """Rate r(t) = m (1 + a sin wt), whose integral m (t + a (1 - cos wt) / w) is inverted."""

    def __init__(self, arrivals: Diurnal, rate_rps: float) -> None:
        self._period_s = arrivals.period_s
        self._amplitude = arrivals.amplitude
        self._rate_rps = rate_rps
        self._grid = np.linspace(0.0, 1.0, _GRID + 1)
        self._integral = self._elapsed(self._grid)

    def _elapsed(self, phase: Floats) -> Floats:
        """Integral of the rate up to a phase, as a share of one period's; 0..1 onto 0..1."""
        turn = 2 * math.pi
        return phase + self._amplitude / turn * (1 - np.cos(turn * phase))

    def __call__(self, units: Floats) -> Floats:
        periods = units / (self._rate_rps * self._period_s)
        whole = np.floor(periods)
        target = periods - whole
        phase = np.interp(target, self._integral, self._grid)
        # Two Newton steps take the table's 1e-7 to rounding; the slope is 0 only where a = 1.
        for _ in range(2):
            slope = 1 + self._amplitude * np.sin(2 * math.pi * phase)
            phase -= (self._elapsed(phase) - target) / np.maximum(slope, 1e-3)
        seconds = (whole + np.clip(phase, 0.0, 1.0)) * self._period_s
        return np.asarray(np.maximum.accumulate(seconds), dtype=np.float64)


class _BurstyClock:
    """Two rates that alternate; each state lasts an exponential time."""

    def __init__(self, arrivals: Bursty, rate_rps: float, rng: np.random.Generator) -> None:
        low = (1 - arrivals.peak * arrivals.share) / (1 - arrivals.share)
        self._rates = (rate_rps * low, rate_rps * arrivals.peak)
        self._means = (arrivals.high_s * (1 - arrivals.share) / arrivals.share, arrivals.high_s)
        self._rng = rng
        # Corners of the integral of the rate: (unit time, seconds), low state first.
        self._units = [0.0]
        self._seconds = [0.0]
        self._high = False

    def _extend(self) -> None:
        length = self._means[self._high] * float(self._rng.standard_exponential())
        self._seconds.append(self._seconds[-1] + length)
        self._units.append(self._units[-1] + length * self._rates[self._high])
        self._high = not self._high

    def __call__(self, units: Floats) -> Floats:
        while self._units[-1] < units[-1]:
            self._extend()
        corners = np.array(self._units)
        seconds: Floats = np.interp(units, corners, np.array(self._seconds))
        keep = max(int(np.searchsorted(corners, units[-1], side="right")) - 1, 0)
        del self._units[:keep], self._seconds[:keep]
        return seconds
