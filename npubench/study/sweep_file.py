"""Sweep files: the options of ``npubench sweep`` written down, every mistake at its line."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeAlias

from pydantic import BeforeValidator, Field

from npubench.specs.catalog import data_folder
from npubench.specs.loader import YAML_SUFFIXES, SpecDocument
from npubench.specs.quantity import SpecModel

__all__ = ["SweepFile", "find_sweep_file", "is_sweep_file", "load_sweep_file"]


def _texts(given: object) -> object:
    return tuple(map(_text, given)) if isinstance(given, (list, tuple)) else (_text(given),)


def _text(given: object) -> str:
    return str(given).lower() if isinstance(given, bool) else str(given)


Text: TypeAlias = Annotated[str, BeforeValidator(_text)]
Texts: TypeAlias = Annotated[tuple[Text, ...], BeforeValidator(_texts)]


class SweepFile(SpecModel):
    """What a sweep file says; every key is an option of the command of the same name.

    Attributes:
        title: one line on what the sweep answers.
        workload, hw: unless an axis gives them.
        axes: values by name, as ``--axis`` takes them: a text with commas and ranges, or a list.
        zip: groups of axes that advance together, each ``name,name``.
        where: conditions between axes.
        sample: ``random:COUNT``, ``lhs:COUNT`` or ``guided:COUNT``.
        minimize, subject_to, pareto: what to choose.
        precision, objective, batch, dims, knobs, set: of every point.
        dataset, calibration, samples, faults: how to measure accuracy.
        seed: of samples and faults.
    """

    title: str = ""
    workload: str | None = None
    hw: str | None = None
    axes: dict[str, Texts]
    zip: Texts = ()
    where: Texts = ()
    sample: str | None = None
    minimize: str | None = None
    subject_to: Texts = ()
    pareto: str | None = None
    precision: str | None = None
    objective: str | None = None
    batch: int | None = Field(default=None, ge=1)
    dims: dict[str, int] = Field(default_factory=dict)
    knobs: dict[str, Text] = Field(default_factory=dict)
    set: dict[str, Text] = Field(default_factory=dict)
    dataset: str | None = None
    calibration: str | None = None
    samples: int | None = None
    faults: str | None = None
    seed: int | None = None

    @property
    def axis_texts(self) -> tuple[str, ...]:
        """``NAME=VALUES`` of every axis, in order."""
        return tuple(f"{name}={','.join(values)}" for name, values in self.axes.items())


def is_sweep_file(name: str) -> bool:
    """Whether the first argument of ``sweep`` is a file of options, not a network."""
    return name.lower().endswith(YAML_SUFFIXES) or _shipped(name).is_file()


def find_sweep_file(name: str) -> Path:
    """The path of a sweep file: as given, or one that ships by its stem."""
    shipped = _shipped(name)
    return shipped if shipped.is_file() and not Path(name).is_file() else Path(name)


def _shipped(name: str) -> Path:
    return data_folder("workloads") / "studies" / f"{Path(name).name}.yaml"


def load_sweep_file(path: Path) -> SweepFile:
    """The options of a sweep file.

    Raises:
        SpecError: no such file, or every mistake in it, at its line.
    """
    return SpecDocument.from_file(path).validate(SweepFile)
