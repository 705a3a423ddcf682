"""Answers to text, and text to stdout and files: all files or none, and never half of one."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TextIO

from npubench.cli.failure import GATE, INTERRUPTED, OK, USER, Reporter, discard_stdout, say
from npubench.errors import InputError, OptionError, Problem
from npubench.report.text import clean

if TYPE_CHECKING:
    from npubench.report.render import Screen
    from npubench.report.table import View

__all__ = [
    "Answer",
    "Form",
    "Output",
    "check_target",
    "deliver",
    "records",
    "screen_of",
    "write_file",
]


class Form(StrEnum):
    """How an answer is written."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"
    MARKDOWN = "markdown"


_SUFFIXES: Mapping[str, Form] = {
    ".txt": Form.TABLE,
    ".json": Form.JSON,
    ".csv": Form.CSV,
    ".md": Form.MARKDOWN,
}


@dataclass(frozen=True, slots=True)
class Output:
    """Where an answer goes.

    Attributes:
        form: of stdout.
        files: further copies, their form given by their suffix.
        force: whether existing files may be replaced.
        quiet: whether warnings are kept back.
    """

    form: Form = Form.TABLE
    files: tuple[Path, ...] = ()
    force: bool = False
    quiet: bool = False

    def check(self) -> Output:
        """Refuse files that could not be written, before any work is done for them.

        Raises:
            OptionError: an unknown suffix, a file named twice, one that exists, no such folder.
        """
        problems = [found for path in self.files if (found := self._mistake(path)) is not None]
        places = [path.resolve() for path in self.files]
        problems += [
            Problem(f"-o {path}: given twice")
            for index, path in enumerate(self.files)
            if places[index] in places[:index]
        ]
        if problems:
            raise OptionError(*problems)
        return self

    def _mistake(self, path: Path) -> Problem | None:
        return check_target(path, _SUFFIXES, force=self.force)


def check_target(
    path: Path, suffixes: Iterable[str], *, force: bool, option: str = "-o"
) -> Problem | None:
    """What keeps a file from being written in a form that its suffix names; None for nothing."""
    known = tuple(suffixes)
    try:
        if path.suffix.lower() not in known:
            hint = f"known: {', '.join(known)}"
            return Problem(f"{option} {path}: the suffix decides the format", hint=hint)
        if not path.parent.is_dir():
            return Problem(f"{option} {path}: no such folder '{path.parent}'")
        if path.exists() and not path.is_file():
            return Problem(f"{option} {path}: not a regular file")
        if path.exists() and not force:
            return Problem(f"{option} {path}: the file exists", hint="--force replaces it")
    except OSError as error:  # a name too long, a folder that may not be searched
        return Problem(f"{option} {path}: cannot be written: {error.strerror}")
    return None


@dataclass(frozen=True, slots=True)
class Answer:
    """What a command gives back: the one value that is printed.

    Attributes:
        view: for people, and its record for CSV.
        document: makes the JSON object.
        output: where it goes.
        warnings: sentences for stderr.
        failures: gates that did not hold.
        interrupted: what was left undone when Ctrl-C came; empty when nothing was.
        empty: whether nothing of what was asked could be answered, as in a sweep whose every
            point failed.
        picture: draws a picture in text for a stdout of tables; never in a file.
    """

    view: View
    document: Callable[[], Mapping[str, Any]]
    output: Output
    warnings: tuple[str, ...] = ()
    failures: tuple[str, ...] = ()
    interrupted: str = ""
    empty: bool = False
    picture: Callable[[Screen], Sequence[str]] | None = None

    @property
    def code(self) -> int:
        """The exit code."""
        if self.interrupted:
            return INTERRUPTED
        if self.failures:
            return GATE
        return USER if self.empty else OK


