"""What every lowering works with: a scope that names tensors and collects layers.

A scope belongs to one graph: the model's, or a body of a control-flow operator. Names of tensors
and layers are unique over all scopes of a model; a body reads its parent's tensors by resolving
names outwards, and multiplies its layers' trips by its own trip count.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import prod

import numpy as np
import numpy.typing as npt

from npubench.errors import ModelError
from npubench.frontend.graph import Graph, Node, Value
from npubench.ir import (
    Format,
    Layer,
    LayerPrecision,
    LoopNest,
    MacLayer,
    MoveLayer,
    Role,
    Tensor,
    UnknownLayer,
    VectorKind,
    VectorLayer,
)

__all__ = ["Lowering", "Scope", "Shape", "fail", "ints", "normal_axis", "number"]

Shape = tuple[int, ...]


@dataclass
class _Registry:
    """What all scopes of one model share."""

    tensor_names: set[str] = field(default_factory=set)
    layer_names: set[str] = field(default_factory=set)
    formats: dict[str, Format] = field(default_factory=dict)


class Scope:
    """Collects the tensors and layers of one graph while its nodes are lowered.

    Attributes:
        graph: the graph being lowered.
        lower_nodes: lowers every node of another scope; how control flow reaches its bodies.
        tensors: tensors made so far, by their name in the network.
        layers: layers made so far, in order.
        precisions: formats of each multiply-accumulate layer.
        annotated: whether any of them was stated by a quantisation annotation.
    """

    def __init__(
        self,
        graph: Graph,
        lower_nodes: Callable[[Scope], None],
        parent: Scope | None = None,
        prefix: str = "",
        trips: int = 1,
        note: str = "",
        aliases: Mapping[str, str] | None = None,
    ) -> None:
        self.graph = graph
        self.lower_nodes = lower_nodes
        self.tensors: dict[str, Tensor] = {}
        self.layers: list[Layer] = []
        self.precisions: dict[str, LayerPrecision] = {}
        self.annotated = False
        self._parent = parent
        self._prefix = prefix
        self._trips = trips
        self._note = note
        self._registry: _Registry = parent._registry if parent is not None else _Registry()
        self._names: dict[str, str] = dict(aliases or {})

    # ---- values of the graph -----------------------------------------------------------------

    def value(self, name: str) -> Value:
        """A value of the graph.

        Raises:
            ModelError: the graph has no value of that name.
        """
        found = self.graph.values.get(name)
        if found is not None:
            return found
        if self._parent is not None:
            return self._parent.value(name)
        raise ModelError(f"graph '{self.graph.name}': nothing is known about value '{name}'")

    def shape(self, name: str) -> Shape:
        """Extents of a value."""
        return self.value(name).shape

    def size(self, name: str) -> int:
        """Number of elements of a value; 0 for an operand that is left out."""
        return prod(self.shape(name)) if name else 0

    def is_weight(self, name: str) -> bool:
        """Whether an operand is present and held."""
        return bool(name) and self.value(name).is_weight

    def data(self, name: str) -> npt.NDArray[np.generic] | None:
        """Elements of an operand, None where it is absent, computed or too large to be kept."""
        return self.value(name).data if name else None

    # ---- tensors of the network --------------------------------------------------------------

    def read(self, name: str) -> str:
        """The tensor that holds a value; a weight is registered when it is first read.

        Raises:
            ModelError: the value is neither held nor written before.
        """
        if name in self._names:
            return self._names[name]
        if self._parent is not None and self._parent.knows(name):
            return self._parent.read(name)
        value = self.value(name)
        if not value.is_weight:
            raise ModelError(f"graph '{self.graph.name}': '{name}' is read before it is written")
        return self._hold(name, value)

    def knows(self, name: str) -> bool:
        """Whether a value belongs to this graph or to one around it."""
        inherited = self._parent is not None and self._parent.knows(name)
        return name in self._names or name in self.graph.values or inherited

    def reads(self, names: Iterable[str]) -> tuple[str, ...]:
        """Tensors of every operand that is present."""
        return tuple(self.read(name) for name in names if name)

    def read_data(self, node: Node, *positions: int) -> tuple[str, ...]:
        """Tensors of the data operands, and of steering operands that are computed at run time.

        Held steering operands (axes, sizes, limits) are part of the program, not of its data.
        """
        return self.reads(
            name
            for index, name in enumerate(node.inputs)
            if name and (index in positions or not self.is_weight(name))
        )

    def feed(self, name: str, role: Role) -> str:
        """Register an input of the model."""
        return self._register(name, self.value(name), role)

    def write(self, name: str) -> str:
        """A new tensor for a value that a layer is about to write."""
        return self._register(name, self.value(name), Role.ACTIVATION)

    def writes(self, names: Iterable[str]) -> tuple[str, ...]:
        """New tensors for every result that is asked for."""
        return tuple(self.write(name) for name in names if name)

    def temporary(self, node: Node, suffix: str, shape: Shape, dtype: Format) -> str:
        """A new tensor between the layers of one operator."""
        return self._add(Tensor(f"{self._prefixed(node.name)}.{suffix}", shape, dtype))

    def held(self, name: str, shape: Shape, dtype: Format) -> str:
        """A weight in another form than the file's (unpacked); the same one for the same name."""
        if name not in self._names:
            self._names[name] = self._add(Tensor(name, shape, dtype, Role.WEIGHT))
        return self._names[name]

    def name_axes(self, tensor: str, axes: Sequence[str]) -> str:
        """Name the axes of a tensor that has none yet; returns the tensor."""
        owner = self._owner(tensor)
        known = owner.tensors[tensor]
        if not known.axes and len(known.shape) == len(axes):
            owner.tensors[tensor] = replace(known, axes=tuple(axes))
        return tensor

    def tensor(self, tensor: str) -> Tensor:
        """The record of a tensor."""
        return self._owner(tensor).tensors[tensor]

    def annotate(self, tensor: str, precision: Format | None) -> None:
        """State that a tensor's numbers are those of a quantised format."""
        if precision is not None:
            self._registry.formats[tensor] = precision

    def annotation(self, tensor: str) -> Format | None:
        """The quantised format of a tensor's numbers, None where nothing states one."""
        stated = self._registry.formats.get(tensor)
        if stated is not None:
            return stated
        dtype = self.tensor(tensor).dtype
        return dtype if dtype.bits <= (8 if dtype.is_float else 16) else None

    # ---- layers ------------------------------------------------------------------------------

    def mac(
        self,
        node: Node,
        nest: LoopNest,
        data: str,
        weight: str,
        outputs: tuple[str, ...],
        bias: str = "",
        suffix: str = "",
        trips: int = 1,
        approximation: str = "",
        weight_batched: bool = False,
        scales: tuple[str, ...] = (),
    ) -> None:
        """Add a multiply-accumulate layer and its formats; operands are tensors.

        ``scales`` are read with the weight: scales and zero points of its blocks.

        A nest with an empty loop has no work and becomes a vector layer that says so.
        """
        inputs = (data, weight, *((bias,) if bias else ()), *scales)
        if not nest.macs:
            self.vector(
                node,
                VectorKind.ELEMENTWISE,
                inputs=inputs,
                outputs=outputs,
                alu=0,
                suffix=suffix,
                approximation="a product over an empty tensor: no work",
            )
            return
        name = self._layer_name(node, suffix)
        self.layers.append(
            MacLayer(
                name=name,
                op=node.qualified_op,
                inputs=inputs,
                outputs=outputs,
                trips=trips * self._trips,
                approximation=self._note_with(approximation),
                nest=nest,
                data=data,
                weight=weight,
                bias=bias,
                weight_batched=weight_batched,
            )
        )
        held, streamed = self.annotation(weight), self.annotation(data)
        self.annotated |= held is not None or streamed is not None
        self.precisions[name] = LayerPrecision(
            held or self.tensor(weight).dtype, streamed or self.tensor(data).dtype
        )

    def vector(
        self,
        node: Node,
        kind: VectorKind,
        inputs: tuple[str, ...],
        outputs: tuple[str, ...],
        alu: int,
        special: int = 0,
        window: int = 1,
        suffix: str = "",
        trips: int = 1,
        approximation: str = "",
    ) -> None:
        """Add vector work; operands are tensors."""
        self.layers.append(
            VectorLayer(
                name=self._layer_name(node, suffix),
                op=node.qualified_op,
                inputs=inputs,
                outputs=outputs,
                trips=trips * self._trips,
                approximation=self._note_with(approximation),
                kind=kind,
                alu_ops=alu,
                special_ops=special,
                window=window,
            )
        )

    def move(
        self,
        node: Node,
        inputs: tuple[str, ...],
        outputs: tuple[str, ...],
        elements: int,
        suffix: str = "",
        approximation: str = "",
    ) -> None:
        """Add data movement (a view when no element moves); operands are tensors."""
        self.layers.append(
            MoveLayer(
                name=self._layer_name(node, suffix),
                op=node.qualified_op,
                inputs=inputs,
                outputs=outputs,
                trips=self._trips,
                approximation=self._note_with(approximation),
                elements=elements,
            )
        )

    def unknown(self, node: Node, reason: str) -> None:
        """Add an operator that is not modelled, with all its operands and results."""
        self.layers.append(
            UnknownLayer(
                name=self._layer_name(node, ""),
                op=node.qualified_op,
                inputs=self.reads(node.inputs),
                outputs=self.writes(node.outputs),
                trips=self._trips,
                approximation=self._note_with(""),
                reason=reason,
            )
        )

    # ---- bodies ------------------------------------------------------------------------------

    def body(
        self, node: Node, body: Graph, aliases: Mapping[str, str], trips: int = 1, note: str = ""
    ) -> Scope:
        """A scope for a body of a control-flow operator; lower it, then `absorb` it.

        ``aliases`` gives tensors to the body's own inputs.
        """
        return Scope(
            body,
            self.lower_nodes,
            parent=self,
            prefix=f"{self._prefixed(node.name)}/",
            trips=self._trips * trips,
            note=self._note_with(note),
            aliases=aliases,
        )

    def absorb(self, body: Scope, note: str = "") -> None:
        """Take over everything a body's scope has collected, with a note on every layer."""
        self.tensors.update(body.tensors)
        self.layers.extend(
            replace(layer, approximation=_joined(layer.approximation, note))
            for layer in body.layers
        )
        self.precisions.update(body.precisions)
        self.annotated |= body.annotated

    # ---- inside ------------------------------------------------------------------------------

    def _register(self, name: str, value: Value, role: Role) -> str:
        tensor = Tensor(name, value.shape, value.dtype, role, parameter=value.parameter)
        self._names[name] = self._add(tensor)
        return self._names[name]

    def _hold(self, name: str, value: Value) -> str:
        """Register a weight; one computed from another points to it, since that is what is kept."""
        origin = self.graph.values.get(value.origin)
        if origin is None or value.origin == name or not origin.is_weight:
            return self._register(name, value, Role.WEIGHT)
        source = self.read(value.origin)
        if prod(value.shape) == prod(origin.shape) and value.dtype == origin.dtype:
            self._names[name] = source  # transposed or reshaped: the same weight
        else:
            tensor = Tensor(
                name, value.shape, value.dtype, Role.WEIGHT, (), source, value.parameter
            )
            self._names[name] = self._add(tensor)
        return self._names[name]

    def _add(self, tensor: Tensor) -> str:
        name = _unique(tensor.name, self._registry.tensor_names)
        self.tensors[name] = replace(tensor, name=name)
        return name

    def _owner(self, tensor: str) -> Scope:
        if tensor in self.tensors or self._parent is None:
            return self
        return self._parent._owner(tensor)

    def _layer_name(self, node: Node, suffix: str) -> str:
        name = self._prefixed(node.name)
        return _unique(f"{name}.{suffix}" if suffix else name, self._registry.layer_names)

    def _prefixed(self, name: str) -> str:
        # The reader may have put the way to the body in front of the names already.
        return name if name.startswith(self._prefix) else self._prefix + name

    def _note_with(self, approximation: str) -> str:
        return _joined(approximation, self._note)


