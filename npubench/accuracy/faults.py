"""Bit errors of a memory run below its rated voltage, injected into quantised numbers.

Each stored bit flips with one probability, independently and once per inference for activations,
once for all for weights. Real failures cluster and repeat by cell; the mean loss is what this says.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from npubench.accuracy.quantise import QuantisedWeight
from npubench.errors import OptionError

__all__ = ["Faults", "faulty_weight", "flip_mask"]


@dataclass(frozen=True, slots=True)
class Faults:
    """Which bits flip.

    Attributes:
        rate: probability of a flip per stored bit, 0 to 0.5.
        seed: of the random places.
        weights, activations: what is stored in the failing memory.
    """

    rate: float
    seed: int = 0
    weights: bool = True
    activations: bool = True

    def __post_init__(self) -> None:
        if not 0 <= self.rate <= 0.5:
            raise OptionError(f"--faults: a bit error rate is 0 to 0.5, got {self.rate:g}")


def flip_mask(
    shape: tuple[int, ...], bits: int, rate: float, random: np.random.Generator
) -> npt.NDArray[np.int32]:
    """A number per element whose ones are the bits that flip; exact binomial statistics."""
    elements = int(np.prod(shape))
    mask = np.zeros(elements, np.int32)
    flips = int(random.binomial(elements * bits, rate))
    if flips:
        places = random.choice(elements * bits, flips, replace=False, shuffle=False)
        np.bitwise_xor.at(mask, places // bits, (1 << (places % bits)).astype(np.int32))
    return mask.reshape(shape)


def faulty_weight(
    weight: QuantisedWeight, bits: int, rate: float, random: np.random.Generator
) -> npt.NDArray[np.float32]:
    """The values of a weight some of whose stored bits have flipped.

    Codes count from the lowest one up, which flips the same values as two's complement does.

    Raises:
        OptionError: floats, whose stored bits are not modelled.
    """
    if weight.codes is None or weight.lowest is None:
        raise OptionError("--faults flips bits of integers, not of floating-point numbers")
    mask = flip_mask(weight.codes.shape, bits, rate, random)
    codes = ((weight.codes - weight.lowest) ^ mask) + weight.lowest
    if bits == 1:
        return ((2 * codes - 1) * weight.scale).astype(np.float32)
    return (codes * weight.scale).astype(np.float32)
