"""Failures in words: text on stderr, and one JSON object on stdout where JSON was asked for."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from npubench.errors import NpubenchError, OptionError, Problem
from npubench.report.text import clean

if TYPE_CHECKING:
    from typer import TyperException

__all__ = [
    "BUG",
    "GATE",
    "INTERRUPTED",
    "OK",
    "USER",
    "Reporter",
    "closed_pipe",
    "describe_bug",
    "discard_stdout",
    "open_missing_streams",
    "say",
    "usage_error",
]

OK: Final = 0
GATE: Final = 1
USER: Final = 2
BUG: Final = 3
INTERRUPTED: Final = 130

_LONGEST = 500
_PACKAGE = Path(__file__).resolve().parents[1]


@dataclass(frozen=True, slots=True)
class Reporter:
    """How failures are told.

    Attributes:
        as_json: whether stdout gets the ``npubench.error/1`` object.
        debug: whether stderr gets the traceback.
    """

    as_json: bool = False
    debug: bool = False

    @classmethod
    def for_command_line(
        cls, arguments: Sequence[str], environment: Mapping[str, str] = os.environ
    ) -> Reporter:
        """What a raw command line asks for, whether or not it parses."""
        form = environment.get("NPUBENCH_FORMAT", "")
        for index, argument in enumerate(arguments):
            if argument == "--format":
                form = "".join(arguments[index + 1 : index + 2])
            elif argument.startswith("--format="):
                form = argument.removeprefix("--format=")
        loud = {"-v", "--verbose"}.intersection(arguments)
        return cls(form.lower() == "json", bool(loud or environment.get("NPUBENCH_DEBUG")))

    def report(self, error: NpubenchError, cause: BaseException | None = None) -> int:
        """Print an error, and the traceback of what caused it if asked; return the exit code."""
        if self.debug and cause is not None:
            # No locals: they may hold a whole network, or what the user would not publish.
            say("".join(traceback.format_exception(cause)))
        for problem in error.problems:
            say(_on_own_lines(problem).render())
        if self.as_json:
            sys.stdout.write(json.dumps(_document(error), indent=2, ensure_ascii=False) + "\n")
        return error.exit_code


def _on_own_lines(problem: Problem) -> Problem:
    """The problem with line breaks escaped: a name from a file must not fake a line of ours.

    Typer's help, where no command is given, is the one message of several lines.
    """
    if problem.message.startswith("Usage: "):
        return problem
    hint = None if problem.hint is None else clean(problem.hint)
    return replace(problem, message=clean(problem.message), hint=hint)


def _document(error: NpubenchError) -> dict[str, object]:
    keys = ("file", "line", "column", "message", "hint")
    return {
        "schema": "npubench.error/1",
        "errors": [{key: getattr(problem, key) for key in keys} for problem in error.problems],
        "exit_code": error.exit_code,
    }


def say(text: str) -> None:
    """Print to stderr, made safe: messages quote foreign files. A stderr that is gone is no error.

    The exit code says the rest.
    """
    with contextlib.suppress(OSError):
        for line in text.splitlines():
            print(clean(line), file=sys.stderr)


def describe_bug(error: BaseException) -> NpubenchError:
    """An unexpected exception as a report: its type, its message, and the place in our code."""
    message = " ".join(str(error).split())[:_LONGEST]
    kind = "" if isinstance(error, NpubenchError) else type(error).__name__
    text = ": ".join(part for part in (kind, message) if part)
    return NpubenchError(
        Problem(
            f"this is a bug in npubench: {text}{_place(error)}",
            hint="set NPUBENCH_DEBUG=1 for the traceback, and please report it",
        )
    )


def _place(error: BaseException) -> str:
    """`` (npubench/study/run.py:12 in run)``: the innermost frame of ours."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        path = Path(frame.filename).resolve()
        if path.is_relative_to(_PACKAGE):
            where = path.relative_to(_PACKAGE.parent).as_posix()
            return f" ({where}:{frame.lineno} in {frame.name})"
    return ""


def closed_pipe(error: BaseException) -> bool:
    """Whether a broken pipe stands behind an exception."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, BrokenPipeError):
            return True
        seen = seen.__cause__ or seen.__context__
    return False


def discard_stdout() -> None:
    """Point stdout at nothing, so that the flush at exit has nobody to fail for."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def open_missing_streams() -> None:
    """Give a process that was started with stdout or stderr closed somewhere to write to.

    Python sets them to None then, and `print(..., file=None)` would use the other one.
    """
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115 (stays open)


def usage_error(error: TyperException) -> OptionError:
    """A command line that does not parse, in our form; the whole help where no command is given."""
    context = getattr(error, "ctx", None)
    message = error.format_message()
    if context is None or message.startswith("Usage: "):
        return OptionError(message)
    return OptionError(Problem(message, hint=f"try '{context.command_path} --help'"))
