"""Points computed together equal points computed one by one."""

from __future__ import annotations

import pytest

from npubench.errors import MappingError, OptionError
from npubench.frontend import load_network
from npubench.ir import PrecisionPlan, parse_precision
from npubench.machines.associative.points import supply_points
from npubench.machines.protocol import evaluate
from npubench.specs.catalog import data_folder
from tests.machines.associative.test_family import machine

SUPPLIES = (0.5, 0.63, 0.8, 1.0)
PRECISIONS = tuple(parse_precision(text) for text in ("w8a8", "w3a5"))


@pytest.mark.parametrize("tech", ["sram", "reram"])
def test_every_point_is_that_of_a_machine_at_that_supply(tech: str) -> None:
    network = load_network(data_folder("workloads") / "digits_cnn.onnx").network
    found = supply_points(machine({"tech": tech}), network, PRECISIONS, SUPPLIES)
    for row, precision in enumerate(PRECISIONS):
        for column, volts in enumerate(SUPPLIES):
            built = machine({"tech": tech, "vdd": f"{volts}"})
            plan = built.legalise(network, PrecisionPlan(precision)).executed
            alone = evaluate(built, network, plan)
            assert found.latency_s[row, column] == pytest.approx(alone.latency_s, rel=1e-12)
            assert found.energy_j[row, column] == pytest.approx(alone.energy_j, rel=1e-9)


def test_what_does_not_scale_is_refused() -> None:
    network = load_network(data_folder("workloads") / "digits_cnn.onnx").network
    with pytest.raises(MappingError, match="and the nominal supply"):
        supply_points(machine({"vdd": "0.7"}), network, PRECISIONS, SUPPLIES)
    with pytest.raises(OptionError, match="outside the"):
        supply_points(machine(), network, PRECISIONS, (0.4,))
    kept = machine({}, {"voltage.clock": "kept", "voltage.highest_clock": "1 GHz"})
    with pytest.raises(MappingError, match="a clock that follows the supply"):
        supply_points(kept, network, PRECISIONS, SUPPLIES)