Lowering = Callable[[Scope, Node], None]


def _joined(*notes: str) -> str:
    return "; ".join(dict.fromkeys(note for note in notes if note))


def _unique(base: str, taken: set[str]) -> str:
    name, count = base, 1
    while name in taken:
        count += 1
        name = f"{base}~{count}"
    taken.add(name)
    return name


def fail(node: Node, text: str) -> ModelError:
    """The error for a node that contradicts itself."""
    return ModelError(f"node '{node.name}' ({node.qualified_op}): {text}")


def ints(node: Node, name: str, default: Sequence[int]) -> Shape:
    """A list attribute of integers.

    Raises:
        ModelError: the attribute is not a list.
    """
    return node.attribute(name, tuple(default))


def number(scope: Scope, name: str) -> float | None:
    """The value of an operand that is a known scalar (or one element), else None."""
    data = scope.data(name)
    return float(data.reshape(-1)[0].item()) if data is not None and data.size == 1 else None


def normal_axis(node: Node, axis: int, rank: int) -> int:
    """An axis counted from the front.

    Raises:
        ModelError: the tensor has no such axis.
    """
    if not -rank <= axis < rank:
        raise fail(node, f"axis {axis} is outside a tensor of {rank} axes")
    return axis + rank if axis < 0 else axis
