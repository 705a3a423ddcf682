"""Attention: projections where the operator has them, two products, and the softmax between.

Scores of query group and key: G = batch x key heads, OX = query positions x query heads per key
head, K = key positions, C = head size; the context is the same with K and C exchanged. Causal and
windowed attention is counted in full, since a machine of dense products computes the square.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

from npubench.frontend.graph import Node
from npubench.frontend.lower.context import Lowering, Scope, Shape, fail, ints
from npubench.frontend.lower.costs import MICROSOFT, ROTATE, SOFTMAX_ELEMENT, SOFTMAX_ROW
from npubench.ir import LoopNest, VectorKind

__all__ = ["LOWERINGS"]

_FULL_SQUARE = "causal attention counted as the full square of positions"
_WINDOW = "windowed attention counted over all positions"


@dataclass(frozen=True, slots=True)
class _Heads:
    """Extents of an attention: query and key heads, positions, and head sizes."""

    batch: int
    query_heads: int
    kv_heads: int
    queries: int
    keys: int
    head: int
    value_head: int

    def cache(self, head: int) -> Shape:
        """Shape of all keys (or values) with heads of that size."""
        return self.batch, self.kv_heads, self.keys, head


@dataclass(frozen=True, slots=True)
class _Tensors:
    """Tensors of an attention: what is multiplied, and what the softmax reads besides scores."""

    query: str
    key: str
    value: str
    softmax: tuple[str, ...] = ()


def _attend(
    scope: Scope,
    node: Node,
    heads: _Heads,
    tensors: _Tensors,
    outputs: tuple[str, str],
    masks: int = 0,
    note: str = "",
) -> None:
    """Add scores, softmax and context.

    Args:
        scope: where to add.
        node: the attention operator.
        heads: extents.
        tensors: keys and values are those of all positions.
        outputs: tensors written: the context, and the scores if asked for (else ``""``).
        masks: additions per score before the softmax.
        note: the approximation of both products.
    """
    if heads.kv_heads < 1 or heads.query_heads % heads.kv_heads:
        raise fail(node, f"{heads.query_heads} query heads do not share {heads.kv_heads} key heads")
    rows = heads.queries * (heads.query_heads // heads.kv_heads)
    products = heads.batch * heads.kv_heads
    shape = (heads.batch, heads.query_heads, heads.queries, heads.keys)
    dtype = scope.tensor(tensors.query).dtype
    scores = scope.temporary(node, "scores", shape, dtype)
    scope.mac(
        node,
        LoopNest(G=products, K=heads.keys, C=heads.head, OX=rows, input_extent=(1, 1, rows)),
        data=tensors.query,
        weight=tensors.key,
        outputs=(scores,),
        suffix="scores",
        approximation=note,
        weight_batched=True,
    )
    weights = scope.temporary(node, "weights", shape, dtype)
    elements = prod(shape)
    capped = bool(node.attribute("softcap", 0.0))  # c * tanh(score / c)
    scope.vector(
        node,
        VectorKind.SOFTMAX,
        inputs=(scores, *tensors.softmax),
        outputs=(weights, *((outputs[1],) if outputs[1] else ())),
        # One multiplication per score for the scale.
        alu=(SOFTMAX_ELEMENT[0] + 1 + masks + 2 * capped) * elements,
        special=(SOFTMAX_ELEMENT[1] + capped) * elements
        + SOFTMAX_ROW[1] * (elements // max(heads.keys, 1)),
        window=max(heads.keys, 1),
        suffix="softmax",
    )
    scope.mac(
        node,
        LoopNest(G=products, K=heads.value_head, C=heads.keys, OX=rows, input_extent=(1, 1, rows)),
        data=weights,
        weight=tensors.value,
        outputs=(outputs[0],),
        suffix="context",
        approximation=note,
        weight_batched=True,
    )


def _extend(
    scope: Scope, node: Node, past: str, new: str, present: str, shape: Shape, label: str
) -> str:
    """The tensor of all keys (or values): the new ones behind the past ones.

    The cache is moved whole, as Concat is. ``past`` and ``present`` are value names, ``""`` where
    left out; ``new`` is a tensor.
    """
    if not past and not present:
        return new
    if present:
        whole = scope.write(present)
    else:
        whole = scope.temporary(node, f"all_{label}", shape, scope.tensor(new).dtype)
    scope.move(
        node,
        (*scope.reads((past,)), new),
        (whole,),
        prod(scope.tensor(whole).shape),
        suffix=f"cache_{label}",
    )
    return whole


def _split(scope: Scope, node: Node, packed: str, shapes: Mapping[str, Shape]) -> tuple[str, ...]:
    """Views of the parts of a packed tensor."""
    dtype = scope.tensor(packed).dtype
    parts = tuple(scope.temporary(node, label, shape, dtype) for label, shape in shapes.items())
    scope.move(node, (packed,), parts, 0, suffix="split")
    return parts


def _output(node: Node, index: int) -> str:
    return node.outputs[index] if index < len(node.outputs) else ""


def _written(scope: Scope, name: str) -> str:
    return scope.write(name) if name else ""


def _per_head(node: Node, hidden: int, heads: int) -> int:
    if heads < 1 or hidden % heads:
        raise fail(node, f"{hidden} channels do not divide into {heads} heads")
    return hidden // heads


def _attention(scope: Scope, node: Node) -> None:
    """Q, K, V, attn_mask, past_key, past_value, nonpad_kv_seqlen; 3-D or 4-D operands."""
    q, k, v = (scope.shape(node.input(i)) for i in range(3))
    past = node.input(4)
    if not len(q) == len(k) == len(v):
        raise fail(node, f"Q {q}, K {k} and V {v} differ in their number of axes")
    if len(q) == 4:
        query_heads, kv_heads, head, value_head = q[1], k[1], q[3], v[3]
        queries, new = q[2], k[2]
    elif len(q) == 3:
        query_heads, kv_heads = node.attribute("q_num_heads", 0), node.attribute("kv_num_heads", 0)
        head = _per_head(node, q[2], query_heads)
        value_head = _per_head(node, v[2], kv_heads)
        queries, new = q[1], k[1]
    else:
        raise fail(node, f"Q of shape {q} should have three or four axes")
    keys = new + (scope.shape(past)[2] if past else 0)
    heads = _Heads(q[0], query_heads, kv_heads, queries, keys, head, value_head)
    key, value = (
        _extend(
            scope,
            node,
            node.input(4 + i),
            scope.read(node.input(1 + i)),
            _output(node, 1 + i),
            heads.cache((head, value_head)[i]),
            ("key", "value")[i],
        )
        for i in range(2)
    )
    windows = (node.attribute(name, -1) for name in ("left_window_size", "right_window_size"))
    _attend(
        scope,
        node,
        heads,
        _Tensors(
            scope.read(node.input(0)), key, value, scope.reads((node.input(3), node.input(6)))
        ),
        (scope.write(node.outputs[0]), _written(scope, _output(node, 3))),
        masks=bool(node.input(3)),
        note=_span_note(
            causal=bool(node.attribute("is_causal", 0)), windowed=any(w >= 0 for w in windows)
        ),
    )


def _span_note(*, causal: bool, windowed: bool = False) -> str:
    return "; ".join([_FULL_SQUARE] * causal + [_WINDOW] * windowed)


def _packed_attention(scope: Scope, node: Node) -> None:
    """Projection of one input to Q, K and V by one packed weight, then attention.

    Attention: input, weights, bias, mask_index, past, attention_bias. QAttention: input, weight,
    bias, two scales, mask_index, two zero points, past.
    """
    quantised = node.op == "QAttention"
    mask, past, extra = (5, 8, -1) if quantised else (3, 4, 5)
    data, weight, bias = node.input(0), node.input(1), node.input(2)
    x, w = scope.shape(data), scope.shape(weight)
    if len(x) != 3 or len(w) != 2 or x[2] != w[0]:
        raise fail(node, f"an input of shape {x} does not fit weights of shape {w}")
    sizes = ints(node, "qkv_hidden_sizes", ()) or (w[1] // 3,) * 3
    if len(sizes) != 3 or sum(sizes) != w[1]:
        raise fail(node, f"{w[1]} projected channels do not split into {sizes}")
    batch, queries = x[0], x[1]
    count = node.attribute("num_heads", 0)
    head, value_head = _per_head(node, sizes[0], count), _per_head(node, sizes[2], count)
    result = scope.value(node.outputs[0])
    packed = scope.temporary(node, "qkv", (batch, queries, w[1]), result.dtype)
    scope.mac(
        node,
        LoopNest(B=batch, K=w[1], C=w[0], OX=queries, input_extent=(1, 1, queries)),
        data=scope.name_axes(scope.read(data), ("B", "T", "C")),
        weight=scope.read(weight),
        bias=scope.read(bias) if bias else "",
        outputs=(packed,),
        suffix="projection",
    )
    query, key, value = _split(
        scope,
        node,
        packed,
        {n: (batch, queries, size) for n, size in zip("qkv", sizes, strict=True)},
    )
    before = node.input(past)
    keys = queries + (scope.shape(before)[3] if before else 0)
    heads = _Heads(batch, count, count, queries, keys, head, value_head)
    if before or _output(node, 1):
        # Keys and values share one cache of shape [2, batch, heads, positions, head].
        shape = (2, *heads.cache(head))
        if _output(node, 1):
            whole = scope.write(_output(node, 1))
        else:
            whole = scope.temporary(node, "cache", shape, result.dtype)
        scope.move(
            node, (*scope.reads((before,)), key, value), (whole,), prod(shape), suffix="cache"
        )
        key = value = whole
    added = node.input(extra) if extra > 0 else ""
    _attend(
        scope,
        node,
        heads,
        _Tensors(query, key, value, scope.reads((node.input(mask), added))),
        (scope.write(node.outputs[0]), ""),
        masks=bool(node.input(mask)) + bool(added),
        note=_span_note(causal=bool(node.attribute("unidirectional", 0))),
    )


def _multi_head(scope: Scope, node: Node) -> None:
    """query, key, value, bias, key_padding_mask, attention_bias, past_key, past_value.

    The query may hold Q, K and V packed ([B, S, N, 3, H]), the key K and V ([B, L, N, 2, H]);
    keys and values may come with their heads apart ([B, N, L, H]).
    """
    q = scope.shape(node.input(0))
    count = node.attribute("num_heads", 0)
    batch, queries = q[0], q[1]
    head = q[4] if len(q) == 5 else _per_head(node, q[-1], count)
    query = scope.read(node.input(0))
    if len(q) == 5:
        part = (batch, queries, count, head)
        query, key, value = _split(scope, node, query, {"q": part, "k": part, "v": part})
        new, value_head = queries, head
    elif len(k := scope.shape(node.input(1))) == 5:
        part = (batch, k[1], count, head)
        key, value = _split(scope, node, scope.read(node.input(1)), {"k": part, "v": part})
        new, value_head = k[1], head
    else:
        key, value = scope.read(node.input(1)), scope.read(node.input(2))
        v = scope.shape(node.input(2))
        new = k[2] if len(k) == 4 else k[1]
        value_head = v[3] if len(v) == 4 else _per_head(node, v[-1], count)
    if node.input(3):
        query, key, value = _add_bias(scope, node, (query, key, value))
    past = node.input(6)
    keys = new + (scope.shape(past)[2] if past else 0)
    heads = _Heads(batch, count, count, queries, keys, head, value_head)
    key = _extend(scope, node, past, key, _output(node, 1), heads.cache(head), "key")
    value = _extend(
        scope, node, node.input(7), value, _output(node, 2), heads.cache(value_head), "value"
    )
    _attend(
        scope,
        node,
        heads,
        _Tensors(query, key, value, scope.reads((node.input(4), node.input(5)))),
        (scope.write(node.outputs[0]), _written(scope, _output(node, 3))),
        masks=bool(node.input(4)) + bool(node.input(5)),
        note=_span_note(causal=bool(node.attribute("unidirectional", 0))),
    )


def _add_bias(scope: Scope, node: Node, parts: tuple[str, str, str]) -> tuple[str, ...]:
    records = [scope.tensor(part) for part in parts]
    biased = tuple(
        scope.temporary(node, f"biased_{label}", record.shape, record.dtype)
        for label, record in zip("qkv", records, strict=True)
    )
    scope.vector(
        node,
        VectorKind.ELEMENTWISE,
        inputs=(*parts, scope.read(node.input(3))),
        outputs=biased,
        alu=sum(record.elements for record in records),
        suffix="bias",
    )
    return biased


def _group_query(scope: Scope, node: Node) -> None:
    """query, key, value, past_key, past_value, lengths (2), cos, sin, positions, bias, sink.

    Key and value are left out where the query holds all three packed. Decoder-only: causal.
    """
    q = scope.shape(node.input(0))
    if len(q) != 3:
        raise fail(node, f"a query of shape {q} should have three axes")
    count, kv_count = node.attribute("num_heads", 0), node.attribute("kv_num_heads", 0)
    batch, queries = q[0], q[1]
    query = scope.read(node.input(0))
    if node.input(1):
        head = _per_head(node, q[2], count)
        key, value = scope.read(node.input(1)), scope.read(node.input(2))
    else:
        head = _per_head(node, q[2], count + 2 * kv_count)
        kv_part = (batch, queries, kv_count * head)
        parts = {"q": (batch, queries, count * head), "k": kv_part, "v": kv_part}
        query, key, value = _split(scope, node, query, parts)
    if node.attribute("do_rotary", 0):
        query, key = _rotate(scope, node, (query, key))
    past, present = node.input(3), _output(node, 1)
    before = scope.shape(past)[2] if past else 0
    keys = scope.shape(present)[2] if present else before + queries
    heads = _Heads(batch, count, kv_count, queries, keys, head, head)
    shape = heads.cache(head)
    key = _extend(scope, node, past, key, present, shape, "key")
    value = _extend(scope, node, node.input(4), value, _output(node, 2), shape, "value")
    _attend(
        scope,
        node,
        heads,
        _Tensors(query, key, value, scope.reads(node.inputs[10:12])),
        (scope.write(node.outputs[0]), ""),
        masks=bool(node.input(10)),
        note=_span_note(causal=True, windowed=node.attribute("local_window_size", -1) > 0),
    )


def _rotate(scope: Scope, node: Node, parts: tuple[str, str]) -> tuple[str, ...]:
    records = [scope.tensor(part) for part in parts]
    rotated = tuple(
        scope.temporary(node, f"rotated_{label}", record.shape, record.dtype)
        for label, record in zip("qk", records, strict=True)
    )
    scope.vector(
        node,
        VectorKind.ELEMENTWISE,
        inputs=(*parts, *scope.reads(node.inputs[7:9])),
        outputs=rotated,
        alu=ROTATE[0] * sum(record.elements for record in records),
        suffix="rotary",
    )
    return rotated


LOWERINGS: Mapping[tuple[str, str], Lowering] = {
    ("", "Attention"): _attention,
    (MICROSOFT, "Attention"): _packed_attention,
    (MICROSOFT, "QAttention"): _packed_attention,
    (MICROSOFT, "MultiHeadAttention"): _multi_head,
    (MICROSOFT, "GroupQueryAttention"): _group_query,
}
