"""Symbolic dimensions: what the user gave, what may be assumed, and one question for the rest."""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable, Mapping, Sequence

from onnx import TypeProto, ValueInfoProto

from npubench.errors import ModelError, Problem, did_you_mean
from npubench.frontend.proto import check_extents, shape_text

__all__ = ["Dims", "resolve_inputs", "tensor_dims"]

_BATCH = re.compile(r"(?i)n|b|bs|none|\?|unknown|unk__.*|.*batch.*|")
_OPERATORS: dict[type[ast.operator], Callable[[int, int], int]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.FloorDiv: operator.floordiv,
    ast.Div: operator.floordiv,
}


class Dims:
    """Values of symbolic dimensions by name.

    Exporters also write sums and products of names (``past + seq``), which are worked out.
    """

    def __init__(self, given: Mapping[str, int]) -> None:
        for name, value in given.items():
            if value < 1:
                raise ModelError(Problem(f"--dim {name}={value}: a dimension is at least 1"))
        self.given = dict(given)
        self._known = dict(given)

    def bind(self, name: str, value: int) -> None:
        """Let a name stand for a value wherever else it occurs."""
        self._known.setdefault(name, value)

    def value(self, text: str) -> int | None:
        """The value of a name or expression, None if a name in it is not known."""
        if text in self._known:
            return self._known[text]
        tree = _parse(text)
        return None if tree is None or not _names(tree) else self._evaluate(tree)

    def _evaluate(self, tree: ast.expr) -> int | None:
        match tree:
            case ast.Name(id=name):
                return self._known.get(name)
            case ast.Constant(value=int(number)):
                return number
            case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
                a, b = self._evaluate(left), self._evaluate(right)
                if a is None or b is None or (b == 0 and isinstance(op, ast.FloorDiv | ast.Div)):
                    return None
                return _OPERATORS[type(op)](a, b)
        return None


def _parse(text: str) -> ast.expr | None:
    """The expression, or None if the text is just a name in some exporter's spelling."""
    if len(text) > 200 or not re.fullmatch(r"[\w\s+\-*/()]+", text):
        return None
    try:
        return ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _names(tree: ast.expr) -> list[str]:
    return sorted({node.id for node in ast.walk(tree) if isinstance(node, ast.Name)})


def _unknowns(text: str, dims: Dims) -> list[str]:
    """Names whose values would settle a dimension."""
    tree = _parse(text)
    names = _names(tree) if tree is not None else []
    return [n for n in names if dims.value(n) is None] or [text]


def resolve_inputs(
    inputs: Sequence[ValueInfoProto], dims: Dims, other_names: Sequence[str] = ()
) -> tuple[dict[str, tuple[int, ...]], tuple[str, ...]]:
    """Shapes of the inputs by name, and the assumptions made.

    Args:
        inputs: graph inputs that are fed.
        dims: by symbol (``seq``) or by place (``input_ids.1``).
        other_names: further names that ``dims`` may hold, such as loops' trip counts.

    Raises:
        ModelError: an input without a shape, with an extent below 1 or of unknown size; a name in
            ``dims`` that occurs nowhere.
    """
    assumptions: dict[str, None] = {}
    places = {info.name: _dims_of(info) for info in inputs}
    _check_given(dims, places, other_names)
    for name, axes in places.items():
        if axes and isinstance(axes[0], str) and _is_free_batch(name, axes[0], dims):
            dims.bind(axes[0] or f"{name}.0", 1)
            what = f"batch dimension '{axes[0]}'" if axes[0] else f"batch dimension of '{name}'"
            assumptions[f"{what} taken as 1"] = None
    shapes: dict[str, tuple[int, ...]] = {}
    questions: list[str] = []
    wanted: dict[str, None] = {}
    for name, axes in places.items():
        shape = tuple(_extent(name, axis, extent, dims) for axis, extent in enumerate(axes))
        unknown = [
            want
            for axis, (extent, value) in enumerate(zip(axes, shape, strict=True))
            if value is None
            for want in (_unknowns(str(extent), dims) if extent else [f"{name}.{axis}"])
        ]
        if unknown:
            questions.append(f"input '{name}' is {_axes_text(axes)}")
            wanted.update(dict.fromkeys(unknown))
            continue
        known = tuple(extent for extent in shape if extent is not None)
        if any(extent < 1 for extent in known):
            raise ModelError(
                Problem(f"input '{name}' is {shape_text(known)}: an extent is at least 1")
            )
        shapes[name] = check_extents(known, f"input '{name}'")
    if questions:
        flags = " ".join(f"--dim {w}=N" for w in wanted)
        raise ModelError(Problem(f"{', '.join(questions)}: give {flags}"))
    return shapes, tuple(assumptions)


def _dims_of(info: ValueInfoProto) -> list[int | str]:
    kind = info.type.WhichOneof("value")
    if kind is not None and kind != "tensor_type":
        raise ModelError(
            Problem(
                f"input '{info.name}' is no tensor ({kind.removesuffix('_type').replace('_', ' ')})"
                ", npubench reads tensors only"
            )
        )
    if kind is None or not info.type.tensor_type.HasField("shape"):
        raise ModelError(
            Problem(
                f"input '{info.name}' has no shape in the file",
                hint="export the model again with the shapes of its inputs",
            )
        )
    return tensor_dims(info.type)


def tensor_dims(kind: TypeProto) -> list[int | str]:
    """Extents of a tensor type: a number, a symbol, or ``""`` where the file says nothing."""
    return [
        int(dim.dim_value) if dim.WhichOneof("value") == "dim_value" else str(dim.dim_param)
        for dim in kind.tensor_type.shape.dim
    ]


def _check_given(
    dims: Dims, places: Mapping[str, list[int | str]], other_names: Sequence[str]
) -> None:
    symbols: dict[str, None] = {}
    for name, axes in places.items():
        for axis, extent in enumerate(axes):
            place = f"{name}.{axis}"
            if isinstance(extent, str):
                symbols[place] = None
                if extent:
                    tree = _parse(extent)
                    symbols.update(dict.fromkeys([extent, *(_names(tree) if tree else [])]))
            elif place in dims.given:
                raise ModelError(
                    Problem(
                        f"--dim {place}={dims.given[place]}: input '{name}' is "
                        f"{_axes_text(axes)}, its axis {axis} is fixed at {extent}",
                        hint="a fixed leading batch is set with --batch" if axis == 0 else None,
                    )
                )
    known = [*symbols, *other_names]
    for word in dims.given:
        if word not in known:
            choices = [k for k in known if k]
            hint = did_you_mean(word, choices) or "all dimensions of this model are fixed"
            raise ModelError(Problem(f"--dim {word}: no dimension of that name", hint=hint))


def _is_free_batch(name: str, symbol: str, dims: Dims) -> bool:
    if dims.value(f"{name}.0") is not None or dims.value(symbol) is not None:
        return False
    return _BATCH.fullmatch(symbol) is not None


def _extent(name: str, axis: int, extent: int | str, dims: Dims) -> int | None:
    if isinstance(extent, int):
        return extent
    placed = dims.value(f"{name}.{axis}")
    return placed if placed is not None else dims.value(extent)


def _axes_text(axes: Sequence[int | str]) -> str:
    return f"[{', '.join(str(a) if a != '' else '?' for a in axes)}]"
