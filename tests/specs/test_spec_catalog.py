"""Catalogs: what ships is sound, names are found, and nothing heavy is imported on the way."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

from npubench.errors import InputError, SpecError
from npubench.specs import catalog
from npubench.specs.catalog import (
    find_dataset,
    find_spec,
    find_workload,
    list_specs,
    list_workloads,
    workload_catalog,
)
from npubench.specs.header import apply_knobs, knob_corners


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installation whose data stand beside the package, with no specs yet."""
    monkeypatch.setattr(catalog, "_PACKAGE", tmp_path / "npubench")
    (tmp_path / "hwspecs").mkdir()
    return tmp_path


def test_names_aliases_and_paths(folders: Path, text: str, refuse) -> None:
    (folders / "hwspecs" / "b.yaml").write_text(text)
    (folders / "hwspecs" / "a.yml").write_text(
        text.replace("name: toy", "name: Other-NPU").replace("toy_one", "npu2")
    )
    (folders / "hwspecs" / "notes.txt").write_text("not a spec")
    assert [entry.names for entry in list_specs()] == [("Other-NPU", "npu2"), ("toy", "toy_one")]
    for name in ("toy", "TOY", "toy-one", "Toy_One"):
        assert find_spec(name).path == "hwspecs/b.yaml"
    assert find_spec("other_npu").path == "hwspecs/a.yml"
    path = str(folders / "hwspecs" / "b.yaml")
    assert find_spec(path).path == path
    assert refuse(SpecError, lambda: find_spec("toi")) == (
        "unknown hardware 'toi'\n  did you mean 'toy'?"
    )
    assert refuse(SpecError, lambda: find_spec("zzz")) == (
        "unknown hardware 'zzz'\n  known: Other-NPU, npu2, toy, toy_one"
    )
    assert refuse(SpecError, lambda: find_spec("./toy")) == "toy: no such file"


def test_a_wheel_carries_its_data_inside(folders: Path, text: str) -> None:
    inside = folders / "npubench" / "_data" / "hwspecs"
    inside.mkdir(parents=True)
    (inside / "inside.yaml").write_text(text)
    (folders / "hwspecs" / "beside.yaml").write_text(text)
    assert [entry.document.path for entry in list_specs()] == ["hwspecs/inside.yaml"]


def test_missing_data(folders: Path, refuse) -> None:
    message = refuse(InputError, lambda: catalog.data_folder("workloads"))
    assert message.replace(str(folders), "DIR") == (
        "npubench lacks its folder 'workloads'; looked for DIR/npubench/_data/workloads and "
        "DIR/workloads"
    )


def test_further_folders_and_their_mistakes(folders: Path, text: str, refuse) -> None:
    own = folders / "own"
    own.mkdir()
    (folders / "hwspecs" / "toy.yaml").write_text(text)
    (own / "mine.yaml").write_text(text.replace("name: toy", "name: mine").replace("toy_one", "t1"))
    (own / "bad.yaml").write_text("[]")
    assert find_spec("mine", [own]).path == str(own / "mine.yaml")
    bad = "DIR/own/bad.yaml:1:1: a spec is a mapping of keys to values, not a list"
    assert find_spec("toy", [own]).path == "hwspecs/toy.yaml"
    listed = refuse(SpecError, lambda: list_specs([own])).replace(str(folders), "DIR")
    assert listed == bad
    unknown = refuse(SpecError, lambda: find_spec("zzz", [own])).replace(str(folders), "DIR")
    assert unknown == f"unknown hardware 'zzz'\n  known: mine, t1, toy, toy_one\n{bad}"
    absent = refuse(SpecError, lambda: list_specs([folders / "none"])).replace(str(folders), "DIR")
    assert absent == "DIR/none: cannot be listed: No such file or directory"


def test_a_name_claimed_twice(folders: Path, text: str, refuse) -> None:
    (folders / "hwspecs" / "a.yaml").write_text(text)
    (folders / "hwspecs" / "b.yaml").write_text(text.replace("name: toy", "name: Toy-One"))
    assert refuse(SpecError, list_specs) == (
        "hwspecs/b.yaml: the name 'toy_one' is taken by hwspecs/a.yaml"
    )
    assert find_spec("toy").path == "hwspecs/a.yaml"
    assert refuse(SpecError, lambda: find_spec("toy-one")) == (
        "the name 'toy-one' is claimed by hwspecs/a.yaml and hwspecs/b.yaml\n  give the path"
    )


def test_shipped_specs_are_sound_at_every_corner_of_their_knobs() -> None:
    for entry in list_specs():
        for corner in knob_corners(entry.document):
            apply_knobs(entry.document, corner)


def test_shipped_workloads_match_their_files() -> None:
    entries = workload_catalog()
    assert entries.networks
    for entry in (*entries.networks, *entries.datasets):
        content = entry.path.read_bytes()
        assert hashlib.sha256(content).hexdigest() == entry.sha256, entry.name


def test_workloads_are_found_by_name_alias_and_path(refuse) -> None:
    resnet = find_workload("ResNet50")
    assert resnet in list_workloads()
    assert find_workload("resnet50-v1-5") == resnet
    assert find_workload("some/model.onnx") == Path("some/model.onnx")
    assert find_workload("MODEL.ONNX") == Path("MODEL.ONNX")
    assert refuse(InputError, lambda: find_workload("resnet5")) == (
        "unknown network 'resnet5'\n  did you mean 'resnet50'?"
    )
    assert find_dataset("digits").classes == 10
    assert refuse(InputError, lambda: find_dataset("digit")) == (
        "unknown data set 'digit'\n  did you mean 'digits'?"
    )


def test_a_workload_claimed_twice(folders: Path, refuse) -> None:
    entry = (
        "- {name: N, aliases: [x], file: F.onnx, sha256: '%s', variant: v, source: s, licence: l, "
        "inputs: {i: [1, 2]}, params: 1, macs: 1, "
        "reference: {net: n, input: '1x2', source: s, exact: true}}\n"
    ) % ("0" * 64)
    (folders / "workloads").mkdir()
    (folders / "workloads" / "catalog.yaml").write_text(
        "networks:\n" + entry + entry.replace("name: N", "name: M").replace("F.onnx", "G.onnx")
    )
    workload_catalog.cache_clear()
    try:
        assert refuse(SpecError, workload_catalog) == "G.onnx: the name 'x' is taken by F.onnx"
    finally:
        workload_catalog.cache_clear()


def test_nothing_heavy_is_imported() -> None:
    heavy = ("numpy", "onnx", "onnxruntime", "rich", "typer", "npubench.machines")
    code = f"import sys, npubench.specs.catalog; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
