"""Attention in one operator: its parts answer as it does, and its products are quantised."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from npubench.accuracy.observe import observe
from npubench.accuracy.plan import prepare
from npubench.accuracy.rewrite import rewrite
from npubench.accuracy.runtime import Network
from tests.accuracy.models import MINMAX, opened, plan

BATCH, STEPS, WIDTH = 2, 5, 16
THREE = {"q_num_heads": 4, "kv_num_heads": 4}
GROUPED = {"q_num_heads": 4, "kv_num_heads": 2}


def attention(
    random: np.random.Generator, *, rank: int = 3, mask: bool = False, **more: object
) -> ModelProto:
    """Query, key and value are products of the input; attention follows, a product ends."""
    kv_width = WIDTH * int(more.get("kv_num_heads", 4)) // int(more.get("q_num_heads", 4))
    weights = {"wq": (WIDTH, WIDTH), "wk": (WIDTH, kv_width), "wv": (WIDTH, kv_width)}
    weights["wo"] = (WIDTH, WIDTH)
    arrays = {n: random.normal(0, 0.5, shape).astype(np.float32) for n, shape in weights.items()}
    arrays["mask"] = random.normal(size=(STEPS, STEPS)).astype(np.float32)
    arrays["heads"] = np.array([0, 0, 4, 4], np.int64)
    arrays["flat"] = np.array([0, 0, WIDTH], np.int64)
    nodes = [helper.make_node("MatMul", ["x", f"w{i}"], [i], name=i) for i in "qkv"]
    parts = list("qkv")
    if rank == 4:
        for part in "qkv":
            nodes.append(helper.make_node("Reshape", [part, "heads"], [f"{part}r"]))
            turned = helper.make_node("Transpose", [f"{part}r"], [f"{part}t"], perm=[0, 2, 1, 3])
            nodes.append(turned)
        parts = [f"{part}t" for part in "qkv"]
    inputs = [*parts, "mask"] if mask else parts
    nodes.append(helper.make_node("Attention", inputs, ["a"], name="att", **more))
    last = "a"
    if rank == 4:
        nodes.append(helper.make_node("Transpose", ["a"], ["at"], perm=[0, 2, 1, 3]))
        nodes.append(helper.make_node("Reshape", ["at", "flat"], ["ar"]))
        last = "ar"
    nodes.append(helper.make_node("MatMul", [last, "wo"], ["y"], name="out"))
    read = {name for node in nodes for name in node.input}
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [BATCH, STEPS, WIDTH])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(a, n) for n, a in arrays.items() if n in read],
    )
    return helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 23)])


@pytest.mark.parametrize(
    "more",
    [
        THREE,
        GROUPED,
        {**THREE, "is_causal": 1},
        {**THREE, "scale": 0.1, "softcap": 2.0},
        {**GROUPED, "mask": True},
        {"rank": 4},
        {"rank": 4, "mask": True, "is_causal": 1},
    ],
    ids=str,
)
def test_float_answers_are_those_of_the_operator(
    more: dict[str, object], random: np.random.Generator, tmp_path: Path
) -> None:
    proto = attention(random, **more)
    found, loaded = opened(tmp_path, proto)
    assert [s.layer for s in found.sites] == ["q", "k", "v", "att.scores", "att.context", "out"]
    assert len(loaded.network.mac_layers) == len(found.sites)
    assert "Attention" not in {node.op_type for node in found.proto.graph.node}
    x = random.normal(size=(BATCH, STEPS, WIDTH)).astype(np.float32)
    wanted = ort.InferenceSession(proto.SerializeToString()).run(["y"], {"x": x})[0]
    assert np.allclose(Network(found.proto).run(["y"], {"x": x})[0], wanted, atol=2e-5)


def test_noise_of_its_products_falls_with_their_width(
    random: np.random.Generator, tmp_path: Path
) -> None:
    found, _ = opened(tmp_path, attention(random, **THREE))
    x = random.normal(size=(BATCH, STEPS, WIDTH)).astype(np.float32)
    clean = Network(found.proto).run(["y"], {"x": x})[0]
    seen = observe(found, lambda: [{"x": x}], 1)
    noise = []
    for bits in (2, 4, 8, 12):
        prepared = prepare(found, plan(f"w{bits}a{bits}"), MINMAX, lambda: seen)
        assert sum(key.startswith("att.") for key in prepared.layout.activations) == 4
        feeds = {"x": x, **prepared.feeds}
        rough = Network(rewrite(found, prepared.layout)).run(["y"], feeds)[0]
        noise.append(float(np.mean((rough - clean) ** 2)))
    assert all(wide < narrow / 8 for narrow, wide in itertools.pairwise(noise))
