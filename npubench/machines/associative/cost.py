"""Cycles and joules of a network on an associative processor, counted from its programs."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TypeAlias

from npubench.ir import Layer, MacLayer, MoveLayer, Network, PrecisionPlan, Role, VectorLayer
from npubench.machines.associative.emulator import measured_activity
from npubench.machines.associative.functions import KINDS, steps_of, word_bits
from npubench.machines.associative.mapping import (
    AssociativeMapping,
    Placement,
    parallel_rows,
    step_cycles,
)
from npubench.machines.associative.operations.arithmetic import accumulate
from npubench.machines.associative.operations.requantize import requantize
from npubench.machines.associative.reduction import levels_of
from npubench.machines.associative.rows import (
    Charge,
    charge,
    fold_count,
    loaded,
    program_charge,
    read,
)
from npubench.machines.associative.spec import AssociativeSpec
from npubench.machines.common.storage import storage_bits
from npubench.machines.protocol import ConstantUse, Cost, LayerCost
from npubench.specs.quantity import walk_quantities

__all__ = ["cost_network"]

_Charges: TypeAlias = dict[str, Charge]
_PASSES_A_LEVEL = 4


def cost_network(
    spec: AssociativeSpec, network: Network, plan: PrecisionPlan, mapping: AssociativeMapping
) -> Cost:
    """Cost of every layer, one after another."""
    return _Coster(spec, network, plan, mapping).cost()


class _Coster:
    """Adds up one network's cost; joules are also kept by the constant they rest on."""

    def __init__(
        self,
        spec: AssociativeSpec,
        network: Network,
        plan: PrecisionPlan,
        mapping: AssociativeMapping,
    ) -> None:
        self.spec, self.network, self.plan, self.mapping = spec, network, plan, mapping
        self.bits = storage_bits(network, plan)
        self.by_constant: defaultdict[str, float] = defaultdict(float)
        self.other_model_j = 0.0
        self.array_j = 0.0
        self.changed = 0.0
        self.approximate: set[str] = set()

    def cost(self) -> Cost:
        layers = tuple(self._layer(layer) for layer in self.network.layers)
        return Cost(
            layers=layers,
            clock_hz=self.spec.clock.value,
            interval_cycles=sum(layer.cycles for layer in layers),
            assumptions=self._assumptions(),
            constants=tuple(
                ConstantUse(path, str(q), q.confidence, q.source, self.by_constant.get(path, 0.0))
                for path, q in walk_quantities(self.spec)
                if not path.startswith("voltage.")
            ),
        )

    def _layer(self, layer: Layer) -> LayerCost:
        if isinstance(layer, MacLayer):
            return self._mac(layer)
        if isinstance(layer, VectorLayer):
            return self._vector(layer)
        return self._movement(layer)

    def _mac(self, layer: MacLayer) -> LayerCost:
        placed = self.mapping.layers[layer.name]
        precision = self.plan.of(layer.name)
        charges = self._products(placed)
        columns = precision.activation.bits + precision.weight.bits
        rows = placed.segments * placed.terms
        load = loaded(self.spec, columns, rows, placed.folds)
        if self.spec.loading == "pipelined":
            load = self._hidden(load, charges, placed.folds)
        charges["load"] = load
        summed = placed.summing.output("sum").bits
        charges["read"] = read(summed, placed.segments, placed.folds)
        gathered = placed.segments * summed
        self._partial_sums(placed, charges)
        out_bits = word_bits(self.bits[layer.outputs[0]])
        self._requantize(placed, charges, out_bits, bias=bool(layer.bias))
        tensors = {
            layer.data: precision.activation.bits,
            layer.weight: precision.weight.bits,
            layer.outputs[0]: out_bits,
        }
        moved = sum(self.network.tensors[name].elements * bits for name, bits in tensors.items())
        note = f"{placed.products} x {placed.terms} rows"
        if placed.chunks > 1:
            note = f"{placed.products} x {placed.chunks} x {placed.terms} rows"
        if placed.folds > 1:
            note += f", {placed.folds} folds"
        products = layer.macs // layer.trips
        at_once = parallel_rows(self.spec, precision, products)
        each = step_cycles(self.spec, placed.multiplication.counts)
        return self._record(layer, charges, moved, 2 * gathered, (at_once, each), note)

    def _products(self, placed: Placement) -> _Charges:
        """Multiplication and reduction of all segments."""
        rows = placed.segments * placed.terms
        changed = measured_activity(placed.multiplication).flipped_cells
        product = placed.multiplication.counts
        multiply = charge(self.spec, product, rows, placed.folds, changed)
        reduction = charge(self.spec, placed.summing.counts, placed.segments, placed.folds)
        if self.spec.reduction == "literature":
            cell = self.spec.cell
            a_pass = cell.compare_cycles.integer + cell.write.cycles.integer
            cycles = _PASSES_A_LEVEL * levels_of(placed.terms) * a_pass * placed.folds
            reduction = replace(reduction, cycles=cycles)
        return {"multiply": multiply, "reduction": reduction}

    def _hidden(self, load: Charge, charges: _Charges, folds: int) -> Charge:
        """Loading beside the fold before: the first fold waits, others only for what is longer."""
        each = load.cycles // folds
        busy = sum(part.cycles for part in charges.values()) // folds
        cycles = each + (folds - 1) * max(each - busy, 0)
        return replace(load, cycles=cycles)

    def _partial_sums(self, placed: Placement, charges: _Charges) -> None:
        """Chunks of a scalar product, gathered into one row each and added up."""
        if placed.chunks == 1:
            return
        program = accumulate(placed.sum_bits, placed.sum_bits, signed=True)
        folds = fold_count(self.spec, placed.products, 1, program.width)
        one = charge(self.spec, program.counts, placed.products, folds)
        one += loaded(self.spec, placed.sum_bits, placed.products, folds)
        charges["partial_sums"] = one.times(placed.chunks - 1)

    def _requantize(
        self, placed: Placement, charges: _Charges, out_bits: int, *, bias: bool
    ) -> None:
        """Sums gathered into dense rows, scaled, rounded, clipped and read out."""
        factor = self.spec.multiplier_bits.integer
        bits = placed.sum_bits
        shift = min(max(bits + factor - out_bits, 0), bits + factor)
        program = requantize(bits, factor, shift, out_bits, bias=bias)
        core, load, out = program_charge(self.spec, program, placed.products)
        charges["requantize"] = core
        charges["load"] += load
        charges["read"] += out

    def _vector(self, layer: VectorLayer) -> LayerCost:
        steps, how = steps_of(self.spec, self.network, layer, self.bits)
        if how:
            self.approximate.add(layer.op)
        kind = KINDS[layer.kind]
        charges: _Charges = {kind: Charge(), "load": Charge(), "read": Charge()}
        for step in steps:
            core, load, out = program_charge(self.spec, step.program, step.segments)
            charges[kind] += core.times(step.times)
            charges["load"] += load
            charges["read"] += out
        return self._record(layer, charges, self._tensor_bits(layer), note=how)

    def _movement(self, layer: Layer) -> LayerCost:
        """Columns read and written again; an unknown operator reads and writes all its tensors."""
        if isinstance(layer, MoveLayer):
            if not layer.elements or not layer.outputs:
                return self._record(layer, {}, 0)
            moved = [(layer.elements, word_bits(self.bits[layer.outputs[0]]))]
        else:
            moved = [
                (self.network.tensors[name].elements, word_bits(self.bits[name]))
                for name in dict.fromkeys((*layer.inputs, *layer.outputs))
            ]
        charges: _Charges = {"load": Charge(), "read": Charge()}
        for elements, bits in moved:
            folds = fold_count(self.spec, elements, 1, bits)
            charges["load"] += loaded(self.spec, bits, elements, folds)
            charges["read"] += read(bits, elements, folds)
        total = sum(elements * bits for elements, bits in moved)
        return self._record(layer, charges, 2 * total)

    def _tensor_bits(self, layer: Layer) -> int:
        names = dict.fromkeys((*layer.inputs, *layer.outputs))
        return sum(self.network.tensors[n].elements * word_bits(self.bits[n]) for n in names)

    def _record(
        self,
        layer: Layer,
        charges: Mapping[str, Charge],
        mesh_bits: int,
        staged_bits: int = 0,
        peak: tuple[int, int] | None = None,
        note: str = "",
    ) -> LayerCost:
        """The layer's cost, all trips.

        Args:
            layer: which.
            charges: one trip's work by kind.
            mesh_bits: bits of one trip that cross the mesh, from and into staging memories.
            staged_bits: bits that go through staging memories without crossing the mesh.
            peak: rows that multiply at once, and cycles of a multiplication.
            note: for the result.
        """
        causes: Counter[str] = Counter()
        energy: defaultdict[str, float] = defaultdict(float)
        for kind, part in charges.items():
            work = part.times(layer.trips)
            causes[kind] += work.cycles
            energy[kind] += self._array_energy(work)
        mesh = self.spec.mesh
        hops, links = _mesh_shape(self.spec.organisation.clusters.integer)
        bits = mesh_bits * layer.trips
        causes["mesh"] += math.ceil(bits * hops / (links * mesh.width.value))
        wire_j = bits * hops * mesh.hop.value * mesh.energy.value
        energy["mesh"] += self._spend("mesh.energy", wire_j)
        through = bits + staged_bits * layer.trips
        energy["staging"] += self._spend("staging", through * self.spec.staging.value)
        seconds = sum(causes.values()) / self.spec.clock.value
        energy["static"] += self._spend("static_power", seconds * self.spec.static_power.value)
        cycles = sum(causes.values())
        utilization = None
        if peak is not None:
            at_once, each = peak
            utilization = layer.macs * each / (at_once * cycles)
        return LayerCost(
            name=layer.name,
            op=layer.op,
            macs=layer.macs,
            latency_by_cause={cause: count for cause, count in causes.items() if count},
            energy_by_component={part: j for part, j in energy.items() if j},
            utilization=utilization,
            precision=self.plan.of(layer.name) if isinstance(layer, MacLayer) else None,
            note=note,
        )

    def _array_energy(self, work: Charge) -> float:
        """Joules of compares and writes under the spec's model; the other's are kept beside."""
        cell = self.spec.cell
        compare = work.compared * cell.compare_energy.value
        write = work.changed * cell.write.energy.value
        self.changed += work.changed
        if cell.pass_energy is not None:
            passes = work.row_passes * cell.pass_energy.value
            # Loading has no pass: what it costs is the write of the cells that change.
            loading = work.loaded * cell.write.energy.value
            if self.spec.energy_model == "per_pass":
                self.other_model_j += compare + write
                self.array_j += passes + loading
                self._spend("cell.pass_energy", passes)
                self._spend("cell.write.energy", loading)
                return passes + loading
            self.other_model_j += passes + loading
        self.array_j += compare + write
        self._spend("cell.compare_energy", compare)
        self._spend("cell.write.energy", write)
        return compare + write

    def _spend(self, path: str, joules: float) -> float:
        self.by_constant[path] += joules
        return joules

    def _assumptions(self) -> tuple[str, ...]:
        """What the model takes for granted, in words for a caption."""
        told = (self._stored(), self._models(), self._wear())
        return tuple(_described(self.spec, told, self.approximate))

    def _stored(self) -> str:
        """What the staging memories have to hold, beside what the arrays do."""
        tensors = self.network.tensors
        weights = {name for name, tensor in tensors.items() if tensor.role is Role.WEIGHT}
        read = {name for layer in self.network.layers for name in layer.inputs}
        held = sum(tensors[name].elements * self.bits[name] for name in weights & read)
        most = max(
            (
                sum(
                    tensors[name].elements * word_bits(self.bits[name])
                    for name in {*layer.inputs, *layer.outputs} - weights
                )
                for layer in self.network.layers
            ),
            default=0,
        )
        text = (
            f"weights ({_mib(held)}) and activations (up to {_mib(most)} a layer) lie in staging "
            "memories, whose capacity is not checked, and nothing comes from off chip"
        )
        organisation = self.spec.organisation
        if organisation.resources == "limited":
            cells = organisation.caps * organisation.rows.integer * organisation.columns.integer
            text += f"; all CAPs together hold {_mib(cells)}"
        return text

    def _models(self) -> str:
        if not self.other_model_j or not self.array_j:
            return ""
        this, other = self.array_j, self.other_model_j
        names = {"per_event": "cells compared and changed", "per_pass": "LUT passes"}
        second = "per_pass" if self.spec.energy_model == "per_event" else "per_event"
        return (
            f"energy of the arrays counts {names[self.spec.energy_model]}; counting "
            f"{names[second]} gives {other / this:.2f} times as much"
        )

    def _wear(self) -> str:
        endurance = self.spec.cell.write.endurance
        if endurance is None or self.spec.organisation.resources == "unlimited":
            return ""
        organisation = self.spec.organisation
        cells = organisation.caps * organisation.rows.integer * organisation.columns.integer
        writes = self.changed / self.network.batch / cells
        return (
            f"an inference changes each cell {writes:.3g} times on average, so that an endurance "
            f"of {endurance.value:.0e} lasts {endurance.value / writes:.2g} inferences if wear is "
            "spread evenly"
        )


