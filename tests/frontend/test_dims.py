"""Symbolic dimensions: what is given, what is assumed, what is asked."""

from __future__ import annotations

import onnx
import pytest
from onnx import TensorProto, helper

from npubench.errors import ModelError
from npubench.frontend.dims import Dims
from tests.frontend.onnx_text import read, refusal


def net(**inputs: list[int | str | None] | None) -> onnx.ModelProto:
    """A model with these inputs, each with a Relu behind it."""
    graph = helper.make_graph(
        [helper.make_node("Relu", [name], [f"{name}_out"]) for name in inputs],
        "net",
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in inputs.items()],
        [helper.make_tensor_value_info(f"{n}_out", TensorProto.FLOAT, None) for n in inputs],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.parametrize(
    "name",
    ["batch", "batch_size", "N", "n", "B", "bs", "None", "?", "unknown", "unk__12", "mybatch"],
)
def test_a_leading_batch_is_taken_as_one_and_said(name):
    graph = read(net(x=[name, 3]))
    assert graph.values["x"].shape == (1, 3)
    assert graph.assumptions == (f"batch dimension '{name}' taken as 1",)


def test_an_unnamed_leading_dimension_is_a_batch():
    graph = read(net(x=[None, 3]))
    assert graph.values["x"].shape == (1, 3)
    assert graph.assumptions == ("batch dimension of 'x' taken as 1",)


def test_a_batch_of_one_input_holds_for_the_others():
    graph = read(net(x=["N", 3], state=[2, "N", 8]))
    assert graph.values["state"].shape == (2, 1, 8)
    assert graph.assumptions == ("batch dimension 'N' taken as 1",)


def test_a_batch_that_is_given_is_not_assumed():
    graph = read(net(x=["N", 3]), {"N": 4})
    assert graph.values["x"].shape == (4, 3)
    assert graph.assumptions == ()


def test_dimensions_by_symbol_and_by_place():
    graph = read(net(x=["N", "seq", None]), {"seq": 5, "x.2": 7, "x.0": 2})
    assert graph.values["x"].shape == (2, 5, 7)


def test_sums_of_symbols_are_worked_out():
    proto = net(x=["N", "past + seq"], y=["N", "2*(seq-1)//2"])
    graph = read(proto, {"past": 3, "seq": 5})
    assert graph.values["x"].shape == (1, 8)
    assert graph.values["y"].shape == (1, 4)


REFUSED = {
    "one question for all": (
        {"ids": ["batch", "seq"], "mask": ["batch", "seq", "heads"]},
        {},
        "input 'ids' is [batch, seq], input 'mask' is [batch, seq, heads]: "
        "give --dim seq=N --dim heads=N",
    ),
    "unnamed": ({"x": [1, None, 3]}, {}, "input 'x' is [1, ?, 3]: give --dim x.1=N"),
    "parts of a sum": (
        {"x": ["N", "past + seq"]},
        {"past": 2},
        "input 'x' is [N, past + seq]: give --dim seq=N",
    ),
    "not a sum": (
        {"x": ["N", "some dim"]},
        {},
        "input 'x' is [N, some dim]: give --dim some dim=N",
    ),
    "mistyped": (
        {"x": ["N", "seq_len"]},
        {"seq_ln": 2},
        "--dim seq_ln: no dimension of that name\n  did you mean 'seq_len'?",
    ),
    "all fixed": (
        {"x": [1, 4]},
        {"seq": 2},
        "--dim seq: no dimension of that name\n  all dimensions of this model are fixed",
    ),
    "fixed batch": (
        {"x": [1, 4]},
        {"x.0": 2},
        "--dim x.0=2: input 'x' is [1, 4], its axis 0 is fixed at 1\n"
        "  a fixed leading batch is set with --batch",
    ),
    "fixed axis": (
        {"x": [1, 4]},
        {"x.1": 2},
        "--dim x.1=2: input 'x' is [1, 4], its axis 1 is fixed at 4",
    ),
    "zero": ({"x": ["N", 4]}, {"N": 0}, "--dim N=0: a dimension is at least 1"),
    "negative result": (
        {"x": ["N", "a - b"]},
        {"a": 1, "b": 2},
        "input 'x' is [1, -1]: an extent is at least 1",
    ),
    "no shape": (
        {"x": None},
        {},
        "input 'x' has no shape in the file\n"
        "  export the model again with the shapes of its inputs",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_questions_and_refusals(case):
    inputs, dims, message = REFUSED[case]
    assert refusal(net(**inputs), dims) == message


def test_inputs_that_are_no_tensors():
    proto = net(x=[1])
    proto.graph.input[0].type.CopyFrom(
        helper.make_sequence_type_proto(helper.make_tensor_type_proto(TensorProto.FLOAT, [1]))
    )
    assert refusal(proto) == "input 'x' is no tensor (sequence), npubench reads tensors only"


@pytest.mark.parametrize("text", ["__import__('os')", "a.b", "a if b else c", "9**9**9", "(" * 190])
def test_nothing_but_arithmetic_is_worked_out(text):
    assert Dims({"a": 1, "b": 1, "c": 1}).value(text) is None


def test_division_by_zero_is_no_value():
    assert Dims({"a": 1, "b": 1}).value("a // (b - 1)") is None


def test_values_must_be_positive():
    with pytest.raises(ModelError, match=r"^--dim seq=-1: a dimension is at least 1$"):
        Dims({"seq": -1})
