"""The wheel: what it carries, and that it works far from the checkout it was built from."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

from tests.conftest import ROOT

SUFFIXES = {".py", ".typed", ".json", ".yaml", ".onnx", ".npz", ".csv", ".png", ".txt"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel of the checkout, built with the tools that are installed."""
    pytest.importorskip("build")
    pytest.importorskip("hatchling")
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder)]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = folder.iterdir()
    return path


@pytest.fixture(scope="module")
def unpacked(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


def names(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if not name.endswith("/")}


def shipped(folder: str, *suffixes: str) -> set[str]:
    """Files of a data folder of the checkout, as the wheel calls them."""
    root = ROOT / folder
    return {
        f"npubench/_data/{folder}/{path.relative_to(root).as_posix()}"
        for path in root.rglob("*")
        if path.suffix in suffixes and "make" not in path.relative_to(root).parts
    }


def test_every_network_and_spec_is_in_the_wheel(wheel: Path) -> None:
    found = names(wheel)
    networks = shipped("workloads", ".onnx", ".yaml", ".npz", ".csv")
    assert len(networks) > 15
    assert "npubench/_data/workloads/catalog.yaml" in networks
    assert networks <= found
    specs = shipped("hwspecs", ".yaml")
    assert len(specs) >= 4
    assert specs <= found


def test_the_package_is_whole(wheel: Path) -> None:
    found = names(wheel)
    package = ROOT / "npubench"
    expected = {
        path.relative_to(ROOT).as_posix()
        for path in package.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and path.name[0] != "."
    }
    assert expected <= found
    assert "npubench/py.typed" in found
    schemas = ("run", "compare", "sweep", "study", "serve", "error")
    assert {f"npubench/study/schemas/{name}.1.json" for name in schemas} <= found


def test_nothing_else_is_in_the_wheel(wheel: Path) -> None:
    found = {name for name in names(wheel) if ".dist-info/" not in name}
    assert all(name.startswith("npubench/") for name in found)
    assert not [name for name in found if "/make/" in name or "__pycache__" in name]
    assert {Path(name).suffix for name in found} <= SUFFIXES
    with zipfile.ZipFile(wheel) as archive:
        assert sum(info.file_size for info in archive.infolist()) < 5_000_000


def test_what_the_wheel_says_of_itself(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (n for n in archive.namelist() if n.endswith(".dist-info/METADATA"))
        metadata = Parser().parsestr(archive.read(name).decode())
        entry = archive.read(name.replace("METADATA", "entry_points.txt")).decode()
    assert metadata["Name"] == "npubench"
    assert metadata["Requires-Python"] == ">=3.11"
    required = [text for text in metadata.get_all("Requires-Dist") if "extra ==" not in text]
    known = {"typer", "rich", "numpy", "onnx", "onnxruntime", "pyyaml", "pydantic"}
    assert {text.split(">")[0].split(" ")[0] for text in required} == known
    assert entry.split() == ["[console_scripts]", "npubench", "=", "npubench.cli.app:main"]


def test_an_unpacked_wheel_works_from_anywhere(unpacked: Path, tmp_path: Path) -> None:
    # -P keeps the working folder off the path: nothing but the wheel offers npubench.
    probe = "import npubench, sys; print(npubench.__file__, file=sys.stderr)"
    third_party = sysconfig.get_paths()["purelib"]
    environment = {
        **{name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ},
        "PYTHONPATH": os.pathsep.join((str(unpacked), third_party)),
    }

    def call(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-P", *arguments],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    assert call("-c", probe).stderr == f"{unpacked}/npubench/__init__.py\n"
    where = call("-c", "from npubench.specs.catalog import data_folder as f; print(f('workloads'))")
    assert where.stdout == f"{unpacked}/npubench/_data/workloads\n"
    done = call("-m", "npubench", "run", "digits_cnn", "--hw", "edge8", "--format", "json")
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["workload"]["name"] == "digits_cnn"
    listed = call("-m", "npubench", "list", "hw", "--format", "json")
    assert {"tpuv4i", "tpuv1", "edge8", "eyeriss"} <= {
        row["name"] for row in json.loads(listed.stdout)["rows"]
    }


@pytest.mark.slow
def test_an_installed_wheel_works_from_anywhere(wheel: Path, tmp_path: Path) -> None:
    home = tmp_path / "env"
    venv.create(home, with_pip=True)
    scripts = home / "bin"
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in {"PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV"}
    }

    def call(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(scripts / program), *arguments],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=900,
            check=False,
        )

    installed = call("pip", "install", "--quiet", "--disable-pip-version-check", str(wheel))
    assert installed.returncode == 0, installed.stderr
    done = call("npubench", "run", "digits_cnn", "--hw", "edge8")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("digits_cnn on edge8 (array, 14 nm): w8a8, batch 1, 309 kMAC\n")
    listed = call("npubench", "list", "hw", "--format", "csv")
    assert (listed.returncode, listed.stderr) == (0, "")
    assert {"tpuv4i", "tpuv1", "edge8", "eyeriss"} <= {
        line.split(",")[0] for line in listed.stdout.splitlines()
    }
    where = call("python", "-c", "import npubench; print(npubench.__file__)")
    assert Path(where.stdout.strip()).is_relative_to(home)


@pytest.mark.parametrize(
    ("more", "expected"),
    [((), "1 passed, 1 deselected"), (("-m", "slow"), "1 failed, 1 deselected")],
)
def test_slow_proofs_run_on_request_only(tmp_path: Path, more: tuple[str, ...], expected: str):
    """The README's command skips them; CI asks for them with a -m of its own, which counts."""
    file = tmp_path / "test_two.py"
    file.write_text(
        "import pytest\n\n\ndef test_fast():\n    pass\n\n\n"
        "@pytest.mark.slow\ndef test_slow():\n    raise AssertionError\n"
    )
    config = ("-c", str(ROOT / "pyproject.toml"), "--rootdir", str(tmp_path))
    command = [sys.executable, "-m", "pytest", *config, "-p", "no:cacheprovider", *more, str(file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert expected in done.stdout, done.stdout + done.stderr
