"""Tensors: a shape with named axes, an element type and a role."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

from npubench.ir.formats import Format

__all__ = ["Role", "Tensor"]


class Role(StrEnum):
    """Where a tensor's data comes from."""

    INPUT = "input"  # fed for every inference
    WEIGHT = "weight"  # constant over inferences; it need not be present in the file
    ACTIVATION = "activation"  # made by a layer
    STATE = "state"  # fed for every inference and large: a key/value cache, a recurrent state


@dataclass(frozen=True, slots=True)
class Tensor:
    """A named tensor.

    Attributes:
        name: unique within its network.
        shape: extents, all at least 0; ``()`` is a scalar.
        dtype: element type in the file; a precision plan may run it at another.
        role: see `Role`.
        axes: one name per axis where known (``("B", "C", "Y", "X")``), else empty.
        origin: for a weight computed from another one (a slice, rows gathered from a table), the
            name of that tensor of the same network; parameters count there. Empty otherwise.
        parameter: of a weight: whether it counts as a parameter of the network. False for a
            constant of the program, such as a mask, in a file that lists its parameters.
    """

    name: str
    shape: tuple[int, ...]
    dtype: Format
    role: Role = Role.ACTIVATION
    axes: tuple[str, ...] = ()
    origin: str = ""
    parameter: bool = True

    @property
    def elements(self) -> int:
        """Number of elements; 1 for a scalar."""
        return math.prod(self.shape)

    @property
    def bits(self) -> int:
        """Storage at the element type of the file."""
        return self.elements * self.dtype.bits
