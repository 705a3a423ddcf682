"""The shipped workloads are what their catalog and the published tables say they are."""

from __future__ import annotations

import csv
import hashlib
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import yaml
from onnx import ModelProto, TensorProto, shape_inference

from npubench.frontend import load_network

ROOT = Path(__file__).resolve().parents[2]
WORKLOADS = ROOT / "workloads"
CATALOG = yaml.safe_load((WORKLOADS / "catalog.yaml").read_text())
NETWORKS = {entry["name"]: entry for entry in CATALOG["networks"]}
LARGEST_FILE = 120_000
EXPECTED_NAMES = [
    "alexnet",
    "alexnet_bvlc",
    "vgg16",
    "resnet18",
    "resnet50",
    "resnet50_v1",
    "mobilenet_v2",
    "googlenet",
    "inception_v3",
    "yolov3",
    "bert_base",
    "bert_large",
    "vit_b16",
    "gpt2_prefill",
    "gpt2_decode",
    "rnnt_encoder",
    "digits_cnn",
    "resnet18_cifar10",
    "resnet34_cifar10",
    "vgg11_cifar10",
    "vgg13_cifar10",
    "vgg19_cifar10",
    "vgg16_cifar100",
    "resnet50_cifar100",
    "mobilenet_v1_cifar100",
    "mobilenet_v2_cifar100",
]

each_network = pytest.mark.parametrize("name", NETWORKS)


def _load(name: str) -> ModelProto:
    return onnx.load(WORKLOADS / NETWORKS[name]["file"])


def _dims(value: onnx.ValueInfoProto) -> list[int]:
    dims = value.type.tensor_type.shape.dim
    assert all(dim.HasField("dim_value") for dim in dims), f"{value.name} is not static"
    return [dim.dim_value for dim in dims]


def _weight_names(model: ModelProto) -> list[str]:
    entries = {entry.key: entry.value for entry in model.metadata_props}
    assert set(entries) <= {"npubench.weight_inputs"}
    return json.loads(entries.get("npubench.weight_inputs", "[]"))


def _shapes(model: ModelProto) -> dict[str, list[int]]:
    """Shape of every tensor, from onnx's own inference."""
    graph = shape_inference.infer_shapes(model, strict_mode=True, data_prop=True).graph
    shapes = {value.name: _dims(value) for value in (*graph.input, *graph.value_info)}
    shapes |= {value.name: _dims(value) for value in graph.output}
    return shapes | {tensor.name: list(tensor.dims) for tensor in graph.initializer}


def _macs(model: ModelProto) -> int:
    """Multiply-accumulates of all matrix products, written independently of the package."""
    shapes = _shapes(model)
    total = 0
    for node in model.graph.node:
        if node.op_type == "Conv":  # every output needs C per group x FY x FX
            per_output = math.prod(shapes[node.input[1]][1:])
            total += math.prod(shapes[node.output[0]]) * per_output
        elif node.op_type in ("Gemm", "MatMul"):
            attributes = {a.name: a.i for a in node.attribute}
            depth = shapes[node.input[0]][0 if attributes.get("transA") else -1]
            total += math.prod(shapes[node.output[0]]) * depth
        elif node.op_type == "LSTM":
            steps, batch, _ = shapes[node.input[0]]
            per_step = sum(math.prod(shapes[weights]) for weights in node.input[1:3])
            total += steps * batch * per_step
        else:
            assert node.op_type not in {"ConvTranspose", "Einsum", "GRU", "RNN", "Attention"}
    return total


