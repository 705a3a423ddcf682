"""Write a skeleton directly, counting parameters and MACs from the arguments of each layer.

For networks whose ONNX operators (LRN, LSTM) the torch exporter would take apart.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import ModelProto, TensorProto, ValueInfoProto, helper, numpy_helper
from skeleton import finish


class Builder:
    """A graph under construction; every layer method returns the name of its output."""

    def __init__(self, name: str) -> None:
        self.params = 0
        self.macs = 0
        self._name = name
        self._nodes: list[Any] = []
        self._inputs: list[ValueInfoProto] = []
        self._weights: list[ValueInfoProto] = []
        self._constants: list[TensorProto] = []

    def input(self, name: str, shape: list[int]) -> str:
        self._inputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
        return name

    def conv(
        self,
        name: str,
        source: str,
        weight: tuple[int, int, int, int],
        out: int,
        *,
        stride: int = 1,
        pad: int = 0,
        group: int = 1,
    ) -> str:
        """Square convolution; weight is (K, C per group, FY, FX), out the side of its output."""
        self.macs += int(np.prod(weight)) * out * out
        operands = [
            source,
            self._weight(f"{name}.weight", weight),
            self._weight(f"{name}.bias", weight[:1]),
        ]
        attributes = {"strides": [stride] * 2, "pads": [pad] * 4, "group": group}
        return self.node("Conv", name, operands, kernel_shape=list(weight[2:]), **attributes)

    def linear(self, name: str, source: str, inputs: int, outputs: int) -> str:
        """Gemm of one row."""
        self.macs += inputs * outputs
        weight = self._weight(f"{name}.weight", (outputs, inputs))
        return self.node(
            "Gemm", name, [source, weight, self._weight(f"{name}.bias", (outputs,))], transB=1
        )

    def lstm(self, name: str, source: str, steps: int, inputs: int, hidden: int) -> str:
        """One direction, batch 1, two biases per gate, zero initial state; [steps, 1, hidden]."""
        gates = 4 * hidden
        self.macs += steps * gates * (inputs + hidden)
        weights = [
            self._weight(f"{name}.w", (1, gates, inputs)),
            self._weight(f"{name}.r", (1, gates, hidden)),
            self._weight(f"{name}.b", (1, 2 * gates)),
        ]
        states = self.node("LSTM", name, [source, *weights], hidden_size=hidden)
        return self.node(
            "Squeeze", f"{name}.squeeze", [states, self._integers("direction_axis", [1])]
        )

    def reshape(self, name: str, source: str, shape: list[int]) -> str:
        return self.node("Reshape", name, [source, self._integers(f"{name}.shape", shape)])

    def node(self, op: str, name: str, operands: list[str], **attributes: Any) -> str:
        self._nodes.append(helper.make_node(op, operands, [f"{name}.out"], name, **attributes))
        return f"{name}.out"

    def build(self, output: str, name: str, shape: list[int]) -> ModelProto:
        """Finish with one output, called `name`."""
        self._nodes[-1].output[0] = name
        if f"{self._nodes[-1].name}.out" != output:
            raise ValueError(f"{output} is not the last value")
        graph = helper.make_graph(
            self._nodes,
            self._name,
            [*self._inputs, *self._weights],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)],
            self._constants,
        )
        return finish(graph, [value.name for value in self._weights])

    def _weight(self, name: str, shape: tuple[int, ...]) -> str:
        self.params += int(np.prod(shape))
        self._weights.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
        return name

    def _integers(self, name: str, values: list[int]) -> str:
        if all(constant.name != name for constant in self._constants):
            self._constants.append(numpy_helper.from_array(np.array(values, np.int64), name))
        return name
