"""What ships with npubench: hardware specs in ``hwspecs/``, networks in ``workloads/``.

Both folders stand inside the package in an installed wheel (``npubench/_data/``) and beside it in a
checkout. Names are matched without regard to case, and ``-`` is ``_``; whatever looks like a path
is one.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias, TypeVar

from pydantic import Field

from npubench.errors import InputError, Problem, SpecError, did_you_mean
from npubench.specs.header import SpecHeader, read_header
from npubench.specs.loader import YAML_SUFFIXES, SpecDocument
from npubench.specs.quantity import SpecModel
from npubench.specs.tree import spec_error

__all__ = [
    "DatasetEntry",
    "MeasuredAccuracy",
    "OmittedPart",
    "SizeReference",
    "SpecEntry",
    "WorkloadCatalog",
    "WorkloadEntry",
    "data_folder",
    "find_dataset",
    "find_spec",
    "find_workload",
    "list_specs",
    "list_workloads",
    "workload_catalog",
]

_PACKAGE: Final = Path(__file__).resolve().parent.parent
_MODEL_SUFFIXES: Final = (".onnx",)

Shape: TypeAlias = tuple[int, ...]
_Entry = TypeVar("_Entry", bound=SpecModel)


def data_folder(name: str) -> Path:
    """``hwspecs`` or ``workloads``: inside the package if installed, else beside it.

    Raises:
        InputError: neither place has it, so the installation is incomplete.
    """
    places = (_PACKAGE / "_data" / name, _PACKAGE.parent / name)
    for place in places:
        if place.is_dir():
            return place
    looked = " and ".join(map(str, places))
    raise InputError(f"npubench lacks its folder '{name}'; looked for {looked}")


@dataclass(frozen=True)
class SpecEntry:
    """A hardware spec found in a folder: its header and its document."""

    header: SpecHeader
    document: SpecDocument

    @property
    def names(self) -> tuple[str, ...]:
        """Everything it answers to: its name, then its aliases."""
        return (self.header.name, *self.header.aliases)


def list_specs(extra_dirs: Iterable[Path] = ()) -> tuple[SpecEntry, ...]:
    """The shipped specs and those of further folders, by folder and then by file name.

    Raises:
        SpecError: mistakes in any header, a folder that is none, or a name claimed twice.
    """
    entries, wrong = _scan(extra_dirs)
    if wrong:
        raise SpecError(*wrong)
    return entries


def find_spec(name_or_path: str, extra_dirs: Iterable[Path] = ()) -> SpecDocument:
    """The spec of a name, an alias or a file; knobs are not applied yet.

    Raises:
        SpecError: an unreadable file; a name that two files claim; an unknown name, with the
            nearest known one and with the mistakes of files whose names could not be read.
    """
    if _is_path(name_or_path, YAML_SUFFIXES):
        return SpecDocument.from_file(Path(name_or_path))
    wanted = _folded(name_or_path)
    # A file claims only names that its text has; all are read where that finds none.
    entries, wrong = _scan(extra_dirs, wanted)
    found = [e for e in entries if wanted in map(_folded, e.names)]
    if not found:
        entries, wrong = _scan(extra_dirs)
        found = [e for e in entries if wanted in map(_folded, e.names)]
    if len(found) == 1:
        return found[0].document
    if found:
        files = " and ".join(entry.document.path for entry in found)
        raise SpecError(
            Problem(f"the name '{name_or_path}' is claimed by {files}", hint="give the path")
        )
    hint = _nearest(name_or_path, (name for entry in entries for name in entry.names))
    raise SpecError(Problem(f"unknown hardware '{name_or_path}'", hint=hint), *wrong)


def _scan(
    extra_dirs: Iterable[Path], mentioning: str = ""
) -> tuple[tuple[SpecEntry, ...], list[Problem]]:
    """Every readable spec whose text mentions a (folded) name, and the problems of the others."""
    entries: list[SpecEntry] = []
    wrong: list[Problem] = []
    shipped = data_folder("hwspecs")
    for folder in (shipped, *extra_dirs):
        try:
            paths = sorted(p for p in folder.iterdir() if p.suffix in YAML_SUFFIXES)
        except OSError as error:
            wrong.append(Problem(f"cannot be listed: {error.strerror}", str(folder)))
            continue
        for path in filter(functools.partial(_mentions, mentioning), paths):
            shown = f"hwspecs/{path.name}" if folder == shipped else str(path)
            try:
                document = SpecDocument.from_file(path, shown)
                entries.append(SpecEntry(read_header(document), document))
            except InputError as error:
                wrong.extend(error.problems)
    claimed = _claims((entry.document.path, entry.names) for entry in entries)
    return tuple(entries), [*wrong, *claimed]


def _mentions(name: str, path: Path) -> bool:
    """Whether a file may claim a name; an unreadable one may, and is reported when it is read."""
    try:
        return name in _folded(path.read_text(encoding="utf-8", errors="replace"))
    except OSError:
        return True


def _claims(named: Iterable[tuple[str, tuple[str, ...]]]) -> list[Problem]:
    """A problem for every name that two files claim."""
    owners: dict[str, str] = {}
    wrong = []
    for owner, names in named:
        for name in dict.fromkeys(map(_folded, names)):
            if name in owners:
                wrong.append(Problem(f"the name '{name}' is taken by {owners[name]}", owner))
            else:
                owners[name] = owner
    return wrong


class OmittedPart(SpecModel):
    """A part of the published network that the file leaves out, with its size."""

    what: str
    params: int
    macs: int


class SizeReference(SpecModel):
    """Where the published size is from; ``exact`` when it was read or computed, not recalled."""

    net: str
    input: str
    source: str
    exact: bool


class MeasuredAccuracy(SpecModel):
    """Images of a shipped data set that the network classifies correctly in onnxruntime."""

    dataset: str
    correct: int
    images: int


class WorkloadEntry(SpecModel):
    """A shipped network.

    Attributes:
        name, aliases: what it answers to.
        file: the ONNX file, relative to the workloads folder.
        sha256: of that file.
        variant: which of the networks of this name it is.
        source: paper and definition.
        licence: of the definition.
        inputs: shape of each data input, batch first.
        params: parameters of the published network: file + folded + omitted.
        macs: multiply-accumulates of one inference of the published network: file + omitted.
        folded_params: parameters of normalisations folded into their neighbours.
        omitted: parts that the file lacks.
        reference: the published size.
        accuracy: measured on a shipped data set, for networks that ship with weights.
    """

    name: str
    aliases: tuple[str, ...] = ()
    file: str
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    variant: str
    source: str
    licence: str
    inputs: dict[str, Shape]
    params: int
    macs: int
    folded_params: int = 0
    omitted: tuple[OmittedPart, ...] = ()
    reference: SizeReference
    accuracy: MeasuredAccuracy | None = None

    @property
    def path(self) -> Path:
        """The ONNX file."""
        return data_folder("workloads") / self.file

    @property
    def shown(self) -> str:
        """The file's name in messages, wherever npubench is installed."""
        return f"workloads/{self.file}"

    @property
    def names(self) -> tuple[str, ...]:
        """Everything it answers to: its name, then its aliases."""
        return (self.name, *self.aliases)


