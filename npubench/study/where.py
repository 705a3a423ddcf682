"""Conditions between axes: ``rows == cols and batch <= 8``, read as Python reads them, nothing run.

Names are axes, dotted ones too (``array.rows``), or the last part of one where that says which.
Values that are numbers, with or without a unit, compare as numbers; others as words.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from npubench import units
from npubench.errors import OptionError, Problem, did_you_mean

__all__ = ["Where", "parse_where"]

_Value = float | str
_COMPARE: Mapping[type[ast.cmpop], Callable[[_Value, _Value], bool]] = MappingProxyType(
    {
        ast.Eq: operator.eq,
        ast.NotEq: operator.ne,
        ast.Lt: operator.lt,
        ast.LtE: operator.le,
        ast.Gt: operator.gt,
        ast.GtE: operator.ge,
    }
)
_ARITHMETIC: Mapping[type[ast.operator], Callable[[float, float], float]] = MappingProxyType(
    {
        ast.Add: operator.add,
        ast.Sub: operator.sub,
        ast.Mult: operator.mul,
        ast.Div: operator.truediv,
        ast.Mod: operator.mod,
        ast.FloorDiv: operator.floordiv,
    }
)


@dataclass(frozen=True, slots=True)
class Where:
    """A condition that points of a grid must meet.

    Attributes:
        text: as the user wrote it.
        tree: the expression, checked.
        names: what the condition calls an axis, to the axis.
    """

    text: str
    tree: ast.expr
    names: Mapping[str, str]

    def holds(self, point: Mapping[str, str]) -> bool:
        """Whether a point, values by axis, meets the condition.

        Raises:
            OptionError: a word where a number is needed, or a division by zero.
        """
        values = {name: _value(point[axis]) for name, axis in self.names.items()}
        try:
            return bool(_evaluate(self.tree, values))
        except (TypeError, ZeroDivisionError) as error:
            shown = ", ".join(f"{axis}={point[axis]}" for axis in self.names.values())
            raise OptionError(f"--where '{self.text}': {error}, at {shown}") from None


def parse_where(text: str, axes: Sequence[str]) -> Where:
    """The condition of a text over these axes.

    Raises:
        OptionError: no expression of comparisons, or a name that is no axis.
    """
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        raise OptionError(
            f"--where '{text}': expected a condition such as 'rows == cols and batch <= 8'"
        ) from None
    names: dict[str, str] = {}
    problems = _mistakes(tree, axes, names)
    if problems:
        raise OptionError(
            *(Problem(f"--where '{text}': {what}", hint=hint) for what, hint in problems)
        )
    return Where(text, tree, names)


def _mistakes(
    node: ast.expr, axes: Sequence[str], names: dict[str, str]
) -> list[tuple[str, str | None]]:
    """What is not allowed in an expression; fills in the axes that it names."""
    dotted = _dotted(node)
    if dotted is not None:
        ends = [axis for axis in axes if axis == dotted or axis.endswith(f".{dotted}")]
        exact = [axis for axis in axes if axis == dotted]
        if len(exact or ends) != 1:
            what = f"'{dotted}' is no axis" if not ends else f"'{dotted}' is several axes"
            return [(what, did_you_mean(dotted, axes))]
        names[dotted] = (exact or ends)[0]
        return []
    if isinstance(node, ast.Constant) and isinstance(node.value, (int, float, str)):
        return []
    parts: list[ast.expr]
    if isinstance(node, ast.BoolOp):
        parts = node.values
    elif isinstance(node, ast.Compare) and all(type(op) in _COMPARE for op in node.ops):
        parts = [node.left, *node.comparators]
    elif isinstance(node, ast.BinOp) and type(node.op) in _ARITHMETIC:
        parts = [node.left, node.right]
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.Not, ast.USub)):
        parts = [node.operand]
    else:
        return [(f"'{ast.unparse(node)}' is neither a comparison nor a sum of axes", None)]
    return [problem for part in parts for problem in _mistakes(part, axes, names)]


def _dotted(node: ast.expr) -> str | None:
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        above = _dotted(node.value)
        return None if above is None else f"{above}.{node.attr}"
    return None


def _evaluate(node: ast.expr, values: Mapping[str, _Value]) -> _Value | bool:
    dotted = _dotted(node)
    if dotted is not None:
        return values[dotted]
    if isinstance(node, ast.Constant):
        return _value(str(node.value))
    if isinstance(node, ast.BoolOp):
        every = isinstance(node.op, ast.And)
        parts = (bool(_evaluate(part, values)) for part in node.values)
        return all(parts) if every else any(parts)
    if isinstance(node, ast.Compare):
        sides = [_evaluate(part, values) for part in (node.left, *node.comparators)]
        pairs = zip(node.ops, sides, sides[1:], strict=False)
        return all(_COMPARE[type(op)](left, right) for op, left, right in pairs)
    if isinstance(node, ast.BinOp):
        left, right = (_number(_evaluate(part, values)) for part in (node.left, node.right))
        return _ARITHMETIC[type(node.op)](left, right)
    assert isinstance(node, ast.UnaryOp)  # all that `_mistakes` lets through
    value = _evaluate(node.operand, values)
    return not value if isinstance(node.op, ast.Not) else -_number(value)


def _number(value: _Value | bool) -> float:
    if isinstance(value, str):
        raise TypeError(f"'{value}' is no number")
    return float(value)


def _value(text: str) -> _Value:
    """A number in base units where the text is one, else the text."""
    try:
        return units.parse_any(text).value
    except units.UnitError:
        return text
