"""Operators whose shapes onnx leaves open, gets wrong, or stops the process over."""

from __future__ import annotations

import pytest

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
