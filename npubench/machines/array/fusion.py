"""Element-wise tails: vector work that a machine does on results as they leave the array."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from npubench.ir import MacLayer, MoveLayer, Network, VectorKind, VectorLayer

__all__ = ["Tails", "find_tails"]

_FUSABLE = frozenset({VectorKind.ACTIVATION, VectorKind.ELEMENTWISE, VectorKind.QUANTIZE})


@dataclass(frozen=True, slots=True)
class Tails:
    """Which layers run as the tail of which.

    Attributes:
        head: the multiply-accumulate layer that a fused layer belongs to, by layer name.
        result: the tensor that leaves the array instead of its own output, by head name.
        hidden: tensors that never reach a memory.
    """

    head: Mapping[str, str]
    result: Mapping[str, str]
    hidden: frozenset[str]


def find_tails(network: Network, *, enabled: bool) -> Tails:
    """Fuse element-wise layers, and the views between, into the layer that feeds them.

    A layer joins when one of its operands comes straight from the head (or from a layer already
    joined), nobody else reads that operand, it is not a network output, and the result has as
    many elements and as many trips: every element passes through once. Its other operands are
    read from memory as usual.
    """
    if not enabled:
        return Tails({}, {}, frozenset())
    readers = Counter(name for layer in network.layers for name in dict.fromkeys(layer.inputs))
    leaving = set(network.outputs)
    open_ends: dict[str, str] = {}
    head: dict[str, str] = {}
    result: dict[str, str] = {}
    hidden: set[str] = set()
    trips = {layer.name: layer.trips for layer in network.layers}
    for layer in network.layers:
        if isinstance(layer, MacLayer):
            open_ends[layer.outputs[0]] = layer.name
            result[layer.name] = layer.outputs[0]
            continue
        fusable = isinstance(layer, VectorLayer) and layer.kind in _FUSABLE
        passes = isinstance(layer, MoveLayer) and layer.is_view
        if not (fusable or passes) or len(layer.outputs) != 1:
            continue
        out = layer.outputs[0]
        for name in layer.inputs:
            owner = open_ends.get(name)
            if (
                owner is not None
                and readers[name] == 1
                and name not in leaving
                and layer.trips == trips[owner]
                and network.tensors[name].elements == network.tensors[out].elements
            ):
                del open_ends[name]
                open_ends[out] = owner
                result[owner] = out
                hidden.add(name)
                if fusable:
                    head[layer.name] = owner
                break
    return Tails(head, result, frozenset(hidden))
