"""A model with 1 GB of external data: lowering it reads no weights.

The process that lowers it counts what it read through every system call (``rchar`` of Linux's
``/proc/self/io``), start-up and imports taken off.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import onnx
from measure import MB, environment
from onnx import TensorProto, helper

LAYERS = 16
WIDTH = 4096  # 4096 x 4096 floats are 64 MiB a layer

PROBE = """
import json, resource, sys, time
import onnx, numpy
from npubench.frontend import load_network
from npubench.frontend import load, lower

def read_so_far():
    with open("/proc/self/io") as file:
        return int(file.readline().split()[1])

before, begin = read_so_far(), time.perf_counter()
network = load_network(sys.argv[1]).network
print(json.dumps({
    "seconds": time.perf_counter() - begin,
    "read": read_so_far() - before,
    "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    "parameters": network.parameters,
    "macs": network.macs,
}))
"""


def make_model(folder: Path) -> Path:
    """A chain of square products whose weights lie in one sparse file of 1 GiB."""
    size = WIDTH * WIDTH * 4
    weights, nodes = [], []
    for index in range(LAYERS):
        weight = TensorProto(name=f"w{index}", data_type=TensorProto.FLOAT, dims=[WIDTH, WIDTH])
        weight.data_location = TensorProto.EXTERNAL
        place = {"location": "weights.bin", "offset": str(index * size), "length": str(size)}
        for key, value in place.items():
            weight.external_data.add(key=key, value=value)
        weights.append(weight)
        nodes.append(helper.make_node("MatMul", [f"x{index}", weight.name], [f"x{index + 1}"]))
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, WIDTH])
        for name in ("x0", f"x{LAYERS}")
    ]
    graph = helper.make_graph(nodes, "external", ends[:1], ends[1:], weights)
    model = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])
    with (folder / "weights.bin").open("wb") as data:
        data.truncate(LAYERS * size)
    path = folder / "external.onnx"
    onnx.save(model, path)
    return path


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="exit 1 if a bound does not hold")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = make_model(Path(folder))
        data = (path.parent / "weights.bin").stat().st_size
        done = subprocess.run(
            [sys.executable, "-c", PROBE, str(path)],
            env=environment(),
            capture_output=True,
            text=True,
            check=True,
        )
    found = json.loads(done.stdout)
    print(f"model with {data / MB:.0f} MB of external data, {found['parameters']:,} parameters")
    print(f"lowered in    {found['seconds']:8.3f} s")
    print(f"bytes read    {found['read'] / MB:8.3f} MB")
    print(f"peak resident {found['peak'] / MB:8.1f} MB")
    held = found["read"] < 4 * MB and found["peak"] < 250 * MB and found["seconds"] < 5
    held = held and found["parameters"] == LAYERS * WIDTH * WIDTH == found["macs"]
    if not held:
        print("TOO MUCH")
    return 1 if options.check and not held else 0


if __name__ == "__main__":
    raise SystemExit(main())
