"""The schema of family ``array``: a PE array, its memories inside to outside, a vector unit."""

from __future__ import annotations

from typing import Literal

from pydantic import field_validator, model_validator
from pydantic_core import PydanticCustomError

from npubench.errors import InputError
from npubench.ir import Format, parse_format
from npubench.machines.array.conversion import QuantizationUnitSpec
from npubench.machines.array.systolic import Dataflow
from npubench.machines.common.area import AreaSpec
from npubench.machines.common.voltage import VoltageSpec
from npubench.specs.header import SpecHeader
from npubench.specs.quantity import (
    REFUSAL,
    Area,
    Bandwidth,
    Capacity,
    Count,
    CycleBandwidth,
    Energy,
    EnergyPerBit,
    Frequency,
    Power,
    SpecModel,
)

__all__ = ["ArraySpec", "MemorySpec", "PEArraySpec", "PEFormatSpec", "VectorUnitSpec"]

Operand = Literal["input", "weight", "output"]
OPERANDS: tuple[Operand, ...] = ("input", "weight", "output")
UnrollDim = Literal["B", "G", "K", "C", "OZ", "OY", "OX", "FZ", "FY", "FX"]


def _refuse(message: str, hint: str | None = None) -> PydanticCustomError:
    return PydanticCustomError(REFUSAL, "{message}", {"message": message, "hint": hint})


class PEFormatSpec(SpecModel):
    """A number format that the PEs multiply, and what one such MAC takes.

    Attributes:
        weight, activation: formats of the held and the streamed operand.
        accumulator: format of partial sums.
        macs_per_pe: MACs one PE does in a cycle.
        packed_along: where the extra MACs of a PE come from: a longer reduction (as if the array
            had more rows) or more output channels (as if it had more columns).
        mac_energy: multiply and add, joules a MAC.
    """

    weight: str
    activation: str
    accumulator: str
    macs_per_pe: Count
    packed_along: Literal["reduction", "columns"] = "reduction"
    mac_energy: Energy

    @field_validator("weight", "activation", "accumulator")
    @classmethod
    def _known_format(cls, text: str) -> str:
        try:
            return parse_format(text).name
        except InputError as error:
            raise _refuse(error.problems[0].message) from None

    @property
    def weight_format(self) -> Format:
        """The held operand's format."""
        return parse_format(self.weight)

    @property
    def activation_format(self) -> Format:
        """The streamed operand's format."""
        return parse_format(self.activation)

    @property
    def accumulator_bits(self) -> int:
        """Width of a partial sum."""
        return parse_format(self.accumulator).bits


class UnrollingSpec(SpecModel):
    """Which loops lie across the array, for ``dataflow: unrolled``.

    Attributes:
        rows, cols: loops a side may carry; the mapper chooses how much of each.
        kept: kernel loops that run inside a PE. With FX a PE slides along an input line and reads
            each input once; without it every product fetches its input.
        skewed: operands enter one row and one column a cycle, as in a systolic array, and a
            layer pays the skew once.
    """

    rows: tuple[UnrollDim, ...]
    cols: tuple[UnrollDim, ...]
    kept: tuple[Literal["FZ", "FY", "FX"], ...] = ("FX",)
    skewed: bool = False


class RegistersSpec(SpecModel):
    """Storage inside one PE, for ``dataflow: unrolled``.

    Attributes:
        weight: capacity per PE for weights.
        input, output: the same for inputs and partial sums; left out where these only pass
            through a PE (and partial sums then leave it every cycle).
        energy: joules a bit, read or written.
        hop_energy: joules a bit handed to the neighbouring PE.
    """

    weight: Capacity
    input: Capacity | None = None
    output: Capacity | None = None
    energy: EnergyPerBit
    hop_energy: EnergyPerBit


