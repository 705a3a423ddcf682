from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from npubench.errors import MappingError
from npubench.machines.associative.network_emulator import run_network
from npubench.machines.associative.quantized_network import (
    Add,
    AveragePool,
    Conv,
    Flatten,
    Linear,
    MaxPool,
    QuantizedNetwork,
    Relu,
    Requantization,
)
from tests.machines.associative.quantize import (
    Quantizer,
    accumulators,
    conv_accumulators,
    initializers,
    onnxruntime_accumulators,
    oracle,
)

WORKLOADS = Path(__file__).resolve().parents[3] / "workloads"
IMAGES = 6


def digits(bits: int, images: int = IMAGES) -> tuple[QuantizedNetwork, np.ndarray]:
    data = np.load(WORKLOADS / "datasets" / "digits.npz")["images"][:images]
    w = initializers(WORKLOADS / "digits_cnn.onnx")
    q = Quantizer(data.reshape(-1, 1, 8, 8).astype(np.float64), bits)
    same = {"pads": (1, 1, 1, 1)}
    q.conv("conv1", "image", w["conv1.weight"], w["conv1.bias"], **same)
    q.conv("conv2", "conv1", w["conv2.weight"], w["conv2.bias"], **same)
    q.passed(MaxPool("pool", "conv2", (2, 2), (2, 2)))
    q.passed(Flatten("flatten", "pool"))
    q.linear("fc", "flatten", w["fc.weight"], w["fc.bias"], last=True)
    return q.network(), q.images


def check(network: QuantizedNetwork, images: np.ndarray) -> None:
    run = run_network(network, images)
    for products in (accumulators, onnxruntime_accumulators):
        expected = oracle(network, images, products)
        assert list(run.tensors) == list(expected)
        for name, values in expected.items():
            np.testing.assert_array_equal(run.tensors[name].values, values, err_msg=name)
    assert run.total.cycles == sum(events.cycles for events in run.events.values())


@pytest.mark.parametrize("bits", [8, 4, 2])
def test_digits_cnn_equals_the_oracle_integer_by_integer(bits: int) -> None:
    network, images = digits(bits)
    check(network, images)


def test_quantised_digits_cnn_is_still_a_classifier() -> None:
    labels = np.load(WORKLOADS / "datasets" / "digits.npz")["labels"][:60]
    network, images = digits(8, 60)
    logits = oracle(network, images)["fc"]
    assert np.mean(logits.argmax(axis=1) == labels) > 0.9


def test_cycles_fall_with_precision_and_do_not_depend_on_images() -> None:
    cycles = {}
    for bits in (8, 4, 2):
        network, images = digits(bits)
        cycles[bits] = run_network(network, images[:1]).total.cycles
        assert run_network(network, images[:2]).total.cycles == cycles[bits]
    assert cycles[8] > cycles[4] > cycles[2]


def mnist(shared: Path, bits: int, images: int) -> tuple[QuantizedNetwork, np.ndarray]:
    """Convolutions requantise to signed words, which then meet pooling, ReLU and weights signed."""
    w = initializers(shared / "models" / "mnist-cnn-pytorch.onnx")
    data = np.load(shared / "datasets" / "mnist-test.npz")["images"][:images]
    q = Quantizer(data.reshape(-1, 1, 28, 28).astype(np.float64), bits)
    q.conv("conv1", "image", w["conv1.weight"], w["conv1.bias"], signed=True)
    q.passed(MaxPool("pool1", "conv1", (2, 2), (2, 2)))
    q.passed(Relu("relu1", "pool1"))
    q.conv("conv2", "relu1", w["conv2.weight"], w["conv2.bias"], signed=True)
    q.passed(MaxPool("pool2", "conv2", (2, 2), (2, 2)))
    q.passed(Relu("relu2", "pool2"))
    q.passed(Flatten("flatten", "relu2"))
    q.linear("fc1", "flatten", w["fc1.weight"], w["fc1.bias"], last=False)
    q.linear("fc2", "fc1", w["fc2.weight"], w["fc2.bias"], last=True)
    return q.network(), q.images


@pytest.mark.parametrize("bits", [8, 4, 2])
def test_mnist_cnn_equals_the_oracle(shared: Path, bits: int) -> None:
    check(*mnist(shared, bits, 2))


