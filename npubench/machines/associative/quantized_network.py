"""Small quantised networks as integers: the layers and the one integer rule they follow.

The rule:

* Tensors are integers of any width 1..16, unsigned or two's complement, zero point 0.
* Convolutions and linear layers accumulate as ONNX ConvInteger does, in int32: acc = sum of
  activation * weight, padding 0. The processor uses only the columns that the layer's extremes
  need; more than 32 is refused, so that no accumulator ever wraps.
* q = clip(floor((acc + bias) * multiplier / 2**shift + 1/2), low, high): round half up, multiplier
  unsigned and per output channel, shift per layer (`operations.requantize`). An unsigned output
  clips at 0, which is a ReLU. Without requantization a layer returns its accumulators.
* ReLU and max pooling keep width and sign; max pooling pads with the lowest value.
* Average pooling sums its window and requantizes the sum like an accumulator, padding excluded.
* An addition is q = clip(floor((a * ma + b * mb) / 2**shift + 1/2), low, high).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Add",
    "AveragePool",
    "Conv",
    "Flatten",
    "IntegerTensor",
    "Linear",
    "MaxPool",
    "QuantizedLayer",
    "QuantizedNetwork",
    "Relu",
    "Requantization",
]

Integers = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class IntegerTensor:
    """Values with the width they are stored in; batch first, then channels."""

    values: Integers
    bits: int
    signed: bool


@dataclass(frozen=True, slots=True)
class Requantization:
    """Multiplier (one, or one per output channel) and shift, then the output word."""

    multiplier: tuple[int, ...]
    shift: int
    bits: int
    signed: bool = False

    @property
    def multiplier_bits(self) -> int:
        """Columns of the multiplier."""
        return max(1, max(self.multiplier).bit_length())


@dataclass(frozen=True, eq=False)
class Conv:
    """Weights (K, C / groups, FY, FX) of weight_bits, two's complement.

    Pads are top, left, bottom, right.
    """

    name: str
    input: str
    weight: Integers
    weight_bits: int
    bias: Integers | None = None
    requantization: Requantization | None = None
    strides: tuple[int, int] = (1, 1)
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)
    dilations: tuple[int, int] = (1, 1)
    groups: int = 1


@dataclass(frozen=True, eq=False)
class Linear:
    """Weights (K, C) of weight_bits, two's complement, over inputs of shape (batch, C)."""

    name: str
    input: str
    weight: Integers
    weight_bits: int
    bias: Integers | None = None
    requantization: Requantization | None = None


@dataclass(frozen=True, slots=True)
class Relu:
    """Maximum with 0."""

    name: str
    input: str


@dataclass(frozen=True, slots=True)
class MaxPool:
    """Maximum of a window."""

    name: str
    input: str
    kernel: tuple[int, int]
    strides: tuple[int, int]
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class AveragePool:
    """Sum of a window, requantized; 1 / (window size) belongs into the multiplier."""

    name: str
    input: str
    kernel: tuple[int, int]
    strides: tuple[int, int]
    requantization: Requantization


@dataclass(frozen=True, slots=True)
class Add:
    """Two tensors of one shape and two scales."""

    name: str
    inputs: tuple[str, str]
    multipliers: tuple[int, int]
    shift: int
    bits: int
    signed: bool = False


@dataclass(frozen=True, slots=True)
class Flatten:
    """Everything behind the batch in one axis; no work."""

    name: str
    input: str


QuantizedLayer = Conv | Linear | Relu | MaxPool | AveragePool | Add | Flatten


@dataclass(frozen=True, eq=False)
class QuantizedNetwork:
    """Layers in order of execution; `input_name` names the images, the last layer the result."""

    input_name: str
    input_bits: int
    input_signed: bool
    layers: tuple[QuantizedLayer, ...]
