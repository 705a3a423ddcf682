"""Products of two tensors as loop nests, through one description: a contraction.

The labelled axes of two operands fall into four classes: axes of both operands and the result
(batch: G), of the streamed operand and the result (rows: B and OX), of the held operand and the
result (columns: K), and of both operands but not the result (reduction: C). An axis of extent 1
in one operand belongs to the other operand alone, which settles broadcasting.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from npubench.frontend.equation import Labels
from npubench.frontend.graph import Node
from npubench.frontend.lower.context import Scope, Shape, fail
from npubench.ir import LoopNest, Role, VectorKind

__all__ = ["Operand", "contract", "matmul_operands", "row_names"]


@dataclass(frozen=True, slots=True)
class Operand:
    """A tensor of the network with one label per axis."""

    tensor: str
    labels: Labels
    shape: Shape

    def extent(self, label: str) -> int:
        """Extent along a label; 1 where the operand does not have it."""
        return self.shape[self.labels.index(label)] if label in self.labels else 1


def contract(
    scope: Scope,
    node: Node,
    left: Operand,
    right: Operand,
    result: Labels,
    outputs: tuple[str, ...],
    bias: str = "",
    suffix: str = "",
    approximation: str = "",
    scales: tuple[str, ...] = (),
) -> None:
    """Add the multiply-accumulate layer of ``left x right -> result``; outputs are tensors.

    The weight is held; of two activations the right one, and then the products of a batch (G) are
    as many as both operands change together. A weight on the left gives the transposed problem.
    Axes of one operand alone that the result lacks are summed first.

    Raises:
        ModelError: extents of one label differ.
    """
    weights = [scope.tensor(o.tensor).role is Role.WEIGHT for o in (left, right)]
    data, held = (right, left) if weights == [True, False] else (left, right)
    labels = tuple(dict.fromkeys((*data.labels, *held.labels)))
    for label in labels:
        extents = {data.extent(label), held.extent(label)} - {1}
        if len(extents) > 1:
            raise fail(node, f"operands of shapes {left.shape} and {right.shape} do not match")
    data = _sum_alone(scope, node, data, held, result, suffix)
    held = _sum_alone(scope, node, held, data, result, suffix)
    batch = rows = columns = reduced = 1
    leading = 1
    for label in labels:
        streamed, kept = data.extent(label), held.extent(label)
        if streamed != 1 and kept != 1:
            if label in result:
                batch *= streamed
            else:
                reduced *= streamed
        elif streamed != 1:
            rows *= streamed
            if any(weights) and label == data.labels[0]:
                leading = streamed
        else:
            columns *= kept
    if rows == 0:
        leading = 1
    nest = LoopNest(
        B=leading,
        G=batch,
        K=columns,
        C=reduced,
        OX=rows // leading,
        input_extent=(1, 1, rows // leading),
    )
    scope.mac(
        node,
        nest,
        data=data.tensor,
        weight=held.tensor,
        bias=bias,
        outputs=outputs,
        suffix=suffix,
        approximation=approximation,
        weight_batched=not any(weights),
        scales=scales,
    )


def _sum_alone(
    scope: Scope, node: Node, operand: Operand, other: Operand, result: Labels, suffix: str
) -> Operand:
    """The operand summed over axes that neither the other operand nor the result has."""
    alone = tuple(
        label
        for label in operand.labels
        if label not in result and operand.extent(label) > 1 and other.extent(label) == 1
    )
    if not alone:
        return operand
    labels = tuple(label for label in operand.labels if label not in alone)
    shape = tuple(operand.extent(label) for label in labels)
    name = f"{suffix}.sum" if suffix else "sum"
    summed = scope.temporary(node, name, shape, scope.tensor(operand.tensor).dtype)
    scope.vector(
        node,
        VectorKind.REDUCE,
        inputs=(operand.tensor,),
        outputs=(summed,),
        alu=prod(operand.shape),
        window=prod(operand.extent(label) for label in alone),
        suffix=name,
    )
    return Operand(summed, labels, shape)


def matmul_operands(left: tuple[str, Shape], right: tuple[str, Shape]) -> tuple[Operand, Operand]:
    """Two tensors with the labels of numpy's matmul: 1-D operands, batch axes counted from m, n."""
    operands = []
    for (tensor, shape), matrix in ((left, ("m", "k")), (right, ("k", "n"))):
        batch = tuple(f"b{axis}" for axis in range(len(shape) - 2, 0, -1))
        labels = (*batch, *matrix) if len(shape) > 1 else ("k",)
        operands.append(Operand(tensor, labels, shape))
    return operands[0], operands[1]


def row_names(rank: int) -> tuple[str, ...]:
    """Axis names of the rows of a product with a weight: (B, C) or (B, T, C), else none."""
    return {2: ("B", "C"), 3: ("B", "T", "C")}.get(rank, ())
