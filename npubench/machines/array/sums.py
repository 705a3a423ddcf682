"""Room and reads of sums in accumulators by ZigZag's rules, where a spec asks for them.

The other rules of ``counting: zigzag`` are in `registers` and `unrolled` (docs/models.md has all).
"""

from __future__ import annotations

from dataclasses import replace

from npubench.ir import LoopNest
from npubench.machines.array.spec import ArraySpec
from npubench.machines.array.tiles import OperandBits, SumBits
from npubench.machines.array.unrolled import fastest_unrollings

__all__ = ["with_sums"]

_REDUCED = ("C", "FZ", "FY", "FX")


def with_sums(spec: ArraySpec, nest: LoopNest, bits: OperandBits) -> OperandBits:
    """Widths of a layer's operands, and of its sums where ZigZag's rules hold.

    ZigZag 3.9.1 (its memory allocator and cost model, found by running it):

    * while a loop over time adds to outputs, a sum takes its own width in the accumulators, and
      every writing of one, the first included, goes with a read;
    * where the array adds everything at once, outputs are finished: they take their own width
      there, and none is read before it leaves;
    * either way they leave packed, at their own width;
    * every column has room of its own, which nobody else can use (output channels across columns);
    * further out, outputs of which sums are still to come take the width of sums, and so do all
      their ways in and out, the first one in and the last one out included.
    """
    if spec.counting != "zigzag":
        return bits
    form = spec.array.unrolling
    assert form is not None  # this counting goes with an unrolled array
    columns = spec.array.cols.integer
    best = fastest_unrollings(
        nest.bounds, spec.array.rows.integer, columns, form.rows, form.cols, keep=1
    )[0]
    # Where columns hold other outputs too, all of the room is taken as one.
    apart = tuple(form.cols) == ("K",)
    over_time = any(nest.bounds[dim] > best.of(dim) for dim in _REDUCED)
    sums = SumBits(
        held=bits.partial if over_time else bits.output,
        first_read=bits.partial if over_time else 0,
        leaving=bits.output,
        at_once=best.of("K") if apart else 1,
        columns=columns if apart else 1,
    )
    return replace(bits, sums=sums)
