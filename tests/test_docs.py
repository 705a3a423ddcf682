"""The documentation holds: its example runs, its links lead somewhere, its command lines parse."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest
from pydantic import BaseModel
from typer.core import TyperGroup
from typer.main import get_command

from npubench.cli.commands import app
from npubench.errors import SpecError
from npubench.machines.array.search import MOST_EVALUATED
from npubench.machines.array.spec import ArraySpec
from npubench.machines.array.tiles import EVERY_SIZE_UP_TO
from npubench.machines.associative.spec import AssociativeSpec
from npubench.machines.registry import build_machine
from npubench.machines.system.spec import SystemSpec
from npubench.specs.header import apply_knobs
from npubench.specs.loader import SpecDocument
from npubench.specs.quantity import CONFIDENCES
from npubench.study.run import RunRequest, run

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
SPECS_PAGE = ROOT / "docs" / "specs.md"


def block(page: Path, marker: str) -> str:
    """The fenced block under ``<!-- test: marker -->``."""
    found = re.search(
        rf"<!-- test: {marker} -->\n```\w+\n(.*?)^```$", page.read_text(), re.DOTALL | re.MULTILINE
    )
    assert found is not None, f"{page.name} has no block marked {marker}"
    return found[1]


def command_lines(page: Path) -> Iterator[list[str]]:
    """Arguments of every ``npubench`` command in the shell blocks of a page."""
    for body in re.findall(r"^```sh\n(.*?)^```$", page.read_text(), re.DOTALL | re.MULTILINE):
        for line in body.replace("\\\n", " ").splitlines():
            # The README's first command makes an environment before it runs npubench.
            words = shlex.split(line.split("&&")[-1], comments=True)
            if words and Path(words[0]).name == "npubench":
                yield words[1:]


def models_of(annotation: object) -> Iterator[type[BaseModel]]:
    """The spec classes that an annotation mentions."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from models_of(inner)


def schema_classes(top: type[BaseModel]) -> list[type[BaseModel]]:
    """A spec class and every one below it."""
    found = [top]
    for model in found:
        for info in model.model_fields.values():
            found += [m for m in models_of(info.annotation) if m not in found]
    return found


def test_the_example_spec_runs(tmp_path: Path) -> None:
    file = tmp_path / "my_npu.yaml"
    file.write_text(block(SPECS_PAGE, "spec"))
    result = run(RunRequest(workload="digits_cnn", hardware=str(file)))
    assert result.hardware.name == "my_npu"
    assert result.totals.latency_s > 0
    assert result.totals.energy_j > 0


def test_the_mistakes_shown_are_the_mistakes_made() -> None:
    text = block(SPECS_PAGE, "spec")
    slips = {
        "clock: {value: 1 GHz": "clock: {value: 1 GB",
        "dataflow: weight_stationary": "dataflow: weight_stationery",
        "    capacity: 256 KiB": "    capacty: 256 KiB",
    }
    for right, wrong in slips.items():
        assert text.count(right) == 1
        text = text.replace(right, wrong)
    with pytest.raises(SpecError) as caught:
        build_machine(apply_knobs(SpecDocument.from_text(text, "my_npu.yaml"), {}))
    assert str(caught.value) == block(SPECS_PAGE, "mistakes").rstrip("\n")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_relative_links_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text())
    local = [target for target in targets if "://" not in target]
    assert [target for target in local if not (page.parent / target).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_named_exist(page: Path) -> None:
    named = re.findall(r"`((?:npubench|tests|hwspecs|workloads)/[\w./]*)`", page.read_text())
    assert [name for name in named if not (ROOT / name).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_command_lines_parse(page: Path) -> None:
    group = get_command(app)
    assert isinstance(group, TyperGroup)
    for arguments in command_lines(page):
        name, *rest = arguments
        # Parsing raises on unknown commands and options, missing ones and stray words.
        group.commands[name].make_context(name, rest)


def test_command_lines_are_found() -> None:
    found = [arguments for page in PAGES for arguments in command_lines(page)]
    assert {arguments[0] for arguments in found} >= {"run", "compare", "sweep", "list", "check"}


def test_the_system_of_the_page_builds() -> None:
    document = SpecDocument.from_text(block(SPECS_PAGE, "system"), "my_pair.yaml")
    machine = build_machine(apply_knobs(document, {}))
    assert machine.info.family == "system"
    assert machine.info.area_mm2 is not None


@pytest.mark.parametrize(
    "model",
    dict.fromkeys(
        (*schema_classes(ArraySpec), *schema_classes(AssociativeSpec), *schema_classes(SystemSpec))
    ),
    ids=lambda model: model.__name__,
)
def test_every_field_of_a_spec_is_described(model: type[BaseModel]) -> None:
    described = set(re.findall(r"`(\w+)`", SPECS_PAGE.read_text()))
    assert [name for name in model.model_fields if name not in described] == []


def test_every_confidence_is_described() -> None:
    page = SPECS_PAGE.read_text()
    assert [word for word in CONFIDENCES if f"`{word}`" not in page] == []


def test_limits_of_the_search_are_those_in_force() -> None:
    page = (ROOT / "docs" / "models.md").read_text()
    assert f"`EVERY_SIZE_UP_TO` = {EVERY_SIZE_UP_TO}:" in page
    assert f"`MOST_EVALUATED` = {MOST_EVALUATED} " in page
