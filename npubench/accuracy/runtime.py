"""onnxruntime, with what changes low-bit answers in silence switched off."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
from onnx import ModelProto, TensorProto

from npubench.errors import ModelError, Problem

__all__ = ["Arrays", "Network", "describe_runtime"]

Arrays = Mapping[str, npt.NDArray[Any]]

# From level *basic* on, onnxruntime re-quantises a float weight between DequantizeLinear and
# QuantizeLinear to 8 bits, whatever its width was: a 3-bit network then gives other answers.
_DISARMED = ["WeightBiasQuantization"]
# On x86 without VNNI, 8-bit kernels add pairs of products in 16 bits, which saturate for weights
# beyond +-64: answers change in silence with the processor. This option keeps the sums whole.
_WHOLE_SUMS = ("session.x64quantprecision", "1")
_FATAL = 4


class Network:
    """An ONNX model ready to run on the CPU.

    Args:
        model: at most the IR and opset versions that the installed onnxruntime reads.
        threads: within an operator.
        optimise: whether graph optimisations run; answers must not depend on it.

    Raises:
        ModelError: onnxruntime cannot run the model.
    """

    def __init__(self, model: ModelProto, *, threads: int = 2, optimise: bool = True) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = _FATAL
        options.add_session_config_entry(*_WHOLE_SUMS)
        levels = onnxruntime.GraphOptimizationLevel
        options.graph_optimization_level = (
            levels.ORT_ENABLE_ALL if optimise else levels.ORT_DISABLE_ALL
        )
        try:
            self._session = onnxruntime.InferenceSession(
                _unshare(model).SerializeToString(),
                options,
                providers=["CPUExecutionProvider"],
                disabled_optimizers=_DISARMED,
            )
        except Exception as error:  # its errors share no base class of their own
            raise _refused(error) from error

    def run(self, outputs: Sequence[str], feeds: Arrays) -> list[npt.NDArray[Any]]:
        """The named outputs.

        Raises:
            ModelError: onnxruntime refused the values or failed on the way.
        """
        try:
            found = self._session.run(list(outputs), dict(feeds))
        except Exception as error:  # as above
            raise _refused(error) from error
        return [np.asarray(array) for array in found]


def describe_runtime() -> str:
    """``onnxruntime 1.31.1``."""
    return f"onnxruntime {onnxruntime.__version__}"


def _unshare(model: ModelProto) -> ModelProto:
    """The model with a constant of its own for every reader of signed bytes.

    Keeping sums whole shifts signed weights to unsigned ones, node by node, and fails on a zero
    point that two nodes share (onnxruntime 1.32: "Attempt to replace the existing tensor").
    """
    signed = {t.name for t in model.graph.initializer if t.data_type == TensorProto.INT8}
    reads = Counter(name for node in model.graph.node for name in node.input if name in signed)
    if not any(count > 1 for count in reads.values()):
        return model
    copy = ModelProto()
    copy.CopyFrom(model)
    tensors = {t.name: t for t in copy.graph.initializer}
    seen: Counter[str] = Counter()
    for node in copy.graph.node:
        for place, name in enumerate(node.input):
            if name not in signed:
                continue
            seen[name] += 1
            if seen[name] > 1:
                own = copy.graph.initializer.add()
                own.CopyFrom(tensors[name])
                own.name = f"{name}:{seen[name]}"
                node.input[place] = own.name
    return copy


def _refused(error: Exception) -> ModelError:
    first = str(error).strip().splitlines()[0][:300] if str(error).strip() else repr(error)
    return ModelError(Problem(f"onnxruntime cannot run this model: {first}"))
