"""In which format a weight is held, when operators stand between the held tensor and its use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from onnx import NodeProto

from npubench.errors import ModelError, Problem
from npubench.frontend.contrib import QUANT_DOMAINS
from npubench.frontend.infer import node_label
from npubench.frontend.proto import Fact, default_domain, element_format
from npubench.ir import FORMATS, Format, integer

__all__ = ["weight_storage"]

# They move elements or take them out of their integers, and leave what is held as it is.
_KEEP = frozenset(
    {
        "DequantizeLinear",
        "Expand",
        "Flatten",
        "Gather",
        "GatherElements",
        "GatherND",
        "Identity",
        "Pad",
        "Reshape",
        "Slice",
        "Split",
        "Squeeze",
        "Tile",
        "Transpose",
        "Unsqueeze",
    }
)
_SCALING = frozenset({"Add", "Sub", "Mul", "Div"})


def weight_storage(
    node: NodeProto,
    inputs: Sequence[Fact | None],
    attributes: Mapping[str, object],
    elem: int,
) -> Format:
    """Storage of a result that is computed from held tensors alone.

    A machine holds the integers and not what they stand for, so a dequantised weight is stored as
    its integers, a QONNX ``Quant`` in its bit width, and integers clipped to a smaller range in
    the width of that range.

    Raises:
        ModelError: a QONNX bit width outside 1 to 64.
    """
    computed = element_format(elem, node_label(node))
    facts = [fact for fact in inputs if fact is not None]
    if not facts:
        return computed
    held = facts[0].storage
    if default_domain(node.domain) in QUANT_DOMAINS:
        return _quantised(node, inputs, attributes, held)
    if node.op_type in _KEEP:
        return held
    if node.op_type == "Clip" and not computed.is_float:
        return _clipped(facts, held)
    if node.op_type in ("Cast", "CastLike"):
        return min(held, computed, key=lambda f: f.bits)
    if node.op_type in _SCALING and computed.is_float:
        # Dequantisation written out: (integers - zero point) * scale.
        largest = max(facts, key=lambda f: f.elements)
        if not largest.storage.is_float and largest.storage.bits <= 16:
            return largest.storage
    return computed


def _quantised(
    node: NodeProto,
    inputs: Sequence[Fact | None],
    attributes: Mapping[str, object],
    held: Format,
) -> Format:
    if node.op_type == "BipolarQuant":
        return FORMATS["int1"]
    if node.op_type not in ("Quant", "IntQuant", "Trunc"):
        return held
    place = 3 if node.op_type != "Trunc" else 4
    width = inputs[place] if place < len(inputs) else None
    if width is None or width.data is None or width.data.size < 1:
        return held
    # A width may be fractional while it is learnt; hardware stores the next whole bit.
    widest = float(np.max(width.data))
    if not 0 < widest <= 64:
        raise ModelError(
            Problem(f"{node_label(node)}: a bit width of {widest:g} is outside 1 to 64")
        )
    signed = bool(attributes.get("signed", 1))
    return integer(int(np.ceil(widest)), signed=signed)


def _clipped(facts: Sequence[Fact], held: Format) -> Format:
    """The narrowest integers that hold the range between the bounds."""
    bounds = [f.data for f in facts[1:3]]
    if len(bounds) < 2 or any(b is None or b.size != 1 for b in bounds):
        return held
    low, high = (int(b.ravel()[0]) for b in bounds if b is not None)
    if high < low:
        return held
    bits = max((high - low).bit_length(), 1)
    return integer(bits, signed=low < 0) if bits < held.bits else held
