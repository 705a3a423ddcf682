from __future__ import annotations

from pathlib import Path

import pytest

from npubench.errors import InputError, OptionError
from npubench.frontend import LoadedNetwork
from npubench.specs.catalog import list_workloads
from npubench.study.catalogue import ShownHardware, check_files, open_named
from tests.study.study_fakes import TOY, Library

ALEXNET = next(entry for entry in list_workloads() if entry.name == "alexnet")


def test_a_shipped_network_by_any_case(library: Library) -> None:
    library.networks["AlexNet"] = library.networks["tiny"]
    assert isinstance(open_named("AlexNet", session=library.session()), LoadedNetwork)
    assert library.opened == ["AlexNet"]


def test_files_by_their_suffix(library: Library) -> None:
    library.networks["a/b.onnx"] = library.networks["tiny"]
    library.specs["a/toy.yaml"] = TOY
    session = library.session()
    assert isinstance(open_named("a/b.onnx", session=session), LoadedNetwork)
    shown = open_named("a/toy.yaml:clock=2GHz", session=session)
    assert isinstance(shown, ShownHardware)
    assert (shown.header.name, shown.info.clock_hz) == ("toy", 2e9)
    assert shown.document.knobs == {"clock": "2GHz"}


def test_a_name_that_nothing_has() -> None:
    with pytest.raises(OptionError) as caught:
        open_named("alexnett")
    assert str(caught.value) == (
        "no network and no hardware is called 'alexnett'\n  did you mean 'alexnet'?"
    )


def test_a_sound_network_says_what_it_holds() -> None:
    (checked,) = check_files([str(ALEXNET.path)])
    assert (checked.kind, checked.file) == ("workload", str(ALEXNET.path))
    assert checked.holds.startswith("alexnet, ")
    assert checked.holds.endswith(" layers")


def test_every_mistake_of_every_file(tmp_path: Path) -> None:
    spec = tmp_path / "a.yaml"
    spec.write_text("name: a\nfamly: array\ntitle: A\ncitation: none\n", encoding="utf-8")
    odd = tmp_path / "a.json"
    paths = [str(spec), str(odd), str(tmp_path / "none.yaml"), str(ALEXNET.path)]
    with pytest.raises(InputError) as caught:
        check_files(paths)
    assert str(caught.value) == (
        f"{spec}:1:1: missing key 'family'\n"
        f"{odd}: neither a spec nor a network; known suffixes: .yaml, .yml, .onnx\n"
        f"{tmp_path / 'none.yaml'}: no such file\n  did you mean 'a.yaml'?"
    )


def test_a_broken_network_is_named(tmp_path: Path) -> None:
    path = tmp_path / "broken.onnx"
    path.write_bytes(b"not a model")
    with pytest.raises(InputError) as caught:
        check_files([str(path)])
    assert str(caught.value).startswith(f"{path}: ")
