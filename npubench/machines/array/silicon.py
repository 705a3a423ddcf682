"""Area and leakage of an array spec, by part."""

from __future__ import annotations

from collections.abc import Mapping

from npubench.machines.array.spec import ArraySpec
from npubench.machines.common.area import array_area, array_leakage

__all__ = ["areas_mm2", "leakages_w"]


def areas_mm2(spec: ArraySpec) -> Mapping[str, float]:
    """Area in mm2 by part; empty where the spec does not give it.

    The published area where there is one, else PEs, on-chip memories and the rest; then what the
    spec adds to either.
    """
    if spec.area is not None:
        parts = {"die": spec.area.value}
    elif spec.areas is not None:
        found = array_area(spec.areas, _pes(spec), _on_chip_bits(spec))
        parts = {"pes": found.pes, "memories": found.sram}
        if spec.areas.other is not None:
            parts["other"] = found.other
    else:
        return {}
    parts |= {name: added.value for name, added in (spec.added_areas or {}).items()}
    unit = spec.quantization_unit
    if unit is not None and unit.area is not None:
        parts["quantization_unit"] = unit.area.value
    return parts


def leakages_w(spec: ArraySpec) -> Mapping[str, float]:
    """Static power in W by part, as the constants of `areas` give it; empty where one is missing.

    The energy of a result rests on ``static_power``, which a spec states as a whole; this is what
    PEs and memories contribute to it at the supply in force.
    """
    found = spec.areas and array_leakage(spec.areas, _pes(spec), _on_chip_bits(spec))
    return {"pes": found.pes, "memories": found.sram} if found else {}


def _pes(spec: ArraySpec) -> int:
    array = spec.array
    return array.rows.integer * array.cols.integer * array.count.integer


def _on_chip_bits(spec: ArraySpec) -> float:
    return sum(
        memory.capacity_bits
        for memory in spec.memories
        if not memory.off_chip and memory.capacity_bits is not None
    )
