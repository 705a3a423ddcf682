"""Accuracy tables: labelled networks at many widths, integer kernels, HAWQ-V3, search times.

    python benchmarks/accuracy_table.py [FOLDER]

FOLDER holds ``models`` and ``datasets``; by default the folder ``shared`` beside the checkout.
Without it only the tables of shipped networks are printed.
"""

from __future__ import annotations

import csv
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from npubench.accuracy.datasets import open_dataset
from npubench.accuracy.evaluator import Evaluator
from npubench.accuracy.integer import integer_model
from npubench.accuracy.model import open_model
from npubench.accuracy.published import find_published_accuracy
from npubench.accuracy.runtime import Network
from npubench.accuracy.scores import score_classes
from npubench.frontend import load_network
from npubench.ir import FORMATS, LayerPrecision, PrecisionPlan, integer, parse_precision
from npubench.precision.published import published_plans
from npubench.precision.sources import find_plan
from npubench.precision.weigh import weigh
from npubench.specs.catalog import data_folder
from npubench.study.precision_solver import (
    LOSS,
    Choice,
    PrecisionProblem,
    find_frontier,
    solve,
)

ROOT = Path(__file__).resolve().parent.parent
WIDTHS = ("w8a8", "w6a6", "w4a4", "w3a3", "w2a2", "w8a4", "w4a8")
NORMALISED = "scale: 0.00392156862745098\nmean: [0.485, 0.456, 0.406]\nstd: [0.229, 0.224, 0.225]\n"
PAIRS = (
    ("mnist-cnn-cntk", "mnist-test", ""),
    ("mnist-cnn-pytorch", "mnist-test", ""),
    ("resnet20-cifar10", "cifar10-test-297", NORMALISED),
    ("resnet20-cifar10", "cifar10-test-jpeg-3000", NORMALISED),
    ("resnet8-cifar10-fp32", "cifar10-test-297", ""),
    ("resnet8-cifar10-fp32", "cifar10-test-jpeg-3000", ""),
    ("dscnn-kws-fp32", "kws-mfcc-1000", ""),
)


def evaluator(model: Path, data: str) -> Evaluator:
    loaded = load_network(model)
    return Evaluator(open_model(model, loaded), open_dataset(data), own=loaded.plan)


def labelled(shared: Path, scratch: Path) -> dict[tuple[str, str], Evaluator]:
    found = {
        ("digits_cnn", "digits"): evaluator(data_folder("workloads") / "digits_cnn.onnx", "digits")
    }
    for model, data, recipe in PAIRS if shared.is_dir() else ():
        path = shared / "datasets" / f"{data}.npz"
        if recipe:
            path = scratch / f"{data}.yaml"
            path.write_text(f"data: {shared / 'datasets' / data}.npz\n{recipe}")
        found[model, data] = evaluator(shared / "models" / f"{model}.onnx", str(path))
    return found


def widths_table(pairs: dict[tuple[str, str], Evaluator]) -> None:
    print("## Top-1 by width [%], with Wilson's 95 % interval; calibration mse\n")
    print(f"| network | data | n | fp32 | {' | '.join(WIDTHS)} | images/s w8a8 | fp32 |")
    print("|" + "---|" * (len(WIDTHS) + 6))
    for (model, data), found in pairs.items():
        cells = []
        speeds = (0.0, 0.0)
        for width in WIDTHS:
            one = found.measure(PrecisionPlan(parse_precision(width)))
            cells.append(f"{one.value:.2f} ({one.interval[0]:.1f}..{one.interval[1]:.1f})")
            if width == "w8a8":
                speeds = (one.samples_per_s[0], one.samples_per_s[1] or 0.0)
        print(
            f"| {model} | {data} | {one.n} | {one.reference:.2f} | {' | '.join(cells)} | "
            f"{speeds[0]:.0f} | {speeds[1]:.0f} |"
        )


def weight_only_table(pairs: dict[tuple[str, str], Evaluator]) -> None:
    oracle = ROOT / "tests" / "oracles" / "accuracy" / "weight_only_top1.csv"
    off: dict[int, int] = {}
    for row in csv.DictReader(oracle.open()):
        found = pairs.get((row["model"], row["dataset"]))
        if found is None:
            continue
        bits = int(row["weight_bits"])
        weight = FORMATS["fp32"] if bits == 32 else integer(bits)
        one = found.measure(PrecisionPlan(LayerPrecision(weight, FORMATS["fp32"])))
        images = round(abs(one.value - float(row["top1"])) * one.n / 100)
        off[images] = off.get(images, 0) + 1
    print("\n## Weight-only rounding against an independent implementation\n")
    print("images that differ in number of right answers -> rows:", dict(sorted(off.items())))


