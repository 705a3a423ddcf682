"""Family ``array`` behind the machine protocol."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

from npubench.ir import LayerPrecision, Network, PrecisionPlan
from npubench.machines.array.cost import cost_network
from npubench.machines.array.fronts import front_network
from npubench.machines.array.keeping import map_kept
from npubench.machines.array.mapping import ArrayMapping
from npubench.machines.array.operating import prepare
from npubench.machines.array.silicon import areas_mm2, leakages_w
from npubench.machines.array.spec import ArraySpec, MemorySpec, PEFormatSpec
from npubench.machines.array.switching import mode_switch
from npubench.machines.array.uses import peak_macs_per_cycle
from npubench.machines.common.legalise import legalise
from npubench.machines.common.voltage import at_supply
from npubench.machines.protocol import Cost, Legalised, MachineInfo, MappingFront, Objective
from npubench.machines.tuning import Anywhere, OperatingPoint
from npubench.specs.loader import SpecDocument
from npubench.specs.quantity import Quantity

__all__ = ["ArrayMachine", "build"]

_CLOCK, _SUPPLY = "clock", "voltage.supply"


@dataclass(frozen=True)
class ArrayMachine:
    """A dense PE array with a memory hierarchy and a vector unit.

    Attributes:
        spec: with constants at the supply in force.
        sha256, knobs: of the document.
        nominal: the spec as written, with constants at the nominal supply; None for a machine
            that no document describes.
    """

    spec: ArraySpec
    sha256: str
    knobs: tuple[tuple[str, str], ...] = ()
    nominal: ArraySpec | None = None

    @cached_property
    def info(self) -> MachineInfo:
        """See `Machine.info`."""
        spec = self.spec
        pairs = {name: _pair(fmt) for name, fmt in spec.array.formats.items()}
        formats = {f for pair in pairs.values() for f in (pair.weight, pair.activation)}
        default, areas = spec.array.default_format, areas_mm2(spec)
        return MachineInfo(
            name=spec.name,
            family=spec.family,
            sha256=self.sha256,
            knobs=dict(self.knobs),
            node_nm=None if spec.node is None else spec.node.value * 1e9,
            area_mm2=math.fsum(areas.values()) if areas else None,
            areas_mm2=areas,
            leakages_w=leakages_w(spec),
            formats=tuple(sorted(formats, key=lambda f: (f.bits, f.name))),
            default_precision=pairs[default],
            clock_hz=spec.clock.value,
            peak_macs_per_s=peak_macs_per_cycle(spec, default) * spec.clock.value,
            static_power=spec.static_power,
        )

    @property
    def off_chip_bits_per_s(self) -> float:
        """See `Linked.off_chip_bits_per_s`."""
        return sum(self._link(memory) for memory in self.spec.memories if memory.off_chip)

    def with_off_chip_bits_per_s(self, rate: float) -> ArrayMachine:
        """See `Linked.with_off_chip_bits_per_s`; several links keep their proportions."""
        share = rate / self.off_chip_bits_per_s
        if share >= 1:
            return self
        memories = tuple(
            memory.model_copy(update=self._slowed(memory, share)) if memory.off_chip else memory
            for memory in self.spec.memories
        )
        spec = self.spec.model_copy(update={"memories": memories})
        return replace(self, spec=spec, nominal=None)

    def _link(self, memory: MemorySpec) -> float:
        if memory.bandwidth is not None:
            return memory.bandwidth.value
        assert memory.port_width is not None  # the schema wants one of the two
        return memory.port_width.value * self.spec.clock.value

    def _slowed(self, memory: MemorySpec, share: float) -> dict[str, Quantity]:
        for key in ("bandwidth", "port_width"):
            rate: Quantity | None = getattr(memory, key)
            if rate is not None:
                value = rate.value * share
                return {key: replace(rate, value=value, low=None, high=None)}
        return {}

    def legalise(self, network: Network, plan: PrecisionPlan | None) -> Legalised:
        """See `Machine.legalise`."""
        native = [_pair(fmt) for fmt in self.spec.array.formats.values()]
        return legalise(network, plan, native, self.info.default_precision, self.spec.name)

    def map(
        self, network: Network, plan: PrecisionPlan, objective: Objective = Objective.LATENCY
    ) -> ArrayMapping:
        """See `Machine.map`."""
        return map_kept(self.spec, network, plan, objective)

    def cost(self, network: Network, plan: PrecisionPlan, mapping: ArrayMapping) -> Cost:
        """See `Machine.cost`."""
        return cost_network(self.spec, network, plan, mapping)

    def front(self, network: Network, plan: PrecisionPlan) -> MappingFront:
        """See `FrontMachine.front`."""
        return front_network(self.spec, network, plan)

    @property
    def settings(self) -> Mapping[str, float]:
        """See `Tunable.settings`: the clock in hertz and the supply in volts, as written."""
        if self.nominal is None:
            return {}
        voltage = self.nominal.voltage
        supply = {} if voltage is None else {_SUPPLY: voltage.supply.value}
        return {_CLOCK: self.nominal.clock.value} | supply

    @property
    def untuned(self) -> object:
        """See `Tunable.untuned`."""
        spec = self.nominal
        if spec is None:
            return self.spec
        voltage = spec.voltage
        if voltage is not None:
            voltage = voltage.model_copy(update={"supply": voltage.nominal})
        clock = Quantity(1.0, "frequency")
        return spec.model_copy(update={"clock": clock, "voltage": voltage})

    def operating_point(self, settings: Mapping[str, float]) -> OperatingPoint:
        """See `Tunable.operating_point`."""
        clock = settings[_CLOCK]
        voltage = None if self.nominal is None else self.nominal.voltage
        if voltage is None:
            return OperatingPoint(clock)
        factors = voltage.factors(settings[_SUPPLY])
        return OperatingPoint(
            voltage.clock_hz(clock, settings[_SUPPLY]), factors.energy, factors.leakage
        )

    def anywhere(
        self, network: Network, plan: PrecisionPlan, objective: Objective
    ) -> Anywhere | None:
        """See `Tunable.anywhere`."""
        return None if self.nominal is None else prepare(self.nominal, network, plan, objective)

    @property
    def keeps_weights(self) -> bool:
        """See `Switching.keeps_weights`."""
        return self.spec.weights == "kept"

    def mode_switch(
        self, network: Network, before: PrecisionPlan, after: PrecisionPlan
    ) -> tuple[float, float]:
        """See `Switching.mode_switch`."""
        found = mode_switch(self.spec, network, before, after)
        return found.cycles / self.spec.clock.value, found.energy_j


def build(document: SpecDocument) -> ArrayMachine:
    """The machine of a spec document.

    Raises:
        SpecError: with every mistake of the document.
    """
    nominal = document.validate(ArraySpec)
    spec = at_supply(
        nominal,
        nominal.voltage,
        off_chip=lambda part: isinstance(part, MemorySpec) and part.off_chip,
    )
    return ArrayMachine(spec, document.sha256, tuple(document.knobs.items()), nominal)


def _pair(fmt: PEFormatSpec) -> LayerPrecision:
    return LayerPrecision(fmt.weight_format, fmt.activation_format)
