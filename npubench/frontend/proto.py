"""ONNX's data types, tensors and attributes as plain Python and numpy values."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np
import numpy.typing as npt
import onnx
from onnx import AttributeProto, NodeProto, TensorProto, numpy_helper

from npubench.errors import ModelError, Problem
from npubench.frontend.external import ExternalData
from npubench.frontend.graph import Value
from npubench.ir import FORMATS, Format

__all__ = [
    "DATA_LIMIT",
    "FLOAT_DATA_LIMIT",
    "MAX_ELEMENTS",
    "Fact",
    "array_fact",
    "check_extents",
    "default_domain",
    "element_format",
    "plain_attributes",
    "shape_text",
    "sparse_fact",
    "tensor_fact",
    "value_of",
]

Array = npt.NDArray[np.generic]

# Shape arithmetic works on tens of elements; the largest honest use is a position table.
DATA_LIMIT = 65_536
# A float tensor is of interest only as scales, bounds or a step, so large ones are not looked at.
FLOAT_DATA_LIMIT = 4_096
# 2**48 elements are 256 TiB of int8: beyond any machine, and safe from overflow in 64 bits.
MAX_ELEMENTS = 2**48

_FORMATS: dict[int, Format] = {
    TensorProto.FLOAT: FORMATS["fp32"],
    TensorProto.UINT8: FORMATS["uint8"],
    TensorProto.INT8: FORMATS["int8"],
    TensorProto.UINT16: FORMATS["uint16"],
    TensorProto.INT16: FORMATS["int16"],
    TensorProto.INT32: FORMATS["int32"],
    TensorProto.INT64: FORMATS["int64"],
    TensorProto.STRING: FORMATS["string"],
    TensorProto.BOOL: FORMATS["bool"],
    TensorProto.FLOAT16: FORMATS["fp16"],
    TensorProto.DOUBLE: FORMATS["fp64"],
    TensorProto.UINT32: FORMATS["uint32"],
    TensorProto.UINT64: FORMATS["uint64"],
    TensorProto.BFLOAT16: FORMATS["bf16"],
    TensorProto.FLOAT8E4M3FN: FORMATS["fp8e4m3"],
    TensorProto.FLOAT8E4M3FNUZ: FORMATS["fp8e4m3"],
    TensorProto.FLOAT8E5M2: FORMATS["fp8e5m2"],
    TensorProto.FLOAT8E5M2FNUZ: FORMATS["fp8e5m2"],
}
# Types that younger releases of onnx define; an older release cannot read files that use them.
_YOUNGER = {
    "UINT4": "uint4",
    "INT4": "int4",
    "FLOAT4E2M1": "fp4e2m1",
    "UINT2": "uint2",
    "INT2": "int2",
    "FLOAT6E2M3": "fp6e2m3",
    "FLOAT6E3M2": "fp6e3m2",
}
_KNOWN_TYPES = frozenset(TensorProto.DataType.keys())
for _name, _format in _YOUNGER.items():
    if _name in _KNOWN_TYPES:
        _FORMATS[TensorProto.DataType.Value(_name)] = FORMATS[_format]
if "FLOAT8E8M0" in _KNOWN_TYPES:
    # A power of two: eight bits of exponent and nothing else (OCP Microscaling formats, v1.0).
    _FORMATS[TensorProto.DataType.Value("FLOAT8E8M0")] = Format("fp8e8m0", "float", 8, 1, 8)


@dataclass(frozen=True, slots=True)
class Fact:
    """What reading knows of a tensor.

    Attributes:
        name: unique in the whole model.
        shape: extents.
        elem: ONNX element type that the consumers see, a `TensorProto.DataType`.
        storage: format in which a weight is held: of the integers behind a DequantizeLinear, say.
        is_weight: the same for every inference.
        data: the elements, where known and small.
        origin: the largest tensor of the file that a weight was computed from.
        missing: why a small constant's elements are not known, for the message if they are needed.
        parameter: as `Value.parameter`.
    """

    name: str
    shape: tuple[int, ...]
    elem: int
    storage: Format
    is_weight: bool = False
    data: Array | None = None
    origin: str = ""
    missing: str = ""
    parameter: bool = True

    @property
    def elements(self) -> int:
        """Number of elements; 1 for a scalar."""
        return math.prod(self.shape)

    def renamed(self, name: str) -> Fact:
        """The same under another name."""
        return replace(self, name=name)


def value_of(fact: Fact) -> Value:
    """The `Value` that the graph shows."""
    return Value(
        name=fact.name,
        shape=fact.shape,
        dtype=fact.storage,
        is_weight=fact.is_weight,
        data=fact.data,
        origin=fact.origin if fact.origin != fact.name else "",
        parameter=fact.parameter,
    )


def default_domain(domain: str) -> str:
    """``""`` for both spellings of ONNX's own domain, else the domain."""
    return "" if domain == "ai.onnx" else domain