def kernels_table(pairs: dict[tuple[str, str], Evaluator]) -> None:
    print("\n## w8a8: fake quantisation against integer kernels\n")
    asked = PrecisionPlan(parse_precision("w8a8"))
    total = differing = 0
    for (model, data), found in pairs.items():
        fake = found.measure(asked)
        proto = integer_model(found.model, asked, found.prepare(asked))
        labels = found.dataset.labels
        whole = score_classes(found.outputs(Network(proto), {}), labels)
        wrong = np.flatnonzero(whole.predictions != fake.score.predictions)
        total += len(labels)
        differing += len(wrong)
        margins = ", ".join(f"{i} ({fake.score.margins[i]:.3g})" for i in wrong)
        print(f"- {model}, {data}: {len(wrong)} of {len(labels)} differ: {margins or 'none'}")
    print(f"- pooled: {100 * (1 - differing / total):.3f} % of {total} equal")


def hawq_table() -> None:
    print("\n## HAWQ-V3: sizes, bit operations, published top-1\n")
    print("| network | setting | MiB | published | BOPS [G] | published | top-1 | bits |")
    print("|---|---|---|---|---|---|---|---|")
    oracle = ROOT / "tests" / "oracles" / "hawq_v3" / "published.csv"
    networks = {"resnet18": "resnet18", "resnet50": "resnet50_v1"}
    loaded = {
        net: load_network(data_folder("workloads") / f"{name}.onnx").network
        for net, name in networks.items()
    }
    for row in csv.DictReader(oracle.open()):
        if not row["computed_bops_g"]:
            continue
        network = loaded[row["net"]]
        plan = find_plan(f"hawq_{row['setting']}", network, None)
        size, top1 = weigh(network, plan), find_published_accuracy(network, plan)
        print(
            f"| {row['net']} | {row['setting']} | {size.weight_mib:.2f} | {row['size_mb']} | "
            f"{size.bops / 1e9:.1f} | {row['bops_g']} | {top1.top1 if top1 else '-'} | "
            f"{plan.describe()} |"
        )


def hawq_problem(network: str, widths: tuple[int, ...]) -> PrecisionProblem:
    """Its programme; widths other than 4 and 8 scale the int4 error and the latency (synthetic)."""
    path = data_folder("workloads") / "precision" / f"hawq_v3_{network}_sensitivity.csv"
    rows = list(csv.DictReader(path.open()))
    groups = []
    for row in rows:
        trace = float(row["hessian_trace_per_param"])
        choices = []
        for bits in widths:
            exact = f"weight_sq_error_int{bits}" in row
            error = (
                float(row[f"weight_sq_error_int{bits}"])
                if exact
                else float(row["weight_sq_error_int4"]) * 4.0 ** (4 - bits)
            )
            latency = (
                float(row[f"t4_latency_int{bits}"])
                if exact
                else float(row["t4_latency_int8"]) * bits / 8
            )
            choices.append(Choice(trace * error, (latency, float(row["macs"]) * bits * bits)))
        groups.append(tuple(choices))
    return PrecisionProblem(("latency_s", "bops"), tuple(groups), (0.0, 0.0))


def search_table() -> None:
    print("\n## Search: ResNet-50, 52 layers, widths 8 6 4 2 (6 and 2 bits synthetic)\n")
    problem = hawq_problem("resnet50", (8, 6, 4, 2))
    count = len(problem.groups)
    wide, narrow = (problem.total([i] * count) for i in (0, 3))
    start = time.perf_counter()
    solve(problem, LOSS, {})
    print(f"- first call with import of scipy: {time.perf_counter() - start:.3f} s")
    for names in (("latency_s",), ("bops",), ("latency_s", "bops")):
        limits = {n: (wide.value(n) + narrow.value(n)) / 2 for n in names}
        start = time.perf_counter()
        found = solve(problem, LOSS, limits)
        print(f"- least loss within {' and '.join(names)}: {time.perf_counter() - start:.3f} s")
        assert found is not None
    start = time.perf_counter()
    frontier = find_frontier(problem, "latency_s")
    print(
        f"- whole frontier: {len(frontier)} plans, exact {frontier.exact}, "
        f"{time.perf_counter() - start:.3f} s"
    )
    picks = np.random.default_rng(0).integers(0, 4, (100_000, count))
    costs, losses = np.zeros(len(picks)), np.zeros(len(picks))
    for group, column in zip(problem.groups, picks.T, strict=True):
        costs += np.array([c.costs[0] for c in group])[column]
        losses += np.array([c.loss for c in group])[column]
    at = np.searchsorted(frontier.costs, costs, side="right") - 1
    print(f"- random plans that beat it: {int(np.sum(losses < frontier.losses[at]))} of 100000")
    print(f"- files of published plans: {', '.join(f.name for f in published_plans())}")


def main() -> None:
    shared = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT.parent / "shared"
    with tempfile.TemporaryDirectory() as scratch:
        pairs = labelled(shared, Path(scratch))
        widths_table(pairs)
        weight_only_table(pairs)
        kernels_table(pairs)
    hawq_table()
    search_table()


if __name__ == "__main__":
    main()
