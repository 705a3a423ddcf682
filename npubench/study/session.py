"""What several runs share, in an object they pass on: networks lowered and machines built once."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias, TypeVar, cast

from npubench.errors import InputError, OptionError, SpecError
from npubench.frontend import LoadedNetwork, load_network
from npubench.machines.protocol import Machine
from npubench.machines.registry import build_machine
from npubench.specs.catalog import WorkloadEntry, find_spec, find_workload
from npubench.specs.header import apply_knobs
from npubench.specs.loader import YAML_SUFFIXES, SpecDocument
from npubench.specs.tree import spec_error

__all__ = ["Session", "open_network", "parse_hardware", "settle_knobs"]

NetworkOpener: TypeAlias = "Callable[[str, Mapping[str, int]], LoadedNetwork]"
SpecFinder: TypeAlias = "Callable[[str], SpecDocument]"
MachineBuilder: TypeAlias = "Callable[[SpecDocument], Machine[Any]]"

_T = TypeVar("_T")

_SETTING = r"[A-Za-z_][\w.-]*=[^,:=]+"
_WITH_KNOBS = re.compile(rf"(?P<name>.+):(?P<knobs>{_SETTING}(?:,{_SETTING})*)")


def parse_hardware(text: str) -> tuple[str, dict[str, str]]:
    """Name or path, and knobs, of ``NAME[:knob=value[,knob=value]]``.

    Text that ends like a spec file is a path; else the last colon separates, so that a path may
    hold colons.

    Raises:
        OptionError: a colon followed by something else, or a knob set twice.
    """
    if ":" not in text or text.lower().endswith(YAML_SUFFIXES):
        return text, {}
    match = _WITH_KNOBS.fullmatch(text)
    if match is None:
        raise OptionError(f"hardware '{text}': expected NAME or NAME:knob=value,knob=value")
    knobs: dict[str, str] = {}
    for setting in match["knobs"].split(","):
        knob, _, value = setting.partition("=")
        if knob in knobs:
            raise OptionError(f"hardware '{text}': knob '{knob}' is set twice")
        knobs[knob] = value.strip()
    return match["name"], knobs


def open_network(workload: str, dims: Mapping[str, int]) -> LoadedNetwork:
    """The lowered network of a catalog name, an alias or a path to an ONNX file."""
    found = find_workload(workload)
    if isinstance(found, WorkloadEntry):
        return load_network(found.path, dims, found.name, found.shown)
    return load_network(found, dims)


def settle_knobs(
    document: SpecDocument, settings: Mapping[str, str], option: str, build: MachineBuilder
) -> SpecDocument:
    """`apply_knobs`; mistakes in the spec's own knobs come with all others of the spec.

    A knob leads nowhere when the key it sets is misspelt, which only the family's schema can tell.

    Raises:
        InputError: as `apply_knobs`.
    """
    try:
        return apply_knobs(document, settings, option)
    except SpecError as error:
        problems = {(p.line, p.column, p.message): p for p in error.problems}
        try:
            build(document)
        except InputError as others:
            problems |= {(p.line, p.column, p.message): p for p in others.problems}
        raise spec_error(problems.values()) from None


class Session:
    """A memory of networks, specs and machines; make one for a command and pass it to every run.

    Args:
        open_network: reads and lowers a workload.
        find_spec: reads the spec of a name or path.
        build_machine: builds the machine of a spec.
    """

    def __init__(
        self,
        open_network: NetworkOpener = open_network,
        find_spec: SpecFinder = find_spec,
        build_machine: MachineBuilder = build_machine,
    ) -> None:
        self._open_network = open_network
        self._find_spec = find_spec
        self._build_machine = build_machine
        self._networks: dict[tuple[object, ...], LoadedNetwork] = {}
        self._specs: dict[str, SpecDocument] = {}
        self._machines: dict[tuple[object, ...], Machine[Any]] = {}
        self._kept: dict[tuple[object, ...], object] = {}

    def keep(self, key: tuple[object, ...], make: Callable[[], _T]) -> _T:
        """What ``make`` gave when this key was first asked for; one kind of value per key."""
        if key not in self._kept:
            self._kept[key] = make()
        return cast("_T", self._kept[key])

    def network(self, workload: str, dims: Mapping[str, int]) -> LoadedNetwork:
        """A workload at these values of its symbolic dimensions.

        Raises:
            InputError: no such workload, or one that cannot be read or lowered.
        """
        key = (workload, tuple(sorted(dims.items())))
        if key not in self._networks:
            self._networks[key] = self._open_network(workload, dims)
        return self._networks[key]

    def document(
        self,
        hardware: str,
        knobs: Mapping[str, str],
        overrides: Mapping[str, str],
        option: str = "--knob",
    ) -> SpecDocument:
        """A spec with knobs, then overrides applied.

        Knobs inside ``hardware`` (see `parse_hardware`) win over ``knobs``; messages begin with
        ``option``, the one that set them.

        Raises:
            InputError: no such spec, or mistakes in it, a knob or an override.
        """
        name, own = parse_hardware(hardware)
        if name not in self._specs:
            self._specs[name] = self._find_spec(name)
        document = settle_knobs(self._specs[name], {**knobs, **own}, option, self._build_machine)
        for path, text in overrides.items():
            document = document.override(path, text, f"--set {path}={text}")
        return document

    def machine(
        self, hardware: str, knobs: Mapping[str, str], overrides: Mapping[str, str]
    ) -> Machine[Any]:
        """The machine of `document`; same arguments, same errors."""
        # Overrides apply one after another, so their order is part of what they say.
        key = (hardware, tuple(sorted(knobs.items())), tuple(overrides.items()))
        if key not in self._machines:
            self._machines[key] = self._build_machine(self.document(hardware, knobs, overrides))
        return self._machines[key]
