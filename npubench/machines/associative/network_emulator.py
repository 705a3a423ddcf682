"""A whole quantised network, executed on the emulated processor.

Every number that the integer rule of `quantized_network` defines is computed by a program of
`operations` or `reduction` in `Cam`; numpy only arranges operands into rows (im2col) and results
back into tensors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from npubench.errors import MappingError
from npubench.machines.associative.emulator import Events, execute
from npubench.machines.associative.operations.arithmetic import accumulate
from npubench.machines.associative.operations.requantize import requantize, residual_add
from npubench.machines.associative.operations.select import max_pool_rows, relu
from npubench.machines.associative.program import Program
from npubench.machines.associative.quantized_network import (
    Add,
    AveragePool,
    Conv,
    Flatten,
    IntegerTensor,
    Linear,
    MaxPool,
    QuantizedLayer,
    QuantizedNetwork,
    Relu,
    Requantization,
)
from npubench.machines.associative.reduction import carry_save_reduction, scalar_product

__all__ = ["NetworkRun", "run_network"]

Integers = NDArray[np.int64]

_INT32_BITS = 32
_ROWS_AT_ONCE = 1 << 21
"""Rows that are emulated together, to bound memory; it changes no result and no cycle count."""


@dataclass(frozen=True, eq=False)
class NetworkRun:
    """Every layer's output and events (cycles of one execution, all rows of it at once)."""

    tensors: Mapping[str, IntegerTensor]
    events: Mapping[str, Events]
    output: IntegerTensor

    @property
    def total(self) -> Events:
        """Events of the whole network."""
        return sum(self.events.values(), Events())


def run_network(network: QuantizedNetwork, images: Integers) -> NetworkRun:
    """Execute a network on images, shape (batch, channels, rows, columns).

    Raises:
        MappingError: a value that its word cannot hold, an accumulator beyond int32, an unknown
            input or shapes that do not match.
    """
    first = IntegerTensor(
        np.asarray(images, dtype=np.int64), network.input_bits, network.input_signed
    )
    tensors = {network.input_name: first}
    events: dict[str, Events] = {}
    for layer in network.layers:
        names = layer.inputs if isinstance(layer, Add) else (layer.input,)
        for name in names:
            if name not in tensors:
                raise MappingError(f"layer '{layer.name}' reads '{name}', which nothing computes")
        tensors[layer.name], events[layer.name] = _run_layer(layer, [tensors[n] for n in names])
    return NetworkRun(
        MappingProxyType(tensors), MappingProxyType(events), tensors[network.layers[-1].name]
    )


def _run_layer(
    layer: QuantizedLayer, inputs: Sequence[IntegerTensor]
) -> tuple[IntegerTensor, Events]:
    x = inputs[0]
    match layer:
        case Conv():
            return _run_conv(layer, x)
        case Linear():
            return _run_linear(layer, x)
        case Relu():
            values, events = _elementwise(relu(x.bits), {"a": x.values})
            return IntegerTensor(values, x.bits, x.signed), events
        case MaxPool():
            return _run_max_pool(layer, x)
        case AveragePool():
            return _run_average_pool(layer, x)
        case Add():
            return _run_add(layer, x, inputs[1])
        case Flatten():
            flat = x.values.reshape(len(x.values), -1)
            return IntegerTensor(flat, x.bits, x.signed), Events()


