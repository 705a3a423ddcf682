"""Files that are no ONNX models, and external data: whole messages."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper

from npubench.errors import ModelError
from npubench.frontend.load import read_graph
from tests.frontend.onnx_text import model

RELU = "g (float[1, 4] x) => (y) { y = Relu(x) }"


def save(path: Path, proto: onnx.ModelProto) -> Path:
    path.write_bytes(proto.SerializeToString())
    return path


def refusal(path: Path) -> str:
    """The message, without the file's name that must stand before it."""
    with pytest.raises(ModelError) as caught:
        read_graph(path)
    (problem,) = caught.value.problems
    assert problem.file == str(path)
    return str(caught.value).removeprefix(f"{path}: ")


def test_a_file_gives_its_hash_and_its_stem_as_name(tmp_path):
    proto = model(RELU)
    proto.graph.name = ""
    path = save(tmp_path / "tiny.onnx", proto)
    graph = read_graph(path)
    assert graph.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert graph.name == "tiny"


def test_missing_files(tmp_path):
    assert refusal(tmp_path / "net.onnx") == (
        "no such file\n  there is no .onnx file in that folder"
    )
    save(tmp_path / "resnet50.onnx", model(RELU))
    assert refusal(tmp_path / "resnet5.onnx") == "no such file\n  did you mean 'resnet50.onnx'?"
    assert refusal(tmp_path / "no" / "net.onnx") == (
        f"no such file: there is no folder '{tmp_path / 'no'}'"
    )


def test_a_folder(tmp_path):
    save(tmp_path / "a.onnx", model(RELU))
    assert refusal(tmp_path) == "this is a folder, not an ONNX file\n  known: a.onnx"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (
            b"<ir_version: 8>\nagraph (float x) => (float y) {}\n",
            "this is a text file, not an ONNX model\n"
            "  a textual model is turned into a file with onnx.parser and onnx.save",
        ),
        (
            b'{"model": []}',
            "this is a text file, not an ONNX model\n"
            "  a textual model is turned into a file with onnx.parser and onnx.save",
        ),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n",
            "this is a Git LFS pointer, not an ONNX model\n  run 'git lfs pull'",
        ),
        (
            b"PK\x03\x04" + bytes(40),
            "this is a zip archive or PyTorch checkpoint, not an ONNX model\n"
            "  export it with torch.onnx.export",
        ),
        (
            b"\x1c\0\0\0TFL3" + bytes(40),
            "this is a TensorFlow Lite model, not an ONNX model\n"
            "  convert it with tf2onnx --tflite",
        ),
        (
            b"\xff" * 64,
            "this is not an ONNX model, or a damaged one: it does not parse as a protobuf",
        ),
        (b"\x08\x08", "this is not an ONNX model: it has no graph"),
    ],
)
def test_other_files(tmp_path, content, message):
    path = tmp_path / "net.onnx"
    path.write_bytes(content)
    assert refusal(path) == message


