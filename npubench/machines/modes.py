"""The modes of a spec as machines: each with the mode's knobs in force."""

from __future__ import annotations

from npubench.machines.hosting import Mode
from npubench.machines.registry import build_machine
from npubench.specs.header import read_header, turn_knobs
from npubench.specs.loader import SpecDocument

__all__ = ["open_modes"]


def open_modes(document: SpecDocument) -> tuple[Mode, ...]:
    """Every mode of a spec, the base mode first; one, named by its precision, if it names none.

    Args:
        document: with knobs and overrides applied; knobs that no mode sets stay as they are.

    Raises:
        InputError: mistakes in the spec or in a mode's knobs.
    """
    header = read_header(document)
    if not header.modes:
        machine = build_machine(document)
        return (Mode(str(machine.info.default_precision), machine),)
    return tuple(
        Mode(
            name,
            build_machine(turn_knobs(document, spec.knobs, f"mode {name}:")),
            spec.precision,
        )
        for name, spec in header.modes.items()
    )
