"""What a plan weighs: bytes of weights, and bit operations."""

from __future__ import annotations

from dataclasses import dataclass

from npubench.ir import Network, PrecisionPlan, Role

__all__ = ["PlanWeight", "weigh"]

_MIB = 2**20 * 8


@dataclass(frozen=True, slots=True)
class PlanWeight:
    """Size of a plan.

    Attributes:
        weight_bits: storage of the weights of all multiply-accumulate layers at their widths; a
            weight that several layers share counts once, at the widest. Biases and the
            parameters of other layers are left out, as HAWQ-V3 leaves them out.
        bops: bit operations, the sum over layers of MACs x weight bits x activation bits
            (HAWQ-V3, arXiv:2011.10680, section 4).
    """

    weight_bits: int
    bops: int

    @property
    def weight_bytes(self) -> int:
        """Storage of the weights in whole bytes."""
        return -(-self.weight_bits // 8)

    @property
    def weight_mib(self) -> float:
        """Storage of the weights in MiB."""
        return self.weight_bits / _MIB


def weigh(network: Network, plan: PrecisionPlan) -> PlanWeight:
    """Size of a network's weights and its bit operations per inference under a plan."""
    widths: dict[str, int] = {}
    bops = 0
    for layer in network.mac_layers:
        precision = plan.of(layer.name)
        bops += layer.macs // network.batch * precision.weight.bits * precision.activation.bits
        if network.tensors[layer.weight].role is Role.WEIGHT:
            widths[layer.weight] = max(widths.get(layer.weight, 0), precision.weight.bits)
    bits = sum(network.tensors[name].elements * width for name, width in widths.items())
    return PlanWeight(bits, bops)