def test_a_file_cut_short(tmp_path):
    proto = model("g (float[1, 4] x) => (y) <float[4, 64] w> { y = MatMul(x, w) }")
    proto.graph.initializer[0].raw_data = bytes(1024)
    whole = proto.SerializeToString()
    path = tmp_path / "net.onnx"
    path.write_bytes(whole[: len(whole) // 2])
    length = len(whole) - (2 + len(proto.opset_import[0].SerializeToString()))
    assert refusal(path) == (
        f"the file is cut short: it has {len(whole) // 2} bytes and should go on to byte {length}"
    )


def test_a_file_beyond_the_limit_of_protobuf(tmp_path):
    path = tmp_path / "net.onnx"
    with path.open("wb") as stream:
        stream.truncate(2**31)  # sparse: no space is used
    assert refusal(path) == (
        "the file has 2147483648 bytes, a protobuf holds 2147483647\n"
        "  save the model with its weights as external data"
    )


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_is_not_waited_for(tmp_path):
    path = tmp_path / "net.onnx"
    os.mkfifo(path)
    assert refusal(path) == "this is a device or a pipe, not a file"


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0, reason="everything is readable for root"
)
def test_a_file_that_may_not_be_read(tmp_path):
    path = save(tmp_path / "net.onnx", model(RELU))
    path.chmod(0)
    assert refusal(path) == "cannot be read: Permission denied"


def _external(location: str, *, length: str | None = None, offset: str = "0") -> onnx.ModelProto:
    proto = model("g (float[1, 4] x) => (y) <int64[2] s> { y = Reshape(x, s) }")
    tensor = proto.graph.initializer[0]
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    tensor.external_data.add(key="offset", value=offset)
    if length is not None:
        tensor.external_data.add(key="length", value=length)
    return proto


def test_small_external_tensors_are_read_where_they_lie(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "w.bin").write_bytes(bytes(16) + np.array([2, 2], "<i8").tobytes())
    path = save(tmp_path / "net.onnx", _external("data/w.bin", offset="16"))
    graph = read_graph(path)
    assert graph.values["y"].shape == (2, 2)


def test_external_weights_need_not_be_there(tmp_path):
    proto = model("g (float[1, 4] x) => (y) <float[4, 1000000000] w> { y = MatMul(x, w) }")
    tensor = proto.graph.initializer[0]
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="w.bin")
    graph = read_graph(save(tmp_path / "net.onnx", proto))
    assert graph.values["w"].is_weight
    assert graph.values["y"].shape == (1, 1_000_000_000)


def test_a_needed_external_tensor_that_is_missing(tmp_path):
    assert refusal(save(tmp_path / "net.onnx", _external("w.bin"))) == (
        "node 'y' (Reshape): the shape of 'y' needs the values of 's': its elements are in "
        "'w.bin', which is not beside the model"
    )


OUTSIDE = "\n  external data must lie in the folder of the model, at a relative path"


@pytest.mark.parametrize(
    ("location", "message"),
    [
        ("/etc/passwd", "tensor 's' has external data at the absolute path '/etc/passwd'"),
        ("C:\\w.bin", "tensor 's' has external data at the absolute path 'C:\\w.bin'"),
        ("../w.bin", "tensor 's' has external data outside the model's folder, at '../w.bin'"),
        (
            "a\\..\\w",
            "tensor 's' has external data outside the model's folder, at 'a\\..\\w'",
        ),
        ("", "tensor 's' has external data without a location"),
        ("a\0b", "tensor 's' has external data at a path that is no path"),
    ],
)
def test_external_data_outside_the_folder_is_refused(tmp_path, location, message):
    assert refusal(save(tmp_path / "net.onnx", _external(location))) == message + OUTSIDE


def test_a_link_out_of_the_folder_is_refused(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "secret").write_bytes(bytes(16))
    (folder / "w.bin").symlink_to(tmp_path / "secret")
    assert refusal(save(folder / "net.onnx", _external("w.bin"))) == (
        "tensor 's' has external data at 'w.bin', a link out of the model's folder" + OUTSIDE
    )


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        (
            {"offset": "-8"},
            "tensor 's': the offset of its external data is '-8', not a number",
        ),
        (
            {"length": "9" * 5000},
            f"tensor 's': the length of its external data is '{'9' * 5000}', not a number",
        ),
        (
            {"length": "8"},
            "tensor 's': its external data is stated as 8 bytes, its shape takes 16",
        ),
        ({"offset": "8"}, "tensor 's': external file 'w.bin' ends before byte 24"),
    ],
)
def test_external_data_at_a_wrong_place(tmp_path, entries, message):
    (tmp_path / "w.bin").write_bytes(bytes(16))
    assert refusal(save(tmp_path / "net.onnx", _external("w.bin", **entries))) == message


def test_inline_constants_in_any_field_are_read(tmp_path):
    for tensor in (
        numpy_helper.from_array(np.array([2, 2]), "s"),
        onnx.helper.make_tensor("s", TensorProto.INT64, [2], [2, 2]),
    ):
        proto = model("g (float[1, 4] x) => (y) <int64[2] s> { y = Reshape(x, s) }")
        proto.graph.initializer[0].CopyFrom(tensor)
        assert read_graph(save(tmp_path / "net.onnx", proto)).values["y"].shape == (2, 2)
