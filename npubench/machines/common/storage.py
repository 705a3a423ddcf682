"""How wide each tensor is stored under a plan, and which activations stay on chip."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from npubench.ir import MacLayer, MoveLayer, Network, PrecisionPlan, Role

__all__ = ["Residency", "keep_on_chip", "storage_bits", "view_roots"]


def storage_bits(network: Network, plan: PrecisionPlan) -> dict[str, int]:
    """Bits an element of each tensor takes.

    A tensor is stored as its consumer multiplies it: the widest format of the multiply-accumulate
    layers that read it, else what the tensors made from it need, else the plan's default. Indices,
    masks and other integers of the graph keep their own width.
    """
    bits: dict[str, int] = {}
    for layer in reversed(network.layers):
        if isinstance(layer, MacLayer):
            formats = plan.of(layer.name)
            wants = {layer.data: formats.activation.bits, layer.weight: formats.weight.bits}
        else:
            widest = max((bits.get(name, 0) for name in layer.outputs), default=0)
            wants = dict.fromkeys(layer.inputs, widest)
        for name, want in wants.items():
            bits[name] = max(bits.get(name, 0), want)
    default = plan.default.activation.bits
    return {
        name: tensor.dtype.bits
        if not tensor.dtype.is_float and tensor.dtype.bits in (1, 32, 64)
        else bits.get(name) or default
        for name, tensor in network.tensors.items()
    }


def view_roots(network: Network) -> dict[str, str]:
    """For every tensor that is only a view, the tensor whose storage it is."""
    roots: dict[str, str] = {}
    for layer in network.layers:
        if isinstance(layer, MoveLayer) and layer.is_view and layer.inputs:
            root = roots.get(layer.inputs[0], layer.inputs[0])
            roots.update(dict.fromkeys(layer.outputs, root))
    return roots


@dataclass(frozen=True, slots=True)
class Residency:
    """Activations that stay in one on-chip memory from their producer to their last consumer.

    Attributes:
        resident: their names (storage roots).
        roots: views and the storage they share.
        reserved_bits: room taken by resident activations while each layer runs, by layer name.
    """

    resident: frozenset[str]
    roots: Mapping[str, str]
    reserved_bits: Mapping[str, int]

    def holds(self, tensor: str) -> bool:
        """Whether a tensor is on chip."""
        return self.roots.get(tensor, tensor) in self.resident


def keep_on_chip(
    network: Network, bits: Mapping[str, int], room_bits: int, skip: Collection[str] = ()
) -> Residency:
    """Decide, in order of execution, which activations stay on chip.

    An activation stays when it fits beside everything already kept, at every layer from the one
    that makes it to the last that reads it. Network inputs come from outside and network outputs
    leave, so neither stays.

    Args:
        network: the network, batch included.
        bits: storage width of every tensor.
        room_bits: room for kept activations; what is left serves tiles.
        skip: tensors that never reach a memory.
    """
    roots = view_roots(network)
    elements = _stored_elements(network, roots)
    made: dict[str, int] = {}
    last: dict[str, int] = {}
    for index, layer in enumerate(network.layers):
        for name in layer.outputs:
            made.setdefault(roots.get(name, name), index)
        for name in layer.inputs:
            last[roots.get(name, name)] = index
    leaving = {roots.get(name, name) for name in network.outputs}
    used = [0] * len(network.layers)
    resident: set[str] = set()
    for name, start in made.items():
        tensor = network.tensors[name]
        if tensor.role is not Role.ACTIVATION or name in leaving or name in skip:
            continue
        if name not in last:
            continue
        size = elements[name] * bits[name]
        span = range(start, last[name] + 1)
        if size <= room_bits and all(used[i] + size <= room_bits for i in span):
            resident.add(name)
            for i in span:
                used[i] += size
    reserved = {layer.name: used[i] for i, layer in enumerate(network.layers)}
    return Residency(frozenset(resident), roots, reserved)


def _stored_elements(network: Network, roots: Mapping[str, str]) -> dict[str, int]:
    """Elements of every tensor's storage: a view may be of a part, or the whole be made of it."""
    elements = {name: tensor.elements for name, tensor in network.tensors.items()}
    for view, root in roots.items():
        elements[root] = max(elements[root], network.tensors[view].elements)
    return elements