def _row(entry: dict[str, Any]) -> dict[str, str]:
    key = (entry["reference"]["net"], entry["reference"]["input"])
    with (Path(__file__).parent / "network-sizes.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if (row["net"], row["input"]) == key]
    return next(row for row in rows if row["verified"] != "recalled")


def test_catalog_lists_every_network_and_every_file() -> None:
    assert list(NETWORKS) == EXPECTED_NAMES
    files = {path.name for path in WORKLOADS.glob("*.onnx")}
    assert files == {entry["file"] for entry in NETWORKS.values()}


def test_names_and_aliases_are_unique_up_to_dashes() -> None:
    names = [name for entry in NETWORKS.values() for name in (entry["name"], *entry["aliases"])]
    plain = [name.replace("-", "_") for name in names]
    assert len(set(plain)) == len(plain)


@each_network
def test_entry_is_complete(name: str) -> None:
    entry = NETWORKS[name]
    for key in ("variant", "source", "licence"):
        assert isinstance(entry[key], str)
        assert entry[key]
    for key in ("params", "macs", "folded_params"):
        assert type(entry[key]) is int
    for part in entry["omitted"]:
        assert set(part) == {"what", "params", "macs"}
    assert entry["reference"]["source"] == _row(entry)["source"]


@each_network
def test_file_is_small_and_its_hash_is_the_catalogs(name: str) -> None:
    content = (WORKLOADS / NETWORKS[name]["file"]).read_bytes()
    assert hashlib.sha256(content).hexdigest() == NETWORKS[name]["sha256"]
    assert len(content) < LARGEST_FILE


@each_network
def test_model_is_valid_and_readable_by_onnxruntime(name: str) -> None:
    model = _load(name)
    onnx.checker.check_model(model, full_check=True)
    assert model.ir_version == 10
    assert [(opset.domain, opset.version) for opset in model.opset_import] == [("", 20)]
    assert not model.functions


@each_network
def test_model_describes_itself_and_nothing_else(name: str) -> None:
    model = _load(name)
    weights = _weight_names(model)
    data = {value.name: _dims(value) for value in model.graph.input if value.name not in weights}
    assert data == NETWORKS[name]["inputs"]
    assert len(data) + len(weights) == len(model.graph.input)
    assert len(set(weights)) == len(weights)
    used = {source for node in model.graph.node for source in node.input}
    assert {value.name for value in model.graph.input} <= used
    assert {tensor.name for tensor in model.graph.initializer} <= used
    names = [node.name for node in model.graph.node]
    assert all(names)
    assert len(set(names)) == len(names)
    assert not any(node.metadata_props or node.doc_string for node in model.graph.node)


@each_network
def test_every_shape_is_inferred(name: str) -> None:
    model = _load(name)
    shapes = _shapes(model)
    missing = [out for node in model.graph.node for out in node.output if out and out not in shapes]
    assert missing == []


@each_network
def test_parameters_are_those_published(name: str) -> None:
    entry, model = NETWORKS[name], _load(name)
    shapes, weights = _shapes(model), _weight_names(model)
    if not weights:  # a trained model keeps them inside
        weights = [
            tensor.name
            for tensor in model.graph.initializer
            if tensor.data_type == TensorProto.FLOAT and tensor.dims
        ]
    in_file = sum(math.prod(shapes[weight]) for weight in weights)
    omitted = sum(part["params"] for part in entry["omitted"])
    assert in_file + entry["folded_params"] + omitted == entry["params"]
    assert entry["reference"]["exact"]
    assert entry["params"] == int(_row(entry)["params"])


@each_network
def test_macs_are_those_published(name: str) -> None:
    entry = NETWORKS[name]
    omitted = sum(part["macs"] for part in entry["omitted"])
    assert _macs(_load(name)) + omitted == entry["macs"]
    assert entry["macs"] == int(_row(entry)["macs"])


@each_network
def test_the_package_counts_what_the_catalog_says(name: str) -> None:
    """Masks, scalars and other constants inside a skeleton are no parameters."""
    entry = NETWORKS[name]
    network = load_network(WORKLOADS / entry["file"]).network
    omitted = {key: sum(part[key] for part in entry["omitted"]) for key in ("params", "macs")}
    assert network.parameters == entry["params"] - entry["folded_params"] - omitted["params"]
    assert network.macs == entry["macs"] - omitted["macs"]
    assert {n: list(network.tensors[n].shape) for n in network.inputs} == entry["inputs"]


def test_folded_parameters_are_one_per_normalised_channel() -> None:
    """A bias-free convolution gains K biases; its normalisation loses K scales and K shifts."""
    for name in ("resnet18", "resnet50", "resnet50_v1", "mobilenet_v2", "googlenet", "yolov3"):
        model = _load(name)
        shapes = _shapes(model)
        biases = sum(shapes[n.input[2]][0] for n in model.graph.node if n.op_type == "Conv")
        detectors = 3 * 255 if name == "yolov3" else 0  # these have a bias and no normalisation
        assert NETWORKS[name]["folded_params"] == biases - detectors


def test_our_own_rows_follow_from_their_formulas() -> None:
    def transformer(layers: int, hidden: int, tokens: int, seen: int) -> int:
        return layers * (tokens * 12 * hidden * hidden + 2 * tokens * seen * hidden)

    assert NETWORKS["bert_base"]["macs"] == transformer(12, 768, 384, 384) + 768**2
    assert NETWORKS["bert_large"]["macs"] == transformer(24, 1024, 384, 384) + 1024**2
    head = 768 * 50257
    assert NETWORKS["gpt2_prefill"]["macs"] == transformer(12, 768, 128, 128) + 128 * head
    assert NETWORKS["gpt2_decode"]["macs"] == transformer(12, 768, 1, 128) + head
    lstm = [(400, 240), (400, 1024), (200, 2048), (200, 1024), (200, 1024)]
    assert NETWORKS["rnnt_encoder"]["macs"] == sum(t * 4096 * (i + 1024) for t, i in lstm)
    # Redmon and Farhadi 2018 and the Darknet site: 65.86 G operations at 416 x 416.
    assert 2 * NETWORKS["yolov3"]["macs"] / 1e9 == pytest.approx(65.86, abs=0.005)


# Inputs, outputs, kernel, side of the result, groups.
Conv = tuple[int, int, int, int, int]


def cifar_vgg(*layers: int) -> list[Conv]:
    widths = [min(64 << stage, 512) for stage, count in enumerate(layers) for _ in range(count)]
    sides = [32 >> stage for stage, count in enumerate(layers) for _ in range(count)]
    inputs = [3, *widths]
    return [(c, k, 3, side, 1) for c, k, side in zip(inputs, widths, sides, strict=False)]


def cifar_resnet(*blocks: int, bottleneck: bool) -> list[Conv]:
    layers: list[Conv] = [(3, 64, 3, 32, 1)]
    width = 64
    for stage, count in enumerate(blocks):
        inner, side = 64 << stage, 32 >> stage
        outer = 4 * inner if bottleneck else inner
        for index in range(count):
            before = side * 2 if stage and not index else side
            if bottleneck:
                layers += [(width, inner, 1, before, 1), (inner, inner, 3, side, 1)]
                layers += [(inner, outer, 1, side, 1)]
            else:
                layers += [(width, inner, 3, side, 1), (inner, inner, 3, side, 1)]
            if before != side or width != outer:
                layers.append((width, outer, 1, side, 1))
            width = outer
    return layers


def cifar_mobilenet_v1() -> list[Conv]:
    layers: list[Conv] = [(3, 32, 3, 32, 1)]
    widths = [32, 64, 128, 128, 256, 256, *[512] * 6, 1024, 1024]
    sides = [32, 16, 16, 8, 8, *[4] * 6, 2, 2]
    for c, k, side in zip(widths, widths[1:], sides, strict=False):
        layers += [(c, c, 3, side, c), (c, k, 1, side, 1)]
    return layers


def cifar_mobilenet_v2() -> list[Conv]:
    layers: list[Conv] = [(3, 32, 3, 32, 1)]
    width, side = 32, 32
    for t, k, count, stride in (
        (1, 16, 1, 1),
        (6, 24, 2, 1),
        (6, 32, 3, 2),
        (6, 64, 4, 2),
        (6, 96, 3, 1),
        (6, 160, 3, 2),
        (6, 320, 1, 1),
    ):
        for index in range(count):
            step = stride if index == 0 else 1
            wide = t * width
            layers.append((width, wide, 1, side, 1))
            side //= step
            layers += [(wide, wide, 3, side, wide), (wide, k, 1, side, 1)]
            if step == 1 and width != k:
                layers.append((width, k, 1, side, 1))
            width = k
    return [*layers, (320, 1280, 1, side, 1)]


@pytest.mark.parametrize(
    ("name", "layers", "last", "classes", "biased"),
    [
        ("resnet18_cifar10", cifar_resnet(2, 2, 2, 2, bottleneck=False), 512, 10, False),
        ("resnet34_cifar10", cifar_resnet(3, 4, 6, 3, bottleneck=False), 512, 10, False),
        ("resnet50_cifar100", cifar_resnet(3, 4, 6, 3, bottleneck=True), 2048, 100, False),
        ("vgg11_cifar10", cifar_vgg(1, 1, 2, 2, 2), 512, 10, True),
        ("vgg13_cifar10", cifar_vgg(2, 2, 2, 2, 2), 512, 10, True),
        ("vgg19_cifar10", cifar_vgg(2, 2, 4, 4, 4), 512, 10, True),
        ("vgg16_cifar100", cifar_vgg(2, 2, 3, 3, 3), 512, 100, True),
        ("mobilenet_v1_cifar100", cifar_mobilenet_v1(), 1024, 100, False),
        ("mobilenet_v2_cifar100", cifar_mobilenet_v2(), 1280, 100, False),
    ],
)
def test_cifar_networks_follow_from_their_layers(
    name: str, layers: list[Conv], last: int, classes: int, biased: bool
) -> None:
    """Convolutions, a scale and a shift a channel, a linear layer."""
    weights = sum(c // g * k * f * f for c, k, f, _, g in layers)
    channels = sum(k for _, k, _, _, _ in layers)
    linear = (last + 1) * classes
    assert NETWORKS[name]["params"] == weights + channels * (3 if biased else 2) + linear
    macs = sum(c // g * k * f * f * side * side for c, k, f, side, g in layers)
    assert NETWORKS[name]["macs"] == macs + last * classes


def test_stride_is_in_the_3x3_of_v15_and_in_the_1x1_of_v1() -> None:
    def strided(name: str) -> set[str]:
        return {
            node.name
            for node in _load(name).graph.node
            if node.op_type == "Conv"
            and node.name.startswith("layer")
            and "downsample" not in node.name
            and list(next(a.ints for a in node.attribute if a.name == "strides")) == [2, 2]
        }

    assert strided("resnet50") == {f"layer{stage}.0.conv2" for stage in (2, 3, 4)}
    assert strided("resnet50_v1") == {f"layer{stage}.0.conv1" for stage in (2, 3, 4)}


def test_gpt2_prefill_cannot_look_ahead() -> None:
    """The mask is built in the graph: a later token must not change an earlier logit."""
    model = _load("gpt2_prefill")
    session = onnxruntime.InferenceSession(model.SerializeToString())
    feeds = _random_weights(model)
    ids = np.arange(128, dtype=np.int64)[None]
    first = session.run(["logits"], feeds | {"input_ids": ids})[0]
    ids[0, 100] = 7
    second = session.run(["logits"], feeds | {"input_ids": ids})[0]
    np.testing.assert_array_equal(first[0, :100], second[0, :100])
    assert not np.array_equal(first[0, 100:], second[0, 100:])


def _random_weights(model: ModelProto) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(0)
    weights = set(_weight_names(model))
    return {
        value.name: 0.02 * generator.standard_normal(_dims(value), dtype=np.float32)
        for value in model.graph.input
        if value.name in weights
    }


@pytest.mark.parametrize(
    "name", ["alexnet_bvlc", "resnet18", "mobilenet_v2", "rnnt_encoder", "resnet50_cifar100"]
)
def test_skeleton_runs_once_its_weights_are_fed(name: str) -> None:
    model = _load(name)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    generator = np.random.default_rng(1)
    data = {
        key: generator.standard_normal(shape, dtype=np.float32)
        for key, shape in NETWORKS[name]["inputs"].items()
    }
    (result,) = session.run(None, data | _random_weights(model))
    assert list(result.shape) == _dims(model.graph.output[0])
    assert np.isfinite(result).all()


def test_dataset_is_the_catalogs() -> None:
    (entry,) = CATALOG["datasets"]
    content = (WORKLOADS / entry["file"]).read_bytes()
    assert entry["name"] == "digits"
    assert hashlib.sha256(content).hexdigest() == entry["sha256"]
    with np.load(WORKLOADS / entry["file"]) as arrays:
        assert arrays["images"].shape == (entry["images"], 1, 8, 8)
        assert arrays["images"].dtype == np.float32
        assert (arrays["images"].min(), arrays["images"].max()) == (0, 1)
        assert arrays["labels"].shape == (entry["images"],)
        assert set(arrays["labels"]) == set(range(entry["classes"]))
        held_out = {image.tobytes() for image in arrays["images"]}
        assert not held_out & {image.tobytes() for image in arrays["calibration"]}


def test_digits_cnn_reaches_its_recorded_accuracy() -> None:
    accuracy = NETWORKS["digits_cnn"]["accuracy"]
    session = onnxruntime.InferenceSession(WORKLOADS / NETWORKS["digits_cnn"]["file"])
    with np.load(WORKLOADS / CATALOG["datasets"][0]["file"]) as arrays:
        images, labels = arrays["images"], arrays["labels"]
    logits = np.concatenate([session.run(None, {"image": image[None]})[0] for image in images])
    # No picture is so near a tie that another processor's rounding could change the count.
    best, second = np.sort(logits, axis=1)[:, :-3:-1].T
    assert (best - second).min() > 1e-3
    assert (logits.argmax(axis=1) == labels).sum() == accuracy["correct"]
    assert accuracy["images"] == len(labels) == 450
    assert accuracy["correct"] / accuracy["images"] > 0.97
