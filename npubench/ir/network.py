"""A network: tensors, and layers in an order that respects their edges."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

from npubench.errors import ModelError
from npubench.ir.layer import LOOP_DIMS, Layer, LoopNest, MacLayer, MoveLayer, VectorLayer
from npubench.ir.tensor import Role, Tensor

__all__ = ["Edge", "Network", "PeakMemory"]


@dataclass(frozen=True, slots=True)
class Edge:
    """``tensor`` goes from ``producer`` to ``consumer`` (layer names)."""

    producer: str
    consumer: str
    tensor: str


@dataclass(frozen=True, slots=True)
class PeakMemory:
    """The largest set of activations alive at once, and the layer that needs it."""

    bits: int
    layer: str


@dataclass(frozen=True)
class Network:
    """A lowered network.

    Attributes:
        name: for tables.
        tensors: every tensor by name.
        layers: in topological order.
        inputs: names of the tensors fed for an inference.
        outputs: names of the tensors it gives.
        sha256: of the model file it came from; empty for networks made in memory.
        assumptions: what the frontend had to decide, for the table's caption.
        batch: how many inferences one execution carries, see `with_batch`.
    """

    name: str
    tensors: Mapping[str, Tensor]
    layers: tuple[Layer, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    sha256: str = ""
    assumptions: tuple[str, ...] = ()
    batch: int = 1

    @cached_property
    def macs(self) -> int:
        """Multiply-accumulates of one execution."""
        return sum(layer.macs for layer in self.layers)

    @cached_property
    def parameters(self) -> int:
        """Elements of every distinct parameter that a layer reads, or that such a one is made of.

        Constants of the program (`Tensor.parameter` is False) are weights, but no parameters.
        """
        used = {name for layer in self.layers for name in layer.inputs}
        weights = (t for t in self.tensors.values() if t.role is Role.WEIGHT and t.name in used)
        sources = (self.tensors[name] for name in {t.origin or t.name for t in weights})
        return sum(tensor.elements for tensor in sources if tensor.parameter)

    @cached_property
    def mac_layers(self) -> tuple[MacLayer, ...]:
        """The multiply-accumulate layers, in order."""
        return tuple(layer for layer in self.layers if isinstance(layer, MacLayer))

    @cached_property
    def producers(self) -> Mapping[str, Layer]:
        """The layer that writes each tensor."""
        return {out: layer for layer in self.layers for out in layer.outputs}

    @cached_property
    def edges(self) -> tuple[Edge, ...]:
        """Every producer-consumer pair, in consumer order."""
        return tuple(
            Edge(self.producers[name].name, layer.name, name)
            for layer in self.layers
            for name in dict.fromkeys(layer.inputs)
            if name in self.producers
        )

    def verify(self) -> Network:
        """Check every rule below and return the network itself.

        Names are unique; every tensor read exists and is an input, a weight or written before;
        no tensor is written twice; extents and trip counts are positive; a loop nest agrees with
        the sizes of its tensors.

        Raises:
            ModelError: with every broken rule at once.
        """
        problems = _structure_problems(self)
        if not problems:
            problems = [
                f"layer '{layer.name}': {text}"
                for layer in self.layers
                for text in _layer_problems(self, layer)
            ]
        if problems:
            raise ModelError(*(f"network '{self.name}': {text}" for text in problems))
        return self

    @cached_property
    def peak_activations(self) -> PeakMemory:
        """Peak working set of activations at the element types of the file.

        A tensor lives from the layer that writes it (from the start, for an input) to its last
        reader (to the end, for an output). A view shares its input's storage, which is as large
        as the largest of them: a view may be of a part, or a whole be made part by part.
        """
        storage = _storage_roots(self)
        last_use: dict[str, int] = {}
        for index, layer in enumerate(self.layers):
            for name in (*layer.inputs, *layer.outputs):
                last_use[storage.get(name, name)] = index
        for name in self.outputs:
            last_use[storage.get(name, name)] = len(self.layers)
        bits = {
            name: self.tensors[name].bits
            for name in last_use
            if self.tensors[name].role is not Role.WEIGHT
        }
        for view, root in storage.items():
            bits[root] = max(bits[root], self.tensors[view].bits)
        alive = {name for name in self.inputs if name in bits}
        peak, where = sum(bits[name] for name in alive), ""
        for index, layer in enumerate(self.layers):
            alive |= {storage.get(name, name) for name in layer.outputs} & bits.keys()
            now = sum(bits[name] for name in alive)
            if now > peak:
                peak, where = now, layer.name
            alive = {name for name in alive if last_use[name] > index}
        return PeakMemory(peak, where)

    def with_batch(self, batch: int) -> Network:
        """The same network on ``batch`` independent samples at once.

        Weights stay; every activation and its work grows by ``batch``. A product of two
        activations becomes ``batch`` products (G), any other a longer one (B).
        """
        if batch < 1:
            raise ModelError(f"batch must be at least 1, got {batch}")
        if batch == 1:
            return self
        return replace(
            self,
            tensors={name: _batched_tensor(t, batch) for name, t in self.tensors.items()},
            layers=tuple(_batched_layer(layer, batch) for layer in self.layers),
            batch=self.batch * batch,
        )


def _batched_tensor(tensor: Tensor, batch: int) -> Tensor:
    if tensor.role is Role.WEIGHT:
        return tensor
    # Scalars and batch-less tensors get an axis of their own: each sample has its own copy.
    if tensor.shape and (not tensor.axes or tensor.axes[0] == "B"):
        return replace(tensor, shape=(tensor.shape[0] * batch, *tensor.shape[1:]))
    axes = ("B", *tensor.axes) if tensor.axes else ()
    return replace(tensor, shape=(batch, *tensor.shape), axes=axes)


def _batched_layer(layer: Layer, batch: int) -> Layer:
    if isinstance(layer, MacLayer):
        nest = layer.nest
        grown = (
            replace(nest, G=nest.G * batch)
            if layer.weight_batched
            else replace(nest, B=nest.B * batch)
        )
        return replace(layer, nest=grown)
    if isinstance(layer, VectorLayer):
        return replace(layer, alu_ops=layer.alu_ops * batch, special_ops=layer.special_ops * batch)
    if isinstance(layer, MoveLayer):
        return replace(layer, elements=layer.elements * batch)
    return layer


def _storage_roots(network: Network) -> dict[str, str]:
    roots: dict[str, str] = {}
    for layer in network.layers:
        if isinstance(layer, MoveLayer) and layer.is_view and layer.inputs:
            root = roots.get(layer.inputs[0], layer.inputs[0])
            if network.tensors[root].role is not Role.WEIGHT:
                roots.update(dict.fromkeys(layer.outputs, root))
    return roots


def _structure_problems(network: Network) -> list[str]:
    problems: list[str] = []
    uses = Counter(layer.name for layer in network.layers)
    problems += [f"two layers are called '{name}'" for name, count in uses.items() if count > 1]
    problems += [
        f"tensor '{name}': the record says '{tensor.name}'"
        for name, tensor in network.tensors.items()
        if tensor.name != name
    ]
    problems += [
        f"tensor '{t.name}': comes from unknown tensor '{t.origin}'"
        for t in network.tensors.values()
        if t.origin and t.origin not in network.tensors
    ]
    problems += [
        f"tensor '{t.name}': negative extent in {t.shape}"
        for t in network.tensors.values()
        if any(extent < 0 for extent in t.shape)
    ]
    known = {n for n, t in network.tensors.items() if t.role is Role.WEIGHT} | set(network.inputs)
    for layer in network.layers:
        for name in layer.inputs:
            if name not in network.tensors:
                problems.append(f"layer '{layer.name}': reads unknown tensor '{name}'")
            elif name not in known:
                problems.append(f"layer '{layer.name}': reads '{name}' before it is written")
        for name in layer.outputs:
            if name not in network.tensors:
                problems.append(f"layer '{layer.name}': writes unknown tensor '{name}'")
            elif name in known:
                problems.append(f"layer '{layer.name}': writes '{name}' a second time")
            known.add(name)
    problems += [f"output '{n}' is never written" for n in network.outputs if n not in known]
    return problems


def _layer_problems(network: Network, layer: Layer) -> list[str]:
    problems: list[str] = []
    if layer.trips < 1:
        problems.append(f"trip count {layer.trips} is not positive")
    if isinstance(layer, MacLayer):
        problems += _nest_problems(network, layer)
    if isinstance(layer, VectorLayer) and min(layer.alu_ops, layer.special_ops) < 0:
        problems.append("negative work")
    if isinstance(layer, MoveLayer) and layer.elements < 0:
        problems.append("negative number of moved elements")
    return problems


def _nest_problems(network: Network, layer: MacLayer) -> list[str]:
    nest = layer.nest
    problems = [
        f"loop {dim} is {getattr(nest, dim)}, not positive"
        for dim in LOOP_DIMS
        if getattr(nest, dim) < 1
    ]
    if problems:
        return problems
    expected = (
        ("weight", layer.weight, nest.weight_elements),
        ("data", layer.data, nest.input_elements * layer.trips),
    )
    for what, name, elements in expected:
        if name not in layer.inputs:
            problems.append(f"{what} operand '{name}' is not among its inputs")
        elif elements > network.tensors[name].elements and what == "weight":
            problems.append(
                f"its loops {_bounds_text(nest)} need {elements} weight elements, "
                f"'{name}' has {network.tensors[name].elements}"
            )
    return problems


def _bounds_text(nest: LoopNest) -> str:
    return " ".join(f"{dim}{n}" for dim, n in nest.bounds.items() if n > 1) or "(all 1)"
