"""npubench's `main` in this process: quick, for what needs no process of its own."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from dataclasses import dataclass

from npubench.cli.app import main


@dataclass(frozen=True)
class Done:
    """What a run left behind."""

    code: object
    stdout: str
    stderr: str


def in_process(arguments: Sequence[str]) -> Done:
    """Run a command line to its exit."""
    out, err = io.StringIO(), io.StringIO()
    code: object = None
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main(arguments)
        except SystemExit as leaving:
            code = leaving.code
    return Done(code, out.getvalue(), err.getvalue())
