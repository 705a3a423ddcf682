"""npubench's `main` in this process: quick, for what needs no process of its own."""

from __future__ import annotations

import contextlib
import io
import os
import pty
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO
from unittest.mock import patch

from npubench.cli.app import main
from tests.cli.cli_process import environment


@dataclass(frozen=True)
class Done:
    """What a run left behind."""

    code: object
    stdout: str
    stderr: str


def in_process(arguments: Sequence[str]) -> Done:
    """Run a command line to its exit."""
    out, err = _pipe(), _pipe()
    code = _exit_code(arguments, out, err)
    return Done(code, *(_passed(pipe) for pipe in (out, err)))


def _pipe() -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BytesIO(), encoding="utf-8", newline="\n")


def _passed(pipe: io.TextIOWrapper) -> str:
    pipe.seek(0)
    return pipe.read()


def _exit_code(arguments: Sequence[str], out: TextIO, err: TextIO) -> object:
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main(arguments)
        except SystemExit as leaving:
            return leaving.code


def quick(*arguments: str, cwd: Path | None = None, **changes: str) -> Done:
    """As `cli_process.npubench`, without the process: same environment, folder and answer."""
    with settled(changes, cwd):
        return in_process(arguments)


@contextlib.contextmanager
def settled(changes: Mapping[str, str], cwd: Path | None = None) -> Iterator[None]:
    """The environment and folder that `cli_process.npubench` gives its process."""
    with (
        contextlib.chdir(cwd or Path.cwd()),
        patch.dict(os.environ, environment(**changes), clear=True),
    ):
        yield


def on_a_terminal(arguments: Sequence[str], **changes: str) -> tuple[object, str]:
    """As `cli_process.in_terminal`, without the process: stdout is a pseudo-terminal."""
    parent, child = pty.openpty()
    pieces: list[bytes] = []

    def read() -> None:
        # Linux answers EIO once the other end is closed.
        with contextlib.suppress(OSError):
            while piece := os.read(parent, 65536):
                pieces.append(piece)

    reader = threading.Thread(target=read)
    reader.start()
    with (
        settled({"TERM": "xterm-256color", "COLUMNS": "80", **changes}),
        os.fdopen(child, "w", encoding="utf-8") as stdout,
    ):
        code = _exit_code(arguments, stdout, io.StringIO())
    reader.join()
    os.close(parent)
    return code, b"".join(pieces).decode("utf-8").replace("\r\n", "\n")
