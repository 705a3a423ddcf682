"""Files a user might hand over by mistake: models and specs with one thing wrong in each."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import onnx
from onnx import TensorProto, helper

from tests.frontend.onnx_text import model

# A spec of its own, so that line numbers in messages do not move when a shipped spec does.
EDGE8 = (Path(__file__).parent / "edge_npu.yaml").read_text("utf-8")

CONV = """
net (float[1, 3, 8, 8] x) => (float[1, 4, 6, 6] y) <float[4, 3, 3, 3] w> { y = Conv(x, w) }
"""


def onnx_bytes(body: str = CONV, opset: int = 17, **domains: int) -> bytes:
    """A model of one graph in onnx's textual form."""
    names = {name.replace("_", "."): version for name, version in domains.items()}
    return model(body, opset, names).SerializeToString()


def edited(change: Callable[[onnx.ModelProto], object], body: str = CONV) -> bytes:
    """A sound model after a change that the textual form cannot express."""
    proto = model(body)
    change(proto)
    return proto.SerializeToString()


def spec(old: str, new: str) -> bytes:
    """The edge NPU's spec with one passage replaced."""
    assert EDGE8.count(old) >= 1, f"the spec has no {old!r}"
    return EDGE8.replace(old, new, 1).encode()


def with_extents(*extents: int) -> bytes:
    """A network of one Relu on an input of these extents, whatever they are."""
    info = [helper.make_tensor_value_info(n, TensorProto.FLOAT, list(extents)) for n in "xy"]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "net", info[:1], info[1:])
    opset = helper.make_opsetid("", 17)
    return helper.make_model(graph, ir_version=8, opset_imports=[opset]).SerializeToString()


def with_external(location: str) -> bytes:
    """A convolution whose weight lies in another file."""

    def move(proto: onnx.ModelProto) -> None:
        tensor = proto.graph.initializer[0]
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value=location)

    return edited(move)


def yaml_bomb() -> bytes:
    """Nine levels of nine references each: 387 million values in 300 bytes."""
    lines = ["a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]"]
    for level in range(1, 9):
        lines.append(f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 9)}]")
    return "\n".join(lines).encode()


def write(folder: Path, files: dict[str, bytes | None]) -> None:
    """Put files into a folder; None makes a folder of that name."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if content is None:
            path.mkdir()
        else:
            path.write_bytes(content)
