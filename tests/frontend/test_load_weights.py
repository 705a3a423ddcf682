"""What is held, and in which format: initialisers, skeletons' inputs, quantised weights."""

from __future__ import annotations

import json

import pytest
from onnx import TensorProto

from npubench.frontend.lower import lower_graph
from tests.frontend.onnx_text import model, read, refusal

CHAIN = """g (float[1, 4] x) => (y) <{dtype}[4, 8] w, float s = {{0.1}}, {dtype} z = {{0}}> {{
    {steps}
    y = MatMul(x, f)
}}"""


def weight(graph, name="f"):
    value = graph.values[name]
    return value.shape, value.dtype.name, value.origin


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
def test_a_dequantised_weight_is_stored_as_its_integers(dtype):
    graph = read(CHAIN.format(dtype=dtype, steps="f = DequantizeLinear(w, s, z)"))
    assert weight(graph) == ((4, 8), dtype, "w")
    assert graph.weights == ("f",)
    assert [n.op for n in graph.nodes] == ["MatMul"]
    assert graph.values["y"].dtype.name == "fp32"


def test_a_weight_quantised_in_the_file_is_stored_as_its_integers():
    steps = "q = QuantizeLinear(v, s, z) f = DequantizeLinear(q, s, z)"
    text = CHAIN.format(dtype="int8", steps=steps).replace("<int8[4, 8] w", "<float[4, 8] v")
    assert weight(read(text)) == ((4, 8), "int8", "v")


def test_a_weight_clipped_to_few_bits_is_stored_in_them():
    steps = """low = Constant <value = int8 {-7}> ()
        high = Constant <value = int8 {7}> ()
        c = Clip(w, low, high)
        f = DequantizeLinear(c, s, z)"""
    assert weight(read(CHAIN.format(dtype="int8", steps=steps))) == ((4, 8), "int4", "w")


def test_dequantisation_written_out_keeps_the_integers():
    steps = """c = Cast <to = 1> (w)
        one = Constant <value_float = 1.0> ()
        d = Sub(c, one)
        f = Mul(d, s)"""
    assert weight(read(CHAIN.format(dtype="int8", steps=steps))) == ((4, 8), "int8", "w")


def test_movement_keeps_the_format():
    steps = """d = DequantizeLinear(w, s, z)
        t = Transpose(d)
        shape = Constant <value_ints = [4, 8]> ()
        f = Reshape(t, shape)"""
    assert weight(read(CHAIN.format(dtype="int8", steps=steps))) == ((4, 8), "int8", "w")


def test_four_bit_integers():
    proto = model(CHAIN.format(dtype="int8", steps="f = DequantizeLinear(w, s, z)"), opset=21)
    for tensor in proto.graph.initializer:
        if tensor.name in "wz":
            tensor.data_type = TensorProto.INT4
    assert weight(read(proto)) == ((4, 8), "int4", "w")


def test_a_table_used_twice_counts_once():
    graph = read(
        """g (int64[1, 4] ids) => (y) <float[100, 8] w> {
             e = Gather(w, ids)
             t = Transpose(w)
             y = MatMul(e, t)
           }"""
    )
    assert graph.weights == ("w", "t")
    assert {graph.values[n].origin or n for n in graph.weights} == {"w"}


def test_rows_gathered_by_constants_are_a_weight_of_the_table():
    graph = read(
        """g (float[3, 8] x) => (y) <float[100, 8] w, int64[3] at = {1, 5, 7}> {
             p = Gather(w, at)
             y = Add(x, p)
           }"""
    )
    assert weight(graph, "p") == ((3, 8), "fp32", "w")
    assert graph.values["w"].shape == (100, 8)


def test_constant_of_shape_is_a_weight():
    graph = read(
        """g (float[1, 4] x) => (y) <int64[2] s = {4, 5000}> {
             w = ConstantOfShape(s)
             y = MatMul(x, w)
           }"""
    )
    assert weight(graph, "w") == ((4, 5000), "fp32", "")
    assert graph.values["w"].data is None


def test_random_tensors_are_no_weights():
    graph = read("g (float[1, 4] x) => (y) { r = RandomNormal <shape = [1, 4]> () y = Add(x, r) }")
    assert [n.op for n in graph.nodes] == ["RandomNormal", "Add"]
    assert graph.weights == ()


QONNX = """g (float[1, 4] x) => (y) <float[4, 8] w, float s = {{0.1}}, float z = {{0}},
    float b = {{{bits}}}> {{
    f = {domain}.{op} <signed = {signed}> ({operands})
    y = MatMul(x, f)
}}"""


@pytest.mark.parametrize(
    ("op", "operands", "bits", "signed", "expected"),
    [
        ("Quant", "w, s, z, b", "3", 1, "int3"),
        ("Quant", "w, s, z, b", "3", 0, "uint3"),
        ("Quant", "w, s, z, b", "2.5", 1, "int3"),
        ("IntQuant", "w, s, z, b", "12", 1, "int12"),
        ("BipolarQuant", "w, s", "1", 1, "int1"),
    ],
)
@pytest.mark.parametrize("domain", ["onnx.brevitas", "qonnx.custom_op.general"])
def test_qonnx_weights_have_their_bit_width(op, operands, bits, signed, expected, domain):
    """No domain is imported here, as QONNX files leave it out."""
    text = QONNX.format(op=op, operands=operands, bits=bits, signed=signed, domain=domain)
    assert weight(read(text)) == ((4, 8), expected, "w")


