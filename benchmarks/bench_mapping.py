"""The mapping search: time, candidates a second, memory, and growth with the number of layers.

    python benchmarks/bench_mapping.py                  networks on machines
    python benchmarks/bench_mapping.py --layers         networks of up to 10 000 distinct layers
    python benchmarks/bench_mapping.py --layers -o growth.png

Times are CPU seconds of `Machine.map` alone, in a process of its own for each row; peak memory is
that of this process, onnx and numpy included.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.measure import ROOT, environment

NETWORKS = ("resnet18", "resnet50", "mobilenet_v2", "bert_base")
MACHINES = ("ws32x32_int8", "edge8", "tpuv4i", "eyeriss", "gemmini", "nvdla")
SIZES = (10, 30, 100, 300, 1_000, 3_000, 10_000)
COLUMNS = ("searched", "proven", "considered", "cpu_s", "per_s", "peak_mb")


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    arguments.add_argument("--networks", nargs="*", default=NETWORKS)
    arguments.add_argument("--machines", nargs="*", default=MACHINES)
    arguments.add_argument("--objective", default="latency")
    arguments.add_argument("--layers", action="store_true", help="growth with distinct layers")
    arguments.add_argument("--sizes", nargs="*", type=int, default=SIZES)
    arguments.add_argument("-o", "--output", help="picture of the growth (.png, .svg)")
    arguments.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    given = arguments.parse_args()
    if given.one:
        print(json.dumps(one(*given.one)))
    elif given.layers:
        growth(given.machines[:1] if given.machines != MACHINES else ["edge8"], given)
    else:
        table(given)


def table(given: argparse.Namespace) -> None:
    """One row a network and machine."""
    print(f"{'network':13s} {'machine':13s} " + " ".join(f"{c:>11s}" for c in COLUMNS))
    for network in given.networks:
        for machine in given.machines:
            row = child(network, machine, given.objective)
            print(f"{network:13s} {machine:13s} " + cells(row), flush=True)


def growth(machines: list[str], given: argparse.Namespace) -> None:
    """Distinct layers against seconds, and the exponent of the growth."""
    points: list[tuple[int, float]] = []
    print(f"{'layers':>8s} {'ms a layer':>11s} " + " ".join(f"{c:>11s}" for c in COLUMNS))
    for size in given.sizes:
        row = child(str(size), machines[0], given.objective)
        points.append((size, float(row["cpu_s"])))
        print(f"{size:8d} {row['cpu_s'] / size * 1e3:11.3f} " + cells(row), flush=True)
    (a, first), (b, last) = points[0], points[-1]
    if a < b:
        print(f"seconds grow with layers to the power {math.log(last / first, b / a):.3f}")
    if given.output:
        draw(points, machines[0], given.output)


def cells(row: dict[str, float]) -> str:
    shown = []
    for column in COLUMNS:
        value = row[column]
        digits = {"cpu_s": 3, "peak_mb": 0}.get(column, 0)
        shown.append(f"{value:11,.{digits}f}")
    return " ".join(shown)


def child(network: str, machine: str, objective: str) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, __file__, "--one", network, machine, objective],
        env=environment(),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    row: dict[str, float] = json.loads(done.stdout)
    return row


def one(network: str, machine: str, objective: str) -> dict[str, float]:
    """Map a network, or so many random layers, and say what it took."""
    import resource

    from npubench.ir import PrecisionPlan
    from npubench.machines.protocol import Objective
    from npubench.study.session import Session

    session = Session()
    built = session.machine(machine, {}, {})
    if network.isdecimal():
        graph = random_network(int(network))
    else:
        graph = session.network(network, {}).network
    plan: PrecisionPlan = built.legalise(graph, None).executed
    begin = time.process_time()
    mapping = built.map(graph, plan, Objective(objective))
    seconds = time.process_time() - begin
    search = built.cost(graph, plan, mapping).search
    assert search is not None
    unit = 1 if sys.platform == "darwin" else 1024
    return {
        "searched": search.searched,
        "proven": search.proven,
        "considered": search.considered,
        "cpu_s": seconds,
        "per_s": search.considered / seconds,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6,
    }


def random_network(layers: int):  # type: ignore[no-untyped-def]  # imports stay in the child
    """A chain of 3 x 3 and 1 x 1 convolutions, no two alike; the same for the same length."""
    from npubench.ir import LoopNest, MacLayer, Network, Role, Tensor, parse_format

    drawn = random.Random(layers)
    fp32 = parse_format("fp32")
    tensors: dict[str, Tensor] = {}
    made: list[MacLayer] = []
    seen: set[tuple[int, ...]] = set()
    channels, side = 64, 56
    tensors["t0"] = Tensor("t0", (channels * side * side,), fp32, Role.INPUT)
    while len(made) < layers:
        side, most = drawn.choice(((7, 1024), (14, 512), (28, 256), (56, 128)))
        wide, kernel = drawn.randrange(8, most), drawn.choice((1, 3))
        if (channels, wide, kernel, side) in seen:
            continue
        seen.add((channels, wide, kernel, side))
        pad = kernel // 2
        nest = LoopNest(
            K=wide,
            C=channels,
            OY=side,
            OX=side,
            FY=kernel,
            FX=kernel,
            pad_begin=(0, pad, pad),
            input_extent=(1, side, side),
        )
        number = len(made)
        weight, result = f"w{number}", f"t{number + 1}"
        tensors[weight] = Tensor(weight, (nest.weight_elements,), fp32, Role.WEIGHT)
        tensors[result] = Tensor(result, (nest.output_elements,), fp32)
        made.append(
            MacLayer(
                name=f"conv{number}",
                op="Conv",
                inputs=(f"t{number}", weight),
                outputs=(result,),
                nest=nest,
                data=f"t{number}",
                weight=weight,
            )
        )
        channels = wide
    return Network("random", tensors, tuple(made), ("t0",), (f"t{layers}",))


def draw(points: list[tuple[int, float]], machine: str, path: str) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6, 4), layout="constrained")
    layers, seconds = zip(*points, strict=True)
    axes.loglog(layers, seconds, "o-", label="measured")
    slope = [seconds[-1] * n / layers[-1] for n in layers]
    axes.loglog(layers, slope, "--", color="grey", label="in proportion")
    axes.set_xlabel("distinct layers")
    axes.set_ylabel("CPU seconds to map")
    axes.set_title(f"Mapping search on {machine}")
    axes.grid(visible=True, which="major", alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main()