class PEArraySpec(SpecModel):
    """The array of processing elements.

    Attributes:
        rows, cols: PEs along each side.
        count: equal arrays that share the memories.
        dataflow: see `Dataflow`.
        weight_load: whether the next stationary operand shifts in behind the running fold.
        drain: whether folds follow each other without emptying the array.
        output_drain: for the output stationary form, whether the R cycles in which a fold's
            results leave are counted.
        register_energy: joules a bit written into a pipeline register of a PE (systolic forms).
        formats: what the PEs multiply, by name.
        default_format: what runs when nothing is asked for.
        unrolling, registers: for ``dataflow: unrolled`` only.
    """

    rows: Count
    cols: Count
    count: Count
    dataflow: Literal["weight_stationary", "output_stationary", "input_stationary", "unrolled"]
    weight_load: Literal["exposed", "double_buffered"] = "double_buffered"
    drain: Literal["per_fold", "pipelined"] = "pipelined"
    output_drain: Literal["counted", "omitted"] = "counted"
    register_energy: EnergyPerBit | None = None
    formats: dict[str, PEFormatSpec]
    default_format: str
    unrolling: UnrollingSpec | None = None
    registers: RegistersSpec | None = None

    @model_validator(mode="after")
    def _consistent(self) -> PEArraySpec:
        if not self.formats:
            raise _refuse("formats: at least one format is needed")
        if self.default_format not in self.formats:
            names = ", ".join(self.formats)
            raise _refuse(f"default_format '{self.default_format}' is not one of: {names}")
        if self.dataflow == Dataflow.UNROLLED.value:
            if self.unrolling is None or self.registers is None:
                raise _refuse("dataflow 'unrolled' needs 'unrolling' and 'registers'")
            if self.count.integer != 1 or any(
                fmt.macs_per_pe.integer != 1 for fmt in self.formats.values()
            ):
                raise _refuse("dataflow 'unrolled' has one array and one MAC per PE")
        elif self.register_energy is None:
            raise _refuse(f"dataflow '{self.dataflow}' needs 'register_energy'")
        elif self.unrolling is not None or self.registers is not None:
            raise _refuse("'unrolling' and 'registers' go with dataflow 'unrolled' only")
        return self


