"""Measured accuracy of the shipped network, of a language model, and every refusal."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from npubench.accuracy.evaluator import Evaluator
from npubench.accuracy.faults import Faults, faulty_weight, flip_mask
from npubench.accuracy.quantise import quantise_weight
from npubench.accuracy.scores import score_classes
from npubench.accuracy.statistics import wilson
from npubench.errors import InputError, OptionError
from npubench.ir import Scheme, integer
from npubench.specs.catalog import data_folder, find_workload
from tests.accuracy.models import evaluator, model, plan

WORKLOADS = data_folder("workloads")
LANGUAGE = """
net (int64[1, 4] ids, int64[1, 4] attention_mask) => (float[1, 4, V] logits)
  <float[6, 3] table, float[3, 6] head> {
  e = Gather(table, ids)
  logits = MatMul(e, head)
}
"""


def test_the_float_network_is_that_of_the_catalog(digits: Evaluator) -> None:
    entry = find_workload("digits_cnn")
    assert not isinstance(entry, Path)
    assert entry.accuracy is not None
    found = digits.measure(plan("fp32"))
    assert found.value == found.reference == pytest.approx(100 * entry.accuracy.correct / 450)
    assert (found.drop, found.agreement, found.n) == (0, 100, 450)


def test_a_measurement(digits: Evaluator) -> None:
    found = digits.measure(plan("w4a4"), sqnr=True)
    assert found.score is not None
    labels = digits.dataset.labels
    assert labels is not None
    right = int(np.sum(found.score.predictions == labels))
    assert found.value == pytest.approx(100 * right / 450)
    assert found.interval == pytest.approx([100 * x for x in wilson(right, 450)])
    floats = digits.reference_outputs.argmax(1)
    assert found.agreement == pytest.approx(100 * np.mean(floats == found.score.predictions))
    assert found.drop == pytest.approx((found.reference or 0) - found.value)
    assert list(found.sqnr_db) == ["conv1", "conv2", "fc"]
    assert found.source == (
        f"digits, calibration mse on 128 samples set apart, seed 0, onnxruntime {ort.__version__}"
    )
    assert 95 < found.value <= 100
    assert found.top5 is not None


def test_signal_to_noise_grows_six_decibels_a_bit(digits: Evaluator) -> None:
    levels = [
        digits.measure(plan(f"w{bits}a{bits}"), sqnr=True).sqnr_db["conv1"] for bits in (6, 8, 10)
    ]
    assert levels[1] - levels[0] == pytest.approx(12, abs=2.5)
    assert levels[2] - levels[1] == pytest.approx(12, abs=2.5)


def test_samples_are_drawn_by_the_seed() -> None:
    path = WORKLOADS / "digits_cnn.onnx"
    found = [evaluator(path, "digits", samples=50, seed=seed).indices for seed in (1, 1, 2)]
    assert np.array_equal(found[0], found[1])
    assert not np.array_equal(found[0], found[2])
    assert len(np.unique(found[0])) == 50


def test_progress_counts_samples() -> None:
    seen: list[tuple[int, int]] = []
    path = WORKLOADS / "digits_cnn.onnx"
    found = evaluator(path, "digits", on_step=lambda done, total: seen.append((done, total)))
    found.measure(plan("w8a8"))
    assert seen[-1] == (450, 450)
    assert [done for done, _ in seen] == [128, 256, 384, 450] * 2


def test_top5_and_ties() -> None:
    scores = np.array([[0.0, 0, 0, 0, 0, 0], [6, 5, 4, 3, 2, 1], [6, 5, 4, 3, 2, 1]])
    found = score_classes(scores, np.array([0, 4, 5]))
    assert found.predictions.tolist() == [0, 0, 0]
    assert found.top5 == pytest.approx(2 / 3)
    assert found.margins.tolist() == [0, 1, 1]


def _language(tmp_path: Path, tokens: list[int]) -> tuple[Evaluator, np.ndarray]:
    random = np.random.default_rng(5)
    table = random.normal(size=(6, 3)).astype(np.float32)
    head = random.normal(size=(3, 6)).astype(np.float32)
    path = tmp_path / "lm.onnx"
    onnx.save(model(LANGUAGE, {"table": table, "head": head}), path)
    np.save(tmp_path / "t.npy", np.array(tokens))
    return evaluator(path, tmp_path / "t.npy"), table @ head


def test_perplexity(tmp_path: Path) -> None:
    tokens = [0, 5, 2, 2, 4, 1, 3, 0, 1]  # two rows of four; the ninth is left over
    found, scores = _language(tmp_path, tokens)
    losses = [
        math.log(np.exp(scores[now].astype(np.float64)).sum()) - scores[now][following]
        for row in (tokens[:4], tokens[4:8])
        for now, following in itertools.pairwise(row)
    ]
    measured = found.measure(plan("fp32"))
    assert (measured.metric, measured.n) == ("perplexity", 6)
    assert measured.value == pytest.approx(math.exp(np.mean(losses)), rel=1e-5)
    half = 1.959963984540054 * np.std(losses, ddof=1) / math.sqrt(6)
    assert measured.interval[1] == pytest.approx(math.exp(np.mean(losses) + half), rel=1e-5)
    rough = found.measure(plan("w2a8"))
    assert rough.reference == pytest.approx(measured.value)
    assert rough.drop == pytest.approx(rough.value - measured.value)


def test_tokens_beyond_the_vocabulary(tmp_path: Path) -> None:
    found, _ = _language(tmp_path, [0, 5, 2, 2, 4, 1, 3, 5])
    np.save(tmp_path / "t.npy", np.array([0, 1, 2, 3]))
    short = evaluator(tmp_path / "lm.onnx", tmp_path / "t.npy")
    assert short.measure(plan("fp32")).n == 3
    del found
    np.save(tmp_path / "t.npy", np.array([0, 1, 2]))
    with pytest.raises(InputError) as caught:
        evaluator(tmp_path / "lm.onnx", tmp_path / "t.npy")
    assert str(caught.value) == "'t' has 3 tokens, 'lm' takes 4 at a time"


def _refusal(path: Path, data: str | Path, precision: str = "w8a8", **more: object) -> str:
    with pytest.raises(InputError) as caught:
        evaluator(path, data, **more).measure(plan(precision))
    return str(caught.value)


def test_a_skeleton_has_no_accuracy() -> None:
    assert _refusal(WORKLOADS / "resnet18.onnx", "digits") == (
        "the accuracy of 'resnet18' cannot be measured: its file is a skeleton without weights: it "
        "lists 42 of them as inputs ('conv1.weight', 'layer1.0.conv1.weight', "
        "'layer1.0.conv2.weight', ...)\n  give the ONNX file of a trained network"
    )


def test_weights_filled_with_one_number_are_none(tmp_path: Path) -> None:
    text = """
    net (float[1, 4] x) => (float[1, 3] y) <int64[2] s = {4, 3}> {
      w = ConstantOfShape(s)
      y = MatMul(x, w)
    }
    """
    onnx.save(model(text, {}), tmp_path / "net.onnx")
    assert _refusal(tmp_path / "net.onnx", "digits") == (
        "the accuracy of 'net' cannot be measured: its file is a skeleton without weights: 'w' is "
        "filled with one number by ConstantOfShape\n  give the ONNX file of a trained network"
    )


def test_layers_that_cannot_be_quantised_where_they_stand(tmp_path: Path) -> None:
    text = """
    net (float[5, 1, 3] x) => (float[5, 1, 1, 2] y)
      <float[1, 8, 3] w, float[1, 8, 2] r> {
        y = LSTM<hidden_size = 2, activations = ["HardSigmoid", "Tanh", "Tanh"]>(x, w, r)
      }
    """
    weights = {"w": np.ones((1, 8, 3), np.float32), "r": np.ones((1, 8, 2), np.float32)}
    onnx.save(model(text, weights), tmp_path / "net.onnx")
    assert _refusal(tmp_path / "net.onnx", "digits") == (
        "the accuracy of 'net' cannot be measured: 2 of its layers cannot be quantised where they "
        "stand: 'y.forward.input' (LSTM), 'y.forward.recurrence' (LSTM)\n"
        "  Conv, ConvTranspose, Gemm, MatMul, Attention at the top level of the graph can, and "
        "LSTM, GRU and RNN over whole sequences of at most 2048 steps"
    )


def _data(tmp_path: Path, labels: list[int], **more: object) -> Path:
    images = np.zeros((len(labels), 1, 8, 8), np.float32)
    np.savez(tmp_path / "d.npz", images=images, labels=np.array(labels), **more)  # type: ignore[arg-type]
    return tmp_path / "d.npz"


def test_labels_beyond_the_classes(tmp_path: Path) -> None:
    path = WORKLOADS / "digits_cnn.onnx"
    assert _refusal(path, _data(tmp_path, [0, 10])) == (
        "data set 'd' has labels 0 to 10, the network 'digits_cnn' tells 10 apart"
    )
    assert _refusal(path, _data(tmp_path, [-1, 3])) == (
        "data set 'd' has labels -1 to 3, the network 'digits_cnn' tells 10 apart"
    )


def test_another_number_of_classes(tmp_path: Path) -> None:
    _data(tmp_path, [0, 1])
    (tmp_path / "r.yaml").write_text("data: d.npz\nclasses: 12\n")
    assert _refusal(WORKLOADS / "digits_cnn.onnx", tmp_path / "r.yaml") == (
        "data set 'r' has 12 classes, the network 'digits_cnn' tells 10 apart"
    )


def test_a_network_that_is_no_classifier(tmp_path: Path) -> None:
    text = "net (float[B, 1, 8, 8] x) => (float[B, 1, 6, 6] y) <float[1, 1, 3, 3] w>"
    weights = {"w": np.ones((1, 1, 3, 3), np.float32)}
    onnx.save(model(text + "{ y = Conv(x, w) }", weights), tmp_path / "net.onnx")
    assert _refusal(tmp_path / "net.onnx", "digits") == (
        "'net' is no classifier: it gives 1x6x6 for a sample"
    )


def test_several_inputs_and_images(tmp_path: Path) -> None:
    text = """
    net (float[B, 4] a, float[B, 4] b) => (float[B, 3] y) <float[4, 3] w> {
      s = Add(a, b)
      y = MatMul(s, w)
    }
    """
    onnx.save(model(text, {"w": np.ones((4, 3), np.float32)}), tmp_path / "net.onnx")
    assert _refusal(tmp_path / "net.onnx", "digits") == (
        "the accuracy of 'net' cannot be measured: it takes 'a', 'b', and a data set fills one "
        "input"
    )


def test_tokens_for_a_network_of_images(tmp_path: Path) -> None:
    np.save(tmp_path / "t.npy", np.arange(9))
    assert _refusal(WORKLOADS / "digits_cnn.onnx", tmp_path / "t.npy") == (
        "'t' is a stream of tokens, 'digits_cnn' does not take rows of tokens"
    )


def test_formats_without_a_kernel(digits: Evaluator) -> None:
    with pytest.raises(OptionError) as caught:
        digits.measure(plan("fp4e2m1"))
    assert str(caught.value) == (
        "the accuracy of activations in fp4e2m1 cannot be measured: onnxruntime converts to fp16, "
        "bf16, fp8e4m3, fp8e5m2 only"
    )


QUANTISED = """
net (float[B, 4] x) => (float[B, 3] y)
  <float s = {0.5}, int8 z = {0}, int8[4, 3] w, float t = {0.25}> {
  q = QuantizeLinear(x, s, z)
  d = DequantizeLinear(q, s, z)
  v = DequantizeLinear(w, t, z)
  y = MatMul(d, v)
}
"""


def test_a_quantised_file_is_run_as_it_is(tmp_path: Path, random: np.random.Generator) -> None:
    codes = random.integers(-100, 100, (4, 3)).astype(np.int8)
    onnx.save(model(QUANTISED, {"w": codes}), tmp_path / "net.onnx")
    x = random.normal(size=(40, 4)).astype(np.float32)
    labels = (np.clip(np.rint(x / 0.5), -128, 127) @ (codes * 0.25)).argmax(1)
    np.savez(tmp_path / "d.npz", images=x, labels=labels)
    found = evaluator(tmp_path / "net.onnx", tmp_path / "d.npz")
    measured = found.measure(plan("w8a8"))
    assert (measured.value, measured.reference, measured.drop) == (100, None, None)
    assert measured.agreement is None
    assert found.measure(plan("w16a16")).value == 100  # wider formats hold the same numbers
    assert _refusal(tmp_path / "net.onnx", tmp_path / "d.npz", "w4a8") == (
        "'net' is quantised already, layer 'y' to w8a8: its accuracy at w4a8 cannot be measured\n"
        "  take --precision model, or the file of the float network"
    )


def test_masks_flip_as_often_as_they_should(random: np.random.Generator) -> None:
    mask = flip_mask((1000, 50), 6, 0.01, random)
    bits = np.array([(mask >> bit) & 1 for bit in range(7)])
    assert bits[6].sum() == 0
    expected = 50_000 * 0.01
    assert np.allclose(bits[:6].sum((1, 2)), expected, atol=5 * math.sqrt(expected))


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_flipped_weights_are_twos_complement(bits: int, random: np.random.Generator) -> None:
    weight = random.normal(size=(5, 200)).astype(np.float32)
    made = quantise_weight(weight, integer(bits), Scheme(), 0)
    assert made.codes is not None
    flipped = faulty_weight(made, bits, 0.5, random)
    codes = np.rint(flipped / made.scale).astype(int)
    if bits == 1:
        assert set(np.unique(codes)) == {-1, 1}
        return
    assert (codes.min(), codes.max()) == (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    unsigned = (codes ^ made.codes) & (2**bits - 1)
    assert abs(np.mean([(unsigned >> b) & 1 for b in range(bits)]) - 0.5) < 0.05


def test_faults_are_seeded_and_none_is_none(digits: Evaluator) -> None:
    asked = plan("w8a8")
    clean = digits.measure(asked).value
    assert digits.measure(asked, faults=Faults(0.0)).value == clean
    first, again, other = (digits.measure(asked, faults=Faults(0.02, s)) for s in (1, 1, 2))
    assert first.score is not None
    assert again.score is not None
    assert other.score is not None
    assert np.array_equal(first.score.margins, again.score.margins)
    assert not np.array_equal(first.score.margins, other.score.margins)
    assert first.value < clean
    assert digits.measure(asked, faults=Faults(0.5)).value < 30
    noisy = digits.measure(asked, faults=Faults(0.02), sqnr=True)
    assert noisy.sqnr_db == digits.measure(asked, sqnr=True).sqnr_db


def test_faults_in_floats_and_rates_out_of_range(digits: Evaluator) -> None:
    with pytest.raises(OptionError) as caught:
        digits.measure(plan("bf16"), faults=Faults(0.1))
    assert str(caught.value) == ("--faults flips bits of integers, not of floating-point numbers")
    with pytest.raises(OptionError, match=r"a bit error rate is 0 to 0\.5, got 0\.7"):
        Faults(0.7)
