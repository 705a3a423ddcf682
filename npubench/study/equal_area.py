"""An NPU of a width sized to an area: the buffers of its template, and as many PEs as fit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from npubench import units
from npubench.errors import MappingError, OptionError, Problem
from npubench.machines.common.area import square_of_equal_area
from npubench.study.session import Session

__all__ = ["EqualArea", "NpuDesign", "design_npu", "fit_to_area"]

# Large, so that the area of one PE does not drown in the rounding of what stays.
_LARGE_SIDE = 1024


@dataclass(frozen=True, slots=True)
class NpuDesign:
    """An NPU that fits an area.

    Attributes:
        bits: operand width.
        spec: its template.
        rows, cols: PEs along each side.
        area_mm2: of it.
        share_mm2: that it was to fit.
        settings: of the template's fields, which make it this design.
    """

    bits: int
    spec: str
    rows: int
    cols: int
    area_mm2: float
    share_mm2: float
    settings: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class EqualArea:
    """A design sized to the area of another.

    Attributes:
        design: the sized one.
        other: name of the other, or the area as it was written.
        own_area_mm2: of the design as its spec has it.
        peak_macs_per_s: of the sized one, at its default precision.
    """

    design: NpuDesign
    other: str
    own_area_mm2: float
    peak_macs_per_s: float


def fit_to_area(hardware: str, to: str, session: Session) -> EqualArea:
    """An array spec with as many PEs as fit the area of another design, all else unchanged.

    Args:
        hardware: name or path of the spec, with knobs if need be.
        to: another one, or an area such as ``6.2 mm2``.
        session: shared with other runs.

    Raises:
        InputError: as `design_npu`, and where the other design states no area.
    """
    info = session.machine(hardware, {}, {}).info
    if to[:1].isdigit():
        try:
            target = units.parse(to, "area")
        except units.UnitError as error:
            problem = Problem(f"--equal-area-to: {error.message}", hint=error.hint)
            raise OptionError(problem) from None
        other = to
    else:
        found = session.machine(to, {}, {}).info
        if found.area_mm2 is None:
            raise MappingError(f"--equal-area-to: the spec of '{found.name}' gives no area")
        target, other = found.area_mm2, found.name
    template = hardware.replace("{", "{{").replace("}", "}}")
    design = design_npu(template, info.default_precision.weight.bits, target, session)
    sized = session.machine(hardware, {}, design.settings).info
    return EqualArea(design, other, info.area_mm2 or 0.0, sized.peak_macs_per_s)


def design_npu(
    template: str,
    bits: int,
    share_mm2: float,
    session: Session,
    link_bits_per_s: float | None = None,
) -> NpuDesign:
    """The template of a width with the largest square array whose area stays within a share.

    Area is linear in PEs; two arrays of the template tell what one PE takes and what stays. Ports
    of accumulators follow the columns, as every column delivers a sum a cycle.

    Args:
        template: name or path of a spec, ``{bits}`` standing for the width.
        bits: operand width.
        share_mm2: area to be met and not exceeded.
        session: shared with other runs.
        link_bits_per_s: most that off-chip memory gives it; None for the template's own.

    Raises:
        InputError: no such template, one that is no array or whose area does not follow from its
            parts, or an area that its buffers leave no room in.
    """
    name = template.format(bits=bits)
    areas = [
        session.machine(name, {}, {"array.rows": str(side), "array.cols": str(side)}).info.area_mm2
        for side in (1, _LARGE_SIDE)
    ]
    one, many = areas
    if one is None or many is None or not many > one:
        raise MappingError(
            f"the area of '{name}' does not follow from its PEs: it needs 'areas', and no 'area'"
        )
    pe_mm2 = (many - one) / (_LARGE_SIDE**2 - 1)
    fixed_mm2 = one - pe_mm2
    if fixed_mm2 + pe_mm2 > share_mm2:
        raise MappingError(
            f"'{name}' takes {fixed_mm2:.4g} mm2 without its PEs, and each NPU has "
            f"{share_mm2:.4g} mm2"
        )
    fit = square_of_equal_area(share_mm2, pe_mm2, fixed_mm2)
    settings = {
        "array.rows": str(fit.rows),
        "array.cols": str(fit.cols),
        **_ports(name, fit.cols, session),
        **_links(name, link_bits_per_s, session),
    }
    area_mm2 = session.machine(name, {}, settings).info.area_mm2
    return NpuDesign(bits, name, fit.rows, fit.cols, area_mm2 or fit.area_mm2, share_mm2, settings)


def _memories(name: str, session: Session) -> list[Mapping[str, object]]:
    tree = session.document(name, {}, {}).tree
    memories = tree.get("memories") if isinstance(tree, dict) else None
    return [m for m in memories if isinstance(m, dict)] if isinstance(memories, tuple) else []


def _columns(name: str, session: Session) -> int:
    tree = session.document(name, {}, {}).tree
    array = tree.get("array") if isinstance(tree, dict) else None
    cols = array.get("cols") if isinstance(array, dict) else None
    value = cols.get("value") if isinstance(cols, dict) else cols
    if not isinstance(value, int):
        raise MappingError(f"'{name}' states no array.cols")
    return value


def _ports(name: str, cols: int, session: Session) -> dict[str, str]:
    """Port widths of memories that hold sums alone."""
    found = {}
    for memory in _memories(name, session):
        width = memory.get("port_width")
        if memory.get("operands") == ("output",) and width is not None:
            text = width.get("value") if isinstance(width, dict) else width
            bits = units.parse(str(text), "cycle_bandwidth") * cols / _columns(name, session)
            found[f"memories.{memory['name']}.port_width"] = f"{bits:.12g} bit/cycle"
    return found


def _links(name: str, most: float | None, session: Session) -> dict[str, str]:
    """Off-chip bandwidth cut down to what the NPU gets of a shared memory."""
    found = {}
    for memory in _memories(name, session):
        rate = memory.get("bandwidth")
        if most is None or memory.get("off_chip") is not True or rate is None:
            continue
        text = rate.get("value") if isinstance(rate, dict) else rate
        if units.parse(str(text), "bandwidth") > most:
            found[f"memories.{memory['name']}.bandwidth"] = f"{most:.12g} bit/s"
    return found
