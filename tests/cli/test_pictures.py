"""plot, report and compare of files, as users call them."""

from __future__ import annotations

import builtins
import json
from pathlib import Path
from typing import Any

import pytest

from npubench.study.serialise import dumps, to_json
from tests.cli.in_process import in_process
from tests.report.report_records import make_run, make_sweep


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    (tmp_path / "run.json").write_text(dumps(to_json(make_run())), encoding="utf-8")
    (tmp_path / "sweep.json").write_text(dumps(to_json(make_sweep())), encoding="utf-8")
    return tmp_path


def test_plot_and_report_write_their_files_and_say_so(saved: Path) -> None:
    picture, page = saved / "edp.svg", saved / "page.html"
    arguments = ["plot", str(saved / "sweep.json"), "-o", str(picture), "--kind", "lines"]
    done = in_process([*arguments, "--format", "json"])
    assert (done.code, done.stderr) == (0, "")
    (row,) = json.loads(done.stdout)["rows"]
    assert row == {
        "file": str(picture),
        "bytes": picture.stat().st_size,
        "holds": "resnet50 on tpuv4i: EDP",
    }
    both = [str(saved / "run.json"), str(saved / "sweep.json")]
    assert in_process(["report", *both, "-o", str(page)]).code == 0
    assert page.read_text(encoding="utf-8").startswith("<!doctype html>")
    again = in_process(["report", *both, "-o", str(page)])
    assert (again.code, again.stderr) == (
        2,
        f"-o {page}: the file exists\n  --force replaces it\n",
    )
    assert in_process(["report", *both, "-o", str(page), "--force"]).code == 0
    assert sorted(p.name for p in saved.iterdir()) == [
        "edp.svg",
        "page.html",
        "run.json",
        "sweep.json",
    ]


def test_mistakes_are_told_before_anything_is_written(saved: Path) -> None:
    run, out = str(saved / "run.json"), str(saved / "x.png")
    for arguments, message in (
        (
            ["plot", run, "-o", str(saved / "x.gif")],
            f"-o {saved / 'x.gif'}: the suffix decides the format\n  known: .png, .svg\n",
        ),
        (
            ["report", run, "-o", str(saved / "no" / "x.html")],
            f"-o {saved / 'no' / 'x.html'}: no such folder '{saved / 'no'}'\n",
        ),
        (
            ["plot", run, "-o", out, "--kind", "piechart"],
            "no chart 'piechart'\n  known: energy, latency, lines, pareto, roofline\n",
        ),
        (["plot", run, "-o", out, "--x", "vdd"], "--x, --y and --color are for pareto and lines\n"),
    ):
        done = in_process(arguments)
        assert (done.code, done.stderr) == (2, message)
    assert not list(saved.glob("x.*"))


def test_without_matplotlib_the_way_out_is_named(
    saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name.partition(".")[0] == "matplotlib":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    done = in_process(["plot", str(saved / "run.json"), "-o", str(saved / "x.png")])
    assert (done.code, done.stderr) == (
        2,
        "pictures are drawn by matplotlib, which is not installed\n"
        "  pip install 'npubench[plot]'\n",
    )


def test_compare_of_files_gates_like_any_other(saved: Path) -> None:
    document = to_json(make_run())
    document["totals"]["edp_js"] *= 1.2
    (saved / "new.json").write_text(dumps(document), encoding="utf-8")
    files = [str(saved / "run.json"), str(saved / "new.json")]
    done = in_process(["compare", *files, "--fail-if", "edp > 1.05x", "--format", "csv"])
    assert done.code == 1
    assert "new (tpuv4i): edp_js is 1.2x of run (tpuv4i), which fails 'edp > 1.05x'" in done.stderr
