"""Shapes of operators that onnx does not define: onnxruntime's, QONNX's and FINN's.

Source: onnxruntime's documentation of its contributed operators (ContribOperators.md) and QONNX's
operator documentation. An operator is recognised by its name in any of these domains, since
optimised models write some of them without a domain.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import cast

import numpy as np
from onnx import NodeProto, TensorProto

from npubench.frontend.infer import Inferred
from npubench.frontend.proto import Fact
from npubench.frontend.rules import Call, Rule, Shape, apply_rule, same

__all__ = ["QUANT_DOMAINS", "infer_contributed", "is_contributed"]

QUANT_DOMAINS = frozenset(
    {
        "onnx.brevitas",
        "qonnx.custom_op.general",
        "finn",
        "finn.custom_op.general",
        "finn.custom_op.fpgadataflow",
    }
)
_DOMAINS = QUANT_DOMAINS | {"", "com.microsoft", "com.microsoft.nchwc", "com.ms.internal.nhwc"}


def is_contributed(op: str, domain: str) -> bool:
    """Whether `infer_contributed` knows an operator."""
    return op in _RULES and domain in _DOMAINS


def infer_contributed(
    node: NodeProto, inputs: Sequence[Fact | None], attributes: Mapping[str, object], opset: int
) -> list[Inferred | None]:
    """Types of the results of a contributed operator; short of those it does not work out.

    Raises:
        ModelError: the operands do not fit together.
    """
    return apply_rule(_RULES[node.op_type], Call(node, inputs, attributes, opset))


def _broadcast(call: Call, *shapes: Shape) -> Shape:
    try:
        return np.broadcast_shapes(*shapes)
    except ValueError:
        raise call.wrong("they do not broadcast") from None


def _matmul(
    call: Call, a: Shape, b: Shape, *, trans_a: bool = False, trans_b: bool = False
) -> Shape:
    if trans_a and len(a) > 1:
        a = (*a[:-2], a[-1], a[-2])
    if trans_b and len(b) > 1:
        b = (*b[:-2], b[-1], b[-2])
    if not a or not b:
        raise call.wrong("a scalar has no rows to multiply")
    rows = a[-2:-1]
    columns = b[-1:] if len(b) > 1 else ()
    inner = b[-2] if len(b) > 1 else b[0]
    if a[-1] != inner:
        raise call.wrong(f"{a[-1]} columns against {inner} rows")
    return (*_broadcast(call, a[:-2], b[:-2]), *rows, *columns)


def _fused_matmul(call: Call) -> list[Inferred | None]:
    a, b = call.shape(0), call.shape(1)
    if call.integer("transBatchA", 0):
        a = (*a[1:-1], a[0], a[-1])
    if call.integer("transBatchB", 0):
        b = (*b[1:-1], b[0], b[-1])
    shape = _matmul(
        call,
        a,
        b,
        trans_a=bool(call.integer("transA", 0)),
        trans_b=bool(call.integer("transB", 0)),
    )
    return [(call.elem(0), shape)]


def _plain_matmul(call: Call) -> list[Inferred | None]:
    return [(call.elem(0), _matmul(call, call.shape(0), call.shape(1)))]


def _float_matmul(call: Call) -> list[Inferred | None]:
    """DynamicQuantizeMatMul and MatMulIntegerToFloat: the result has the type of the scale."""
    return [(call.elem(2), _matmul(call, call.shape(0), call.shape(1)))]


def _packed_matmul(call: Call) -> list[Inferred | None]:
    """A weight of K x N in blocks of few bits; only the attributes say K and N."""
    a, k = call.shape(0), call.integer("K")
    if not a or a[-1] != k:
        raise call.wrong(f"the left one should have {k} columns")
    return [(call.elem(0), (*a[:-1], call.integer("N")))]


def _gemm_shape(call: Call, weight: int) -> Shape:
    return _matmul(
        call,
        call.shape(0, 2),
        call.shape(weight, 2),
        trans_a=bool(call.integer("transA", 0)),
        trans_b=bool(call.integer("transB", 0)),
    )


def _gemm(call: Call) -> list[Inferred | None]:
    return [(call.elem(0), _gemm_shape(call, 1))]


def _q_gemm(call: Call) -> list[Inferred | None]:
    return [(call.elem(8) if call.has(8) else TensorProto.FLOAT, _gemm_shape(call, 3))]


def _as_float(fact: Fact) -> Fact:
    """For shapes by an operator that is defined on floats only."""
    return Fact(fact.name, fact.shape, TensorProto.FLOAT, fact.storage)


def _channels_first(shape: Shape) -> Shape:
    return (shape[0], shape[-1], *shape[1:-1])


def _channels_last(shape: Shape | None) -> Shape | None:
    return None if shape is None else (shape[0], *shape[2:], shape[1])


def _windowed(op: str, weight: int | None, *, channels_last: bool | None = None) -> Rule:
    """Convolutions and pools: as ONNX's own, on channels first or last."""

    def rule(call: Call) -> list[Inferred | None]:
        last = bool(call.integer("channels_last", 0)) if channels_last is None else channels_last
        data = _as_float(call.fact(0))
        if len(data.shape) < 3:
            raise call.wrong("a window needs a batch, channels and space")
        facts = [data] if weight is None else [data, _as_float(call.fact(weight))]
        if last:
            facts = [
                Fact(f.name, _channels_first(f.shape), f.elem, f.storage)
                if i == 0 or call.node.op_type == "NhwcConv"
                else f
                for i, f in enumerate(facts)
            ]
        shape = call.standard(op, facts)
        return [(call.elem(0), _channels_last(shape) if last else shape)]

    return rule


