"""Bits through the registers inside the array, by the constant that prices them."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import numpy.typing as npt

from npubench.machines.array.core import Core
from npubench.machines.array.spec import ArraySpec, PEFormatSpec
from npubench.machines.array.systolic import Dataflow
from npubench.machines.array.tiles import OperandBits
from npubench.machines.array.unrolled import UnrolledCore
from npubench.specs.quantity import Quantity

__all__ = ["register_use"]

# One layer's figure, or one figure for each tile of a table.
Amount = TypeVar("Amount", float, npt.NDArray[np.float64])


def register_use(
    spec: ArraySpec,
    fmt: PEFormatSpec,
    bits: OperandBits,
    core: Core,
    macs: Amount,
    held_writes: Amount,
) -> list[tuple[str, Quantity, Amount]]:
    """(path of the constant, the constant, bits) of every kind of register; linear in the work.

    Systolic: of the three operands one stays. For each MAC the streamed operand and the partial
    sum are written into the next PE's register (a PE that packs MACs along the reduction writes
    one partial sum for all of them); the held operand is written when it is loaded, in every PE
    that it passes on the way down its column.

    Unrolled: for each MAC the registers that a PE has are read, and the partial sum written back;
    weights are written when they are loaded, once for every PE that holds them; partial sums hop
    where the reduction lies across PEs. ZigZag counts a weight that stays put as read once.

    Args:
        macs, held_writes: numbers, or numpy arrays of one entry a tile.
    """
    array = spec.array
    if isinstance(core, UnrolledCore):
        return _unrolled(spec, bits, core, macs, held_writes)
    assert array.register_energy is not None  # the schema demands it with this dataflow
    sums = macs / (fmt.macs_per_pe.value if fmt.packed_along == "reduction" else 1.0)
    moved = {
        Dataflow.WEIGHT_STATIONARY: macs * bits.input + held_writes * bits.weight,
        Dataflow.OUTPUT_STATIONARY: macs * (bits.input + bits.weight),
        Dataflow.INPUT_STATIONARY: macs * bits.weight + held_writes * bits.input,
    }[Dataflow(array.dataflow)]
    return [("array.register_energy", array.register_energy, moved + sums * bits.partial)]


def _unrolled(
    spec: ArraySpec, bits: OperandBits, core: UnrolledCore, macs: Amount, held_writes: Amount
) -> list[tuple[str, Quantity, Amount]]:
    registers = spec.array.registers
    assert registers is not None  # the schema demands them with this dataflow
    loaded = held_writes * bits.weight
    path = "array.registers.energy"
    if spec.counting == "zigzag":
        alternates = core.kept.outputs * core.kept.inputs > 1
        read = macs * bits.weight if alternates else loaded
        return [(path, registers.energy, loaded + read)]
    per_mac = bits.weight
    per_mac += bits.input if registers.input is not None else 0
    per_mac += 2 * bits.partial if registers.output is not None else 0
    use = [(path, registers.energy, macs * per_mac + loaded)]
    if core.products_per_hop:
        hops = macs / core.products_per_hop * bits.partial
        use.append(("array.registers.hop_energy", registers.hop_energy, hops))
    return use
