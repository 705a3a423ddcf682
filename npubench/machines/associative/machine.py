"""Family ``associative`` behind the machine protocol."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from itertools import product

from pydantic import BaseModel

from npubench.ir import LayerPrecision, Network, PrecisionPlan, integer
from npubench.machines.associative.cost import cost_network
from npubench.machines.associative.mapping import (
    AssociativeMapping,
    map_network,
    parallel_rows,
    step_cycles,
)
from npubench.machines.associative.operations.arithmetic import multiply
from npubench.machines.associative.program import MAX_OPERAND_BITS
from npubench.machines.associative.spec import AssociativeSpec, CellWriteSpec
from npubench.machines.common.legalise import legalise
from npubench.machines.common.voltage import at_supply
from npubench.machines.protocol import AtSupply, Cost, Legalised, MachineInfo, Objective
from npubench.specs.loader import SpecDocument

__all__ = ["AssociativeMachine", "build"]

_WIDTHS = range(1, MAX_OPERAND_BITS + 1)
_PAIRS = tuple(
    LayerPrecision(integer(weight), integer(activation))
    for weight, activation in product(_WIDTHS, _WIDTHS)
)


@dataclass(frozen=True)
class AssociativeMachine:
    """Content-addressable arrays that compute with compare and write passes, 1 to 16 bits.

    Attributes:
        stated: the spec as written, its constants at the nominal supply.
        sha256, knobs: of the document.
    """

    stated: AssociativeSpec
    sha256: str
    knobs: tuple[tuple[str, str], ...] = ()

    @cached_property
    def spec(self) -> AssociativeSpec:
        """The spec at the supply in force; a sweep over supplies never asks for most of them."""
        return at_supply(self.stated, self.stated.voltage, off_chip=_unscaled)

    @cached_property
    def at_supply(self) -> AtSupply | None:
        """See `Supplied.at_supply`; cells that switch at a voltage of their own do not scale."""
        voltage = self.stated.voltage
        if voltage is None or voltage.clock != "scaled" or not self.stated.cell.write.scaled:
            return None
        factors = voltage.factors()
        same = voltage.model_copy(update={"supply": voltage.nominal})
        nominal = self.stated.model_copy(update={"voltage": same})
        key = hashlib.sha256(repr(nominal).encode()).hexdigest()
        base = AssociativeMachine(nominal, self.sha256, self.knobs)
        return AtSupply(base, key, factors.energy, factors.frequency, factors.leakage)

    @cached_property
    def info(self) -> MachineInfo:
        """See `Machine.info`. Without limits to its rows, the peak is that of the CAPs stated."""
        spec = self.spec
        bits = spec.default_bits.integer
        default = LayerPrecision(integer(bits), integer(bits))
        stated = spec.organisation.model_copy(update={"resources": "limited"})
        limited = spec.model_copy(update={"organisation": stated})
        program = multiply(bits, bits, a_signed=spec.activations == "signed", b_signed=True)
        rate = parallel_rows(limited, default, 0) / step_cycles(spec, program.counts)
        return MachineInfo(
            name=spec.name,
            family=spec.family,
            sha256=self.sha256,
            knobs=dict(self.knobs),
            node_nm=None if spec.node is None else spec.node.value * 1e9,
            area_mm2=_area_mm2(spec),
            formats=tuple(integer(width) for width in _WIDTHS),
            default_precision=default,
            clock_hz=spec.clock.value,
            peak_macs_per_s=rate * spec.clock.value,
            static_power=spec.static_power,
        )

    def legalise(self, network: Network, plan: PrecisionPlan | None) -> Legalised:
        """See `Machine.legalise`: every pair of integer widths from 1 to 16 runs as it is."""
        return legalise(network, plan, _PAIRS, self.info.default_precision, self.spec.name)

    def map(
        self, network: Network, plan: PrecisionPlan, objective: Objective = Objective.LATENCY
    ) -> AssociativeMapping:
        """See `Machine.map`."""
        return map_network(self.spec, network, plan, objective)

    def cost(self, network: Network, plan: PrecisionPlan, mapping: AssociativeMapping) -> Cost:
        """See `Machine.cost`."""
        return cost_network(self.spec, network, plan, mapping)

    @property
    def keeps_weights(self) -> bool:
        """See `Switching.keeps_weights`: they are loaded for every inference."""
        return False

    def mode_switch(
        self, network: Network, before: PrecisionPlan, after: PrecisionPlan
    ) -> tuple[float, float]:
        """See `Switching.mode_switch`: nothing, as keys and masks alone carry the widths.

        Operands are written for every fold whatever ran before, so the next plan's first fold
        loads its own; `cost` counts that.
        """
        del network, before, after
        return 0.0, 0.0


def build(document: SpecDocument) -> AssociativeMachine:
    """The machine of a spec document.

    Raises:
        SpecError: with every mistake of the document.
        OptionError: a supply that is out of range, or too low for a clock that is to be kept.
    """
    spec = document.validate(AssociativeSpec)
    machine = AssociativeMachine(spec, document.sha256, tuple(document.knobs.items()))
    if spec.voltage is not None:
        spec.voltage.factors()  # refuses a supply out of range
        if spec.voltage.clock != "scaled":
            _ = machine.spec  # refuses a kept clock that the supply does not allow
    return machine


def _unscaled(part: BaseModel) -> bool:
    """Whether a part does not follow the supply: cells that switch at a voltage of their own."""
    return isinstance(part, CellWriteSpec) and not part.scaled


def _area_mm2(spec: AssociativeSpec) -> float | None:
    """The published area, else cells and periphery; none for as many rows as a layer needs."""
    organisation = spec.organisation
    if organisation.resources == "unlimited":
        return None
    if spec.area is not None:
        return spec.area.value
    cells = organisation.caps * organisation.rows.integer * organisation.columns.integer
    return cells * (spec.cell.area.value + spec.cell.periphery_area.value)
