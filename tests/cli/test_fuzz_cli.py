"""Whatever a file or an argument holds, there is an answer: no traceback, a code of 0 to 2."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.cli.bad_files import EDGE8, onnx_bytes
from tests.cli.in_process import in_process
from tests.depth import examples

MODEL = onnx_bytes(
    "net (float[N, 3, 8, 8] x) => (float[N, 4] z) <float[4, 3, 3, 3] w, float[4, 4] v> {"
    " a = Conv<strides=[1, 1]>(x, w) b = Relu(a) c = GlobalAveragePool(b) d = Flatten(c)"
    " e = Gemm<transB=1>(d, v) z = Softmax(e) }"
)
SPEC = EDGE8.encode()
PIECES = st.sampled_from(
    [
        *(
            b"",
            b" ",
            b"\n",
            b"\n  ",
            b": ",
            b"- ",
            b"{",
            b"}",
            b"[",
            b"]",
            b"#",
            b'"',
            b"&a ",
            b"*a",
        ),
        *(b"0", b"-1", b"1e999", b"nan", b"1..2", b"3 pJ", b"9" * 25, b"1 bit", b"~", b"true"),
        *(b"int8", b"bf16", b"output", b"unrolled", b"0.5", b"1e18", b"1e-18", b"\xff", b"\x00"),
    ]
)
TEXT_EDITS = st.lists(
    st.tuples(st.integers(0, len(SPEC)), st.integers(0, 12), PIECES), min_size=1, max_size=4
)
BYTE_EDITS = st.lists(
    st.tuples(
        st.integers(0, len(MODEL)),
        st.integers(0, 4),
        st.one_of(
            st.binary(max_size=3), st.sampled_from([b"\xff" * 9 + b"\x01", b"\x00", b"\x80"])
        ),
    ),
    min_size=1,
    max_size=4,
)
ARGUMENTS = st.lists(
    st.one_of(
        st.sampled_from(
            [
                *(
                    "run",
                    "compare",
                    "sweep",
                    "show",
                    "check",
                    "list",
                    "digits_cnn",
                    "--hw",
                    "edge8",
                ),
                *(
                    "--axis",
                    "batch=1,2",
                    "clock=0:1:0.1GHz",
                    "--batch",
                    "2",
                    "-1",
                    "--set",
                    "--knob",
                ),
                *("clock=1GHz", "array.rows=8", "--precision", "w4a4", "--dim", "N=2", "--format"),
                *("json", "csv", "--fail-if", "edp > 0", "--max-unknown", "0", "--dry-run", "-q"),
                *("--baseline", "edge8:clock=0.5GHz", "tpuv4i", "hw", "workloads", "--layers"),
            ]
        ),
        st.text(st.characters(exclude_categories=["Cs"]), max_size=12),
    ),
    max_size=8,
)
CHECKS = settings(
    deadline=None,
    derandomize=True,  # a suite that fails today fails tomorrow
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def edit(content: bytes, edits: list[tuple[int, int, bytes]]) -> bytes:
    for start, length, piece in edits:
        content = content[:start] + piece + content[start + length :]
    return content


def answers(*arguments: str) -> None:
    done = in_process(arguments)
    assert done.code in (0, 1, 2), done.stderr
    assert "Traceback" not in done.stderr
    assert "this is a bug" not in done.stderr
    assert done.code == 0 or done.stderr


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in os.environ:
        if name.startswith("NPUBENCH_"):
            monkeypatch.delenv(name)


@given(st.binary(max_size=300))
@settings(CHECKS, max_examples=examples(60))
def test_noise_for_a_model(content: bytes) -> None:
    Path("net.onnx").write_bytes(content)
    answers("run", "net.onnx", "--hw", "edge8")


@given(BYTE_EDITS)
@settings(CHECKS, max_examples=examples(150))
def test_a_damaged_model(edits: list[tuple[int, int, bytes]]) -> None:
    Path("net.onnx").write_bytes(edit(MODEL, edits))
    answers("run", "net.onnx", "--hw", "edge8", "--layers")


@given(st.integers(0, len(MODEL)))
@settings(CHECKS, max_examples=examples(60))
def test_a_model_cut_short(size: int) -> None:
    Path("net.onnx").write_bytes(MODEL[:size])
    answers("show", "net.onnx", "--workload")


@given(
    st.one_of(
        st.binary(max_size=200),
        st.text(st.characters(exclude_categories=["Cs"]), max_size=200).map(str.encode),
    )
)
@settings(CHECKS, max_examples=examples(60))
def test_noise_for_a_spec(content: bytes) -> None:
    Path("npu.yaml").write_bytes(content)
    answers("run", "digits_cnn", "--hw", "npu.yaml")


@given(TEXT_EDITS)
@settings(CHECKS, max_examples=examples(120))
def test_a_damaged_spec(edits: list[tuple[int, int, bytes]]) -> None:
    Path("npu.yaml").write_bytes(edit(SPEC, edits))
    answers("run", "digits_cnn", "--hw", "npu.yaml")


@given(ARGUMENTS)
@settings(CHECKS, max_examples=examples(150))
def test_any_arguments(arguments: list[str]) -> None:
    answers(*arguments)
