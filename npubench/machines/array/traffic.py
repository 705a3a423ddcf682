"""Bits through every memory port: what the words of a mapping mean for reads and writes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise

from npubench.machines.array.flows import finished_bits, leaving_bits
from npubench.machines.array.mapping import ArrayMapping, MappedLayer, home_memory
from npubench.machines.array.spec import ArraySpec, MemorySpec, Operand
from npubench.machines.array.tiles import OperandBits

__all__ = ["Crossing", "Ports", "mac_traffic", "tensor_traffic"]


@dataclass(frozen=True, slots=True)
class Crossing:
    """Words over the boundary between two memories, all of one kind.

    Attributes:
        inner, outer: the memories; ``serial``: whether everything waits while the words cross.
        operand: what they are.
        words: how many.
        inner_read, inner_written, outer_read, outer_written: bits a word at each port.
        converted: whether each passes the quantization unit.
    """

    inner: MemorySpec
    outer: MemorySpec
    operand: str
    words: int
    inner_read: int = 0
    inner_written: int = 0
    outer_read: int = 0
    outer_written: int = 0
    converted: bool = False
    serial: bool = False

    def busy_bits(self, memory: MemorySpec) -> int:
        """Bits a word at the busiest port of either memory."""
        inner = memory is self.inner
        read = self.inner_read if inner else self.outer_read
        written = self.inner_written if inner else self.outer_written
        return max(read, written) if memory.ports == "separate" else read + written


@dataclass(slots=True)
class Ports:
    """Bits read from and written to each memory for each operand, while being added up.

    Attributes:
        read, written: bits by (memory, operand).
        converted: weights through the quantization unit.
        transfers: what crosses while everything else waits; its bits are in ``read`` and
            ``written``, and its weights in ``converted``.
    """

    read: Counter[tuple[str, str]] = field(default_factory=Counter)
    written: Counter[tuple[str, str]] = field(default_factory=Counter)
    converted: int = 0
    transfers: list[Crossing] = field(default_factory=list)

    def cross(self, crossing: Crossing) -> None:
        """Add what crosses a boundary."""
        self._add(crossing, crossing.words)
        self.converted += crossing.words * crossing.converted
        if crossing.serial and crossing.words:
            self.transfers.append(crossing)

    def bits(self, memory: str) -> tuple[int, int]:
        """(bits read, bits written) of one memory."""
        return (
            sum(n for (name, _), n in self.read.items() if name == memory),
            sum(n for (name, _), n in self.written.items() if name == memory),
        )

    def beside_work(self) -> Ports:
        """What passes while the machine works: everything but the transfers that it waits for."""
        if not self.transfers:
            return self
        beside = Ports(self.read.copy(), self.written.copy(), self.converted)
        for crossing in self.transfers:
            beside._add(crossing, -crossing.words)
            beside.converted -= crossing.words * crossing.converted
        return beside

    def busiest_operand(self, memory: str) -> str:
        """The operand with most bits through a memory's ports."""
        total: Counter[str] = Counter()
        for table in (self.read, self.written):
            for (name, operand), bits in table.items():
                if name == memory:
                    total[operand] += bits
        return max(total, key=lambda operand: (total[operand], operand))

    def busy_bits(self, memory: MemorySpec) -> int:
        """Bits of the busiest port of a memory."""
        read, written = self.bits(memory.name)
        return max(read, written) if memory.ports == "separate" else read + written

    def _add(self, crossing: Crossing, words: int) -> None:
        inner = crossing.inner.name, crossing.operand
        outer = crossing.outer.name, crossing.operand
        self.read[inner] += words * crossing.inner_read
        self.written[inner] += words * crossing.inner_written
        self.read[outer] += words * crossing.outer_read
        self.written[outer] += words * crossing.outer_written


def mac_traffic(spec: ArraySpec, layer: MappedLayer, trips: int, bias_elements: int) -> Ports:
    """Traffic of a multiply-accumulate layer, all trips.

    Every word that crosses a boundary is read on one side and written on the other. A partial sum
    that is taken up again is read back first, at the accumulator's width; finished outputs leave
    at their own.
    """
    ports = Ports()
    for operand in ("input", "weight"):
        chain = _active_chain(spec, layer, operand)
        lane = chain[0].lane_bits(layer.bits.of(operand))
        ports.read[chain[0].name, operand] += layer.work.core.of(operand) * trips * lane
        for inner, outer in pairwise(chain):
            words = layer.work.boundaries[inner.name].of(operand) * trips
            ports.cross(_inwards(inner, outer, operand, words, layer.bits))
    inner, outer = spec.chain("weight")[-2:]
    if layer.weights_loaded:
        ports.cross(_inwards(inner, outer, "weight", layer.weights_loaded, layer.bits))
    _output_traffic(spec, layer, trips, ports)
    if bias_elements:
        width = layer.bits.partial
        first = spec.chain("weight")[0]
        ports.read[first.name, "weight"] += bias_elements * first.lane_bits(width)
        for inner, outer in pairwise(spec.chain("weight")):
            ports.cross(
                Crossing(
                    inner,
                    outer,
                    "weight",
                    bias_elements,
                    inner_written=inner.lane_bits(width),
                    outer_read=outer.lane_bits(width),
                    serial=inner.serial,
                )
            )
    return ports


