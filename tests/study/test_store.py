"""The store: whole after every kill, shared between writers, and clear about what it is not."""

from __future__ import annotations

import json
import random
import resource
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from npubench.errors import InputError
from npubench.study.axes import parse_axis
from npubench.study.run import RunRequest
from npubench.study.serialise import dumps, point_to_json
from npubench.study.session import Session
from npubench.study.stored import read_stored
from npubench.study.sweep import plan_sweep, point_key, sweep_points
from tests.cli.cli_process import ROOT, command, environment

GRID = ["digits_cnn", "--hw", "edge8", "--axis", "vdd=0.55:1.0:0.01", "--axis", "batch=1,2,3"]


def plan_of(grid: str = "vdd=0.6,0.7,0.8"):  # type: ignore[no-untyped-def]  # a test's helper
    session = Session()
    return plan_sweep(RunRequest("digits_cnn", "edge8"), [parse_axis(grid)], session), session


def test_what_is_kept_is_not_run_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "grid.db"
    plan, session = plan_of()
    with SweepStore(path) as store:
        first = list(sweep_points(plan, session, store))
    assert len(first) == 3
    import npubench.study.sweep as module

    def refuse(*_: object) -> object:
        raise AssertionError("a point that is kept was run again")

    monkeypatch.setattr(module, "run_point", refuse)
    wider, session = plan_of("vdd=0.8,0.7,0.6")
    with SweepStore(path, must_exist=True) as store:
        again = list(sweep_points(wider, session, store))
    assert sorted(map(str, again)) == sorted(map(str, first))


def test_the_key_hangs_on_everything_that_can_move_a_figure(tmp_path: Path) -> None:
    session = Session()
    base = RunRequest("digits_cnn", "edge8")
    plan = tmp_path / "plan.yaml"
    plan.write_text("default: w8a8\n")
    others = [
        RunRequest("resnet18", "edge8"),
        RunRequest("digits_cnn", "edge4", precision="w4a4"),
        RunRequest("digits_cnn", "edge8", batch=2),
        RunRequest("digits_cnn", "edge8", precision="w8a8"),
        RunRequest("digits_cnn", "edge8", precision=str(plan)),
        RunRequest("digits_cnn", "edge8", objective="edp"),
        RunRequest("digits_cnn", "edge8", knobs={"vdd": "0.7"}),
        RunRequest("digits_cnn", "edge8", overrides={"static_power": "10 mW"}),
        RunRequest("digits_cnn", "edge8", dataset="digits"),
        RunRequest("digits_cnn", "edge8", dataset="digits", samples=5),
        RunRequest("digits_cnn", "edge8", knobs={"vdd": "7 V"}),
    ]
    keys = [point_key(request, session) for request in (base, *others)]
    assert len(set(keys)) == len(keys)
    assert point_key(base, Session()) == keys[0]
    plan.write_text("default: w4a4\n")
    assert point_key(others[4], session) not in keys
    assert content_key({"a": 1, "b": 2}) == content_key({"b": 2, "a": 1})


def test_files_that_are_no_store(tmp_path: Path) -> None:
    text, other, newer = tmp_path / "a.txt", tmp_path / "b.db", tmp_path / "c.db"
    text.write_text("not a database, but long enough to be looked at as one\n" * 40)
    with sqlite3.connect(other) as db:
        db.execute("CREATE TABLE mine (x)")
    with SweepStore(newer):
        pass
    with sqlite3.connect(newer) as db:
        db.execute("PRAGMA user_version = 99")
    for path, message in (
        (tmp_path / "none.db", "no such file"),
        (tmp_path / "no" / "x.db", "no such file"),
        (text, "cannot be used as a store: file is not a database"),
        (other, "a database, but not of npubench"),
        (newer, "written by a newer npubench: store version 99, this one reads 1"),
    ):
        with pytest.raises(InputError) as caught:
            SweepStore(path, must_exist=True)
        assert str(caught.value).startswith(f"{path}: {message}")
    with pytest.raises(InputError, match="no such folder"):
        SweepStore(tmp_path / "no" / "x.db")


