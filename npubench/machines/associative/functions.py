"""Which programs a vector layer runs: pooling, activations, sums, normalisation, tables.

Each step is a program, the segments that execute it, and how often. Words have the width at which
their tensor is stored, 1 to 16 bits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from npubench.ir import Network, VectorKind, VectorLayer
from npubench.machines.associative.operations.arithmetic import add, multiply
from npubench.machines.associative.operations.constants import clip_to
from npubench.machines.associative.operations.divide import divide
from npubench.machines.associative.operations.normalize import layer_norm, softmax
from npubench.machines.associative.operations.pooling import mean_pool
from npubench.machines.associative.operations.requantize import requantize, residual_add
from npubench.machines.associative.operations.select import (
    MAX_TABLE_BITS,
    gelu_table,
    lookup,
    max_pool_rows,
    relu,
    sigmoid_table,
)
from npubench.machines.associative.program import MAX_OPERAND_BITS, Program
from npubench.machines.associative.reduction import tree_reduction
from npubench.machines.associative.spec import AssociativeSpec

__all__ = ["KINDS", "Step", "steps_of", "word_bits"]

_FRACTION_BITS = 8
_MOST_WORDS = 1 << 16

_POOLING = (VectorKind.POOL, VectorKind.REDUCE)
KINDS: Mapping[VectorKind, str] = MappingProxyType(
    {kind: "pooling" if kind in _POOLING else kind.value for kind in VectorKind}
)
"""What the work of each kind of vector layer is called in results; a mean over a whole image is
pooling, however the network writes it, and ``reduction`` is that of scalar products."""


@dataclass(frozen=True, slots=True)
class Step:
    """A program over `segments`, `times` one after another."""

    program: Program
    segments: int
    times: int = 1


def word_bits(bits: int) -> int:
    """Width of a word for a tensor stored at `bits`: programs end at 16."""
    return min(max(bits, 1), MAX_OPERAND_BITS)


@dataclass(frozen=True, slots=True)
class _Work:
    """A vector layer as the tables below see it: widths, and elements of its result."""

    spec: AssociativeSpec
    layer: VectorLayer
    a_bits: int
    b_bits: int
    out_bits: int
    elements: int
    operands: int

    @property
    def window(self) -> int:
        return max(self.layer.window, 1)


def steps_of(
    spec: AssociativeSpec, network: Network, layer: VectorLayer, bits: Mapping[str, int]
) -> tuple[tuple[Step, ...], str]:
    """The programs of a vector layer, and in words how they stand for it where that is not plain.

    Args:
        spec: machine.
        network: gives the tensors.
        layer: one trip of it.
        bits: storage width by tensor.
    """
    data = [n for n in layer.inputs if n in network.tensors and network.tensors[n].elements > 1]
    data = data or [name for name in layer.inputs if name in network.tensors]
    widths = [word_bits(bits[name]) for name in data] or [word_bits(bits[layer.outputs[0]])]
    work = _Work(
        spec=spec,
        layer=layer,
        a_bits=widths[0],
        b_bits=widths[1] if len(widths) > 1 else widths[0],
        out_bits=word_bits(bits[layer.outputs[0]]),
        elements=max(network.tensors[layer.outputs[0]].elements, 1),
        operands=len(data),
    )
    made = _by_operator(work)
    if made is not None:
        return made, ""
    return _generic(work), "by additions and tables of its operations"


def _by_operator(work: _Work) -> tuple[Step, ...] | None:
    """Programs of the operators that have their own; None for the others."""
    op = work.layer.op.rpartition(".")[2].rpartition("::")[2]
    kind = work.layer.kind
    if kind in _POOLING:
        return _windows(work, op)
    if kind is VectorKind.SOFTMAX:
        return _softmax(work)
    if kind is VectorKind.NORMALIZATION:
        return _normalization(work, op)
    if kind is VectorKind.QUANTIZE:
        return (Step(_requantize(work, work.a_bits), work.elements),)
    maker = _ELEMENTS.get(op)
    if maker is not None:
        return maker(work)
    return None


def _split(work: _Work, make: Callable[[int], Program], results: int) -> tuple[Step, ...]:
    """A program over windows; a window longer than a CAP goes in pieces, then over the pieces."""
    room = work.spec.organisation.rows.integer
    if work.spec.organisation.resources == "unlimited" or work.window <= room:
        return (Step(make(work.window), results),)
    pieces = -(-work.window // room)
    return (Step(make(room), results * pieces), Step(make(pieces), results))


def _windows(work: _Work, op: str) -> tuple[Step, ...] | None:
    signed = work.spec.activations == "signed"
    if work.window > _MOST_WORDS:
        return None
    if "Max" in op:
        passes = work.spec.max_passes
        return _split(
            work,
            lambda n: max_pool_rows(work.a_bits, n, signed=signed, passes=passes),
            work.elements,
        )
    if "Average" in op or "Mean" in op:
        return _split(work, lambda n: mean_pool(work.a_bits, n, signed=signed), work.elements)
    if "Sum" in op:
        return _split(work, lambda n: tree_reduction(n, work.a_bits, signed=signed), work.elements)
    return None


def _softmax(work: _Work) -> tuple[Step, ...] | None:
    bits = min(work.a_bits, MAX_TABLE_BITS)
    if work.window > _MOST_WORDS:
        return None
    return _split(
        work,
        lambda n: softmax(n, bits, fraction_bits=bits // 2, out_bits=work.out_bits),
        -(-work.elements // work.window),
    )


def _normalization(work: _Work, op: str) -> tuple[Step, ...] | None:
    if op == "BatchNormalization":
        return (Step(_requantize(work, work.a_bits, bias=True), work.elements),)
    if op not in ("LayerNormalization", "InstanceNormalization", "GroupNormalization"):
        return None
    if work.window > _MOST_WORDS:
        return None
    normal = _split(
        work,
        lambda n: layer_norm(n, work.a_bits, fraction_bits=_FRACTION_BITS),
        -(-work.elements // work.window),
    )
    scaled = Step(_requantize(work, _FRACTION_BITS + 2, bias=True), work.elements)
    return (*normal, scaled)


def _requantize(work: _Work, bits: int, *, bias: bool = False) -> Program:
    factor = work.spec.multiplier_bits.integer
    shift = min(max(bits + factor - work.out_bits, 0), bits + factor)
    return requantize(bits, factor, shift, work.out_bits, bias=bias)


def _relu(work: _Work) -> tuple[Step, ...]:
    return (Step(relu(work.a_bits, one_shot=work.spec.relu == "one_shot"), work.elements),)


def _clip(work: _Work) -> tuple[Step, ...]:
    top = (1 << (work.a_bits - 1)) - 1
    return (*_relu(work), Step(clip_to(work.a_bits, top, signed=True), work.elements))


def _sum(work: _Work) -> tuple[Step, ...] | None:
    if work.operands < 2:
        return (Step(add(work.a_bits, work.a_bits, signed=True), work.elements),)
    factor = work.spec.multiplier_bits.integer
    bits = max(work.a_bits, work.b_bits)
    program = residual_add(
        work.a_bits, work.b_bits, factor, min(factor, bits + factor), work.out_bits
    )
    return (Step(program, work.elements, work.operands - 1),)


def _product(work: _Work) -> tuple[Step, ...]:
    program = multiply(work.a_bits, work.b_bits, a_signed=True, b_signed=True)
    return (
        Step(program, work.elements),
        Step(_requantize(work, work.a_bits + work.b_bits), work.elements),
    )


def _quotient(work: _Work) -> tuple[Step, ...]:
    return (Step(divide(work.a_bits, work.b_bits, fraction_bits=work.b_bits), work.elements),)


def _table(work: _Work, table: tuple[int, ...] | None = None) -> tuple[Step, ...]:
    """A function by table; one without a table of its own counts every entry."""
    bits = min(work.a_bits, MAX_TABLE_BITS)
    if table is None:
        table = tuple(index | 1 for index in range(1 << bits))
        return (Step(lookup(table, bits), work.elements),)
    signed = min(table) < 0
    return (Step(lookup(table, work.out_bits if not signed else bits, signed=signed),
                 work.elements),)  # fmt: skip


def _sigmoid(work: _Work) -> tuple[Step, ...]:
    bits = min(work.a_bits, MAX_TABLE_BITS)
    return _table(work, sigmoid_table(bits, max(bits - 4, 0), work.out_bits))


def _gelu(work: _Work) -> tuple[Step, ...]:
    bits = min(work.a_bits, MAX_TABLE_BITS)
    return _table(work, gelu_table(bits, max(bits - 4, 0)))


_ELEMENTS: Mapping[str, Callable[[_Work], tuple[Step, ...] | None]] = MappingProxyType(
    {
        "Relu": _relu,
        "Clip": _clip,
        "Add": _sum,
        "Sub": _sum,
        "Sum": _sum,
        "Mul": _product,
        "Div": _quotient,
        "Sigmoid": _sigmoid,
        "Gelu": _gelu,
        **dict.fromkeys(
            ("Tanh", "Exp", "Erf", "Sqrt", "Reciprocal", "HardSwish", "HardSigmoid", "Elu",
             "Softplus", "Swish", "Silu", "Mish", "Log", "Pow", "Sin", "Cos"),
            _table,
        ),
    }
)  # fmt: skip


def _generic(work: _Work) -> tuple[Step, ...]:
    """Simple operations as additions, special ones as tables, spread over the result's elements."""
    alu = -(-work.layer.alu_ops // work.elements)
    special = -(-work.layer.special_ops // work.elements)
    steps = []
    if alu:
        bits = max(work.a_bits, work.out_bits)
        steps.append(Step(add(bits, bits, signed=True), work.elements, alu))
    if special:
        (one,) = _table(work)
        steps.append(Step(one.program, work.elements, special))
    return tuple(steps)
