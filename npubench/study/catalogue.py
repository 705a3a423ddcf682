"""Things by name: what a name stands for, and whether a user's files are sound.

What ships is listed by `npubench.specs.catalog.list_workloads` and ``list_specs``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from npubench.errors import InputError, OptionError, Problem, did_you_mean
from npubench.frontend import LoadedNetwork
from npubench.ir import UnknownLayer
from npubench.machines.hosting import Member, System
from npubench.machines.protocol import MachineInfo
from npubench.machines.registry import build_machine
from npubench.specs.catalog import list_specs, list_workloads
from npubench.specs.header import SpecHeader, knob_corners, read_header
from npubench.specs.loader import YAML_SUFFIXES, SpecDocument
from npubench.study.session import Session, open_network, parse_hardware, settle_knobs

__all__ = ["CheckedFile", "ShownHardware", "check_files", "open_hardware", "open_named"]

_ONNX_SUFFIX = ".onnx"


@dataclass(frozen=True, slots=True)
class ShownHardware:
    """A spec with its knobs applied, its header, and what the machine says of itself.

    ``members`` are the NPUs of a system; empty for a machine that is one NPU.
    """

    document: SpecDocument
    header: SpecHeader
    info: MachineInfo
    members: tuple[Member, ...] = ()


@dataclass(frozen=True, slots=True)
class CheckedFile:
    """A sound file: its name as given, ``hardware`` or ``workload``, and what it holds."""

    file: str
    kind: str
    holds: str


def open_named(
    name: str, dims: Mapping[str, int] = MappingProxyType({}), session: Session | None = None
) -> LoadedNetwork | ShownHardware:
    """The network or the hardware (``NAME[:knob=value]``) that has a name or is a file.

    Args:
        name: catalog name, alias or path.
        dims: values of symbolic dimensions, for a network.
        session: shared with other work.

    Raises:
        InputError: neither, or one that cannot be read.
    """
    session = session or Session()
    if name.lower().endswith(_ONNX_SUFFIX):
        return session.network(name, dims)
    networks = [known for entry in list_workloads() for known in entry.names]
    if _folded(name) in map(_folded, networks):
        return session.network(name, dims)
    hardware = parse_hardware(name)[0]
    machines = [known for entry in list_specs() for known in entry.names]
    if hardware.lower().endswith(YAML_SUFFIXES) or _folded(hardware) in map(_folded, machines):
        return open_hardware(name, session)
    hint = did_you_mean(name, (*networks, *machines))
    raise OptionError(Problem(f"no network and no hardware is called '{name}'", hint=hint))


def open_hardware(name: str, session: Session) -> ShownHardware:
    """The hardware of ``NAME[:knob=value]`` or a path; raises InputError."""
    document = session.document(name, {}, {})
    machine = session.machine(name, {}, {})
    members = machine.members if isinstance(machine, System) else ()
    return ShownHardware(document, read_header(document), machine.info, members)


def check_files(paths: Iterable[str]) -> tuple[CheckedFile, ...]:
    """Read every spec at both ends of each of its knobs, and lower every network.

    Raises:
        InputError: with every mistake of every file.
    """
    checked: list[CheckedFile] = []
    problems: list[Problem] = []
    for path in paths:
        found = _check_spec(path) if path.lower().endswith(YAML_SUFFIXES) else _check_network(path)
        if isinstance(found, CheckedFile):
            checked.append(found)
        else:
            problems += found
    if problems:
        raise InputError(*dict.fromkeys(problems))
    return tuple(checked)


def _check_spec(path: str) -> CheckedFile | tuple[Problem, ...]:
    problems: list[Problem] = []
    try:
        document = SpecDocument.from_file(Path(path))
        header = read_header(document)
        for settings in knob_corners(document):
            try:
                build_machine(settle_knobs(document, settings, "--knob", build_machine))
            except InputError as error:
                problems += error.problems
    except InputError as error:
        return error.problems
    holds = f"{header.name}, family {header.family}, {_count(len(header.knobs), 'knob')}"
    return tuple(problems) or CheckedFile(path, "hardware", holds)


def _check_network(path: str) -> CheckedFile | tuple[Problem, ...]:
    if not path.lower().endswith(_ONNX_SUFFIX):
        known = ", ".join((*YAML_SUFFIXES, _ONNX_SUFFIX))
        return (Problem(f"neither a spec nor a network; known suffixes: {known}", path),)
    try:
        network = open_network(path, {}).network
    except InputError as error:
        return tuple(p if p.file else Problem(p.message, path, hint=p.hint) for p in error.problems)
    unknown = sum(isinstance(layer, UnknownLayer) for layer in network.layers)
    remark = f", {unknown} of them unknown" if unknown else ""
    holds = f"{network.name}, {_count(len(network.layers), 'layer')}{remark}"
    return CheckedFile(path, "workload", holds)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _folded(name: str) -> str:
    return name.lower().replace("-", "_")