class DatasetEntry(SpecModel):
    """A shipped data set.

    Attributes:
        name: as networks refer to it.
        file: an ``.npz`` file, relative to the workloads folder.
        sha256: of that file.
        content: its arrays, with their shapes.
        classes: number of labels.
        images: number of held-out images.
        source, licence: where it is from.
    """

    name: str
    file: str
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    content: str
    classes: int
    images: int
    source: str
    licence: str

    @property
    def path(self) -> Path:
        """The file of arrays."""
        return data_folder("workloads") / self.file


class WorkloadCatalog(SpecModel):
    """``workloads/catalog.yaml``: what ships, and the tools that made it."""

    made_with: dict[str, str] = Field(default_factory=dict)
    networks: tuple[WorkloadEntry, ...]
    datasets: tuple[DatasetEntry, ...] = ()


@functools.cache
def workload_catalog() -> WorkloadCatalog:
    """The shipped catalog, read once per process.

    Raises:
        SpecError: mistakes in it, or a name that two networks claim.
    """
    path = data_folder("workloads") / "catalog.yaml"
    catalog = SpecDocument.from_file(path, "workloads/catalog.yaml").validate(WorkloadCatalog)
    claimed = _claims((entry.file, entry.names) for entry in catalog.networks)
    if claimed:
        raise spec_error(claimed)
    return catalog


def list_workloads() -> tuple[WorkloadEntry, ...]:
    """The shipped networks in the order of the catalog."""
    return workload_catalog().networks


def find_workload(name_or_path: str) -> WorkloadEntry | Path:
    """The shipped network of a name or alias, or the path that the user gave, unchecked.

    Raises:
        InputError: an unknown name, with the nearest known one.
    """
    if _is_path(name_or_path, _MODEL_SUFFIXES):
        return Path(name_or_path)
    return _named(name_or_path, {n: e for e in list_workloads() for n in e.names}, "network")


def find_dataset(name: str) -> DatasetEntry:
    """The shipped data set of a name; raises InputError for an unknown one."""
    return _named(name, {entry.name: entry for entry in workload_catalog().datasets}, "data set")


def _named(name: str, known: Mapping[str, _Entry], kind: str) -> _Entry:
    found = next((known[k] for k in known if _folded(k) == _folded(name)), None)
    if found is None:
        raise InputError(Problem(f"unknown {kind} '{name}'", hint=_nearest(name, known)))
    return found


def _nearest(name: str, known: Iterable[str]) -> str | None:
    """A hint for an unknown name: how to mean the file of that name, or the nearest known one."""
    if Path(name).is_file():
        return f"to read the file of that name, write './{name}'"
    return did_you_mean(name, known)


def _is_path(text: str, suffixes: tuple[str, ...]) -> bool:
    return "/" in text or "\\" in text or text.lower().endswith(suffixes)


def _folded(name: str) -> str:
    return name.lower().replace("-", "_")
