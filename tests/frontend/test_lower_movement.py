"""Movement: which elements move, and what is only a view."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper

from npubench.ir import MoveLayer
from tests.frontend.lower_models import lower, make_model, moves, run, single, values, vectors

X = values(2, 12, 1, 6)
SIZE = 144
INDEX = np.array([0, 2, 2])

# op, operands after the data, attributes, elements moved (None: all of the result)
CASES = [
    ("Reshape", [np.array([2, -1])], {}, 0),
    ("Flatten", [], {}, 0),
    ("Squeeze", [np.array([2])], {}, 0),
    ("Unsqueeze", [np.array([0])], {}, 0),
    ("Identity", [], {}, 0),
    ("Dropout", [], {}, 0),
    ("Transpose", [], {"perm": [0, 2, 1, 3]}, 0),
    ("Transpose", [], {"perm": [1, 0, 2, 3]}, None),
    ("Transpose", [], {}, None),
    ("Slice", [np.array([1]), np.array([5]), np.array([1])], {}, None),
    ("Slice", [np.array([0]), np.array([12]), np.array([1])], {}, 0),
    ("Slice", [np.array([-1]), np.array([-99]), np.array([1]), np.array([-1])], {}, None),
    ("Pad", [np.array([0, 0, 1, 1, 0, 0, 1, 1])], {}, None),
    ("Pad", [np.array([0] * 8)], {}, 0),
    ("Expand", [np.array([3, 1, 1, 1, 1])], {}, None),
    ("Tile", [np.array([1, 2, 1, 1])], {}, None),
    ("Gather", [INDEX], {"axis": 1}, None),
    ("DepthToSpace", [], {"blocksize": 2}, None),
]


@pytest.mark.parametrize("case", CASES, ids=[f"{c[0]}-{i}" for i, c in enumerate(CASES)])
def test_moved_elements(case: tuple) -> None:
    op, extra, attributes, elements = case
    operands = [("x", X), *((f"c{i}", array) for i, array in enumerate(extra))]
    model, fed = single(op, operands, [n for n, _ in operands[1:]], **attributes)
    (expected,) = run(model, fed)
    network = lower(model).network
    (layer,) = network.layers
    assert isinstance(layer, MoveLayer)
    assert network.tensors["y"].shape == expected.shape
    assert layer.elements == (expected.size if elements is None else elements)
    # Operands that only steer are no data and no parameters.
    assert network.parameters == (INDEX.size if op == "Gather" else 0)


def test_concat_and_split_move_their_results() -> None:
    nodes = [
        helper.make_node("Split", ["x"], ["a", "b"], axis=1, num_outputs=2),
        helper.make_node("Concat", ["b", "a"], ["y"], axis=1),
    ]
    network = lower(make_model(nodes, {"x": X}, {}, ["y"])).network
    assert [layer.elements for layer in moves(network)] == [SIZE, SIZE]


def test_scatter_copies_and_writes() -> None:
    operands = [("x", X), ("i", np.array([[0], [1]])), ("u", values(2, 12, 1, 6))]
    model, _ = single("ScatterND", operands)
    (layer,) = moves(lower(model).network)
    assert layer.elements == 2 * SIZE
    added, _ = single("ScatterND", operands, reduction="add")
    network = lower(added).network
    assert [layer.elements for layer in moves(network)] == [SIZE]
    assert [layer.alu_ops for layer in vectors(network)] == [SIZE]


def test_dropout_in_training_works() -> None:
    operands = [("x", X), ("ratio", np.array(0.5, np.float32)), ("train", np.ones((), np.bool_))]
    model, _ = single("Dropout", operands, held=["ratio", "train"])
    (layer,) = vectors(lower(model).network)
    assert layer.alu_ops == 4 * SIZE
    assert layer.approximation == "random numbers by a linear generator"


def test_computed_steering_operands_keep_their_edge() -> None:
    """Where a Slice starts may be computed; the layer that computes it is still needed."""
    nodes = [
        helper.make_node("ReduceMax", ["lengths"], ["start"], keepdims=1),
        helper.make_node("Slice", ["x", "start", "end"], ["y"]),
    ]
    fed = {"x": X, "lengths": np.array([1])}
    model = make_model(nodes, fed, {"end": np.array([2])}, ["y"])
    model.graph.output[0].CopyFrom(
        helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 12, 1, 6])
    )
    network = lower(model).network
    assert [edge.tensor for edge in network.edges] == ["start"]


def test_views_share_storage() -> None:
    nodes = [
        helper.make_node("Reshape", ["x", "shape"], ["flat"]),
        helper.make_node("Relu", ["flat"], ["y"]),
    ]
    network = lower(make_model(nodes, {"x": X}, {"shape": np.array([2, 72])}, ["y"])).network
    assert network.peak_activations.bits == 2 * SIZE * 32