def _q_binary(call: Call) -> list[Inferred | None]:
    return [(call.elem(0), _broadcast(call, call.shape(0), call.shape(3)))]


def _q_concat(call: Call) -> list[Inferred | None]:
    """Operands: scale and zero point of the result, then triples of tensor, scale, zero point."""
    facts = [call.fact(i) for i in range(2, len(call.inputs), 3)]
    return [(call.elem(1), call.standard("Concat", facts))]


def _quantize(call: Call) -> list[Inferred | None]:
    return [(call.elem(2) if call.has(2) else TensorProto.UINT8, call.shape(0))]


def _dequantize(call: Call) -> list[Inferred | None]:
    return [(call.elem(1), call.shape(0))]


def _skip_normalization(call: Call) -> list[Inferred | None]:
    """Result, mean, inverse deviation (both unused in inference) and the sum before norm."""
    shape = call.shape(0)
    if (
        call.shape(1)[-len(shape) :] != shape[-len(call.shape(1)) :]
        and call.shape(1)[-1:] != (shape[-1:])
    ):
        raise call.wrong("the skipped tensor has another width")
    statistic = (TensorProto.FLOAT, (*shape[:-1], 1))
    return [(call.elem(0), shape), statistic, statistic, (call.elem(0), shape)]


def _normalization(call: Call) -> list[Inferred | None]:
    shape = call.shape(0)
    axis = call.integer("axis", -1)
    keep = axis % len(shape) if shape else 0
    statistic = (TensorProto.FLOAT, (*shape[:keep], *(1 for _ in shape[keep:])))
    return [(call.elem(0), shape), statistic, statistic]


def _embed_layer_norm(call: Call) -> list[Inferred | None]:
    """Operands: ids [B, S], segment ids, word, position and segment tables [rows, hidden]."""
    batch, length = call.shape(0, 2)
    hidden = call.shape(2, 2)[1]
    elem, out = call.elem(2), (batch, length, hidden)
    return [(elem, out), (TensorProto.INT32, (batch,)), (elem, out)]


def _cache(call: Call, index: int, fresh: Shape) -> Shape:
    """Keys or values after this step: the past along axis 2 and the new ones."""
    past = call.shape(index, 4)
    return (*past[:2], past[2] + fresh[2], past[3])


