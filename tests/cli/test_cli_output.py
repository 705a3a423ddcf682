"""Files of ``-o``: all or none, never over an existing one unasked; and what a terminal sees."""

from __future__ import annotations

import csv
import io
import json
import os
from pathlib import Path

import pytest

from tests.cli.cli_process import in_terminal, npubench
from tests.cli.in_process import on_a_terminal, quick

LIST = ("list", "workloads")


def test_every_suffix_gets_its_form(tmp_path: Path) -> None:
    names = ("a.json", "a.csv", "a.md", "a.txt")
    done = quick(*LIST, *(part for name in names for part in ("-o", str(tmp_path / name))))
    assert (done.code, done.stderr) == (0, "")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names)
    document = json.loads((tmp_path / "a.json").read_text("utf-8"))
    assert document["schema"] == "npubench.list/1"
    rows = list(csv.DictReader(io.StringIO((tmp_path / "a.csv").read_text("utf-8"))))
    assert [row["name"] for row in rows] == [row["name"] for row in document["rows"]]
    assert (tmp_path / "a.txt").read_text("utf-8") == done.stdout
    assert (tmp_path / "a.md").read_text("utf-8").startswith("### workloads: ")


def test_an_existing_file_is_refused_before_any_work(tmp_path: Path) -> None:
    target = tmp_path / "a.json"
    target.write_text("precious")
    done = quick(*LIST, "-o", str(target))
    assert (done.code, done.stdout) == (2, "")
    assert done.stderr == f"-o {target}: the file exists\n  --force replaces it\n"
    assert target.read_text() == "precious"
    assert quick(*LIST, "-o", str(target), "--force").code == 0
    assert json.loads(target.read_text("utf-8"))["schema"] == "npubench.list/1"
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_all_mistakes_of_all_files_at_once(tmp_path: Path) -> None:
    (tmp_path / "folder.csv").mkdir()
    paths = [str(tmp_path / n) for n in ("a.xlsx", "none/a.json", "folder.csv", "b.md", "b.md")]
    done = quick(*LIST, *(part for path in paths for part in ("-o", path)))
    assert (done.code, done.stdout) == (2, "")
    assert done.stderr == (
        f"-o {paths[0]}: the suffix decides the format\n  known: .txt, .json, .csv, .md\n"
        f"-o {paths[1]}: no such folder '{tmp_path}/none'\n"
        f"-o {paths[2]}: not a regular file\n"
        f"-o {paths[3]}: given twice\n"
    )


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may write anywhere")
    tmp_path.chmod(0o500)
    done = quick(*LIST, "-o", str(tmp_path / "a.json"))
    tmp_path.chmod(0o700)
    assert done.code == 2
    assert done.stderr == f"-o {tmp_path}/a.json: cannot be written: Permission denied\n"
    assert list(tmp_path.iterdir()) == []


def test_a_name_too_long_for_the_file_system(tmp_path: Path) -> None:
    target = tmp_path / f"{'a' * 250}.json"  # the draft beside it needs a few characters more
    done = quick(*LIST, "-o", str(target))
    assert done.code == 2
    assert done.stderr == f"-o {target}: cannot be written: File name too long\n"
    assert done.stdout == quick(*LIST).stdout
    assert list(tmp_path.iterdir()) == []


def test_a_name_too_long_for_any_file_system() -> None:
    target = f"{'a' * 300}.json"
    done = quick(*LIST, "-o", target)
    assert (done.code, done.stdout) == (2, "")
    assert done.stderr == f"-o {target}: cannot be written: File name too long\n"


def test_files_come_from_the_environment_too(tmp_path: Path) -> None:
    both = f"{tmp_path}/a.json; {tmp_path}/b.csv"
    assert quick(*LIST, NPUBENCH_OUTPUT=both).code == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.json", "b.csv"]


def test_a_pipe_gets_everything_whatever_columns_says() -> None:
    wide = quick(*LIST, COLUMNS="40").stdout
    assert wide == quick(*LIST).stdout
    assert "…" not in wide
    assert "\x1b" not in wide


def test_a_terminal_of_eighty_columns() -> None:
    code, shown = in_terminal(LIST, NO_COLOR="1")
    assert code == 0
    assert "\x1b" not in shown
    assert max(map(len, shown.splitlines())) <= 80
    assert "…" in shown


def test_colour_unless_refused() -> None:
    assert "\x1b[1m" in on_a_terminal(LIST)[1]
    assert "\x1b" not in on_a_terminal(LIST, TERM="dumb")[1]


def test_an_encoding_without_our_signs_still_gets_the_answer() -> None:
    done = npubench(*LIST, PYTHONIOENCODING="ascii", PYTHONUTF8="0", LC_ALL="C")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.isascii()
    assert " ----" in done.stdout


@pytest.mark.parametrize("form", ["json", "JSON"])
def test_json_is_one_object_and_nothing_else(form: str) -> None:
    assert json.loads(quick("version", "--format", form).stdout)["schema"] == "npubench.version/1"
