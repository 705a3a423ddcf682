"""Bits through every memory port: what the words of a mapping mean for reads and writes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from npubench.machines.array.flows import finished_bits
from npubench.machines.array.mapping import ArrayMapping, MappedLayer, home_memory
from npubench.machines.array.spec import ArraySpec, MemorySpec, Operand

__all__ = ["Ports", "mac_traffic", "tensor_traffic"]


@dataclass(slots=True)
class Ports:
    """Bits read from and written to each memory for each operand, while being added up.

    ``converted`` counts weights through the quantization unit.
    """

    read: Counter[tuple[str, str]] = field(default_factory=Counter)
    written: Counter[tuple[str, str]] = field(default_factory=Counter)
    converted: int = 0

    def bits(self, memory: str) -> tuple[int, int]:
        """(bits read, bits written) of one memory."""
        return (
            sum(n for (name, _), n in self.read.items() if name == memory),
            sum(n for (name, _), n in self.written.items() if name == memory),
        )

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


def mac_traffic(spec: ArraySpec, layer: MappedLayer, trips: int, bias_elements: int) -> Ports:
    """Traffic of a multiply-accumulate layer, all trips.

    Every word that crosses a boundary is read on one side and written on the other. A partial sum
    that is taken up again is read back first, at the accumulator's width; finished outputs leave
    at their own.
    """
    ports = Ports()
    for operand in ("input", "weight"):
        chain = _active_chain(spec, layer, operand)
        width = layer.bits.of(operand)
        crossing = layer.work.core.of(operand) * trips
        for index, memory in enumerate(chain):
            ports.read[memory.name, operand] += crossing * width
            if index + 1 == len(chain):
                break
            crossing = layer.work.boundaries[memory.name].of(operand) * trips
            ports.written[memory.name, operand] += crossing * width
    if layer.weights_loaded:
        inner, outer = spec.chain("weight")[-2:]
        ports.read[outer.name, "weight"] += layer.weights_loaded * layer.bits.weight
        ports.written[inner.name, "weight"] += layer.weights_loaded * layer.bits.weight
    _convert(spec, layer, trips, ports)
    _output_traffic(spec, layer, trips, ports)
    if bias_elements:
        for memory in spec.chain("weight"):
            ports.read[memory.name, "weight"] += bias_elements * layer.bits.partial
        for memory in spec.chain("weight")[:-1]:
            ports.written[memory.name, "weight"] += bias_elements * layer.bits.partial
    return ports


def _convert(spec: ArraySpec, layer: MappedLayer, trips: int, ports: Ports) -> None:
    """Weights that come in as they are stored: more bits from outside, and a trip to the unit."""
    stored, narrow = layer.bits.stored_weight, layer.bits.weight
    if stored is None:
        return
    inner, outer = spec.chain("weight")[-2:]
    count = layer.weights_loaded
    if "weight" not in layer.resident:
        count += layer.work.boundaries[inner.name].weight * trips
    ports.converted += count
    ports.read[outer.name, "weight"] += count * (stored - narrow)
    ports.written[inner.name, "weight"] += count * stored  # as stored, beside the narrow copy
    ports.read[inner.name, "weight"] += count * stored


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
    inner = {"input": home or spec.chain("input")[0], "output": home or spec.chain("output")[0]}
    for operand, elements_of, outwards in (("input", reads, False), ("output", writes, True)):
        for name, elements in elements_of.items():
            bits = elements * mapping.bits[name]
            near, far = inner[operand], spec.chain(_operand(operand))[-1]
            first, second = (ports.written, ports.read) if outwards else (ports.read, ports.written)
            first[near.name, operand] += bits
            if not mapping.residency.holds(name):
                second[near.name, operand] += bits
                (ports.written if outwards else ports.read)[far.name, operand] += bits
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
    crossing = layer.work.core.output * trips
    for index, memory in enumerate(chain):
        width = finished_bits(memory, bits)
        again = crossing - finished
        ports.written[memory.name, "output"] += again * bits.partial + finished * width
        ports.read[memory.name, "output"] += again * bits.partial
        if index + 1 == len(chain):
            return
        crossing = layer.work.boundaries[memory.name].output * trips
        # What moves on is read here; what comes back for more is written here again.
        again = crossing - finished
        ports.read[memory.name, "output"] += again * bits.partial + finished * width
        ports.written[memory.name, "output"] += again * bits.partial
