"""The same 8-bit plan in onnxruntime's integer kernels: real int8 weights and uint8 activations.

QuantizeLinear and DequantizeLinear stand around each layer, and onnxruntime fuses them into
integer convolutions and products where results are quantised again. Fake quantisation must give
the same answers; what is left is the rounding of requantised sums.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import ModelProto, NodeProto, helper, numpy_helper

from npubench.accuracy.model import TrainedModel
from npubench.accuracy.plan import Prepared
from npubench.accuracy.quantise import quantise_weight
from npubench.accuracy.rewrite import port
from npubench.accuracy.sites import Site
from npubench.errors import OptionError
from npubench.ir import PrecisionPlan

__all__ = ["integer_model"]

_BITS = 8
Arrays = Mapping[str, npt.NDArray[Any]]


def integer_model(model: TrainedModel, plan: PrecisionPlan, prepared: Prepared) -> ModelProto:
    """The network of a w8a8 plan with symmetric weights and unsigned activations.

    Args:
        model: not yet quantised.
        plan: the plan.
        prepared: the same, prepared without weight search, bias correction and faults.

    Raises:
        OptionError: another plan.
    """
    proto = ModelProto()
    proto.CopyFrom(model.proto)
    repeated = [site for site in model.sites if len(site.nodes) > 1]
    if repeated:
        raise OptionError(
            f"layer '{repeated[0].layer}': integer kernels run a product once, not step by step"
        )
    sites = {site.nodes[0]: site for site in model.sites}
    nodes: list[NodeProto] = []
    for index, node in enumerate(proto.graph.node):
        site = sites.get(index)
        if site is not None:
            nodes += _operands(site, node, proto, plan, prepared.feeds)
        nodes.append(node)
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)
    return proto


def _constant(proto: ModelProto, name: str, array: npt.NDArray[Any]) -> str:
    proto.graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
    return name


def _operands(
    site: Site, node: NodeProto, proto: ModelProto, plan: PrecisionPlan, feeds: Arrays
) -> list[NodeProto]:
    precision, scheme = plan.of(site.layer), plan.scheme_of(site.layer)
    if str(precision) != f"w{_BITS}a{_BITS}" or not scheme.symmetric_weights:
        raise OptionError(f"layer '{site.layer}': integer kernels run w8a8, not {precision}")
    made = _activation(port(site, site.data), site.data, node, proto, feeds)
    step = feeds[f"{port(site, site.data)}:scale"]
    if site.weight is None:
        return made + _activation(port(site, site.held), site.held, node, proto, feeds)
    weight = quantise_weight(site.weight, precision.weight, scheme, site.channels)
    if weight.codes is None:
        raise OptionError(f"layer '{site.layer}': {precision.weight} is no integer")
    key = f"{site.layer}:integer"
    scale = weight.scale.reshape(-1) if scheme.per_channel else weight.scale.reshape(())
    zero = np.zeros(scale.shape, np.int8)
    inputs = [
        _constant(proto, key, weight.codes.astype(np.int8)),
        _constant(proto, f"{key}.scale", scale),
        _constant(proto, f"{key}.zero", zero),
    ]
    axis: dict[str, Any] = {"axis": site.channels} if scheme.per_channel else {}
    made.append(helper.make_node("DequantizeLinear", inputs, [f"{key}.real"], **axis))
    node.input[site.held] = f"{key}.real"
    if site.bias is not None:
        made.append(_bias(site, site.bias, node, proto, np.atleast_1d(scale * step)))
    return made


def _activation(
    key: str, operand: int, node: NodeProto, proto: ModelProto, feeds: Arrays
) -> list[NodeProto]:
    low, high = int(feeds[f"{key}:low"]), int(feeds[f"{key}:high"])
    if high - low != 2**_BITS - 1:
        raise OptionError(f"'{key}': integer kernels need all of the {2**_BITS} levels")
    scale = _constant(proto, f"{key}:scale", feeds[f"{key}:scale"])
    zero = _constant(proto, f"{key}:zero", np.array(-low, np.uint8))
    made = [
        helper.make_node("QuantizeLinear", [node.input[operand], scale, zero], [f"{key}:code"]),
        helper.make_node("DequantizeLinear", [f"{key}:code", scale, zero], [f"{key}:real"]),
    ]
    node.input[operand] = f"{key}:real"
    return made


def _bias(
    site: Site,
    bias: npt.NDArray[np.float32],
    node: NodeProto,
    proto: ModelProto,
    step: npt.NDArray[Any],
) -> NodeProto:
    """The bias as int32 in units of the sums."""
    steps = np.broadcast_to(step, bias.shape).astype(np.float32)
    key = f"{site.layer}:bias"
    codes = np.rint(bias / steps).astype(np.int32)
    inputs = [
        _constant(proto, key, codes),
        _constant(proto, f"{key}.scale", steps),
        _constant(proto, f"{key}.zero", np.zeros(steps.shape, np.int32)),
    ]
    node.input[2] = f"{key}.real"
    return helper.make_node("DequantizeLinear", inputs, [f"{key}.real"], axis=0)
