"""The same work for all: a network's distinct multiply-accumulate layers, in each tool's form."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import onnx
from onnx import TensorProto, helper

from npubench.frontend import load_network
from npubench.ir import LoopNest

__all__ = ["distinct_nests", "write_onnx", "write_topology"]


def distinct_nests(path: Path) -> tuple[list[LoopNest], int]:
    """Loop nests of a network, each once, in order, and how many are left out.

    Left out are nests that a tool reads otherwise than written: ZigZag exchanges height and width
    of kernels, and nobody here has a third spatial dimension.
    """
    nests = dict.fromkeys(layer.nest for layer in load_network(path).network.mac_layers)
    square = [
        nest
        for nest in nests
        if nest.OZ == nest.FZ == 1
        and nest.FY == nest.FX
        and (nest.FY == 1 or nest.OY == nest.OX)
        and nest.dilation == (1, 1, 1)
    ]
    return square, len(nests) - len(square)


def write_onnx(nests: Sequence[LoopNest], path: Path, sum_bits: int | None = None) -> None:
    """Independent convolutions of these shapes: shapes only, no weights.

    Args:
        sum_bits: width of partial sums, as an attribute of each node that ZigZag reads; without it
            ZigZag takes twice the width of activations, whatever the machine's accumulators are.
    """
    nodes, inputs, outputs = [], [], []
    for index, nest in enumerate(nests):
        n = nest
        data = [n.B, n.G * n.C, n.input_extent[1], n.input_extent[2]]
        weight = [n.G * n.K, n.C, n.FY, n.FX]
        result = [n.B, n.G * n.K, n.OY, n.OX]
        names = [f"{kind}{index}" for kind in ("x", "w", "y")]
        shapes = (data, weight, result)
        infos = [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
            for name, shape in zip(names, shapes, strict=True)
        ]
        inputs += infos[:2]
        outputs.append(infos[2])
        ends = [_pad_end(n, axis) for axis in (1, 2)]
        width = {} if sum_bits is None else {"output_size": sum_bits}
        nodes.append(
            helper.make_node(
                "Conv",
                names[:2],
                names[2:],
                name=f"layer{index}",
                kernel_shape=[n.FY, n.FX],
                strides=list(n.stride[1:]),
                pads=[*n.pad_begin[1:], *ends],
                group=n.G,
                dilations=[1, 1],
                **width,
            )
        )
    graph = helper.make_graph(nodes, "layers", inputs, outputs)
    onnx.save(
        helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)]), path
    )


def _pad_end(nest: LoopNest, axis: int) -> int:
    """Padding behind an axis: as much as before it, as networks are written, where that is enough.

    With a stride the last of it may be read by no window; tools count it all the same.
    """
    out = (nest.OZ, nest.OY, nest.OX)[axis]
    kernel = (nest.FZ, nest.FY, nest.FX)[axis]
    stride, extent, before = nest.stride[axis], nest.input_extent[axis], nest.pad_begin[axis]
    if (extent + 2 * before - kernel) // stride + 1 == out:
        return before
    return max(0, (out - 1) * stride + kernel - extent - before)


def write_topology(nests: Sequence[LoopNest], path: Path) -> None:
    """SCALE-Sim's CSV: it knows no padding and no groups, so padded extents of one group."""
    head = "Layer name, IFMAP Height, IFMAP Width, Filter Height, Filter Width, "
    lines = [head + "Channels, Num Filter, Strides,"]
    for index, n in enumerate(nests):
        height = (n.OY - 1) * n.stride[1] + n.FY
        width = (n.OX - 1) * n.stride[2] + n.FX
        row = (height, width, n.FY, n.FX, n.C, n.K, n.stride[1])
        lines.append(f"layer{index}, " + ", ".join(map(str, row)) + ",")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
