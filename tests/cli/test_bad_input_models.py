# ruff: noqa: E501 (messages stand in one piece)
"""Models that cannot be run: no model at all, a broken graph, dimensions that make no sense."""

from __future__ import annotations

import os
from pathlib import Path

import onnx

from tests.cli.bad_cases import RUN, Case, every, network, option, refused
from tests.cli.bad_files import CONV, edited, onnx_bytes, with_extents, with_external
from tests.cli.cli_process import npubench
from tests.cli.in_process import in_process

SEQ = "net (float[1, seq, 8] x) => (float[1, seq, 8] z) { z = Relu(x) }"
EXTERNAL_HINT = "  external data must lie in the folder of the model, at a relative path"
NEWEST = onnx.defs.onnx_opset_version()


def opset(version: int) -> bytes:
    return edited(lambda p: setattr(p.opset_import[0], "version", version))


FILES = (
    option(
        "near name",
        "run nte.onnx --hw edge8",
        "nte.onnx: no such file",
        "  did you mean 'net.onnx'?",
    ),
    Case("missing", RUN, ("net.onnx: no such file", "  there is no .onnx file in that folder")),
    Case(
        "missing folder",
        "run models/net.onnx --hw edge8",
        ("models/net.onnx: no such file: there is no folder 'models'",),
    ),
    Case(
        "wrong suffix",
        "run net.pb --hw edge8",
        ("unknown network 'net.pb'", "  to read the file of that name, write './net.pb'"),
        {"net.pb": onnx_bytes()},
    ),
    Case(
        "wrong suffix to check",
        "check net.pb",
        ("net.pb: neither a spec nor a network; known suffixes: .yaml, .yml, .onnx",),
        {"net.pb": onnx_bytes()},
    ),
    Case(
        "folder",
        RUN,
        ("net.onnx: this is a folder, not an ONNX file", "  there is no .onnx file in that folder"),
        {"net.onnx": None},
    ),
    Case(
        "folder with a model",
        "run models/ --hw edge8",
        ("models: this is a folder, not an ONNX file", "  known: net.onnx"),
        {"models/net.onnx": onnx_bytes()},
    ),
    network(
        "text",
        b"hello world, this is text\n",
        "net.onnx: this is a text file, not an ONNX model",
        "  a textual model is turned into a file with onnx.parser and onnx.save",
    ),
    network("empty", b"", "net.onnx: the file is empty"),
    network(
        "cut short",
        onnx_bytes()[:-40],
        "net.onnx: the file is cut short: it has 96 bytes and should go on to byte 130",
    ),
    network(
        "noise",
        bytes(range(128, 256)) * 4,
        "net.onnx: this is not an ONNX model, or a damaged one: it does not parse as a protobuf",
    ),
    network(
        "zip",
        b"PK\x03\x04" + bytes(100),
        "net.onnx: this is a zip archive or PyTorch checkpoint, not an ONNX model",
        "  export it with torch.onnx.export",
    ),
    network(
        "hdf5",
        b"\x89HDF\r\n\x1a\n" + bytes(100),
        "net.onnx: this is an HDF5 file (Keras), not an ONNX model",
        "  convert it with tf2onnx",
    ),
    network(
        "no graph",
        onnx.ModelProto(ir_version=8).SerializeToString() * 2,
        "net.onnx: this is not an ONNX model: it has no graph",
    ),
    network(
        "external data above",
        with_external("../secret.bin"),
        "net.onnx: tensor 'w' has external data outside the model's folder, at '../secret.bin'",
        EXTERNAL_HINT,
    ),
    network(
        "external data below and above",
        with_external("a/../../secret.bin"),
        "net.onnx: tensor 'w' has external data outside the model's folder, at 'a/../../secret.bin'",
        EXTERNAL_HINT,
    ),
    network(
        "external data absolute",
        with_external("/etc/passwd"),
        "net.onnx: tensor 'w' has external data at the absolute path '/etc/passwd'",
        EXTERNAL_HINT,
    ),
    network(
        "external data on a drive",
        with_external("C:\\w.bin"),
        "net.onnx: tensor 'w' has external data at the absolute path 'C:\\w.bin'",
        EXTERNAL_HINT,
    ),
)

