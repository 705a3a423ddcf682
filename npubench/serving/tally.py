"""Finished requests counted as they come, in memory that does not grow with their number."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from npubench.serving.estimates import ExactSample, Histogram, Sample, batches_for
from npubench.serving.plant import Plant
from npubench.serving.records import Block

__all__ = ["EXACT_LIMIT", "Tally"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# Up to so many latencies are kept (8 MB) and percentiles are exact; above it, a histogram.
EXACT_LIMIT: Final = 1_000_000


class Tally:
    """Sums over the measured requests of one repetition; arrays have one entry per network.

    Attributes:
        requests: measured.
        met: of them, within the bound.
        burst: of them, outside the base mode.
        turnaround: sum of latency / isolated time.
        progress: sum of isolated time / latency.
        latency_ps, isolated_ps: sums.
        energy_j: sum; NaN where a service has no energy.
        drop: sum of accuracy drops in points; NaN where one is unknown.
        by_npu: measured requests by NPU.
        late_by_batch: measured requests beyond their bound, in each batch of the run.
        first_arrival_ps: of the first measured request.
    """

    def __init__(
        self, plant: Plant, total: int, warmup: float, samples: int = 1, *, exact: bool = False
    ) -> None:
        count = len(plant.networks)
        self._cut = int(total * warmup) // samples * samples
        self._measured = total - self._cut
        self._samples = samples
        self._slo = np.array(plant.slo_ps, dtype=np.int64)
        self._isolated = np.array(plant.isolated_ps, dtype=np.float64)
        self._drops = _drops(plant)
        self.requests = np.zeros(count, dtype=np.int64)
        self.met = np.zeros(count, dtype=np.int64)
        self.burst = np.zeros(count, dtype=np.int64)
        self.turnaround = np.zeros(count)
        self.progress = np.zeros(count)
        self.latency_ps = np.zeros(count)
        self.isolated_ps = np.zeros(count)
        self.energy_j = np.zeros(count)
        self.drop = np.zeros(count)
        self.by_npu = np.zeros(len(plant.npus), dtype=np.int64)
        self._batches = batches_for(self._measured)
        self.late_by_batch = np.zeros(self._batches, dtype=np.int64)
        self.first_arrival_ps = 2**63 - 1
        keeps = exact or samples > 1 or self._measured <= EXACT_LIMIT
        self._latencies = np.zeros(self._measured, dtype=np.int64) if keeps else None
        self._histogram = None if keeps else Histogram(self._measured)

    def add(self, block: Block) -> None:
        """Count finished requests; those of the warm-up are passed over."""
        block = block.since(self._cut)
        if not len(block.requests):
            return
        networks = block.networks
        latencies = block.finishes_ps - block.arrivals_ps
        isolated = self._isolated[networks]
        if block.sizes is not None:
            isolated = isolated * block.sizes
        count = len(self.requests)
        ratio = latencies / isolated

        def summed(values: NDArray[np.generic]) -> Floats:
            if count == 1:
                return np.array([np.sum(values, dtype=np.float64)])
            found = np.bincount(networks, weights=values.astype(np.float64), minlength=count)
            return found.astype(np.float64)

        self.requests += np.bincount(networks, minlength=count)
        late = latencies > self._slo[networks]
        self.met += summed(~late).astype(np.int64)
        self.burst += summed(block.modes > 0).astype(np.int64)
        self.turnaround += summed(ratio)
        self.progress += summed(1 / ratio)
        self.latency_ps += summed(latencies)
        self.isolated_ps += summed(isolated)
        self.energy_j += summed(block.energies_j)
        self.drop += summed(self._drops[block.npus, block.modes, networks])
        self.by_npu += np.bincount(block.npus, minlength=len(self.by_npu))
        self.first_arrival_ps = min(self.first_arrival_ps, int(block.arrivals_ps.min()))
        positions = block.requests - self._cut
        batches = positions[late] * self._batches // self._measured
        self.late_by_batch += np.bincount(batches, minlength=self._batches)
        if self._latencies is not None:
            self._latencies[positions] = latencies
        if self._histogram is not None:
            self._histogram.add(latencies, positions)

    @property
    def sample(self) -> Sample:
        """Latencies of the measured requests, or of their queries when several go together."""
        if self._latencies is None:
            assert self._histogram is not None  # one of the two is kept
            return self._histogram
        return ExactSample(self.query_latencies())

    def query_latencies(self) -> Ints:
        """Latency of each measured query, in order; the last of its samples counts."""
        assert self._latencies is not None  # closed loops keep them
        if self._samples == 1:
            return self._latencies
        return np.asarray(self._latencies.reshape(-1, self._samples).max(axis=1))


def _drops(plant: Plant) -> Floats:
    """Accuracy drops in points, shape (NPU, mode, network); NaN where unknown."""
    found = np.full((len(plant.npus), plant.width, len(plant.networks)), np.nan)
    for npu, per_mode in enumerate(plant.services):
        for mode, row in enumerate(per_mode):
            for network, service in enumerate(row):
                if service is not None and service.accuracy_drop is not None:
                    found[npu, mode, network] = service.accuracy_drop
    return found
