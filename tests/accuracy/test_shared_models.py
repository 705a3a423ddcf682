"""Trained public networks on real test data: stated accuracies, independent rounding, kernels.

The stated top-1 values were measured by plain onnxruntime 1.31; the weight-only table is an
independent numpy implementation (symmetric, per output channel, half to even).
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest

from npubench.accuracy.evaluator import Evaluator
from npubench.accuracy.integer import integer_model
from npubench.accuracy.model import open_model
from npubench.accuracy.observe import observe
from npubench.accuracy.plan import prepare
from npubench.accuracy.rewrite import rewrite
from npubench.accuracy.runtime import Network
from npubench.accuracy.scores import score_classes
from npubench.frontend import load_network
from npubench.ir import FORMATS, LayerPrecision, PrecisionPlan, integer
from tests.accuracy.models import MINMAX, evaluator, plan

ORACLE = Path(__file__).parent.parent / "oracles" / "accuracy" / "weight_only_top1.csv"
FP32 = FORMATS["fp32"]


@dataclass(frozen=True)
class Pair:
    model: str
    data: str
    top1: float
    kind: str = ""

    def open(self, shared: Path, recipes: dict[str, Path]) -> Evaluator:
        data = recipes[f"{self.data}:{self.kind}"] if self.kind else f"{self.data}.npz"
        return evaluator(shared / "models" / f"{self.model}.onnx", shared / "datasets" / data)


FLOAT = (
    Pair("mnist-cnn-cntk", "mnist-test", 98.91),
    Pair("mnist-cnn-pytorch", "mnist-test", 99.04),
    Pair("resnet20-cifar10", "cifar10-test-297", 94.28, "normalised"),
    Pair("resnet20-cifar10", "cifar10-test-jpeg-3000", 80.57, "normalised"),
    Pair("resnet8-cifar10-fp32", "cifar10-test-297", 87.21),
    Pair("resnet8-cifar10-fp32", "cifar10-test-jpeg-3000", 75.07),
    Pair("dscnn-kws-fp32", "kws-mfcc-1000", 91.30),
)
QUANTISED = (
    Pair("resnet20-cifar10-int8-qdq", "cifar10-test-297", 94.95, "normalised"),
    Pair("resnet8-cifar10-int8-qdq", "cifar10-test-297", 86.53, "centred"),
    Pair("dscnn-kws-int8-qdq", "kws-mfcc-1000", 90.20),
    # Published with FINN's TFC-w2a2 on all 10,000 images; onnxruntime itself cannot run the file.
    Pair("tfc-2w2a-qonnx", "mnist-test", 96.60, "unit"),
)


LONG = frozenset({"cifar10-test-jpeg-3000"})


def paced(pairs: tuple[Pair, ...]) -> list[object]:
    """The pairs as parameters, those that take long marked as slow."""
    return [
        pytest.param(p, id=name(p), marks=pytest.mark.slow if p.data in LONG else ()) for p in pairs
    ]


def name(pair: Pair) -> str:
    return f"{pair.model}-{pair.data}"


@pytest.mark.parametrize("pair", QUANTISED, ids=name)
def test_quantised_files(pair: Pair, shared: Path, recipes: dict[str, Path]) -> None:
    found = pair.open(shared, recipes)
    assert found.own is not None
    assert f"{found.measure(found.own).value:.2f}" == f"{pair.top1:.2f}"


# Ten thousand images one by one at every width are for ``-m slow``.
FEW = (32, 4, 2)


@pytest.mark.parametrize(
    "widths", [pytest.param(FEW, id="few"), pytest.param((), id="all", marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("pair", paced(FLOAT))
def test_float_top1_and_weight_only_rounding(
    pair: Pair, widths: tuple[int, ...], shared: Path, recipes: dict[str, Path]
) -> None:
    with ORACLE.open() as file:
        rows = [
            row
            for row in csv.DictReader(file)
            if (row["model"], row["dataset"]) == (pair.model, pair.data)
        ]
    found = pair.open(shared, recipes)
    assert len(rows) == 7
    for row in rows:
        bits = int(row["weight_bits"])
        if widths and bits not in widths:
            continue
        weight = FP32 if bits == 32 else integer(bits)
        measured = found.measure(PrecisionPlan(LayerPrecision(weight, FP32)))
        assert f"{measured.reference:.2f}" == f"{pair.top1:.2f}"
        images = abs(measured.value - float(row["top1"])) * measured.n / 100
        assert images < 2.01, (bits, measured.value, row["top1"])


@pytest.mark.parametrize(
    ("pairs", "expected"),
    [
        pytest.param(
            [p for p in FLOAT if p.data not in LONG and p.model != "mnist-cnn-cntk"],
            11_594,
            id="short",
        ),
        pytest.param(FLOAT, 27_594, id="all", marks=pytest.mark.slow),
    ],
)
def test_eight_bits_agree_with_integer_kernels(
    pairs: tuple[Pair, ...], expected: int, shared: Path, recipes: dict[str, Path]
) -> None:
    asked = plan("w8a8")
    images = differing = 0
    for pair in pairs:
        found = pair.open(shared, recipes)
        measured = found.measure(asked)
        proto = integer_model(found.model, asked, found.prepare(asked))
        labels = found.dataset.labels
        assert labels is not None
        whole = score_classes(found.outputs(Network(proto), {}), labels)
        assert measured.score is not None
        images += len(labels)
        differing += int(np.sum(whole.predictions != measured.score.predictions))
    assert images == expected
    assert differing / images <= 0.001


@pytest.mark.parametrize("bits", range(1, 17))
def test_optimisation_changes_no_answers(bits: int, shared: Path, recipes: dict[str, Path]) -> None:
    found = FLOAT[2].open(shared, recipes)
    found.samples = 64
    prepared = found.prepare(plan(f"w{bits}a{bits}"))
    proto = rewrite(found.model, prepared.layout)
    fast, plain = (
        found.outputs(Network(proto, optimise=on), prepared.feeds) for on in (True, False)
    )
    # Sums in another order may move a value over a rounding step, and that may decide a tie.
    assert np.mean(fast.argmax(1) == plain.argmax(1)) >= 0.95
    assert np.median(np.abs(fast - plain)) < 0.02 * np.abs(plain).max()


@pytest.mark.parametrize("model", ["dtln-stage1", "silero-vad-static", "cct-2-cifar"])
def test_recurrent_and_attention_networks(model: str, shared: Path) -> None:
    """Prepared, they answer as the file does; at 16 bits nearly so; at 4 bits otherwise."""
    path = shared / "models" / f"{model}.onnx"
    loaded = load_network(path)
    found = open_model(path, loaded)
    assert len(found.sites) == len(loaded.network.mac_layers)
    random = np.random.default_rng(5)
    session = ort.InferenceSession(path.read_bytes())
    feeds = {
        i.name: np.abs(random.normal(size=i.shape)).astype(np.float32) for i in session.get_inputs()
    }
    names = [o.name for o in session.get_outputs()]
    plain = session.run(names, feeds)
    for a, b in zip(plain, Network(found.proto).run(names, feeds), strict=True):
        assert np.allclose(a, b, rtol=1e-3, atol=1e-4)
    seen = observe(found, lambda: [feeds], 1)
    away = []
    for bits in (16, 4):
        prepared = prepare(found, plan(f"w{bits}a{bits}"), MINMAX, lambda: seen)
        proto = rewrite(found, prepared.layout)
        fast, slow = (
            Network(proto, optimise=on).run(names, {**feeds, **prepared.feeds})[0]
            for on in (True, False)
        )
        scale = float(np.abs(plain[0]).max())
        assert np.median(np.abs(fast - slow)) < 0.02 * scale
        away.append(float(np.abs(fast - plain[0]).mean()) / scale)
    assert away[0] < 2e-3 < away[1]
