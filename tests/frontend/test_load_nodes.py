"""Oracle: the operators' own test cases of onnx, read with and without their data known."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from onnx.backend.test.case.node import collect_testcases

from npubench.errors import ModelError
from npubench.frontend.load import read_graph_proto

Case = tuple[str, onnx.ModelProto, list[np.ndarray], list[np.ndarray]]

# Why a case may be refused; everything else must be read.
ACCEPTED = (
    "npubench reads tensors only",
    "an extent is at least 1",
    "npubench reads 7 to",
    "is in training mode",
    "carries a graph that npubench does not know",
    "the Scan of opset 8 is not read",
    "holds complex numbers",
)
RUN_TIME = (
    *ACCEPTED,
    "depends on values that are known only at run time",
    "decided at run time",
    "cannot be worked out",
)


@pytest.fixture(scope="module")
def cases() -> list[Case]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # onnx overflows on purpose in some of its examples
        return list(_arrays_only())


def _arrays_only() -> Iterator[Case]:
    for case in collect_testcases(None):
        for inputs, outputs in case.data_sets[:1]:
            tensors = all(isinstance(a, np.ndarray) for a in inputs)
            if tensors and len(inputs) == len(case.model.graph.input):
                yield case.name, case.model, inputs, outputs


def _without_shapes(model: onnx.ModelProto) -> onnx.ModelProto:
    bare = onnx.ModelProto()
    bare.CopyFrom(model)
    del bare.graph.value_info[:]
    for output in bare.graph.output:
        if output.type.HasField("tensor_type"):
            output.type.tensor_type.ClearField("shape")
    return bare


def test_results_have_the_shapes_that_a_run_has(cases):
    """Integers are held as constants here, as exporters hold axes, targets and sizes."""
    read, wrong = 0, []
    for name, model, inputs, outputs in cases:
        bare = _without_shapes(model)
        for info, array in zip(bare.graph.input, inputs, strict=True):
            if array.dtype.kind in "iub":
                bare.graph.initializer.append(numpy_helper.from_array(array, info.name))
        try:
            graph = read_graph_proto(bare)
        except ModelError as error:
            if not any(reason in str(error) for reason in RUN_TIME):
                wrong.append((name, str(error)))
            continue
        read += 1
        got = [graph.values[n].shape for n in graph.outputs]
        expected = [np.shape(_array(o)) for o in outputs]
        bounded = "keeping all it may" in " ".join(graph.assumptions)
        if got != expected and not bounded:
            wrong.append((name, f"{got} instead of {expected}"))
    assert wrong == []
    assert read > 1450


def test_folded_constants_have_the_values_that_a_run_has(cases):
    folded, wrong = 0, []
    for name, model, inputs, outputs in cases:
        held = _without_shapes(model)
        for info, array in zip(held.graph.input, inputs, strict=True):
            held.graph.initializer.append(numpy_helper.from_array(array, info.name))
        try:
            graph = read_graph_proto(held)
        except ModelError as error:
            known = name.startswith(("test_image_decoder", "test_loop11"))
            if not known and not any(reason in str(error) for reason in ACCEPTED):
                wrong.append((name, str(error)))
            continue
        for output, expected in zip(graph.outputs, outputs, strict=True):
            data = graph.values[output].data
            if data is None:
                continue
            folded += 1
            if data.shape != np.shape(_array(expected)) or not _alike(data, _array(expected)):
                wrong.append((name, f"{data} instead of {expected}"))
    assert wrong == []
    assert folded > 1200


def _array(result: np.ndarray | onnx.TensorProto) -> np.ndarray:
    if isinstance(result, onnx.TensorProto):
        return numpy_helper.to_array(result)
    return np.asarray(result)


def _alike(got: np.ndarray, expected: np.ndarray) -> bool:
    if expected.dtype.kind in "OUST":
        return got.astype(str).tolist() == expected.astype(str).tolist()
    a, b = (np.asarray(array).astype(np.float64) for array in (got, expected))
    return np.allclose(a, b, rtol=1e-3, atol=1e-5, equal_nan=True)