def resnet8(shared: Path, bits: int, images: int) -> tuple[QuantizedNetwork, np.ndarray]:
    """MLPerf Tiny's ResNet-8: two residual additions of two scales, strides, a mean of 64.

    Weights go by the order of the convolutions, since the file's names are a converter's.
    """
    graph = onnx.load(shared / "models" / "resnet8-cifar10-fp32.onnx").graph
    w = initializers(shared / "models" / "resnet8-cifar10-fp32.onnx")
    convs = [(w[n.input[1]], w[n.input[2]]) for n in graph.node if n.op_type == "Conv"]
    data = np.load(shared / "datasets" / "cifar10-test-297.npz")
    pixels = data["images"][:images].astype(np.float64)
    pixels = pixels if pixels.shape[1] == 3 else pixels.transpose(0, 3, 1, 2)
    q = Quantizer(pixels, bits)
    same, strided = {"pads": (1, 1, 1, 1)}, {"pads": (0, 0, 1, 1), "strides": (2, 2)}
    q.conv("stem", "image", *convs[0], **same)
    x, order = "stem", [(None, 1, 2), (3, 4, 5), (6, 7, 8)]
    for block, (shortcut, first, second) in enumerate(order):
        name = f"block{block}"
        q.conv(f"{name}.a", x, *convs[first], **(same if shortcut is None else strided))
        q.conv(f"{name}.b", f"{name}.a", *convs[second], **same, signed=True)
        if shortcut is not None:
            q.conv(f"{name}.s", x, *convs[shortcut], strides=(2, 2), signed=True)
            x = f"{name}.s"
        q.add(name, x, f"{name}.b")
        x = name
    q.mean("mean", x, (8, 8))
    q.passed(Flatten("flatten", "mean"))
    dense = next(n for n in graph.node if n.op_type == "MatMul").input[1]
    bias = next(n for n in graph.node if n.name == "Add__29").input[1]
    q.linear("fc", "flatten", w[dense].T, w[bias], last=True)
    return q.network(), q.images


@pytest.mark.parametrize("bits", [8, 4, 2])
def test_resnet8_equals_the_oracle(shared: Path, bits: int) -> None:
    check(*resnet8(shared, bits, 1))


@pytest.mark.slow
@pytest.mark.parametrize("bits", [8, 4, 2])
def test_mnist_and_resnet8_on_more_images(shared: Path, bits: int) -> None:
    check(*mnist(shared, bits, 40))
    check(*resnet8(shared, bits, 3))


@pytest.mark.slow
@pytest.mark.parametrize("bits", [8, 4, 2])
def test_digits_cnn_on_its_whole_test_set(bits: int) -> None:
    check(*digits(bits, 450))


def residual_block(bits: int) -> tuple[QuantizedNetwork, np.ndarray]:
    """Strides, groups, dilation, odd padding, an addition, both kinds of pooling."""
    random = np.random.default_rng(11)
    q = Quantizer(random.normal(size=(2, 4, 9, 9)), bits, signed=True)
    q.conv("stem", "image", random.normal(size=(6, 4, 3, 3)), pads=(1, 0, 1, 2))
    q.conv(
        "grouped",
        "stem",
        random.normal(size=(6, 3, 3, 3)),
        random.normal(size=6),
        groups=2,
        pads=(2, 2, 2, 2),
        dilations=(2, 2),
        signed=True,
    )
    q.append(Add("sum", ("stem", "grouped"), (5, 3), 3, bits), 1.0, False)
    q.conv(
        "depthwise",
        "sum",
        random.normal(size=(6, 1, 3, 3)),
        groups=6,
        strides=(2, 2),
        pads=(1, 1, 1, 1),
    )
    q.passed(MaxPool("maximum", "depthwise", (3, 3), (1, 1), (1, 1, 1, 1)))
    rule = Requantization((13,), 7, bits)
    q.append(AveragePool("mean", "maximum", (3, 3), (2, 2), rule), 1.0, False)
    return q.network(), q.images


@pytest.mark.parametrize("bits", [8, 5, 3, 2])
def test_geometry_groups_addition_and_pooling_equal_the_oracle(bits: int) -> None:
    check(*residual_block(bits))


def test_accumulators_equal_conv_integer_of_onnxruntime() -> None:
    network, images = digits(8)
    x = images
    for layer in network.layers[:2]:
        assert isinstance(layer, Conv)
        bare = Conv(layer.name, "image", layer.weight, 8, pads=layer.pads)
        run = run_network(QuantizedNetwork("image", 8, input_signed=False, layers=(bare,)), x)
        np.testing.assert_array_equal(run.output.values, onnxruntime_accumulators(layer, x))
        np.testing.assert_array_equal(run.output.values, conv_accumulators(bare, x))
        x = oracle(network, images)[layer.name]


def linear(weight_bits: int, terms: int) -> Linear:
    weight = np.full((1, terms), -(1 << (weight_bits - 1)), dtype=np.int64)
    return Linear("fc", "image", weight, weight_bits)


def test_extremes_of_sixteen_bits_fill_the_accumulator() -> None:
    images = np.full((1, 1), (1 << 15) - 1, dtype=np.int64)
    run = run_network(
        QuantizedNetwork("image", 16, input_signed=True, layers=(linear(16, 1),)), images
    )
    assert run.output.values.tolist() == [[-(1 << 15) * ((1 << 15) - 1)]]


def test_an_accumulator_beyond_int32_is_refused() -> None:
    network = QuantizedNetwork("image", 16, input_signed=False, layers=(linear(16, 2),))
    with pytest.raises(MappingError) as caught:
        run_network(network, np.zeros((1, 2), dtype=np.int64))
    assert str(caught.value) == ("layer 'fc': accumulators need 34 bits, the integer rule has 32")


def test_an_unknown_input_is_refused() -> None:
    network = QuantizedNetwork("image", 8, input_signed=False, layers=(Relu("relu", "imgae"),))
    with pytest.raises(MappingError) as caught:
        run_network(network, np.zeros((1, 2), dtype=np.int64))
    assert str(caught.value) == "layer 'relu' reads 'imgae', which nothing computes"
