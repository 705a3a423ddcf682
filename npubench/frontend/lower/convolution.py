"""Convolutions: one loop nest each, spatial triples in (Z, Y, X) order, 1-D on X alone.

A transposed convolution is counted as the matrix product of its input pixels with all kernel
elements, [pixels x C] x [C x K*FZ*FY*FX], followed by the additions of overlapping results.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

from npubench.frontend.graph import Node
from npubench.frontend.lower.context import Lowering, Scope, Shape, fail, ints
from npubench.frontend.lower.costs import MICROSOFT, REQUANTISE, activation_work
from npubench.ir import LoopNest, VectorKind, integer

__all__ = ["LOWERINGS"]

_SPATIAL_AXES = ("Z", "Y", "X")
_MAX_SPATIAL = 3

Triple = tuple[int, int, int]


def _triple(values: Shape, fill: int) -> Triple:
    padded = (fill,) * (_MAX_SPATIAL - len(values)) + tuple(values)
    return padded[0], padded[1], padded[2]


def _axes(rank: int, *, channels_last: bool) -> tuple[str, ...]:
    spatial = _SPATIAL_AXES[-(rank - 2) :]
    return ("B", *spatial, "C") if channels_last else ("B", "C", *spatial)


def _pad_begin(
    node: Node, extent: Shape, out: Shape, kernel: Shape, stride: Shape, dilation: Shape
) -> Shape:
    """Zeros before each spatial axis, from ``pads`` or from ``auto_pad``."""
    spatial = len(extent)
    auto_pad = node.attribute("auto_pad", "NOTSET")
    if auto_pad in ("NOTSET", ""):
        return ints(node, "pads", (0,) * (2 * spatial))[:spatial]
    if auto_pad == "VALID":
        return (0,) * spatial
    if auto_pad not in ("SAME_UPPER", "SAME_LOWER"):
        raise fail(node, f"auto_pad is '{auto_pad}', not NOTSET, VALID, SAME_UPPER or SAME_LOWER")
    begins = []
    for size, result, taps, step, spread in zip(extent, out, kernel, stride, dilation, strict=True):
        total = max((result - 1) * step + (taps - 1) * spread + 1 - size, 0)
        begins.append(total - total // 2 if auto_pad == "SAME_LOWER" else total // 2)
    return tuple(begins)


def _convolve(
    scope: Scope,
    node: Node,
    data: str,
    weight: str,
    bias: str,
    outputs: tuple[str, ...],
    *,
    channels_last: bool = False,
    weight_channels_last: bool = False,
) -> None:
    """Add the loop nest of a convolution; operands are value names, outputs are tensors."""
    x, w = scope.shape(data), scope.shape(weight)
    y = scope.tensor(outputs[0]).shape
    rank = len(x)
    if len(w) != rank or len(y) != rank:
        raise fail(node, f"data {x}, weight {w} and result {y} differ in their number of axes")
    space = slice(1, rank - 1) if channels_last else slice(2, rank)
    channels = x[-1] if channels_last else x[1]
    kernel, per_group = (w[1:-1], w[-1]) if weight_channels_last else (w[2:], w[1])
    groups = node.attribute("group", 1)
    if groups < 1 or channels != per_group * groups or w[0] % groups:
        raise fail(
            node,
            f"{channels} input channels and a weight of shape {w} do not make {groups} group(s)",
        )
    ones = (1,) * (rank - 2)
    stride, dilation = ints(node, "strides", ones), ints(node, "dilations", ones)
    out = _triple(y[space], 1)
    taps = _triple(kernel, 1)
    nest = LoopNest(
        B=x[0],
        G=groups,
        K=w[0] // groups,
        C=per_group,
        OZ=out[0],
        OY=out[1],
        OX=out[2],
        FZ=taps[0],
        FY=taps[1],
        FX=taps[2],
        stride=_triple(stride, 1),
        dilation=_triple(dilation, 1),
        pad_begin=_triple(_pad_begin(node, x[space], y[space], kernel, stride, dilation), 0),
        input_extent=_triple(x[space], 1),
    )
    names = _axes(rank, channels_last=channels_last)
    scope.mac(
        node,
        nest,
        data=scope.name_axes(scope.read(data), names),
        weight=scope.read(weight),
        bias=scope.read(bias) if bias else "",
        outputs=(scope.name_axes(outputs[0], names), *outputs[1:]),
    )


def _unsupported(scope: Scope, node: Node, data: str) -> bool:
    """Whether the data has no spatial axis or more than three; adds the unknown layer if so."""
    spatial = len(scope.shape(data)) - 2
    if 1 <= spatial <= _MAX_SPATIAL:
        return False
    scope.unknown(node, f"a convolution over {spatial} spatial axes is not modelled (1 to 3 are)")
    return True


def _conv(scope: Scope, node: Node) -> None:
    data, weight, bias = node.input(0), node.input(1), node.input(2)
    if not _unsupported(scope, node, data):
        _convolve(scope, node, data, weight, bias, scope.writes(node.outputs))


def _conv_integer(scope: Scope, node: Node) -> None:
    # Zero points (inputs 2 and 3) fold into a constant per output channel.
    if not _unsupported(scope, node, node.input(0)):
        _convolve(scope, node, node.input(0), node.input(1), "", scope.writes(node.outputs))


def _nhwc_conv(scope: Scope, node: Node) -> None:
    if _unsupported(scope, node, node.input(0)):
        return
    _convolve(
        scope,
        node,
        node.input(0),
        node.input(1),
        node.input(2),
        scope.writes(node.outputs),
        channels_last=True,
        weight_channels_last=True,
    )


def _qlinear_conv(scope: Scope, node: Node) -> None:
    """x, x_scale, x_zero, w, w_scale, w_zero, y_scale, y_zero, bias; the sums are int32."""
    if _unsupported(scope, node, node.input(0)):
        return
    result = scope.value(node.outputs[0])
    sums = scope.temporary(node, "sums", result.shape, integer(32))
    _convolve(
        scope,
        node,
        node.input(0),
        node.input(3),
        node.input(8),
        (sums,),
        channels_last=bool(node.attribute("channels_last", 0)),
    )
    scope.vector(
        node,
        VectorKind.QUANTIZE,
        inputs=(sums, *scope.reads(node.input(i) for i in (1, 4, 6, 7))),
        outputs=scope.writes(node.outputs),
        alu=REQUANTISE * prod(result.shape),
        suffix="requantise",
    )


def _fused_conv(scope: Scope, node: Node) -> None:
    """A convolution, an optional sum with a fourth operand, and an activation.

    The channels-last form keeps its weight channels first, unlike NhwcConv.
    """
    if _unsupported(scope, node, node.input(0)):
        return
    result = scope.value(node.outputs[0])
    sums = scope.temporary(node, "sums", result.shape, result.dtype)
    _convolve(
        scope,
        node,
        node.input(0),
        node.input(1),
        node.input(2),
        (sums,),
        channels_last=node.op == "NhwcFusedConv",
    )
    alu, special = activation_work(node.attribute("activation", "Relu"))
    added = node.input(3)
    elements = prod(result.shape)
    scope.vector(
        node,
        VectorKind.ACTIVATION,
        inputs=(sums, *scope.reads((added,))),
        outputs=scope.writes(node.outputs),
        alu=(alu + bool(added)) * elements,
        special=special * elements,
        suffix="activation",
    )


def _conv_transpose(scope: Scope, node: Node) -> None:
    data, weight, bias = node.input(0), node.input(1), node.input(2)
    if _unsupported(scope, node, data):
        return
    x, w = scope.shape(data), scope.shape(weight)
    if len(w) != len(x):
        raise fail(node, f"data {x} and weight {w} differ in their number of axes")
    groups = node.attribute("group", 1)
    if groups < 1 or x[1] != w[0] or x[1] % groups:
        raise fail(
            node, f"{x[1]} input channels and a weight of shape {w} do not make {groups} group(s)"
        )
    taps = prod(w[2:])
    extent = _triple(x[2:], 1)
    nest = LoopNest(
        B=x[0],
        G=groups,
        K=w[1] * taps,
        C=x[1] // groups,
        OZ=extent[0],
        OY=extent[1],
        OX=extent[2],
        input_extent=extent,
    )
    result = scope.value(node.outputs[0])
    names = _axes(len(x), channels_last=False)
    columns = scope.temporary(node, "columns", (x[0], groups * w[1] * taps, *x[2:]), result.dtype)
    scope.mac(
        node,
        nest,
        data=scope.name_axes(scope.read(data), names),
        weight=scope.read(weight),
        outputs=(scope.name_axes(columns, names),),
        approximation="transposed convolution as a matrix product of its input pixels with every "
        "kernel element, then additions of overlapping results",
    )
    output = scope.name_axes(scope.write(node.outputs[0]), names)
    scope.vector(
        node,
        VectorKind.ELEMENTWISE,
        inputs=(columns, *scope.reads((bias,))),
        outputs=(output,),
        alu=nest.output_elements + (prod(result.shape) if bias else 0),
        suffix="col2im",
    )


LOWERINGS: Mapping[tuple[str, str], Lowering] = {
    ("", "Conv"): _conv,
    ("", "ConvInteger"): _conv_integer,
    ("", "ConvTranspose"): _conv_transpose,
    ("", "QLinearConv"): _qlinear_conv,
    (MICROSOFT, "QLinearConv"): _qlinear_conv,
    (MICROSOFT, "FusedConv"): _fused_conv,
    (MICROSOFT, "NhwcFusedConv"): _fused_conv,
    (MICROSOFT, "NhwcConv"): _nhwc_conv,
}