def _in_chunks(program: Program, operands: Mapping[str, Integers]) -> tuple[Integers, Events]:
    """The program's only output for operands (slots, segments), a bounded number of rows a time."""
    segments = next(iter(operands.values())).shape[-1]
    step = max(_ROWS_AT_ONCE // program.slots, 1)
    parts: list[Integers] = []
    counted: list[Events] = []
    for start in range(0, segments, step):
        piece = {name: values[..., start : start + step] for name, values in operands.items()}
        result, events = execute(program, piece)
        parts.append(result[program.outputs[0].name])
        counted.append(events)
    return np.concatenate(parts, axis=-1), reduce(Events.beside, counted)


def _elementwise(program: Program, operands: Mapping[str, Integers]) -> tuple[Integers, Events]:
    """A one-slot program over tensors of one shape."""
    shape = next(iter(operands.values())).shape
    flat = {name: np.ascontiguousarray(value).reshape(1, -1) for name, value in operands.items()}
    values, events = _in_chunks(program, flat)
    return values.reshape(shape), events


def _windows(
    values: Integers, kernel: tuple[int, int], strides: tuple[int, int], dilations: tuple[int, int]
) -> Integers:
    """Views (batch, channels, OY, OX, FY, FX) of padded values."""
    reach = [dilation * (size - 1) + 1 for size, dilation in zip(kernel, dilations, strict=True)]
    views = np.lib.stride_tricks.sliding_window_view(values, reach, axis=(2, 3))
    return views[:, :, :: strides[0], :: strides[1], :: dilations[0], :: dilations[1]]


def _pad(values: Integers, pads: tuple[int, int, int, int], fill: int) -> Integers:
    top, left, bottom, right = pads
    spans = ((0, 0), (0, 0), (top, bottom), (left, right))
    return np.pad(values, spans, constant_values=fill)


def _accumulator_bits(name: str, x: IntegerTensor, weight: Integers, bias: Integers) -> int:
    """Two's complement width of the largest |acc| and |acc + bias| that any input can reach."""
    largest = 1 << (x.bits - x.signed)
    reach = np.abs(weight).reshape(len(weight), -1).sum(axis=1) * largest + np.abs(bias)
    bits = int(reach.max()).bit_length() + 1
    if bits > _INT32_BITS:
        raise MappingError(
            f"layer '{name}': accumulators need {bits} bits, the integer rule has {_INT32_BITS}"
        )
    return bits


def _finish(
    name: str,
    acc: Integers,
    bits: int,
    bias: Integers | None,
    requantization: Requantization | None,
) -> tuple[IntegerTensor, Events]:
    """Bias and requantization of accumulators (batch, K, ...), one row per element."""
    shape = (1, -1, *[1] * (acc.ndim - 2))
    operands = {"acc": acc}
    if bias is not None:
        operands["bias"] = np.broadcast_to(bias.reshape(shape), acc.shape)
    if requantization is None:
        if bias is None:
            return IntegerTensor(acc, bits, signed=True), Events()
        program = accumulate(bits, bits, signed=True)
        values, events = _elementwise(program, {"acc": acc, "a": operands["bias"]})
        return IntegerTensor(values, bits, signed=True), events
    channels = acc.shape[1]
    if len(requantization.multiplier) not in (1, channels):
        raise MappingError(
            f"layer '{name}': {len(requantization.multiplier)} multipliers for {channels} channels"
        )
    scale = np.array(requantization.multiplier, dtype=np.int64).reshape(shape)
    operands["m"] = np.broadcast_to(scale, acc.shape)
    program = requantize(
        bits,
        requantization.multiplier_bits,
        requantization.shift,
        requantization.bits,
        out_signed=requantization.signed,
        bias=bias is not None,
    )
    values, events = _elementwise(program, operands)
    return IntegerTensor(values, requantization.bits, requantization.signed), events


def _run_conv(layer: Conv, x: IntegerTensor) -> tuple[IntegerTensor, Events]:
    channels, per_group, *kernel = layer.weight.shape
    if per_group * layer.groups != x.values.shape[1] or channels % layer.groups:
        raise MappingError(
            f"layer '{layer.name}': weights {layer.weight.shape} in {layer.groups} groups do not "
            f"fit {x.values.shape[1]} channels"
        )
    size = (kernel[0], kernel[1])
    views = _windows(_pad(x.values, layer.pads, 0), size, layer.strides, layer.dilations)
    batch, _, rows, cols = views.shape[:4]
    terms = per_group * size[0] * size[1]
    patches = (
        views.reshape(batch, layer.groups, per_group, rows, cols, *size)
        .transpose(2, 5, 6, 0, 1, 3, 4)
        .reshape(terms, batch, layer.groups, 1, rows * cols)
    )
    weight = layer.weight.reshape(layer.groups, channels // layer.groups, terms)
    weight = weight.transpose(2, 0, 1)[:, None, :, :, None]
    acc, bits, events = _scalar_products(layer, x, patches, weight)
    result, finished = _finish(
        layer.name,
        acc.reshape(batch, channels, rows, cols),
        bits,
        layer.bias,
        layer.requantization,
    )
    return result, events + finished


def _run_linear(layer: Linear, x: IntegerTensor) -> tuple[IntegerTensor, Events]:
    if x.values.ndim != 2 or x.values.shape[1] != layer.weight.shape[1]:
        raise MappingError(
            f"layer '{layer.name}': weights {layer.weight.shape} do not fit inputs of shape "
            f"{x.values.shape}"
        )
    acc, bits, events = _scalar_products(
        layer, x, x.values.T[:, :, None], layer.weight.T[:, None, :]
    )
    acc = acc.reshape(len(x.values), len(layer.weight))
    result, finished = _finish(layer.name, acc, bits, layer.bias, layer.requantization)
    return result, events + finished


def _scalar_products(
    layer: Conv | Linear, x: IntegerTensor, activations: Integers, weights: Integers
) -> tuple[Integers, int, Events]:
    """Accumulators of operands that broadcast to (terms, segments...), their width, events."""
    bias = layer.bias if layer.bias is not None else np.zeros(1, dtype=np.int64)
    bits = _accumulator_bits(layer.name, x, layer.weight, bias)
    terms = len(activations)
    shape = np.broadcast_shapes(activations.shape, weights.shape)
    program = scalar_product(
        terms,
        x.bits,
        layer.weight_bits,
        a_signed=x.signed,
        b_signed=True,
        total_bits=max(bits, x.bits + layer.weight_bits),
    )
    acc, events = _in_chunks(
        program,
        {
            "a": np.broadcast_to(activations, shape).reshape(terms, -1),
            "b": np.broadcast_to(weights, shape).reshape(terms, -1),
        },
    )
    return acc, program.output("sum").bits, events


def _run_max_pool(layer: MaxPool, x: IntegerTensor) -> tuple[IntegerTensor, Events]:
    lowest = -(1 << (x.bits - 1)) if x.signed else 0
    views = _windows(_pad(x.values, layer.pads, lowest), layer.kernel, layer.strides, (1, 1))
    words = views.reshape(*views.shape[:4], -1)
    program = max_pool_rows(x.bits, words.shape[-1], signed=x.signed)
    values, events = _in_chunks(
        program, {"x": np.moveaxis(words, -1, 0).reshape(words.shape[-1], -1)}
    )
    return IntegerTensor(values.reshape(views.shape[:4]), x.bits, x.signed), events


def _run_average_pool(layer: AveragePool, x: IntegerTensor) -> tuple[IntegerTensor, Events]:
    views = _windows(x.values, layer.kernel, layer.strides, (1, 1))
    words = views.reshape(*views.shape[:4], -1)
    program = carry_save_reduction(words.shape[-1], x.bits, signed=x.signed)
    values, events = _in_chunks(
        program, {"x": np.moveaxis(words, -1, 0).reshape(words.shape[-1], -1)}
    )
    acc, bits = values.reshape(views.shape[:4]), program.output("sum").bits
    # the accumulator of a requantization is signed: an unsigned sum gains a zero sign column
    result, finished = _finish(layer.name, acc, bits + (not x.signed), None, layer.requantization)
    return result, events + finished


def _run_add(layer: Add, a: IntegerTensor, b: IntegerTensor) -> tuple[IntegerTensor, Events]:
    if a.values.shape != b.values.shape:
        raise MappingError(
            f"layer '{layer.name}': shapes {a.values.shape} and {b.values.shape} differ"
        )
    program = residual_add(
        a.bits,
        b.bits,
        max(1, max(layer.multipliers).bit_length()),
        layer.shift,
        layer.bits,
        a_signed=a.signed,
        b_signed=b.signed,
        out_signed=layer.signed,
    )
    scales = [np.full(a.values.shape, m, dtype=np.int64) for m in layer.multipliers]
    values, events = _elementwise(
        program, {"a": a.values, "b": b.values, "ma": scales[0], "mb": scales[1]}
    )
    return IntegerTensor(values, layer.bits, layer.signed), events
