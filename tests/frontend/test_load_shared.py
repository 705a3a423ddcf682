"""Real networks: parameters as published, and shapes as they are when the network runs."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from npubench.frontend.graph import Graph
from npubench.frontend.load import read_graph

# Element counts of the initialisers that are used, as the models' own page lists them; quantised
# and normalised networks differ by their scales and by what is folded, and are compared below.
PARAMETERS = {
    "autoencoder-ad-fp32": 265_864,
    "cct-2-cifar": 217_136,
    "dnsmos-v8": 54_945,
    "dscnn-kws-fp32": 22_610,
    "espcn-bsd300-fp32": 61_124,
    "mobilenetv1-vww-fp32": 210_852,
    "resnet8-cifar10-fp32": 77_708,
    "super-resolution-224": 59_657,
    "ultraface-rfb-320": 273_912,
    "yolox-nano": 889_460,
    "yunet-n-320": 73_857,
}
# Parameters of the published networks; for skeletons after BatchNormalization was folded.
FLOATS = {
    "alexnet.dynamo.inputs": 61_100_840,
    "bert_base.dynamo.inputs": 108_891_648,
    "gpt2.dynamo.inputs": 124_439_808,
    "mobilenet_v2.dynamo.inputs": 3_487_800 + 16,
    "resnet18.dynamo.inputs": 11_684_712,
    "resnet50.dynamo.inputs": 25_530_472,
    "vgg16.dynamo.inputs": 138_357_544,
}


def parameters(graph: Graph, *, large_floats: bool = False) -> int:
    origins = {graph.values[n].origin or n for n in graph.weights}
    values = [graph.values[n] for n in origins]
    return sum(
        math.prod(v.shape)
        for v in values
        if not large_floats or (v.dtype.is_float and math.prod(v.shape) > 8)
    )


@pytest.fixture(scope="module")
def models(shared: Path) -> dict[str, Path]:
    return {path.stem: path for path in sorted((shared / "models").glob("*.onnx"))}


def test_every_model_is_read(models):
    graphs = {name: read_graph(path) for name, path in models.items()}
    assert len(graphs) == 25
    for graph in graphs.values():
        assert graph.nodes
        assert all(min(v.shape, default=1) >= 1 for v in graph.values.values() if not v.is_weight)


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameters_are_those_listed(models, name):
    assert parameters(read_graph(models[name])) == PARAMETERS[name]


@pytest.mark.parametrize("name", FLOATS)
def test_skeletons_have_the_published_parameters(shared, name):
    graph = read_graph(shared / "skeletons" / f"{name}.onnx")
    assert abs(parameters(graph, large_floats=True) - FLOATS[name]) <= 24
    assert len(graph.inputs) == 1


def test_bit_widths_of_qonnx_weights(models):
    tfc = read_graph(models["tfc-2w2a-qonnx"])
    weights = [tfc.values[n.inputs[1]] for n in tfc.nodes if n.op == "MatMul"]
    assert [w.dtype.name for w in weights] == ["int2"] * 4
    espcn = read_graph(models["espcn-bsd300-qonnx"])
    convs = [espcn.values[n.inputs[1]] for n in espcn.nodes if n.op == "Conv"]
    assert [w.dtype.name for w in convs] == ["int8", "int4", "int4", "int8"]


def test_quantised_weights_are_integers(models):
    graph = read_graph(models["resnet20-cifar10-int8-qdq"])
    kinds = {
        graph.values[n.inputs[place]].dtype.name
        for n in graph.nodes
        if n.op in ("Conv", "Gemm")
        for place in (1,)
    }
    assert kinds == {"int8"}


@pytest.mark.parametrize(
    "name",
    [
        "cct-2-cifar",
        "dscnn-kws-int8-qdq",
        "dtln-stage1",
        "light-squeezenet",
        "mnist-cnn-cntk",
        "resnet20-cifar10-int8-qdq",
        "silero-vad-static",
        "ultraface-rfb-320",
        "yolox-nano",
        "yunet-n-320",
    ],
)
def test_shapes_and_constants_are_those_of_a_run(models, name):
    graph = read_graph(models[name])
    results = run_all(models[name], graph)
    compared = [n for n in results if n in graph.values]
    assert len(compared) > 0.5 * len(graph.nodes)
    wrong = {
        n: (graph.values[n].shape, results[n].shape)
        for n in compared
        if graph.values[n].shape != results[n].shape
    }
    assert wrong == {}
    for n in compared:
        data = graph.values[n].data
        if data is not None:
            np.testing.assert_allclose(data, results[n])


def run_all(path: Path, graph: Graph) -> dict[str, np.ndarray]:
    """Every value of a run on zeros."""
    model = onnx.load(path)
    given = {o.name for o in model.graph.output}
    for node in model.graph.node:
        for name in node.output:
            if name and name not in given:
                model.graph.output.append(onnx.ValueInfoProto(name=name))
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    types = {"tensor(float)": np.float32, "tensor(int8)": np.int8}
    feeds = {
        i.name: np.zeros(graph.values[i.name].shape, types[i.type])
        for i in session.get_inputs()
        if i.name in graph.inputs
    }
    names = [o.name for o in session.get_outputs()]
    return dict(zip(names, (np.asarray(r) for r in session.run(None, feeds)), strict=True))


@pytest.mark.parametrize("name", ["cct-2-cifar", "mnist-cnn-pytorch", "resnet20-cifar10-int8-qdq"])
def test_models_optimised_by_onnxruntime_have_the_same_results(models, tmp_path, name):
    path = tmp_path / "optimised.onnx"
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(path)
    options.log_severity_level = 4
    onnxruntime.InferenceSession(models[name], options, providers=["CPUExecutionProvider"])
    graph, original = read_graph(path), read_graph(models[name])
    assert any(n.domain == "com.microsoft" for n in graph.nodes)
    assert [graph.values[n].shape for n in graph.outputs] == [
        original.values[n].shape for n in original.outputs
    ]
