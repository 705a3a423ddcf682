"""Sweeps killed with SIGKILL at random moments: what is lost, and what is there after resuming."""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from npubench.report.export import export
from npubench.report.sweep_view import store_view
from npubench.study.store import SweepStore
from npubench.study.stored import read_stored
from tests.cli.cli_process import ROOT, environment

BITS = ",".join(f"w{n}a{m}" for n in (2, 4, 6, 8) for m in (2, 4, 6, 8, 10))
GRID = ("digits_cnn", "--hw", "bf_imna", "--axis", f"precision={BITS}")
MANY = ("--axis", "vdd=0.5:0.995:0.005")
POINTS = 2000
PROMISE_S = 0.5


def start(
    log: Path, arguments: Sequence[str], store: Path, **changes: str
) -> subprocess.Popen[bytes]:
    script = str(ROOT / "tests/study/swept.py")
    options = ("--store", str(store), "--quiet", "--format", "csv")
    return subprocess.Popen(
        [sys.executable, script, "sweep", *arguments, *options],
        env=environment(SWEPT_LOG=str(log), **changes),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def count(store: Path) -> int:
    """Points in a store that somebody writes; none before there is a file with a table."""
    if not store.exists():
        return 0
    try:
        with SweepStore(store, read_only=True) as opened:
            return len(opened)
    except Exception:  # being made
        return 0


def lost(log: Path, store: Path, killed_s: float) -> list[float]:
    """How long before the kill those points had finished that are not in the store."""
    kept = set()
    if count(store):
        kept = {tuple(point.axes.values()) for point in read_stored(store).points}
    ages = []
    for line in log.read_text().splitlines() if log.exists() else ():
        axes, finished_s = json.loads(line)
        if tuple(axes) not in kept and finished_s < killed_s:
            ages.append(killed_s - finished_s)
    return ages


def kill(process: subprocess.Popen[bytes], *, all_of_it: bool) -> float:
    """SIGKILL to the process, or to its workers with it; the time just before."""
    now = time.monotonic()
    if all_of_it:
        os.killpg(process.pid, signal.SIGKILL)
    else:
        process.send_signal(signal.SIGKILL)
    process.communicate()
    wait_for(lambda: not runs(process.pid))
    return now


def runs(group: int) -> bool:
    """Whether any process of a group is left."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def wait_for(found: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not found():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def exported(store: Path) -> bytes:
    return export(store_view(read_stored(store), "grid").record, ".jsonl")


def interrupt(folder: Path, extra: Sequence[str], kills: int, seed: int) -> None:
    """Kill a sweep at random moments, each of which must find it unfinished, and finish it."""
    pick = random.Random(seed)
    broken = folder / "broken.db"
    worst: list[float] = []
    counts = []
    for number in range(kills):
        log = folder / f"{number}.log"
        before = count(broken)
        wanted = before + pick.randrange(POINTS // kills - 15)
        process = start(log, [*GRID, *MANY, *extra], broken)
        while process.poll() is None and count(broken) <= wanted:
            time.sleep(0.02)  # looking takes time from the one who writes
        time.sleep(pick.uniform(0, 0.02))
        assert process.poll() is None, process.communicate()
        killed_s = kill(process, all_of_it=pick.random() < 0.5)
        counts.append(count(broken))
        assert before < counts[-1] < POINTS
        ages = lost(log, broken, killed_s)
        worst.append(max(ages, default=0.0))
        assert worst[-1] < PROMISE_S, ages
    print(f"points at each kill: {counts}")
    print(f"oldest finished point that a kill lost: {max(worst) * 1e3:.1f} ms")
    assert start(folder / "last.log", [*GRID, *MANY, *extra], broken).wait(timeout=120) == 0
    run_again = (folder / "last.log").read_text().count("\n")
    assert run_again == POINTS - counts[-1]
    with sqlite3.connect(broken) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    whole = folder / "whole.db"
    assert start(folder / "whole.log", [*GRID, *MANY], whole).wait(timeout=120) == 0
    assert count(whole) == POINTS
    assert exported(broken) == exported(whole)


@pytest.mark.slow
@pytest.mark.parametrize(("extra", "kills"), [((), 20), (("--jobs", "2"), 8)], ids=["here", "jobs"])
def test_kills_of_two_thousand_points(tmp_path: Path, extra: tuple[str, ...], kills: int) -> None:
    interrupt(tmp_path, extra, kills, seed=7)


FEW = ("digits_cnn", "--hw", "bf_imna", "--axis", "precision=w2a2,w4a4,w8a8")
FEW_POINTS = ("--axis", "vdd=0.5:0.6:0.01")


@pytest.mark.parametrize("extra", [(), ("--jobs", "2")], ids=["here", "jobs"])
def test_what_has_finished_is_safe_while_a_long_point_runs(
    tmp_path: Path, extra: tuple[str, ...]
) -> None:
    log, store = tmp_path / "log", tmp_path / "grid.db"
    process = start(log, [*FEW, *FEW_POINTS, *extra], store, SWEPT_STUCK="w2a2,0.54")
    wait_for(lambda: count(store) >= (20 if extra else 4))
    time.sleep(PROMISE_S)
    assert process.poll() is None
    # The other process has run what it could by now; nothing waits to be written.
    finished = log.read_text().count("\n")
    assert count(store) == finished
    killed_s = kill(process, all_of_it=True)
    assert lost(log, store, killed_s) == []
    again = tmp_path / "again"
    assert start(again, [*FEW, *FEW_POINTS], store).wait(timeout=60) == 0
    assert finished + again.read_text().count("\n") == count(store) == 33


def test_ctrl_c_of_a_terminal_keeps_what_ran_in_processes(tmp_path: Path) -> None:
    log, store = tmp_path / "log", tmp_path / "grid.db"
    process = start(log, [*GRID, *MANY, "--jobs", "2"], store)
    wait_for(lambda: count(store) > 20)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to all of them
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    kept = count(store)
    assert log.read_text().count("\n") == kept < POINTS
    assert f"{kept} of {POINTS} points are finished; --resume {store} goes on" in said.decode()
    assert "Traceback" not in said.decode()
    wait_for(lambda: not runs(process.pid))
