"""Einsum's equations: which label stands for which axis, and how far each label runs."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["Labels", "label_extents", "parse_equation"]

Labels = tuple[str, ...]


def parse_equation(equation: str, ranks: Sequence[int]) -> tuple[tuple[Labels, ...], Labels]:
    """Labels of every operand and of the result; an ellipsis becomes labels counted from the right.

    Args:
        equation: as in the operator's attribute, ``bij,bjk->bik``.
        ranks: number of axes of each operand.

    Raises:
        ValueError: the equation does not fit the operands, in a sentence without its subject.
    """
    left, arrow, right = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    if len(terms) != len(ranks):
        raise ValueError(f"equation '{equation}' is not one for {len(ranks)} operand(s)")
    operands = tuple(_expand(equation, term, rank) for term, rank in zip(terms, ranks, strict=True))
    widest = max((_ellipsis(labels) for labels in operands), key=len)
    letters = [label for labels in operands for label in labels if not label.startswith(".")]
    if arrow:
        before, dots, after = right.partition("...")
        result: Labels = (*before, *(widest if dots else ()), *after)
    else:
        result = (*widest, *sorted(label for label in letters if letters.count(label) == 1))
    unknown = [label for label in result if label not in (*letters, *widest)]
    if unknown or len(set(result)) != len(result):
        raise ValueError(f"equation '{equation}': the result '{right}' cannot be made")
    return operands, result


def label_extents(operands: Sequence[Labels], shapes: Sequence[tuple[int, ...]]) -> dict[str, int]:
    """Extent of every label; an axis of one element is repeated along the others' extent.

    Raises:
        ValueError: two operands give a label different extents.
    """
    extents: dict[str, int] = {}
    for labels, shape in zip(operands, shapes, strict=True):
        for label, extent in zip(labels, shape, strict=True):
            known = extents.get(label, 1)
            if 1 not in (known, extent) and known != extent:
                name = "..." if label.startswith(".") else label
                raise ValueError(f"label '{name}' stands for both {known} and {extent} elements")
            extents[label] = extent if known == 1 else known
    return extents


def _ellipsis(labels: Labels) -> Labels:
    return tuple(label for label in labels if label.startswith("."))


def _expand(equation: str, term: str, rank: int) -> Labels:
    before, dots, after = term.partition("...")
    hidden = rank - len(before) - len(after)
    if hidden < 0 or (hidden and not dots) or "." in before + after:
        raise ValueError(f"equation '{equation}': '{term}' is not a tensor of {rank} axes")
    return (*before, *(f".{axis}" for axis in range(hidden, 0, -1)), *after)
