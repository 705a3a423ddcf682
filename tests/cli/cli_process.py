"""npubench in a process of its own: as users, scripts and pipes meet it."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def environment(**changes: str) -> dict[str, str]:
    """The process's own environment without what would colour or configure npubench."""
    own = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("NPUBENCH_") and name not in {"NO_COLOR", "FORCE_COLOR", "COLUMNS"}
    }
    return {**own, "PYTHONPATH": str(ROOT), **changes}


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "npubench", *arguments]


def npubench(
    *arguments: str, cwd: Path | None = None, **changes: str
) -> subprocess.CompletedProcess[str]:
    """Run to the end with stdout and stderr in pipes."""
    return subprocess.run(
        command(*arguments),
        cwd=cwd,
        env=environment(**changes),
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=120,
        check=False,
    )


def in_terminal(arguments: Sequence[str], **changes: str) -> tuple[int, str]:
    """Run with stdout on a pseudo-terminal; return the code and all it showed."""
    parent, child = pty.openpty()
    process = subprocess.Popen(
        command(*arguments),
        env=environment(**{"TERM": "xterm-256color", "COLUMNS": "80", **changes}),
        stdin=subprocess.DEVNULL,
        stdout=child,
        stderr=subprocess.PIPE,
    )
    os.close(child)
    shown = b""
    while True:
        try:
            piece = os.read(parent, 65536)
        except OSError:  # Linux answers EIO once the other end is closed
            break
        if not piece:
            break
        shown += piece
    os.close(parent)
    assert process.stderr is not None
    process.stderr.close()
    return process.wait(timeout=60), shown.decode("utf-8").replace("\r\n", "\n")