def _inwards(
    inner: MemorySpec, outer: MemorySpec, operand: str, words: int, bits: OperandBits
) -> Crossing:
    """Inputs or weights that come in; weights as they are stored go to the unit and back."""
    arriving = bits.stored_weight if operand == "weight" and outer.off_chip else None
    converted = arriving is not None
    width = bits.of(operand)
    stored = inner.lane_bits(arriving) if arriving is not None else 0
    return Crossing(
        inner,
        outer,
        operand,
        words,
        inner_read=stored,
        inner_written=stored + inner.lane_bits(width),
        outer_read=outer.lane_bits(width if arriving is None else arriving),
        converted=converted,
        serial=inner.serial,
    )


def tensor_traffic(
    spec: ArraySpec,
    mapping: ArrayMapping,
    reads: Mapping[str, int],
    writes: Mapping[str, int],
) -> Ports:
    """Traffic of a layer that reads and writes whole tensors through the home memory.

    Tensors that stay on chip touch only the home memory; others come from and go to the outermost
    memory through it. Without a home memory everything passes the innermost on-chip ones.

    Args:
        reads, writes: elements by tensor name.
    """
    ports = Ports()
    home = home_memory(spec)
    for operand, elements_of in (("input", reads), ("output", writes)):
        chain = spec.chain(_operand(operand))
        near, far = home or chain[0], chain[-1]
        serial = any(memory.serial for memory in chain[chain.index(near) : -1])
        for name, elements in elements_of.items():
            width, outer = near.lane_bits(mapping.bits[name]), far.lane_bits(mapping.bits[name])
            outwards = operand == "output"
            side = ports.written if outwards else ports.read
            side[near.name, operand] += elements * width
            if not mapping.residency.holds(name):
                ports.cross(
                    Crossing(
                        near,
                        far,
                        operand,
                        elements,
                        inner_read=width * outwards,
                        inner_written=width * (not outwards),
                        outer_read=outer * (not outwards),
                        outer_written=outer * outwards,
                        serial=serial,
                    )
                )
    return ports


def _operand(name: str) -> Operand:
    return "input" if name == "input" else "output"


def _active_chain(spec: ArraySpec, layer: MappedLayer, operand: str) -> tuple[MemorySpec, ...]:
    """The memories an operand passes: up to the home memory when it stays there."""
    chain = spec.chain(
        "weight" if operand == "weight" else "input" if operand == "input" else "output"
    )
    if operand not in layer.resident:
        return chain
    home = home_memory(spec)
    if operand == "weight" and (home is None or home not in chain):
        return chain[:-1]
    return chain[: chain.index(home) + 1] if home is not None else chain


def _output_traffic(spec: ArraySpec, layer: MappedLayer, trips: int, ports: Ports) -> None:
    chain = _active_chain(spec, layer, "output")
    bits = layer.bits
    finished = layer.core.shape.nest.output_elements * trips
    again = layer.work.core.output * trips - finished
    partial, full = _output_lanes(chain[0], bits)
    ports.written[chain[0].name, "output"] += again * partial + finished * full
    ports.read[chain[0].name, "output"] += again * partial
    if bits.sums is not None and bits.sums.first_read:
        ports.read[chain[0].name, "output"] += finished * chain[0].lane_bits(bits.sums.first_read)
    for inner, outer in pairwise(chain):
        # What comes back for more is read outside and written inside again.
        words = layer.work.boundaries[inner.name].output * trips
        again, last = words - finished, finished
        if bits.sums is not None and again:
            again, last = words, 0
        partial, _ = _output_lanes(inner, bits)
        partial_out, full_out = _output_lanes(outer, bits)
        ways = (
            (again, (partial, 0, 0, partial_out)),
            (again, (0, partial, partial_out, 0)),
            (last, (inner.lane_bits(leaving_bits(inner, bits)), 0, 0, full_out)),
        )
        for words, widths in ways:
            ports.cross(Crossing(inner, outer, "output", words, *widths, serial=inner.serial))


def _output_lanes(memory: MemorySpec, bits: OperandBits) -> tuple[int, int]:
    """Bits of a partial sum and of a finished output in a memory."""
    return memory.lane_bits(bits.partial), memory.lane_bits(finished_bits(memory, bits))