GRAPHS = (
    network(
        "circle",
        onnx_bytes(
            "net (float[4] x) => (float[4] z) { a = Add(x, c) b = Relu(a) c = Neg(b) z = Relu(c) }"
        ),
        "net.onnx: the graph has a circle: node 'a' (Add) -> node 'b' (Relu) -> node 'c' (Neg) -> node 'a' (Add)",
    ),
    network(
        "undefined tensor",
        onnx_bytes("net (float[4] x) => (float[4] z) { z = Add(x, ghost) }"),
        "net.onnx: node 'z' (Add): operand 'ghost' is not made by any node, initialiser or input",
        "  known: x",
    ),
    network(
        "undefined output",
        edited(lambda p: p.graph.output.add(name="ghost")),
        "net.onnx: the graph's output 'ghost' is not made by any node, initialiser or input",
        "  known: w, x, y",
    ),
    network(
        "value made twice",
        onnx_bytes("net (float[4] x) => (float[4] z) { z = Relu(x) z = Neg(x) }"),
        "net.onnx: value 'z' is made twice: by node 'z' (Relu) and by node 'z' (Neg)",
    ),
    network(
        "input twice",
        edited(lambda p: p.graph.input.append(p.graph.input[0])),
        "net.onnx: input 'x' is listed twice",
    ),
    network(
        "no outputs",
        edited(lambda p: p.graph.ClearField("output")),
        "net.onnx: the graph has no outputs",
    ),
    network(
        "no work",
        onnx_bytes("net (float[4] x) => (float[4] x) { }"),
        "network 'net' does no work: nothing to time",
    ),
    network(
        "unknown domain",
        onnx_bytes(
            "net (float[4] x) => (float[N] z) { y = com.acme.Foo(x) z = Relu(y) }", com_acme=1
        ),
        "net.onnx: node 'y' (com.acme.Foo): no such operator is known in domain 'com.acme', and the file gives 'y' no shape",
        "  run shape inference where the operator is known and save the model with the shapes: it is then kept as an unknown layer",
    ),
    network(
        "misspelt operator",
        onnx_bytes("net (float[4] x) => (float[N] z) { y = Rleu(x) z = Neg(y) }"),
        "net.onnx: node 'y' (Rleu): no such operator is known in ONNX, and the file gives 'y' no shape",
        "  did you mean 'Relu'?",
    ),
    network(
        "channels that do not fit",
        onnx_bytes(CONV.replace("float[4, 3,", "float[4, 5,")),
        "net.onnx: node 'y' (Conv): its operands do not fit: data of 3 channels, a weight for 5 in 1 group(s)",
        "  operands: 'x' [1, 3, 8, 8], 'w' [4, 5, 3, 3]",
    ),
    network(
        "old opset",
        opset(6),
        f"net.onnx: the model uses ONNX opset 6; npubench reads 7 to {NEWEST}",
        "  convert it with onnx.version_converter",
    ),
    network(
        "new opset",
        opset(999),
        f"net.onnx: the model uses ONNX opset 999; the installed onnx knows 7 to {NEWEST}",
        "  a newer onnx package may read it",
    ),
    network(
        "no opset",
        edited(lambda p: p.ClearField("opset_import")),
        "net.onnx: the model does not say which ONNX opset it uses",
    ),
    network(
        "new IR",
        edited(lambda p: setattr(p, "ir_version", 99)),
        f"net.onnx: unknown ONNX IR version 99: the installed onnx reads 1 to {onnx.IR_VERSION}",
        "  a newer onnx package may read it",
    ),
    network(
        "kernel larger than the input",
        onnx_bytes(
            "net (float[1, 3, 2, 2] x) => (float[a, b, c, d] y) <float[4, 3, 3, 3] w> "
            "{ y = Conv(x, w) }"
        ),
        "net.onnx: node 'y' (Conv): its operands do not fit: a kernel of [3, 3] is larger than its padded input of [2, 2]",
        "  operands: 'x' [1, 3, 2, 2], 'w' [4, 3, 3, 3]",
    ),
    network(
        "control characters",
        edited(lambda p: p.graph.node[0].input.__setitem__(0, "\x1b[31mevil\x07")),
        "net.onnx: node 'y' (Conv): operand '\\x1b[31mevil\\x07' is not made by any node, initialiser or input",
        "  known: w, x",
    ),
    network(
        "line break in a name",
        edited(lambda p: p.graph.node[0].input.__setitem__(0, "x\ngate passed")),
        "net.onnx: node 'y' (Conv): operand 'x\\ngate passed' is not made by any node, initialiser or input",
        "  known: w, x",
    ),
)

