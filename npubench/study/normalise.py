"""Energy and area of designs of different nodes, brought to one node beside what is as built.

Law: Stillmaker and Baas, Integration 58, 2017: energy of inverter chains at 0.8 V and area of
logic, relative to 45 nm (28 and 22 nm interpolated). Device families and circuits differ from it:
between 45 and 7 nm published operator tables scale by 2.9, the law by 11, so that a factor of 4 is
its uncertainty there. Clocks, and so latencies, stay as built; so does energy of off-chip memory.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

from npubench.machines.common.area import AREA_FACTORS
from npubench.study.result import Normalised, NormalisedRun, RunResult

__all__ = ["ENERGY_FACTORS", "LAW", "normalise"]

LAW: Final = "Stillmaker and Baas, Integration 58, 2017"
ENERGY_FACTORS: Final[Mapping[float, float]] = MappingProxyType(
    {45.0: 1.0, 32.0: 0.66, 28.0: 0.51, 22.0: 0.29, 16.0: 0.17, 14.0: 0.14, 7.0: 0.094}
)
"""Energy of a node in nm relative to 45 nm, both at 0.8 V."""


def normalise(runs: Sequence[RunResult], base: str) -> Normalised | None:
    """Every run at the node of the machine ``base``; None where all nodes are equal or it has none.

    A run at a node that the law does not cover has no figures.
    """
    nodes = {run.hardware.node_nm for run in runs}
    target = next((run.hardware.node_nm for run in runs if run.hardware.name == base), None)
    if len(nodes) < 2 or target is None or target not in ENERGY_FACTORS:
        return None
    return Normalised(target, LAW, tuple(_at_node(run, target) for run in runs))


def _at_node(run: RunResult, target: float) -> NormalisedRun:
    node = run.hardware.node_nm
    names = run.workload.name, run.hardware.name
    if node is None or node not in ENERGY_FACTORS:
        return NormalisedRun(*names)
    totals = run.totals
    off_chip = sum(
        joules for name, joules in totals.energy_by_component.items() if _is_off_chip(run, name)
    )
    factor = ENERGY_FACTORS[target] / ENERGY_FACTORS[node]
    energy_j = off_chip + (totals.energy_j - off_chip) * factor
    area = totals.area_mm2
    return NormalisedRun(
        *names,
        energy_j=energy_j,
        edp_js=energy_j * totals.latency_s,
        area_mm2=None if area is None else area * AREA_FACTORS[target] / AREA_FACTORS[node],
    )


def _is_off_chip(run: RunResult, component: str) -> bool:
    """Whether a component is a memory with a rate of its own, which only off-chip ones have."""
    tail = f"memories.{component}.bandwidth"
    return component == "off_chip" or any(c.path.endswith(tail) for c in run.constants)
