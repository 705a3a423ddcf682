"""Layers: what a network asks a machine to do, free of ONNX and of any machine.

Four kinds. A `MacLayer` multiplies and accumulates and is a loop nest; a `VectorLayer` is element
work for a vector unit; a `MoveLayer` only moves or renames data; an `UnknownLayer` is an operator
nobody modelled, kept as a first-class layer so that nothing disappears.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

__all__ = [
    "LOOP_DIMS",
    "Layer",
    "LoopNest",
    "MacLayer",
    "MoveLayer",
    "UnknownLayer",
    "VectorKind",
    "VectorLayer",
]

LOOP_DIMS = ("B", "G", "K", "C", "OZ", "OY", "OX", "FZ", "FY", "FX")


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopNest:
    """The ten loops of a convolution or matrix product; every bound is at least 1.

    ``K`` and ``C`` are per group. Spatial triples are in (Z, Y, X) order. A matrix product
    [M x C] x [C x K] is B or OX = M with unit kernels; a batch of products whose both operands
    change is G. Input extents are those of the unpadded tensor, so padding is never traffic.

    Attributes:
        pad_begin: zeros before the first element along each axis.
        input_extent: unpadded input extents (IZ, IY, IX).
    """

    B: int = 1
    G: int = 1
    K: int = 1
    C: int = 1
    OZ: int = 1
    OY: int = 1
    OX: int = 1
    FZ: int = 1
    FY: int = 1
    FX: int = 1
    stride: tuple[int, int, int] = (1, 1, 1)
    dilation: tuple[int, int, int] = (1, 1, 1)
    pad_begin: tuple[int, int, int] = (0, 0, 0)
    input_extent: tuple[int, int, int] = (1, 1, 1)

    @property
    def bounds(self) -> dict[str, int]:
        """The ten loop bounds by name."""
        return {dim: int(getattr(self, dim)) for dim in LOOP_DIMS}

    @property
    def macs(self) -> int:
        """Product of all bounds. Multiplications with padding zeros are counted."""
        return math.prod(self.bounds.values())

    @property
    def gemm(self) -> tuple[int, int, int]:
        """(M, N, K) of one group as a matrix product: rows, output channels, reduction."""
        rows = self.B * self.OZ * self.OY * self.OX
        return rows, self.K, self.C * self.FZ * self.FY * self.FX

    @property
    def input_elements(self) -> int:
        """Distinct input elements, all groups."""
        return self.B * self.G * self.C * math.prod(self.input_extent)

    @property
    def weight_elements(self) -> int:
        """Distinct elements of the stationary operand, all groups."""
        return self.G * self.K * self.C * self.FZ * self.FY * self.FX

    @property
    def output_elements(self) -> int:
        """Output elements, all groups."""
        return self.B * self.G * self.K * self.OZ * self.OY * self.OX


class VectorKind(StrEnum):
    """What a vector layer does, as far as a machine needs to tell apart."""

    ELEMENTWISE = "elementwise"
    ACTIVATION = "activation"
    POOL = "pool"
    REDUCE = "reduce"
    NORMALIZATION = "normalization"
    SOFTMAX = "softmax"
    QUANTIZE = "quantize"
    RESIZE = "resize"
    RECURRENT = "recurrent"
    SEARCH = "search"  # sorting, top-k, non-maximum suppression: data-dependent, an upper bound


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """What every layer has.

    Attributes:
        name: unique within its network; the ONNX node's name where it has one.
        op: the source's operator, with its domain unless that is the default one.
        inputs: names of the tensors read, weights included, in the operator's order.
        outputs: names of the tensors written.
        trips: executions per inference, one after another: the steps of a recurrence, the trip
            count of a loop body. Weights are the same on every trip.
        approximation: how the operator was simplified; empty when it was not.
    """

    name: str
    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    trips: int = 1
    approximation: str = ""

    @property
    def macs(self) -> int:
        """Multiply-accumulates of all trips."""
        return 0


@dataclass(frozen=True, slots=True, kw_only=True)
class MacLayer(Layer):
    """A loop nest of multiply-accumulates.

    Attributes:
        nest: bounds of one trip.
        data: the tensor streamed through (activations).
        weight: the tensor held: a weight, or the second activation of an attention product.
        bias: name of the bias added to the outputs, or empty.
        weight_batched: whether ``weight`` too changes with the batch (both operands are
            activations), so that a larger batch means more products, not longer ones.
    """

    nest: LoopNest
    data: str
    weight: str
    bias: str = ""
    weight_batched: bool = False

    @property
    def macs(self) -> int:
        """Multiply-accumulates of all trips."""
        return self.nest.macs * self.trips


@dataclass(frozen=True, slots=True, kw_only=True)
class VectorLayer(Layer):
    """Element-wise, pooling, normalisation and similar work.

    Attributes:
        kind: see `VectorKind`.
        alu_ops: additions, multiplications, comparisons and selections of one trip.
        special_ops: exponentials, divisions, roots and other table or iterative functions.
        window: elements combined into one result (pooling window, reduced extent), 1 otherwise.
    """

    kind: VectorKind
    alu_ops: int
    special_ops: int = 0
    window: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class MoveLayer(Layer):
    """Data movement without arithmetic.

    Attributes:
        elements: elements really moved in one trip; 0 for a view, which only renames.
    """

    elements: int

    @property
    def is_view(self) -> bool:
        """Whether nothing moves."""
        return self.elements == 0


@dataclass(frozen=True, slots=True, kw_only=True)
class UnknownLayer(Layer):
    """An operator that is not modelled.

    Attributes:
        reason: why, in words a user can act on.
    """

    reason: str
