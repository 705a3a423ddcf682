"""Oracle: the table of shape arithmetic agrees with onnx's reference evaluator and with numpy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper

from npubench.frontend.fold import evaluate, fold
from tests.depth import examples

small = st.integers(-6, 6)


def reference(op: str, inputs: list[np.ndarray], opset: int = 17, **attributes: object):
    names = [f"i{i}" for i in range(len(inputs))]
    node = helper.make_node(op, names, ["o"], **attributes)
    return evaluate(node, opset, dict(zip(names, inputs, strict=True)), opset)


@settings(max_examples=examples(200), deadline=None, derandomize=True)
@given(
    extent=st.integers(1, 5),
    start=small,
    end=small,
    step=st.sampled_from([-3, -2, -1, 1, 2, 3]),
)
def test_slices(extent, start, end, step):
    data = np.arange(extent * 2).reshape(extent, 2)
    operands = [data, *(np.array([v]) for v in (start, end, 0, step))]
    ours = fold("Slice", 17, operands, {})
    theirs = reference("Slice", operands)
    assert ours is not None
    np.testing.assert_array_equal(ours[0], theirs[0])


@settings(max_examples=examples(100), deadline=None, derandomize=True)
@given(a=st.integers(-50, 50), b=st.integers(-7, 7).filter(bool), fmod=st.booleans())
def test_integer_division_and_remainder(a, b, fmod):
    operands = [np.array(a), np.array(b)]
    assert fold("Div", 17, operands, {})[0] == int(a / b)  # cut towards zero, as in C
    theirs = reference("Mod", operands, fmod=int(fmod))
    np.testing.assert_array_equal(fold("Mod", 17, operands, {"fmod": int(fmod)})[0], theirs[0])


@pytest.mark.parametrize("op", ["Div", "Mod"])
def test_nothing_is_divided_by_zero(op):
    assert fold(op, 17, [np.array(1), np.array(0)], {}) is None


@pytest.mark.parametrize(
    ("target", "attributes", "expected"),
    [([0, -1], {}, (2, 6)), ([-1], {}, (12,)), ([3, 2, 2], {}, (3, 2, 2))],
)
def test_reshape(target, attributes, expected):
    data = np.arange(12).reshape(2, 3, 2)
    assert fold("Reshape", 17, [data, np.array(target)], attributes)[0].shape == expected


def test_axes_come_as_attribute_or_operand():
    data = np.array([[3, 4]])
    for axes in ((0,), (-2,)):
        assert fold("Squeeze", 11, [data], {"axes": axes})[0].shape == (2,)
        assert fold("Squeeze", 13, [data, np.array(axes)], {})[0].shape == (2,)
        assert fold("ReduceProd", 13, [data], {"axes": axes, "keepdims": 0})[0].shape == (2,)
    assert fold("ReduceProd", 18, [data, np.array([1])], {})[0].tolist() == [[12]]
    assert fold("ReduceSum", 18, [data], {"noop_with_empty_axes": 1})[0].tolist() == [[3, 4]]


def test_old_slices_and_splits_have_attributes():
    data = np.arange(6)
    (sliced,) = fold("Slice", 9, [data], {"starts": (1,), "ends": (5,)})
    assert sliced.tolist() == [1, 2, 3, 4]
    first, second = fold("Split", 11, [data], {"axis": 0, "split": (2, 4)})
    assert (first.tolist(), second.tolist()) == ([0, 1], [2, 3, 4, 5])


def test_what_makes_no_sense_is_left_to_inference():
    assert fold("Reshape", 17, [np.arange(4), np.array([3])], {}) is None
    assert fold("Gather", 17, [np.arange(4), np.array([9])], {}) is None
    assert fold("Concat", 17, [np.arange(4), np.zeros((2, 2))], {"axis": 0}) is None
    assert fold("Split", 18, [np.arange(4)], {}) is None
    assert fold("ScatterND", 18, [np.arange(4)] * 3, {"reduction": "add"}) is None
    assert fold("Unsqueeze", 17, [np.arange(4)], {}) is None


def test_what_is_not_in_the_table_is_evaluated():
    assert fold("CumSum", 17, [np.arange(3), np.array(0)], {}) is None
    assert reference("CumSum", [np.arange(4), np.array(0)])[0].tolist() == [0, 1, 3, 6]
    assert reference("SequenceConstruct", [np.arange(3)]) is None
    assert reference("NoSuchOperator", [np.arange(3)]) is None
