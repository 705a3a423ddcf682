"""The layer IR: tensors, layers as loop nests, networks and precision plans. No onnx, no yaml."""

from npubench.ir.formats import FORMATS, Format, integer, parse_format
from npubench.ir.layer import (
    LOOP_DIMS,
    Layer,
    LoopNest,
    MacLayer,
    MoveLayer,
    UnknownLayer,
    VectorKind,
    VectorLayer,
)
from npubench.ir.network import Edge, Network, PeakMemory
from npubench.ir.precision import LayerPrecision, PrecisionPlan, Scheme, parse_precision
from npubench.ir.tensor import Role, Tensor
from npubench.ir.text import format_network, parse_network

__all__ = [
    "FORMATS",
    "LOOP_DIMS",
    "Edge",
    "Format",
    "Layer",
    "LayerPrecision",
    "LoopNest",
    "MacLayer",
    "MoveLayer",
    "Network",
    "PeakMemory",
    "PrecisionPlan",
    "Role",
    "Scheme",
    "Tensor",
    "UnknownLayer",
    "VectorKind",
    "VectorLayer",
    "format_network",
    "integer",
    "parse_format",
    "parse_network",
    "parse_precision",
]
