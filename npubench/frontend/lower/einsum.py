"""Einsum: one operand is a reduction or a transposition, two a contraction, more a chain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod

from npubench.frontend.graph import Node
from npubench.frontend.lower.context import Lowering, Scope, Shape, fail
from npubench.frontend.lower.contraction import Labels, Operand, contract
from npubench.ir import VectorKind

__all__ = ["LOWERINGS", "parse_equation"]


def parse_equation(
    node: Node, equation: str, shapes: Sequence[Shape]
) -> tuple[tuple[Labels, ...], Labels]:
    """Labels of every operand and of the result; an ellipsis becomes labels counted from the right.

    Raises:
        ModelError: the equation does not fit the operands.
    """
    left, arrow, right = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    if len(terms) != len(shapes):
        raise fail(node, f"equation '{equation}' is not one for {len(shapes)} operand(s)")
    operands = tuple(
        _expand(node, equation, term, len(shape)) for term, shape in zip(terms, shapes, strict=True)
    )
    widest = max((_ellipsis(labels) for labels in operands), key=len)
    letters = [label for labels in operands for label in labels if not label.startswith(".")]
    if arrow:
        before, dots, after = right.partition("...")
        result: Labels = (*before, *(widest if dots else ()), *after)
    else:
        result = (*widest, *sorted(label for label in letters if letters.count(label) == 1))
    unknown = [label for label in result if label not in (*letters, *widest)]
    if unknown or len(set(result)) != len(result):
        raise fail(node, f"equation '{equation}': the result '{right}' cannot be made")
    return operands, result


def _ellipsis(labels: Labels) -> Labels:
    return tuple(label for label in labels if label.startswith("."))


def _expand(node: Node, equation: str, term: str, rank: int) -> Labels:
    before, dots, after = term.partition("...")
    hidden = rank - len(before) - len(after)
    if hidden < 0 or (hidden and not dots):
        raise fail(node, f"equation '{equation}': '{term}' is not a tensor of {rank} axes")
    return (*before, *(f".{axis}" for axis in range(hidden, 0, -1)), *after)


def _einsum(scope: Scope, node: Node) -> None:
    equation = node.attribute("equation", "")
    names = [name for name in node.inputs if name]
    terms, result = parse_equation(node, equation, [scope.shape(name) for name in names])
    if any(len(set(labels)) != len(labels) for labels in terms):
        scope.unknown(node, f"equation '{equation}' takes a diagonal, which is not modelled")
        return
    operands = [
        Operand(scope.read(name), labels, scope.shape(name))
        for name, labels in zip(names, terms, strict=True)
    ]
    if len(operands) == 1:
        _single(scope, node, operands[0], result)
        return
    current = operands[0]
    for index, operand in enumerate(operands[1:], start=1):
        if index == len(operands) - 1:
            contract(
                scope,
                node,
                current,
                operand,
                result,
                scope.writes(node.outputs),
                approximation=_chain_note(len(operands)),
            )
            return
        later = {label for o in operands[index + 1 :] for label in o.labels} | set(result)
        labels = tuple(
            label for label in dict.fromkeys((*current.labels, *operand.labels)) if label in later
        )
        shape = tuple(max(current.extent(label), operand.extent(label)) for label in labels)
        dtype = scope.value(node.outputs[0]).dtype
        product = scope.temporary(node, f"product{index}", shape, dtype)
        contract(
            scope,
            node,
            current,
            operand,
            labels,
            (product,),
            suffix=f"product{index}",
            approximation=_chain_note(len(operands)),
        )
        current = Operand(product, labels, shape)


def _chain_note(operands: int) -> str:
    return "operands multiplied in pairs from left to right" if operands > 2 else ""


def _single(scope: Scope, node: Node, operand: Operand, result: Labels) -> None:
    outputs = scope.writes(node.outputs)
    summed = [label for label in operand.labels if label not in result]
    if summed:
        scope.vector(
            node,
            VectorKind.REDUCE,
            inputs=(operand.tensor,),
            outputs=outputs,
            alu=prod(operand.shape),
            window=prod(operand.extent(label) for label in summed),
        )
        return
    kept = [label for label in operand.labels if operand.extent(label) > 1]
    moves = kept != [label for label in result if operand.extent(label) > 1]
    scope.move(node, (operand.tensor,), outputs, prod(operand.shape) if moves else 0)


LOWERINGS: Mapping[tuple[str, str], Lowering] = {("", "Einsum"): _einsum}
