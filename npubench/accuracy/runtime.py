"""onnxruntime, with what changes low-bit answers in silence switched off."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
from onnx import ModelProto

from npubench.errors import ModelError, Problem

__all__ = ["Arrays", "Network", "describe_runtime"]

Arrays = Mapping[str, npt.NDArray[Any]]

# From level *basic* on, onnxruntime re-quantises a float weight between DequantizeLinear and
# QuantizeLinear to 8 bits, whatever its width was: a 3-bit network then gives other answers.
_DISARMED = ["WeightBiasQuantization"]
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
        levels = onnxruntime.GraphOptimizationLevel
        options.graph_optimization_level = (
            levels.ORT_ENABLE_ALL if optimise else levels.ORT_DISABLE_ALL
        )
        try:
            self._session = onnxruntime.InferenceSession(
                model.SerializeToString(),
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


def _refused(error: Exception) -> ModelError:
    first = str(error).strip().splitlines()[0][:300] if str(error).strip() else repr(error)
    return ModelError(Problem(f"onnxruntime cannot run this model: {first}"))