def _attention(call: Call) -> list[Inferred | None]:
    """com.microsoft Attention: input [B, S, D], weight [D, 3 x hidden] in one matrix."""
    batch, length, _ = call.shape(0, 3)
    width = call.shape(1, 2)[1]
    sizes = call.attributes.get("qkv_hidden_sizes", (width // 3,) * 3)
    hidden = cast(Shape, sizes)
    if len(hidden) != 3 or sum(hidden) != width:
        raise call.wrong(f"{width} columns do not divide into queries, keys and values")
    heads = call.integer("num_heads")
    if heads < 1 or hidden[2] % heads or hidden[1] % heads:
        raise call.wrong(f"width {hidden[2]} does not divide into {heads} heads")
    results: list[Inferred | None] = [(call.elem(0), (batch, length, hidden[2]))]
    present: Shape = (2, batch, heads, length, hidden[2] // heads)
    if call.has(4):
        past = call.shape(4, 5)
        shared = call.integer("past_present_share_buffer", 0)
        present = (*past[:3], past[3] if shared else past[3] + length, past[4])
    return [*results, (call.elem(0), present)]


def _q_attention(call: Call) -> list[Inferred | None]:
    batch, length, _ = call.shape(0, 3)
    width = call.shape(1, 2)[1]
    heads = call.integer("num_heads")
    if width % (3 * heads):
        raise call.wrong(f"{width} columns do not divide into 3 x {heads} heads")
    elem = call.elem(3)
    past = call.shape(8, 5)[3] if call.has(8) else 0
    present = (2, batch, heads, past + length, width // (3 * heads))
    return [(elem, (batch, length, width // 3)), (elem, present)]


def _multi_head_attention(call: Call) -> list[Inferred | None]:
    """Queries [B, S, D], or keys and values packed with them; operands 6 and 7 are the past."""
    query, heads = call.shape(0), call.integer("num_heads")
    if heads < 1:
        raise call.wrong("num_heads is less than 1")
    if len(query) == 5:  # packed: [B, S, heads, 3, head width]
        batch, length, width = query[0], query[1], query[2] * query[4]
        key_length = length
    elif len(query) == 3:
        batch, length = query[:2]
        value = call.shape(2) if call.has(2) else None
        key = call.shape(1) if call.has(1) else query
        if value is None:  # keys and values packed: [B, L, heads, 2, head width]
            width = key[2] * key[4] if len(key) == 5 else query[2]
        else:
            width = value[1] * value[3] if len(value) == 4 else value[2]
        key_length = key[2] if len(key) == 4 else key[1]
    else:
        raise call.wrong(f"queries have {len(query)} axes, not 3 or 5")
    elem = call.elem(0)
    head = width // heads
    fresh = (batch, heads, key_length, head)
    present = [_cache(call, i, fresh) if call.has(i) else fresh for i in (6, 7)]
    return [(elem, (batch, length, width)), *((elem, p) for p in present)]


def _group_query_attention(call: Call) -> list[Inferred | None]:
    """Queries [B, S, heads x width]; keys and values apart or packed behind the queries."""
    batch, length, width = call.shape(0, 3)
    heads, kv_heads = call.integer("num_heads"), call.integer("kv_num_heads")
    if heads < 1 or kv_heads < 1 or heads % kv_heads:
        raise call.wrong(f"{heads} heads cannot share {kv_heads} of keys and values")
    shares = heads if call.has(1) else heads + 2 * kv_heads
    if width % shares:
        raise call.wrong(f"width {width} does not divide into {shares} heads")
    head = width // shares
    elem = call.elem(0)
    present: Shape = (batch, kv_heads, length, head)
    if call.has(3):
        past = call.shape(3, 4)
        present = (*past[:2], _total_length(call, past[2] + length), past[3])
    return [(elem, (batch, length, heads * head)), (elem, present), (elem, present)]


def _total_length(call: Call, default: int) -> int:
    """Length of the cache after this step; the file may state it as a constant."""
    stated = call.inputs[6] if call.has(6) else None
    if stated is None or stated.data is None or stated.data.size != 1:
        return default
    past = call.shape(3, 4)[2]
    return max(past, int(stated.data.ravel()[0]))


def _gather_quantized(call: Call) -> list[Inferred | None]:
    axis = call.integer("gather_axis", 0)
    data = call.shape(0)
    packed = 8 // call.integer("bits", 4) if call.elem(0) == TensorProto.UINT8 else 1
    full = (*data[:-1], data[-1] * packed)
    return [(call.elem(2), (*full[:axis], *call.shape(1), *full[axis + 1 :]))]


def _bias_split_gelu(call: Call) -> list[Inferred | None]:
    shape = call.shape(0)
    return [(call.elem(0), (*shape[:-1], shape[-1] // 2))]


def _dynamic_lstm(call: Call) -> list[Inferred | None]:
    length, batch, _ = call.shape(0, 3)
    hidden = call.integer("hidden_size")
    directions = 2 if call.attributes.get("direction") == "bidirectional" else 1
    state = (directions, batch, hidden)
    elem = call.elem(0)
    return [(elem, (length, *state)), (elem, state), (elem, state)]


def _im2col(call: Call) -> list[Inferred | None]:
    """QONNX Im2Col on [N, H, W, C]: [N, out rows, out columns, kernel x C]."""
    batch, height, width, channels = call.shape(0, 4)
    kernel = cast(Shape, call.attributes.get("kernel_size", ()))
    stride = cast(Shape, call.attributes.get("stride", (1, 1)))
    pads = cast(Shape, call.attributes.get("pad_amount", (0, 0, 0, 0)))
    dilations = cast(Shape, call.attributes.get("dilations", (1, 1)))
    if not (len(kernel) == len(stride) == len(dilations) == 2 and len(pads) == 4):
        raise call.wrong("its window is not given in two dimensions")
    if min(*stride, *kernel) < 1:
        raise call.wrong("its window or stride is less than 1")
    space = [
        (extent + pads[i] + pads[i + 2] - dilations[i] * (kernel[i] - 1) - 1) // stride[i] + 1
        for i, extent in enumerate((height, width))
    ]
    return [(call.elem(0), (batch, *space, math.prod(kernel) * channels))]


_RULES: dict[str, Rule] = {
    # activations and normalisations
    **dict.fromkeys(
        (
            "BiasDropout",
            "BiasGelu",
            "BiasSoftmax",
            "FastGelu",
            "Gelu",
            "GroupNorm",
            "Inverse",
            "MoE",
            "QLinearLeakyRelu",
            "QLinearSigmoid",
            "QLinearSoftmax",
            "QMoE",
            "QuickGelu",
            "RMSNorm",
            "RotaryEmbedding",
            "BiasAdd",
        ),
        same,
    ),
    "BiasSplitGelu": _bias_split_gelu,
    "LayerNormalization": _normalization,
    "SimplifiedLayerNormalization": _normalization,
    "SkipLayerNormalization": _skip_normalization,
    "SkipSimplifiedLayerNormalization": _skip_normalization,
    "EmbedLayerNormalization": _embed_layer_norm,
    # attention
    "Attention": _attention,
    "QAttention": _q_attention,
    "MultiHeadAttention": _multi_head_attention,
    "DecoderMaskedMultiHeadAttention": _multi_head_attention,
    "GroupQueryAttention": _group_query_attention,
    # matrices
    "FusedMatMul": _fused_matmul,
    "TransposeMatMul": _fused_matmul,
    "FusedMatMulActivation": _fused_matmul,
    "GemmFastGelu": _plain_matmul,
    "MatMulInteger16": _plain_matmul,
    "XnorPopcountMatMul": _plain_matmul,
    "DynamicQuantizeMatMul": _float_matmul,
    "MatMulIntegerToFloat": _float_matmul,
    "MatMulNBits": _packed_matmul,
    "MatMulBnb4": _packed_matmul,
    "FusedGemm": _gemm,
    "QGemm": _q_gemm,
    "GatherBlockQuantized": _gather_quantized,
    "DynamicQuantizeLSTM": _dynamic_lstm,
    # windows
    "FusedConv": _windowed("Conv", 1, channels_last=False),
    "NhwcFusedConv": _windowed("Conv", 1, channels_last=True),
    "NhwcConv": _windowed("Conv", 1, channels_last=True),
    "NhwcMaxPool": _windowed("MaxPool", None, channels_last=True),
    "QLinearConv": _windowed("Conv", 3),
    "QLinearAveragePool": _windowed("AveragePool", None),
    "QLinearGlobalAveragePool": _windowed("GlobalAveragePool", None),
    # quantisation
    "QuantizeLinear": _quantize,
    "DequantizeLinear": _dequantize,
    "QLinearAdd": _q_binary,
    "QLinearMul": _q_binary,
    "QLinearConcat": _q_concat,
    # QONNX and FINN
    **dict.fromkeys(
        ("Quant", "IntQuant", "FloatQuant", "BipolarQuant", "Trunc", "MultiThreshold"), same
    ),
    "Im2Col": _im2col,
}
