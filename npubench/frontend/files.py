"""ONNX files from disk: read once, hashed, and refused with a reason if they are something else."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from google.protobuf.message import DecodeError  # type: ignore[import-untyped]  # has no stubs
from onnx import ModelProto

from npubench.errors import ModelError, Problem, did_you_mean

__all__ = ["load_model"]

_LIMIT = 2**31 - 1  # protobuf's limit for one message

# What people hand over by mistake: first bytes (at an offset), and what to do.
_FOREIGN = (
    (0, b"PK\x03\x04", "a zip archive or PyTorch checkpoint", "export it with torch.onnx.export"),
    (0, b"\x89HDF", "an HDF5 file (Keras)", "convert it with tf2onnx"),
    (4, b"TFL3", "a TensorFlow Lite model", "convert it with tf2onnx --tflite"),
    (4, b"ORTM", "an onnxruntime .ort model", "give the .onnx file that it was made from"),
    (0, b"GGUF", "a GGUF model", "export the network to ONNX"),
    (0, b"\x80\x02", "a Python pickle", "export it with torch.onnx.export"),
    (0, b"\x1f\x8b", "a gzip archive", "unpack it first"),
    (0, b"version https://git-lfs", "a Git LFS pointer", "run 'git lfs pull'"),
    (0, b"\x89PNG", "a PNG image", None),
    (0, b"%PDF", "a PDF document", None),
)


def load_model(path: Path) -> tuple[ModelProto, str]:
    """The model in a file, without its external data, and the sha256 of the file's bytes.

    Files of external data are not hashed: they hold weights, which are never read.

    Raises:
        ModelError: no such file, not readable, or not an ONNX model; without the file's name.
    """
    raw = _read(path)
    for offset, magic, what, hint in _FOREIGN:
        if raw[offset : offset + len(magic)] == magic:
            raise ModelError(Problem(f"this is {what}, not an ONNX model", hint=hint))
    _check_text(raw)
    model = ModelProto()
    try:
        model.ParseFromString(raw)
    except DecodeError as error:
        raise ModelError(Problem(_damage(raw))) from error
    if not model.HasField("graph"):
        raise ModelError(Problem("this is not an ONNX model: it has no graph"))
    return model, hashlib.sha256(raw).hexdigest()


def _read(path: Path) -> bytes:
    try:
        if path.is_dir():
            raise ModelError(
                Problem("this is a folder, not an ONNX file", hint=_models_in(path, path.name))
            )
        if not path.exists():
            raise _missing(path)
        size = path.stat().st_size
        if size > _LIMIT:
            raise ModelError(
                Problem(
                    f"the file has {size} bytes, a protobuf holds {_LIMIT}",
                    hint="save the model with its weights as external data",
                )
            )
        if not path.is_file():
            raise ModelError(Problem("this is a device or a pipe, not a file"))
        raw = path.read_bytes()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise ModelError(Problem(f"cannot be read: {reason}")) from error
    if not raw:
        raise ModelError(Problem("the file is empty"))
    return raw


def _missing(path: Path) -> ModelError:
    if not path.parent.is_dir():
        return ModelError(Problem(f"no such file: there is no folder '{path.parent}'"))
    return ModelError(Problem("no such file", hint=_models_in(path.parent, path.name)))


def _models_in(folder: Path, word: str) -> str:
    names = sorted(e.name for e in os.scandir(folder) if e.name.endswith(".onnx"))
    return did_you_mean(word, names) or "there is no .onnx file in that folder"


def _check_text(raw: bytes) -> None:
    head = raw[:512]
    if head.lstrip()[:1] in (b"<", b"{", b"[", b"#") or all(
        byte in b"\t\n\r" or 32 <= byte < 127 for byte in head
    ):
        raise ModelError(
            Problem(
                "this is a text file, not an ONNX model",
                hint="a textual model is turned into a file with onnx.parser and onnx.save",
            )
        )


def _damage(raw: bytes) -> str:
    """Why a protobuf does not parse: cut short, or not one at all."""
    position, fields = 0, 0
    while position < len(raw):
        key, position = _varint(raw, position)
        kind = key & 7
        if position < 0 or kind in (3, 4, 6, 7):
            break
        if kind == 0:
            _, position = _varint(raw, position)
            size = 0
        elif kind == 2:
            size, position = _varint(raw, position)
        else:
            size = 8 if kind == 1 else 4
        if position < 0:
            break
        if position + size > len(raw):
            if fields and key >> 3 <= 25:
                return (
                    f"the file is cut short: it has {len(raw)} bytes and should go on to byte "
                    f"{position + size}"
                )
            break
        position += size
        fields += 1
    return "this is not an ONNX model, or a damaged one: it does not parse as a protobuf"


def _varint(raw: bytes, position: int) -> tuple[int, int]:
    """A number and the position behind it; -1 at the end of the bytes."""
    value = 0
    for shift in range(0, 70, 7):
        if position >= len(raw):
            return 0, -1
        byte = raw[position]
        position += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, position
    return 0, -1
