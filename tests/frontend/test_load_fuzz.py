"""Damaged files: nothing but an error of npubench's own escapes."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from npubench.errors import ModelError
from npubench.frontend.load import read_graph
from tests.depth import examples
from tests.frontend.onnx_text import model

SEEDS = [
    model(text, domains={"onnx.brevitas": 1}).SerializeToString()
    for text in (
        """g (float[1, 3, 8, 8] x) => (y) <float[4, 3, 3, 3] w, int64[1] last = {-1}> {
             c = Conv <pads = [1, 1, 1, 1]> (x, w)
             s = Shape(c)
             one = Constant <value_ints = [1]> ()
             k = Gather(s, one)
             t = Concat <axis = 0> (k, last)
             y = Reshape(c, t)
           }""",
        """g (float[4] x, bool c) => (y) <int64 n = {5}, bool yes = {1}> {
             l = Loop (n, yes, x) <body = b (int64 i, bool go, float[4] v) => (on, next) {
                 on = Identity(go)
                 next = Add(v, x)
             }>
             y = If (c) <then_branch = t () => (q) { q = Relu(l) },
                         else_branch = e () => (q) { q = Neg(l) }>
           }""",
        """g (float[3, 4] xs, float[4] s) => (y) <float[4, 8] w, float a = {0.5}, float b = {4}> {
             last, rows = Scan <num_scan_inputs = 1,
                 body = b (float[4] st, float[4] x) => (o, z) { o = Add(st, x) z = Neg(o) }> (s, xs)
             q = onnx.brevitas.Quant(w, a, a, b)
             y = MatMul(rows, q)
           }""",
    )
]
EDITS = st.lists(
    st.tuples(st.sampled_from(["set", "drop", "put"]), st.integers(0, 5_000), st.integers(0, 255)),
    min_size=1,
    max_size=6,
)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz") / "net.onnx"


@settings(
    max_examples=examples(400),
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(seed=st.sampled_from(SEEDS), edits=EDITS)
def test_edited_bytes(path, seed, edits):
    raw = bytearray(seed)
    for kind, place, byte in edits:
        place %= len(raw) or 1
        if kind == "set" and raw:
            raw[place] = byte
        elif kind == "drop":
            del raw[place : place + 1 + byte % 4]
        else:
            raw.insert(place, byte)
    path.write_bytes(raw)
    with contextlib.suppress(ModelError):
        read_graph(path)


@settings(max_examples=examples(100), deadline=None, derandomize=True)
@given(raw=st.binary(max_size=200))
def test_any_bytes(path, raw):
    path.write_bytes(raw)
    with contextlib.suppress(ModelError):
        read_graph(path)


def test_every_truncation(path):
    for seed in SEEDS:
        for size in range(0, len(seed), 3):
            path.write_bytes(seed[:size])
            with contextlib.suppress(ModelError):
                read_graph(path)
