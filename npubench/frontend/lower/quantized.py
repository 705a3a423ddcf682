"""Quantisation: its own work, integer matrix products, and packed low-bit weights.

DequantizeLinear of an activation is a view: integer machines apply scales to their sums, so the
consumer's arithmetic absorbs it. It states the format of what it gives, as does QONNX's Quant;
that is how a layer's activation format is found.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from npubench.frontend.graph import Node
from npubench.frontend.lower.context import Lowering, Scope, fail, number
from npubench.frontend.lower.costs import DYNAMIC_QUANTISE, MICROSOFT, QONNX, REQUANTISE
from npubench.frontend.lower.matmul import finish, gemm, is_row_bias, matmul
from npubench.ir import FORMATS, Format, VectorKind, integer

__all__ = ["LOWERINGS"]


def _quantise_work(scope: Scope, node: Node, per_element: int) -> tuple[str, ...]:
    outputs = scope.writes(node.outputs)
    scope.vector(
        node,
        VectorKind.QUANTIZE,
        inputs=scope.reads(node.inputs),
        outputs=outputs,
        alu=per_element * scope.size(node.input(0)),
    )
    return outputs


def _quantise(scope: Scope, node: Node) -> None:
    _quantise_work(scope, node, REQUANTISE)


def _dynamic_quantise(scope: Scope, node: Node) -> None:
    _quantise_work(scope, node, DYNAMIC_QUANTISE)


def _dequantise(scope: Scope, node: Node) -> None:
    quantised = scope.read(node.input(0))
    outputs = scope.writes(node.outputs)
    scope.move(node, (quantised, *scope.reads(node.inputs[1:])), outputs, 0)
    scope.annotate(outputs[0], scope.annotation(quantised))


def _qonnx(scope: Scope, node: Node) -> None:
    """Quant (x, scale, zero, bits), BipolarQuant (x, scale), Trunc (x, scale, zero, from, to)."""
    stated = _stated_width(scope, node)
    if stated is None:
        scope.unknown(node, "its bit width is not a known whole number from 1 to 64")
        return
    # A sign is one comparison; a truncation shifts and rounds.
    work = {"BipolarQuant": 1, "Trunc": 2}.get(node.op, REQUANTISE)
    scope.annotate(_quantise_work(scope, node, work)[0], stated)


def _stated_width(scope: Scope, node: Node) -> Format | None:
    if node.op == "BipolarQuant":
        return integer(1)
    bits = number(scope, node.input(4 if node.op == "Trunc" else 3))
    if bits is None or bits != int(bits) or not 1 <= bits <= 64:
        return None
    return integer(int(bits), signed=bool(node.attribute("signed", 1)))


# Result types as FINN writes them: UINT2, INT4, BIPOLAR.
_FINN_TYPE = re.compile(r"(?P<kind>U?INT)(?P<bits>[0-9]{1,2})")


def _multi_threshold(scope: Scope, node: Node) -> None:
    """FINN's activation: how many of a channel's thresholds (x, thresholds [C, T]) are passed."""
    name = node.attribute("out_dtype", "")
    match = _FINN_TYPE.fullmatch(name)
    outputs = _quantise_work(scope, node, scope.shape(node.input(1))[-1])
    if match and 1 <= int(match["bits"]) <= 64:
        scope.annotate(outputs[0], integer(int(match["bits"]), signed=match["kind"] == "INT"))
    elif name == "BIPOLAR":
        scope.annotate(outputs[0], integer(1))


def _matmul_integer(scope: Scope, node: Node) -> None:
    # Zero points (inputs 2 and 3) fold into a constant per output channel.
    a, b = node.input(0), node.input(1)
    left, right = (scope.read(a), scope.shape(a)), (scope.read(b), scope.shape(b))
    matmul(scope, node, left, right, scope.writes(node.outputs))


def _qlinear_matmul(scope: Scope, node: Node) -> None:
    """a, a_scale, a_zero, b, b_scale, b_zero, y_scale, y_zero."""
    a, b = node.input(0), node.input(3)
    left, right = (scope.read(a), scope.shape(a)), (scope.read(b), scope.shape(b))
    finish(
        scope,
        node,
        lambda outputs: matmul(scope, node, left, right, outputs),
        (REQUANTISE, 0),
        inputs=scope.reads(node.input(i) for i in (1, 4, 6, 7)),
        kind=VectorKind.QUANTIZE,
        sums=integer(32),
        suffix="requantise",
    )


def _qgemm(scope: Scope, node: Node) -> None:
    """A, a_scale, a_zero, B, b_scale, b_zero, C, y_scale, y_zero; float result without y_scale."""
    a, b, addend = node.input(0), node.input(3), node.input(6)
    columns = scope.shape(node.outputs[0])[-1]
    as_bias = bool(addend) and is_row_bias(scope, addend, columns, b)
    work = REQUANTISE if node.input(7) else 1
    read = (node.input(1), node.input(4), "" if as_bias else addend, node.input(7), node.input(8))
    finish(
        scope,
        node,
        lambda outputs: gemm(scope, node, a, b, outputs, addend if as_bias else ""),
        (work + (bool(addend) and not as_bias), 0),
        inputs=scope.reads(read),
        kind=VectorKind.QUANTIZE,
        sums=integer(32),
        suffix="requantise",
    )


def _integer_to_float(scope: Scope, node: Node) -> None:
    """A, B, a_scale, b_scale, a_zero, b_zero, bias: int32 sums times the product of the scales."""
    a, b, bias = node.input(0), node.input(1), node.input(6)
    left, right = (scope.read(a), scope.shape(a)), (scope.read(b), scope.shape(b))
    finish(
        scope,
        node,
        lambda outputs: matmul(scope, node, left, right, outputs),
        (1 + bool(bias), 0),
        inputs=scope.reads((node.input(2), node.input(3), bias)),
        sums=integer(32),
        suffix="scale",
    )


def _dynamic_matmul(scope: Scope, node: Node) -> None:
    """A (float), B, b_scale, b_zero, bias: A is quantised to uint8 by its own range first."""
    a, b, bias = node.input(0), node.input(1), node.input(4)
    shape = scope.shape(a)
    quantised = scope.temporary(node, "quantised", shape, FORMATS["uint8"])
    scope.vector(
        node,
        VectorKind.QUANTIZE,
        inputs=(scope.read(a),),
        outputs=(quantised,),
        alu=DYNAMIC_QUANTISE * scope.size(a),
        suffix="quantise",
    )
    right = (scope.read(b), scope.shape(b))
    finish(
        scope,
        node,
        lambda outputs: matmul(scope, node, (quantised, shape), right, outputs),
        (1 + bool(bias), 0),
        inputs=scope.reads((node.input(2), bias)),
        sums=integer(32),
        suffix="scale",
    )


def _matmul_nbits(scope: Scope, node: Node) -> None:
    """A, B packed, scales, zero_points, g_idx, bias: weights of ``bits`` bits, blockwise scales.

    The weight appears unpacked, as [N, K] of that width, since that is what a machine multiplies.
    """
    columns, depth = node.attribute("N", 0), node.attribute("K", 0)
    bits = node.attribute("bits", 4)
    if columns < 1 or depth < 1 or not 1 <= bits <= 16:
        raise fail(node, f"N {columns}, K {depth} and bits {bits} do not describe a weight")
    data = node.input(0)
    weight = scope.held(f"{node.input(1)}.unpacked", (columns, depth), integer(bits))
    matmul(
        scope,
        node,
        (scope.read(data), scope.shape(data)),
        (weight, (depth, columns)),
        scope.writes(node.outputs),
        bias=scope.read(node.input(5)) if node.input(5) else "",
        scales=scope.reads(node.input(i) for i in (2, 3, 4)),
    )


def _qlinear_concat(scope: Scope, node: Node) -> None:
    """y_scale, y_zero, then (x, scale, zero) for each part: all parts are requantised."""
    scope.vector(
        node,
        VectorKind.QUANTIZE,
        inputs=scope.reads(node.inputs),
        outputs=scope.writes(node.outputs),
        alu=REQUANTISE * scope.size(node.outputs[0]),
    )


LOWERINGS: Mapping[tuple[str, str], Lowering] = {
    **{(domain, "QuantizeLinear"): _quantise for domain in ("", MICROSOFT)},
    **{(domain, "DequantizeLinear"): _dequantise for domain in ("", MICROSOFT)},
    ("", "DynamicQuantizeLinear"): _dynamic_quantise,
    **{
        (domain, op): _qonnx
        for domain in QONNX
        for op in ("Quant", "IntQuant", "BipolarQuant", "Trunc")
    },
    **{(domain, "MultiThreshold"): _multi_threshold for domain in QONNX},
    ("", "MatMulInteger"): _matmul_integer,
    (MICROSOFT, "MatMulInteger16"): _matmul_integer,
    ("", "QLinearMatMul"): _qlinear_matmul,
    (MICROSOFT, "QLinearMatMul"): _qlinear_matmul,
    (MICROSOFT, "QGemm"): _qgemm,
    (MICROSOFT, "MatMulIntegerToFloat"): _integer_to_float,
    (MICROSOFT, "DynamicQuantizeMatMul"): _dynamic_matmul,
    (MICROSOFT, "MatMulNBits"): _matmul_nbits,
    (MICROSOFT, "QLinearConcat"): _qlinear_concat,
}
