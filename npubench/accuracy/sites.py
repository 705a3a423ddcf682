"""Where layers are in a graph: the nodes that compute them, and their operands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import GraphProto, NodeProto

from npubench.accuracy.recurrent import MOST_STEPS, RECURRENT, attribute
from npubench.errors import ModelError, Problem
from npubench.ir import Network

__all__ = ["Site", "check_operators", "find_sites"]

_WEIGHT_PLACE = {"Conv": 1, "ConvTranspose": 1, "Gemm": 1, "MatMul": 1}


@dataclass(frozen=True, slots=True)
class Site:
    """A multiply-accumulate layer and the node that computes it.

    Attributes:
        layer: its name in the network.
        op: ``Conv``, ``ConvTranspose``, ``Gemm`` or ``MatMul``.
        nodes: indices of its nodes in the prepared graph: one, or several that share the weight.
        data: which input of the node is the streamed operand.
        held: which one is the weight, or the second activation of a product of two.
        weight: the weight's elements; None for a product of two activations.
        bias: the constant of each output channel that the node adds itself; None without one.
        channels: axis of the weight's output channels.
        data_channels: axis of the data's channels, those the weight reduces.
        output_channels: axis of the node's result, counted from its end.
    """

    layer: str
    op: str
    nodes: tuple[int, ...]
    data: int
    held: int
    weight: npt.NDArray[np.float32] | None
    bias: npt.NDArray[np.float32] | None
    channels: int
    data_channels: int
    output_channels: int


def find_sites(
    graph: GraphProto,
    network: Network,
    constants: Mapping[str, npt.NDArray[Any]],
    unrolled: Mapping[str, tuple[str, ...]],
) -> tuple[Site, ...]:
    """The nodes of every multiply-accumulate layer.

    Args:
        graph: prepared.
        network: the same as the frontend lowered it.
        constants: values by name.
        unrolled: results of the products of recurrent layers, by layer.

    Raises:
        ModelError: layers that cannot be quantised where they stand.
    """
    places: dict[str, list[int]] = {}
    for index, node in enumerate(graph.node):
        if node.op_type in _WEIGHT_PLACE and node.domain in ("", "ai.onnx"):
            places.setdefault(node.name or node.output[0], []).append(index)
    sites: list[Site] = []
    strange: list[str] = []
    makers = {node.output[0]: index for index, node in enumerate(graph.node)}
    for layer in network.mac_layers:
        if layer.name in unrolled:
            indices = tuple(makers[name] for name in unrolled[layer.name])
            sites.append(_site(layer.name, indices, graph, constants))
            continue
        # The converter and the folding keep names; unnamed nodes go by their result.
        found = places.get(layer.name) or places.get(layer.outputs[0])
        if not found:
            strange.append(f"'{layer.name}' ({layer.op})")
            continue
        sites.append(_site(layer.name, (found.pop(0),), graph, constants))
    if strange:
        raise _refused(network, strange)
    return tuple(sites)


def check_operators(network: Network) -> None:
    """Refuse operators that are never quantised, before anything is done to the model.

    Raises:
        ModelError: such layers.
    """
    strange = [
        f"'{layer.name}' ({layer.op})"
        for layer in network.mac_layers
        if layer.op not in (*_WEIGHT_PLACE, *RECURRENT, "Attention")
    ]
    if strange:
        raise _refused(network, strange)


def _refused(network: Network, strange: Sequence[str]) -> ModelError:
    return ModelError(
        Problem(
            f"the accuracy of '{network.name}' cannot be measured: "
            f"{len(strange)} of its layers cannot be quantised where they stand: "
            f"{', '.join(strange[:4])}{', ...' if len(strange) > 4 else ''}",
            hint=f"{', '.join(_WEIGHT_PLACE)}, Attention at the top level of the graph can, and "
            f"LSTM, GRU and RNN over whole sequences of at most {MOST_STEPS} steps",
        )
    )


def _site(
    layer: str,
    indices: tuple[int, ...],
    graph: GraphProto,
    constants: Mapping[str, npt.NDArray[Any]],
) -> Site:
    node = graph.node[indices[0]]
    op, held = node.op_type, 1
    if op in ("Gemm", "MatMul") and node.input[1] not in constants and node.input[0] in constants:
        held = 0
    weight = constants.get(node.input[held])
    channels, data_channels, output_channels = 0, 1, -1
    if op == "ConvTranspose":
        channels = 1
    elif op in ("Gemm", "MatMul"):
        transposed = op == "Gemm" and bool(attribute(node, "transB" if held else "transA", 0))
        rank = 2 if weight is None else weight.ndim
        # Right operand: [.., K, N], channels last; left: [.., M, K], channels before the last.
        channels = rank - 2 if transposed == bool(held) else rank - 1
        data_channels = -1 if held else -2
        if op == "Gemm" and attribute(node, "transA" if held else "transB", 0):
            data_channels = -2 if held else -1
        output_channels = -1 if held else -2
    if op in ("Conv", "ConvTranspose") and weight is not None:
        output_channels = -(weight.ndim - 1)
    return Site(
        layer=layer,
        op=op,
        nodes=indices,
        data=1 - held,
        held=held,
        weight=None if weight is None else np.asarray(weight, np.float32),
        bias=_bias(node, constants),
        channels=channels,
        data_channels=data_channels,
        output_channels=output_channels,
    )


def _bias(
    node: NodeProto, constants: Mapping[str, npt.NDArray[Any]]
) -> npt.NDArray[np.float32] | None:
    bias = constants.get(node.input[2]) if len(node.input) > 2 else None
    # A Gemm may scale its addend, or take one of another shape: that is arithmetic of its own.
    if bias is None or bias.ndim != 1 or attribute(node, "beta", 1.0) != 1.0:
        return None
    return np.asarray(bias, np.float32)