def _mib(bits: int) -> str:
    return f"{bits / 8 / 2**20:.3g} MiB"


def _mesh_shape(clusters: int) -> tuple[float, int]:
    """(mean hops between two clusters, directed links) of a square mesh; 1 and 1 for one cluster.

    Mean over all ordered pairs, a cluster with itself included: 2 (k - 1/k) / 3 for k x k.
    """
    side = math.isqrt(clusters)
    if side == 1:
        return 1.0, 1
    return 2 * (side - 1 / side) / 3, 4 * side * (side - 1)


def _described(
    spec: AssociativeSpec, told: tuple[str, str, str], approximate: Iterable[str]
) -> list[str]:
    """Sentences in a fixed order; `told` is what was counted: storage, energy models, wear."""
    organisation = spec.organisation
    stored, *counted = told
    lines = [
        "layers run one after another",
        stored,
        f"streamed operands are {spec.activations}, weights and products of two activations signed",
        "a bit column is loaded or read in all rows in one cycle, as the literature counts",
        "every tensor crosses the mesh once a layer, over its mean distance and all its links",
    ]
    if spec.reduction == "literature":
        lines.append(
            "cycles of reductions are the literature's 8 a level, which no program executes"
        )
    if organisation.word == "paper":
        lines.append("every row counts, however many columns a word needs (columns: paper)")
    if organisation.resources == "unlimited":
        lines.append("as many rows as a layer has products: an ideal, not a chip")
    if approximate:
        ops = ", ".join(sorted(approximate))
        lines.append(f"additions and tables stand for the operations of {ops}")
    return lines + [text for text in counted if text]