class MemorySpec(SpecModel):
    """One memory level.

    Attributes:
        name: used in results: a stall is ``stall:<name>.<operand>``.
        operands: what it holds.
        capacity: of one instance; may be left out for the outermost memory.
        read_energy, write_energy: joules a bit at this level's port.
        bandwidth: fixed rate, for off-chip memories (does not follow the clock).
        port_width: bits a cycle of one instance, for on-chip memories (follows the clock).
        ports: one port for reads and writes, or one of each at the full rate.
        instances: equal memories side by side, on chip, that share its words evenly.
        word_width: bits read or written at once, see `lane_bits`; left out, widths lose nothing.
        double_buffered: half of the capacity holds the next tile while the first is in use.
        transfers: whether words cross its outer boundary while the machine works, or everything
            else waits for them.
        uneven: whether it may keep an operand while tiles of others change.
        off_chip: outside the die, never scaled by supply voltage; exactly the outermost are.
    """

    name: str
    operands: tuple[Operand, ...]
    capacity: Capacity | None = None
    read_energy: EnergyPerBit
    write_energy: EnergyPerBit
    bandwidth: Bandwidth | None = None
    port_width: CycleBandwidth | None = None
    ports: Literal["shared", "separate"] = "shared"
    instances: Count | None = None
    word_width: Capacity | None = None
    double_buffered: bool = True
    transfers: Literal["overlapped", "serial"] = "overlapped"
    uneven: bool = False
    off_chip: bool = False

    @model_validator(mode="after")
    def _consistent(self) -> MemorySpec:
        if not self.operands or len(set(self.operands)) != len(self.operands):
            raise _refuse("operands: name each of input, weight, output at most once, one at least")
        if (self.bandwidth is None) == (self.port_width is None):
            raise _refuse("give either 'bandwidth' (per second) or 'port_width' (per cycle)")
        if self.capacity is None and not self.off_chip:
            raise _refuse("missing key 'capacity' (only an off-chip memory may leave it out)")
        if self.off_chip and self.instances is not None:
            raise _refuse("instances: give the rate of all channels off chip as one 'bandwidth'")
        if self.off_chip and self.word_width is not None:
            raise _refuse("word_width: only of a memory on chip")
        if self.word_width is not None and self.word_width.value < 1:
            raise _refuse("word_width: a word has at least 1 bit")
        if self.serial and self.off_chip:
            raise _refuse("transfers: an off-chip memory has nothing outside; state it further in")
        if self.serial and self.double_buffered:
            raise _refuse(
                "transfers 'serial' needs 'double_buffered: false'",
                "half of a double-buffered memory is kept free for what comes in during work",
            )
        return self

    @property
    def capacity_bits(self) -> int | None:
        """Of all instances together; None where it is left out."""
        return None if self.capacity is None else int(self.capacity.value) * self._count

    @property
    def port_bits(self) -> float | None:
        """Bits a cycle of all instances together; None where the rate is per second."""
        return None if self.port_width is None else self.port_width.value * self._count

    @property
    def bits_per_s(self) -> float | None:
        """Bits a second of all instances together; None where the rate follows the clock."""
        return None if self.bandwidth is None else self.bandwidth.value * self._count

    def lane_bits(self, bits: int) -> int:
        """Bits that an element of a width takes up here, stored, read or written.

        Words are cut into equal lanes, an element in each: the narrowest lane that holds it.
        Wider elements take whole words.
        """
        if self.word_width is None:
            return bits
        word = int(self.word_width.value)
        if bits >= word:
            return -(-bits // word) * word
        return next(lane for lane in range(bits, word + 1) if word % lane == 0)

    @property
    def _count(self) -> int:
        return 1 if self.instances is None else self.instances.integer

    @property
    def serial(self) -> bool:
        """Whether nothing else happens while words cross the outer boundary."""
        return self.transfers == "serial"


class VectorUnitSpec(SpecModel):
    """The unit for element-wise work, pooling, normalisation and softmax.

    Attributes:
        lanes: additions, multiplications or comparisons a cycle.
        special_cycles: lane cycles of one exponential, division, root or table function.
        alu_energy, special_energy: joules an operation.
        format: number format it works in, for the result's record.
        fused_tails: whether element-wise work on the results of a multiply-accumulate layer runs
            while that layer runs, straight from its outputs.
    """

    lanes: Count
    special_cycles: Count
    alu_energy: Energy
    special_energy: Energy
    format: str = "fp32"
    fused_tails: bool = True


class ArraySpec(SpecHeader):
    """A spec of family ``array``.

    Attributes:
        clock: of the array, the vector unit and every ``port_width``.
        array: the PEs.
        memories: inside to outside; the outermost memory of each operand is off chip.
        vector_unit: element-wise work.
        static_power: drawn all the time, leakage and clock included where the source says so.
        layer_overlap: ``prefetch`` loads the first tile of a layer while the one before runs, so
            that only the first layer waits; ``none`` starts every layer with an empty chip and
            ends it with its last tile written out.
        weights: ``fetched`` from the outermost memory for every inference, or ``kept`` on chip
            between inferences as far as they fit.
        counting: ``npubench``, or ``zigzag`` for the conventions of ZigZag 3.9.1
            (docs/models.md), on arrays of dataflow ``unrolled``.
        area: of the die, where published.
        areas: what PEs and on-chip memories take, from which the area follows where none is
            published, and designs can be held to equal area.
        added_areas: what parts take that ``area`` does not cover, by name: a design built on a
            published one.
        quantization_unit: makes narrow copies of weights on chip, where there is one.
        voltage: the laws by which energies, leakage and clock follow the supply; off-chip memories
            keep theirs. Constants hold at the nominal supply.
    """

    clock: Frequency
    array: PEArraySpec
    memories: tuple[MemorySpec, ...]
    vector_unit: VectorUnitSpec
    static_power: Power
    area: Area | None = None
    areas: AreaSpec | None = None
    added_areas: dict[str, Area] | None = None
    quantization_unit: QuantizationUnitSpec | None = None
    voltage: VoltageSpec | None = None
    layer_overlap: Literal["prefetch", "none"] = "prefetch"
    weights: Literal["fetched", "kept"] = "fetched"
    counting: Literal["npubench", "zigzag"] = "npubench"

    @model_validator(mode="after")
    def _chains(self) -> ArraySpec:
        names = [memory.name for memory in self.memories]
        for name in names:
            if names.count(name) > 1:
                raise _refuse(f"memories: two memories are called '{name}'")
        inside: set[str] = set()
        for memory in self.memories:
            if memory.uneven and (memory.off_chip or not inside):
                raise _refuse(
                    f"memories: 'uneven' of '{memory.name}'",
                    "only of a memory on chip with another one further in",
                )
            inside.add(memory.name)
        if self.counting == "zigzag" and self.array.dataflow != Dataflow.UNROLLED.value:
            raise _refuse("counting 'zigzag' goes with dataflow 'unrolled'")
        unit = self.quantization_unit
        for name in () if unit is None else unit.formats:
            if name not in self.array.formats:
                known = ", ".join(self.array.formats)
                raise _refuse(f"quantization_unit.formats: '{name}' is not one of: {known}")
        for operand in OPERANDS:
            chain = self.chain(operand)
            # Results must have somewhere to be added up, and everything comes from outside.
            if len(chain) < 2:
                raise _refuse(f"memories: {operand} needs an on-chip memory and an off-chip one")
            if not chain[-1].off_chip or any(memory.off_chip for memory in chain[:-1]):
                raise _refuse(
                    f"memories: exactly the outermost memory of {operand} must be off chip"
                )
        return self

    def chain(self, operand: Operand) -> tuple[MemorySpec, ...]:
        """The memories of an operand, inside to outside."""
        return tuple(memory for memory in self.memories if operand in memory.operands)
