"""LSTM, GRU and RNN: a product over the whole sequence, then one small product a step.

For each direction the input projection runs once over all steps; the recurrent product runs once
a step (``trips``) since each step needs the last one's state. The gates of all directions are one
vector layer a step, which reads its slice of the projection and writes its slice of the sequence
in place: both are views. Multiply-accumulates: steps x batch x gates x H x (I + H) x directions.

Work of the gates per hidden unit and step, activations apart (those cost what their own table
says; the defaults are three sigmoids and two tanh, two sigmoids and one tanh, one tanh):

* LSTM: 4 sums of both projections; f*c + i*g (3), o*tanh(c) (1); peepholes 3 multiplications
  and 3 additions more.
* GRU: 3 sums, r*h (1), (1 - z)*n + z*h (4).
* RNN: 1 sum.

Clipping costs two comparisons a gate.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from npubench.frontend.graph import Node
from npubench.frontend.lower.context import Lowering, Scope, fail
from npubench.frontend.lower.costs import (
    DYNAMIC_QUANTISE,
    MICROSOFT,
    REQUANTISE,
    activation_work,
)
from npubench.ir import FORMATS, LoopNest, VectorKind

__all__ = ["LOWERINGS"]


@dataclass(frozen=True, slots=True)
class _Cell:
    """Gates of a cell, its own work per hidden unit, and its activations in evaluation order.

    ``evaluations`` gives how often each function of the activation list runs per step and unit.
    """

    gates: int
    alu: int
    activations: tuple[str, ...]
    evaluations: tuple[int, ...]


_LSTM = _Cell(4, 8, ("Sigmoid", "Tanh", "Tanh"), (3, 1, 1))
# onnxruntime's LSTM on int8 weights: its input and its state are quantised as they come.
_QUANTISED = "DynamicQuantizeLSTM"
_CELLS = {
    "LSTM": _LSTM,
    _QUANTISED: _LSTM,
    "GRU": _Cell(3, 8, ("Sigmoid", "Tanh"), (2, 1)),
    "RNN": _Cell(1, 1, ("Tanh",), (1,)),
}
_PEEPHOLE_WORK = 6
_CLIP_WORK = 2


def _gate_work(node: Node, cell: _Cell, directions: int) -> tuple[int, int]:
    """(alu, special) per hidden unit and step, summed over the directions."""
    named = node.attribute("activations", ()) or cell.activations * directions
    if len(named) != len(cell.activations) * directions:
        raise fail(
            node,
            f"{len(named)} activations for {directions} direction(s), "
            f"expected {len(cell.activations) * directions}",
        )
    alu = cell.alu * directions
    special = 0
    for name, times in zip(named, cell.evaluations * directions, strict=True):
        work = activation_work(str(name))
        alu += times * work[0]
        special += times * work[1]
    if cell is _LSTM and node.input(7):
        alu += _PEEPHOLE_WORK * directions
    if node.op == _QUANTISED:
        alu += REQUANTISE * directions
    if node.attribute("clip", 0.0):
        alu += _CLIP_WORK * cell.gates * directions
    return alu, special


def _recurrent(scope: Scope, node: Node) -> None:
    cell = _CELLS[node.op]
    data, weight, recurrence, bias = (node.input(i) for i in range(4))
    x, w, r = scope.shape(data), scope.shape(weight), scope.shape(recurrence)
    if len(x) != 3 or len(w) != 3 or len(r) != 3:
        raise fail(node, f"X {x}, W {w} and R {r} should have three axes each")
    if node.op == _QUANTISED:  # its weights are stored transposed
        w, r = (w[0], w[2], w[1]), (r[0], r[2], r[1])
    steps, batch = (x[1], x[0]) if node.attribute("layout", 0) else (x[0], x[1])
    directions, rows, hidden = r
    if rows != cell.gates * hidden or w != (directions, rows, x[2]):
        raise fail(node, f"X {x}, W {w} and R {r} do not fit {cell.gates} gate(s)")
    if not steps:
        raise fail(node, "its sequence has no steps")
    labels = (
        ("forward", "reverse") if directions == 2 else (node.attribute("direction", "forward"),)
    )
    dtype = scope.value(data).dtype
    state_type = FORMATS["uint8"] if node.op == _QUANTISED else dtype
    streamed = scope.read(data)
    if node.attribute("layout", 0):
        scope.name_axes(streamed, ("B", "T", "C"))
    if node.op == _QUANTISED:
        streamed = _quantise(scope, node, streamed)
    given = scope.reads(name for name in (node.input(5), node.input(6)) if name)
    partial: list[str] = []
    for label in labels:
        projected = scope.temporary(node, f"{label}.projected", (steps, batch, rows), dtype)
        scope.mac(
            node,
            LoopNest(B=batch, K=rows, C=x[2], OX=steps, input_extent=(1, 1, steps)),
            data=streamed,
            weight=scope.read(weight),
            bias=scope.read(bias) if bias else "",
            outputs=(projected,),
            suffix=f"{label}.input",
        )
        # The state before the first step: given, or set to zero. Later steps read it in place.
        state = scope.temporary(node, f"{label}.state", (batch, hidden), state_type)
        scope.move(node, given[:1], (state,), batch * hidden, suffix=f"{label}.start")
        recurred = scope.temporary(node, f"{label}.recurred", (batch, rows), dtype)
        scope.mac(
            node,
            LoopNest(B=batch, K=rows, C=hidden),
            data=state,
            weight=scope.read(recurrence),
            outputs=(recurred,),
            suffix=f"{label}.recurrence",
            trips=steps,
        )
        now = scope.temporary(node, f"{label}.projected_step", (batch, rows), dtype)
        scope.move(node, (projected,), (now,), 0, suffix=f"{label}.projected_step")
        partial += [now, recurred]
    alu, special = _gate_work(node, cell, directions)
    # Of states, each step leaves the next one's in place of its own.
    wanted = bool(node.outputs[0])
    step = (scope.temporary(node, "step", (directions, batch, hidden), dtype),) if wanted else ()
    scope.vector(
        node,
        VectorKind.RECURRENT,
        inputs=(*partial, *given, *scope.reads(node.inputs[7:])),
        outputs=(*step, *scope.writes(node.outputs[1:])),
        alu=alu * batch * hidden,
        special=special * batch * hidden,
        trips=steps,
        suffix="gates",
    )
    if wanted:
        scope.move(node, step, scope.writes(node.outputs[:1]), 0, suffix="sequence")


def _quantise(scope: Scope, node: Node, data: str) -> str:
    record = scope.tensor(data)
    quantised = scope.temporary(node, "quantised", record.shape, FORMATS["uint8"])
    scope.vector(
        node,
        VectorKind.QUANTIZE,
        inputs=(data,),
        outputs=(quantised,),
        alu=DYNAMIC_QUANTISE * record.elements,
        suffix="quantise",
    )
    return quantised


LOWERINGS: Mapping[tuple[str, str], Lowering] = {
    **{("", op): _recurrent for op in ("LSTM", "GRU", "RNN")},
    (MICROSOFT, _QUANTISED): _recurrent,
}
