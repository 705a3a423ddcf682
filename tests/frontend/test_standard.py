"""Operators whose shapes onnx leaves open, gets wrong, or stops the process over."""

from __future__ import annotations

import itertools

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper, numpy_helper
from onnxruntime.capi import onnxruntime_pybind11_state as ort

from npubench.errors import ModelError
from tests.frontend.onnx_text import read, refusal, shapes


@pytest.mark.parametrize(
    ("opset", "text", "expected"),
    [
        (12, "a, b = Split <axis = 0, split = [2, 5]> (x)", [(2, 3), (5, 3)]),
        (13, "p = Constant <value_ints = [2, 5]> () a, b = Split(x, p)", [(2, 3), (5, 3)]),
        (18, "a, b = Split <num_outputs = 2> (x)", [(4, 3), (3, 3)]),
        (18, "a, b = Split <num_outputs = 2, axis = -1> (x)", [(7, 2), (7, 1)]),
    ],
)
def test_splits(opset, text, expected):
    graph = read(f"g (float[7, 3] x) => (a, b) {{ {text} }}", opset=opset)
    assert list(shapes(graph).values()) == expected


def test_a_split_into_another_number_of_parts_is_refused():
    """onnx's own inference ends the process on this one."""
    text = "g (float[6] x) => (a) { a, b, c = Split <num_outputs = 2> (x) }"
    assert refusal(text, opset=18) == (
        "node 'a' (Split): its operands do not fit: it has 3 results and another number of parts\n"
        "  operands: 'x' [6]"
    )
    text = "g (float[6] x) => (a) { a, b = Split <split = [2, 5]> (x) }"
    assert refusal(text, opset=12) == (
        "node 'a' (Split): its operands do not fit: 2 parts of [2, 5] do not make up an axis of 6\n"
        "  operands: 'x' [6]"
    )


def test_a_range_with_bounds_in_vectors():
    graph = read(
        """g (float[4] x) => (y) <int64[1] a = {1}, int64[1] b = {8}, int64[1] s = {3}> {
             r = Range(a, b, s)
             y = Gather(x, r)
           }"""
    )
    assert shapes(graph) == {"y": (3,)}


def test_a_range_that_does_not_end_is_refused():
    text = """g (float[4] x) => (y) <int64 a = {1}, int64 s = {0}> {
        r = Range(a, a, s) y = Gather(x, r)
    }"""
    assert "its step or a bound is not a number that counts" in refusal(text)


def test_one_sided_spectra_have_half_the_bins_and_one():
    """1 + (128 - 16) / 8 frames of 16 / 2 + 1 bins."""
    text = """g (float[1, 128, 1] x) => (y) <int64 step = {{8}}, int64 size = {{16}}> {{
        y = STFT <onesided = {}> (x, step, , size)
    }}"""
    assert shapes(read(text.format(1))) == {"y": (1, 15, 9, 2)}
    assert shapes(read(text.format(0))) == {"y": (1, 15, 16, 2)}


def test_compress_keeps_what_a_constant_says():
    text = """g (float[3, 2] x) => (y) <bool[3] keep = {{1, 0, 1}}> {{
        y = Compress {} (x, keep)
    }}"""
    assert shapes(read(text.format("<axis = 0>"))) == {"y": (2, 2)}
    assert shapes(read(text.format(""))) == {"y": (2,)}


def test_group_normalisation_keeps_its_shape():
    text = """g (float[1, 4, 5] x) => (y) <float[4] s> {
        y = GroupNormalization <num_groups = 2> (x, s, s)
    }"""
    assert shapes(read(text, opset=21)) == {"y": (1, 4, 5)}


