"""Einsum: one operand is a reduction or a transposition, two a contraction, more a chain."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

from npubench.frontend.equation import Labels, parse_equation
from npubench.frontend.graph import Node
from npubench.frontend.lower.context import Lowering, Scope, fail
from npubench.frontend.lower.contraction import Operand, contract
from npubench.ir import VectorKind

__all__ = ["LOWERINGS"]


def _einsum(scope: Scope, node: Node) -> None:
    equation = node.attribute("equation", "")
    names = [name for name in node.inputs if name]
    try:
        terms, result = parse_equation(equation, [len(scope.shape(name)) for name in names])
    except ValueError as error:
        raise fail(node, str(error)) from error
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
