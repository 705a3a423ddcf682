"""Quantises float networks for the emulator and executes the same integers in plain numpy.

The oracle shares nothing with the emulator but the description of the network.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from npubench.machines.associative.quantized_network import (
    Add,
    AveragePool,
    Conv,
    Flatten,
    Linear,
    MaxPool,
    QuantizedLayer,
    QuantizedNetwork,
    Relu,
    Requantization,
)

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Products = Callable[["Conv | Linear", Ints], Ints]
MULTIPLIER_BITS = 8


def initializers(path: Path) -> dict[str, Floats]:
    graph = onnx.load(path).graph
    return {t.name: numpy_helper.to_array(t).astype(np.float64) for t in graph.initializer}


def dyadic(scales: Floats, limit: int) -> tuple[tuple[int, ...], int]:
    """Multipliers of at most MULTIPLIER_BITS and one shift with multiplier / 2**shift ~ scales."""
    shift = limit
    while shift and round(float(scales.max()) * (1 << shift)) >= 1 << MULTIPLIER_BITS:
        shift -= 1
    return tuple(round(float(s) * (1 << shift)) for s in scales.ravel()), shift


def quantize_weight(weight: Floats, bits: int) -> tuple[Ints, Floats]:
    """Symmetric per output channel."""
    top = max((1 << (bits - 1)) - 1, 1)
    flat = weight.reshape(len(weight), -1)
    scale = np.maximum(np.abs(flat).max(axis=1), 1e-9) / top
    values = np.rint(flat / scale[:, None]).astype(np.int64)
    return np.clip(values, -top, top).reshape(weight.shape), scale


def windows(x: Ints, kernel, strides, dilations=(1, 1)) -> Ints:
    rows = (x.shape[2] - dilations[0] * (kernel[0] - 1) - 1) // strides[0] + 1
    cols = (x.shape[3] - dilations[1] * (kernel[1] - 1) - 1) // strides[1] + 1
    out = np.empty((*x.shape[:2], rows, cols, *kernel), dtype=x.dtype)
    for fy in range(kernel[0]):
        for fx in range(kernel[1]):
            y, z = fy * dilations[0], fx * dilations[1]
            last_y, last_x = y + strides[0] * (rows - 1), z + strides[1] * (cols - 1)
            out[..., fy, fx] = x[:, :, y : last_y + 1 : strides[0], z : last_x + 1 : strides[1]]
    return out


def clip(x: Ints, bits: int, signed: bool) -> Ints:
    low = -(1 << (bits - 1)) if signed else 0
    return np.clip(x, low, low + (1 << bits) - 1)


def round_shift(x: Ints, shift: int) -> Ints:
    return (x + ((1 << shift) >> 1)) >> shift


def requantized(acc: Ints, bias: Ints | None, rule: Requantization | None) -> Ints:
    shape = (1, -1, *[1] * (acc.ndim - 2))
    if bias is not None:
        acc = acc + bias.reshape(shape)
    if rule is None:
        return acc
    scaled = acc * np.array(rule.multiplier, dtype=np.int64).reshape(shape)
    return clip(round_shift(scaled, rule.shift), rule.bits, rule.signed)


def conv_accumulators(layer: Conv, x: Ints) -> Ints:
    top, left, bottom, right = layer.pads
    x = np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)))
    views = windows(x, layer.weight.shape[2:], layer.strides, layer.dilations)
    parts = zip(
        np.split(views, layer.groups, axis=1), np.split(layer.weight, layer.groups), strict=True
    )
    return np.concatenate(
        [np.einsum("ncyxij,kcij->nkyx", v, w, optimize=True) for v, w in parts], axis=1
    )


def accumulators(layer: Conv | Linear, x: Ints) -> Ints:
    """Sums of products in int64, without bias."""
    return conv_accumulators(layer, x) if isinstance(layer, Conv) else x @ layer.weight.T


def oracle_layer(
    layer: QuantizedLayer,
    tensors: dict[str, Ints],
    signed_low: dict[str, int],
    products: Products = accumulators,
) -> Ints:
    x = tensors[layer.inputs[0] if isinstance(layer, Add) else layer.input]
    match layer:
        case Conv() | Linear():
            return requantized(products(layer, x), layer.bias, layer.requantization)
        case Relu():
            return np.maximum(x, 0)
        case MaxPool():
            top, left, bottom, right = layer.pads
            spans = ((0, 0), (0, 0), (top, bottom), (left, right))
            padded = np.pad(x, spans, constant_values=signed_low[layer.input])
            return windows(padded, layer.kernel, layer.strides).max(axis=(4, 5))
        case AveragePool():
            acc = windows(x, layer.kernel, layer.strides).sum(axis=(4, 5))
            return requantized(acc, None, layer.requantization)
        case Add():
            a, b = (
                tensors[name] * m for name, m in zip(layer.inputs, layer.multipliers, strict=True)
            )
            return clip(round_shift(a + b, layer.shift), layer.bits, layer.signed)
        case Flatten():
            return x.reshape(len(x), -1)


def oracle(
    network: QuantizedNetwork, images: Ints, products: Products = accumulators
) -> dict[str, Ints]:
    """Every tensor of the network in int64, by the same integer rule; `products` sums products."""
    tensors = {network.input_name: images.astype(np.int64)}
    lows = {network.input_name: np.iinfo(np.int32).min}
    for layer in network.layers:
        tensors[layer.name] = oracle_layer(layer, tensors, lows, products)
        lows[layer.name] = np.iinfo(np.int32).min  # lower than any element: padding never wins
    return tensors


def onnxruntime_accumulators(layer: Conv | Linear, x: Ints) -> Ints:
    """ConvInteger or MatMulInteger of onnxruntime, on bytes: signed numbers have zero point 128."""
    below = 128 if x.min() < 0 else 0
    linear = isinstance(layer, Linear)
    weight = layer.weight.T if linear else layer.weight
    zeros = {"xz": below, "wz": 128}
    known = [numpy_helper.from_array(np.array(n, dtype=np.uint8), k) for k, n in zeros.items()]
    known.append(numpy_helper.from_array((weight + 128).astype(np.uint8), "w"))
    names, attributes = ["x", "w", "xz", "wz"], {}
    if isinstance(layer, Conv):
        attributes = {
            "pads": list(layer.pads),
            "strides": list(layer.strides),
            "dilations": list(layer.dilations),
            "group": layer.groups,
        }
    operator = "MatMulInteger" if linear else "ConvInteger"
    graph = helper.make_graph(
        [helper.make_node(operator, names, ["y"], **attributes)],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.UINT8, x.shape)],
        [helper.make_tensor_value_info("y", TensorProto.INT32, None)],
        known,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    (result,) = session.run(None, {"x": (x + below).astype(np.uint8)})
    return result.astype(np.int64)


class Quantizer:
    """Builds a network layer by layer; scales come from running the oracle on the images."""

    def __init__(self, images: Floats, bits: int, *, signed: bool = False) -> None:
        top = (1 << (bits - signed)) - 1
        self.scale = {"image": float(np.abs(images).max()) / top}
        self.images = clip(np.rint(images / self.scale["image"]).astype(np.int64), bits, signed)
        self.bits = bits
        self.signed = {"image": signed}
        self.layers: list[QuantizedLayer] = []
        self.tensors: dict[str, Ints] = {"image": self.images}

    def network(self) -> QuantizedNetwork:
        return QuantizedNetwork("image", self.bits, self.signed["image"], tuple(self.layers))

    def append(self, layer: QuantizedLayer, scale: float, signed: bool) -> None:
        self.layers.append(layer)
        self.scale[layer.name] = scale
        self.signed[layer.name] = signed
        lows = dict.fromkeys(self.tensors, np.iinfo(np.int32).min)
        self.tensors[layer.name] = oracle_layer(layer, self.tensors, lows)

    def passed(self, layer: Relu | MaxPool | Flatten) -> None:
        self.append(layer, self.scale[layer.input], self.signed[layer.input])

    def rule(self, acc: Ints, scale: Floats, *, signed: bool) -> tuple[Requantization, float]:
        shape = (1, -1, *[1] * (acc.ndim - 2))
        top = max((1 << (self.bits - signed)) - 1, 1)
        reached = float((np.abs(acc) * scale.reshape(shape)).max())
        out = max(reached, float(scale.max())) / top
        multiplier, shift = dyadic(scale / out, limit=16)
        return Requantization(multiplier, shift, self.bits, signed), out

    def conv(self, name, source, weight, bias=None, *, signed=False, **geometry) -> None:
        values, scale = quantize_weight(weight, self.bits)
        total = scale * self.scale[source]
        offset = None if bias is None else np.rint(bias / total).astype(np.int64)
        bare = Conv(name, source, values, self.bits, offset, **geometry)
        acc = oracle_layer(bare, self.tensors, {})
        rule, out = self.rule(acc, total, signed=signed)
        self.append(Conv(name, source, values, self.bits, offset, rule, **geometry), out, signed)

    def linear(self, name, source, weight, bias, *, last: bool) -> None:
        values, scale = quantize_weight(weight, self.bits)
        total = scale * self.scale[source]
        offset = np.rint(bias / total).astype(np.int64)
        bare = Linear(name, source, values, self.bits, offset)
        if last:
            self.append(bare, 1.0, True)
            return
        rule, out = self.rule(oracle_layer(bare, self.tensors, {}), total, signed=False)
        self.append(Linear(name, source, values, self.bits, offset, rule), out, False)

    def add(self, name: str, a: str, b: str) -> None:
        """ReLU(a + b): the unsigned result clips at 0."""
        scales = np.array([self.scale[a], self.scale[b]])
        real = self.tensors[a] * scales[0] + self.tensors[b] * scales[1]
        out = max(float(real.max()), float(scales.max())) / ((1 << self.bits) - 1)
        (ma, mb), shift = dyadic(scales / out, limit=16)
        self.append(Add(name, (a, b), (ma, mb), shift, self.bits), out, False)

    def mean(self, name: str, source: str, kernel: tuple[int, int]) -> None:
        signed = self.signed[source]
        multiplier, shift = dyadic(np.array([1 / (kernel[0] * kernel[1])]), limit=16)
        rule = Requantization(multiplier, shift, self.bits, signed)
        self.append(AveragePool(name, source, kernel, kernel, rule), self.scale[source], signed)
