"""Weights as they lie on chip: in the format that is multiplied, once for all layers they serve."""

from __future__ import annotations

from dataclasses import dataclass

from npubench.errors import MappingError
from npubench.ir import LayerPrecision, MacLayer, Network, PrecisionPlan
from npubench.machines.array.spec import ArraySpec, PEFormatSpec

__all__ = ["HeldWeights", "format_of", "held_weights", "layer_weight_bits"]


@dataclass(frozen=True, slots=True)
class HeldWeights:
    """One weight tensor in one format in the outermost memory on chip.

    Attributes:
        layers: those that multiply it, in order.
        bits: room that it takes.
    """

    layers: tuple[str, ...]
    bits: int


def format_of(spec: ArraySpec, precision: LayerPrecision) -> tuple[str, PEFormatSpec]:
    """The spec's format that executes a (legalised) precision."""
    for name, candidate in spec.array.formats.items():
        pair = (candidate.weight_format, candidate.activation_format)
        if pair == (precision.weight, precision.activation):
            return name, candidate
    raise MappingError(f"'{spec.name}' does not execute {precision}; legalise the plan first")


def layer_weight_bits(spec: ArraySpec, layer: MacLayer, fmt: PEFormatSpec) -> int:
    """Room that all weights of a layer take in the outermost memory on chip."""
    lane = spec.chain("weight")[-2].lane_bits(fmt.weight_format.bits)
    return layer.nest.weight_elements * lane


def held_weights(spec: ArraySpec, network: Network, plan: PrecisionPlan) -> tuple[HeldWeights, ...]:
    """All weights that may stay on chip between inferences, in order of their first layer.

    Of constants only. Layers that share a tensor share its room, unless they multiply it in
    formats that differ: then it is there in each of them.
    """
    found: dict[tuple[str, str], HeldWeights] = {}
    for layer in network.mac_layers:
        if layer.weight_batched:
            continue
        fmt = format_of(spec, plan.of(layer.name))[1]
        key = (layer.weight, str(fmt.weight_format))
        before = found.get(key, HeldWeights((), 0))
        bits = max(before.bits, layer_weight_bits(spec, layer, fmt))
        found[key] = HeldWeights((*before.layers, layer.name), bits)
    return tuple(found.values())