def deliver(answer: Answer) -> int:
    """Print an answer and write its files; return the exit code.

    A file that cannot be written makes it 2; stdout has the answer all the same.

    Raises:
        InputError: stdout cannot be written.
    """
    screen = screen_of(sys.stdout)
    text = _render(answer, answer.output.form, screen)
    if answer.picture is not None and answer.output.form is Form.TABLE:
        text += "".join(f"{line}\n" for line in ("", *answer.picture(screen)))
    # Gates and warnings must reach the user even when the reader of stdout has gone.
    if not answer.output.quiet:
        for warning in answer.warnings:
            say(clean(f"warning: {warning}"))
    _print(text)
    for failure in answer.failures:
        say(clean(f"gate failed: {failure}"))
    if answer.interrupted:
        say(f"interrupted: {answer.interrupted}")
    try:
        _write_files(answer)
    except InputError as error:
        # In words only: stdout has its one object already.
        return Reporter().report(error)
    return answer.code


def _render(answer: Answer, form: Form, screen: Screen) -> str:
    from npubench.report.render import to_csv, to_markdown, to_terminal
    from npubench.study.serialise import dumps

    if form is Form.JSON:
        return dumps(dict(answer.document()))
    if form is Form.CSV:
        return to_csv(answer.view.record)
    if form is Form.MARKDOWN:
        return to_markdown(answer.view)
    return to_terminal(answer.view, screen)


def screen_of(stream: TextIO) -> Screen:
    """What a stream can show; nothing is cut or coloured where it is no terminal."""
    from npubench.report.render import Screen

    encoding = (getattr(stream, "encoding", None) or "ascii").lower()
    unicode = encoding.replace("-", "").startswith("utf")
    if not stream.isatty():
        return Screen(unicode=unicode)
    plain = bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb"
    return Screen(shutil.get_terminal_size().columns, styled=not plain, unicode=unicode)


def _print(text: str) -> None:
    """To stdout; a reader such as `head` may leave early, and the rest of the work goes on."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        discard_stdout()
    except OSError as error:
        discard_stdout()
        raise InputError(f"cannot write to stdout: {error.strerror}") from None


def _write_files(answer: Answer) -> None:
    """Write every file beside its place, then move all into place."""
    from npubench.report.render import Screen

    moves: list[tuple[Path, Path]] = []
    path = Path()
    try:
        for path in answer.output.files:
            text = _render(answer, _SUFFIXES[path.suffix.lower()], Screen())
            place = path.resolve()
            draft = place.with_name(f".{place.name}.{os.getpid()}.tmp")
            moves.append((draft, place))
            _write_draft(draft, text.encode("utf-8", errors="replace"))
        for draft, place in moves:
            path = place
            _move(draft, place, force=answer.output.force)
    except OSError as error:
        raise InputError(f"-o {path}: cannot be written: {error.strerror}") from None
    finally:
        for draft, _ in moves:
            with contextlib.suppress(OSError):
                draft.unlink(missing_ok=True)


def write_file(path: Path, data: bytes, *, force: bool) -> None:
    """One file, whole or not at all.

    Raises:
        InputError: it cannot be written, or exists without ``force``.
    """
    place = path.resolve()
    draft = place.with_name(f".{place.name}.{os.getpid()}.tmp")
    try:
        _write_draft(draft, data)
        _move(draft, place, force=force)
    except OSError as error:
        raise InputError(f"-o {path}: cannot be written: {error.strerror}") from None
    finally:
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)


def _write_draft(draft: Path, data: bytes) -> None:
    # Exclusive creation with the process's own permissions, as a plain open() would give.
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    with os.fdopen(handle, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _move(draft: Path, place: Path, *, force: bool) -> None:
    if not force and place.exists():  # made by someone else since `Output.check`
        raise FileExistsError(17, "File exists")
    draft.replace(place)


def records(
    schema: str, view: View, facts: Mapping[str, Any] = MappingProxyType({})
) -> Mapping[str, Any]:
    """The JSON object of a listing: facts of the whole, then the record table, an object a row."""
    keys = [column.key for column in view.record.columns]
    rows = [dict(zip(keys, row, strict=True)) for row in view.record.rows]
    return {"schema": schema, **facts, "rows": rows}