def element_format(elem: int, what: str) -> Format:
    """The format of a `TensorProto.DataType`.

    Raises:
        ModelError: complex numbers, no type given, or a number that is no type.
    """
    found = _FORMATS.get(elem)
    if found is not None:
        return found
    if elem in (TensorProto.COMPLEX64, TensorProto.COMPLEX128):
        raise ModelError(Problem(f"{what} holds complex numbers, which npubench does not model"))
    if elem == TensorProto.UNDEFINED:
        raise ModelError(Problem(f"{what} has no element type"))
    raise ModelError(Problem(f"{what} has element type number {elem}, which ONNX does not define"))


def shape_text(shape: tuple[int, ...]) -> str:
    """``[1, 3, 224, 224]``."""
    return f"[{', '.join(map(str, shape))}]"


def check_extents(shape: tuple[int, ...], what: str) -> tuple[int, ...]:
    """The shape itself.

    Raises:
        ModelError: a negative extent, or more elements than any machine holds.
    """
    if any(extent < 0 for extent in shape):
        raise ModelError(Problem(f"{what} has a negative extent: {shape_text(shape)}"))
    if math.prod(shape) > MAX_ELEMENTS:
        raise ModelError(
            Problem(f"{what} is {shape_text(shape)}: more than 2^48 elements is taken as a mistake")
        )
    return shape


def array_fact(name: str, data: Array, elem: int) -> Fact:
    """A known constant."""
    return Fact(
        name=name,
        shape=data.shape,
        elem=elem,
        storage=element_format(elem, f"constant '{name}'"),
        is_weight=True,
        data=data,
        origin=name,
    )


def tensor_fact(tensor: TensorProto, name: str, external: ExternalData) -> Fact:
    """A held tensor, with its elements if they are few.

    Raises:
        ModelError: bad extents or type, elements that do not fit the shape, or an external file
            outside the model's folder.
    """
    what = f"tensor '{name}'"
    shape = check_extents(tuple(tensor.dims), what)
    storage = element_format(tensor.data_type, what)
    elements = math.prod(shape)
    few = elements <= (FLOAT_DATA_LIMIT if storage.is_float else DATA_LIMIT)
    data: Array | None = None
    missing = ""
    if tensor.data_location == TensorProto.EXTERNAL:
        bits = 8 if tensor.data_type == TensorProto.BOOL else storage.bits
        raw, missing = external.small(tensor, name, math.ceil(elements * bits / 8))
        if raw is not None and few:
            held = TensorProto(dims=tensor.dims, data_type=tensor.data_type, raw_data=raw)
            data = _elements(held, what)
    elif few and elements and not _has_elements(tensor):
        missing = "its elements are not in the file"
    elif few:
        data = _elements(tensor, what)
    return Fact(
        name=name,
        shape=shape,
        elem=tensor.data_type,
        storage=storage,
        is_weight=True,
        data=data,
        origin=name,
        missing=missing,
    )


_PAYLOADS = (
    "raw_data",
    "float_data",
    "int32_data",
    "int64_data",
    "string_data",
    "double_data",
    "uint64_data",
)


def _has_elements(tensor: TensorProto) -> bool:
    return any(len(getattr(tensor, field)) for field in _PAYLOADS)


def _elements(tensor: TensorProto, what: str) -> Array:
    try:
        return numpy_helper.to_array(tensor)
    except (ValueError, TypeError, OverflowError, UnicodeDecodeError) as error:
        raise ModelError(
            Problem(f"{what} is damaged: its elements do not fit {list(tensor.dims)}")
        ) from error


def sparse_fact(sparse: onnx.SparseTensorProto, name: str) -> Fact:
    """A held sparse tensor, seen at its dense shape."""
    what = f"sparse tensor '{name}'"
    shape = check_extents(tuple(sparse.dims), what)
    elem = sparse.values.data_type
    return Fact(name, shape, elem, element_format(elem, what), is_weight=True, origin=name)


def plain_attributes(node: NodeProto, external: ExternalData) -> Mapping[str, object]:
    """A node's attributes as int, float, str, tuples of them and numpy arrays.

    Graphs are left out: control flow reads its bodies itself. Types and sparse tensors have no
    use in a cost model and are left out too.
    """
    if not node.attribute:
        return MappingProxyType({})
    plain: dict[str, object] = {}
    for attribute in node.attribute:
        reader = _READERS.get(attribute.type)
        if reader is not None:
            plain[attribute.name] = reader(attribute)
        elif attribute.type == AttributeProto.TENSOR:
            fact = tensor_fact(attribute.t, f"{attribute.name} of {node.name}", external)
            if fact.data is not None:
                plain[attribute.name] = fact.data
    return MappingProxyType(plain)


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")


_READERS: dict[int, Callable[[AttributeProto], object]] = {
    AttributeProto.INT: lambda a: a.i,
    AttributeProto.FLOAT: lambda a: a.f,
    AttributeProto.STRING: lambda a: _text(a.s),
    AttributeProto.INTS: lambda a: tuple(a.ints),
    AttributeProto.FLOATS: lambda a: tuple(a.floats),
    AttributeProto.STRINGS: lambda a: tuple(map(_text, a.strings)),
}