def test_a_bit_width_out_of_range_is_refused():
    text = QONNX.format(
        op="Quant", operands="w, s, z, b", bits="65", signed=1, domain="onnx.brevitas"
    )
    assert refusal(text) == ("node 'f' (onnx.brevitas.Quant): a bit width of 65 is outside 1 to 64")


def test_quantised_activations_stay_nodes():
    graph = read(
        """g (float[1, 4] x) => (y) <float s = {0.1}, float z = {0}, float b = {4}> {
             y = onnx.brevitas.Quant(x, s, z, b)
           }"""
    )
    assert [n.qualified_op for n in graph.nodes] == ["onnx.brevitas.Quant"]
    assert graph.values["y"].dtype.name == "fp32"


SKELETON = """g (float[1, 4] x, float[4, 8] w, float[8] bias, float[1, 8] other) => (y) {
    t = MatMul(x, w)
    u = Add(t, bias)
    y = Mul(u, other)
}"""


def test_inputs_used_as_weights_only_are_taken_as_such_and_said():
    graph = read(SKELETON)
    assert graph.weights == ("w", "bias")
    assert graph.inputs == ("x", "other")
    assert graph.assumptions == (
        "2 inputs are used as weights only and taken as such: 'w', 'bias'",
    )


def test_the_callers_word_holds():
    assert read(SKELETON, weight_inputs=()).inputs == ("x", "w", "bias", "other")
    graph = read(SKELETON, weight_inputs=["other"])
    assert graph.weights == ("other",)
    assert graph.assumptions == ()


def test_the_files_word_holds():
    proto = model(SKELETON)
    proto.metadata_props.add(key="npubench.weight_inputs", value=json.dumps(["w"]))
    graph = read(proto)
    assert graph.weights == ("w",)
    assert graph.assumptions == ()


MIXED = """g (float[1, 4] x, float[4, 8] w, float[8] beta) => (y)
    <float[1, 8] mask = {1, 1, 1, 1, 0, 0, 0, 0}, float two = {2}> {
    t = MatMul(x, w)
    u = Mul(t, mask)
    shift = Mul(beta, mask)
    v = Add(u, shift)
    y = Mul(v, two)
}"""


@pytest.mark.parametrize(
    ("stated", "parameters"),
    # w and beta; w, the mask (the first of two origins as large) and two.
    [(["w", "beta"], 4 * 8 + 8), (["w"], 4 * 8), ([], 8 + 1), (None, 4 * 8 + 8 + 8 + 1)],
)
def test_a_skeletons_constants_are_no_parameters(stated, parameters):
    """A file that lists its weights has said what its parameters are."""
    graph = read(MIXED, weight_inputs=stated)
    assert lower_graph(graph).network.parameters == parameters


def test_a_folded_normalisation_leaves_its_shift_among_the_parameters():
    text = """g (float[1, 3, 8, 8] x, float[4, 3, 3, 3] w, float[4] s, float[4] b, float[4] m,
               float[4] v) => (y) { t = Conv(x, w) y = BatchNormalization(t, s, b, m, v) }"""
    graph = read(text, weight_inputs=["w", "s", "b", "m", "v"])
    assert lower_graph(graph).network.parameters == 4 * 3 * 3 * 3 + 4


@pytest.mark.parametrize("text", ["{}", "[1]", "w", "[" * 100_000])
def test_metadata_that_is_no_list(text):
    proto = model(SKELETON)
    proto.metadata_props.add(key="npubench.weight_inputs", value=text)
    assert refusal(proto) == ("metadata 'npubench.weight_inputs' is not a JSON list of input names")


def test_a_stated_weight_that_is_no_input():
    assert refusal(SKELETON, weight_inputs=["biass"]) == (
        "weight input 'biass' is no input\n  did you mean 'bias'?"
    )


@pytest.mark.parametrize(
    "text",
    [
        # the second operand has a batch: an activation
        "g (float[1, 4, 4] x, float[1, 4, 8] w) => (y) { y = MatMul(x, w) }",
        # used as data too
        "g (float[4, 4] x, float[4, 4] w) => (y) { t = MatMul(x, w) y = Add(t, w) }",
        # given back
        "g (float[4, 4] x, float[4, 4] w) => (y, w) { y = MatMul(x, w) }",
        # its extent is fed with it
        "g (float[4, 4] x, float[4, N] w) => (y) { y = MatMul(x, w) }",
        # a state
        "g (float[1, 1, 4] x, float[1, 1, 4] h) => (y) <float[1, 4, 4] w> "
        "{ y = RNN <hidden_size = 4> (x, w, w, , , h) }",
    ],
)
def test_inputs_that_may_be_activations_stay_inputs(text):
    graph = read(text, {"N": 4} if "N]" in text else {})
    assert len(graph.inputs) == 2
    assert graph.assumptions == ()


def test_inputs_in_the_module_tree_of_weights_are_weights():
    proto = model(
        """g (float[1, 3, 4] x, float[4, 4] w, float[1, 3, 4] p) => (y) {
             t = MatMul(x, w)
             y = Add(t, p)
           }"""
    )
    for info, name in zip(proto.graph.input, ("x", "net.fc.weight", "net.positions"), strict=True):
        info.name = name
    proto.graph.node[0].input[1] = "net.fc.weight"
    proto.graph.node[1].input[1] = "net.positions"
    assert read(proto).inputs == ("x",)
