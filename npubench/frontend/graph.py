"""The resolved graph: an ONNX model after reading, before lowering; no onnx types in it.

Reading (`npubench.frontend.load`) makes one; lowering (`npubench.frontend.lower`) turns it into a
`Network`. Every value has a shape of plain integers, functions are inlined, constants are folded,
and a value's storage is known: fed, held or computed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from npubench.errors import ModelError, Problem
from npubench.ir import Format

__all__ = ["Graph", "Node", "Value"]

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Value:
    """A tensor of the graph.

    Attributes:
        name: its name in the file; values inside an inlined function or a body get a prefix.
        shape: extents, all known.
        dtype: element type.
        is_weight: the same for every inference: an initialiser, a skeleton's weight input, a
            Constant, a ConstantOfShape, or computed from such values only.
        data: the elements, where they are known and small (shapes, axes, scales); never large.
        origin: for a weight that was computed (transposed, gathered from, dequantised), the name
            of the largest held value it comes from; ``""`` for any other. Parameters are counted
            over distinct origins, so that a table that is used twice counts once.
        parameter: of a weight: whether it is a parameter of the network, or made of one; in a file
            that lists its weights, a constant that is none of them is not.
    """

    name: str
    shape: tuple[int, ...]
    dtype: Format
    is_weight: bool = False
    data: npt.NDArray[np.generic] | None = None
    origin: str = ""
    parameter: bool = True


@dataclass(frozen=True, slots=True)
class Node:
    """An operator and its operands.

    Attributes:
        name: unique within its graph; made from the first output where the file gives none.
        op: operator type in the source's spelling.
        domain: ``""`` for the default domain.
        inputs: value names; ``""`` where an optional operand is left out.
        outputs: value names; ``""`` where an optional result is not asked for.
        attributes: by name, plain Python and numpy values; a body is a `Graph`.
        version: the opset version of its domain.
    """

    name: str
    op: str
    domain: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, object] = field(default_factory=lambda: MappingProxyType({}))
    version: int = 0

    @property
    def qualified_op(self) -> str:
        """``Conv`` or ``com.microsoft.Attention``."""
        return f"{self.domain}.{self.op}" if self.domain not in ("", "ai.onnx") else self.op

    def input(self, index: int) -> str:
        """Name of an operand, ``""`` when absent."""
        return self.inputs[index] if index < len(self.inputs) else ""

    def attribute(self, name: str, default: _T) -> _T:
        """An attribute of the default's type.

        Raises:
            ModelError: the file gives the attribute another type.
        """
        value = self.attributes.get(name)
        if value is None:
            return default
        if isinstance(default, float) and isinstance(value, int):
            value = float(value)
        if default is not None and not isinstance(value, type(default)):
            raise ModelError(
                Problem(
                    f"node '{self.name}' ({self.qualified_op}): attribute '{name}' should be "
                    f"of type {type(default).__name__}, it is {type(value).__name__}"
                )
            )
        return value  # type: ignore[return-value]  # checked against the default's type above


@dataclass(frozen=True, slots=True)
class Graph:
    """A resolved graph, or the body of a control-flow operator.

    Attributes:
        name: for messages.
        nodes: in topological order.
        values: every value by name; a body's values include those it captures from outside.
        inputs: names fed for every inference (or trip), weights excluded.
        outputs: names given back.
        weights: names of all values that are held (``is_weight``) and not computed by a node.
        sha256: of the model's files; empty for bodies.
        assumptions: what reading had to decide.
    """

    name: str
    nodes: tuple[Node, ...]
    values: Mapping[str, Value]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    weights: tuple[str, ...] = ()
    sha256: str = ""
    assumptions: tuple[str, ...] = ()
