"""Finished requests as columns: from the event loop's buffers to statistics and files."""

from __future__ import annotations

from array import array
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from npubench.serving.arrivals import CHUNK, Chunk
from npubench.serving.plant import Plant

__all__ = ["RECORD", "Block", "Sink", "to_records"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# One row per request; times in picoseconds, NPU, mode and network as indices (mode: the least
# accurate one that the request ran in), energy in joules (NaN where the table has none).
RECORD: Final = np.dtype(
    [
        ("request", np.int64),
        ("network", np.int16),
        ("npu", np.int16),
        ("mode", np.int16),
        ("arrival_ps", np.int64),
        ("start_ps", np.int64),
        ("finish_ps", np.int64),
        ("energy_j", np.float64),
        ("met_slo", np.bool_),
    ]
)


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """Finished requests, in the order in which they finished; every column has shape (n,).

    ``batches`` holds the number of requests served together with each one.
    """

    requests: Ints
    networks: Ints
    sizes: Floats | None
    npus: Ints
    modes: Ints
    arrivals_ps: Ints
    starts_ps: Ints
    finishes_ps: Ints
    batches: Ints | None
    energies_j: Floats

    def since(self, first: int) -> Block:
        """The rows of requests from number ``first`` on."""
        kept = self.requests >= first
        if kept.all():
            return self
        return Block(
            self.requests[kept],
            self.networks[kept],
            None if self.sizes is None else self.sizes[kept],
            self.npus[kept],
            self.modes[kept],
            self.arrivals_ps[kept],
            self.starts_ps[kept],
            self.finishes_ps[kept],
            None if self.batches is None else self.batches[kept],
            self.energies_j[kept],
        )


def to_records(blocks: list[Block], slo_ps: list[int]) -> NDArray[np.void]:
    """Blocks as one structured array of `RECORD`, by request number."""
    count = sum(len(block.requests) for block in blocks)
    records = np.empty(count, dtype=RECORD)
    first = 0
    for block in blocks:
        rows = records[first : first + len(block.requests)]
        rows["request"] = block.requests
        rows["network"] = block.networks
        rows["npu"] = block.npus
        rows["mode"] = block.modes
        rows["arrival_ps"] = block.arrivals_ps
        rows["start_ps"] = block.starts_ps
        rows["finish_ps"] = block.finishes_ps
        rows["energy_j"] = block.energies_j
        first += len(rows)
    bounds = np.array(slo_ps, dtype=np.int64)[records["network"]]
    records["met_slo"] = records["finish_ps"] - records["arrival_ps"] <= bounds
    return records[np.argsort(records["request"], kind="stable")]


class _Window:
    """What is known of the requests from the oldest unfinished one on, in a ring.

    It grows with the spread between the oldest and the newest unfinished request, not with their
    number over the run.
    """

    def __init__(self) -> None:
        self._size = 2 * CHUNK
        self._tail = 0  # every request below it has finished
        self._head = 0
        self._arrivals: Ints = np.zeros(self._size, dtype=np.int64)
        self._networks: Ints = np.zeros(self._size, dtype=np.int64)
        self._sizes: Floats | None = None
        self._done: NDArray[np.bool_] = np.zeros(self._size, dtype=np.bool_)

    def add(self, chunk: Chunk) -> None:
        """Take in new requests."""
        head = chunk.first + len(chunk.times_ps)
        if head - self._tail > self._size:
            self._advance()
        while head - self._tail > self._size:
            self._grow()
        places = np.arange(chunk.first, head) & (self._size - 1)
        self._arrivals[places] = chunk.times_ps
        self._networks[places] = chunk.networks
        if chunk.sizes is not None:
            if self._sizes is None:
                self._sizes = np.ones(self._size)
            self._sizes[places] = chunk.sizes
        self._done[places] = False
        self._head = head

    def take(self, requests: Ints) -> tuple[Ints, Ints, Floats | None]:
        """Arrivals, networks and sizes of finished requests."""
        places = requests & (self._size - 1)
        self._done[places] = True
        sizes = None if self._sizes is None else self._sizes[places]
        return self._arrivals[places], self._networks[places], sizes

    def _advance(self) -> None:
        done = self._done[np.arange(self._tail, self._head) & (self._size - 1)]
        unfinished = np.flatnonzero(~done)
        self._tail += int(unfinished[0]) if len(unfinished) else len(done)

    def _grow(self) -> None:
        span = np.arange(self._tail, self._head)
        old, new = span & (self._size - 1), span & (2 * self._size - 1)
        self._arrivals = _moved(self._arrivals, old, new)
        self._networks = _moved(self._networks, old, new)
        self._done = _moved(self._done, old, new)
        if self._sizes is not None:
            self._sizes = _moved(self._sizes, old, new)
        self._size *= 2


_Scalar = TypeVar("_Scalar", bound=np.generic)


def _moved(ring: NDArray[_Scalar], old: Ints, new: Ints) -> NDArray[_Scalar]:
    """A ring of twice the size with its live entries at their new places."""
    larger = np.zeros(2 * len(ring), dtype=ring.dtype)
    larger[new] = ring[old]
    return larger


class Sink:
    """Buffers of the event loop; every flush hands a `Block` on.

    The loop appends number, start, finish and place of each finished request to the four buffers.

    Attributes:
        requests, starts, finishes, codes: the buffers; a code is ``npu * plant.width + mode``.
        batches: size of each request's batch; None when nothing is batched.
        mixed_energy_j: joules of requests whose energy is not the table's, by number.
        finished: requests handed on so far.
    """

    def __init__(self, plant: Plant, receive: Callable[[Block], None], *, batched: bool) -> None:
        self.requests, self.starts = array("q"), array("q")
        self.finishes, self.codes = array("q"), array("q")
        self.batches = array("q") if batched else None
        self.mixed_energy_j: dict[int, float] = {}
        self.finished = 0
        self._window = _Window()
        self._receive = receive
        self._width = plant.width
        self._energy = _energy_per_request(plant)

    def expect(self, chunk: Chunk) -> None:
        """Requests whose finish will be flushed from now on."""
        self._window.add(chunk)

    def flush(self) -> None:
        """Hand on what has finished."""
        requests = _drained(self.requests)
        if not len(requests):
            return
        codes = _drained(self.codes)
        batches = None if self.batches is None else _drained(self.batches)
        self.receive(requests, codes, _drained(self.starts), _drained(self.finishes), batches)

    def receive(
        self, requests: Ints, codes: Ints, starts: Ints, finishes: Ints, batches: Ints | None
    ) -> None:
        """Hand on finished requests given as arrays."""
        arrivals, networks, sizes = self._window.take(requests)
        npus, modes = np.divmod(codes, self._width)
        energies = self._energy[0 if batches is None else batches - 1, npus, modes, networks]
        if sizes is not None:
            energies = energies * sizes
        if self.mixed_energy_j:
            place = {number: index for index, number in enumerate(requests.tolist())}
            for number in [n for n in self.mixed_energy_j if n in place]:
                energies[place[number]] = self.mixed_energy_j.pop(number)
        self.finished += len(requests)
        block = Block(
            requests, networks, sizes, npus, modes, arrivals, starts, finishes, batches, energies
        )
        self._receive(block)


def _drained(buffer: array[int]) -> Ints:
    """A copy of a buffer as an array; the buffer is empty afterwards."""
    values = np.array(buffer, dtype=np.int64)
    del buffer[:]
    return values


def _energy_per_request(plant: Plant) -> Floats:
    """Joules per request, shape (batch size, NPU, mode, network); NaN where unknown."""
    services = [s for npu in plant.services for row in npu for s in row if s is not None]
    sizes = max(len(service.time_ps) for service in services)
    found = np.full((sizes, len(plant.npus), plant.width, len(plant.networks)), np.nan)
    for npu, per_mode in enumerate(plant.services):
        for mode, row in enumerate(per_mode):
            for network, service in enumerate(row):
                if service is not None:
                    for index, joules in enumerate(service.energy_j):
                        found[index, npu, mode, network] = joules / (index + 1)
    return found
