"""A progress bar on stderr where someone is looking, nothing anywhere else."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator

__all__ = ["Interrupt", "interruptible", "progress"]


@contextlib.contextmanager
def progress(what: str, *, quiet: bool) -> Iterator[Callable[[int, int], None]]:
    """Gives a function to call with (done, in all); the bar goes away at the end."""
    if quiet or not sys.stderr.isatty():
        yield lambda _done, _total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    from rich.progress import TimeRemainingColumn as Remaining

    console = Console(stderr=True, markup=False, highlight=False)
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}", markup=False),
    )
    start = time.monotonic()

    def step(done: int, total: int) -> None:
        passed = time.monotonic() - start
        rate = f"{done / passed:.3g}/s" if done and passed else ""
        bar.update(task, completed=done, total=total, rate=rate)

    with Progress(*columns, Remaining(), console=console, transient=True) as bar:
        task = bar.add_task(what, total=None, rate="")
        yield step


class Interrupt:
    """Whether Ctrl-C was pressed."""

    def __init__(self) -> None:
        self.pressed = False


@contextlib.contextmanager
def interruptible() -> Iterator[Interrupt]:
    """Turns the first Ctrl-C into a flag, so that a point can be finished; a second one stops."""
    found = Interrupt()
    if threading.current_thread() is not threading.main_thread():
        yield found
        return

    def press(_number: int, _frame: object) -> None:
        if found.pressed:
            raise KeyboardInterrupt
        found.pressed = True

    before = signal.signal(signal.SIGINT, press)
    try:
        yield found
    finally:
        signal.signal(signal.SIGINT, before)
