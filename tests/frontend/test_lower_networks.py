"""Whole networks: multiply-accumulates and parameters that others counted, and their precision."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from npubench.frontend import LoadedNetwork, load_network
from npubench.ir import Network, UnknownLayer

# Counted at run time in onnxruntime from the shapes of every Conv, ConvTranspose, Gemm, MatMul and
# LSTM, independently of this program (table of the model collection).
MACS = {
    "mnist-cnn-cntk": 786_560,
    "mnist-cnn-pytorch": 480_500,
    "resnet8-cifar10-fp32": 12_501_632,
    "resnet8-cifar10-int8-qdq": 12_501_632,
    "resnet20-cifar10": 40_551_040,
    "resnet20-cifar10-int8-qdq": 40_551_040,
    "dscnn-kws-fp32": 2_656_768,
    "dscnn-kws-int8-qdq": 2_656_768,
    "mobilenetv1-vww-fp32": 7_489_664,
    "autoencoder-ad-fp32": 264_192,
    "yolox-nano": 505_063_936,
    "ultraface-rfb-320": 100_418_560,
    "yunet-n-320": 135_598_400,
    "espcn-bsd300-fp32": 1_041_235_968,
    "super-resolution-224": 2_984_869_888,
    "dtln-stage1": 361_088,
    "silero-vad-static": 679_552,
    "dnsmos-v8": 435_326_016,
    "cct-2-cifar": 19_514_624,
    "light-alexnet": 654_560_384,
    "light-vgg19": 19_632_062_464,
    "light-resnet50": 4_089_184_256,
    "light-squeezenet": 349_151_936,
    # The same network as espcn-bsd300-fp32, quantised.
    "espcn-bsd300-qonnx": 1_041_235_968,
    # 784 x 64 + 64 x 64 + 64 x 64 + 64 x 10
    "tfc-2w2a-qonnx": 59_008,
}

# Published: torchvision's weights metadata; 11.174 and 16.114 G for the language models, here in
# closed form. BERT-base, 128 tokens, 12 layers: 4 projections and 2 products of 12 heads,
# 2 dense layers; GPT-2 the same, with its head of 50257 words.
_TOKENS, _WIDTH, _LAYERS = 128, 768, 12
_ENCODER = _LAYERS * (12 * _TOKENS * _WIDTH**2 + 2 * _TOKENS**2 * _WIDTH)
SKELETON_MACS = {
    "alexnet": 714_188_480,
    "bert_base": _ENCODER,
    "gpt2": _ENCODER + _TOKENS * _WIDTH * 50257,
    "mobilenet_v2": 300_774_272,
    "resnet18": 1_814_073_344,
    "resnet50": 4_089_184_256,
    "vgg16": 15_470_264_320,
    "vit_b16": 17_563_828_224,
}

# Published parameter counts, batch normalisation folded into its convolution where there is any.
PARAMETERS = {
    "skeletons/alexnet.dynamo.inputs": 61_100_840,
    # 3,504,872 less one of the two numbers of each of 17,056 normalised channels
    "skeletons/mobilenet_v2.dynamo.inputs": 3_487_816,
    "skeletons/resnet18.dynamo.inputs": 11_684_712,
    "skeletons/resnet50.dynamo.inputs": 25_530_472,
    "skeletons/vgg16.dynamo.inputs": 138_357_544,
    "models/light-alexnet": 60_965_224,
    "models/light-vgg19": 143_667_240,
    "models/light-squeezenet": 1_235_496,
    "models/super-resolution-224": 59_657,
    "models/dnsmos-v8": 54_945,
    "models/autoencoder-ad-fp32": 265_864,
}


def check_sizes(network: Network) -> None:
    """Every loop nest touches exactly the elements of its three tensors."""
    for layer in network.mac_layers:
        nest, (output,) = layer.nest, layer.outputs
        sizes = [network.tensors[name].elements for name in (layer.data, layer.weight, output)]
        found = [nest.input_elements, nest.weight_elements, nest.output_elements]
        assert found == sizes, layer.name
    batched = network.with_batch(3).verify()
    assert batched.macs == 3 * network.macs


def _load(shared: Path, folder: str, name: str) -> LoadedNetwork:
    return load_network(shared / folder / f"{name}.onnx")


@pytest.mark.parametrize("name", MACS)
def test_macs_of_models(shared: Path, name: str) -> None:
    network = _load(shared, "models", name).network
    assert network.macs == MACS[name]
    assert network.name == name
    assert not [layer for layer in network.layers if isinstance(layer, UnknownLayer)]
    check_sizes(network)


@pytest.mark.parametrize("name", SKELETON_MACS)
def test_macs_of_skeletons(shared: Path, name: str) -> None:
    network = _load(shared, "skeletons", f"{name}.dynamo.inputs").network
    assert network.macs == SKELETON_MACS[name]
    check_sizes(network)
    assert not [layer for layer in network.layers if isinstance(layer, UnknownLayer)]


@pytest.mark.parametrize("path", PARAMETERS)
def test_parameters(shared: Path, path: str) -> None:
    folder, name = path.split("/")
    assert _load(shared, folder, name).network.parameters == PARAMETERS[path]


@pytest.mark.parametrize(("name", "published"), [("bert_base", 108_891_648), ("gpt2", 124_439_808)])
def test_parameters_of_language_models(shared: Path, name: str, published: int) -> None:
    """The whole position table counts although 128 rows are used, the tied head counts once.

    Beyond the published count there is the attention mask and a handful of scalar constants.
    """
    found = _load(shared, "skeletons", f"{name}.dynamo.inputs").network.parameters
    assert 0 <= found - published - _TOKENS**2 < 10


@pytest.mark.parametrize(
    "name", ["resnet8-cifar10-int8-qdq", "resnet20-cifar10-int8-qdq", "dscnn-kws-int8-qdq"]
)
def test_plan_of_qdq_models(shared: Path, name: str) -> None:
    loaded = _load(shared, "models", name)
    assert loaded.plan is not None
    assert loaded.plan.source == "annotations of the model"
    found = {layer.name: str(loaded.plan.of(layer.name)) for layer in loaded.network.mac_layers}
    assert set(found.values()) == {"w8a8"}
    assert set(loaded.plan.layers) == set(found)


def test_plan_of_two_bit_mlp(shared: Path) -> None:
    loaded = _load(shared, "models", "tfc-2w2a-qonnx")
    assert loaded.plan is not None
    assert loaded.plan.describe() == "4 x w2a2"


def test_plan_of_mixed_qonnx(shared: Path) -> None:
    """Bit widths of the Quant nodes around each convolution, in order."""
    import onnx
    from onnx import numpy_helper

    loaded = _load(shared, "models", "espcn-bsd300-qonnx")
    model = onnx.load(shared / "models" / "espcn-bsd300-qonnx.onnx")
    constants = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Constant":
            constants[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
    bits = {
        node.output[0]: int(constants[node.input[3]])
        for node in model.graph.node
        if node.op_type == "Quant"
    }
    before = {n.output[0]: n.input[0] for n in model.graph.node if n.op_type == "Resize"}
    expected = [
        f"w{bits[node.input[1]]}a{bits[before.get(node.input[0], node.input[0])]}"
        for node in model.graph.node
        if node.op_type == "Conv"
    ]
    assert loaded.plan is not None
    plan = loaded.plan
    assert [str(plan.of(layer.name)) for layer in loaded.network.mac_layers] == expected
    assert len(set(expected)) == 2


@pytest.mark.parametrize("name", ["resnet20-cifar10", "cct-2-cifar", "dtln-stage1"])
def test_float_models_state_no_plan(shared: Path, name: str) -> None:
    assert _load(shared, "models", name).plan is None


def test_network_takes_a_given_name(shared: Path) -> None:
    path = shared / "models" / "mnist-cnn-pytorch.onnx"
    assert load_network(path, name="mnist").network.name == "mnist"


def test_importing_the_frontend_is_light() -> None:
    """``--help`` must not wait for onnx or numpy."""
    code = "import sys, npubench.frontend; print({'onnx', 'numpy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