@pytest.mark.parametrize(
    ("equation", "a", "b"),
    [
        ("bhid,bhjd->bhij", (2, 1, 3, 4), (2, 6, 5, 4)),
        ("bhid,bhjd->bhij", (2, 6, 3, 4), (1, 1, 5, 4)),
        ("...id,...jd->...ij", (2, 1, 3, 4), (1, 6, 5, 4)),
        ("ij,jk", (3, 1), (4, 5)),
        ("ii,ij->ij", (4, 4), (1, 3)),
        ("ij,jk->ki", (3, 1), (1, 5)),
    ],
)
def test_einsum_repeats_axes_of_one_element(equation, a, b):
    """Oracle: onnxruntime, which differs from onnx's own inference here."""
    graph = helper.make_graph(
        [helper.make_node("Einsum", ["a", "b"], ["y"], equation=equation)],
        "g",
        [helper.make_tensor_value_info(n, 1, shape) for n, shape in (("a", a), ("b", b))],
        [helper.make_tensor_value_info("y", 1, None)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    feeds = {"a": np.ones(a, np.float32), "b": np.ones(b, np.float32)}
    (expected,) = onnxruntime.InferenceSession(model.SerializeToString()).run(None, feeds)
    assert shapes(read(model, weight_inputs=())) == {"y": expected.shape}


@pytest.mark.parametrize(
    ("equation", "reason"),
    [
        ("ij,jk->ik", "label 'j' stands for both 4 and 5 elements"),
        ("...,...->...", "label '...' stands for both 3 and 5 elements"),
        ("ij->ij", "equation 'ij->ij' is not one for 2 operand(s)"),
        ("i,jk->ik", "equation 'i,jk->ik': 'i' is not a tensor of 2 axes"),
        ("i.,jk->ik", "equation 'i.,jk->ik': 'i.' is not a tensor of 2 axes"),
        ("ij,kl->im", "equation 'ij,kl->im': the result 'im' cannot be made"),
    ],
)
def test_equations_that_do_not_fit(equation, reason):
    text = f"""g (float[3, 4] a, float[5, 6] b) => (y) {{
        y = Einsum <equation = "{equation}"> (a, b)
    }}"""
    assert refusal(text, weight_inputs=()) == (
        f"node 'y' (Einsum): its operands do not fit: {reason}\n  operands: 'a' [3, 4], 'b' [5, 6]"
    )


def _window(op: str, extent: int, kernel: int, **attributes: object) -> onnx.ModelProto:
    """A window over one axis."""
    held = [numpy_helper.from_array(np.ones((1, 1, kernel), np.float32), "w")]
    if op != "Conv":
        held, attributes = [], {**attributes, "kernel_shape": [kernel]}
    graph = helper.make_graph(
        [helper.make_node(op, ["x", *(t.name for t in held)], ["y"], **attributes)],
        "g",
        [helper.make_tensor_value_info("x", 1, [1, 1, extent])],
        [helper.make_tensor_value_info("y", 1, None)],
        held,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=8)


# Not pools with a stride: onnxruntime rounds their negative room towards 0, which makes a window.
@pytest.mark.parametrize(("op", "strides"), [("Conv", (1, 3)), ("AveragePool", (1,))])
def test_windows_fit_where_onnxruntime_finds_a_place_for_them(op, strides):
    """Every small case; onnxruntime refuses, or gives nothing, where the window is too large."""
    fitted = refused = 0
    for extent, kernel, pads, stride, dilation in itertools.product(
        (1, 2, 3), (1, 2, 3, 4), ([0, 0], [1, 0], [1, 1]), strides, (1, 2)
    ):
        if op == "AveragePool" and max(pads) >= kernel:
            continue  # onnxruntime wants more than padding under the window
        model = _window(op, extent, kernel, pads=pads, strides=[stride], dilations=[dilation])
        try:
            options = onnxruntime.SessionOptions()
            options.log_severity_level = 4
            session = onnxruntime.InferenceSession(model.SerializeToString(), options)
            feeds = {"x": np.ones((1, 1, extent), np.float32)}
            expected = session.run(None, feeds)[0].shape
        except (ort.Fail, ort.InvalidArgument):
            expected = (0,)
        if 0 in expected:
            refused += 1
            with pytest.raises(ModelError, match="is larger than its padded input of"):
                read(model, weight_inputs=())
        else:
            fitted += 1
            assert shapes(read(model, weight_inputs=())) == {"y": expected}
    assert min(fitted, refused) > 10


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        ("MaxPool <kernel_shape = [2, 3]> (x)", "a kernel of [2, 3] is"),
        ("LpPool <kernel_shape = [3, 2]> (x)", "a kernel of [3, 2] is"),
        ('AveragePool <kernel_shape = [3, 3], auto_pad = "VALID"> (x)', "a kernel of [3, 3] is"),
        (
            "MaxPool <kernel_shape = [2, 2], dilations = [2, 2]> (x)",
            "a kernel of [2, 2], dilated to [3, 3], is",
        ),
        # The last window may hang over the end by less than a step.
        ("MaxPool <kernel_shape = [4, 4], strides = [2, 2], ceil_mode = 1> (x)", "a kernel of [4"),
    ],
)
def test_pools_larger_than_their_input_are_refused(call, reason):
    message = refusal(f"g (float[1, 3, 2, 2] x) => (y) {{ y = {call} }}", opset=19)
    op = call.split()[0]
    assert message.startswith(f"node 'y' ({op}): its operands do not fit: {reason}")
    assert message.endswith("larger than its padded input of [2, 2]\n  operands: 'x' [1, 3, 2, 2]")


@pytest.mark.parametrize(
    "call",
    [
        "MaxPool <kernel_shape = [3, 3], strides = [2, 2], ceil_mode = 1> (x)",
        'AveragePool <kernel_shape = [3, 3], strides = [2, 2], auto_pad = "SAME_UPPER"> (x)',
        "MaxPool <kernel_shape = [3, 3], pads = [1, 0, 0, 1]> (x)",
    ],
)
def test_pools_that_just_fit(call):
    graph = read(f"g (float[1, 3, 2, 2] x) => (y) {{ y = {call} }}", opset=19)
    assert shapes(graph) == {"y": (1, 3, 1, 1)}


@pytest.mark.parametrize(
    "call",
    [
        "com.microsoft.FusedConv(x, w)",
        "com.microsoft.NhwcMaxPool <kernel_shape = [3, 3]> (q)",
        "ConvInteger(q, v)",
    ],
)
def test_contributed_and_integer_windows_are_checked_too(call):
    message = refusal(
        f"""g (float[1, 3, 2, 2] x, uint8[1, 3, 2, 2] q) => (y)
            <float[4, 3, 3, 3] w, int8[4, 3, 3, 3] v> {{ y = {call} }}""",
        domains={"com.microsoft": 1},
    )
    assert "node 'y' (" in message
    assert "a kernel of [3, 3] is larger than its padded input of [" in message
