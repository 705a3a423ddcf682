"""Small networks in the onnx text form, with weights, for the tests of this folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import ModelProto, numpy_helper, parser

from npubench.accuracy.calibrate import Calibration
from npubench.accuracy.datasets import open_dataset
from npubench.accuracy.evaluator import Evaluator
from npubench.accuracy.model import TrainedModel, open_model
from npubench.frontend import LoadedNetwork, load_network
from npubench.ir import PrecisionPlan, Scheme, parse_precision

HEADER = '<ir_version: 8, opset_import: ["" : {opset}]>\n'


def model(text: str, weights: dict[str, np.ndarray], opset: int = 17) -> ModelProto:
    """A checked model of a graph text and its initialisers."""
    proto = parser.parse_model(HEADER.format(opset=opset) + text)
    for name, array in weights.items():
        proto.graph.initializer.append(numpy_helper.from_array(array, name))
    onnx.checker.check_model(proto)
    return proto


def opened(
    folder: Path, proto: ModelProto, name: str = "net"
) -> tuple[TrainedModel, LoadedNetwork]:
    path = folder / f"{name}.onnx"
    onnx.save(proto, path)
    loaded = load_network(path)
    return open_model(path, loaded), loaded


def plan(text: str, **scheme: object) -> PrecisionPlan:
    return PrecisionPlan(parse_precision(text), scheme=Scheme(**scheme))  # type: ignore[arg-type]


def evaluator(path: str | Path, data: str | Path, **more: object) -> Evaluator:
    loaded = load_network(path)
    return Evaluator(
        open_model(Path(path), loaded),
        open_dataset(str(data)),
        own=loaded.plan,
        **more,  # type: ignore[arg-type]
    )


MINMAX = Calibration(method="minmax")