def test_a_disk_that_is_full_is_told_and_loses_nothing_that_was_there(tmp_path: Path) -> None:
    path = tmp_path / "grid.db"
    with SweepStore(path) as store:
        store.add("first", {"x": 1})
    script = (
        "import resource, signal, sys\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "from npubench.errors import InputError\n"
        "from npubench.study.store import SweepStore\n"
        f"store = SweepStore({str(path)!r})\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (65536, 65536))\n"
        "try:\n"
        "    for i in range(100):\n"
        "        store.add(str(i), {'x': 'y' * 100_000})\n"
        "except InputError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stdout.startswith(f"{path}: cannot be used as a store: ")
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 65536
    with SweepStore(path, must_exist=True) as store:
        assert store.find("first") == {"x": 1}
        assert len(store) == 1


def test_a_damaged_store_is_told(tmp_path: Path) -> None:
    path = tmp_path / "grid.db"
    with SweepStore(path) as store:
        for i in range(300):
            store.add(f"{i:03}", {"x": "y" * 500})
    data = bytearray(path.read_bytes())
    data[8192:] = b"\xff" * (len(data) - 8192)
    path.write_bytes(bytes(data))
    with SweepStore(path) as store:
        for look in (lambda: list(store.points()), lambda: store.find("150"), lambda: len(store)):
            with pytest.raises(InputError, match="cannot be used as a store: "):
                look()


def test_points_are_safe_soon_after_they_finish(tmp_path: Path) -> None:
    path = tmp_path / "grid.db"
    with SweepStore(path) as store, SweepStore(path) as other:
        for i in range(3):
            store.add(str(i), {"i": i})
            assert len(other) == i + 1


def test_two_writers_take_turns(tmp_path: Path) -> None:
    path = tmp_path / "grid.db"
    with SweepStore(path) as one, SweepStore(path) as two:
        for i in range(200):
            (one if i % 2 else two).add(f"{i:03}", {"i": i})
    with SweepStore(path, must_exist=True) as store:
        assert [point["i"] for point in store.points()] == list(range(200))


def _export(path: Path) -> list[str]:
    return sorted(dumps(point_to_json(point)) for point in read_stored(path).points)


def _killed_and_resumed(folder: Path, kills: int) -> None:
    """A sweep killed at random moments, then finished, equals one that was left alone."""
    whole, broken = folder / "whole.db", folder / "broken.db"
    quiet = {"cwd": folder, "env": environment(), "stdout": subprocess.DEVNULL}
    subprocess.run(command("sweep", *GRID, "--store", str(whole)), check=True, **quiet)  # type: ignore[call-overload]  # the same options for both
    pick = random.Random(5)
    seen = 0
    for _ in range(kills):
        process = subprocess.Popen(command("sweep", *GRID, "--store", str(broken)), **quiet)  # type: ignore[call-overload]  # as above
        time.sleep(pick.uniform(0.5, 4.0))
        process.send_signal(signal.SIGKILL)
        process.wait()
        if broken.exists() and broken.stat().st_size:
            with SweepStore(broken) as store:
                assert len(store) >= seen
                seen = len(store)
    subprocess.run(command("sweep", *GRID, "--store", str(broken)), check=True, **quiet)  # type: ignore[call-overload]  # as above
    assert _export(broken) == _export(whole)


def test_a_killed_sweep_resumes(tmp_path: Path) -> None:
    _killed_and_resumed(tmp_path, 1)


@pytest.mark.slow
def test_a_sweep_killed_twenty_times_resumes(tmp_path: Path) -> None:
    _killed_and_resumed(tmp_path, 20)


def test_looking_into_a_store(tmp_path: Path) -> None:
    path = tmp_path / "grid.db"
    plan, session = plan_of()
    with SweepStore(path) as store:
        list(sweep_points(plan, session, store))
    found = read_stored(path, ["vdd > 0.6"], sort="energy", descending=True)
    assert [point.axes["vdd"] for point in found.points] == ["0.8", "0.7"]
    assert len(read_stored(path, limit=1).points) == 1
    assert json.loads(dumps(point_to_json(found.points[0])))["status"] == "ok"
