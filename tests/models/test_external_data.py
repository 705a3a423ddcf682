"""Weights in other files are never read: seen from inside by every file that is opened."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from tests.cli.bad_files import CONV
from tests.cli.cli_process import environment
from tests.frontend.onnx_text import model

PROBE = """
import json, os, sys
opened = []
def watch(event, arguments):
    if event in ("open", "mmap.__new__") and isinstance(arguments[0], (str, bytes, os.PathLike)):
        opened.append(os.fsdecode(arguments[0]))
sys.addaudithook(watch)
from npubench.frontend import load_network
network = load_network(sys.argv[1]).network
names = [os.path.basename(path) for path in opened]
print(json.dumps({"parameters": network.parameters, "macs": network.macs, "opened": names}))
"""


def external(folder: Path, body: str, name: str, values: np.ndarray) -> Path:
    """A model whose tensor ``name`` lies in ``data.bin``."""
    proto = model(body)
    kept = [t for t in proto.graph.initializer if t.name != name]
    tensor = numpy_helper.from_array(values, name)
    raw = tensor.raw_data
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="data.bin")
    del proto.graph.initializer[:]
    proto.graph.initializer.extend([*kept, tensor])
    (folder / "data.bin").write_bytes(raw)
    path = folder / "net.onnx"
    path.write_bytes(proto.SerializeToString())
    return path


def lowered(path: Path) -> dict[str, object]:
    done = subprocess.run(
        [sys.executable, "-c", PROBE, str(path)],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stderr == ""
    return json.loads(done.stdout)


def test_a_file_of_weights_is_not_opened(tmp_path: Path) -> None:
    body = CONV.replace("float[1, 4,", "float[1, 64,").replace("float[4, 3,", "float[64, 3,")
    found = lowered(external(tmp_path, body, "w", np.ones((64, 3, 3, 3), np.float32)))
    assert found["macs"] == 64 * 27 * 36
    assert found["parameters"] == 64 * 27
    assert "net.onnx" in found["opened"]
    assert "data.bin" not in found["opened"]


def test_the_watch_sees_a_small_tensor_that_shapes_depend_on(tmp_path: Path) -> None:
    body = "net (float[2, 6] x) => (float[N, M] z) <int64[2] s> { y = Reshape(x, s) z = Relu(y) }"
    found = lowered(external(tmp_path, body, "s", np.array([3, 4], np.int64)))
    assert found["opened"].count("data.bin") == 1
