"""The NPUs of a system: specs found, set and built; alone and at their share of the memory."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from npubench.errors import InputError, Problem, SpecError
from npubench.machines.hosting import Linked, Member, Mode
from npubench.machines.modes import open_modes
from npubench.machines.protocol import Machine
from npubench.machines.system.sharing import max_min_shares
from npubench.machines.system.spec import NpuSpec, SystemSpec
from npubench.specs.catalog import find_spec
from npubench.specs.header import apply_knobs, read_header
from npubench.specs.loader import YAML_SUFFIXES, SpecDocument, find_node

__all__ = ["open_members"]

Members = tuple[Member, ...]


def open_members(
    document: SpecDocument, spec: SystemSpec
) -> tuple[Members, Members, tuple[str, ...]]:
    """Every NPU with the memory to itself, every NPU while all work, and their specs' hashes.

    Raises:
        InputError: specs that are not there, have mistakes, are systems themselves, or have no
            link to share; all at once.
    """
    opened: dict[str, tuple[str, tuple[Mode, ...]]] = {}
    hashes: list[str] = []
    problems: list[Problem] = []
    for key, npu in spec.npus.items():
        try:
            own = _document(document, key, npu)
            opened[key] = (read_header(own).name, open_modes(own))
            hashes.append(own.sha256)
            if spec.memory is not None:
                problems += _linkless(document, key, opened[key][1])
        except InputError as error:
            problems += error.problems
    if problems:
        raise SpecError(*dict.fromkeys(problems))
    if spec.memory is None:
        whole = _expand(spec, opened)
        return whole, whole, tuple(hashes)
    total = spec.memory.bandwidth.value
    alone = {key: _at_most(total, *opened[key]) for key in opened}
    if spec.memory.contention == "none":
        shared = alone
    else:
        links = [
            _link(opened[key][1][0].machine)
            for key, npu in spec.npus.items()
            for _ in range(npu.count.integer)
        ]
        shares = iter(max_min_shares(total, links))
        shared = {}
        for key, npu in spec.npus.items():
            # Equal links have equal shares up to rounding; equal NPUs must stay equal.
            share = min([next(shares) for _ in range(npu.count.integer)])
            shared[key] = _at_most(share, *opened[key])
    return _expand(spec, alone), _expand(spec, shared), tuple(hashes)


def _document(system: SpecDocument, key: str, npu: NpuSpec) -> SpecDocument:
    """The spec of an NPU with its knobs and settings."""
    node = find_node(system.root, ["npus", key, "spec"])
    place = system.root.place if node is None else node.place
    road = f"npus.{key}.spec"
    try:
        found = find_spec(_reference(system, npu.spec))
    except SpecError as error:
        if any(problem.line is not None for problem in error.problems):
            raise
        raise SpecError(*(place.problem(p.message, p.hint, road) for p in error.problems)) from None
    if read_header(found).family == "system":
        raise SpecError(place.problem(f"'{npu.spec}' is a system itself", None, road))
    knobs = {name: _text(value) for name, value in npu.knobs.items()}
    found = apply_knobs(found, knobs, f"npus.{key}.knobs:")
    for path, value in npu.set.items():
        found = found.override(path, _text(value), f"npus.{key}.set: {path}={_text(value)}")
    return found


def _reference(system: SpecDocument, text: str) -> str:
    """A name as it is; a relative path beside the system's own file."""
    if "/" not in text and not text.lower().endswith(YAML_SUFFIXES):
        return text
    return str(Path(system.path).parent / text)


def _text(value: str | float | bool) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _linkless(system: SpecDocument, key: str, modes: tuple[Mode, ...]) -> list[Problem]:
    machine = modes[0].machine
    if isinstance(machine, Linked):
        return []
    node = find_node(system.root, ["npus", key, "spec"])
    place = system.root.place if node is None else node.place
    text = f"family '{machine.info.family}' has no link whose rate can be shared"
    return [place.problem(text, "leave out 'memory'", f"npus.{key}.spec")]


def _link(machine: Machine[Any]) -> float:
    assert isinstance(machine, Linked)  # checked before
    return machine.off_chip_bits_per_s


def _at_most(rate: float, name: str, modes: tuple[Mode, ...]) -> tuple[str, tuple[Mode, ...]]:
    slowed = []
    for mode in modes:
        machine = mode.machine
        assert isinstance(machine, Linked)  # checked before
        own = min(rate, machine.off_chip_bits_per_s)
        slowed.append(replace(mode, machine=machine.with_off_chip_bits_per_s(own)))
    return name, tuple(slowed)


def _expand(spec: SystemSpec, opened: dict[str, tuple[str, tuple[Mode, ...]]]) -> Members:
    return tuple(Member(name, *opened[key]) for name, key in spec.names())