DIMENSIONS = (
    network("missing", onnx_bytes(SEQ), "net.onnx: input 'x' is [1, seq, 8]: give --dim seq=N"),
    network(
        "unknown name",
        onnx_bytes(SEQ),
        "net.onnx: --dim sqe: no dimension of that name",
        "  did you mean 'seq'?",
        command=f"{RUN} --dim sqe=8",
    ),
    option(
        "all fixed",
        f"{RUN} --dim seq=8",
        "net.onnx: --dim seq: no dimension of that name",
        "  all dimensions of this model are fixed",
    ),
    option(
        "fixed place",
        f"{RUN} --dim x.0=8",
        "net.onnx: --dim x.0=8: input 'x' is [1, 3, 8, 8], its axis 0 is fixed at 1",
        "  a fixed leading batch is set with --batch",
    ),
    option(
        "a shipped network has none",
        "run resnet18 --hw edge8 --dim seq=8",
        "workloads/resnet18.onnx: --dim seq: no dimension of that name",
        "  all dimensions of this model are fixed",
    ),
    option("zero", f"{RUN} --dim seq=0", "--dim 'seq=0': expected a whole number from 1"),
    option("negative", f"{RUN} --dim seq=-8", "--dim 'seq=-8': expected a whole number from 1"),
    option(
        "beyond 64 bits",
        f"{RUN} --dim seq=9999999999999999999",
        "--dim 'seq=9999999999999999999': expected a whole number from 1",
    ),
    network(
        "huge",
        onnx_bytes(SEQ),
        "net.onnx: input 'x' is [1, 999999999999999999, 8]: more than 2^48 elements is taken as a mistake",
        command=f"{RUN} --dim seq=999999999999999999",
    ),
    network(
        "zero in the file",
        with_extents(1, 0, 8),
        "net.onnx: input 'x' is [1, 0, 8]: an extent is at least 1",
    ),
    network(
        "negative in the file",
        with_extents(1, -3, 8),
        "net.onnx: input 'x' is [1, -3, 8]: an extent is at least 1",
    ),
    network(
        "huge in the file",
        with_extents(1 << 40, 1 << 40),
        "net.onnx: input 'x' is [1099511627776, 1099511627776]: more than 2^48 elements is taken as a mistake",
    ),
    network(
        "no shape",
        edited(lambda p: p.graph.input[0].type.tensor_type.ClearField("shape")),
        "net.onnx: input 'x' has no shape in the file",
        "  export the model again with the shapes of its inputs",
    ),
    network(
        "products beyond 64 bits",
        onnx_bytes(
            "net (float[M, K] x) => (float[M, N] y) <float[16777216, 16777216] w> { y = MatMul(x, w) }"
        ),
        "'net' at batch 1 has 4.72e+21 MACs, more than 1.8e+16",
        "  look at --batch and --dim",
        command=f"{RUN} --dim M=16777216 --dim K=16777216",
    ),
)


@every(FILES)
def test_a_file_that_is_no_model(case: Case, tmp_path: Path, monkeypatch) -> None:
    refused(case, tmp_path, monkeypatch)


@every(GRAPHS)
def test_a_model_that_contradicts_itself(case: Case, tmp_path: Path, monkeypatch) -> None:
    refused(case, tmp_path, monkeypatch)


@every(DIMENSIONS)
def test_dimensions(case: Case, tmp_path: Path, monkeypatch) -> None:
    refused(case, tmp_path, monkeypatch)


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "net.onnx")
    done = npubench(*RUN.split(), cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "net.onnx: this is a device or a pipe, not a file\n"


def test_a_link_out_of_the_folder_is_not_followed(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "secret.bin").write_bytes(bytes(432))
    (tmp_path / "models" / "w.bin").symlink_to(tmp_path / "secret.bin")
    (tmp_path / "models" / "net.onnx").write_bytes(with_external("w.bin"))
    monkeypatch.chdir(tmp_path / "models")
    done = in_process(RUN.split())
    assert (done.code, done.stdout) == (2, "")
    assert done.stderr == (
        "net.onnx: tensor 'w' has external data at 'w.bin', a link out of the model's folder\n"
        f"{EXTERNAL_HINT}\n"
    )
