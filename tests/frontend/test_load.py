"""Reading well- and ill-formed graphs: structure, shapes and whole messages."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from npubench.errors import ModelError
from npubench.frontend.load import read_graph_proto
from npubench.frontend.text import check_names
from npubench.ir import FORMATS
from tests.frontend.onnx_text import model, read, refusal, shapes


def test_a_plain_network_is_read_with_shapes_roles_and_versions():
    graph = read(
        """net (float[1, 3, 8, 8] x) => (y) <float[4, 3, 3, 3] w> {
             c = Conv <pads = [1, 1, 1, 1], strides = [2, 2]> (x, w)
             y = Relu(c)
           }"""
    )
    assert graph.name == "net"
    assert graph.inputs == ("x",)
    assert graph.outputs == ("y",)
    assert graph.weights == ("w",)
    assert [(n.name, n.op, n.inputs, n.outputs, n.version) for n in graph.nodes] == [
        ("c", "Conv", ("x", "w"), ("c",), 17),
        ("y", "Relu", ("c",), ("y",), 17),
    ]
    assert dict(graph.nodes[0].attributes) == {"pads": (1, 1, 1, 1), "strides": (2, 2)}
    assert {n: v.shape for n, v in graph.values.items()} == {
        "x": (1, 3, 8, 8),
        "w": (4, 3, 3, 3),
        "c": (1, 4, 4, 4),
        "y": (1, 4, 4, 4),
    }
    assert graph.values["w"].is_weight
    assert not graph.values["c"].is_weight


def test_nodes_out_of_order_are_sorted():
    graph = read("g (float[1, 4] x) => (y) { y = Neg(b) b = Abs(a) a = Relu(x) }")
    assert [n.name for n in graph.nodes] == ["a", "b", "y"]


def test_shape_arithmetic_is_folded_away():
    graph = read(
        """g (float[2, 3, 4, 5] x) => (y) <int64[1] last = {-1}> {
             s = Shape(x)
             one = Constant <value_ints = [1]> ()
             channels = Gather(s, one)
             flat = Concat <axis = 0> (channels, last)
             t = Transpose <perm = [1, 0, 2, 3]> (x)
             y = Reshape(t, flat)
           }"""
    )
    assert [n.op for n in graph.nodes] == ["Transpose", "Reshape"]
    assert shapes(graph) == {"y": (3, 40)}
    target = graph.values[graph.nodes[1].inputs[1]]
    assert target.is_weight
    np.testing.assert_array_equal(target.data, [3, -1])


def test_what_nothing_uses_is_left_out_and_said():
    graph = read("g (float[1, 4] x) => (y) { y = Relu(x) a = Neg(x) b = Abs(a) }")
    assert [n.name for n in graph.nodes] == ["y"]
    assert graph.assumptions == ("left out, since nothing uses their results: 2 ('a', 'b')",)


def test_an_unused_optional_result_is_dropped():
    graph = read("g (float[1, 4] x) => (y) { y, mask = Dropout(x) }", opset=9)
    assert graph.nodes[0].outputs == ("y",)
    assert "mask" not in graph.values


def test_unused_results_of_a_split_keep_their_place():
    graph = read("g (float[6, 4] x) => (b) { a, b, c = Split <axis = 0> (x) }", opset=12)
    assert graph.nodes[0].outputs == ("a", "b", "c")
    assert shapes(graph) == {"b": (2, 4)}


def test_unnamed_and_repeated_names_of_nodes_become_unique():
    proto = model("g (float[1, 4] x) => (y) { a = Relu(x) b = Relu(a) y = Relu(b) }")
    proto.graph.node[0].name = proto.graph.node[1].name = "same"
    assert [n.name for n in read(proto).nodes] == ["same", "same_2", "y"]


def test_old_files_list_their_weights_as_inputs_too():
    proto = model(
        "g (float[1, 4] x, float[4, 2] w) => (y) <float[4, 2] w> { y = MatMul(x, w) }", opset=8
    )
    proto.ir_version = 3
    graph = read(proto)
    assert graph.inputs == ("x",)
    assert graph.weights == ("w",)


def test_element_types_map_to_formats():
    expected = {
        TensorProto.FLOAT16: "fp16",
        TensorProto.BFLOAT16: "bf16",
        TensorProto.FLOAT8E4M3FN: "fp8e4m3",
        TensorProto.FLOAT8E5M2: "fp8e5m2",
        TensorProto.INT4: "int4",
        TensorProto.UINT4: "uint4",
        TensorProto.FLOAT4E2M1: "fp4e2m1",
        TensorProto.BOOL: "bool",
        TensorProto.STRING: "string",
    }
    for elem, name in expected.items():
        graph = helper.make_graph(
            [helper.make_node("Identity", ["x"], ["y"])],
            "g",
            [helper.make_tensor_value_info("x", elem, [2])],
            [helper.make_tensor_value_info("y", elem, [2])],
        )
        opsets = [helper.make_opsetid("", 25)]
        read_back = read(helper.make_model(graph, opset_imports=opsets))
        assert read_back.values["x"].dtype == FORMATS[name]


REFUSED = {
    "made twice": (
        "g (float[1, 4] x) => (y) { y = Relu(x) y = Neg(x) }",
        "value 'y' is made twice: by node 'y' (Relu) and by node 'y' (Neg)",
    ),
    "input made": (
        "g (float[1, 4] x) => (y) { x = Relu(x) y = Neg(x) }",
        "value 'x' is made twice: by node 'x' (Relu), and it is an input or initialiser of the "
        "same graph",
    ),
    "circle": (
        "g (float[1, 4] x) => (y) { a = Add(x, b) b = Neg(a) y = Neg(b) }",
        "the graph has a circle: node 'a' (Add) -> node 'b' (Neg) -> node 'a' (Add)",
    ),
    "own result": (
        "g (float[1, 4] x) => (y) { y = Add(x, y) }",
        "the graph has a circle: node 'y' (Add) -> node 'y' (Add)",
    ),
    "undefined": (
        "g (float[1, 4] hidden) => (y) { y = Add(hidden, hiden) }",
        "node 'y' (Add): operand 'hiden' is not made by any node, initialiser or input\n"
        "  did you mean 'hidden'?",
    ),
    "undefined output": (
        "g (float[1, 4] x) => (y) { z = Neg(x) }",
        "the graph's output 'y' is not made by any node, initialiser or input\n  known: x, z",
    ),
    "zero extent": (
        "g (float[1, 0] x) => (y) { y = Neg(x) }",
        "input 'x' is [1, 0]: an extent is at least 1",
    ),
    "huge input": (
        "g (float[1048576, 1048576, 1048576] x) => (y) { y = Neg(x) }",
        "input 'x' is [1048576, 1048576, 1048576]: more than 2^48 elements is taken as a mistake",
    ),
    "huge result": (
        "g (float[4] x) => (y) <int64[1] n = {1000000000000000}> { y = Tile(x, n) }",
        "result 'y' of node 'y' (Tile) is [4000000000000000]: more than 2^48 elements is taken "
        "as a mistake",
    ),
    "channels": (
        "g (float[1, 4, 8, 8] x) => (y) <float[8, 3, 3, 3] w> { y = Conv(x, w) }",
        "node 'y' (Conv): its operands do not fit: data of 4 channels, a weight for 3 in 1 "
        "group(s)\n  operands: 'x' [1, 4, 8, 8], 'w' [8, 3, 3, 3]",
    ),
    "matmul": (
        "g (float[1, 4] x) => (y) <float[5, 8] w> { y = MatMul(x, w) }",
        "node 'y' (MatMul): its operands do not fit: Incompatible dimensions for matrix "
        "multiplication\n  operands: 'x' [1, 4], 'w' [5, 8]",
    ),
    "shape as data": (
        "g (float[1, 4] x, int64[2] s) => (y) { y = Reshape(x, s) }",
        "node 'y' (Reshape): the shape of 'y' depends on values that are known only at run time, "
        "of 'x' or 's'\n  export the model with fixed shapes, or cut it before this node",
    ),
    "sequence": (
        "g (float[1, 4] x) => (y) { s = SequenceConstruct(x) y = ConcatFromSequence <axis = 0> "
        "(s) }",
        "node 's' (SequenceConstruct) gives a sequence or an optional value, npubench reads "
        "tensors only",
    ),
    "mistyped operator": (
        "g (float[1, 4] x) => (y) { y = Relo(x) }",
        "node 'y' (Relo): no such operator is known in ONNX, and the file gives 'y' no shape\n"
        "  did you mean 'Relu'?",
    ),
    "operator of a newer opset": (
        "g (float[1, 4] x) => (y) { y = Mish(x) }",
        "node 'y' (Mish): no such operator is known in ONNX, and the file gives 'y' no shape\n"
        "  the file is of opset 17; Mish came with 22",
    ),
    "training": (
        "g (float[1, 2, 4] x) => (y) <float[2] a> "
        "{ y, m, v = BatchNormalization <training_mode = 1> (x, a, a, a, a) }",
        "node 'y' (BatchNormalization) is in training mode\n"
        "  export the model for inference (in PyTorch, call model.eval() first)",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_ill_formed_graphs_are_refused(case):
    text, message = REFUSED[case]
    assert refusal(text) == message


def test_an_unknown_operator_of_another_domain_needs_shapes_from_the_file():
    text = "g (float[1, 4] x) => ({} y) {{ y = my.domain.Twist(x) }}"
    domains = {"my.domain": 1}
    assert refusal(text.format(""), domains=domains) == (
        "node 'y' (my.domain.Twist): no such operator is known in domain 'my.domain', and the file "
        "gives 'y' no shape\n  run shape inference where the operator is known and save the model "
        "with the shapes: it is then kept as an unknown layer"
    )
    graph = read(text.format("float[1, 7]"), domains=domains)
    assert graph.nodes[0].qualified_op == "my.domain.Twist"
    assert shapes(graph) == {"y": (1, 7)}


def test_the_files_own_shapes_follow_the_dimensions_given():
    text = "g (float[N, seq] x) => (float[N, seq] y) { y = my.domain.Twist(x) }"
    assert shapes(read(text, {"seq": 5}, domains={"my.domain": 1})) == {"y": (1, 5)}


def test_stale_shapes_in_the_file_do_not_matter():
    graph = read("g (float[1, 4] x) => (float[9, 9] y) { y = Relu(x) }")
    assert shapes(graph) == {"y": (1, 4)}


def _identity(opset: int = 17, ir_version: int = 8) -> onnx.ModelProto:
    proto = model("g (float[1, 4] x) => (y) { y = Relu(x) }", opset)
    proto.ir_version = ir_version
    return proto


def test_versions():
    newest = onnx.defs.onnx_opset_version()
    for opset in range(7, newest + 1):
        assert shapes(read(_identity(opset))) == {"y": (1, 4)}
    assert refusal(_identity(6)) == (
        f"the model uses ONNX opset 6; npubench reads 7 to {newest}\n"
        "  convert it with onnx.version_converter"
    )
    assert refusal(_identity(newest + 1)) == (
        f"the model uses ONNX opset {newest + 1}; the installed onnx knows 7 to {newest}\n"
        "  a newer onnx package may read it"
    )
    assert refusal(_identity(ir_version=0)) == (
        f"unknown ONNX IR version 0: the installed onnx reads 1 to {onnx.IR_VERSION}"
    )
    assert refusal(_identity(ir_version=999)) == (
        f"unknown ONNX IR version 999: the installed onnx reads 1 to {onnx.IR_VERSION}\n"
        "  a newer onnx package may read it"
    )
    proto = _identity()
    del proto.opset_import[:]
    assert refusal(proto) == "the model does not say which ONNX opset it uses"


def test_a_graph_without_outputs_is_refused():
    proto = _identity()
    del proto.graph.output[:]
    assert refusal(proto) == "the graph has no outputs"


def test_an_input_listed_twice_is_refused():
    proto = _identity()
    proto.graph.input.append(proto.graph.input[0])
    assert refusal(proto) == "input 'x' is listed twice"


@pytest.mark.parametrize(
    ("elem", "message"),
    [
        (TensorProto.COMPLEX64, "input 'x' holds complex numbers, which npubench does not model"),
        (0, "input 'x' has no element type"),
        (99, "input 'x' has element type number 99, which ONNX does not define"),
    ],
)
def test_element_types_without_a_format_are_refused(elem, message):
    proto = _identity()
    proto.graph.input[0].type.tensor_type.elem_type = elem
    assert refusal(proto) == message


def test_a_negative_extent_is_refused():
    proto = model("g (float[1, 4] x) => (y) <float[4] w> { y = Add(x, w) }")
    proto.graph.initializer[0].dims[0] = -4
    assert refusal(proto) == "tensor 'w' has a negative extent: [-4]"


def test_a_constant_whose_elements_do_not_fit_its_shape_is_refused():
    proto = model("g (float[1, 4] x) => (y) <int64[2] s = {2, 2}> { y = Reshape(x, s) }")
    proto.graph.initializer[0].dims[0] = 3
    assert refusal(proto) == "tensor 's' is damaged: its elements do not fit [3]"


def test_a_small_constant_that_was_stripped_is_named_when_it_is_needed():
    proto = model("g (float[1, 4] x) => (y) <int64[2] s> { y = Reshape(x, s) }")
    assert refusal(proto) == (
        "node 'y' (Reshape): the shape of 'y' needs the values of 's': its elements are not in "
        "the file"
    )


def test_names_that_are_not_text_are_refused():
    raw = _identity().SerializeToString().replace(b"Relu", b"Re\xff\xfe")
    damaged = onnx.ModelProto()
    damaged.ParseFromString(raw)
    with pytest.raises(ModelError, match=r"^the model is damaged: "):
        check_names(damaged)


def test_the_model_in_memory_is_left_unchanged():
    proto = model("g (float[1, 4] x) => (y) <float[4, 2] w> { y = MatMul(x, w) }")
    before = proto.SerializeToString()
    read_graph_proto(proto)
    assert proto.SerializeToString() == before


def test_sparse_weights_have_their_dense_shape():
    proto = model("g (float[1, 4] x) => (y) <float[4, 2] w> { y = MatMul(x, w) }")
    del proto.graph.initializer[:]
    values = helper.make_tensor("w", TensorProto.FLOAT, [2], [1.0, 2.0])
    indices = helper.make_tensor("", TensorProto.INT64, [2], [0, 5])
    proto.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [4, 2]))
    graph = read(proto)
    assert graph.weights == ("w",)
    assert graph.values["w"].shape == (4, 2)


def test_a_body_where_none_is_known_is_refused():
    proto = model("g (float[1, 4] x) => (float[1, 4] y) { y = my.domain.Twist(x) }")
    proto.graph.node[0].attribute.append(helper.make_attribute("body", _identity().graph))
    assert refusal(proto) == (
        "node 'y' (my.domain.Twist) carries a graph that npubench does not know how to run"
    )


def test_boxes_kept_by_suppression_are_bounded_and_said():
    graph = read(
        """g (float[1, 50, 4] boxes, float[1, 3, 50] scores) => (y) <int64[1] most = {10}> {
             y = NonMaxSuppression(boxes, scores, most)
           }"""
    )
    assert shapes(graph) == {"y": (30, 3)}
    assert graph.assumptions == ("NonMaxSuppression 'y' taken as keeping all it may: [30, 3]",)
