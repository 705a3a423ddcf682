"""The one way in and the one way out: runs a command, prints its answer, maps failures to codes.

0 an answer, 1 a stated gate failed, 2 the user's input, 3 a bug, 130 interrupted. Typer and all
commands are imported inside, so that even Ctrl-C during start-up is answered in words.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import NoReturn

from npubench.cli.failure import (
    BUG,
    INTERRUPTED,
    OK,
    USER,
    Reporter,
    closed_pipe,
    describe_bug,
    discard_stdout,
    open_missing_streams,
    say,
    usage_error,
)
from npubench.errors import InputError, NpubenchError

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run the command line ``argv`` (default: the process's own) and exit with its code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    open_missing_streams()
    code = _guarded(arguments)
    # The interpreter flushes stdout once more on exit, too late for anyone to catch.
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        discard_stdout()
    except OSError as error:
        say(f"cannot write to stdout: {error.strerror}")
        discard_stdout()
        code = code or USER
    sys.exit(code)


def _guarded(arguments: list[str]) -> int:
    reporter = Reporter.for_command_line(arguments)
    try:
        return _dispatch(arguments)
    except NpubenchError as error:
        if error.exit_code == BUG:
            return reporter.report(describe_bug(error), error)
        return reporter.report(error)
    except KeyboardInterrupt:
        say("interrupted")
        return INTERRUPTED
    except RecursionError as error:
        return reporter.report(InputError("the input is nested too deeply to be read"), error)
    except MemoryError as error:
        return reporter.report(
            InputError("the input is too large for this machine's memory"), error
        )
    except OverflowError as error:
        return reporter.report(
            InputError("a number in the input is too large to count with"), error
        )
    except SystemExit as error:
        # Typer and rich leave this way when help meets a closed pipe.
        if closed_pipe(error):
            discard_stdout()
            return OK
        return error.code if isinstance(error.code, int) else BUG
    except BrokenPipeError:
        discard_stdout()
        return OK
    except Exception as error:  # whatever is left is ours to mend, and the user gets it in words
        return reporter.report(describe_bug(error), error)


def _dispatch(arguments: list[str]) -> int:
    import typer

    from npubench.cli.commands import app
    from npubench.cli.output import Answer, deliver

    for stream in (sys.stdout, sys.stderr):
        # A name that the terminal's encoding lacks must not cost the answer.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    try:
        outcome = app(arguments, prog_name="npubench", standalone_mode=False)
    except typer.TyperException as error:
        raise usage_error(error) from None
    except typer.Abort:
        raise KeyboardInterrupt from None
    if isinstance(outcome, Answer):
        return deliver(outcome)
    if outcome == INTERRUPTED:
        raise KeyboardInterrupt
    return outcome if isinstance(outcome, int) else OK
