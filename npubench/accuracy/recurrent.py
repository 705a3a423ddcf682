"""LSTM, GRU and RNN unrolled: one product over the sequence, then one product a step.

The operators hide their products; unrolled over the steps of the sequence, each is a MatMul whose
operands get quantisers like any other. Source of the equations: the ONNX operator specification.
What cannot be unrolled is left as it is, and refused where its layers are looked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import GraphProto, NodeProto, helper, numpy_helper

from npubench.ir import Network

__all__ = ["MOST_STEPS", "RECURRENT", "attribute", "expand_recurrent"]

MOST_STEPS = 2048  # a graph of some tens of thousands of nodes is what a session still takes

_GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
RECURRENT = tuple(_GATES)
_FUNCTIONS = {"LSTM": ("Sigmoid", "Tanh", "Tanh"), "GRU": ("Sigmoid", "Tanh"), "RNN": ("Tanh",)}
# Those that take no parameters of their own.
_KNOWN = {f.lower(): f for f in ("Sigmoid", "Tanh", "Relu", "Softsign", "Softplus")}
Constants = dict[str, npt.NDArray[Any]]


def attribute(node: NodeProto, name: str, default: Any) -> Any:
    """An attribute of a node as a Python value."""
    found = next((a for a in node.attribute if a.name == name), None)
    return default if found is None else helper.get_attribute_value(found)


def expand_recurrent(
    graph: GraphProto, network: Network, constants: Constants
) -> Mapping[str, tuple[str, ...]]:
    """Unroll the recurrent nodes of a graph, in place.

    Args:
        graph: its nodes are in topological order.
        network: the same as the frontend lowered it; it knows the number of steps.
        constants: values by name; the weights of each direction are added.

    Returns:
        Results of the products of each layer by the layer's name: one for the input of all steps,
        one a step (two for a GRU that resets its state before the product) for the recurrence.
    """
    steps = {layer.name: layer.nest.OX for layer in network.mac_layers if layer.op in _GATES}
    products: dict[str, tuple[str, ...]] = {}
    nodes: list[NodeProto] = []
    for node in graph.node:
        base = node.name or next((o for o in node.output if o), "")
        known = [
            steps[f"{base}.{d}.input"] for d in _directions(node) if f"{base}.{d}.input" in steps
        ]
        if node.op_type in _GATES and known and _can_unroll(node, constants, known[0]):
            unrolled = _Unrolled(node, base, graph, constants, known[0])
            nodes += unrolled.nodes
            products |= unrolled.products
        else:
            nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)
    return products


def _directions(node: NodeProto) -> tuple[str, ...]:
    direction = attribute(node, "direction", b"forward").decode()
    return ("forward", "reverse") if direction == "bidirectional" else (direction,)


def _operand(node: NodeProto, index: int) -> str:
    return str(node.input[index]) if index < len(node.input) else ""


def _functions(node: NodeProto) -> list[str]:
    named = [f.decode() for f in attribute(node, "activations", [])]
    return named or [*_FUNCTIONS[node.op_type]] * len(_directions(node))


def _can_unroll(node: NodeProto, constants: Constants, steps: int) -> bool:
    """Constant weights, whole sequences, functions without parameters, not too many steps."""
    held = [name for name in (*node.input[1:4], _operand(node, 7)) if name]
    lengths = _operand(node, 4)
    return (
        steps <= MOST_STEPS
        and all(name in constants for name in held)
        and all(f.lower() in _KNOWN for f in _functions(node))
        and not attribute(node, "activation_alpha", [])
        and not attribute(node, "activation_beta", [])
        and (not lengths or (lengths in constants and bool(np.all(constants[lengths] == steps))))
    )


@dataclass
class _Unrolled:
    """The nodes that stand for one recurrent node.

    Attributes:
        node: the recurrent one.
        base: begins every name.
        graph: takes the constants.
        constants: so does this.
        steps: of the sequence.
        nodes: what was made, in order.
        products: see `expand_recurrent`.
    """

    node: NodeProto
    base: str
    graph: GraphProto
    constants: Constants
    steps: int
    nodes: list[NodeProto] = field(default_factory=list)
    products: dict[str, tuple[str, ...]] = field(default_factory=dict)
    _made: int = 0

    def __post_init__(self) -> None:
        node = self.node
        self.op = node.op_type
        self.gates = _GATES[self.op]
        self.hidden = self.constants[node.input[2]].shape[2]
        self.clip = float(attribute(node, "clip", 0.0))
        self.batch_first = bool(attribute(node, "layout", 0))
        functions = _functions(node)
        each = len(_FUNCTIONS[self.op])
        data = str(node.input[0])
        if self.batch_first:
            data = self.add("Transpose", data, perm=[1, 0, 2])
        ends = [
            self._direction(d, label, data, functions[d * each : (d + 1) * each])
            for d, label in enumerate(_directions(node))
        ]
        self._results(ends)

    def add(self, op: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        """A node of one result; gives its name."""
        self._made += 1
        output = output or f"{self.base}:{self._made}"
        name = f"{self.base}#{self._made}"
        self.nodes.append(helper.make_node(op, list(inputs), [output], name=name, **attributes))
        return output

    def constant(self, name: str, array: npt.NDArray[Any]) -> str:
        """A constant of the graph."""
        if name not in self.constants:
            self.constants[name] = np.ascontiguousarray(array)
            self.graph.initializer.append(numpy_helper.from_array(self.constants[name], name))
        return name

    def split(self, source: str, axis: int, sizes: list[int]) -> list[str]:
        """Pieces along an axis."""
        if len(sizes) == 1:
            return [source]
        self._made += 1
        parts = [f"{self.base}:{self._made}.{i}" for i in range(len(sizes))]
        lengths = self.constant(
            f"{self.base}:sizes.{len(sizes)}.{sizes[0]}", np.array(sizes, np.int64)
        )
        name = f"{self.base}#{self._made}"
        self.nodes.append(helper.make_node("Split", [source, lengths], parts, name=name, axis=axis))
        return parts

    def _weight(self, index: int, direction: int) -> npt.NDArray[Any]:
        return np.asarray(self.constants[self.node.input[index]][direction], np.float32)

    def _direction(
        self, direction: int, label: str, data: str, functions: list[str]
    ) -> tuple[list[str], str, str]:
        """States after each step in the order of the sequence, the last state, the last cell."""
        key = f"{self.base}.{label}"
        rows = self.gates * self.hidden
        resets_late = self.op == "GRU" and bool(attribute(self.node, "linear_before_reset", 0))
        bias = np.zeros((2, rows), np.float32)
        if _operand(self.node, 3):
            bias = self._weight(3, direction).reshape(2, rows)
        late = np.zeros(rows, np.float32)
        if resets_late:  # its recurrent bias of the new state is inside the reset
            late[2 * self.hidden :] = bias[1, 2 * self.hidden :]
        projected = self.add(
            "MatMul", data, self.constant(f"{key}.input.weight", self._weight(1, direction).T)
        )
        self.products[f"{key}.input"] = (projected,)
        summed = self.constant(f"{key}.input.bias", bias.sum(0) - late)
        per_step = self.split(self.add("Add", projected, summed), 0, [1] * self.steps)
        recurrence = self.constant(f"{key}.recurrence.weight", self._weight(2, direction).T)
        cell = _Cell(self, key, direction, functions, recurrence, late if resets_late else None)
        state, memory = (self._start(i, direction, data) for i in (5, 6))
        states: list[str] = []
        order = range(self.steps) if label == "forward" else reversed(range(self.steps))
        for step in order:
            state, memory = cell.step(per_step[step], state, memory)
            states.append(state)
        self.products[f"{key}.recurrence"] = tuple(cell.products)
        return (states if label == "forward" else states[::-1]), state, memory

    def _start(self, operand: int, direction: int, data: str) -> str:
        """The state before the first step, [1, batch, hidden]: given, or zero."""
        if operand == 6 and self.op != "LSTM":
            return ""
        given = _operand(self.node, operand)
        if given:
            if self.batch_first:
                given = self.add("Transpose", given, perm=[1, 0, 2])
            return self.split(given, 0, [1] * len(_directions(self.node)))[direction]
        one = self.constant(f"{self.base}:one", np.array([1], np.int64))
        batch = self.add("Shape", data, start=1, end=2)
        shape = self.add("Concat", one, batch, one, axis=0)
        zero = self.constant(f"{self.base}:zero", np.zeros((1, 1, self.hidden), np.float32))
        return self.add("Expand", zero, shape)

    def _results(self, ends: list[tuple[list[str], str, str]]) -> None:
        whole, *last = (*self.node.output, "", "")[:3]
        if whole:
            place = self.constant(f"{self.base}:axis", np.array([1], np.int64))
            sides = [
                self.add("Unsqueeze", self.add("Concat", *states, axis=0), place)
                for states, _, _ in ends
            ]
            joined = self.add("Concat", *sides, axis=1)  # [steps, directions, batch, hidden]
            if self.batch_first:
                self.add("Transpose", joined, output=whole, perm=[2, 0, 1, 3])
            else:
                self.add("Identity", joined, output=whole)
        for wanted, place_of in zip(last, (1, 2), strict=True):
            if wanted:
                joined = self.add("Concat", *(str(end[place_of]) for end in ends), axis=0)
                if self.batch_first:
                    self.add("Transpose", joined, output=wanted, perm=[1, 0, 2])
                else:
                    self.add("Identity", joined, output=wanted)


@dataclass
class _Cell:
    """One direction's step."""

    to: _Unrolled
    key: str
    direction: int
    functions: list[str]
    recurrence: str
    late: npt.NDArray[np.float32] | None
    products: list[str] = field(default_factory=list)

    def step(self, projected: str, state: str, memory: str) -> tuple[str, str]:
        """The state and the memory after a step; [1, batch, hidden] each."""
        if self.to.op == "LSTM":
            return self._lstm(projected, state, memory)
        if self.to.op == "GRU":
            return self._gru(projected, state), ""
        total = self.to.add("Add", projected, self._product(state))
        return self._apply(0, total), ""

    def _product(self, state: str) -> str:
        made = self.to.add("MatMul", state, self.recurrence)
        self.products.append(made)
        return made

    def _gates(self, source: str) -> list[str]:
        return self.to.split(source, 2, [self.to.hidden] * self.to.gates)

    def _apply(self, function: int, source: str) -> str:
        if self.to.clip:
            bounds = [
                self.to.constant(
                    f"{self.to.base}:clip{sign:+d}", np.array(sign * self.to.clip, np.float32)
                )
                for sign in (-1, 1)
            ]
            source = self.to.add("Clip", source, *bounds)
        return self.to.add(_KNOWN[self.functions[function].lower()], source)

    def _peep(self, gate: int, source: str, memory: str) -> str:
        """A gate that sees the memory: Pi, Po and Pf stand in this order."""
        name = _operand(self.to.node, 7)
        if not name:
            return source
        hidden = self.to.hidden
        weights = self.to.constants[name][self.direction][gate * hidden : (gate + 1) * hidden]
        peephole = self.to.constant(f"{self.key}.peephole.{gate}", np.asarray(weights, np.float32))
        return self.to.add("Add", source, self.to.add("Mul", memory, peephole))

    def _lstm(self, projected: str, state: str, memory: str) -> tuple[str, str]:
        add = self.to.add
        total = add("Add", projected, self._product(state))
        into, out, forget, new = self._gates(total)
        opened = self._apply(0, self._peep(0, into, memory))
        if attribute(self.to.node, "input_forget", 0):
            one = self.to.constant(f"{self.to.base}:unit", np.array(1, np.float32))
            kept = add("Sub", one, opened)
        else:
            kept = self._apply(0, self._peep(2, forget, memory))
        added = add("Mul", opened, self._apply(1, new))
        memory = add("Add", add("Mul", kept, memory), added)
        shown = self._apply(0, self._peep(1, out, memory))
        # Clipping is for what enters from sums, not for the memory.
        function = _KNOWN[self.functions[2].lower()]
        return add("Mul", shown, add(function, memory)), memory

    def _gru(self, projected: str, state: str) -> str:
        add = self.to.add
        update, reset, new = self._gates(projected)
        recurred = self._product(state)
        if self.late is not None and self.late.any():
            bias = self.to.constant(f"{self.key}.recurrence.bias", self.late)
            recurred = add("Add", recurred, bias)
        its_update, its_reset, its_new = self._gates(recurred)
        kept = self._apply(0, add("Add", update, its_update))
        let = self._apply(0, add("Add", reset, its_reset))
        if self.late is not None:
            seen = add("Mul", let, its_new)
        else:
            seen = self._gates(self._product(add("Mul", let, state)))[2]
        fresh = self._apply(1, add("Add", new, seen))
        # (1 - z) h + z s
        return add("Add", fresh, add("Mul", kept, add("Sub", state, fresh)))
