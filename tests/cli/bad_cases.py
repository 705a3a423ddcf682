"""A mistake as a case: files, a command line, and what npubench must say about it."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.cli.bad_files import onnx_bytes, write
from tests.cli.in_process import in_process

RUN = "run net.onnx --hw edge8"
RUN_SPEC = "run net.onnx --hw npu.yaml"


@dataclass(frozen=True)
class Case:
    """One mistake: files, a command line and the lines on stderr."""

    what: str
    command: str
    lines: tuple[str, ...]
    files: dict[str, bytes | None] = field(default_factory=dict)
    code: int = 2


def network(what: str, content: bytes, *lines: str, command: str = RUN, code: int = 2) -> Case:
    return Case(what, command, lines, {"net.onnx": content}, code)


def option(what: str, command: str, *lines: str) -> Case:
    return network(what, onnx_bytes(), *lines, command=command)


def hardware(what: str, content: bytes, *lines: str) -> Case:
    return Case(what, RUN_SPEC, lines, {"net.onnx": onnx_bytes(), "npu.yaml": content})


def every(cases: Iterable[Case]) -> pytest.MarkDecorator:
    found = tuple(cases)
    return pytest.mark.parametrize("case", found, ids=[case.what for case in found])


def text(lines: Iterable[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


def refused(case: Case, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run a case in a folder of its own, which must stay as it is."""
    for name in os.environ:
        if name.startswith("NPUBENCH_"):
            monkeypatch.delenv(name)
    write(folder, case.files)
    monkeypatch.chdir(folder)
    before = sorted(folder.rglob("*"))
    done = in_process(shlex.split(case.command))
    assert (done.code, done.stdout, done.stderr) == (case.code, "", text(case.lines))
    assert sorted(folder.rglob("*")) == before
