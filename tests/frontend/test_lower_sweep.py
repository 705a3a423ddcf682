"""Every single-operator model of ONNX's own backend tests goes through; nothing crashes.

These models come with their expected results, so their shapes are an oracle; and many come a
second time with the operator expanded into simpler ones, so their work is one too.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
import pytest
from onnx.backend.test.case.node import collect_testcases

from npubench.errors import ModelError
from npubench.frontend.load import read_graph_proto
from npubench.frontend.lower import lower_graph
from npubench.ir import Network, UnknownLayer

# Operators that nobody modelled: strings, sequences, trees, training, and what is listed below
# because it is new or rare. It may shrink; a new name needs a decision.
UNMODELLED = {
    "CausalConvWithState",
    "DeformConv",
    "ImageDecoder",
    "LinearAttention",
    "MelWeightMatrix",
    "NegativeLogLikelihoodLoss",
    "OptionalHasElement",
    "RegexFullMatch",
    "SoftmaxCrossEntropyLoss",
    "StringConcat",
    "StringNormalizer",
    "StringSplit",
    "TfIdfVectorizer",
    "ai.onnx.ml.LabelEncoder",
    "ai.onnx.ml.TreeEnsemble",
    "ai.onnx.preview.FlexAttention",
    "ai.onnx.preview.training.Adagrad",
    "ai.onnx.preview.training.Adam",
    "ai.onnx.preview.training.Momentum",
}
# Their results are as long as the data says; the network has the longest.
DATA_DEPENDENT = ("test_nonzero", "test_unique", "test_nonmaxsuppression", "test_compress")


@dataclass(frozen=True)
class Case:
    name: str
    network: Network | None
    expected: list[np.ndarray | None]


@pytest.fixture(scope="module")
def cases() -> dict[str, Case]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # onnx overflows on purpose in its cases
        collected = collect_testcases(None)
    found = {}
    for case in collected:
        try:
            network = lower_graph(read_graph_proto(case.model)).network
        except ModelError:
            network = None
        results = case.data_sets[0][1] if case.data_sets else []
        arrays = [r if isinstance(r, np.ndarray) else None for r in results]
        found[case.name] = Case(case.name, network, arrays)
    return found


def test_most_cases_lower(cases: dict[str, Case]) -> None:
    lowered = [case for case in cases.values() if case.network is not None]
    assert len(lowered) > 0.8 * len(cases)


def test_only_listed_operators_are_unknown(cases: dict[str, Case]) -> None:
    unknown = {
        layer.op
        for case in cases.values()
        if case.network is not None
        for layer in case.network.layers
        if isinstance(layer, UnknownLayer) and "is not modelled" in layer.reason
    }
    # Einsum is modelled; one case takes a diagonal.
    assert unknown - {"Einsum"} <= UNMODELLED


def test_result_shapes_are_the_expected_ones(cases: dict[str, Case]) -> None:
    wrong = []
    for case in cases.values():
        if case.network is None or case.name.startswith(DATA_DEPENDENT):
            continue
        for name, array in zip(case.network.outputs, case.expected, strict=False):
            if array is not None and case.network.tensors[name].shape != array.shape:
                wrong.append((case.name, name, case.network.tensors[name].shape, array.shape))
    assert wrong == []


def test_expanded_operators_have_the_same_macs(cases: dict[str, Case]) -> None:
    """An operator and its own definition in simpler operators do the same products."""
    compared, differing = set(), []
    for case in cases.values():
        twin = cases.get(f"{case.name}_expanded") or cases.get(f"{case.name}_expanded_function")
        if twin is None or twin.network is None or case.network is None:
            continue
        if any(isinstance(layer, UnknownLayer) for layer in case.network.layers):
            continue
        if twin.network.macs or case.network.macs:
            compared.add(case.name)
            if twin.network.macs != case.network.macs:
                differing.append((case.name, case.network.macs, twin.network.macs))
    assert differing == []
    assert len(compared) > 40
