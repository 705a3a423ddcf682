"""Convolutions: each loop nest is executed as it stands and compared with onnxruntime."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from onnx import TensorProto

from npubench.errors import ModelError
from npubench.frontend.graph import Graph, Node, Value
from npubench.frontend.lower import lower_graph
from npubench.ir import FORMATS, LoopNest, MacLayer, VectorKind
from tests.depth import examples
from tests.frontend.lower_models import lower, mac_layer, run, single, values, vectors


def execute(nest: LoopNest, x: np.ndarray, w: np.ndarray) -> tuple[np.ndarray, int]:
    """Run the ten loops on data [B, G*C, IZ, IY, IX] and weights [G*K, C, FZ, FY, FX].

    Returns the result [B, G*K, OZ, OY, OX] and the number of multiplications.
    """
    x = x.reshape(nest.B, nest.G, nest.C, *nest.input_extent)
    w = w.reshape(nest.G, nest.K, nest.C, nest.FZ, nest.FY, nest.FX)
    y = np.zeros((nest.B, nest.G, nest.K, nest.OZ, nest.OY, nest.OX))
    count = 0
    positions = itertools.product(
        *(range(n) for n in (nest.OZ, nest.OY, nest.OX, nest.FZ, nest.FY, nest.FX))
    )
    for oz, oy, ox, fz, fy, fx in positions:
        place = [
            o * stride + f * dilation - pad
            for o, f, stride, dilation, pad in zip(
                (oz, oy, ox), (fz, fy, fx), nest.stride, nest.dilation, nest.pad_begin, strict=True
            )
        ]
        count += nest.B * nest.G * nest.K * nest.C
        if all(0 <= p < n for p, n in zip(place, nest.input_extent, strict=True)):
            taken = x[:, :, :, place[0], place[1], place[2]]
            y[..., oz, oy, ox] += np.einsum("bgc,gkc->bgk", taken, w[..., fz, fy, fx])
    return y.reshape(nest.B, nest.G * nest.K, nest.OZ, nest.OY, nest.OX), count


@st.composite
def convolutions(draw: st.DrawFn) -> dict[str, object]:
    spatial = draw(st.integers(1, 3))
    side = st.integers(1, 7 if spatial < 3 else 4)

    def triple(elements: st.SearchStrategy[int]) -> list[int]:
        return draw(st.lists(elements, min_size=spatial, max_size=spatial))

    group = draw(st.integers(1, 3))
    return {
        "batch": draw(st.integers(1, 2)),
        "group": group,
        "channels": group * draw(st.integers(1, 3)),
        "filters": group * draw(st.integers(1, 3)),
        "extent": triple(side),
        "kernel": triple(st.integers(1, 3)),
        "strides": triple(st.integers(1, 3)),
        "dilations": triple(st.integers(1, 2)),
        "auto_pad": draw(st.sampled_from(["NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"])),
        "pads": triple(st.integers(0, 2)) + triple(st.integers(0, 2)),
    }


@settings(max_examples=examples(60), deadline=None)
@given(convolutions())
def test_nest_computes_the_convolution(case: dict) -> None:
    spatial = len(case["extent"])
    if case["auto_pad"].startswith("SAME"):
        case["dilations"] = [1] * spatial  # onnxruntime pads dilated kernels for SAME otherwise
    padding = {"pads": case["pads"]} if case["auto_pad"] == "NOTSET" else {}
    padded = case["pads"] if padding else [0] * 2 * spatial
    for axis in range(spatial):
        reach = (case["kernel"][axis] - 1) * case["dilations"][axis] + 1
        room = case["extent"][axis] + padded[axis] + padded[axis + spatial]
        assume(reach <= room or case["auto_pad"].startswith("SAME"))
    x = values(case["batch"], case["channels"], *case["extent"])
    w = values(case["filters"], case["channels"] // case["group"], *case["kernel"], seed=1)
    model, fed = single(
        "Conv",
        [("x", x), ("w", w)],
        held=["w"],
        group=case["group"],
        strides=case["strides"],
        dilations=case["dilations"],
        auto_pad=case["auto_pad"],
        **padding,
    )
    (expected,) = run(model, fed)
    network = lower(model).network
    nest = mac_layer(network).nest
    y, count = execute(nest, x, w)
    assert network.tensors["y"].shape == expected.shape
    assert np.array_equal(y.reshape(expected.shape), expected)
    assert network.macs == count
    assert nest.output_elements == expected.size
    assert (nest.input_elements, nest.weight_elements) == (x.size, w.size)
    assert network.parameters == w.size


def test_axes_and_batch() -> None:
    model, _ = single("Conv", [("x", values(1, 3, 8, 9)), ("w", values(4, 3, 3, 3))], held=["w"])
    network = lower(model).network
    assert network.tensors["x"].axes == ("B", "C", "Y", "X")
    assert network.tensors["y"].axes == ("B", "C", "Y", "X")
    larger = network.with_batch(5).verify()
    assert larger.macs == 5 * network.macs
    assert larger.tensors["y"].shape == (5, 4, 6, 7)


def test_one_dimension_uses_x_alone() -> None:
    model, _ = single(
        "Conv",
        [("x", values(1, 2, 10)), ("w", values(4, 2, 3)), ("b", values(4))],
        held=["w", "b"],
        pads=[1, 2],
        strides=[2],
    )
    layer = mac_layer(lower(model).network)
    assert layer.nest == LoopNest(
        K=4, C=2, OX=6, FX=3, stride=(1, 1, 2), pad_begin=(0, 0, 1), input_extent=(1, 1, 10)
    )
    assert layer.bias == "b"
    assert layer.inputs == ("x", "w", "b")


@pytest.mark.parametrize("group", [1, 2])
@pytest.mark.parametrize("extent", [(5,), (4, 3), (2, 3, 2)])
def test_transposed(extent: tuple[int, ...], group: int) -> None:
    """Counted by definition: every input pixel meets every kernel element of its group."""
    x = values(2, 4, *extent)
    w = values(4, 3, *[2] * len(extent), seed=1)
    bias = values(3 * group)
    model, fed = single(
        "ConvTranspose",
        [("x", x), ("w", w), ("b", bias)],
        held=["w", "b"],
        group=group,
        strides=[2] * len(extent),
    )
    (expected,) = run(model, fed)
    network = lower(model).network
    count = 0
    for _pixel in range(2 * int(np.prod(extent))):
        for channel in range(4):
            count += w[channel].size
    assert network.macs == count
    assert network.tensors["y"].shape == expected.shape
    (overlap,) = vectors(network)
    assert overlap.alu_ops == count // (4 // group) + expected.size
    assert mac_layer(network).approximation.startswith("transposed convolution as a matrix product")


def test_four_spatial_axes_are_unknown() -> None:
    shape = {"x": (1, 1, 2, 2, 2, 2), "w": (1, 1, 1, 1, 1, 1), "y": (1, 1, 2, 2, 2, 2)}
    fp32 = FORMATS["fp32"]
    graph = Graph(
        "g",
        (Node("conv", "Conv", "", ("x", "w"), ("y",)),),
        {n: Value(n, s, fp32, n == "w") for n, s in shape.items()},
        ("x",),
        ("y",),
        ("w",),
    )
    (layer,) = lower_graph(graph).network.layers
    assert layer.reason == "a convolution over 4 spatial axes is not modelled (1 to 3 are)"


def test_groups_that_do_not_fit() -> None:
    fp32 = FORMATS["fp32"]
    shapes = {"x": (1, 4, 5), "w": (4, 3, 1), "y": (1, 4, 5)}
    graph = Graph(
        "g",
        (Node("conv", "Conv", "", ("x", "w"), ("y",)),),
        {n: Value(n, s, fp32, n == "w") for n, s in shapes.items()},
        ("x",),
        ("y",),
        ("w",),
    )
    with pytest.raises(ModelError) as caught:
        lower_graph(graph)
    assert str(caught.value) == (
        "node 'conv' (Conv): 4 input channels and a weight of shape (4, 3, 1) "
        "do not make 1 group(s)"
    )


def test_integer_convolution_states_its_precision() -> None:
    x, w = values(1, 2, 5, 5, dtype=np.uint8), values(3, 2, 3, 3, dtype=np.int8)
    model, fed = single(
        "ConvInteger", [("x", x), ("w", w)], held=["w"], output_type=TensorProto.INT32
    )
    loaded = lower(model)
    assert loaded.network.tensors["y"].shape == run(model, fed)[0].shape
    assert loaded.network.macs == 3 * 3 * 3 * 2 * 9
    assert loaded.plan is not None
    assert str(loaded.plan.of("node")) == "w8a8"


def test_qlinear_convolution() -> None:
    one, zero = np.float32(1).reshape(()), np.uint8(0).reshape(())
    x, w = values(1, 2, 5, 5, dtype=np.uint8), values(3, 2, 3, 3, dtype=np.uint8)
    operands = [
        *(("x", x), ("xs", one), ("xz", zero), ("w", w), ("ws", one), ("wz", zero)),
        *(("ys", one), ("yz", zero), ("b", values(3, dtype=np.int32))),
    ]
    held = [n for n, _ in operands if n != "x"]
    model, fed = single("QLinearConv", operands, held, output_type=TensorProto.UINT8)
    loaded = lower(model)
    network = loaded.network
    assert network.tensors["y"].shape == run(model, fed)[0].shape
    conv, requantise = network.layers
    assert isinstance(conv, MacLayer)
    assert conv.macs == 27 * 2 * 9
    assert conv.bias == "b"
    assert (requantise.kind, requantise.alu_ops) == (VectorKind.QUANTIZE, 3 * 27)
    assert str(loaded.plan.of(conv.name)) == "w8a8"


def test_fused_convolution() -> None:
    """A sum and a Relu after the convolution: two operations per result."""
    model, _ = single(
        "FusedConv",
        [("x", values(1, 2, 4, 4)), ("w", values(3, 2, 1, 1)), None, ("z", values(1, 3, 4, 4))],
        held=["w"],
        domain="com.microsoft",
        activation="Relu",
    )
    network = lower(model).network
    assert network.macs == 48 * 2
    (after,) = vectors(network)
    assert (after.kind, after.alu_ops, after.special_ops) == (VectorKind.ACTIVATION, 96, 0)
    assert after.inputs[1] == "z"
