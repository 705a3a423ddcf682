"""Quantisers against onnxruntime's own kernels, ml_dtypes and hand-reckoned numbers."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import onnxruntime as ort
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from npubench.accuracy.quantise import (
    activation_levels,
    float_maximum,
    quantise_weight,
    round_to_float,
)
from npubench.accuracy.runtime import Network
from npubench.ir import FORMATS, Scheme, integer

ML_TYPES = {
    "bf16": ml_dtypes.bfloat16,
    "fp16": np.float16,
    "fp8e4m3": ml_dtypes.float8_e4m3fn,
    "fp8e5m2": ml_dtypes.float8_e5m2,
    "fp6e2m3": ml_dtypes.float6_e2m3fn,
    "fp6e3m2": ml_dtypes.float6_e3m2fn,
    "fp4e2m1": ml_dtypes.float4_e2m1fn,
}


@pytest.mark.parametrize("name", ML_TYPES)
def test_floats_are_those_of_ml_dtypes(name: str, random: np.random.Generator) -> None:
    kind = ML_TYPES[name]
    top = float(ml_dtypes.finfo(kind).max)
    assert float_maximum(FORMATS[name]) == top
    values = (random.normal(size=5000) * top * 10.0 ** random.uniform(-6, -0.5, 5000)).clip(
        -top, top
    )
    values = values.astype(np.float32)
    expected = values.astype(kind).astype(np.float32)
    assert np.array_equal(round_to_float(values, FORMATS[name]), expected)


def test_floats_saturate() -> None:
    assert round_to_float(np.float32([1e9, -1e9]), FORMATS["fp8e4m3"]).tolist() == [448, -448]


@pytest.mark.parametrize(("low", "high"), [(0.0, 3.1), (-1.3, 2.9), (-4.0, -0.5), (0.2, 5.0)])
def test_eight_bit_activations_are_those_of_quantize_linear(
    low: float, high: float, random: np.random.Generator
) -> None:
    levels = activation_levels(low, high, 8, symmetric=False)
    zero = np.uint8(-levels.low)
    values = random.uniform(low - 1, high + 1, 4000).astype(np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
            helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"]),
        ],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [4000])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [4000])],
        [
            helper.make_tensor("s", TensorProto.FLOAT, [], [levels.scale]),
            helper.make_tensor("z", TensorProto.UINT8, [], [int(zero)]),
        ],
    )
    proto = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])
    found = ort.InferenceSession(proto.SerializeToString()).run(None, {"x": values})[0]
    assert np.allclose(levels.apply(values), found, rtol=1e-6, atol=1e-6)


def test_activation_ranges() -> None:
    unsigned = activation_levels(0.0, 7.5, 4, symmetric=True)
    assert (unsigned.low, unsigned.high, unsigned.scale) == (0, 15, 0.5)
    signed = activation_levels(-3.5, 2.0, 4, symmetric=True)
    assert (signed.low, signed.high, signed.scale) == (-7, 7, 0.5)
    affine = activation_levels(-2.0, 5.5, 4, symmetric=False)
    assert (affine.low, affine.high, affine.scale) == (-4, 11, 0.5)
    one = activation_levels(-2.0, 3.0, 1, symmetric=False)
    assert one.apply(np.array([-2.0, 1.4, 1.6, 9.0])).tolist() == [0, 0, 3, 3]


@given(
    low=st.floats(-1e4, 1e4),
    span=st.floats(0, 1e4),
    bits=st.integers(1, 16),
    symmetric=st.booleans(),
)
def test_zero_stays_zero_and_levels_are_as_many_as_the_width_allows(
    low: float, span: float, bits: int, symmetric: bool
) -> None:
    levels = activation_levels(low, low + span, bits, symmetric=symmetric)
    assert levels.apply(np.zeros(1))[0] == 0
    assert levels.low <= 0 < levels.high or (levels.low, levels.high) == (1 - 2**bits, 0)
    assert levels.high - levels.low + 1 in (2**bits, 2**bits - 1)


def test_symmetric_weights_by_hand() -> None:
    weight = np.float32([[0.7, -0.35, 0.1], [14.0, 6.9, -7.0]])
    made = quantise_weight(weight, integer(4), Scheme(), 0)
    assert made.codes is not None
    assert made.codes.tolist() == [[7, -4, 1], [7, 3, -4]]  # -3.5: half to even
    assert np.allclose(made.values, [[0.7, -0.4, 0.1], [14, 6, -8]])
    both = quantise_weight(weight, integer(4), Scheme(per_channel=False), 0)
    assert both.codes is not None
    assert both.codes.tolist() == [[0, 0, 0], [7, 3, -4]]


def test_one_bit_is_sign_times_mean_magnitude() -> None:
    made = quantise_weight(np.float32([[1.0, -3.0], [0.0, 5.0]]), integer(1), Scheme(), 0)
    assert made.values.tolist() == [[2.0, -2.0], [2.5, 2.5]]


def test_asymmetric_weights_use_all_levels() -> None:
    made = quantise_weight(
        np.float32([[-1.0, 2.0, 0.5]]), integer(2), Scheme(symmetric_weights=False), 0
    )
    assert made.values.tolist() == [[-1.0, 2.0, 0.0]]  # steps of 1: 0.5 goes to even


@pytest.mark.parametrize("bits", range(2, 9))
def test_the_search_never_does_worse_than_the_largest_magnitude(
    bits: int, random: np.random.Generator
) -> None:
    weight = random.standard_t(3, (6, 40)).astype(np.float32)
    errors = [
        np.sum((quantise_weight(weight, integer(bits), Scheme(), 0, search=s).values - weight) ** 2)
        for s in (False, True)
    ]
    assert errors[1] <= errors[0]


@pytest.mark.parametrize("bits", range(1, 17))
def test_values_are_codes_times_scale(bits: int, random: np.random.Generator) -> None:
    weight = random.normal(size=(3, 5, 2)).astype(np.float32)
    made = quantise_weight(weight, integer(bits), Scheme(), 1)
    assert made.codes is not None
    assert made.scale.shape == (1, 5, 1)
    real = (2 * made.codes - 1 if bits == 1 else made.codes) * made.scale
    assert np.array_equal(made.values, real.astype(np.float32))
    assert len(np.unique(made.codes)) <= 2**bits
    if bits > 9:
        assert np.max(np.abs(made.values - weight)) <= np.max(made.scale) / 2 * 1.001


def test_four_bit_weights_are_those_of_onnxruntimes_int4(random: np.random.Generator) -> None:
    weight = random.normal(size=(6, 5)).astype(np.float32)
    made = quantise_weight(weight, integer(4), Scheme(), 1)
    assert made.codes is not None
    scale = made.scale.reshape(-1)
    codes = numpy_helper.from_array(made.codes.astype(ml_dtypes.int4), "w")
    graph = helper.make_graph(
        [
            helper.make_node("DequantizeLinear", ["w", "s"], ["d"], axis=1),
            helper.make_node("MatMul", ["x", "d"], ["y"]),
        ],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [3, 6])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [3, 5])],
        [codes, helper.make_tensor("s", TensorProto.FLOAT, [5], scale)],
    )
    proto = helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 21)])
    x = random.normal(size=(3, 6)).astype(np.float32)
    plain, fused = (Network(proto, optimise=on).run(["y"], {"x": x})[0] for on in (False, True))
    expected = x @ made.values
    assert np.allclose(plain, expected, atol=1e-5)
    # The fused 4-bit kernel rounds activations to 8 bits by itself.
    assert np.max(np.abs(fused - expected)) < 0.01 * np.max(np.abs(expected))
