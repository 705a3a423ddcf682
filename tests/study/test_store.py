"""The store: whole after every kill, shared between writers, and clear about what it is not."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from npubench.errors import InputError
from npubench.study.axes import parse_axis
from npubench.study.run import RunRequest
from npubench.study.serialise import dumps, point_to_json
from npubench.study.session import Session
from npubench.study.store import SweepStore, content_key
from npubench.study.stored import read_stored
from npubench.study.sweep import plan_sweep, point_key, sweep_points
from tests.cli.cli_process import ROOT, environment


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


def test_points_are_safe_as_soon_as_they_are_added(tmp_path: Path) -> None:
    path = tmp_path / "grid.db"
    with SweepStore(path) as store, SweepStore(path, read_only=True) as other:
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


WRITER = """
import sys
from npubench.study.store import SweepStore
path, who = sys.argv[1:]
with SweepStore(path) as store:
    for i in range(300):
        store.add(f"{who}{i:03}", {"who": who, "i": i, "text": "x" * 500})
        store.add(f"both{i:03}", {"i": i})
"""


def test_processes_that_make_and_write_one_file_at_once_take_turns(tmp_path: Path) -> None:
    path = tmp_path / "grid.db"
    names = ["a", "b", "c"]
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path), name],
            cwd=ROOT,
            env=environment(),
            stderr=subprocess.PIPE,
        )
        for name in names
    ]
    for writer in writers:
        _, said = writer.communicate(timeout=60)
        assert (writer.returncode, said) == (0, b"")
    with SweepStore(path, read_only=True) as store:
        assert len(store) == 300 * (len(names) + 1)
        found = list(store.points())
    assert [p["i"] for p in found if p.get("who") == "b"] == list(range(300))
    with contextlib.closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_a_file_that_another_process_keeps_locked_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "grid.db"
    with SweepStore(path) as store:
        store.add("a", {"i": 1})
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            monkeypatch.setattr("npubench.study.store._BUSY_S", 0.05)
            with pytest.raises(InputError, match="cannot be used as a store: database is locked"):
                SweepStore(path)
        store.add("b", {"i": 2})
        assert len(store) == 2


@contextlib.contextmanager
def without_rights(path: Path) -> Iterator[None]:
    """A folder and its files that this process may read, not write; root gives up its rights."""
    found = [path, *path.iterdir()]
    for one in found:
        one.chmod(0o555 if one.is_dir() else 0o444)
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(user)
        for one in found:
            one.chmod(0o755 if one.is_dir() else 0o644)


@pytest.fixture
def shelf() -> Iterator[Path]:
    """A folder that another user may enter, which pytest's own are not."""
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


def test_a_store_that_cannot_be_written_can_be_looked_at(shelf: Path) -> None:
    path = shelf / "grid.db"
    plan, session = plan_of()
    with SweepStore(path) as store:
        points = list(sweep_points(plan, session, store))
    read_stored(path)  # what is imported may lie where only this user may read
    with without_rights(shelf):
        assert len(read_stored(path).points) == len(points)
        assert sorted(one.name for one in shelf.iterdir()) == ["grid.db"]
        for kind in (path, shelf / "new.db"):
            with pytest.raises(InputError) as caught:
                SweepStore(kind)
            assert str(caught.value).startswith(f"{kind}: cannot be used as a store: ")
    before = path.read_bytes()
    assert len(read_stored(path, sort="edp").points) == len(points)
    assert path.read_bytes() == before


def test_looking_where_points_are_still_in_the_log_leaves_none_out(shelf: Path) -> None:
    path = shelf / "grid.db"
    script = (
        "import os, sys\n"
        "from npubench.study.store import SweepStore\n"
        "store = SweepStore(sys.argv[1])\n"
        "store.add('a', {'x': 1})\n"
        "os._exit(0)\n"
    )
    subprocess.run(
        [sys.executable, "-c", script, str(path)], cwd=ROOT, env=environment(), check=True
    )
    assert (shelf / "grid.db-wal").stat().st_size
    with without_rights(shelf), SweepStore(path, read_only=True) as store:
        assert list(store.points()) == [{"x": 1}]
    (shelf / "grid.db-shm").unlink()
    with (
        without_rights(shelf),
        pytest.raises(InputError, match=r"points are still in 'grid\.db-wal'") as caught,
    ):
        SweepStore(path, read_only=True)
    assert "copy both files" in str(caught.value)
    with SweepStore(path, read_only=True) as store:
        assert list(store.points()) == [{"x": 1}]


def test_paths_that_can_hold_no_store_are_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for path in (tmp_path / "file" / "grid.db", tmp_path):
        with pytest.raises(InputError) as caught:
            SweepStore(path)
        assert str(path) in str(caught.value)
    empty = tmp_path / "empty.db"
    empty.touch()  # as a kill between making the file and its table leaves it
    assert read_stored(empty).points == ()
    with SweepStore(empty, must_exist=True) as store:
        store.add("a", {})
        assert len(store) == 1


def test_looking_into_a_store(tmp_path: Path) -> None:
    path = tmp_path / "grid.db"
    plan, session = plan_of()
    with SweepStore(path) as store:
        list(sweep_points(plan, session, store))
    found = read_stored(path, ["vdd > 0.6"], sort="energy", descending=True)
    assert [point.axes["vdd"] for point in found.points] == ["0.8", "0.7"]
    assert len(read_stored(path, limit=1).points) == 1
    assert json.loads(dumps(point_to_json(found.points[0])))["status"] == "ok"
