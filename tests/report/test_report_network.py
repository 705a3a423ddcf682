"""What `show` says of a network."""

from __future__ import annotations

import pytest

from npubench.frontend import LoadedNetwork
from npubench.ir import FORMATS, LoopNest, MacLayer, Network, Role, Tensor
from npubench.report.network_view import network_view


@pytest.mark.parametrize(
    ("channels", "title"),
    [
        (108, "net: 108 MAC, 108 parameters, 1 layer"),
        (1_000, "net: 1.00 kMAC, 1.00 k parameters, 1 layer"),
        (2_500_000, "net: 2.50 MMAC, 2.50 M parameters, 1 layer"),
    ],
)
def test_the_title_counts_parameters(channels: int, title: str) -> None:
    fp32 = FORMATS["fp32"]
    tensors = (
        Tensor("x", (1, channels), fp32, Role.INPUT),
        Tensor("w", (channels, 1), fp32, Role.WEIGHT),
        Tensor("y", (1, 1), fp32),
    )
    nest = LoopNest(C=channels)
    layer = MacLayer(
        name="m", op="MatMul", inputs=("x", "w"), outputs=("y",), nest=nest, data="x", weight="w"
    )
    network = Network("net", {t.name: t for t in tensors}, (layer,), ("x",), ("y",)).verify()
    assert network_view(LoadedNetwork(network, None)).title == title
